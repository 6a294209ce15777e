package chain

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/syndtr/goleveldb/leveldb/storage"
)

// skipRace skips a test in which writes fail under the race detector: LevelDB
// then closes a channel on which its compaction may be sending, and recovers
// from the panic, which the detector reports as the race it is.
func skipRace(t *testing.T) {
	t.Helper()
	if raceDetector {
		t.Skip("LevelDB has a race of its own where writes fail")
	}
}

// diskChain opens a chain on a simulated disk.
func diskChain(w *world, d *disk, st storage.Storage) (*Chain, error) {
	return Open(Config{UndoBlocks: 20, marker: d, tune: small, unitTxs: 10}, w.g, "", st)
}

// powerBlocks is a chain in which some batches are larger than LevelDB's write
// buffer.
func powerBlocks(w *world) []tip {
	var out []tip
	p := w.genesis()
	for len(out) < 120 {
		out = append(out, w.run(p, 9, 3, 2)...)
		p = out[len(out)-1]
		p = w.next(p, p.Slot()+1, w.transfer(0, p.state.Nonce(w.user(0)), w.user(1), 1, make([]byte, 28_000)...))
		out = append(out, p)
	}
	return out
}

// powerRun imports blocks until the power goes, cuts it, and opens again, with a
// chance that it goes again while opening. It returns the number of the last
// block that was acknowledged and the reopened chain.
func powerRun(t *testing.T, w *world, blocks []tip, d *disk, st storage.Storage, rng *rand.Rand) (acked uint64, c *Chain, err error) {
	t.Helper()
	for cuts := 0; ; cuts++ {
		c, err := diskChain(w, d, st)
		switch {
		case err == nil && c.Weight() < acked:
			return acked, c, fmt.Errorf("head %d, acknowledged %d", c.Weight(), acked)
		case err == nil && cuts == 3:
			return acked, c, nil
		case err == nil:
			for _, b := range blocks[c.Weight():] {
				if _, err := c.Add(b.Block); err != nil || d.isOff() { // what is said without power nobody hears
					break
				}
				acked = b.Number()
			}
			_ = c.Close()
		case !errors.Is(err, errPower):
			return acked, nil, err
		}
		d.powerCut(rng)
		d.ops, d.cutAt = 0, 1+rng.IntN(700)
		if cuts >= 2 {
			d.cutAt = 0
		}
	}
}

// TestPowerCut cuts the power at random moments. All that was acknowledged is
// there afterwards, everything verifies, and the rest of the blocks can follow.
func TestPowerCut(t *testing.T) {
	skipRace(t)
	w := newWorld(1, 3)
	blocks := powerBlocks(w)
	seeds := 100
	if testing.Short() {
		seeds = 20
	}
	var lostNames, lostBytes, torn, reordered, marks, lost int
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(uint64(seed), 5))
		d := newDisk()
		d.cutAt = 1 + rng.IntN(900)
		acked, c, err := powerRun(t, w, blocks, d, d.storage(), rng)
		if err != nil {
			t.Fatalf("seed %d: acknowledged %d: %v", seed, acked, err)
		}
		if _, err := c.Verify(context.Background()); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		add(t, c, blocks[c.Weight():]...)
		if c.HeadID() != blocks[len(blocks)-1].ID() {
			t.Fatalf("seed %d: head %d", seed, c.Weight())
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		lostNames, lostBytes, torn, reordered = lostNames+d.lostNames, lostBytes+d.lostBytes, torn+d.tornFiles, reordered+d.reordered
		marks += d.tornMarks
		lost += int(acked)
	}
	t.Logf("%d names and %d bytes lost, %d files and %d markers torn, %d sectors reordered, %d blocks acknowledged", lostNames, lostBytes, torn, marks, reordered, lost)
	if lostNames == 0 || lostBytes == 0 || torn == 0 || marks == 0 || reordered == 0 || lost < 10*seeds {
		t.Fatal("the faults did not happen")
	}
}

// TestPowerCutFindsUnsyncedNames shows that the simulated disk can lose what is
// acknowledged: LevelDB alone does not sync the names of its new files. And that
// such a loss is noticed, never opened silently.
func TestPowerCutFindsUnsyncedNames(t *testing.T) {
	skipRace(t)
	w := newWorld(1, 3)
	blocks := powerBlocks(w)
	noticed := 0
	for seed := range 60 {
		rng := rand.New(rand.NewPCG(uint64(seed), 5))
		d := newDisk()
		d.cutAt = 1 + rng.IntN(900)
		acked, c, err := powerRun(t, w, blocks, d, d, rng)
		switch {
		case errors.Is(err, ErrCorrupt):
			noticed++
		case err != nil:
			t.Fatalf("seed %d: %v", seed, err)
		case c.Weight() < acked:
			t.Fatalf("seed %d: head %d, acknowledged %d, opened silently", seed, c.Weight(), acked)
		default:
			_ = c.Close()
		}
	}
	if noticed == 0 {
		t.Fatal("nothing was lost: the test of the power cut can prove nothing")
	}
}

