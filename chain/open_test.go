package chain

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/storage"
)

func TestOpenRefuses(t *testing.T) {
	w := newWorld(1, 2)
	dir := t.TempDir()
	c := openChain(t, w, Config{}, dir)
	add(t, c, w.run(w.genesis(), 3, 2, 1)...)
	if _, err := Open(Config{}, w.g, dir, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("opened twice: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	other := newWorld(1, 2)
	other.g.ChainID = 5
	_, err := Open(Config{}, other.g, dir, nil)
	if !errors.Is(err, ErrWrongNetwork) || !strings.Contains(err.Error(), w.g.Network()) || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("another network's genesis: %v", err)
	}
	if _, err := Open(Config{}, &Genesis{}, dir, nil); !errors.Is(err, ErrInvalidGenesis) {
		t.Errorf("no genesis: %v", err)
	}
	if _, err := Open(Config{Extra: strings.Repeat("x", 33)}, w.g, dir, nil); err == nil {
		t.Error("33 bytes of extraData are allowed")
	}
	setVersion(t, dir, w, formatVersion+1)
	_, err = Open(Config{}, w.g, dir, nil)
	if !errors.Is(err, ErrNewerFormat) || errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "newer pheme") {
		t.Errorf("a newer format: %v", err)
	}
	if _, err := Repair(context.Background(), Config{}, w.g, dir); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("repair of a newer format: %v", err)
	}
	setVersion(t, dir, w, formatVersion-1)
	_, err = Open(Config{}, w.g, dir, nil)
	if !errors.Is(err, ErrOlderFormat) || errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "from its peers") {
		t.Errorf("an older format: %v", err)
	}
	if _, err := Repair(context.Background(), Config{}, w.g, dir); !errors.Is(err, ErrOlderFormat) {
		t.Errorf("repair of an older format: %v", err)
	}
	setVersion(t, dir, w, formatVersion)
	if c := openChain(t, w, Config{}, dir); c.Weight() != 3 {
		t.Errorf("head %d after all that, want 3", c.Weight())
	}
}

func setVersion(t *testing.T, dir string, w *world, version uint64) {
	t.Helper()
	db, err := leveldb.OpenFile(filepath.Join(dir, databaseDir), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	m := meta{Version: version, Genesis: w.g.Hash(), Network: w.g.Network()}
	if err := db.Put([]byte{tableMeta}, encodeRLP(m), nil); err != nil {
		t.Fatal(err)
	}
}

func TestClosed(t *testing.T) {
	w := newWorld(1, 2)
	c := openChain(t, w, Config{}, t.TempDir())
	blocks := w.run(w.genesis(), 2, 2, 1)
	add(t, c, blocks[0])
	for range 2 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Add(blocks[1].Block); !errors.Is(err, ErrClosed) {
		t.Errorf("Add = %v", err)
	}
	if c.BlockByNumber(1) != nil || c.Weight() != 1 || c.Damage() != nil {
		t.Errorf("reading a closed chain: %v, %v", c.BlockByNumber(1), c.Damage())
	}
	if _, err := c.Verify(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("Verify = %v", err)
	}
}

// TestDamageMetByAReader: a reader that meets damage gets nothing, the chain says
// so, and everything else goes on.
func TestDamageMetByAReader(t *testing.T) {
	w := newWorld(1, 2)
	c := openChain(t, w, Config{}, t.TempDir())
	blocks := w.run(w.genesis(), 4, 2, 1)
	add(t, c, blocks[:3]...)
	b := blocks[1]
	if err := c.store.db.Load().Delete(blockKey(tableBody, b.Number(), b.id), nil); err != nil {
		t.Fatal(err)
	}
	if c.BlockByNumber(2) != nil || !errors.Is(c.Damage(), ErrCorrupt) {
		t.Fatalf("a lost body: %v, %v", c.BlockByNumber(2), c.Damage())
	}
	if _, err := c.Receipts(b.id); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Receipts = %v", err)
	}
	if _, err := c.Verify(context.Background()); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Verify = %v", err)
	}
	add(t, c, blocks[3])
	if c.BlockByNumber(3) == nil || c.Weight() != 4 {
		t.Error("the rest does not go on")
	}
}

