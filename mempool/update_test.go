package mempool

import (
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"

	"github.com/pheme-net/pheme/chain"
)

// head moves a core to a state that differs from its own by what set does.
func head(c *core, st *fakeState, set func(*fakeState), accounts ...moved) []*chain.Tx {
	next := st.clone()
	set(next)
	return c.update(next, accounts, 1000)
}

func TestUpdateTakesOutIncluded(t *testing.T) {
	c, st := testCore(Config{}, 2, 1<<50)
	for n := range uint64(6) {
		put(t, c, spec{from: 0, nonce: n})
	}
	put(t, c, spec{from: 0, nonce: 8}, spec{from: 0, nonce: 10}, spec{from: 1, nonce: 0})
	head(c, st, func(s *fakeState) { s.nonce[who(0)] = 3 }, moved{addr: who(0)})
	wantShape(t, c, 0, "3 4 5 | 8 10")
	head(c, st, func(s *fakeState) { s.nonce[who(0)] = 8 }, moved{addr: who(0)}) // others filled the gap
	wantShape(t, c, 0, "8 | 10")
	head(c, st, func(s *fakeState) { s.nonce[who(0)] = 11 }, moved{addr: who(0)})
	wantShape(t, c, 0, "|")
	wantShape(t, c, 1, "0 |")
}

func TestUpdateDropsOverdrawn(t *testing.T) {
	const one = transfer * (baseFee + 1)
	c, st := testCore(Config{}, 1, 10*one)
	for n := range uint64(4) {
		put(t, c, spec{nonce: n, tip: 1})
	}
	put(t, c, spec{nonce: 6, tip: 1})
	head(c, st, func(s *fakeState) { s.nonce[who(0)], s.balance[who(0)] = 1, 2*one }, moved{addr: who(0)})
	wantShape(t, c, 0, "1 2 |")
	if c.dropped.Overdrawn != 2 {
		t.Fatalf("%d overdrawn, want 2", c.dropped.Overdrawn)
	}
}

func TestReorgBringsBack(t *testing.T) {
	c, st := testCore(Config{MaxCount: 4}, 3, 1<<50)
	was := st.clone()
	st.nonce[who(0)], st.nonce[who(1)] = 2, 1
	put(t, c, spec{from: 0, nonce: 2, tip: 5}, spec{from: 0, nonce: 3, tip: 5}, spec{from: 2, tip: 9})
	back := []*chain.Tx{spec{from: 0, nonce: 0, tip: 5}.tx(), spec{from: 0, nonce: 1, tip: 5}.tx()}
	other := []*chain.Tx{spec{from: 1, nonce: 0, tip: 1}.tx()}
	readded := c.update(was, []moved{{who(0), back}, {who(1), other}}, 1000)
	// There is room for four: the sender keeps the two places it had and takes the free one.
	if len(readded) != 2 || c.dropped.Reverted != 1 {
		t.Fatalf("%d came back and %d did not, want sender 0's two and sender 1's one", len(readded), c.dropped.Reverted)
	}
	wantShape(t, c, 0, "0 1 2 | 3")
	wantShape(t, c, 1, "|")
	wantShape(t, c, 2, "0 |")
}

// A sender at its cap keeps all it has queued, and gets back all that is reverted.
func TestReorgOfABusySender(t *testing.T) {
	c, st := testCore(Config{PerSender: 4, FuturePerSend: 2}, 2, 1<<50)
	was := st.clone()
	st.nonce[who(0)], st.nonce[who(1)] = 3, 9
	for n := uint64(3); n < 9; n++ {
		put(t, c, spec{from: 0, nonce: n})
	}
	wantShape(t, c, 0, "3 4 5 6 | 7 8")
	var back [2][]*chain.Tx
	for from, n := range []uint64{3, 9} { // fewer and more than a sender may queue
		for nonce := range n {
			back[from] = append(back[from], spec{from: from, nonce: nonce}.tx())
		}
	}
	if readded := c.update(was, []moved{{who(0), back[0]}, {who(1), back[1]}}, 1000); len(readded) != 12 {
		t.Fatalf("%d came back, want 12", len(readded))
	}
	wantShape(t, c, 0, "0 1 2 3 4 5 6 | 7 8")
	wantShape(t, c, 1, "0 1 2 3 4 5 6 7 8 |")
	if c.dropped != (Dropped{}) {
		t.Fatalf("dropped %+v, want nothing", c.dropped)
	}
	// More than that it may not have, and an ordinary block lifts nothing.
	refused(t, c, spec{from: 0, nonce: 9}, ErrSenderLimit)
	head(c, was, func(s *fakeState) { s.nonce[who(0)] = 3 }, moved{addr: who(0)})
	wantShape(t, c, 0, "3 4 5 6 | 7 8")
	head(c, was, func(s *fakeState) { s.nonce[who(0)] = 4 }, moved{addr: who(0)})
	wantShape(t, c, 0, "4 5 6 7 | 8")
}

func TestReorgThatLosesTheMiddle(t *testing.T) {
	c, st := testCore(Config{FuturePerSend: 3, MaxFuture: 4}, 2, 1<<50)
	was := st.clone()
	st.nonce[who(0)] = 1
	for n := uint64(1); n < 8; n++ {
		put(t, c, spec{from: 0, nonce: n})
	}
	if readded := c.update(was, []moved{{addr: who(0)}}, 0); len(readded) != 0 {
		t.Fatalf("%d came back, want none", len(readded))
	}
	wantShape(t, c, 0, "| 1 2 3")
	if c.dropped.Crowded != 4 {
		t.Fatalf("%d crowded out, want 4", c.dropped.Crowded)
	}
}

