package chain

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
)

// small makes LevelDB rotate logs and compact tables within a short test.
func small(o *opt.Options) {
	o.WriteBuffer = 24 << 10
	o.CompactionTableSize = 16 << 10
	o.CompactionTotalSize = 64 << 10
}

// damaged is a data dir with tables at several levels and a log, which each case
// gets a copy of.
type damaged struct {
	w      *world
	cfg    Config
	dir    string
	blocks []tip // canonical
	side   tip
	want   map[byte]map[string]string
}

func newDamaged(t *testing.T) *damaged {
	t.Helper()
	d := &damaged{w: newWorld(2, 4), cfg: Config{UndoBlocks: 50, tune: small, unitTxs: 100}, dir: t.TempDir()}
	d.blocks = d.w.run(d.w.genesis(), 120, 3, 2)
	d.side = d.w.next(d.blocks[90], d.blocks[90].Slot()+3)
	c := openChain(t, d.w, d.cfg, d.dir)
	add(t, c, d.blocks...)
	add(t, c, d.side)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	// Once more with a large buffer, so that the newest commits are in one log of
	// several 32 KiB blocks: damage to the first leaves a hole, to the last a torn end.
	c = openChain(t, d.w, Config{UndoBlocks: d.cfg.UndoBlocks, unitTxs: d.cfg.unitTxs}, d.dir)
	last := d.w.run(d.blocks[119], 50, 3, 2)
	add(t, c, last...)
	d.blocks = append(d.blocks, last...)
	d.want = tables(t, c)
	for table, key := range map[byte]string{
		tableHeader: string(blockKey(tableHeader, d.side.Number(), d.side.id)),
		tableBody:   string(blockKey(tableBody, d.side.Number(), d.side.id)),
		tableNumber: string(hashKey(tableNumber, d.side.id)),
	} {
		delete(d.want[table], key) // the network need not bring it back
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	d.dropOrphans(t)
	return d
}

// dropOrphans removes the tables of a compaction that Close cut short: nobody would
// miss them.
func (d *damaged) dropOrphans(t *testing.T) {
	t.Helper()
	db, err := leveldb.OpenFile(filepath.Join(d.dir, databaseDir), &opt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	live, err := db.GetProperty("leveldb.sstables")
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	for _, f := range d.files(t, d.dir, "*.ldb") {
		if number := strings.TrimLeft(strings.TrimSuffix(filepath.Base(f), ".ldb"), "0"); !strings.Contains(live, "\n"+number+":") {
			remove(t, f)
		}
	}
}

// files lists the files of the database with this ending, oldest first.
func (d *damaged) files(t *testing.T, dir, glob string) []string {
	t.Helper()
	out, err := filepath.Glob(filepath.Join(dir, databaseDir, glob))
	if err != nil || len(out) == 0 {
		t.Fatalf("no %s in %s: %v", glob, dir, err)
	}
	slices.Sort(out)
	return out
}

func (d *damaged) copy(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(d.dir)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// edit changes a file's bytes.
func edit(t *testing.T, path string, f func([]byte) []byte) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, f(raw), 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func cutTail(n int) func([]byte) []byte {
	return func(raw []byte) []byte { return raw[:max(0, len(raw)-n)] }
}

func junkAt(at float64) func([]byte) []byte {
	return func(raw []byte) []byte {
		i := int(at * float64(len(raw)-16))
		copy(raw[i:], "junkjunkjunkjunk")
		return raw
	}
}

// TestDamage: a damaged store opens whole or is refused by name with what to do,
// never with a gap or silently empty. Repair brings back a prefix that verifies,
// and the network brings back the rest.
func TestDamage(t *testing.T) {
	d := newDamaged(t)
	last := func(dir, glob string) string { return slices.Max(d.files(t, dir, glob)) }
	for name, tc := range map[string]struct {
		damage func(dir string)
		must   bool // Open itself must refuse
	}{
		"log torn by 10 bytes":    {func(dir string) { edit(t, last(dir, "*.log"), cutTail(10)) }, true},
		"log cut to half":         {func(dir string) { edit(t, last(dir, "*.log"), func(b []byte) []byte { return b[:len(b)/2] }) }, true},
		"log empty":               {func(dir string) { edit(t, last(dir, "*.log"), cutTail(1<<30)) }, true},
		"log missing":             {func(dir string) { remove(t, last(dir, "*.log")) }, true},
		"junk in the log":         {func(dir string) { edit(t, last(dir, "*.log"), junkAt(0.4)) }, true},
		"junk near the log's end": {func(dir string) { edit(t, last(dir, "*.log"), junkAt(0.95)) }, true},
		"junk at the log's start": {func(dir string) { edit(t, last(dir, "*.log"), junkAt(0)) }, true},
		"oldest table missing":    {func(dir string) { remove(t, d.files(t, dir, "*.ldb")[0]) }, true},
		"newest table missing":    {func(dir string) { remove(t, last(dir, "*.ldb")) }, true},
		"table cut":               {func(dir string) { edit(t, d.files(t, dir, "*.ldb")[0], cutTail(100)) }, false},
		"junk in a table":         {func(dir string) { edit(t, last(dir, "*.ldb"), junkAt(0.3)) }, false},
		"manifest missing":        {func(dir string) { remove(t, last(dir, "MANIFEST-*")) }, true},
		"junk in the manifest":    {func(dir string) { edit(t, last(dir, "MANIFEST-*"), junkAt(0.5)) }, false},
		"CURRENT missing":         {func(dir string) { remove(t, filepath.Join(dir, databaseDir, "CURRENT")) }, true},
		"junk in CURRENT":         {func(dir string) { edit(t, filepath.Join(dir, databaseDir, "CURRENT"), junkAt(0)) }, true},
		"database missing":        {func(dir string) { remove(t, filepath.Join(dir, databaseDir)) }, true},
		"database emptied": {func(dir string) {
			remove(t, filepath.Join(dir, databaseDir))
			if err := os.Mkdir(filepath.Join(dir, databaseDir), 0o700); err != nil {
				t.Fatal(err)
			}
		}, true},
		"all tables missing": {func(dir string) {
			for _, f := range d.files(t, dir, "*.ldb") {
				remove(t, f)
			}
		}, true},
		"head marker missing": {func(dir string) { remove(t, filepath.Join(dir, "head")) }, true},
		"head marker flipped": {func(dir string) {
			edit(t, filepath.Join(dir, "head"), func(b []byte) []byte { b[20] ^= 1; b[markSlot+20] ^= 1; return b })
		}, true},
		"newer half of the head marker flipped": {func(dir string) {
			edit(t, filepath.Join(dir, "head"), func(b []byte) []byte {
				m, err := newestMark(b)
				if err != nil {
					t.Fatal(err)
				}
				b[m.at()+20] ^= 1
				return b
			})
		}, false},
		"head marker cut": {func(dir string) { edit(t, filepath.Join(dir, "head"), func(b []byte) []byte { return b[:markSlot] }) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := d.copy(t)
			tc.damage(dir)
			if d.notice(t, dir, tc.must) {
				d.heal(t, dir)
			}
		})
	}
}

// TestBitFlips flips a bit at 64 places of the tables.
func TestBitFlips(t *testing.T) {
	d := newDamaged(t)
	for i := range 64 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(64, uint64(i)))
			dir := d.copy(t)
			tables := d.files(t, dir, "*.ldb")
			edit(t, tables[rng.IntN(len(tables))], func(b []byte) []byte {
				b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
				return b
			})
			if found := d.notice(t, dir, false); found && i < 8 {
				d.heal(t, dir)
			}
		})
	}
}

