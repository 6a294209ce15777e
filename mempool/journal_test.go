package mempool

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/holiman/uint256"
	"pgregory.net/rapid"

	"github.com/pheme-net/pheme/chain"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const path = "/data/journal"

var errFull = syscall.ENOSPC

// contents is everything pooled, by hash, and whether it is executable.
func contents(p *Pool) map[common.Hash]bool {
	out := make(map[common.Hash]bool)
	p.mu.Lock()
	defer p.mu.Unlock()
	for hash, e := range p.core.byHash {
		_, _, out[hash] = executableOf(e)
	}
	return out
}

func wantSame(t testing.TB, got, want *Pool) {
	t.Helper()
	if a, b := contents(got), contents(want); !maps.Equal(a, b) {
		t.Fatalf("reopened pool holds %d transactions, not the same as the %d before", len(a), len(b))
	}
	if err := got.core.check(); err != nil {
		t.Fatal(err)
	}
}

var testSalt = []byte("saltsalt")

// story is a journal of four adds and a drop.
func story(w *world) (raw []byte, txs []*chain.Tx) {
	raw = journalLine(testSalt)
	for n := range uint64(4) {
		txs = append(txs, w.sign(spec{nonce: n, tip: 7, data: int(n)}))
		raw = appendRecord(raw, testSalt, addRecord(txs[n]))
	}
	return appendRecord(raw, testSalt, dropRecord(txs[3].Hash())), txs
}

