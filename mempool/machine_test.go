package mempool

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"
	"pgregory.net/rapid"

	"github.com/pheme-net/pheme/chain"
)

const machineSenders = 5

// machine drives a core and its model with the same operations, on a chain of
// blocks that can be reverted.
type machine struct {
	c      *core
	m      *model
	blocks []fakeBlock
	now    int64
}

// fakeBlock is what a block did: the state before it and what it holds.
type fakeBlock struct {
	before *fakeState
	txs    []mined
}

type mined struct {
	tx   *chain.Tx
	from common.Address
}

func newMachine(t *rapid.T) *machine {
	size := spec{tip: 1}.tx().Size()
	cfg := Config{
		MaxCount: rapid.IntRange(1, 12).Draw(t, "MaxCount"), MaxBytes: size * rapid.IntRange(2, 14).Draw(t, "MaxBytes"),
		MaxFuture: rapid.IntRange(1, 6).Draw(t, "MaxFuture"), MaxFutureBytes: size * rapid.IntRange(2, 8).Draw(t, "MaxFutureBytes"),
		PerSender: rapid.IntRange(1, 6).Draw(t, "PerSender"), FuturePerSend: rapid.IntRange(1, 4).Draw(t, "FuturePerSend"), MaxGap: 4,
		SenderBytes: size * rapid.IntRange(1, 9).Draw(t, "SenderBytes"),
	}
	cfg.fill()
	st := newState()
	for i := range machineSenders {
		st.balance[who(i)] = uint64(rapid.IntRange(0, 12).Draw(t, "balance")) * transfer * (baseFee + 10)
	}
	return &machine{c: newCore(cfg, uint256.NewInt(baseFee), st), m: &model{cfg: cfg, st: st}}
}

func drawSpec(t *rapid.T, st *fakeState) spec {
	s := spec{
		from: rapid.IntRange(0, machineSenders-1).Draw(t, "from"), tip: uint64(rapid.IntRange(0, 8).Draw(t, "tip")),
		cap: uint64(rapid.SampledFrom([]int{0, 4, 200, 400}).Draw(t, "cap")), data: rapid.SampledFrom([]int{0, 0, 0, 60, 200}).Draw(t, "data"),
		value: uint64(rapid.SampledFrom([]int{0, 0, 1, 50_000_000}).Draw(t, "value")),
	}
	offset := rapid.IntRange(-1, 7).Draw(t, "offset")
	s.nonce = uint64(max(0, int(st.nonce[who(s.from)])+offset))
	return s
}

func (x *machine) add(t *rapid.T) {
	for range rapid.IntRange(1, 4).Draw(t, "batch") {
		s := drawSpec(t, x.m.st)
		before := executables(x.c)
		tx := s.tx()
		got := x.c.add(tx, who(s.from), x.now)
		want := x.m.add(tx, who(s.from), x.now)
		if kind(got) != want {
			t.Fatalf("add(%+v) = %v, the model says %v", s, got, want)
		}
		if err := outpaid(before, executables(x.c), who(s.from)); err != nil {
			t.Fatalf("add(%+v): %v", s, err)
		}
	}
}

// executables is the executable pool by hash.
func executables(c *core) map[common.Hash]*entry {
	out := make(map[common.Hash]*entry)
	for _, a := range c.accounts {
		for _, e := range a.queue[executable] {
			out[e.tx.Hash()] = e
		}
	}
	return out
}

// outpaid is invariant E7 and the cost bound: what other senders lost from the
// executable pool has a lower tip than the best that came in (a newcomer may bring
// others along, into room it has made), and no more fees in all.
func outpaid(before, after map[common.Hash]*entry, by common.Address) error {
	var paid, lost uint256.Int
	best := new(uint256.Int)
	for hash, e := range after {
		if before[hash] == nil {
			fee := e.fee()
			paid.Add(&paid, &fee)
			if e.tip.Gt(best) {
				best = &e.tip
			}
		}
	}
	for hash, e := range before {
		if after[hash] != nil || e.from.addr == by {
			continue
		}
		fee := e.fee()
		if lost.Add(&lost, &fee); !e.tip.Lt(best) {
			return fmt.Errorf("nonce %d of %s with tip %s was pushed out by a tip of %s", e.nonce(), e.from.addr, e.tip.Dec(), best.Dec())
		}
	}
	if lost.Gt(&paid) {
		return fmt.Errorf("fees of %s were pushed out by fees of %s", lost.Dec(), paid.Dec())
	}
	return nil
}