// TestDamageCondemnsNobody: a reorg over records that the disk has changed fails
// as damage and puts no block on the invalid list.
func TestDamageCondemnsNobody(t *testing.T) {
	w := newWorld(1, 3)
	main := w.run(w.genesis(), 3, 2, 1)
	side := w.run(w.genesis(), 4, 3, 5)
	for name, change := range map[string]func(*leveldb.Batch){
		"undo":      func(l *leveldb.Batch) { l.Put(blockKey(tableUndo, 1, main[0].id), encodeChanges(nil)) },
		"undo gone": func(l *leveldb.Batch) { l.Delete(blockKey(tableUndo, 2, main[1].id)) },
		"body":      func(l *leveldb.Batch) { l.Put(blockKey(tableBody, 2, side[1].id), main[1].body) },
		"body gone": func(l *leveldb.Batch) { l.Delete(blockKey(tableBody, 2, side[1].id)) },
	} {
		c := openChain(t, w, Config{}, "")
		add(t, c, main...)
		add(t, c, side[:3]...)
		batch := new(leveldb.Batch)
		change(batch)
		if err := c.store.db.Load().Write(batch, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Add(side[3].Block); !errors.Is(err, ErrCorrupt) || errors.Is(err, ErrInvalid) || len(c.Invalid()) != 0 {
			t.Fatalf("%s: Add = %v, invalid %v", name, err, c.Invalid())
		}
		if c.HeadID() != main[2].id {
			t.Fatalf("%s: head %d", name, c.Weight())
		}
	}
}

// TestVerifyFinds takes one thing away, or puts one there, at a time.
func TestVerifyFinds(t *testing.T) {
	w := newWorld(1, 4) // the last one has no part in any block
	blocks := w.run(w.genesis(), 8, 2, 2)
	b := blocks[4]
	on := unit{first: 4} // of two transactions a block, six a unit
	for _, b := range blocks[3:6] {
		on = on.push(leadsOf(b.txs), b.BodySize())
	}
	group := groupKey(groupOf(on.leads[0]), on.first)
	entries := on.groups()[groupOf(on.leads[0])]
	side := w.next(blocks[3], blocks[3].Slot()+3)
	for name, change := range map[string]func(*leveldb.Batch){
		"commit gone":         func(l *leveldb.Batch) { l.Delete(numberKey(tableCommit, 3)) },
		"header gone":         func(l *leveldb.Batch) { l.Delete(blockKey(tableHeader, b.Number(), b.id)) },
		"body gone":           func(l *leveldb.Batch) { l.Delete(blockKey(tableBody, b.Number(), b.id)) },
		"side body gone":      func(l *leveldb.Batch) { l.Delete(blockKey(tableBody, side.Number(), side.id)) },
		"body of another":     func(l *leveldb.Batch) { l.Put(blockKey(tableBody, b.Number(), b.id), blocks[5].body) },
		"body without header": func(l *leveldb.Batch) { l.Put(blockKey(tableBody, 99, b.id), b.body) },
		"canonical gone":      func(l *leveldb.Batch) { l.Delete(numberKey(tableCanonical, 5)) },
		"canonical side":      func(l *leveldb.Batch) { l.Put(numberKey(tableCanonical, 5), side.id[:]) },
		"canonical above":     func(l *leveldb.Batch) { l.Put(numberKey(tableCanonical, 9), side.id[:]) },
		"number gone":         func(l *leveldb.Batch) { l.Delete(hashKey(tableNumber, b.id)) },
		"number wrong":        func(l *leveldb.Batch) { l.Put(hashKey(tableNumber, b.id), make([]byte, 8)) },
		"group gone":          func(l *leveldb.Batch) { l.Delete(group) },
		"tx gone":             func(l *leveldb.Batch) { l.Put(group, entries[entryBytes:]) },
		"tx twice":            func(l *leveldb.Batch) { l.Put(group, append(entries[:entryBytes:entryBytes], entries...)) },
		"tx elsewhere":        func(l *leveldb.Batch) { l.Put(group, flip(entries, 7)) },
		"first tx another":    func(l *leveldb.Batch) { l.Put(group, flip(entries, 0)) },
		"group of no unit":    func(l *leveldb.Batch) { l.Put(groupKey(7, 3), entries) },
		"unit gone":           func(l *leveldb.Batch) { l.Delete(numberKey(tableUnit, 4)) },
		"unit longer":         func(l *leveldb.Batch) { l.Put(numberKey(tableUnit, 4), numberKey(0, 7)[1:]) },
		"unit shorter":        func(l *leveldb.Batch) { l.Put(numberKey(tableUnit, 4), numberKey(0, 5)[1:]) },
		"unit above the head": func(l *leveldb.Batch) { l.Put(numberKey(tableUnit, 7), numberKey(0, 9)[1:]) },
		"ages gone":           func(l *leveldb.Batch) { l.Delete(partsKey()) },
		"ages of the future":  func(l *leveldb.Batch) { l.Put(partsKey(), diskStateOf(State{}, 9).parts()) },
		"account gone":        func(l *leveldb.Batch) { l.Delete(bucketKey(BucketOf(w.user(3)))) },
		"undo gone":           func(l *leveldb.Batch) { l.Delete(blockKey(tableUndo, b.Number(), b.id)) },
		"undo of another":     func(l *leveldb.Batch) { l.Put(blockKey(tableUndo, b.Number(), b.id), encodeChanges(nil)) },
	} {
		t.Run(name, func(t *testing.T) {
			c := openChain(t, w, Config{unitTxs: 6}, "")
			add(t, c, blocks...)
			add(t, c, side)
			got, err := c.Verify(context.Background())
			if err != nil || got.Blocks != 10 || got.Txs != 16 || got.Commits != 10 || got.Accounts == 0 || got.Bytes == 0 {
				t.Fatalf("Verify = %+v, %v", got, err)
			}
			batch := new(leveldb.Batch)
			change(batch)
			if err := c.store.db.Load().Write(batch, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Verify(context.Background()); !errors.Is(err, ErrCorrupt) || errors.Is(err, ErrInvalid) {
				t.Fatalf("Verify = %v, want ErrCorrupt", err)
			}
		})
	}
}

// TestOpenAfterCutStart: what a kill or a power cut leaves of a first start, in which nothing was stored, opens.
func TestOpenAfterCutStart(t *testing.T) {
	w := newWorld(1, 2)
	for name, files := range map[string]map[string]string{
		"manifest begun":       {"MANIFEST-000000": ""},
		"manifest":             {"MANIFEST-000000": "half of a record"},
		"CURRENT.0 begun":      {"MANIFEST-000000": "", "CURRENT.0": ""},
		"CURRENT.0 cut":        {"MANIFEST-000000": "", "CURRENT.0": "MANIFEST-00"},
		"name of the manifest": {"CURRENT.0": "MANIFEST-000000\n"}, // its bytes came first, its name was not durable
	} {
		dir := t.TempDir()
		write(t, dir, files)
		c, err := Open(Config{}, w.g, dir, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := c.Verify(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_ = c.Close()
		openChain(t, w, Config{}, dir)
	}
	dir := t.TempDir()
	write(t, dir, map[string]string{"MANIFEST-000000": "", "000001.log": "something was stored"})
	if _, err := Open(Config{}, w.g, dir, nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a log without a CURRENT: %v", err)
	}
	d := newDisk()
	for cut := 1; cut <= 12; cut++ { // each step of a first start on the simulated disk
		d.cutAt = cut
		if c, err := diskChain(w, d, d.storage()); err == nil {
			_ = c.Close()
		}
		d.powerCut(rand.New(rand.NewPCG(uint64(cut), 1)))
		d.ops, d.cutAt = 0, 0
		c, err := diskChain(w, d, d.storage())
		if err != nil {
			t.Fatalf("cut at step %d: %v", cut, err)
		}
		_ = c.Close()
		d = newDisk()
	}
}

// write makes a database folder that holds files.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, databaseDir), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, databaseDir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPrune keeps the newest bodies, drops the rest with their lookup entries, a
// bounded number a commit, and keeps every header.
func TestPrune(t *testing.T) {
	w := newWorld(1, 2)
	blocks := w.run(w.genesis(), 200, 1, 1)
	st := storage.NewMemStorage()
	open := func(cfg Config) *Chain {
		c, err := Open(cfg, w.g, "", st)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := open(Config{UndoBlocks: 8, unitTxs: 4})
	defer func() { _ = c.Close() }()
	add(t, c, blocks[:150]...)
	if c.BlockByNumber(1) == nil {
		t.Fatal("pruned without being asked to")
	}
	gone := 0
	cfg := Config{UndoBlocks: 8, PruneBodies: 10, unitTxs: 4, failpoint: func(step string) {
		for n := uint64(1); step == failCommitDone && n <= c.Weight(); n++ { // readers beside the writer
			if c.BlockByNumber(n) == nil {
				gone++
			}
		}
	}}
	for i := 150; i < 200; i += 10 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		c = open(cfg)
		add(t, c, blocks[i:i+10]...)
		if _, err := c.Verify(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range blocks {
		kept := b.Number() >= 190
		_, _, found := c.Lookup(b.txs[0].hash)
		if (c.BlockByNumber(b.Number()) != nil) != kept || found != kept || c.HeaderByNumber(b.Number()) == nil {
			t.Fatalf("block %d: kept %v, body %v, lookup %v", b.Number(), kept, c.BlockByNumber(b.Number()) != nil, found)
		}
	}
	if _, err := c.Receipts(blocks[0].id); !errors.Is(err, ErrPruned) || c.Damage() != nil || gone == 0 {
		t.Fatalf("Receipts of a pruned block = %v, damage %v, %d reads of pruned blocks", err, c.Damage(), gone)
	}
}

// TestSmallDisk fills a real file system and frees it again.
func TestSmallDisk(t *testing.T) {
	skipRace(t)
	dir := t.TempDir()
	if err := mountSmall(dir); err != nil {
		t.Skipf("no small file system to fill: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, 0) })
	w := newWorld(1, 2)
	data := filepath.Join(dir, "chain")
	c := openChain(t, w, Config{tune: small}, data)
	p := w.genesis()
	grow := func() error {
		next := w.run(p, 1, 1, 1)[0]
		_, err := c.Add(next.Block)
		if err == nil {
			p = next
		}
		return err
	}
	for range 20 {
		if err := grow(); err != nil {
			t.Fatal(err)
		}
	}
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 64<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
	var err error
	for range 2000 {
		if err = grow(); err != nil {
			break
		}
	}
	for range 3 {
		if !errors.Is(err, ErrStorage) || !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("Add on a full disk = %v", err)
		}
		if b := c.BlockByNumber(p.Number()); b == nil || b.ID() != p.ID() {
			t.Fatal("reads do not work")
		}
		err = grow()
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := grow(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if c = openChain(t, w, Config{}, data); c.HeadID() != p.ID() {
		t.Fatalf("head %d, want %d", c.Weight(), p.Number())
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}
