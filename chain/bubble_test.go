package chain

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestVirtualTime runs a chain where time is virtual: it must own every goroutine
// it starts, and blocks must become due when the clock says so.
func TestVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1, 2)
		w.g.TimeMS, w.g.SlotMS = uint64(time.Now().UnixMilli()), 200
		c, err := Open(Config{}, w.g, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		updates, stop := c.Watch(1)
		defer stop()
		for slot := uint64(1); slot <= 5; slot++ {
			b, _, err := c.Build(slot, w.proposers[0], []*Tx{w.transfer(0, slot-1, w.user(1), 1)}, 0)
			if err != nil {
				t.Fatal(err)
			}
			early := c.Check(b, time.Now())
			if e, ok := early.(ErrEarly); !ok || !e.Hold || time.Until(e.When) != 200*time.Millisecond {
				t.Fatalf("slot %d: Check = %v", slot, early)
			}
			time.Sleep(200 * time.Millisecond)
			if err := c.Check(b, time.Now()); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Add(b); err != nil {
				t.Fatal(err)
			}
			if u := <-updates; u.Head.Number.Uint64() != slot {
				t.Fatalf("update for block %d, want %d", u.Head.Number, slot)
			}
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second) // see Close
	})
}
