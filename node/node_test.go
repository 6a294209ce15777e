package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/holiman/uint256"
	logging "github.com/ipfs/go-log/v2"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/rpc"
)

func testKey(t testing.TB, name string) *ecdsa.PrivateKey {
	t.Helper()
	seed := sha256.Sum256([]byte(name))
	key, err := crypto.ToECDSA(seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// testNet is a genesis with two proposers and two funded accounts, and folders for its nodes.
type testNet struct {
	t       *testing.T
	dir     string
	genesis string
}

func newTestNet(t *testing.T) *testNet {
	t.Helper()
	dir, err := os.MkdirTemp("", "pheme-node") // short: sockets have a limit of about 100 characters
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	g := chain.Genesis{ChainID: 1337, TimeMS: uint64(time.Now().UnixMilli()), SlotMS: 100, Alloc: map[common.Address]*uint256.Int{}}
	for i := range 2 {
		key := testKey(t, fmt.Sprintf("proposer %d", i))
		g.Proposers = append(g.Proposers, addressOf(key))
		if err := crypto.SaveECDSA(filepath.Join(dir, fmt.Sprintf("p%d.key", i)), key); err != nil {
			t.Fatal(err)
		}
		g.Alloc[addressOf(testKey(t, fmt.Sprintf("account %d", i)))] = uint256.NewInt(1e18)
	}
	n := &testNet{t: t, dir: dir, genesis: filepath.Join(dir, "genesis.json")}
	if err := os.WriteFile(n.genesis, g.Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	return n
}

// config is that of node i, which proposes.
func (n *testNet) config(i int) Config {
	return Config{
		Name: fmt.Sprintf("n%d", i), DataDir: filepath.Join(n.dir, fmt.Sprintf("d%d", i)), Genesis: n.genesis,
		ProposerKey: filepath.Join(n.dir, fmt.Sprintf("p%d.key", i)), HTTP: "127.0.0.1:0", LogLevel: "error",
	}
}

// running is a node inside this process.
type running struct {
	Ready
	client *rpc.Client // on its socket
	stop   func() error
}

// start serves until the test ends or stop is called; stop returns what Serve did.
func (n *testNet) start(cfg Config) *running {
	n.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan Ready, 1), make(chan error, 1)
	go func() { ended <- Serve(ctx, cfg, func(r Ready) { ready <- r }) }()
	r := &running{}
	select {
	case r.Ready = <-ready:
	case err := <-ended:
		cancel()
		n.t.Fatalf("Serve = %v before it was ready", err)
	}
	var err error
	if r.client, err = rpc.Dial(ctx, r.IPC); err != nil {
		n.t.Fatal(err)
	}
	var result error
	stopped := false
	r.stop = func() error {
		if !stopped {
			stopped = true
			r.client.Close()
			cancel()
			result = <-ended
		}
		return result
	}
	n.t.Cleanup(func() { r.stop() })
	return r
}

// eventually looks again and again until what is said holds.
func eventually(t *testing.T, what string, holds func(ctx context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("still not after a minute: %s", what)
		}
	}
}

// TestHealedBranchesAgree lets two nodes build a branch each, with a transfer in each, and then
// connects them: one branch wins, and the transfer of the other returns to the pool, is announced
// again and gets into a block on both.
func TestHealedBranchesAgree(t *testing.T) {
	net := newTestNet(t)
	nodes := []*running{net.start(net.config(0)), net.start(net.config(1))}
	ctx := context.Background()
	var hashes []common.Hash
	for i, n := range nodes {
		hash, err := n.client.SendTransfer(ctx, testKey(t, fmt.Sprintf("account %d", i)), common.Address{19: 9}, big.NewInt(1000), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.client.WaitReceipt(ctx, hash); err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, hash)
	}
	for i, n := range nodes { // the fault happened: neither knows the other's transfer
		if r, err := n.client.Receipt(ctx, hashes[1-i]); err == nil && r != nil {
			t.Fatalf("n%d has the other's transfer before they met", i)
		}
	}
	if err := nodes[0].client.AddPeer(ctx, nodes[1].P2P[0]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both transfers in one chain on both nodes", func(ctx context.Context) bool {
		var blocks [2][2]common.Hash
		for i, n := range nodes {
			for k, hash := range hashes {
				r, err := n.client.Receipt(ctx, hash)
				if err != nil || r == nil {
					return false
				}
				blocks[i][k] = r.BlockHash
			}
		}
		return blocks[0] == blocks[1]
	})
	for i, n := range nodes {
		if balance, err := n.client.Balance(ctx, common.Address{19: 9}); err != nil || balance.Int64() != 2000 {
			t.Errorf("n%d: balance %v, %v, want 2000", i, balance, err)
		}
	}
}