// notice opens a damaged copy: it must be refused, or be whole but for what
// Verify then finds. It tells whether there is damage at all.
func (d *damaged) notice(t *testing.T, dir string, must bool) bool {
	t.Helper()
	c, err := Open(d.cfg, d.w.g, dir, nil)
	switch {
	case err == nil && must:
		_ = c.Close()
		t.Fatal("Open does not notice")
	case err == nil:
		if c.HeadID() != d.blocks[len(d.blocks)-1].ID() {
			t.Fatalf("Open gives head %d without an error", c.Weight())
		}
		_, err = c.Verify(context.Background())
		_ = c.Close()
		if err == nil {
			return false // the bit was in no use
		}
	case !strings.Contains(err.Error(), "--repair") || !strings.Contains(err.Error(), dir):
		t.Fatalf("Open = %v: does not say where, or what to do", err)
	}
	if !errors.Is(err, ErrCorrupt) || errors.Is(err, ErrInvalid) {
		t.Fatalf("%v, want ErrCorrupt", err)
	}
	return true
}

// heal repairs a damaged copy and brings it back to the head.
func (d *damaged) heal(t *testing.T, dir string) {
	t.Helper()
	rep, err := Repair(context.Background(), d.cfg, d.w.g, dir)
	if err != nil {
		t.Fatal(err)
	}
	c := openChain(t, d.w, d.cfg, dir)
	if _, err := c.Verify(context.Background()); err != nil {
		t.Fatal(err)
	}
	n := c.Weight()
	if n != rep.Head || n > 0 && c.HeadID() != d.blocks[n-1].ID() {
		t.Fatalf("repaired to %d %s, said %+v", n, c.HeadID(), rep)
	}
	for i := range n {
		if b := c.BlockByNumber(i + 1); b == nil || b.ID() != d.blocks[i].ID() {
			t.Fatalf("a gap at block %d", i+1)
		}
	}
	t.Logf("repaired to block %d of %d, rebuilt %v", n, len(d.blocks), rep.Rebuilt)
	c.store.lazy = true
	for _, b := range d.blocks[n:] {
		if _, err := c.Add(b.Block); err != nil && !errors.Is(err, ErrKnown) {
			t.Fatal(err)
		}
	}
	sameTables(t, c, d.want)
}

