package p2p

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/recon"
	"github.com/pheme-net/pheme/p2p/trace"
)

// unsigned makes transactions that fill pools and never travel: each is a hash of
// its own, and nobody has signed it.
func (w *world) unsigned(n int) (out []*chain.Tx) {
	w.t.Helper()
	for i := range n {
		t, err := chain.NewTx(types.NewTx(&types.DynamicFeeTx{
			ChainID: new(big.Int).SetUint64(w.genesis.ChainID), Nonce: uint64(i), To: &common.Address{2}, Value: big.NewInt(1),
			Gas: 21_000, GasFeeCap: big.NewInt(3), GasTipCap: big.NewInt(1), V: big.NewInt(0), R: big.NewInt(1), S: big.NewInt(1),
		}))
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, t)
	}
	return out
}

// txs makes n transactions of the users.
func (w *world) txs(n, size int) (out []*chain.Tx) {
	for i := range n {
		out = append(out, w.tx(i%len(w.users), size))
	}
	return out
}

// hold puts transactions into the pool as if gossip had brought them.
func (b *testBackend) hold(txs ...*chain.Tx) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range txs {
		b.pool[t.Hash()] = t
	}
}

func (b *testBackend) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.pool)
}

// repairBytes are the bytes of class repair that a node has received.
func (n *testNode) repairBytes() int { return int(n.net.Stats().In[trace.ClassRepair]) }

// TestRepairInOneRoundTrip: pools of 10,000 that differ in 100 agree after one
// round trip for the sketch, the time for gossip to settle, one for the fetch and
// half of one for the push; the sketch takes less than 10 KB. The first symbols are
// enough in nine sessions of ten: of three, each with a key of its own, one must do.
func TestRepairInOneRoundTrip(t *testing.T) {
	for range 3 {
		if took, want := repairTime(t), 3*2*delay+settleTime; took <= want {
			return
		} else {
			t.Logf("took %v, more than %v", took, want)
		}
	}
	t.Error("no session of three did it in one round trip")
}

// repairTime is how long two pools of 10,000 that differ in 100 take to agree.
func repairTime(t *testing.T) (took time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		v := newBubble(t, "one", 2, func(c *Config) { c.NoRepair = true })
		defer v.burst()
		a, b := v.nodes[0], v.nodes[1]
		shared := v.unsigned(9_950)
		a.back.hold(shared...)
		b.back.hold(shared...)
		onlyA, onlyB := v.txs(50, 0), v.txs(50, 0)
		a.back.hold(onlyA...)
		b.back.hold(onlyB...)
		moved, err := a.net.reconcile(t.Context(), b.host.ID(), false)
		if err != nil || !moved {
			t.Fatalf("reconcile = %v, %v", moved, err)
		}
		synctest.Wait()
		time.Sleep(delay) // the last batch is on its way
		if a.back.count() != 10_050 || b.back.count() != 10_050 {
			t.Fatalf("pools of %d and %d, want 10050", a.back.count(), b.back.count())
		}
		if now := time.Now(); !a.net.mended.has(onlyB[0].Hash(), now) || !b.net.mended.has(onlyA[0].Hash(), now) {
			t.Error("what repair brought would not be passed on")
		}
		begin, end := a.rec.all(kind(trace.RepairBegin, common.Hash{})), a.rec.all(kind(trace.RepairEnd, common.Hash{}))
		if len(begin) != 1 || len(end) != 1 {
			t.Fatalf("%d and %d events", len(begin), len(end))
		}
		if took = time.Duration(end[0].At - begin[0].At); took < 2*2*delay+settleTime {
			t.Errorf("took %v, a round trip is %v and gossip settles in %v", took, 2*delay, settleTime)
		}
		txBytes := 0
		for _, x := range append(onlyA, onlyB...) {
			txBytes += x.Size()
		}
		sketch := a.repairBytes() + b.repairBytes() - txBytes
		t.Logf("%d bytes beside %d of transactions", sketch, txBytes)
		if sketch > 10_000 {
			t.Errorf("%d bytes beside the transactions, want less than 10000", sketch)
		}
		if end[0].Aux != 50 || int(end[0].Size) != a.repairBytes()+b.repairBytes() {
			t.Errorf("repair.end %+v, bytes %d", end[0], a.repairBytes()+b.repairBytes())
		}
	})
	return took
}

