package mempool

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// The crash tests start this test binary again as a child that fills a pool as
// fast as it can, and writes each hash to its parent once Add has returned nil.
// The child kills itself with SIGKILL at a named step, or is killed from outside.
const (
	crashDir  = "PHEME_TEST_CRASH_DIR"
	crashStep = "PHEME_TEST_CRASH_STEP" // "<step> <how often it goes well before>", or empty
	crashSync = "PHEME_TEST_CRASH_SYNC"
)

// killDisk is the real disk that kills the process at a step.
type killDisk struct {
	osDisk
	mu   *sync.Mutex
	step string
	left *int
}

func (d killDisk) at(step string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if step == d.step {
		*d.left--
	}
	return step == d.step && *d.left < 0
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // it comes at once, but to another thread
}

func (d killDisk) Open(path string) (file, error) {
	f, err := d.osDisk.Open(path)
	return killFile{f, d}, err
}

func (d killDisk) Create(path string) (file, error) {
	f, err := d.osDisk.Create(path)
	if d.at("created") {
		die()
	}
	return killFile{f, d}, err
}

func (d killDisk) Rename(from, to string) error {
	if d.at("before rename") {
		die()
	}
	err := d.osDisk.Rename(from, to)
	if d.at("after rename") {
		die()
	}
	return err
}

type killFile struct {
	file
	d killDisk
}

func (f killFile) WriteAt(p []byte, off int64) (int, error) {
	if f.d.at("before write") {
		die()
	}
	if f.d.at("torn write") {
		_, _ = f.file.WriteAt(p[:len(p)*2/3], off)
		die()
	}
	n, err := f.file.WriteAt(p, off)
	if f.d.at("after write") {
		die()
	}
	return n, err
}

func (f killFile) Truncate(size int64) error {
	if f.d.at("truncate") {
		die()
	}
	return f.file.Truncate(size)
}

func (f killFile) Sync() error {
	if f.d.at("sync") {
		die()
	}
	return f.file.Sync()
}

// TestCrashChild is the child; in the parent it has nothing to do.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("only runs in a child of the crash tests")
	}
	d := killDisk{mu: new(sync.Mutex), left: new(int)}
	if i := strings.LastIndexByte(os.Getenv(crashStep), ' '); i > 0 {
		d.step = os.Getenv(crashStep)[:i]
		*d.left, _ = strconv.Atoi(os.Getenv(crashStep)[i+1:])
	}
	w := newWorld(2)
	p := w.open(t, Config{JournalPath: filepath.Join(dir, "journal"), JournalSync: os.Getenv(crashSync) != ""}, d)
	var wg sync.WaitGroup
	for i := range w.keys {
		wg.Go(func() {
			for n := p.Nonce(w.addr(i)); n < 4000; n++ {
				tx := w.sign(spec{from: i, nonce: n})
				add(t, p, tx)
				fmt.Printf("acked %s\n", tx.Hash())
				if n%8 == 7 {
					p.turn <- struct{}{}
					if err := p.commit(true); err != nil {
						t.Error(err)
					}
					<-p.turn
				}
			}
		})
	}
	wg.Wait()
}

// crash runs a child in dir until it is dead, killing it after so many answers if
// it does not do so itself, and returns what it acknowledged.
func crash(t *testing.T, dir, step, syncing string, answers int) (acked []common.Hash) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestCrashChild$")
	child.Env = append(os.Environ(), crashDir+"="+dir, crashStep+"="+step, crashSync+"="+syncing)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	child.Stderr = &said
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	for r := bufio.NewReader(out); ; {
		line, err := r.ReadString('\n')
		if errors.Is(err, io.EOF) {
			break // a line without its end was not read by anyone
		}
		if hash, ok := strings.CutPrefix(line, "acked "); ok {
			acked = append(acked, common.HexToHash(strings.TrimSpace(hash)))
		}
		if len(acked) == answers {
			_ = child.Process.Kill()
		}
	}
	err = child.Wait()
	if status, ok := child.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Fatalf("child was to die by SIGKILL at %q, ended with %v after %d answers: %s", step, err, len(acked), said.String())
	}
	return acked
}

// reopened checks that all that was acknowledged is there.
func reopened(t *testing.T, dir string, acked []common.Hash) {
	t.Helper()
	w := newWorld(2)
	start := time.Now()
	p, err := Open(Config{JournalPath: filepath.Join(dir, "journal")}, w.g, w.st)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for i, hash := range acked {
		if p.Get(hash) == nil {
			t.Fatalf("acknowledged transaction %d of %d is lost", i, len(acked))
		}
	}
	if err := p.core.check(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d acknowledged, %d pooled, reopened in %s", len(acked), p.Stats().Executable, time.Since(start))
}

func TestCrash(t *testing.T) {
	steps := []string{ // each with how often it goes well before
		"before write 0", "torn write 0", "after write 0", // while the file is made
		"before write 30", "torn write 31", "after write 32",
		"sync 0", "sync 1", "created 0", "created 1", "before rename 0", "before rename 2", "after rename 0", "after rename 2",
		"", "", "",
	}
	for i, step := range steps {
		for _, syncing := range []string{"", "1"} {
			if syncing == "1" && i%3 != 0 {
				continue // the same code but for one fsync
			}
			t.Run(fmt.Sprintf("step=%s/sync=%s", step, syncing), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				answers := -1
				if step == "" {
					answers = 20 + 70*(i%3)
				}
				reopened(t, dir, crash(t, dir, step, syncing, answers))
			})
		}
	}
}

// A crash while the torn end of the last crash is cut off, and the one after that.
func TestCrashInRecovery(t *testing.T) {
	dir := t.TempDir()
	acked := crash(t, dir, "torn write 5", "", -1)
	acked = append(acked, crash(t, dir, "truncate 0", "", -1)...)
	acked = append(acked, crash(t, dir, "torn write 1", "", -1)...)
	reopened(t, dir, acked)
}
