package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pheme-net/pheme/node"
)

// roleEnv tells a child of the tests how to behave; children take the place of real nodes here.
const roleEnv = "PHEME_TEST_CHILD"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "node" {
		os.Exit(fakeNode(os.Args[2:], os.Getenv(roleEnv)))
	}
	os.Exit(m.Run())
}

// fakeNode is a node as far as its parent sees one: it writes node.json and ends on SIGTERM.
func fakeNode(args []string, role string) int {
	dir := args[1]
	fmt.Fprintln(os.Stderr, "args:", strings.Join(args, " "))
	if role == "fail" {
		fmt.Fprintln(os.Stderr, "port 8545 is taken: choose another")
		return 1
	}
	if role == "mute" {
		select {}
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	if role == "stubborn" {
		signal.Ignore(syscall.SIGTERM)
	}
	ready := node.Ready{PID: os.Getpid(), RPC: "http://127.0.0.1:1", IPC: filepath.Join(dir, "none.ipc"), P2P: []string{"/ip4/127.0.0.1/tcp/1/p2p/x"}}
	listener, err := listenUnix(ready.IPC)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer listener.Close()
	text, _ := json.Marshal(ready)
	part := filepath.Join(dir, "node.json.part")
	if os.WriteFile(part, text, 0o600) != nil || os.Rename(part, filepath.Join(dir, node.ReadyFile)) != nil {
		return 1
	}
	<-stop
	os.Remove(filepath.Join(dir, node.ReadyFile))
	return 0
}

func start(t *testing.T, role string, cfg Config) (*Cluster, error) {
	t.Helper()
	t.Setenv(roleEnv, role)
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Logf("close: %v", err)
		}
	})
	return c, c.Start(t.Context())
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestStartStopLeavesNothing(t *testing.T) {
	c, err := start(t, "", Config{Nodes: 3})
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, n := range c.Nodes() {
		pids = append(pids, n.PID())
		if n.PID() == 0 || n.Client() == nil || n.Ready().PID != n.PID() {
			t.Errorf("%s: pid %d, ready %+v", n.Name(), n.PID(), n.Ready())
		}
	}
	if len(c.Genesis().Proposers) != 3 || c.Genesis().GasLimit == 0 {
		t.Errorf("genesis %+v: want three proposers and the defaults filled in", c.Genesis())
	}
	dir := c.Dir()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("process %d outlived Close", pid)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s outlived Close: %v", dir, err)
	}
}

func TestChildThatDiesAtStartIsQuoted(t *testing.T) {
	began := time.Now()
	_, err := start(t, "fail", Config{Nodes: 2})
	if !errors.Is(err, ErrExited) || !strings.Contains(err.Error(), "port 8545 is taken") {
		t.Errorf("Start() = %v, want the child's own words", err)
	}
	if time.Since(began) > 20*time.Second {
		t.Errorf("took %v: a child that is dead is not waited for", time.Since(began))
	}
}

func TestChildThatNeverServes(t *testing.T) {
	_, err := start(t, "mute", Config{Nodes: 1, Ready: 200 * time.Millisecond, Stop: time.Second})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "n0 does not serve after 200ms") {
		t.Errorf("Start() = %v, want a time limit", err)
	}
}