func TestReorgWithoutTheMoney(t *testing.T) {
	const one = transfer * (baseFee + 1)
	c, st := testCore(Config{}, 1, 4*one)
	was := st.clone()
	was.balance[who(0)] = 2 * one // what it had got in between is reverted too
	st.nonce[who(0)] = 1
	put(t, c, spec{nonce: 1, tip: 1}, spec{nonce: 2, tip: 1})
	back := spec{nonce: 0, tip: 1}.tx()
	if readded := c.update(was, []moved{{who(0), []*chain.Tx{back}}}, 0); len(readded) != 1 {
		t.Fatal("the reverted one did not come back before those that were queued behind it")
	}
	wantShape(t, c, 0, "0 1 |")
}

// countingState counts the questions for a balance.
type countingState struct {
	*fakeState
	balances int
}

func (s *countingState) Balance(a common.Address) *uint256.Int {
	s.balances++
	return s.fakeState.Balance(a)
}

// Most accounts that a block touches have nothing here: they cost no look at the state.
func TestUpdateAsksForFewBalances(t *testing.T) {
	c, st := testCore(Config{}, 2, 1<<50)
	put(t, c, spec{from: 0, nonce: 0}, spec{from: 0, nonce: 1})
	next := st.clone()
	next.nonce[who(0)] = 1
	asked := &countingState{fakeState: next}
	accounts := []moved{{addr: who(0)}}
	for i := range 100 {
		accounts = append(accounts, moved{addr: who(50 + i)})
	}
	c.update(asked, accounts, 0)
	if asked.balances != 1 {
		t.Fatalf("%d balances asked for, want that of the one sender", asked.balances)
	}
}

// A reverted transaction that is pooled again does not keep its block in memory.
func TestReorgCopies(t *testing.T) {
	c, st := testCore(Config{}, 1, 1<<50)
	tx := spec{tip: 1}.tx()
	readded := head(c, st, func(*fakeState) {}, moved{who(0), []*chain.Tx{tx}})
	if len(readded) != 1 || c.byHash[tx.Hash()] == nil || c.byHash[tx.Hash()].tx != readded[0] {
		t.Fatalf("%d came back, want one, and that one pooled", len(readded))
	}
	if &readded[0].Raw()[0] == &tx.Raw()[0] {
		t.Fatal("it has the bytes of the block")
	}
}

// What the other branch holds too costs nothing that is queued.
func TestReorgDropsNothingForWhatStays(t *testing.T) {
	const one = transfer * (baseFee + 1)
	c, st := testCore(Config{}, 1, 2*one)
	st.nonce[who(0)] = 1
	put(t, c, spec{nonce: 1, tip: 1}, spec{nonce: 2, tip: 1})
	both := spec{nonce: 0, tip: 1}.tx()
	if readded := head(c, st, func(*fakeState) {}, moved{who(0), []*chain.Tx{both}}); len(readded) != 0 {
		t.Fatalf("%d came back that are in a block", len(readded))
	}
	wantShape(t, c, 0, "1 2 |")
}

func TestRemoveFromTheMiddle(t *testing.T) {
	c, _ := testCore(Config{}, 1, 1<<50)
	for n := range uint64(4) {
		put(t, c, spec{nonce: n})
	}
	c.remove(spec{nonce: 1}.tx().Hash())
	wantShape(t, c, 0, "0 | 2 3")
	put(t, c, spec{nonce: 1})
	wantShape(t, c, 0, "0 1 2 3 |")
}

func TestPick(t *testing.T) {
	c, _ := testCore(Config{}, 4, 1<<50)
	put(t, c,
		spec{from: 0, nonce: 0, tip: 1}, spec{from: 0, nonce: 1, tip: 100},
		spec{from: 1, nonce: 0, tip: 50}, spec{from: 1, nonce: 1, tip: 2},
		spec{from: 2, nonce: 0, tip: 50}, spec{from: 3, nonce: 1, tip: 999})
	order := func(txs []*chain.Tx) (tips []uint64) {
		for _, tx := range txs {
			tips = append(tips, tx.TipCap().Uint64())
		}
		return tips
	}
	same := func(got, want []uint64) {
		t.Helper()
		if len(got) != len(want) {
			t.Fatalf("picked tips %v, want %v", got, want)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("picked tips %v, want %v", got, want)
			}
		}
	}
	same(order(pick(c.lines(), 1<<20, 1<<40)), []uint64{50, 50, 2, 1, 100})
	same(order(pick(c.lines(), 1<<20, 3*transfer)), []uint64{50, 50, 2})
	size := spec{from: 1, tip: 50}.tx().Size() + 1 // and its head
	same(order(pick(c.lines(), 4+2*size+minSize-1, 1<<40)), []uint64{50, 50})
	same(order(pick(c.lines(), 0, 1<<40)), nil)
}

// A transaction too large for what is left of a block does not end the block.
func TestPickPassesOver(t *testing.T) {
	c, _ := testCore(Config{}, 3, 1<<50)
	put(t, c, spec{from: 0, tip: 9, data: 5000}, spec{from: 1, tip: 5}, spec{from: 2, tip: 4})
	if got := pick(c.lines(), 1000, 1<<40); len(got) != 2 || got[0].TipCap().Uint64() != 5 {
		t.Fatalf("picked %d, want the two that fit", len(got))
	}
}