func TestJournalGolden(t *testing.T) {
	raw, _ := story(newWorld(1))
	name := filepath.Join("testdata", "journal.golden")
	if *update {
		if err := os.WriteFile(name, raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(raw, want) {
		t.Fatal("the format changed: give it a new version, or run go test -update if it was never released")
	}
	w := newWorld(1)
	d := newMemDisk()
	d.put(path, want)
	p := w.open(t, Config{JournalPath: path}, d)
	wantShape(t, p.core, -1, "|") // checks the invariants
	if s := p.Stats(); s.Executable != 3 || p.replayed.records != 5 || p.replayed.foreign != 0 {
		t.Fatalf("%d executable of %+v, want 3 of 5 records", s.Executable, p.replayed)
	}
}

// A journal of format 1 is read, and is one of format 2 from then on; on a full disk
// it stays what it was and is good still.
func TestJournalFormat1(t *testing.T) {
	want, err := os.ReadFile(filepath.Join("testdata", "journal1.golden"))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(1)
	d := newMemDisk()
	d.put(path, want)
	d.setFail(fullDisk)
	if p := w.open(t, Config{JournalPath: path}, d); p.Stats().Executable != 3 || d.count("create") != 1 || !bytes.Equal(d.get(path), want) {
		t.Fatalf("%d executable after %d rewrites that fail, want 3 after one", p.Stats().Executable, d.count("create"))
	}
	d = d.killed()
	d.setFail(func(op string, before int) error {
		if op == "create" && before == 0 {
			return errFull
		}
		return nil
	})
	p := w.open(t, Config{JournalPath: path}, d)
	add(t, p, w.sign(spec{nonce: 3})) // behind the old ones
	if raw := d.get(path); d.count("rename") != 0 || !strings.HasPrefix(string(raw), journalLine1) || len(raw) <= len(want) {
		t.Fatal("the old file was not appended to")
	}
	d = d.killed()
	again := w.open(t, Config{JournalPath: path}, d)
	wantSame(t, again, p)
	if raw := d.get(path); readSalt(raw) == nil || len(contents(again)) != 4 {
		t.Fatal("the old file was not rewritten")
	}
	wantSame(t, w.open(t, Config{JournalPath: path}, d.killed()), p)
}

// Whoever puts records into a transaction and hopes for a tear, or for damage, drops
// nothing of others.
func TestJournalForged(t *testing.T) {
	w := newWorld(2)
	victim := w.sign(spec{from: 0})
	for _, salt := range [][]byte{nil, testSalt} {
		forged := appendRecord(nil, nil, dropRecord(victim.Hash()))
		inner := spec{from: 1}.inner()
		inner.Data, inner.Gas = forged, transfer+16*uint64(len(forged))
		attack, err := chain.NewTx(types.MustSignNewTx(w.keys[1], types.NewLondonSigner(inner.ChainID), inner))
		if err != nil {
			t.Fatal(err)
		}
		raw := []byte(journalLine1)
		if salt != nil {
			raw = journalLine(salt)
		}
		raw = appendRecord(raw, salt, addRecord(victim))
		torn := appendRecord(raw, salt, addRecord(attack))
		damaged := bytes.Clone(torn)
		damaged[len(raw)+recordHead] ^= 1 // the first byte of the payload
		for name, file := range map[string][]byte{"torn": torn[:len(torn)-1], "damaged": damaged} {
			d := newMemDisk()
			d.put(path, file)
			p := w.open(t, Config{JournalPath: path}, d)
			if p.Get(attack.Hash()) != nil {
				t.Fatalf("%s: the record of the attack was read: the test shows nothing", name)
			}
			if there := p.Get(victim.Hash()) != nil; there != (salt != nil) { // without a salt the attack works
				t.Fatalf("%s, salt %q: victim pooled: %v", name, salt, there)
			}
		}
	}
}

// A kill can end the file anywhere in the last record.
func TestJournalTornAnywhere(t *testing.T) {
	w := newWorld(1)
	raw, txs := story(w)
	raw = raw[:len(raw)-recordHead-32] // without the drop
	last := recordHead + txs[3].Size()
	for cut := 1; cut <= last; cut++ {
		d := newMemDisk()
		d.put(path, raw[:len(raw)-cut])
		p := w.open(t, Config{JournalPath: path}, d)
		if s := p.Stats(); s.Executable != 3 || p.replayed.torn != int64(last-cut) {
			t.Fatalf("cut %d: %d pooled, %+v", cut, s.Executable, p.replayed)
		}
		add(t, p, txs[3])
		if again := w.open(t, Config{JournalPath: path}, d.killed()); again.Stats().Executable != 4 {
			t.Fatalf("cut %d: what was added behind the tear is lost", cut)
		}
	}
	for cut := range lineSize { // killed while the file was made
		d := newMemDisk()
		d.put(path, raw[:cut])
		p := w.open(t, Config{JournalPath: path}, d)
		add(t, p, txs[0])
		wantSame(t, w.open(t, Config{JournalPath: path}, d.killed()), p)
	}
}

// A flipped byte costs the record it is in and no other.
func TestJournalFlipped(t *testing.T) {
	w := newWorld(1)
	raw, txs := story(w)
	ends := []int{lineSize}
	for _, tx := range txs {
		ends = append(ends, ends[len(ends)-1]+recordHead+tx.Size())
	}
	for at := range ends[4] {
		if at < len(journalName) {
			continue // see TestJournalNotOurs
		}
		bad := bytes.Clone(raw)
		bad[at] ^= 0x10
		d := newMemDisk()
		d.put(path, bad)
		p, err := open(Config{JournalPath: path}, w.g, w.st, d)
		if at < len(journalLine2) {
			if !errors.Is(err, ErrNewerJournal) {
				t.Fatalf("byte %d: %v, want %v", at, err, ErrNewerJournal)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if at < lineSize { // there are two more salts
			if len(contents(p)) != 3 || p.replayed.skipped != 0 {
				t.Fatalf("byte %d of the line: %d pooled, %+v", at, len(contents(p)), p.replayed)
			}
			continue
		}
		hit, _ := slices.BinarySearch(ends, at+1)
		for i, tx := range txs[:3] {
			if there := p.Get(tx.Hash()) != nil; there != (i != hit-1) {
				t.Fatalf("byte %d is in record %d; record %d was read: %v", at, hit-1, i, there)
			}
		}
		if p.replayed.skipped == 0 {
			t.Fatalf("byte %d: damage was not counted", at)
		}
	}
}

func TestJournalForeign(t *testing.T) {
	w, other := newWorld(2), newWorld(2)
	other.g.ChainID = 5
	raw, _ := story(w)
	raw = appendRecord(raw, testSalt, addRecord(other.sign(spec{from: 1})))
	raw = appendRecord(raw, testSalt, record{9, []byte("from the future")})
	raw = appendRecord(raw, testSalt, record{recordAdd, []byte("no transaction")})
	raw = appendRecord(raw, testSalt, record{recordDrop, []byte("no hash")})
	rubbish := "some rubbish that \xf0pmj no program wrote \xf0pm"
	raw = append(raw, rubbish...)
	raw = appendRecord(raw, testSalt, addRecord(w.sign(spec{from: 1})))
	d := newMemDisk()
	d.put(path, raw)
	p := w.open(t, Config{JournalPath: path}, d)
	if s := p.Stats(); s.Executable != 4 || p.replayed.foreign != 4 || p.replayed.skipped != int64(len(rubbish)) {
		t.Fatalf("%d executable, %+v: want 4, 4 foreign records and %d damaged bytes", s.Executable, p.replayed, len(rubbish))
	}
}

// A file that is not a journal is kept, and the journal begins anew.
func TestJournalNotOurs(t *testing.T) {
	w := newWorld(1)
	letter := []byte("Dear Sir or Madam, this is not a journal.")
	raw, _ := story(w)
	noSalt := []byte(journalLine2 + strings.Repeat("?", lineSize))
	for _, content := range [][]byte{letter, append([]byte("x"), raw[1:]...), noSalt} {
		d := newMemDisk()
		d.put(path, content)
		p := w.open(t, Config{JournalPath: path}, d)
		if !bytes.Equal(d.get(path+".damaged"), content) {
			t.Fatal("the file was not kept")
		}
		add(t, p, w.sign(spec{nonce: uint64(p.Stats().Executable)}))
		wantSame(t, w.open(t, Config{JournalPath: path}, d.killed()), p)
	}
}

func TestJournalNewer(t *testing.T) {
	w := newWorld(1)
	d := newMemDisk()
	d.put(path, []byte("pheme journal 3\nwho knows"))
	if _, err := open(Config{JournalPath: path}, w.g, w.st, d); !errors.Is(err, ErrNewerJournal) {
		t.Fatalf("open = %v, want %v", err, ErrNewerJournal)
	}
}

// While the disk is full nothing is accepted and the rest works; when there is
// space again so does Add, without a restart.
func TestDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(3)
		d := newMemDisk()
		p := w.open(t, Config{JournalPath: path, MaxCount: 2}, d)
		add(t, p, w.sign(spec{from: 0, tip: 1}), w.sign(spec{from: 1, tip: 1}))
		d.setFail(func(op string, _ int) error {
			if op == "write" || op == "create" {
				return errFull
			}
			return nil
		})
		rich := w.sign(spec{from: 2, tip: 9})
		for range 3 { // the first finds out, the others do not even try
			if err := p.Add([]*chain.Tx{rich})[0]; !errors.Is(err, ErrJournal) || !errors.Is(err, errFull) {
				t.Fatalf("Add on a full disk = %v, want %v", err, ErrJournal)
			}
		}
		if p.Get(rich.Hash()) != nil || p.Stats().Dropped.Unrecorded != 1 {
			t.Fatal("a refused transaction stayed in the pool")
		}
		if tries := d.count("write") + d.count("create"); tries > 5 {
			t.Fatalf("%d writes, want at most one try a second", tries)
		}
		time.Sleep(2 * healEvery)
		if err := p.Add([]*chain.Tx{rich})[0]; !errors.Is(err, ErrJournal) {
			t.Fatalf("Add on a disk that is still full = %v, want %v", err, ErrJournal)
		}
		time.Sleep(2 * healEvery)
		d.setFail(nil)
		add(t, p, rich)
		wantSame(t, w.open(t, Config{JournalPath: path, MaxCount: 2}, d.killed()), p)
	})
}

// After a failed fsync nobody knows what is on disk: the file is written anew.
func TestSyncFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(2)
		d := newMemDisk()
		p := w.open(t, Config{JournalPath: path, JournalSync: true}, d)
		add(t, p, w.sign(spec{from: 0}))
		d.setFail(func(op string, _ int) error {
			if op == "sync" {
				return syscall.EIO
			}
			return nil
		})
		tx := w.sign(spec{from: 1})
		if err := p.Add([]*chain.Tx{tx})[0]; !errors.Is(err, syscall.EIO) {
			t.Fatalf("Add = %v, want it refused", err)
		}
		d.setFail(nil)
		time.Sleep(2 * healEvery)
		add(t, p, tx)
		if d.count("rename") != 1 {
			t.Fatal("the journal was not rewritten")
		}
		wantSame(t, w.open(t, Config{JournalPath: path}, d.powerCut(rand.New(rand.NewPCG(1, 1)))), p)
	})
}