// TestRepairModes: what moves is what the mode says.
func TestRepairModes(t *testing.T) {
	for _, mode := range []recon.Mode{recon.PushPull, recon.Push, recon.Pull} {
		t.Run(mode.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newBubble(t, "modes", 2, func(c *Config) { c.NoRepair, c.RepairMode = true, mode.String() })
				defer v.burst()
				a, b := v.nodes[0], v.nodes[1]
				a.back.hold(v.txs(3, 10)...)
				b.back.hold(v.txs(5, 10)...)
				if _, err := a.net.reconcile(t.Context(), b.host.ID(), false); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				wantA, wantB := 3, 5
				if mode.Pulls() {
					wantA = 8
				}
				if mode.Pushes() {
					wantB = 8
				}
				if a.back.count() != wantA || b.back.count() != wantB {
					t.Errorf("pools of %d and %d, want %d and %d", a.back.count(), b.back.count(), wantA, wantB)
				}
			})
		})
	}
}

// TestRepairIsQuiet: while nothing differs a round is an exchange of digests.
func TestRepairIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newBubble(t, "quiet", 2)
		defer v.burst()
		a, b := v.nodes[0], v.nodes[1]
		shared := v.txs(20, 10)
		a.back.hold(shared...)
		b.back.hold(shared...)
		count := func() int { return len(a.rec.all(kind(trace.RepairBegin, common.Hash{}))) }
		before, sessions := a.repairBytes()+b.repairBytes(), count()
		time.Sleep(60 * time.Second)
		bytes, rounds := a.repairBytes()+b.repairBytes()-before, count()-sessions
		if want := int(2 * 60 * time.Second / a.net.cfg.RepairInterval); rounds < want-2 || rounds > want+2 {
			t.Errorf("%d sessions, want %d", rounds, want)
		}
		if per := bytes / rounds; per > 320 {
			t.Errorf("%d bytes a session", per)
		} else {
			t.Logf("%d bytes a session", per)
		}
	})
}

// TestRepairReachesEveryone: what a node took while it had no peer, and what two
// parts of a network took while they were apart, is in every pool soon after.
func TestRepairReachesEveryone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newBubble(t, "apart", 6)
		defer v.burst()
		left, right := v.nodes[:3], v.nodes[3:]
		v.cut(2, 3)
		time.Sleep(3 * time.Second)
		all := 0
		for i, side := range [][]*testNode{left, right} {
			for range 20 { // gossip spreads them on this side only
				txs := []*chain.Tx{v.tx(i, 100)}
				all++
				side[0].back.hold(txs...)
				if err := side[0].net.PublishTx(txs); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
			}
		}
		head := v.block()
		right[2].propose(head)
		time.Sleep(time.Second)
		for _, n := range v.nodes {
			if n.back.count() != all/2 {
				t.Fatalf("a pool has %d before the heal, want %d", n.back.count(), all/2)
			}
		}
		bytes := 0
		for _, n := range v.nodes {
			bytes -= n.repairBytes()
		}
		v.join(2, 3)
		time.Sleep(10 * time.Second)
		for i, n := range v.nodes {
			if n.back.count() != all || n.chain.HeadID() != head.ID() {
				t.Errorf("node %d: pool of %d, want %d; head %d", i, n.back.count(), all, n.chain.Head().Number)
			}
			bytes += n.repairBytes()
		}
		moved := 0
		for _, x := range v.nodes[0].back.Pooled() {
			moved += x.Size()
		}
		moved = moved / 2 * len(v.nodes) // every node lacked half
		t.Logf("%d bytes of repair for %d of difference", bytes, moved)
		if bytes > 2*moved+len(v.nodes)*10*500 { // and ten rounds of digests a node
			t.Errorf("%d bytes of repair for %d of difference", bytes, moved)
		}
	})
}

// TestRepairDoesNotFetchWhatIsSettled: a partner a block behind still has what our
// newest block placed, and a refused transaction is not asked for again at once.
func TestRepairDoesNotFetchWhatIsSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newBubble(t, "settled", 2, func(c *Config) { c.NoRepair = true })
		defer v.burst()
		a, b := v.nodes[0], v.nodes[1]
		x, y := v.tx(0, 10), v.tx(1, 10)
		a.net.settled.put(x.Hash(), time.Now().Add(time.Hour))
		b.back.hold(x, y)
		for want := 1; want >= 0; want-- { // y once, then nothing
			if _, err := a.net.reconcile(t.Context(), b.host.ID(), false); err != nil {
				t.Fatal(err)
			}
			end := a.rec.all(kind(trace.RepairEnd, common.Hash{}))
			if got := end[len(end)-1].Aux; got != int64(want) || a.back.Tx(x.Hash()) != nil {
				t.Errorf("gained %d, want %d", got, want)
			}
		}
		blk := v.block(y)
		a.net.settled.blocks(chain.Update{Applied: []*chain.Block{blk}}, time.Now())
		known := func() (n int) {
			a.net.settled.each(time.Now(), func(common.Hash) { n++ })
			return n
		}
		if known() != 2 {
			t.Errorf("%d settled, want 2", known())
		}
		a.net.settled.blocks(chain.Update{Reverted: []*chain.Block{blk}}, time.Now())
		if known() != 1 {
			t.Errorf("%d settled after the block was reverted, want 1", known())
		}
	})
}

