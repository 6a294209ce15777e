package chain

import (
	"slices"
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

// TestReadersWaitForAReopening: while the writer reopens the database a reader of many
// keys waits as one of a single key does, and nobody takes it for damage.
func TestReadersWaitForAReopening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1, 3)
		w.g.TimeMS = uint64(time.Now().Add(-time.Hour).UnixMilli()) // no slot is early
		blocks := w.run(w.genesis(), 80, 3, 2)
		c, err := Open(Config{unitTxs: 10, tune: small}, w.g, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		add(t, c, blocks...)
		reopen := func() {
			t.Helper()
			old := c.store.db.Load()
			if err := c.store.openDB(); err != nil {
				t.Fatal(err)
			}
			close(old.next)
		}
		closeDB := func() {
			t.Helper()
			if err := c.store.db.Load().DB.Close(); err != nil {
				t.Fatal(err)
			}
		}

		closeDB()
		done := make(chan bool)
		go func() {
			_, _, ok := c.Lookup(blocks[3].txs[0].hash) // in a unit on disk
			done <- ok
		}()
		synctest.Wait()
		select {
		case <-done:
			t.Fatal("Lookup does not wait")
		default:
		}
		reopen()
		if ok := <-done; !ok || c.Damage() != nil {
			t.Errorf("Lookup found %v, damage %v", ok, c.Damage())
		}

		// In the middle of a walk over several tables.
		began := time.Now()
		var keys []string
		err = c.store.iterate([]byte{tableHeader}, nil, func(key, _ []byte) error {
			if len(keys) == 0 {
				closeDB()
				go func() {
					time.Sleep(time.Second)
					reopen()
				}()
			}
			keys = append(keys, string(key))
			return nil
		})
		if time.Since(began) < time.Second {
			t.Error("the walk was over before the database was closed")
		}
		if err != nil || len(keys) != len(blocks)+1 || !slices.IsSorted(keys) {
			t.Errorf("%d keys, sorted %v: %v, want %d", len(keys), slices.IsSorted(keys), err, len(blocks)+1)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second) // see Close
	})
}

// TestPassingTroubleIsNoDamage: what a reader meets while the storage cannot be opened
// is forgotten once it can.
func TestPassingTroubleIsNoDamage(t *testing.T) {
	w := newWorld(1, 2)
	c := openChain(t, w, Config{unitTxs: 1}, "")
	b := w.run(w.genesis(), 1, 1, 1)[0]
	add(t, c, b)
	open := c.store.db.Load()
	c.store.db.Store(&handle{next: make(chan struct{})}) // as heal leaves it
	if _, _, ok := c.Lookup(b.txs[0].hash); ok || c.Damage() != nil {
		t.Errorf("Lookup without a database: %v, damage %v", ok, c.Damage())
	}
	c.store.db.Store(open)
	if _, _, ok := c.Lookup(b.txs[0].hash); !ok {
		t.Error("not found once the database is back")
	}
}