// Answers that come together share an fsync, and no two are nearer than SyncEvery.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const senders, each = 20, 10
		w := newWorld(senders)
		d := newMemDisk()
		d.slow = func() { time.Sleep(500 * time.Microsecond) }
		p := w.open(t, Config{JournalPath: path, JournalSync: true}, d)
		var txs [senders][]*chain.Tx
		for i := range senders {
			for n := range uint64(each) {
				txs[i] = append(txs[i], w.sign(spec{from: i, nonce: n}))
			}
		}
		before, start := d.count("sync"), time.Now()
		var wg sync.WaitGroup
		for i := range senders {
			wg.Go(func() {
				for _, tx := range txs[i] {
					add(t, p, tx)
				}
			})
		}
		wg.Wait()
		syncs := d.count("sync") - before
		if most := int(time.Since(start)/p.cfg.SyncEvery) + 1; syncs > most || syncs > senders*each/4 {
			t.Fatalf("%d fsyncs for %d answers in %s", syncs, senders*each, time.Since(start))
		}
		wantSame(t, w.open(t, Config{JournalPath: path}, d.powerCut(rand.New(rand.NewPCG(1, 1)))), p)
	})
}

// TestReopen: whatever happened, a pool that is opened again holds the same.
func TestReopen(t *testing.T) {
	w := newWorld(4)
	rapid.Check(t, func(t *rapid.T) {
		d := newMemDisk()
		size := w.sign(spec{}).Size()
		cfg := Config{
			JournalPath: path, MaxCount: rapid.IntRange(1, 8).Draw(t, "MaxCount"), MaxFuture: rapid.IntRange(1, 4).Draw(t, "MaxFuture"),
			MaxBytes: 9 * size, MaxFutureBytes: 5 * size, PerSender: 4, FuturePerSend: 3, MaxGap: 4,
		}
		for i := range w.keys {
			w.st.nonce[w.addr(i)], w.st.balance[w.addr(i)] = 0, 10*transfer*(baseFee+20)
		}
		p, err := open(cfg, w.g, w.st, d)
		if err != nil {
			t.Fatal(err)
		}
		p.minLong = 600
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0: // a block takes the first of someone
				i := rapid.IntRange(0, 3).Draw(t, "includes")
				next := w.st.clone()
				next.nonce[w.addr(i)]++
				w.st = next
				p.mu.Lock()
				p.core.update(next, []moved{{addr: w.addr(i)}}, 0)
				p.note()
				p.mu.Unlock()
			case 1:
				if err := p.rotate(t.Context()); err != nil {
					t.Fatal(err)
				}
			default:
				p.Add([]*chain.Tx{w.sign(drawSigned(t, w))})
			}
		}
		if err := p.Close(); err != nil { // a kill may lose a drop that nobody waits for
			t.Fatal(err)
		}
		again, err := open(cfg, w.g, w.st, d.killed())
		if err != nil {
			t.Fatal(err)
		}
		before, after := contents(p), contents(again)
		for hash := range after { // which of two waits for room may differ
			if _, there := before[hash]; !there {
				t.Fatal("a transaction came from nowhere")
			}
		}
		if crowded := again.Stats().Dropped.Crowded; len(after)+int(crowded) != len(before) {
			t.Fatalf("%d transactions before, %d after, %d found both pools full", len(before), len(after), crowded)
		}
		if err := again.core.check(); err != nil {
			t.Fatal(err)
		}
	})
}

