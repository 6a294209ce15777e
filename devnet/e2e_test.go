package devnet_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/holiman/uint256"
	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/devnet"
	"github.com/pheme-net/pheme/devnet/accounts"
	"github.com/pheme-net/pheme/devnet/cluster"
	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/report"
	"github.com/pheme-net/pheme/devnet/topology"
	"github.com/pheme-net/pheme/node"
	"github.com/pheme-net/pheme/rpc"
)

// TestMain lets the test binary be its own children: started as `<binary> node ...` it is a real
// node, as `pheme node` is, and as `<binary> virtual-child` a run in virtual time.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "node" {
		if err := realNode(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "pheme:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == devnet.VirtualCommand {
		if err := devnet.RunVirtualChild(os.Stdin, os.Stdout, os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, "pheme:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 2 && os.Args[1] == orphanCommand {
		s := experiment.Spec{Engine: "virtual", Seeds: []int64{1}, Net: experiment.Net{Nodes: 2}}
		_, err := devnet.Measure(context.Background(), devnet.MeasureConfig{Experiment: s, Binary: os.Args[2], Out: filepath.Dir(os.Args[2])}, nil)
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// realNode serves a node with the flags that a cluster gives.
func realNode(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var cfg node.Config
	f := flag.NewFlagSet("node", flag.ContinueOnError)
	f.Func("config", "", func(path string) (err error) { cfg, err = node.ReadConfig(path); return err }) // the first flag
	f.StringVar(&cfg.DataDir, "data-dir", "", "")
	f.StringVar(&cfg.Genesis, "genesis", "", "")
	f.StringVar(&cfg.Name, "name", "", "")
	f.StringVar(&cfg.HTTP, "http", "", "")
	f.StringVar(&cfg.LogLevel, "log-level", "", "")
	f.StringVar(&cfg.ProposerKey, "proposer-key", "", "")
	f.StringVar(&cfg.P2P.Relay, "relay", "", "")
	f.IntVar(&cfg.BlockBytes, "block-size", 0, "")
	f.BoolVar(&cfg.Trace, "trace", false, "")
	f.BoolVar(&cfg.Bendable, "bendable", false, "")
	f.StringVar(&cfg.Links, "links", "", "")
	f.IntVar(&cfg.LinkNode, "link-node", 0, "")
	f.Func("listen", "", func(s string) error { cfg.P2P.Listen = append(cfg.P2P.Listen, s); return nil })
	f.Func("bootstrap", "", func(s string) error { cfg.P2P.Bootstrap = append(cfg.P2P.Bootstrap, s); return nil })
	if err := f.Parse(args); err != nil {
		return err
	}
	return node.Serve(ctx, cfg, nil)
}

const (
	testNodes = 8
	testSlot  = 500 * time.Millisecond
)

// TestDevnet is one network of eight processes and what its users and its enemies do to it.
func TestDevnet(t *testing.T) {
	funded, err := accounts.Derive(accounts.Mnemonic, 5)
	if err != nil {
		t.Fatal(err)
	}
	alloc := map[common.Address]*uint256.Int{}
	for _, a := range funded {
		alloc[a.Address] = uint256.MustFromDecimal("10000000000000000000000")
	}
	c, err := cluster.New(cluster.Config{Nodes: testNodes, Slot: testSlot, Alloc: alloc, Delay: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	graph, err := topology.Build("full", testNodes, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	brief, done := context.WithTimeout(ctx, 300*time.Millisecond)
	err = c.AwaitMesh(brief, graph)
	done()
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "n0 is connected to 0 of 7 neighbours") {
		t.Fatalf("AwaitMesh() of unconnected nodes = %v", err)
	}
	if err := c.Connect(ctx, graph); err != nil {
		t.Fatal(err)
	}
	if err := c.AwaitMesh(ctx, graph); err != nil {
		t.Fatal(err)
	}
	t.Run("idle", func(t *testing.T) { idle(t, c) })
	t.Run("transfers", func(t *testing.T) { transfers(ctx, t, c, funded) })
	t.Run("killed", func(t *testing.T) { killed(ctx, t, c, funded) })
	t.Run("late", func(t *testing.T) { late(ctx, t, c) })
}

// idle wants every connected node that has nothing to do within 60 MB of memory.
func idle(t *testing.T, c *cluster.Cluster) {
	if raceDetector {
		t.Skip("the race detector's own memory would be counted")
	}
	for _, n := range c.Nodes() {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.PID()))
		if err != nil {
			t.Skipf("this system does not tell a process's memory: %v", err)
		}
		_, after, _ := strings.Cut(string(status), "VmRSS:")
		var kib int
		if _, err := fmt.Sscan(after, &kib); err != nil {
			t.Fatalf("resident memory of %s: %v", n.Name(), err)
		}
		if kib > 60<<10 {
			t.Errorf("%s holds %d KiB, want at most 60 MiB", n.Name(), kib)
		}
	}
}

// transfers sends 1,000 of them by a client nobody here wrote, from five accounts to five nodes,
// and wants every one in a block on every node within ten slots, and one truth everywhere.
func transfers(ctx context.Context, t *testing.T, c *cluster.Cluster, funded []accounts.Account) {
	const each = 200
	sent := map[common.Hash]bool{}
	var mu sync.Mutex
	var g errgroup.Group
	for i, from := range funded {
		client := ethclient.NewClient(c.Node(i).Client().Raw())
		g.Go(func() error {
			signer := types.LatestSignerForChainID(big.NewInt(cluster.ChainID))
			for nonce := range uint64(each) {
				to := recipient(int(nonce) % 10)
				tx, err := types.SignNewTx(from.Key, signer, &types.DynamicFeeTx{
					ChainID: signer.ChainID(), Nonce: nonce, GasTipCap: big.NewInt(1e9), GasFeeCap: big.NewInt(1e10), Gas: 21_000, To: &to, Value: big.NewInt(7),
				})
				if err == nil {
					err = client.SendTransaction(ctx, tx)
				}
				if err != nil {
					return fmt.Errorf("account %d, nonce %d: %w", i, nonce, err)
				}
				mu.Lock()
				sent[tx.Hash()] = true
				mu.Unlock()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	last := c.Genesis().SlotAt(time.Now()) + 10
	if len(sent) != 5*each {
		t.Fatalf("%d transactions sent", len(sent))
	}
	for _, n := range c.Nodes() {
		if err := allIncluded(ctx, ethclient.NewClient(n.Client().Raw()), sent, last); err != nil {
			t.Fatalf("%s: %v", n.Name(), err)
		}
	}
	agree(ctx, t, c)
	for _, n := range c.Nodes() {
		client := ethclient.NewClient(n.Client().Raw())
		for i := range 10 {
			if b, err := client.BalanceAt(ctx, recipient(i), nil); err != nil || b.Int64() != 7*5*each/10 {
				t.Errorf("%s: recipient %d has %v, %v, want %d", n.Name(), i, b, err, 7*5*each/10)
			}
		}
		for i, a := range funded {
			if nonce, err := client.NonceAt(ctx, a.Address, nil); err != nil || nonce != each {
				t.Errorf("%s: account %d has nonce %d, %v, want %d", n.Name(), i, nonce, err, each)
			}
		}
	}
}

func recipient(i int) common.Address { return common.BytesToAddress([]byte{0xee, byte(i)}) }

// allIncluded follows a node's chain until it holds every transaction, in blocks of slots up to last.
func allIncluded(ctx context.Context, client *ethclient.Client, sent map[common.Hash]bool, last uint64) error {
	found, next, slot := 0, uint64(1), uint64(0)
	return cluster.Await(ctx, func(ctx context.Context) (string, error) {
		head, err := client.BlockNumber(ctx)
		if err != nil {
			return "", err
		}
		for ; next <= head; next++ {
			b, err := client.BlockByNumber(ctx, new(big.Int).SetUint64(next))
			if err != nil {
				return "", err
			}
			for _, tx := range b.Transactions() {
				if sent[tx.Hash()] {
					found++
				}
			}
			if slot = b.Nonce(); found < len(sent) && slot >= last {
				return "", fmt.Errorf("%d of %d transactions are in blocks up to slot %d, ten slots after the last was sent", found, len(sent), slot)
			}
		}
		if found < len(sent) {
			return fmt.Sprintf("%d of %d transactions are in blocks", found, len(sent)), nil
		}
		return "", nil
	})
}

// agree waits for one head and compares the roots and the blocks below it.
func agree(ctx context.Context, t *testing.T, c *cluster.Cluster) {
	t.Helper()
	var all []*rpc.Status
	err := cluster.Await(ctx, func(ctx context.Context) (string, error) {
		var err error
		if all, err = c.Statuses(ctx); err != nil {
			return "", err
		}
		for i, s := range all {
			if s != nil && s.Head.ID != all[0].Head.ID {
				return fmt.Sprintf("n%d has another head than n0", i), nil
			}
		}
		return "", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range all {
		if s.Head.Root != all[0].Head.Root {
			t.Errorf("n%d has the root %v, n0 %v, at the same head", i, s.Head.Root, all[0].Head.Root)
		}
	}
}

// killed ends a node by SIGKILL while the chain goes on and wants it back with its blocks.
func killed(ctx context.Context, t *testing.T, c *cluster.Cluster, funded []accounts.Account) {
	victim := c.Node(3)
	before, err := victim.Client().Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	pid := victim.PID()
	if !victim.Kill() || syscall.Kill(pid, 0) == nil {
		t.Fatalf("process %d survived SIGKILL: nothing was tested", pid)
	}
	if err := c.AwaitHead(ctx, before.Head.Slot+4); err != nil { // of those that still run
		t.Fatal(err)
	}
	if err := victim.Start(ctx); err != nil {
		t.Fatal(err)
	}
	after, err := victim.Client().Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if after.Head.Number < before.Head.Number {
		t.Errorf("after SIGKILL the head is block %d, before it was %d", after.Head.Number, before.Head.Number)
	}
	for _, to := range []int{1, 5} {
		if err := victim.ConnectTo(ctx, c.Node(to)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.AwaitHead(ctx, c.Genesis().SlotAt(time.Now())-1); err != nil {
		t.Fatalf("the killed node does not catch up: %v", err)
	}
	agree(ctx, t, c)
	nonce, err := victim.Client().Nonce(ctx, funded[0].Address)
	if err != nil || nonce != 200 {
		t.Errorf("nonce at the restarted node = %d, %v, want 200", nonce, err)
	}
}

// late starts a ninth node when the chain is long under way.
func late(ctx context.Context, t *testing.T, c *cluster.Cluster) {
	n, err := c.AddNode()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(ctx); err != nil {
		t.Fatal(err)
	}
	s, err := n.Client().Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if s.Head.Number != 0 {
		t.Fatalf("a node without peers begins at block %d: nothing would be tested", s.Head.Number)
	}
	if err := n.ConnectTo(ctx, c.Node(2)); err != nil {
		t.Fatal(err)
	}
	if err := c.AwaitHead(ctx, c.Genesis().SlotAt(time.Now())-1); err != nil {
		t.Fatalf("the late node does not catch up: %v", err)
	}
	agree(ctx, t, c)
	first := map[common.Hash]bool{}
	for _, n := range c.Nodes() {
		b, err := ethclient.NewClient(n.Client().Raw()).HeaderByNumber(ctx, big.NewInt(1))
		if err != nil {
			t.Fatalf("%s: block 1: %v", n.Name(), err)
		}
		first[b.Hash()] = true
	}
	if len(first) != 1 {
		t.Errorf("there are %d first blocks", len(first))
	}
}

// TestMeasureOnProcesses is the main command, made short.
func TestMeasureOnProcesses(t *testing.T) {
	out := t.TempDir()
	spec := experiment.Spec{
		Name: "short", Net: experiment.Net{Nodes: 4}, Load: experiment.Load{Blocks: 6, Warmup: 2, TxSize: 8 << 10},
		Chain: experiment.Chain{Slot: experiment.Duration(500 * time.Millisecond), BlockSize: 64 << 10},
	}
	var said bytes.Buffer
	r, err := devnet.Measure(t.Context(), devnet.MeasureConfig{Experiment: spec, Out: out}, &said)
	if err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	for name, want := range map[string]float64{"block.coverage": 1, "tx.coverage": 1, "run.events_lost": 0, "run.warmup_blocks": 2} {
		if got := float64(r.Summary[name].Value); got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
	for name, bounds := range map[string][2]float64{
		"block.p50_ms": {0.1, 10_000}, "block.copies": {1, 4}, "tx.copies": {1, 4}, "block.hops_max": {1, 3}, "net.multiplier": {1, 5},
		"block.size_bytes": {60 << 10, 66 << 10}, "run.max_rss_bytes": {10 << 20, 1 << 30}, "tx.p50_ms": {0.1, 10_000},
	} {
		if got := float64(r.Summary[name].Value); got < bounds[0] || got > bounds[1] {
			t.Errorf("%s = %v, want %v to %v", name, got, bounds[0], bounds[1])
		}
	}
	if got := r.Block.Messages; got != 6 {
		t.Errorf("%d blocks counted, want 6", got)
	}
	for _, bar := range r.Block.Split {
		if bar.N == 0 || bar.Stages["decode + validate"] <= 0 || bar.Stages["wire"]+bar.Stages["serialise + congestion"] <= 0 {
			t.Errorf("%s splits into %v over %d blocks: the hop's marks are not seen", bar.Coverage, bar.Stages, bar.N)
		}
	}
	if _, err := os.Stat(filepath.Join(out, report.LatestLink, report.PageFile)); err != nil {
		t.Error(err)
	}
}

// running starts a short measurement in its own temporary folder and waits until node n1 serves; it
// returns that node's folder and the measurement's end.
func running(ctx context.Context, t *testing.T) (dir string, ended <-chan error) {
	t.Helper()
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	spec := experiment.Spec{Net: experiment.Net{Nodes: 2}, Load: experiment.Load{Blocks: 60}}
	out := make(chan error, 1)
	var g errgroup.Group
	g.Go(func() error {
		_, err := devnet.Measure(ctx, devnet.MeasureConfig{Experiment: spec, Out: filepath.Join(temp, "runs")}, nil)
		out <- err
		return nil
	})
	t.Cleanup(func() {
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		if left, err := filepath.Glob(filepath.Join(temp, "*")); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
	limit, done := context.WithTimeout(ctx, 30*time.Second)
	defer done()
	err := cluster.Await(limit, func(context.Context) (string, error) {
		found, err := filepath.Glob(filepath.Join(temp, "pheme-*", "n1", node.ReadyFile))
		if len(found) == 0 {
			return "n1 does not serve", err
		}
		dir = filepath.Dir(found[0])
		return "", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir, out
}

func TestMeasureSaysWhichNodeDied(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	dir, ended := running(ctx, t)
	if err := syscall.Kill(pidOf(t, dir), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, cluster.ErrExited) || !strings.Contains(err.Error(), "n1: signal: killed") {
		t.Errorf("Measure() = %v after n1 was killed", err)
	}
}

func TestInterruptedMeasureLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	dir, ended := running(ctx, t)
	pid := pidOf(t, dir)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Measure() = %v after its context ended", err)
	}
	if syscall.Kill(pid, 0) == nil {
		t.Errorf("process %d is left behind", pid)
	}
}

// shared is a buffer that a test reads while Up writes.
type shared struct {
	mu    sync.Mutex
	text  bytes.Buffer
	fresh chan struct{}
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.fresh <- struct{}{}:
	default:
	}
	return s.text.Write(p)
}

func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// await waits until the text has what is wanted.
func (s *shared) await(t *testing.T, wanted string, ended <-chan error) string {
	t.Helper()
	limit := time.After(60 * time.Second)
	for {
		if text := s.String(); strings.Contains(text, wanted) {
			return text
		}
		select {
		case <-s.fresh:
		case err := <-ended:
			t.Fatalf("Up ended with %v before it said %q:\n%s", err, wanted, s.String())
		case <-limit:
			t.Fatalf("Up did not say %q:\n%s", wanted, s.String())
		}
	}
}

func TestUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &shared{fresh: make(chan struct{}, 1)}
	ended := make(chan error, 1)
	var g errgroup.Group
	g.Go(func() error {
		ended <- devnet.Up(ctx, devnet.UpConfig{Nodes: 3, Slot: 300 * time.Millisecond}, out)
		return nil
	})
	text := out.await(t, "Stop with Ctrl-C", ended)
	for _, want := range []string{
		"chain id 1337", "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
		accounts.Mnemonic, "These keys are public",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the banner lacks %q:\n%s", want, text)
		}
	}
	urls := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindAllString(text, -1)
	if len(urls) != 5 || urls[4] != urls[1] {
		t.Fatalf("URLs %v, want the page's, three nodes', and the first node's to try", urls)
	}
	if resp, err := http.Get(urls[0]); err != nil || resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		t.Errorf("the live page: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
	client, err := ethclient.DialContext(ctx, urls[1])
	if err != nil {
		t.Fatal(err)
	}
	balance, err := client.BalanceAt(ctx, common.HexToAddress("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"), nil)
	if want, _ := new(big.Int).SetString("10000000000000000000000", 10); err != nil || balance.Cmp(want) != 0 {
		t.Errorf("the first account has %v, %v", balance, err)
	}
	client.Close()
	dir := regexp.MustCompile(`Data in (\S+)\.`).FindStringSubmatch(text)[1]
	victim := pidOf(t, filepath.Join(dir, "n2"))
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	out.await(t, "2 of 3 nodes are left", ended)
	survivor := pidOf(t, filepath.Join(dir, "n0"))
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Up() = %v after its context ended", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left behind", dir)
	}
	if syscall.Kill(survivor, 0) == nil {
		t.Errorf("process %d is left behind", survivor)
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// pidOf reads a node's process id from its folder.
func pidOf(t *testing.T, dir string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, node.ReadyFile))
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscanf(regexp.MustCompile(`"pid": (\d+)`).FindStringSubmatch(string(text))[1], "%d", &pid); err != nil {
		t.Fatal(err)
	}
	return pid
}