// extend makes a block on the state st out of pooled and other transactions.
func (x *machine) extend(t *rapid.T, st *fakeState) (fakeBlock, *fakeState) {
	b := fakeBlock{before: st}
	next := st.clone()
	run := func(tx *chain.Tx, from common.Address) {
		if tx.Nonce() == next.nonce[from] && tx.Cost().Uint64() <= next.balance[from] {
			next.nonce[from]++
			next.balance[from] -= tx.Value().Uint64() + tx.GasUsed()*(baseFee+tipOf(tx))
			b.txs = append(b.txs, mined{tx, from})
		}
	}
	picked := pick(x.c.lines(), 1<<20, uint64(rapid.IntRange(0, 8).Draw(t, "take"))*transfer)
	for _, tx := range picked {
		run(tx, x.c.byHash[tx.Hash()].from.addr)
	}
	for range rapid.IntRange(0, 2).Draw(t, "others") { // never seen by the pool
		s := drawSpec(t, next)
		s.nonce = next.nonce[who(s.from)]
		run(s.tx(), who(s.from))
	}
	if i := rapid.IntRange(0, machineSenders).Draw(t, "rich"); i < machineSenders { // received something
		next.balance[who(i)] += transfer * baseFee * 3
	}
	return b, next
}

// move gives a new head: it reverts some blocks and applies some others.
func (x *machine) move(t *rapid.T, revert, apply int) {
	revert = min(revert, len(x.blocks))
	back := make(map[common.Address][]*chain.Tx)
	st := x.m.st
	reverted := x.blocks[len(x.blocks)-revert:]
	if revert > 0 {
		st = reverted[0].before
	}
	x.blocks = x.blocks[:len(x.blocks)-revert]
	for _, b := range reverted {
		for _, m := range b.txs {
			back[m.from] = append(back[m.from], m.tx)
		}
	}
	for range apply {
		b, next := x.extend(t, st)
		x.blocks = append(x.blocks, b)
		st = next
	}
	var accounts []moved
	for _, i := range rapid.Permutation([]int{0, 1, 2, 3, 4}).Draw(t, "order") {
		accounts = append(accounts, moved{who(i), back[who(i)]})
	}
	x.now++
	var got []common.Hash
	for _, tx := range x.c.update(st, accounts, x.now) {
		got = append(got, tx.Hash())
	}
	if want := x.m.update(st, accounts, x.now); !slices.Equal(got, want) {
		t.Fatalf("%d came back, the model says %d", len(got), len(want))
	}
}

// check compares core and model and looks at the invariants E5 and E6.
func (x *machine) check(t *rapid.T) {
	if err := x.c.check(); err != nil {
		t.Fatal(err)
	}
	if !x.m.same(x.c) {
		t.Fatalf("the pools differ: %d in the core, %d in the model", len(x.c.byHash), len(x.m.list))
	}
	for _, b := range x.blocks {
		for _, m := range b.txs {
			if x.c.byHash[m.tx.Hash()] != nil {
				t.Fatalf("%s is in the pool and in the chain", m.tx.Hash())
			}
		}
	}
	for i := range machineSenders {
		want := x.m.next(who(i))
		for _, y := range x.m.of(who(i), false) {
			if y.nonce() == want {
				want++
			}
		}
		if got := x.c.nonce(who(i)); got != want {
			t.Fatalf("nonce() of %d = %d, the model says %d", i, got, want)
		}
	}
}

func machineProperty(t *rapid.T) {
	x := newMachine(t)
	t.Repeat(map[string]func(*rapid.T){
		"":       x.check,
		"add":    x.add,
		"add2":   x.add,
		"add3":   x.add, // most of what happens
		"import": func(t *rapid.T) { x.move(t, 0, 1) },
		"reorg": func(t *rapid.T) {
			x.move(t, rapid.IntRange(1, 3).Draw(t, "revert"), rapid.IntRange(0, 4).Draw(t, "apply"))
		},
		"expire": func(t *rapid.T) {
			x.now++
			before := x.now - int64(rapid.IntRange(0, 8).Draw(t, "age"))
			x.c.expire(before)
			x.m.expire(before)
		},
		"remove": func(t *rapid.T) {
			if len(x.m.list) > 0 {
				hash := x.m.list[rapid.IntRange(0, len(x.m.list)-1).Draw(t, "which")].tx.Hash()
				x.c.remove(hash)
				x.m.remove(hash)
			}
		},
	})
}

// TestMachine holds the core against the model.
func TestMachine(t *testing.T) {
	for range 10 { // of a hundred sequences each
		rapid.Check(t, machineProperty)
	}
}

// FuzzMachine is TestMachine with operations that the fuzzer writes.
func FuzzMachine(f *testing.F) {
	r := rand.NewChaCha8([32]byte{1})
	for range 40 { // enough bytes for some dozens of operations each
		seed := make([]byte, 6000)
		_, _ = r.Read(seed)
		f.Add(seed)
	}
	f.Fuzz(rapid.MakeFuzz(machineProperty))
}
