package chain

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	logging "github.com/ipfs/go-log/v2"
)

// The child of the crash tests: this test binary with these variables set.
const (
	crashDirEnv  = "PHEME_CRASH_DIR"
	crashStepEnv = "PHEME_CRASH_STEP" // name of a failpoint and, after a colon, at which call of it to die
)

const crashBlocks = 20_000 // more than a child gets to

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDirEnv); dir != "" {
		if err := crashChild(dir, os.Getenv(crashStepEnv)); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	_ = logging.SetLogLevel("chain", "fatal") // faults are what most of these tests are about
	os.Exit(m.Run())
}

// crashChild imports at full speed what it builds itself, and says on stdout
// each block that Add acknowledged.
func crashChild(dir, step string) error {
	name, at, _ := strings.Cut(step, ":")
	calls, die := 0, 0
	if step != "" {
		var err error
		if die, err = strconv.Atoi(at); err != nil {
			return err
		}
	}
	w := newWorld(1, 2)
	cfg := crashConfig()
	cfg.failpoint = func(now string) {
		if now != name {
			return
		}
		if calls++; calls == die {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // until the signal arrives
		}
	}
	c, err := Open(cfg, w.g, dir, nil)
	if err != nil {
		return err
	}
	fmt.Println("open", c.Weight())
	for c.Weight() < crashBlocks {
		slot := c.Weight() + 1
		tx := w.transfer(0, c.State().Nonce(w.user(0)), w.user(1), slot)
		b, _, err := c.Build(slot, w.proposers[0], []*Tx{tx}, 0)
		if err != nil {
			return err
		}
		if _, err := c.Add(b); err != nil {
			return err
		}
		fmt.Println("acked", b.Number())
	}
	return c.Close()
}

// crashConfig makes rotations of the log and compactions part of the crashes.
func crashConfig() Config { return Config{UndoBlocks: 100, tune: small, unitTxs: 40} }

// child is one run of crashChild.
type child struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	acked uint64
	open  bool
	err   string
}

func startChild(t *testing.T, dir, step string) *child {
	t.Helper()
	c := &child{cmd: exec.Command(os.Args[0], "-test.run=^$")}
	c.cmd.Env = append(os.Environ(), crashDirEnv+"="+dir, crashStepEnv+"="+step)
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.lines = bufio.NewScanner(out)
	return c
}

// read takes lines until stop says so or the child ends.
func (c *child) read(stop func() bool) {
	for c.lines.Scan() {
		kind, rest, _ := strings.Cut(c.lines.Text(), " ")
		switch kind {
		case "acked":
			n, _ := strconv.ParseUint(rest, 10, 64)
			c.acked = max(c.acked, n)
		case "open":
			c.open = true
		case "error":
			c.err = rest
		}
		if stop() {
			return
		}
	}
}

// killed waits for the end of the child and tells whether SIGKILL was it.
func (c *child) killed() bool {
	c.read(func() bool { return false })
	var exit *exec.ExitError
	if err := c.cmd.Wait(); !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// checkCrashed opens what a crash left, unaided: Open verifies the commits, the
// marker and the state root against the head's header.
func checkCrashed(t *testing.T, dir string, acked uint64, full bool) uint64 {
	t.Helper()
	w := newWorld(1, 2)
	c, err := Open(crashConfig(), w.g, dir, nil)
	if err != nil {
		t.Fatalf("after a crash: %v", err)
	}
	defer c.Close()
	if c.Weight() < acked {
		t.Fatalf("head %d, acknowledged %d", c.Weight(), acked)
	}
	if n := c.Weight(); n > 0 && c.State().Nonce(w.user(0)) != n {
		t.Fatalf("nonce %d at block %d", c.State().Nonce(w.user(0)), n)
	}
	if full {
		if _, err := c.Verify(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	return c.Weight()
}

// TestKillAtEveryStep kills a child at each named step of a commit and of
// opening, the latter twice right after another crash.
func TestKillAtEveryStep(t *testing.T) {
	for i, step := range []string{
		failCommitBegin, failCommitDone, failMarkWritten, failMarkDone, failOpenBegin, failOpenDB, failOpenDone,
	} {
		t.Run(strings.ReplaceAll(step, "/", "_"), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			dir := t.TempDir()
			var acked uint64
			for round := range 3 {
				at := fmt.Sprintf("%s:%d", step, 1+rng.IntN(100)*round) // of a commit the first time in block 0
				if strings.HasPrefix(step, "open/") {
					at = []string{failCommitDone + ":40", step + ":1", step + ":1"}[round]
				}
				c := startChild(t, dir, at)
				if !c.killed() {
					t.Fatalf("round %d: the child was not killed at %s: %s", round, at, c.err)
				}
				acked = max(acked, c.acked)
			}
			checkCrashed(t, dir, acked, true)
		})
	}
}

// TestKillAtRandom kills a child that imports at full speed, again and again, on
// one data dir.
func TestKillAtRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	dir := t.TempDir()
	kills := 50
	if testing.Short() {
		kills = 10
	}
	var acked, head uint64
	early := 0
	for i := range kills {
		c := startChild(t, dir, "")
		if i%5 == 4 {
			early++ // while it starts and recovers
		} else {
			c.read(func() bool { return c.open })
		}
		wait := time.NewTimer(time.Duration(rng.IntN(30_000)) * time.Microsecond)
		done := make(chan struct{})
		go func() {
			<-wait.C
			_ = c.cmd.Process.Kill()
			close(done)
		}()
		killed := c.killed()
		<-done
		if !killed && c.acked < crashBlocks {
			t.Fatalf("kill %d: the child ended by itself: %s", i, c.err)
		}
		acked = max(acked, c.acked)
		head = checkCrashed(t, dir, acked, i%10 == 9)
	}
	t.Logf("%d kills, %d of them during recovery; %d blocks acknowledged, head %d", kills, early, acked, head)
	if acked == 0 || early == 0 {
		t.Fatal("the crashes did not happen")
	}
}

// TestLock: a second process is refused at once, with the pid of the first, and a
// crash leaves no lock behind.
func TestLock(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, dir, "")
	c.read(func() bool { return c.open })
	_, err := Open(crashConfig(), newWorld(1, 2).g, dir, nil)
	if pid := strconv.Itoa(c.cmd.Process.Pid); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), pid) || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("Open beside process %s = %v", pid, err)
	}
	_ = c.cmd.Process.Kill()
	c.killed()
	checkCrashed(t, dir, c.acked, false)
}