func drawSigned(t *rapid.T, w *world) spec {
	i := rapid.IntRange(0, len(w.keys)-1).Draw(t, "from")
	return spec{
		from: i, nonce: w.st.nonce[w.addr(i)] + uint64(rapid.IntRange(0, 5).Draw(t, "offset")), data: rapid.SampledFrom([]int{0, 0, 70}).Draw(t, "data"),
		tip: uint64(rapid.IntRange(0, 6).Draw(t, "tip")), cap: uint64(rapid.SampledFrom([]int{0, 150, 400}).Draw(t, "cap")),
	}
}

// TestPowerCut: with JournalSync all that was acknowledged is there after a loss of
// power at any moment, also in the middle of a rewrite.
func TestPowerCut(t *testing.T) {
	w := newWorld(4)
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 7))
		d := newMemDisk()
		cutAt, op := r.IntN(40), []string{"write", "sync", "rename", "syncdir", "create"}[r.IntN(5)]
		var up *memDisk
		cfg := Config{JournalPath: path, JournalSync: true, SyncEvery: time.Nanosecond}
		p := w.open(t, cfg, d)
		p.minLong = 1000
		var acked []*chain.Tx
		var held []*chain.Tx // acknowledged before the cut
		d.setFail(func(name string, _ int) error {
			if cutAt--; up == nil && (cutAt < 0 && name == op || cutAt < -30) {
				d.mu.Unlock() // op is called with it
				up, held = d.powerCut(r), slices.Clone(acked)
				d.mu.Lock()
			}
			return nil
		})
		for n := uint64(0); up == nil && n < 100; n++ {
			for i := range w.keys {
				tx := w.sign(spec{from: i, nonce: n})
				if p.Add([]*chain.Tx{tx})[0] == nil {
					acked = append(acked, tx)
				}
			}
			if err := p.rotate(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if up == nil {
			t.Fatalf("seed %d: the power was not cut", seed)
		}
		again := w.open(t, cfg, up)
		for _, tx := range held {
			if again.Get(tx.Hash()) == nil {
				t.Fatalf("seed %d, cut in %s: an acknowledged transaction of %d is lost", seed, op, len(held))
			}
		}
	}
}