// TestStopKeepsWhatWasAcknowledged submits, stops at once, and finds the transfer after a restart.
func TestStopKeepsWhatWasAcknowledged(t *testing.T) {
	net := newTestNet(t)
	cfg := net.config(0)
	cfg.ProposerKey = "" // nobody makes blocks: only the journal can keep it
	n := net.start(cfg)
	hash, err := n.client.SendTransfer(context.Background(), testKey(t, "account 0"), common.Address{19: 9}, big.NewInt(1), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.stop(); err != nil {
		t.Fatalf("Serve = %v, want nil", err)
	}
	if _, err := os.Stat(filepath.Join(cfg.DataDir, ReadyFile)); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("%s is still there: %v", ReadyFile, err)
	}
	n = net.start(net.config(0)) // now it proposes
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := n.client.WaitReceipt(ctx, hash); err != nil {
		t.Fatal(err)
	}
}

// TestShutdownOverTheSocket ends a node by its admin socket.
func TestShutdownOverTheSocket(t *testing.T) {
	net := newTestNet(t)
	n := net.start(net.config(0))
	if err := n.client.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := n.stop(); err != nil {
		t.Fatalf("Serve = %v, want nil", err)
	}
}

func TestPortTaken(t *testing.T) {
	net := newTestNet(t)
	n := net.start(net.config(0))
	cfg := net.config(1)
	cfg.HTTP = strings.TrimPrefix(n.RPC, "http://")
	err := Serve(context.Background(), cfg, nil)
	if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "taken by another program: pass another --http") {
		t.Fatalf("Serve on a taken port = %v", err)
	}
	cfg = net.config(1)
	cfg.P2P.Listen = []string{strings.Split(n.P2P[0], "/p2p/")[0]}
	if err := Serve(context.Background(), cfg, nil); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "--listen") {
		t.Fatalf("Serve on a taken peer port = %v", err)
	}
}

// TestMistakesAreNamed: what a part of the node refuses of its settings is ErrConfig, and says which.
func TestMistakesAreNamed(t *testing.T) {
	net := newTestNet(t)
	for want, spoil := range map[string]func(*Config){
		`listen: "nowhere"`:    func(c *Config) { c.P2P.Listen = []string{"nowhere"} },
		`bootstrap: "nowhere"`: func(c *Config) { c.P2P.Bootstrap = []string{"nowhere"} },
		`static: "nowhere"`:    func(c *Config) { c.P2P.Static = []string{"nowhere"} },
		"gossip degrees":       func(c *Config) { c.P2P.D = 1 },
		"there are gossip":     func(c *Config) { c.P2P.Relay = "pigeon" },
		"origin":               func(c *Config) { c.RPC.Origins = []string{"nowhere"} },
		"MaxBody is negative":  func(c *Config) { c.RPC.MaxBody = -1 },
		"MaxCount is -1":       func(c *Config) { c.Pool.MaxCount = -1 },
		"extra has 33 bytes":   func(c *Config) { c.Chain.Extra = strings.Repeat("x", 33) },
	} {
		cfg := net.config(0)
		spoil(&cfg)
		if err := Serve(t.Context(), cfg, nil); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("Serve = %v, want ErrConfig with %q", err, want)
		}
	}
}

// TestVerifyWithoutChain: a data dir without a chain is a mistake, and none is made there.
func TestVerifyWithoutChain(t *testing.T) {
	cfg := newTestNet(t).config(0)
	if _, err := Verify(t.Context(), cfg); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("Verify = %v", err)
	}
	if _, err := Repair(t.Context(), cfg); !errors.Is(err, ErrConfig) {
		t.Errorf("Repair = %v", err)
	}
	if _, err := os.Stat(cfg.DataDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the data dir: %v", err)
	}
}