func TestKillAndRestart(t *testing.T) {
	died := make(chan error, 4)
	c, err := start(t, "", Config{Nodes: 2, Exited: func(_ string, err error) { died <- err }})
	if err != nil {
		t.Fatal(err)
	}
	n := c.Node(1)
	pid := n.PID()
	if !n.Kill() || alive(pid) || n.PID() != 0 {
		t.Fatalf("process %d is there after Kill", pid)
	}
	if n.Kill() || n.Stop() != nil {
		t.Error("a member that does not run was killed or could not be stopped")
	}
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n.PID() == pid || n.PID() == 0 || n.Ready().PID != n.PID() {
		t.Errorf("pid %d after %d, ready says %d: the killed process's node.json was believed", n.PID(), pid, n.Ready().PID)
	}
	if err := n.Start(t.Context()); err == nil {
		t.Error("a member that runs was started again")
	}
	select {
	case err := <-died:
		t.Errorf("a wanted end was reported as an accident: %v", err)
	default:
	}
	if err := syscall.Kill(c.Node(0).PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-died; !errors.Is(err, ErrExited) || !strings.Contains(err.Error(), "n0") || !strings.Contains(err.Error(), "killed") {
		t.Errorf("an accident was reported as %v", err)
	}
}

func TestStubbornChildIsKilled(t *testing.T) {
	c, err := start(t, "stubborn", Config{Nodes: 1, Stop: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	pid := c.Node(0).PID()
	if err := c.Node(0).Stop(); err == nil || !strings.Contains(err.Error(), "was killed") || alive(pid) {
		t.Errorf("Stop() = %v, alive %v: want it killed and said", err, alive(pid))
	}
}

func TestUsageOfEndedProcesses(t *testing.T) {
	c, err := start(t, "", Config{Nodes: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	if u := c.Node(0).Usage(); u.CPU <= 0 || u.MaxRSS < 1<<20 {
		t.Errorf("usage %+v, want some CPU and at least a MiB", u)
	}
}

func TestFolderOfTheCallerIsKeptAndReused(t *testing.T) {
	dir := t.TempDir()
	first, err := New(Config{Nodes: 2, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := New(Config{Nodes: 2, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if second.Genesis().Hash() != first.Genesis().Hash() {
		t.Error("the second cluster in a folder is another network")
	}
	if _, err := New(Config{Nodes: 3, Dir: dir}); err == nil || !strings.Contains(err.Error(), "holds a devnet of 2 nodes") {
		t.Errorf("New() of three nodes in a folder of two = %v", err)
	}
	if _, err := New(Config{Nodes: 2, Dir: filepath.Join(dir, strings.Repeat("long", 30))}); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("New() in a long path = %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "genesis.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Nodes: 2, Dir: dir}); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("New() over a broken genesis = %v", err)
	}
}

func TestArgs(t *testing.T) {
	c, err := New(Config{Nodes: 2, Port: 9000, Transport: "quic", BlockSize: 8192, Trace: true, Relays: []string{"auto", "gossip"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	late, err := c.AddNode()
	if err != nil {
		t.Fatal(err)
	}
	proposer, follower := strings.Join(c.Node(1).args(), " "), strings.Join(late.args(), " ")
	for _, want := range []string{"--http 127.0.0.1:9001", "/udp/0/quic-v1", "--proposer-key", "--block-size 8192", "--trace", "--relay gossip", "--name n1"} {
		if !strings.Contains(proposer, want) {
			t.Errorf("arguments %q lack %q", proposer, want)
		}
	}
	if strings.Contains(follower, "--proposer-key") || !strings.Contains(follower, "--name n2") || late.Proposes() {
		t.Errorf("a late node starts with %q", follower)
	}
}

func TestAwaitSaysWhatIsMissing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	looks := 0
	err := Await(ctx, func(context.Context) (string, error) { looks++; return "n3 has 2 of 6 peers", nil })
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "n3 has 2 of 6 peers") || looks < 2 {
		t.Errorf("Await() = %v after %d looks", err, looks)
	}
	errBroken := errors.New("broken")
	if err := Await(t.Context(), func(context.Context) (string, error) { return "", errBroken }); !errors.Is(err, errBroken) {
		t.Errorf("Await() = %v, want the condition's error", err)
	}
	if err := Await(t.Context(), func(context.Context) (string, error) { return "", nil }); err != nil {
		t.Errorf("Await() = %v for what holds", err)
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var b tail
	for i := range 2000 {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	if text := b.quote(); len(text) > maxTail+50 || !strings.HasSuffix(text, "line 1999") {
		t.Errorf("%d bytes ending %q", len(text), text[len(text)-20:])
	}
}