// TestRepairWithinTheBudget: a session with a peer over its budget ends, nobody is blamed, and what it brought is asked for
// again as soon as it may bring it.
func TestRepairWithinTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newBubble(t, "budget", 2, func(c *Config) { c.NoRepair = true })
		defer v.burst()
		a, b := v.nodes[0], v.nodes[1]
		b.back.hold(v.tx(0, 10))
		a.back.overBudget(true)
		if _, err := a.net.reconcile(t.Context(), b.host.ID(), false); !errors.Is(err, errBudget) {
			t.Errorf("reconcile over the budget = %v, want %v", err, errBudget)
		}
		if id := b.host.ID(); a.net.peers.penalty(id) != 0 || a.net.repair.resting(id, time.Now()) {
			t.Error("the peer is punished, or left alone")
		}
		a.back.overBudget(false)
		if _, err := a.net.reconcile(t.Context(), b.host.ID(), false); err != nil || a.back.count() != 1 {
			t.Errorf("within the budget: %v, pool of %d", err, a.back.count())
		}
	})
}

// TestRepairWaitsForOneHead: pools of different heads differ, so nothing is
// compared until the heads agree, unless the client insists.
func TestRepairWaitsForOneHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newBubble(t, "heads", 2, func(c *Config) { c.NoRepair, c.grace = true, time.Hour })
		defer v.burst()
		a, b := v.nodes[0], v.nodes[1]
		b.give(v.block())
		b.back.hold(v.tx(0, 10))
		if _, err := a.net.reconcile(t.Context(), b.host.ID(), false); !errors.Is(err, errLater) {
			t.Errorf("reconcile = %v, want %v", err, errLater)
		}
		if _, err := a.net.reconcile(t.Context(), b.host.ID(), true); err != nil || a.back.count() != 1 {
			t.Errorf("insisting: %v, pool of %d", err, a.back.count())
		}
	})
}

// TestGainIsForOne: with three partners that all have what it lacks, a node
// fetches it once.
func TestGainIsForOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newBubble(t, "token", 4, func(c *Config) { c.NoRepair = true })
		defer v.burst()
		for i := 1; i < 4; i++ {
			if i > 1 {
				v.join(0, i)
			}
		}
		time.Sleep(time.Second)
		txs := v.txs(40, 1000)
		for _, n := range v.nodes[1:] {
			n.back.hold(txs...)
		}
		a := v.nodes[0]
		var errs [4]error
		done := make(chan struct{})
		for i, n := range v.nodes[1:] {
			go func() {
				_, errs[i] = a.net.reconcile(t.Context(), n.host.ID(), false)
				done <- struct{}{}
			}()
		}
		for range 3 {
			<-done
		}
		if a.back.count() != 40 || errs != [4]error{} {
			t.Fatalf("pool of %d, %v", a.back.count(), errs)
		}
		if got := a.repairBytes(); got > 40*1200+3*4000 {
			t.Errorf("%d bytes for 40 transactions of 1 KB: fetched more than once", got)
		}
	})
}

// star starts nodes that are connected to the first alone, and whose sessions begin when the test says so: on streams that
// know deadlines, which those of a bubble do not.
func (v *town) star(n int) []*testNode {
	v.t.Helper()
	for i := range n {
		v.add(i, func(c *Config) {
			c.NoRepair, c.NoDiscovery, c.NoMembers = true, true, true
			if i > 0 {
				c.Static = []string{fmt.Sprintf("%s/p2p/%s", v.net.Addr(0), v.hosts[0].ID())}
			}
		})
	}
	v.await("all are up", time.Minute, func() bool { return v.nodes[0].net.Stats().Peers == n-1 })
	return v.nodes
}