// A rewrite that fails at any step leaves a journal that tells everything.
func TestRewriteFails(t *testing.T) {
	for _, op := range []string{"create", "write", "sync", "rename", "syncdir"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(1)
			d := newMemDisk()
			p := w.open(t, Config{JournalPath: path}, d)
			p.minLong = 1
			for n := range uint64(20) {
				add(t, p, w.sign(spec{nonce: n}))
			}
			head(p.core, w.st, func(s *fakeState) { s.nonce[w.addr(0)] = 19; w.st = s }, moved{addr: w.addr(0)})
			seen := d.count(op)
			d.setFail(func(name string, before int) error {
				if name == op && before == seen {
					return errFull
				}
				return nil
			})
			err := p.rotate(t.Context())
			if d.count(op) == seen {
				t.Fatalf("no %s was tried", op)
			}
			if (err != nil) != (op == "syncdir") {
				t.Fatalf("rewrite that fails in %s: %v", op, err)
			}
			time.Sleep(2 * healEvery)
			add(t, p, w.sign(spec{nonce: 20}))
			wantSame(t, w.open(t, Config{JournalPath: path}, d.killed()), p)
		})
	}
}

// A rewrite that fails is not tried again with every transaction.
func TestRewriteFailsSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		d := newMemDisk()
		p := w.open(t, Config{JournalPath: path}, d)
		p.minLong = 10_000
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = p.Run(ctx) })
		d.setFail(func(op string, _ int) error {
			if op == "create" {
				return errFull
			}
			return nil
		})
		nonce := uint64(0)
		pass := func() { // one comes and gets into a block
			add(t, p, w.sign(spec{nonce: nonce}))
			nonce++
			p.mu.Lock()
			head(p.core, w.st, func(s *fakeState) { s.nonce[w.addr(0)] = nonce; w.st = s }, moved{addr: w.addr(0)})
			p.mu.Unlock()
			synctest.Wait()
		}
		for len(d.get(path)) < 20_000 {
			pass()
		}
		if tries := d.count("create"); tries < 2 || tries > 8 { // 1.1^7 is 2
			t.Fatalf("%d rewrites tried while the journal doubled, want one each tenth", tries)
		}
		d.setFail(nil)
		for range 40 { // more than a tenth
			pass()
		}
		if size := len(d.get(path)); d.count("rename") != 1 || size > 10_000 {
			t.Fatalf("%d rewrites, %d bytes: want the journal short again", d.count("rename"), size)
		}
		cancel()
		wg.Wait()
		wantSame(t, w.open(t, Config{JournalPath: path}, d.killed()), p)
	})
}

