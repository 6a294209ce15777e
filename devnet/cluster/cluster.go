package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/holiman/uint256"
	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/devnet/topology"
	"github.com/pheme-net/pheme/node"
)

// ChainID is the id every devnet has, the one that local Ethereum chains use.
const ChainID = 1337

// Defaults of Config.
const (
	defaultSlot  = time.Second
	defaultReady = 30 * time.Second // serving takes well under a second; a busy machine may take ten
	defaultStop  = 15 * time.Second // an orderly stop answers calls in flight and closes the store
)

// Config describes a cluster; a zero field takes its default.
type Config struct {
	// Nodes is how many members there are, n0, n1, ... The last Followers of them propose nothing; the
	// others are the genesis's proposers and take the slots in turn. Where all are followers there
	// are no blocks.
	Nodes, Followers int
	// Settings is the text of a configuration file for every member; "" is none.
	Settings string
	// MeshLow is how many peers the mesh of a topic ("block", "tx") must have before it counts as formed, neighbours
	// permitting; nil is GossipSub's lower bounds of a node that is told nothing.
	MeshLow map[string]int
	// Binary is the program whose "node" command a member runs; "" is this one.
	Binary string
	// Dir keeps genesis, keys and data, and is left in place; "" is a temporary folder that Close
	// removes.
	Dir string
	// Slot is the time between two blocks.
	Slot time.Duration
	// Delay is how long after New slot 0 begins: proposers are better connected before slot 1.
	Delay time.Duration
	// Seed fixes the proposers' keys.
	Seed int64
	// Transport is "tcp" or "quic"; "" is tcp.
	Transport string
	// Grown, if not 0, has members find each other and choose so many connections each: all but n0, which is to be
	// started first, are told n0's address.
	Grown int
	// Relays is how blocks of each member travel; nil is the node's default.
	Relays []string
	// BlockSize bounds the blocks that members build; 0 is the chain's limit.
	BlockSize int64
	// Trace lets members record their events.
	Trace bool
	// Shaped has members shape their links as the file at LinksPath says, which the caller writes
	// before Start: member i is its node i.
	Shaped bool
	// Bendable lets members be deformed, see [Node.Bend].
	Bendable bool
	// Port, if not 0, is the JSON-RPC port of n0; those of the others follow.
	Port int
	// Alloc funds accounts in the genesis.
	Alloc map[common.Address]*uint256.Int
	// Ready and Stop bound how long a member may take to serve and to stop.
	Ready, Stop time.Duration
	// Exited, if set, is called when a member ended without being asked to; it must not block.
	Exited func(name string, err error)
}

func (c *Config) fill() {
	if c.Slot == 0 {
		c.Slot = defaultSlot
	}
	if c.Transport == "" {
		c.Transport = "tcp"
	}
	if c.Ready == 0 {
		c.Ready = defaultReady
	}
	if c.MeshLow == nil {
		c.MeshLow = map[string]int{"block": 6, "tx": 3}
	}
	if c.Stop == 0 {
		c.Stop = defaultStop
	}
}

// Cluster is a network of node processes on this machine. Its methods may be called from several
// goroutines, those of one Node from one at a time.
type Cluster struct {
	cfg     Config
	genesis *chain.Genesis
	dir     string
	waits   sync.WaitGroup // one for each child alive

	mu    sync.Mutex
	nodes []*Node
}

