package mempool

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/holiman/uint256"

	"github.com/pheme-net/pheme/chain"
)

func TestAddRefuses(t *testing.T) {
	w, other := newWorld(2), newWorld(2)
	other.g.ChainID = 5
	w.st.balance[w.addr(1)] = transfer * baseFee
	p := w.open(t, Config{}, osDisk{})
	add(t, p, w.sign(spec{nonce: 0, tip: 1}))
	for _, tt := range []struct {
		name string
		tx   *chain.Tx
		want error
		text string // what libraries look for
	}{
		{"known", cold(w.sign(spec{nonce: 0, tip: 1})), ErrKnown, "already known"},
		{"underpriced replacement", w.sign(spec{nonce: 0, tip: 1, value: 1}), ErrReplaceUnderpriced, "replacement transaction underpriced"},
		{"overdrawn", w.sign(spec{from: 1, tip: 1}), ErrInsufficientFunds, "insufficient funds for gas * price + value"},
		{"gap", w.sign(spec{nonce: 1000}), ErrNonceTooHigh, "nonce too high"},
		{"foreign", other.sign(spec{nonce: 1}), chain.ErrChainID, "chain id"},
		{"unsigned", spec{nonce: 1}.tx(), chain.ErrInvalidTx, "invalid"},
		{"twice in one call", w.sign(spec{nonce: 1}), nil, ""},
	} {
		err := p.Add([]*chain.Tx{tt.tx})[0]
		if !errors.Is(err, tt.want) || err != nil && !contains(err.Error(), tt.text) {
			t.Errorf("%s: Add = %v, want %q", tt.name, err, tt.text)
		}
	}
	tx := w.sign(spec{nonce: 2})
	if errs := p.Add([]*chain.Tx{tx, cold(tx)}); errs[0] != nil || !errors.Is(errs[1], ErrKnown) {
		t.Errorf("the same twice in one call: %v", errs)
	}
	if s := p.Stats(); s.Executable != 3 {
		t.Errorf("%d pooled, want 3", s.Executable)
	}
}

func contains(s, part string) bool {
	for i := range len(s) - len(part) + 1 {
		if s[i:i+len(part)] == part {
			return true
		}
	}
	return false
}

func TestReads(t *testing.T) {
	w := newWorld(2)
	p := w.open(t, Config{}, osDisk{})
	txs := []*chain.Tx{w.sign(spec{from: 0, nonce: 0}), w.sign(spec{from: 0, nonce: 1}), w.sign(spec{from: 1, nonce: 3})}
	add(t, p, txs...)
	if p.Get(txs[2].Hash()) != txs[2] || p.Get(common.Hash{1}) != nil {
		t.Error("Get does not return what was added")
	}
	if got := p.Nonce(w.addr(0)); got != 2 {
		t.Errorf("Nonce = %d, want 2", got)
	}
	if got := p.Nonce(w.addr(1)); got != 0 {
		t.Errorf("Nonce behind a gap = %d, want 0", got)
	}
	size := txs[0].Size() + txs[1].Size() + txs[2].Size()
	if s := p.Stats(); s.Executable != 2 || s.Future != 1 || s.Bytes != size {
		t.Errorf("Stats = %+v", s)
	}
	c := p.Content()
	if len(c.Executable) != 1 || len(c.Executable[w.addr(0)]) != 2 || len(c.Future) != 1 || c.Future[w.addr(1)][0] != txs[2] {
		t.Errorf("Content = %v", c)
	}
	if e, f := p.ContentFrom(w.addr(0)); len(e) != 2 || e[0] != txs[0] || len(f) != 0 {
		t.Errorf("ContentFrom = %v, %v", e, f)
	}
	if e, f := p.ContentFrom(common.Address{1}); e != nil || f != nil {
		t.Errorf("ContentFrom of a stranger = %v, %v", e, f)
	}
	if got := p.Build(1<<20, 1<<40); len(got) != 2 {
		t.Errorf("Build = %d transactions, want 2", len(got))
	}
}