// Rewriting beside many writers loses nothing and keeps the file short.
func TestRewriteUnderLoad(t *testing.T) {
	w := newWorld(4)
	d := newMemDisk()
	p := w.open(t, Config{JournalPath: path}, d)
	p.minLong = 2000
	done := make(chan struct{})
	var wg, rewriter sync.WaitGroup
	for i := range w.keys {
		wg.Go(func() {
			for n := range uint64(50) {
				add(t, p, w.sign(spec{from: i, nonce: n}))
				add(t, p, w.sign(spec{from: i, nonce: n, tip: 200, cap: 300})) // replaces it
			}
		})
	}
	rewriter.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-p.long:
				if err := p.rotate(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}
	})
	wg.Wait()
	close(done)
	rewriter.Wait()
	if d.count("rename") == 0 {
		t.Fatal("the journal was never rewritten")
	}
	wantSame(t, w.open(t, Config{JournalPath: path}, d.killed()), p)
}

func TestReplayNeedsNoOrder(t *testing.T) {
	w := newWorld(1)
	raw := journalLine(testSalt)
	for _, n := range []uint64{70, 6, 5, 3, 4} { // as gossip may have brought them, 0 to 2 and others long in blocks
		raw = appendRecord(raw, testSalt, addRecord(w.sign(spec{nonce: n})))
	}
	w.st.nonce[w.addr(0)] = 3
	d := newMemDisk()
	d.put(path, raw)
	p := w.open(t, Config{JournalPath: path}, d)
	if s := p.Stats(); s.Executable != 4 || s.Future != 1 {
		t.Fatalf("%d executable and %d future, want 4 and 1", s.Executable, s.Future)
	}
	if p.core.cfg.MaxGap != 64 || p.core.baseFee.Cmp(uint256.NewInt(baseFee)) != 0 {
		t.Fatal("replay left the limits changed")
	}
}

// Of several transactions with one nonce the last one stands. The first left without
// a record here, when a block held another one with its nonce, which a reorg brought back.
func TestReplayKeepsTheLast(t *testing.T) {
	n := newNetwork(t, 1)
	w, a, b := n.w, n.chain(t), n.chain(t)
	d := newMemDisk()
	cfg := Config{JournalPath: path}
	p, err := open(cfg, w.g, a.State(), d)
	if err != nil {
		t.Fatal(err)
	}
	mine, other := w.sign(spec{tip: 100, cap: 200}), w.sign(spec{tip: 200, cap: 400})
	add(t, p, mine)
	_, u := n.block(t, a, []*chain.Tx{other})
	p.Apply(u, a.State())
	for range 2 {
		block, _ := n.block(t, b, nil)
		if u, err = a.Add(block); err != nil {
			t.Fatal(err)
		}
	}
	if p.Apply(u, a.State()); len(u.Reverted) != 1 || p.Get(other.Hash()) == nil || p.Get(mine.Hash()) != nil {
		t.Fatalf("%d blocks reverted; want one, and its transaction pooled in the place of the first", len(u.Reverted))
	}
	cancel := w.sign(spec{tip: 400, cap: 800})
	add(t, p, cancel)
	for range 2 { // the second time from the journal as it was rewritten
		d = d.killed()
		if p, err = open(cfg, w.g, a.State(), d); err != nil {
			t.Fatal(err)
		}
		if p.Get(cancel.Hash()) == nil || p.Get(mine.Hash()) != nil {
			t.Fatal("a replaced transaction took the place of the acknowledged one")
		}
	}
	if d.count("rename") != 0 || p.replayed.records != 1 {
		t.Fatalf("%d records in the journal, want it rewritten once with one", p.replayed.records)
	}
}