// New makes the folder, the genesis and the proposers' keys. Nothing runs yet; Close is due.
func New(cfg Config) (*Cluster, error) {
	if err := node.RefuseReplay(); err != nil {
		return nil, err
	}
	cfg.fill()
	if cfg.Binary == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find this program: %w", err)
		}
		cfg.Binary = self
	}
	dir, err := makeDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	c := &Cluster{cfg: cfg, dir: dir, genesis: &chain.Genesis{
		ChainID: ChainID, TimeMS: uint64(time.Now().Add(cfg.Delay).UnixMilli()), SlotMS: uint64(cfg.Slot.Milliseconds()),
		Alloc: cfg.Alloc, Label: "pheme devnet",
	}}
	for i := range cfg.Nodes {
		seed := proposerSeed(cfg.Seed, i)
		if i >= cfg.Nodes-cfg.Followers {
			seed = nil
		}
		if err := c.add(fmt.Sprintf("n%d", i), seed); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	if len(c.genesis.Proposers) == 0 { // a genesis has one: nobody holds its key
		c.genesis.Proposers = []common.Address{common.BytesToAddress(proposerSeed(cfg.Seed, 0))}
	}
	if cfg.Settings != "" {
		if err := os.WriteFile(c.settingsPath(), []byte(cfg.Settings), 0o644); err != nil {
			return nil, errors.Join(fmt.Errorf("write settings: %w", err), c.Close())
		}
	}
	if err := c.settleGenesis(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// settleGenesis writes the genesis, or goes on with the one that a former cluster left in the
// folder if it is of the same network.
func (c *Cluster) settleGenesis() error {
	old, err := chain.ReadGenesis(c.genesisPath())
	switch {
	case err == nil:
		if old.ChainID != c.genesis.ChainID || old.SlotMS != c.genesis.SlotMS || !slices.Equal(old.Proposers, c.genesis.Proposers) {
			return fmt.Errorf("%s holds a devnet of %d nodes with slots of %v: ask for the same, or choose another folder",
				c.dir, len(old.Proposers), old.SlotDuration())
		}
		c.genesis = old
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s holds a genesis that cannot be read: remove the folder or choose another: %w", c.dir, err)
	}
	if c.genesis, err = chain.DecodeGenesis(c.genesis.Encode()); err != nil { // with the defaults filled in
		return err
	}
	if err := os.WriteFile(c.genesisPath(), c.genesis.Encode(), 0o644); err != nil {
		return fmt.Errorf("write genesis: %w", err)
	}
	return nil
}

// proposerSeed is what the key of proposer i is derived from.
func proposerSeed(seed int64, i int) []byte {
	return crypto.Keccak256([]byte(fmt.Sprintf("pheme devnet proposer %d of seed %d", i, seed)))
}

// add makes a member; with a key seed it is a proposer of the genesis.
func (c *Cluster) add(name string, keySeed []byte) error {
	n := &Node{cluster: c, name: name, dir: filepath.Join(c.dir, name), tail: &tail{}}
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return fmt.Errorf("make node folder: %w", err)
	}
	if keySeed != nil {
		key, err := crypto.ToECDSA(keySeed)
		if err != nil {
			return fmt.Errorf("derive proposer key: %w", err)
		}
		n.keyFile = filepath.Join(n.dir, "proposer.key")
		if err := crypto.SaveECDSA(n.keyFile, key); err != nil {
			return fmt.Errorf("write proposer key: %w", err)
		}
		c.genesis.Proposers = append(c.genesis.Proposers, crypto.PubkeyToAddress(key.PublicKey))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n.index = len(c.nodes)
	c.nodes = append(c.nodes, n)
	return nil
}

// AddNode makes a further member, which follows the chain and proposes nothing. It is not started.
func (c *Cluster) AddNode() (*Node, error) {
	if err := c.add(fmt.Sprintf("n%d", len(c.Nodes())), nil); err != nil {
		return nil, err
	}
	nodes := c.Nodes()
	return nodes[len(nodes)-1], nil
}

// Nodes are the members, n0 first.
func (c *Cluster) Nodes() []*Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*Node(nil), c.nodes...)
}

// Node is member i.
func (c *Cluster) Node(i int) *Node { return c.Nodes()[i] }

// Genesis is the network's; the caller must not change it.
func (c *Cluster) Genesis() *chain.Genesis { return c.genesis }

// Dir is the folder that holds the genesis and every member's data.
func (c *Cluster) Dir() string { return c.dir }

// LinksPath is the file that shapes the members' links.
func (c *Cluster) LinksPath() string { return filepath.Join(c.dir, "links.json") }

func (c *Cluster) genesisPath() string { return filepath.Join(c.dir, "genesis.json") }

func (c *Cluster) settingsPath() string { return filepath.Join(c.dir, "node.toml") }

// Start starts every member and waits until all serve.
func (c *Cluster) Start(ctx context.Context) error {
	var g errgroup.Group
	for _, n := range c.Nodes() {
		g.Go(func() error { return n.Start(ctx) })
	}
	return g.Wait()
}

// Connect makes the connections of a graph, each dialled by the node with the smaller number and
// kept by it.
func (c *Cluster) Connect(ctx context.Context, graph topology.Graph) error {
	nodes := c.Nodes()
	var g errgroup.Group
	g.SetLimit(8) // calls at a time: the handshakes behind them are CPU
	for _, e := range graph.Edges() {
		g.Go(func() error { return nodes[e[0]].ConnectTo(ctx, nodes[e[1]]) })
	}
	return g.Wait()
}

// Stop stops every member that runs, all at once, and waits for them. Members that had to be
// killed are in the error.
func (c *Cluster) Stop() error {
	nodes := c.Nodes()
	errs := make([]error, len(nodes))
	var g errgroup.Group
	for i, n := range nodes {
		g.Go(func() error { errs[i] = n.Stop(); return nil })
	}
	return errors.Join(g.Wait(), errors.Join(errs...))
}

// Close stops every member, waits for them and removes what the cluster made, unless the folder
// was the caller's.
func (c *Cluster) Close() error {
	err := c.Stop()
	c.waits.Wait()
	for _, n := range c.Nodes() {
		n.hangUp()
	}
	if c.cfg.Dir == "" {
		err = errors.Join(err, os.RemoveAll(c.dir))
	}
	return err
}

// maxSocketDir leaves room for "/n63/node.ipc" in the 104 bytes that macOS gives a socket's path.
const maxSocketDir = 80

// makeDir is the caller's folder, or a new temporary one whose path is short enough for sockets.
func makeDir(dir string) (string, error) {
	if dir == "" {
		base := os.TempDir()
		if len(base)+len("/pheme-1234567890") > maxSocketDir {
			base = "/tmp"
		}
		dir, err := os.MkdirTemp(base, "pheme-")
		if err != nil {
			return "", fmt.Errorf("make temporary folder: %w", err)
		}
		return dir, nil
	}
	full, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", dir, err)
	}
	if len(full) > maxSocketDir {
		return "", fmt.Errorf("%s is too long for the sockets in it: choose a folder with a path of at most %d characters", full, maxSocketDir)
	}
	if err := os.MkdirAll(full, 0o755); err != nil {
		return "", fmt.Errorf("make folder: %w", err)
	}
	return full, nil
}