// giver plays the client of a session that offers transactions and gives them one by one, a pause before each, until it is
// cut off. It returns how many it gave.
func (n *testNode) giver(ctx context.Context, to *testNode, txs []*chain.Tx, pause time.Duration) (given int, err error) {
	s, err := n.host.NewStream(ctx, to.host.ID(), repairProtocol)
	if err != nil {
		return 0, err
	}
	defer s.Reset()
	key := newKey()
	set := recon.NewSet(key, len(txs))
	var ids []recon.ID
	for _, x := range txs {
		h := [32]byte(x.Hash())
		ids = append(ids, set.Add(&h))
	}
	sum, check, profile := snapshot{set: set}.digests()
	h := hello{Key: key, Insist: true, Status: n.net.status(), Sum: sum, Check: check, Profile: profile}
	if err := writeFrame(s, h.encode()); err != nil {
		return 0, err
	}
	for _, step := range []func() error{
		func() error { _, err := readFrame(s, maxSketchBytes); return err },
		func() error { return writeFrame(s, ask{Offers: encodeIDs(ids)}.encode()) },
		func() error { _, err := readFrame(s, maxBatchBytes); return err }, // nothing of what we did not ask for
		func() error { _, err := readFrame(s, 8*maxRepairIDs); return err },
	} {
		if err := step(); err != nil {
			return 0, err
		}
	}
	for _, x := range txs {
		if err := sleep(ctx, pause); err != nil {
			return given, err
		}
		if err := writeFrame(s, encodeBatch(nonce{}, [][]byte{x.Raw()})); err != nil {
			return given, err
		}
		given++
	}
	return given, writeFrame(s, nil)
}

// TestTokenIsNotKept: a client that gives in small bits what the pool does not want, in as many sessions as it gets, does not
// keep others from the token; one on a slow link that gives what the pool takes has the time for it.
func TestTokenIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTown(t, 3, 0)
		defer v.burst()
		nodes := v.star(3)
		a, evil, b := nodes[0], nodes[1], nodes[2]
		a.back.mu.Lock()
		a.back.shun = evil.host.ID()
		a.back.mu.Unlock()
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range maxServedTo {
			txs := v.txs(20, 10)
			all.Go(func() {
				for ctx.Err() == nil {
					if given, _ := evil.giver(ctx, a, txs, stallAfter*a.net.cfg.FetchTimeout-100*time.Millisecond); given > 3 {
						t.Errorf("it gave %d small batches that nobody wants", given)
					}
					_ = sleep(ctx, 10*time.Millisecond)
				}
			})
		}
		time.Sleep(5 * time.Second)
		b.back.hold(v.tx(0, 10))
		if _, err := a.net.reconcile(t.Context(), b.host.ID(), true); err != nil || a.back.count() != 1 {
			t.Errorf("a session with an honest peer: %v, pool of %d", err, a.back.count())
		}
		if a.net.repair.resting(b.host.ID(), time.Now()) {
			t.Error("the honest peer is left alone")
		}
		cancel()
		all.Wait()
		time.Sleep(5 * time.Second) // the last sessions end
		slow := v.txs(30, minProgress)
		if given, err := b.giver(t.Context(), a, slow, a.net.cfg.FetchTimeout); err != nil || given != len(slow) {
			t.Errorf("a slow peer gave %d transactions of %d, then %v", given, len(slow), err)
		}
	})
}

// TestOwnTokenIsNobodysFault: that a session fails since it had to wait for our own token is not held against the partner.
func TestOwnTokenIsNobodysFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTown(t, 2, 0)
		defer v.burst()
		nodes := v.star(2)
		a, b := nodes[0], nodes[1]
		b.back.hold(v.tx(0, 10))
		if !a.net.takeGain(t.Context()) {
			t.Fatal("the token is gone")
		}
		time.AfterFunc(a.net.cfg.RequestTimeout+2*time.Second, a.net.giveGain)
		if _, err := a.net.reconcile(t.Context(), b.host.ID(), false); err == nil {
			t.Error("the partner waited longer than RequestTimeout: the test shows nothing")
		}
		if a.net.repair.resting(b.host.ID(), time.Now()) {
			t.Error("the partner is left alone")
		}
	})
}

// TestSmallTransactionsKeepTheBound: of more small transactions than a session has room for, whose framing is a good part
// of what is sent, no more is sent than the other side takes.
func TestSmallTransactionsKeepTheBound(t *testing.T) {
	w := newWorld(t, "small")
	x := w.tx(0, 0)
	txs := slices.Repeat([]*chain.Tx{x}, maxRepairBytes/x.Size())
	var b bytes.Buffer
	if err := sendTxs(&b, txs); err != nil {
		t.Fatal(err)
	}
	total, count := 0, 0
	for {
		raw, err := readFrame(&b, maxBatchBytes)
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) == 0 {
			break
		}
		_, raws, err := decodeBatch(raw)
		if err != nil {
			t.Fatal(err)
		}
		total, count = total+len(raw), count+len(raws)
	}
	if total > maxRepairBytes || total < maxRepairBytes-3*maxBatchBytes || count == len(txs) {
		t.Errorf("%d bytes of at most %d, %d of %d transactions", total, maxRepairBytes, count, len(txs))
	}
}
