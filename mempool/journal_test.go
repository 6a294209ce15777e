package mempool

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/pheme-net/pheme/chain"
)

func openAt(t testing.TB, path string, l ledger, sync bool) *Pool {
	t.Helper()
	p, err := Open(Config{JournalPath: path, JournalSync: sync}, testGenesis(), l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func TestJournalReplays(t *testing.T) {
	u, l := users(t, 2), ledger{}
	for _, one := range u {
		l.fund(one.addr, 1<<62)
	}
	path := filepath.Join(t.TempDir(), "journal")
	p := openAt(t, path, l, true)
	var txs []*chain.Tx
	for n := range uint64(10) {
		txs = append(txs, u[n%2].sign(t, order{nonce: n / 2, tip: n}))
	}
	for _, err := range p.Add(txs) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if errs := p.Add(txs[:1]); !errors.Is(errs[0], ErrClosed) {
		t.Fatalf("Add after Close = %v, want %v", errs[0], ErrClosed)
	}
	l[u[0].addr].Nonce = 3 // a block took three of them meanwhile
	again := openAt(t, path, l, false)
	if s := again.Stats(); s.Executable != 7 || s.Future != 0 {
		t.Fatalf("after replay: %+v, want 7 executable", s)
	}
}

// TestJournalDamage: whatever the file has become, what is whole before the damage comes back, and a
// file that is no journal is refused with what to do.
func TestJournalDamage(t *testing.T) {
	u, l := users(t, 1), ledger{}
	l.fund(u[0].addr, 1<<62)
	path := filepath.Join(t.TempDir(), "journal")
	p := openAt(t, path, l, false)
	for n := range uint64(4) {
		p.Add([]*chain.Tx{u[0].sign(t, order{nonce: n})})
	}
	p.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	record := (len(whole) - len(journalMagic)) / 4
	for _, c := range []struct {
		name string
		raw  []byte
		want int
	}{
		{"torn in the last record", whole[:len(whole)-7], 3},
		{"torn in a head", whole[:len(journalMagic)+2*record+3], 2},
		{"one byte of the magic", whole[:1], 0},
		{"empty", nil, 0},
		{"flipped in the second record", flip(whole, len(journalMagic)+record+30), 3},
		{"flipped length", flip(whole, len(journalMagic)+record), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(path, c.raw, 0o600); err != nil {
				t.Fatal(err)
			}
			p := openAt(t, path, l, false)
			if s := p.Stats(); s.Executable+s.Future != c.want {
				t.Fatalf("%+v pooled, want %d", s, c.want)
			}
			// It can be appended to and read again.
			if errs := p.Add([]*chain.Tx{u[0].sign(t, order{nonce: 9})}); errs[0] != nil {
				t.Fatal(errs[0])
			}
			p.Close()
			again := openAt(t, path, l, false)
			if c.name == "flipped length" {
				return // what follows such a record cannot be found, by design counted and said
			}
			if s := again.Stats(); s.Executable+s.Future != c.want+1 {
				t.Fatalf("%+v pooled after appending, want %d", s, c.want+1)
			}
		})
	}
	if err := os.WriteFile(path, []byte("this is a letter to my aunt"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{JournalPath: path}, testGenesis(), l); err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Fatalf("Open on a foreign file = %v, want words on what to do", err)
	}
}

func flip(raw []byte, at int) []byte {
	out := bytes.Clone(raw)
	out[at] ^= 0x40
	return out
}

func TestJournalRotates(t *testing.T) {
	u, l := users(t, 1), ledger{}
	l.fund(u[0].addr, 1<<62)
	path := filepath.Join(t.TempDir(), "journal")
	p := openAt(t, path, l, false)
	for n := range uint64(60) {
		p.Add([]*chain.Tx{u[0].sign(t, order{nonce: n, data: 20_000})})
	}
	before := p.journal.size
	l[u[0].addr].Nonce = 50
	p.mu.Lock()
	p.core.rebase(p.core.accounts[u[0].addr])
	p.mu.Unlock()
	if err := p.journal.rotate(p.Stats().Bytes, p.core.all); err != nil {
		t.Fatal(err)
	}
	if p.journal.size >= before/4 {
		t.Fatalf("the journal has %d of %d bytes, want a sixth", p.journal.size, before)
	}
	p.Add([]*chain.Tx{u[0].sign(t, order{nonce: 60})})
	p.Close()
	if s := openAt(t, path, l, false).Stats(); s.Executable != 11 {
		t.Fatalf("%+v after rotation, want 11 executable", s)
	}
}

// TestUnrecordedIsNotAccepted: when the journal cannot be written, the client is told and the pool
// forgets the transaction.
func TestUnrecordedIsNotAccepted(t *testing.T) {
	u, l := users(t, 1), ledger{}
	l.fund(u[0].addr, 1<<62)
	p := openAt(t, filepath.Join(t.TempDir(), "journal"), l, false)
	p.journal.f.Close() // every write fails from here on
	errs := p.Add([]*chain.Tx{u[0].sign(t, order{})})
	if !errors.Is(errs[0], ErrJournal) {
		t.Fatalf("Add = %v, want %v", errs[0], ErrJournal)
	}
	if s := p.Stats(); s != (Stats{}) {
		t.Fatalf("%+v still pooled", s)
	}
}

// crashEnv makes the test binary a child that adds transactions until it is killed.
const crashEnv = "PHEME_TEST_JOURNAL"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashEnv); path != "" {
		crashingChild(path)
	}
	os.Exit(m.Run())
}