// TestLateSlotIsLeftEmpty: a proposer that was stopped does not fill the slot it slept through.
func TestLateSlotIsLeftEmpty(t *testing.T) {
	net := newTestNet(t)
	g, err := chain.ReadGenesis(net.genesis)
	if err != nil {
		t.Fatal(err)
	}
	c, err := chain.Open(chain.Config{}, g, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	guard, err := chain.OpenSlotGuard("")
	if err != nil {
		t.Fatal(err)
	}
	g.TimeMS -= 1000 // ten slots have passed
	n := &Node{chain: c, guard: guard, key: testKey(t, "proposer 1")}
	n.bend.Store(&Bend{})
	if n.propose(1); guard.Last() != 0 {
		t.Errorf("slot %d was claimed, now is slot %d", guard.Last(), c.SlotAt(time.Now()))
	}
}

// TestReadyFileOfKilledNode: it is gone before the next node serves; that of a node which lives stays.
func TestReadyFileOfKilledNode(t *testing.T) {
	net := newTestNet(t)
	cfg := net.config(0)
	ready := filepath.Join(cfg.DataDir, ReadyFile)
	if err := os.Mkdir(cfg.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeReady(ready, Ready{PID: 1}); err != nil {
		t.Fatal(err)
	}
	fails := cfg
	fails.P2P.Listen = []string{"nowhere"} // found only once the chain is open
	if err := Serve(t.Context(), fails, nil); err == nil {
		t.Fatal("Serve = nil, want an error")
	}
	if _, err := os.Stat(ready); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the ready file of a killed node: %v, want that it is gone", err)
	}

	net.start(cfg)
	if err := Serve(t.Context(), cfg, nil); !errors.Is(err, chain.ErrInUse) {
		t.Errorf("Serve on a data dir in use = %v, want %v", err, chain.ErrInUse)
	}
	if _, err := os.Stat(ready); err != nil {
		t.Errorf("the ready file of a node that lives: %v", err)
	}
}

// TestBounds: a setting that has bounds, or gets them from the genesis, is taken within them and refused beyond, with the bound.
func TestBounds(t *testing.T) {
	net := newTestNet(t) // 6,000 of its slots are ten minutes
	for _, c := range []struct {
		set  func(*Config)
		want string // "": it is taken
	}{
		{func(c *Config) { c.Chain.PruneBodies = 5999 }, "prune_bodies 5999: 6000 blocks"},
		{func(c *Config) { c.Chain.PruneBodies = 6000 }, ""},
		{func(c *Config) { c.Chain.UndoBlocks, c.Chain.PruneBodies = 50, 49 }, "prune_bodies 49: 50 blocks"},
		{func(c *Config) { c.Chain.UndoBlocks, c.Chain.PruneBodies = 50, 50 }, ""},
		{func(c *Config) { c.BlockBytes = 1023 }, "block size 1023: use at least 1KiB"},
		{func(c *Config) { c.BlockBytes = 1024 }, ""},
		{func(c *Config) { c.BlockBytes = chain.MaxBlockBytes }, ""},
		{func(c *Config) { c.BlockBytes = chain.MaxBlockBytes + 1 }, "block size 4194305: the genesis allows 4194304"},
	} {
		cfg := net.config(0)
		c.set(&cfg)
		_, _, err := cfg.store()
		if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("block size %d, prune_bodies %d, undo_blocks %d: %v, want %q", cfg.BlockBytes, cfg.Chain.PruneBodies, cfg.Chain.UndoBlocks, err, c.want)
		}
	}
}

func TestDamagedIdentityIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), identityFile)
	first, err := loadIdentity(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := loadIdentity(path)
	if err != nil || !first.Equals(again) {
		t.Fatalf("the identity changed over a restart: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("identity file: %v, %v, want mode 0600", info.Mode(), err)
	}
	if err := os.WriteFile(path, []byte("??"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadIdentity(path); err == nil || !strings.Contains(err.Error(), "restore it, or remove it") {
		t.Fatalf("loadIdentity = %v", err)
	}
}

func FuzzDecodeConfig(f *testing.F) {
	f.Add("name = \"a\"\n[p2p]\nd = 8\nheartbeat = \"700ms\"\n")
	f.Add("[p2p]\nheartbeat = \"soon\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := DecodeConfig("f.toml", []byte(text)); err != nil && !errors.Is(err, ErrConfig) {
			t.Fatalf("error without ErrConfig: %v", err)
		}
	})
}

func TestDecodeConfig(t *testing.T) {
	cfg, err := DecodeConfig("f.toml", []byte("http = \"127.0.0.1:1\"\n[p2p]\nd = 9\nheartbeat = \"1s\"\n[rpc]\nhosts = [\"a\"]\n[pool]\nttl = \"1h\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.P2P.D != 9 || cfg.P2P.Heartbeat != time.Second || cfg.RPC.Hosts[0] != "a" || cfg.HTTP != "127.0.0.1:1" || cfg.Pool.TTL != time.Hour {
		t.Fatalf("DecodeConfig = %+v", cfg)
	}
	for text, want := range map[string]string{
		"a = 1":                         `f.toml:1: unknown key "a"`,
		"[p2p]\n\nx = 1":                `f.toml:3: unknown key "p2p.x"`,
		"[p2p]\nheartbeat = \"soon\"\n": "f.toml:2",
		"name = 3":                      "f.toml:1",
	} {
		if _, err := DecodeConfig("f.toml", []byte(text)); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("DecodeConfig(%q) = %v, want %s", text, err, want)
		}
	}
}

// TestBend: only a node that was started for it can be deformed, and it says what it is.
func TestBend(t *testing.T) {
	net := newTestNet(t)
	if _, err := net.start(net.config(0)).client.Bend(t.Context(), &rpc.Bend{Silent: true}); err == nil || !strings.Contains(err.Error(), "--bendable") {
		t.Errorf("admin_bend at an ordinary node = %v, want what to start it with", err)
	}
	cfg := net.config(1)
	cfg.Bendable = true
	n := net.start(cfg)
	want := rpc.Bend{SkewNS: -5, Silent: true, Equivocate: true}
	if got, err := n.client.Bend(t.Context(), &want); err != nil || got.Bend != want {
		t.Errorf("admin_bend = %+v, %v, want %+v", got, err, want)
	}
	if got, err := n.client.Bend(t.Context(), nil); err != nil || got.Bend != want {
		t.Errorf("admin_bend without an argument = %+v, %v, want %+v", got, err, want)
	}
	if _, err := n.client.Links(t.Context()); err == nil || !strings.Contains(err.Error(), "--links") {
		t.Errorf("admin_links at an unshaped node = %v, want what to start it with", err)
	}
}

// TestLogLevels: a package's log changes its level at run time and the others keep theirs, by the names that
// packages have.
func TestLogLevels(t *testing.T) {
	logs := map[string]*logging.ZapEventLogger{}
	for name, real := range map[string]string{"node": "node", "p2p": "p2p", "chain": "chain", "mempool": "mempool", "rpc": "pheme/rpc"} {
		logs[name] = logging.Logger(real)
	}
	debugs := func() (names []string) {
		for name, l := range logs {
			if l.LevelEnabled(logging.LevelDebug) {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names
	}
	set := func(pkg, level string) {
		t.Helper()
		if err := setPackageLevel(pkg, level); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { set("*", "error") }) // as logs are when a test begins
	set("*", "info")
	for name := range logs {
		set(name, "debug")
		if got := debugs(); !slices.Equal(got, []string{name}) {
			t.Errorf("after %s was set to debug, %v are", name, got)
		}
		set(name, "info")
	}
	set("*", "debug")
	if got := debugs(); len(got) != len(logs) {
		t.Errorf("after all were set to debug, %v are", got)
	}
	for _, bad := range [][2]string{{"nonsense", "debug"}, {"p2p", "loud"}} {
		if err := setPackageLevel(bad[0], bad[1]); !errors.Is(err, ErrConfig) {
			t.Errorf("setPackageLevel(%q, %q) = %v, want ErrConfig", bad[0], bad[1], err)
		}
	}
}