// The caps of a sender bound what comes in, not what was acknowledged.
func TestReplayLiftsSenderCaps(t *testing.T) {
	w := newWorld(1)
	d := newMemDisk()
	p := w.open(t, Config{JournalPath: path}, d)
	for nonce := range uint64(9) {
		add(t, p, w.sign(spec{nonce: nonce}))
	}
	p = w.open(t, Config{JournalPath: path, PerSender: 2, FuturePerSend: 1}, d.killed())
	if s := p.Stats(); s.Executable != 9 {
		t.Fatalf("%+v, want 9 executable", s)
	}
	p = w.open(t, Config{JournalPath: path, PerSender: 2, FuturePerSend: 1, MaxCount: 4}, d.killed())
	if s := p.Stats(); s.Executable != 4 || s.Future != 5 {
		t.Fatalf("%+v, want 4 executable and 5 that wait for room", s)
	}
}

// What replay drops does not come back when there is room for it.
func TestReplayForgetsWhatItDrops(t *testing.T) {
	w := newWorld(1)
	d := newMemDisk()
	p := w.open(t, Config{JournalPath: path}, d)
	for nonce := range uint64(6) {
		add(t, p, w.sign(spec{nonce: nonce}))
	}
	d = d.killed()
	p = w.open(t, Config{JournalPath: path, MaxCount: 1, MaxFuture: 2}, d)
	if s := p.Stats(); s.Dropped.Crowded != 3 || d.count("rename") != 1 {
		t.Fatalf("%+v after %d rewrites, want 3 dropped and one rewrite", s, d.count("rename"))
	}
	if again := w.open(t, Config{JournalPath: path}, d.killed()); again.Stats().Executable != 3 {
		t.Fatalf("%d pooled, want the 3 that were left", again.Stats().Executable)
	}
	// A disk that is full by now keeps nobody from reading.
	d = d.killed()
	d.setFail(fullDisk)
	if p = w.open(t, Config{JournalPath: path, MaxCount: 1, MaxFuture: 1}, d); d.count("create") != 1 || p.Stats().Executable != 1 {
		t.Fatalf("%d rewrites tried, %+v", d.count("create"), p.Stats())
	}
}

// FuzzJournal: reading never fails, ends, accounts for every byte, and what was
// read reads the same when written again.
func FuzzJournal(f *testing.F) {
	raw, _ := story(newWorld(1))
	body := raw[lineSize:]
	f.Add(body)
	f.Add(body[:len(body)-5])
	f.Add(append([]byte("\xf0pmj\x01\x00\x00\x00\x02"), body...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var records []record
		again := []byte(nil)
		s, err := readRecords(bytes.NewReader(raw), lineSize, testSalt, func(r record) bool {
			records = append(records, record{r.kind, bytes.Clone(r.payload)})
			again = appendRecord(again, testSalt, r)
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		if total := s.end - int64(lineSize) + s.torn; total != int64(len(raw)) || int64(len(again))+s.skipped+s.torn != total {
			t.Fatalf("%d bytes read as %+v", len(raw), s)
		}
		i := 0
		if s, err := readRecords(bytes.NewReader(again), lineSize, testSalt, func(r record) bool {
			same := r.kind == records[i].kind && bytes.Equal(r.payload, records[i].payload)
			i++
			return same
		}); err != nil || s.records != len(records) || s.foreign+int(s.skipped+s.torn) != 0 {
			t.Fatalf("%d records read again as %+v, %v", len(records), s, err)
		}
		if rec, n, err := decodeRecord(raw, testSalt); err == nil && !bytes.Equal(appendRecord(nil, testSalt, rec), raw[:n]) {
			t.Fatal("decodeRecord accepts two encodings of a record")
		}
	})
}