func TestSubscribe(t *testing.T) {
	w := newWorld(1)
	p := w.open(t, Config{}, osDisk{})
	all, end := p.Subscribe(10)
	few, endFew := p.Subscribe(1)
	defer endFew()
	add(t, p, w.sign(spec{nonce: 1})) // future: not told
	add(t, p, w.sign(spec{nonce: 0}), w.sign(spec{nonce: 2}))
	for n := range uint64(3) {
		if tx := <-all; tx.Nonce() != n {
			t.Fatalf("told nonce %d, want %d", tx.Nonce(), n)
		}
	}
	if <-few; len(few) != 0 || p.Stats().Untold != 2 {
		t.Fatalf("a subscriber with room for one: %d more, %d untold", len(few), p.Stats().Untold)
	}
	end()
	add(t, p, w.sign(spec{nonce: 3}))
	if len(all) != 0 {
		t.Fatal("told after the end")
	}
}

func TestBudget(t *testing.T) {
	b := newBudget(10, 20)
	now := time.Unix(1000, 0)
	for _, step := range []struct {
		after time.Duration
		n     int
		want  bool
	}{
		{0, 5, true}, {0, 14, true}, {0, 30, true}, {0, 1, false}, {2900 * time.Millisecond, 1, false}, {200 * time.Millisecond, 1, true},
		{time.Hour, 20, true}, {0, 1, false}, {-time.Hour, 1, false},
	} {
		now = now.Add(step.after)
		if got := b.take(now, 1, step.n); got != step.want {
			t.Fatalf("take(%d) after %s = %v, want %v", step.n, step.after, got, step.want)
		}
	}
	if !b.take(now, 2, 7) {
		t.Fatal("another peer gets nothing")
	}
	for peer := range uint64(3 * maxBudgets) {
		b.take(now, peer, 1)
	}
	if len(b.peers) > maxBudgets {
		t.Fatalf("%d budgets kept, want at most %d", len(b.peers), maxBudgets)
	}
	b.take(now.Add(2*time.Hour), 1<<40, 1)
	if len(b.peers) != 1 {
		t.Fatalf("%d budgets kept, want the idle ones gone", len(b.peers))
	}
}

func TestAllow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		p := w.open(t, Config{PeerRate: 2, PeerBurst: 3}, osDisk{})
		if !p.Allow(7, 3) || p.Allow(7, 1) || !p.Allow(7, 0) || !p.Allow(8, 1) {
			t.Fatal("a burst of 3 is not 3, or another's")
		}
		add(t, p, w.sign(spec{nonce: 0})) // our own clients have no budget
		time.Sleep(time.Second)
		if !p.Allow(7, 2) || p.Allow(7, 1) {
			t.Fatal("a second later it is not 2")
		}
	})
}

func TestTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		d := newMemDisk()
		p := w.open(t, Config{TTL: time.Hour, JournalPath: path}, d)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := p.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		add(t, p, w.sign(spec{nonce: 0}))
		time.Sleep(30 * time.Minute)
		add(t, p, w.sign(spec{nonce: 1}))
		time.Sleep(32 * time.Minute)
		if s := p.Stats(); s.Executable != 0 || s.Future != 1 || s.Dropped.Expired != 1 {
			t.Fatalf("after the first one's hour: %+v", s)
		}
		wantSame(t, w.open(t, Config{JournalPath: path}, d.killed()), p)
		cancel()
		wg.Wait()
	})
}

// Run rewrites a journal that grows long, by itself.
func TestRunRewrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		d := newMemDisk()
		p := w.open(t, Config{JournalPath: path}, d)
		p.minLong = 2000
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = p.Run(ctx) })
		for i := range 30 {
			add(t, p, w.sign(spec{nonce: 0, tip: 1000 << i, cap: 2000 << i})) // each replaces the last
			synctest.Wait()
		}
		if size := len(d.get(path)); size > 2500 || d.count("rename") == 0 {
			t.Fatalf("journal of one transaction has %d bytes after %d rewrites", size, d.count("rename"))
		}
		cancel()
		wg.Wait()
	})
}