// TestDiskFull: the chain stays up, reads work, Add says why, nothing that was
// acknowledged is lost, and it goes on without a restart when there is space.
func TestDiskFull(t *testing.T) {
	skipRace(t)
	w := newWorld(1, 3)
	blocks := w.run(w.genesis(), 60, 3, 2)
	d := newDisk()
	c, err := diskChain(w, d, d.storage())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	updates, stop := c.Watch(100)
	defer stop()
	next := 0
	for round := range 5 {
		for range 8 + round {
			add(t, c, blocks[next])
			next++
		}
		d.setFull(true)
		for range 3 {
			if _, err := c.Add(blocks[next].Block); !errors.Is(err, ErrStorage) || !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrInvalid) {
				t.Fatalf("Add on a full disk = %v", err)
			}
			if b := c.BlockByNumber(uint64(next)); b == nil || b.ID() != blocks[next-1].ID() || c.Damage() != nil {
				t.Fatalf("reading on a full disk: %v, %v", b, c.Damage())
			}
		}
		d.setFull(false)
	}
	add(t, c, blocks[next:]...)
	for i := range blocks {
		if u := <-updates; u.Head.Number.Uint64() != uint64(i+1) || len(u.Applied) != 1 {
			t.Fatalf("update %d is for block %d", i, u.Head.Number)
		}
	}
	if _, err := c.Verify(context.Background()); err != nil {
		t.Fatal(err)
	}
	sameAsLinear(t, w, Config{UndoBlocks: 20, unitTxs: 10}, c, blocks)
}

// syncFails is a disk whose next sync of a file fails after the bytes are written:
// the commit is then neither surely there nor surely not.
type syncFails struct {
	storage.Storage
	fail *bool
}

func (s syncFails) Create(fd storage.FileDesc) (storage.Writer, error) {
	w, err := s.Storage.Create(fd)
	return failingWriter{w, s.fail}, err
}

type failingWriter struct {
	storage.Writer
	fail *bool
}

func (w failingWriter) Sync() error {
	if *w.fail {
		return syscall.EIO
	}
	return w.Writer.Sync()
}

// TestUnknownOutcome: a sync fails, and reopening shows that the commit is there.
// It counts, and the caller and the watchers hear of it once.
func TestUnknownOutcome(t *testing.T) {
	skipRace(t)
	for name, tc := range map[string]struct {
		stays bool // the disk goes on failing while the store is reopened
		next  int  // block that is added then, -1 for one on a side branch
		moved int  // blocks that the update of that Add tells
	}{"heals at once": {false, 0, 1}, "heals later": {true, 4, 2}, "then a side block": {true, -1, 1}} {
		w := newWorld(1, 3)
		blocks := w.run(w.genesis(), 6, 3, 2)
		next := w.next(blocks[1], blocks[1].Slot()+9)
		if tc.next > 0 {
			next = blocks[tc.next]
		}
		d := newDisk()
		var fail, after bool
		cfg := Config{UndoBlocks: 20, marker: d, tune: small, unitTxs: 10, failpoint: func(step string) {
			if step == failHeal {
				fail = after
			}
		}}
		c, err := Open(cfg, w.g, "", syncFails{d.storage(), &fail})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		add(t, c, blocks[:3]...)
		fail, after = true, tc.stays
		u, err := c.Add(blocks[3].Block)
		if tc.stays {
			if !errors.Is(err, ErrStorage) || c.Weight() != 3 {
				t.Fatalf("Add = %v, head %d", err, c.Weight())
			}
			after = false
			u, err = c.Add(next.Block) // block 3 turns out to be there
		}
		if err != nil || u.Old.Number.Uint64() != 3 || !u.Moved || u.Head.Number.Uint64() != c.Weight() {
			t.Fatalf("%s: Add = %+v, %v", name, u, err)
		}
		if len(u.Applied) != tc.moved {
			t.Fatalf("%s: %d applied, want %d", name, len(u.Applied), tc.moved)
		}
		for _, b := range blocks[c.Weight():] {
			add(t, c, b)
		}
		sameAsLinear(t, w, Config{UndoBlocks: 20, unitTxs: 10}, c, blocks)
	}
}
