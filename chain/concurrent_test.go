package chain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"golang.org/x/sync/errgroup"
)

// TestReadersAndWriter reads everything from several goroutines while the head
// moves between two branches: no view is ever half of one and half of another.
func TestReadersAndWriter(t *testing.T) {
	w := newWorld(1, 3)
	c := openChain(t, w, Config{unitTxs: 12}, "")
	a, b := w.run(w.genesis(), 30, 3, 2), w.run(w.genesis(), 30, 3, 3)
	were := map[common.Hash]tip{}
	for _, p := range append(slices.Clone(a), b...) {
		were[p.ID()] = p
	}
	var done atomic.Bool
	var g errgroup.Group
	for range 2 {
		g.Go(func() error {
			for !done.Load() {
				if err := errors.Join(readAll(c), readPast(c, were, w.user(0), w.g.Proposers[0])); err != nil {
					return err
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		for !done.Load() {
			if _, err := c.Verify(context.Background()); err != nil {
				return err
			}
		}
		return nil
	})
	g.Go(func() error { // the checks of blocks that the writer is also adding
		for i := 0; !done.Load(); i = (i + 1) % len(a) {
			_ = c.Check(a[i].Block, time.Now())
			_ = c.Check(b[i].Block, time.Now())
			c.Forget(b[i].ID())
			_, _ = c.Evidence(), c.Invalid()
		}
		return nil
	})
	updates, stop := c.Watch(1)
	defer stop()
	moved := 0
	for i := range a {
		first, second := a, b
		if i%2 == 1 {
			first, second = b, a
		}
		for _, branch := range [][]tip{first, second} {
			u, err := c.Add(branch[i].Block)
			if err != nil {
				t.Error(err)
				break
			}
			if u.Moved {
				moved++
				<-updates
			}
		}
	}
	done.Store(true)
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if moved < len(a) || c.Damage() != nil || c.UpdatesLost() != 0 {
		t.Fatalf("head moved %d times, damage %v", moved, c.Damage())
	}
}

// readPast compares accounts after past blocks with those that were.
func readPast(c *Chain, were map[common.Hash]tip, addrs ...common.Address) error {
	for n := range c.Weight() {
		for _, addr := range addrs {
			got, id, err := c.AccountAt(n+1, addr)
			if errors.Is(err, ErrPruned) {
				continue // the writer is between two branches
			}
			if want := were[id]; err != nil || got != want.state.Account(addr) || want.Number() != n+1 {
				return fmt.Errorf("AccountAt(%d, %s) = %+v of %s, %w", n+1, addr, got, id, err)
			}
		}
	}
	return nil
}

// readAll takes one look at everything.
func readAll(c *Chain) error {
	st, head := c.State(), c.Head()
	if n := head.Number.Uint64(); n > 0 && c.Weight() < n {
		return fmt.Errorf("the head went down from %d to %d", n, c.Weight())
	}
	_ = supply(st)
	for n := range c.Weight() + 1 {
		sh := c.SignedHeaderByNumber(n)
		if sh == nil {
			continue // between two branches
		}
		b := c.BlockByID(sh.ID())
		if b == nil || b.ID() != sh.ID() || b.Number() != n {
			return fmt.Errorf("block %d is %v", n, b)
		}
		for _, tx := range b.Txs() {
			if in, at, ok := c.Lookup(tx.Hash()); ok && in.Txs()[at].Hash() != tx.Hash() {
				return fmt.Errorf("lookup of %s finds another", tx.Hash())
			}
		}
		if r, err := c.Receipts(sh.ID()); err != nil || len(r) != len(b.Txs()) {
			return fmt.Errorf("receipts of %d: %d, %w", n, len(r), err)
		}
	}
	return nil
}