func TestClose(t *testing.T) {
	w := newWorld(1)
	d := newMemDisk()
	p := w.open(t, Config{JournalPath: path}, d)
	add(t, p, w.sign(spec{nonce: 0}))
	for range 2 {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Add([]*chain.Tx{w.sign(spec{nonce: 1})})[0]; !errors.Is(err, ErrClosed) {
		t.Fatalf("Add after Close = %v, want %v", err, ErrClosed)
	}
	if p.Stats().Executable != 1 || len(p.Build(1<<20, 1<<40)) != 1 {
		t.Fatal("reads do not work after Close")
	}
}

func TestConfig(t *testing.T) {
	w := newWorld(1)
	_, err := Open(Config{MaxBytes: -1}, w.g, w.st)
	if !errors.Is(err, ErrConfig) || !contains(err.Error(), "MaxBytes") {
		t.Fatalf("Open with a negative limit = %v, want ErrConfig and the field named", err)
	}
}

// Everything at once, for the race detector and the invariants.
func TestConcurrentUse(t *testing.T) {
	const senders, each = 6, 60
	w := newWorld(senders)
	d := newMemDisk()
	p := w.open(t, Config{MaxCount: 150, JournalPath: path}, d)
	p.minLong = 20_000
	ctx, cancel := context.WithCancel(t.Context())
	var run, wg sync.WaitGroup
	run.Go(func() { _ = p.Run(ctx) })
	ch, end := p.Subscribe(16)
	defer end()
	run.Go(func() {
		for {
			select {
			case <-ch:
			case <-ctx.Done():
				return
			}
		}
	})
	for i := range senders {
		wg.Go(func() {
			for n := range uint64(each) {
				p.Allow(uint64(i), 1)
				p.Add([]*chain.Tx{w.sign(spec{from: i, nonce: n, tip: n % 7})})
				p.Nonce(w.addr(i))
				p.Build(10_000, 1<<40)
				p.Content()
			}
		})
	}
	wg.Go(func() {
		st := w.st
		for range 40 {
			u := fakeUpdate(p, st, 5)
			st = u
		}
	})
	wg.Wait()
	cancel()
	run.Wait()
	if err := p.core.check(); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

// fakeUpdate includes the best n transactions in a block and returns the state after it.
func fakeUpdate(p *Pool, st *fakeState, n uint64) *fakeState {
	next := st.clone()
	var accounts []moved
	for _, tx := range p.Build(1<<20, n*transfer) {
		from, _ := tx.Sender(p.genesis.ChainID)
		next.nonce[from]++
		accounts = append(accounts, moved{addr: from})
	}
	p.mu.Lock()
	p.core.update(next, accounts, 0)
	p.note()
	b := p.batch
	p.mu.Unlock()
	_ = p.flush(b)
	return next
}

// network is two chains of one genesis, for reorgs.
type network struct {
	w    *world
	keys []*ecdsa.PrivateKey
	slot uint64
}

func newNetwork(t *testing.T, senders int) *network {
	n := &network{w: newWorld(senders)}
	g := &chain.Genesis{ChainID: 1337, TimeMS: 1_700_000_000_000, SlotMS: 1000, Alloc: map[common.Address]*uint256.Int{}}
	for i := range senders {
		g.Alloc[n.w.addr(i)] = uint256.NewInt(1 << 62)
	}
	key, err := crypto.ToECDSA(crypto.Keccak256([]byte("proposer")))
	if err != nil {
		t.Fatal(err)
	}
	n.keys = []*ecdsa.PrivateKey{key}
	g.Proposers = []common.Address{crypto.PubkeyToAddress(key.PublicKey)}
	g.BaseFee, g.GasLimit, g.MaxBlockBytes = uint256.NewInt(baseFee), 1_000_000_000, 1<<20
	n.w.g = g
	return n
}

func (n *network) chain(t *testing.T) *chain.Chain {
	c, err := chain.Open(chain.Config{}, n.w.g, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (n *network) block(t *testing.T, c *chain.Chain, txs []*chain.Tx) (*chain.Block, chain.Update) {
	t.Helper()
	n.slot++
	b, left, err := c.Build(n.slot, n.keys[0], txs, 0)
	if err != nil || len(left) > 0 {
		t.Fatalf("build: %v, %d left", err, len(left))
	}
	u, err := c.Add(b)
	if err != nil {
		t.Fatal(err)
	}
	return b, u
}

// An update that does not tell all that happened is noticed: every sender is looked at.
func TestApplyAfterMissedUpdates(t *testing.T) {
	n := newNetwork(t, 3)
	c := n.chain(t)
	p := n.w.open(t, Config{}, osDisk{})
	p.core.state = c.State()
	for i := range 3 {
		add(t, p, n.w.sign(spec{from: i, nonce: 0}), n.w.sign(spec{from: i, nonce: 1}))
	}
	_, first := n.block(t, c, p.Build(1<<20, transfer))
	p.Apply(first, c.State())
	n.block(t, c, p.Build(1<<20, 2*transfer)) // missed
	_, last := n.block(t, c, nil)
	p.Apply(last, c.State())
	if err := p.core.check(); err != nil {
		t.Fatal(err)
	}
	if s := p.Stats(); s.Executable != 3 {
		t.Fatalf("%d executable, want the 3 that are in no block", s.Executable)
	}
	jump := last
	jump.Old, jump.Applied = first.Old, nil // as after taking a state over
	fresh := n.w.open(t, Config{}, osDisk{})
	fresh.core.state = n.w.st
	add(t, fresh, n.w.sign(spec{from: 0, nonce: 0}))
	fresh.Apply(jump, c.State())
	if err := fresh.core.check(); err != nil {
		t.Fatal(err)
	}
}

// Another client that sends the same hears "already known" only once it is recorded.
func TestKnownIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		d := newMemDisk()
		d.slow = func() { time.Sleep(time.Second) }
		p := w.open(t, Config{JournalPath: path, JournalSync: true}, d)
		tx := w.sign(spec{})
		var wg sync.WaitGroup
		start := time.Now()
		wg.Go(func() { add(t, p, tx) })
		synctest.Wait() // the first is in the fsync
		if err := p.Add([]*chain.Tx{cold(tx)})[0]; !errors.Is(err, ErrKnown) || time.Since(start) < time.Second {
			t.Fatalf("Add = %v after %s, want %v after the fsync", err, time.Since(start), ErrKnown)
		}
		wg.Wait()
		d.setFail(func(op string, _ int) error {
			if op == "sync" {
				return errFull
			}
			return nil
		})
		next := w.sign(spec{nonce: 1})
		wg.Go(func() { p.Add([]*chain.Tx{next}) })
		synctest.Wait()
		if err := p.Add([]*chain.Tx{cold(next)})[0]; !errors.Is(err, ErrJournal) {
			t.Fatalf("Add of what is taken back = %v, want %v", err, ErrJournal)
		}
		wg.Wait()
		// The same beside one that is new, whose batch fails too.
		d.setFail(nil)
		time.Sleep(2 * healEvery)
		add(t, p, next)
		d.setFail(func(op string, _ int) error {
			if op == "sync" {
				return errFull
			}
			return nil
		})
		after, last := w.sign(spec{nonce: 2}), w.sign(spec{nonce: 3})
		wg.Go(func() { p.Add([]*chain.Tx{after}) })
		synctest.Wait()
		if errs := p.Add([]*chain.Tx{cold(after), last}); !errors.Is(errs[0], ErrJournal) || !errors.Is(errs[1], ErrJournal) {
			t.Fatalf("Add of what is taken back and a new one = %v, want %v for both", errs, ErrJournal)
		}
		wg.Wait()
		if p.Get(after.Hash()) != nil || p.Get(last.Hash()) != nil || p.Get(next.Hash()) == nil {
			t.Fatal("the pool does not hold just what is recorded")
		}
		// A block has taken what was found pooled a moment ago: no trouble of the journal.
		w.st.nonce[w.addr(0)] = 2
		p.core.update(w.st, []moved{{addr: w.addr(0)}}, 0)
		errs := []error{ErrKnown}
		if p.knownIsRecorded([]*chain.Tx{cold(next)}, errs); !errors.Is(errs[0], ErrNonceTooLow) {
			t.Fatalf("Add of what a block has taken meanwhile = %v, want %v", errs[0], ErrNonceTooLow)
		}
	})
}

// The pool beside a real chain: blocks built from it, imported, and reverted by a
// longer branch that holds other transactions.
func TestApplyReorg(t *testing.T) {
	n := newNetwork(t, 3)
	w, a, b := n.w, n.chain(t), n.chain(t)
	d := newMemDisk()
	p, err := open(Config{JournalPath: path}, w.g, a.State(), d)
	if err != nil {
		t.Fatal(err)
	}
	ch, end := p.Subscribe(32)
	defer end()
	var txs []*chain.Tx
	for i := range 3 {
		for nonce := range uint64(3) {
			txs = append(txs, w.sign(spec{from: i, nonce: nonce, tip: uint64(i)}))
		}
	}
	add(t, p, txs...)
	_, u := n.block(t, a, p.Build(1<<20, 5*transfer)) // all of sender 2, two of sender 1
	if again := p.Apply(u, a.State()); len(again) != 0 || p.Stats().Executable != 4 {
		t.Fatalf("after a block: %d reverted, %+v", len(again), p.Stats())
	}
	for len(ch) > 0 {
		<-ch
	}
	if err := p.rotate(t.Context()); err != nil {
		t.Fatal(err)
	}

	// The other branch has sender 2's first two, and something else of sender 1.
	other := w.sign(spec{from: 1, nonce: 0, tip: 5})
	var rival []*chain.Block
	for _, body := range [][]*chain.Tx{{txs[6], other}, {txs[7]}} {
		block, _ := n.block(t, b, body)
		rival = append(rival, block)
	}
	if _, err := a.Add(rival[0]); err != nil {
		t.Fatal(err)
	}
	u, err = a.Add(rival[1])
	if err != nil || len(u.Reverted) != 1 || len(u.Applied) != 2 {
		t.Fatalf("no reorg: %v, %d reverted, %d applied", err, len(u.Reverted), len(u.Applied))
	}
	again := p.Apply(u, a.State())
	if len(again) != 2 || again[0].Hash() == again[1].Hash() {
		t.Fatalf("%d came back, want sender 1's second and sender 2's third", len(again))
	}
	for _, tx := range again {
		if h := tx.Hash(); h != txs[4].Hash() && h != txs[8].Hash() {
			t.Fatalf("nonce %d came back", tx.Nonce())
		}
		if told := <-ch; told.Hash() != txs[4].Hash() && told.Hash() != txs[8].Hash() && told.Hash() != txs[5].Hash() {
			t.Fatalf("nonce %d was told", told.Nonce())
		}
	}
	if s := p.Stats(); s.Executable != 6 || s.Future != 0 {
		t.Fatalf("after the reorg: %+v, want 6 executable", s)
	}
	if err := p.core.check(); err != nil {
		t.Fatal(err)
	}
	// What came back is recorded too.
	back, err := open(Config{JournalPath: path}, w.g, a.State(), d.killed())
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, back, p)
	// And a block of all of it applies.
	_, u = n.block(t, a, p.Build(1<<20, 1<<40))
	if p.Apply(u, a.State()); p.Stats().Executable != 0 || p.Nonce(w.addr(0)) != 3 {
		t.Fatalf("after the last block: %+v", p.Stats())
	}
}