func crashLedger(t testing.TB) (ledger, user) {
	u := users(t, 1)[0]
	l := ledger{}
	l.fund(u.addr, 1<<63)
	return l, u
}

// crashingChild prints the hash of each transaction after the pool has acknowledged it.
func crashingChild(path string) {
	t := &testing.B{}
	l, u := crashLedger(t)
	p, err := Open(Config{JournalPath: path}, testGenesis(), l)
	if err != nil {
		fmt.Println("failed", err)
		os.Exit(1)
	}
	for n := uint64(0); n < 4000; n++ {
		tx := u.sign(t, order{nonce: n})
		if errs := p.Add([]*chain.Tx{tx}); errs[0] == nil {
			fmt.Println(tx.Hash().Hex())
		}
	}
	select {}
}

// TestKilledPoolKeepsWhatItAcknowledged kills a process that adds as fast as it can, again and again.
func TestKilledPoolKeepsWhatItAcknowledged(t *testing.T) {
	for round := range 6 {
		path := filepath.Join(t.TempDir(), "journal")
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), crashEnv+"="+path)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		acked := make(map[common.Hash]bool)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if acked[common.HexToHash(lines.Text())] = true; len(acked) == 20+37*round {
				child.Process.Kill() // what it has written to the pipe meanwhile still counts
			}
		}
		if err := child.Wait(); err == nil || child.ProcessState.ExitCode() != -1 {
			t.Fatalf("the child ended with %v: it was not killed", err)
		}
		l, _ := crashLedger(t)
		p := openAt(t, path, l, false)
		for hash := range acked {
			if p.Get(hash) == nil {
				t.Fatalf("round %d: %s of %d acknowledged is gone", round, hash, len(acked))
			}
		}
	}
}

func FuzzDecodeJournal(f *testing.F) {
	u := users(f, 1)[0]
	whole := appendRecord(appendRecord([]byte(journalMagic), u.sign(f, order{})), u.sign(f, order{nonce: 1}))
	f.Add(whole)
	f.Add(flip(whole, 40))
	f.Add(whole[:len(whole)-3])
	f.Fuzz(func(t *testing.T, raw []byte) {
		txs, skipped, err := DecodeJournal(raw)
		if err != nil && len(txs)+skipped > 0 {
			t.Fatal("an error and records")
		}
		again := []byte(journalMagic)
		for _, tx := range txs {
			again = appendRecord(again, tx)
		}
		if back, _, _ := DecodeJournal(again); len(back) != len(txs) {
			t.Fatalf("%d records written, %d read", len(txs), len(back))
		}
	})
}