// TestRepairOfAGoodStore changes nothing but the marker.
func TestRepairOfAGoodStore(t *testing.T) {
	d := newDamaged(t)
	rep, err := Repair(context.Background(), d.cfg, d.w.g, d.dir)
	if err != nil || rep.Rebuilt || rep.Head != uint64(len(d.blocks)) {
		t.Fatalf("Repair = %+v, %v", rep, err)
	}
	sameTables(t, openChain(t, d.w, d.cfg, d.dir), d.want)
}

// TestRepairInterrupted: a rebuild that ended between its two renames is taken up.
func TestRepairInterrupted(t *testing.T) {
	d := newDamaged(t)
	edit(t, slices.Max(d.files(t, d.dir, "*.log")), junkAt(0.1))
	rep, err := Repair(context.Background(), d.cfg, d.w.g, d.dir)
	if err != nil || !rep.Rebuilt || rep.Head == 0 {
		t.Fatalf("Repair = %+v, %v", rep, err)
	}
	if err := os.Rename(filepath.Join(d.dir, databaseDir), filepath.Join(d.dir, rebuiltDir)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(d.cfg, d.w.g, d.dir, nil); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("Open = %v, want ErrCorrupt", err)
	}
	again, err := Repair(context.Background(), d.cfg, d.w.g, d.dir)
	if err != nil || again.Head != rep.Head {
		t.Fatalf("Repair again = %+v, %v, want head %d", again, err, rep.Head)
	}
}

// TestRepairOfADiskThatFails: a table of the old database that the disk does not give is
// not the end of the chain. Nothing is put in the place of blocks that were not read, and
// once the disk is well the repair finds them.
func TestRepairOfADiskThatFails(t *testing.T) {
	d := newDamaged(t)
	failed := 0
	for i := range d.files(t, d.dir, "*.l*") { // tables and logs
		dir := d.copy(t)
		table := d.files(t, dir, "*.l*")[i]
		if err := os.Rename(table, table+".good"); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(table, 0o700); err != nil { // it opens, and no read of it succeeds
			t.Fatal(err)
		}
		rep, err := Repair(context.Background(), d.cfg, d.w.g, dir)
		if err == nil { // a table of other things than blocks
			if rep.Head != uint64(len(d.blocks)) {
				t.Errorf("%s is not readable: Repair = %+v, nil", table, rep)
			}
			continue
		}
		failed++
		if !errors.Is(err, syscall.EISDIR) || exists(filepath.Join(dir, damagedDir)) || !exists(filepath.Join(dir, databaseDir)) {
			t.Errorf("%s is not readable: Repair = %v, or another database is in its place", table, err)
		}
		if err := errors.Join(os.Remove(table), os.Rename(table+".good", table)); err != nil {
			t.Fatal(err)
		}
		d.heal(t, dir)
	}
	if failed == 0 {
		t.Fatal("no table failed a repair")
	}
}

func TestRepairRefuses(t *testing.T) {
	d := newDamaged(t)
	other := newWorld(1, 1)
	if _, err := Repair(context.Background(), d.cfg, other.g, d.copy(t)); !errors.Is(err, ErrWrongNetwork) {
		t.Errorf("another genesis: %v", err)
	}
	c := openChain(t, d.w, d.cfg, d.dir)
	if _, err := Repair(context.Background(), d.cfg, d.w.g, d.dir); !errors.Is(err, ErrInUse) {
		t.Errorf("a running node: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	// With pruning, a hole cannot be filled from the blocks.
	cfg := Config{UndoBlocks: d.cfg.UndoBlocks, unitTxs: d.cfg.unitTxs, PruneBodies: 60}
	c = openChain(t, d.w, cfg, d.dir)
	add(t, c, d.w.run(d.blocks[len(d.blocks)-1], 60, 3, 2)...)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, slices.Max(d.files(t, d.dir, "*.log")), junkAt(0.1))
	if _, err := Repair(context.Background(), cfg, d.w.g, d.dir); !errors.Is(err, ErrPruned) {
		t.Errorf("a pruned store with a hole: %v", err)
	}
}
