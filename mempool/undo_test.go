package mempool

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/pheme-net/pheme/chain"
)

// fullDisk lets nothing be written until it is given nil again.
func fullDisk(op string, _ int) error {
	if op == "write" || op == "create" {
		return errFull
	}
	return nil
}

// unrecorded offers a transaction that the disk has no room for.
func unrecorded(t testing.TB, p *Pool, tx *chain.Tx) {
	t.Helper()
	if err := p.Add([]*chain.Tx{tx})[0]; !errors.Is(err, ErrJournal) || !errors.Is(err, errFull) {
		t.Fatalf("Add on a full disk = %v, want %v", err, ErrJournal)
	}
}

// What a refused transaction has pushed out was acknowledged: it comes back, and is
// in the journal that is written when there is space again.
func TestTakeBackPutsBackEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(4)
		d := newMemDisk()
		cfg := Config{JournalPath: path, MaxCount: 2}
		p := w.open(t, cfg, d)
		poor, other := w.sign(spec{from: 0, tip: 1}), w.sign(spec{from: 1, tip: 3})
		add(t, p, poor, other)
		d.setFail(fullDisk)
		unrecorded(t, p, w.sign(spec{from: 2, tip: 9}))
		if p.Stats().Dropped.Evicted != 1 {
			t.Fatal("nothing was evicted: the test shows nothing")
		}
		if p.Get(poor.Hash()) == nil || p.Get(other.Hash()) == nil {
			t.Fatal("an acknowledged transaction made way for a refused one")
		}
		d.setFail(nil)
		time.Sleep(2 * healEvery)
		add(t, p, w.sign(spec{from: 3, nonce: 1, tip: 1})) // a future one, which evicts nobody
		again := w.open(t, cfg, d.killed())
		wantSame(t, again, p)
		if again.Get(poor.Hash()) == nil {
			t.Fatal("an acknowledged transaction is lost")
		}
	})
}

// A replacement that is refused at the front of a long queue costs nothing behind it.
func TestTakeBackPutsBackReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 300 // more than FuturePerSend
		w := newWorld(1)
		d := newMemDisk()
		p := w.open(t, Config{JournalPath: path}, d)
		var txs []*chain.Tx
		for nonce := range uint64(n) {
			txs = append(txs, w.sign(spec{nonce: nonce, tip: 100, cap: 200}))
		}
		add(t, p, txs...)
		d.setFail(fullDisk)
		unrecorded(t, p, w.sign(spec{nonce: 5, tip: 300, cap: 600}))
		if p.Stats().Dropped.Replaced != 1 {
			t.Fatal("nothing was replaced: the test shows nothing")
		}
		if s := p.Stats(); s.Executable != n || s.Future != 0 || s.Dropped.Crowded != 0 || p.Get(txs[5].Hash()) == nil {
			t.Fatalf("%+v, want all %d executable as before", s, n)
		}
		d.setFail(nil)
		time.Sleep(2 * healEvery)
		add(t, p, w.sign(spec{nonce: n}))
		wantSame(t, w.open(t, Config{JournalPath: path}, d.killed()), p)
	})
}

// A sender that a reorg or a restart left above its cap stays there.
func TestTakeBackLiftsSenderCaps(t *testing.T) {
	w := newWorld(1)
	d := newMemDisk()
	p := w.open(t, Config{JournalPath: path}, d)
	for nonce := range uint64(9) {
		add(t, p, w.sign(spec{nonce: nonce, tip: 100, cap: 200}))
	}
	d = d.killed()
	p = w.open(t, Config{JournalPath: path, PerSender: 2, FuturePerSend: 1}, d)
	d.setFail(fullDisk)
	unrecorded(t, p, w.sign(spec{nonce: 3, tip: 300, cap: 600}))
	if s := p.Stats(); s.Executable != 9 || s.Dropped.Replaced != 1 || s.Dropped.Unrecorded != 1 {
		t.Fatalf("%+v, want 9 executable after one replacement is taken back", s)
	}
}

// TestTakeBack: whatever a batch did, and the one filled behind it, all that was
// pooled before is pooled after both are taken back, and nothing else.
func TestTakeBack(t *testing.T) {
	w := newWorld(4)
	refused := 0
	rapid.Check(t, func(t *rapid.T) {
		size := w.sign(spec{}).Size()
		for i := range w.keys {
			w.st.nonce[w.addr(i)], w.st.balance[w.addr(i)] = 0, 10*transfer*(baseFee+20)
		}
		p, err := open(Config{
			JournalPath: path, MaxCount: rapid.IntRange(1, 8).Draw(t, "MaxCount"), MaxFuture: rapid.IntRange(1, 4).Draw(t, "MaxFuture"),
			MaxBytes: 9 * size, MaxFutureBytes: 5 * size, PerSender: 4, FuturePerSend: 3, MaxGap: 4,
		}, w.g, w.st, newMemDisk())
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 12).Draw(t, "acknowledged") {
			p.Add([]*chain.Tx{w.sign(drawSigned(t, w))})
		}
		before := contents(p)
		fill := func(name string) (b *batch) {
			for range rapid.IntRange(0, 6).Draw(t, name) {
				var n int
				b, n = p.admit([]*chain.Tx{w.sign(drawSigned(t, w))}, make([]error, 1))
				refused += n
			}
			return b
		}
		fill("written")
		p.mu.Lock()
		b := p.batch
		p.batch = newBatch()
		p.stale = errFull // said already
		p.mu.Unlock()
		fill("behind it")
		if next := p.takeBack(b, errFull); b.err == nil || next.err == nil {
			t.Fatal("a batch was taken back without an error")
		}
		after := contents(p)
		for hash := range before {
			if _, there := after[hash]; !there {
				t.Fatal("an acknowledged transaction is lost")
			}
		}
		if len(after) != len(before) {
			t.Fatalf("%d transactions before, %d after", len(before), len(after))
		}
		if err := p.core.check(); err != nil {
			t.Fatal(err)
		}
	})
	if refused == 0 {
		t.Fatal("nothing was ever taken back")
	}
}
