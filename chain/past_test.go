package chain

import (
	"errors"
	"slices"
	"testing"

	"github.com/ethereum/go-ethereum/common"
)

// TestPastAccounts: AccountAt goes PastBlocks below the head and no further, of accounts
// old and new, and remembers no block that is further down.
func TestPastAccounts(t *testing.T) {
	w := newWorld(2, 2)
	c := openChain(t, w, Config{}, "")
	tips := []tip{w.genesis()}
	ask := func(n int, addr common.Address) {
		t.Helper()
		a, id, err := c.AccountAt(uint64(n), addr)
		if want := tips[n].state.Account(addr); err != nil || id != tips[n].ID() || a != want {
			t.Fatalf("AccountAt(%d, %s) = %+v of %s, %v, want %+v of %s", n, addr, a, id, err, want, tips[n].ID())
		}
	}
	newest := func(n int) common.Address { return common.BigToAddress(tips[n].header.Number) }
	for n := 1; n < PastBlocks+20; n++ {
		p := tips[n-1]
		nonce := p.state.Nonce(w.user(0))
		to := common.BytesToAddress([]byte{byte(n)})
		txs := []*Tx{w.transfer(0, nonce, to, 7), w.transfer(0, nonce+1, w.user(1), 8), w.transfer(1, p.state.Nonce(w.user(1)), w.user(1), 9)}
		if n%5 == 0 {
			txs = nil
		}
		tips = append(tips, w.next(p, p.Slot()+1+uint64(n%3), txs...))
		add(t, c, tips[n])
		for _, back := range []int{0, 1, 2, 30, PastBlocks} {
			if back <= n {
				ask(n-back, newest(n))
				ask(n-back, newest(n-back))
				ask(n-back, w.user(n%2))
			}
		}
	}
	head := len(tips) - 1
	for n := head - PastBlocks; n <= head; n++ {
		for _, addr := range slices.Concat(w.g.Proposers, []common.Address{w.user(0), w.user(1), newest(n), {1: 1}}) {
			ask(n, addr)
		}
	}
	for _, n := range []int{0, 5, head - PastBlocks - 1} {
		if _, _, err := c.AccountAt(uint64(n), w.user(0)); !errors.Is(err, ErrPruned) {
			t.Errorf("AccountAt(%d) = %v, want ErrPruned with the head at %d", n, err, head)
		}
	}
	if _, _, err := c.AccountAt(uint64(head)+1, w.user(0)); !errors.Is(err, ErrNotFound) {
		t.Errorf("AccountAt above the head = %v, want ErrNotFound", err)
	}
	if n := len(c.past.blocks); n == 0 || n > PastBlocks {
		t.Errorf("%d blocks are remembered, want at most %d", n, PastBlocks)
	}
}

// TestPastReadsEachRecordOnce: without the records, what is remembered still tells of an
// account that none of them holds; and an address that only seems to be in one is looked for
// further up.
func TestPastReadsEachRecordOnce(t *testing.T) {
	w := newWorld(1, 3)
	c := openChain(t, w, Config{}, "")
	tips := w.spread(w.genesis(), 4, "a")
	add(t, c, tips...)
	idle := w.user(2)
	for id, b := range c.past.blocks {
		t.Fatalf("block %d %s is remembered before anybody asked", b.number, id)
	}
	for range 2 {
		if a, _, err := c.AccountAt(1, idle); err != nil || a != tips[0].state.Account(idle) {
			t.Fatalf("AccountAt(1) = %+v, %v", a, err)
		}
		if len(c.past.blocks) != 3 {
			t.Fatalf("%d blocks are remembered, want 3", len(c.past.blocks))
		}
		for n := uint64(2); n <= 4; n++ {
			if err := c.store.db.Load().Delete(blockKey(tableUndo, n, tips[n-1].ID()), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, _, err := c.AccountAt(1, w.user(0)); !errors.Is(err, ErrPruned) {
		t.Errorf("AccountAt(1) of an account in a record that is gone = %v, want ErrPruned", err)
	}
	more := w.spread(tips[3], 2, "b")
	add(t, c, more...)
	c.past.put(more[0].ID(), pastBlock{5, []uint32{c.past.sum(idle)}}, 6)
	to := more[1].txs[0].to
	both := []uint32{c.past.sum(idle), c.past.sum(to)}
	slices.Sort(both)
	c.past.put(more[1].ID(), pastBlock{6, both}, 6)
	for _, addr := range []common.Address{idle, to} {
		if a, _, err := c.AccountAt(4, addr); err != nil || a != tips[3].state.Account(addr) {
			t.Errorf("AccountAt(4, %s) = %+v, %v", addr, a, err)
		}
	}
}
