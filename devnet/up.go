package devnet

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/pheme-net/pheme/devnet/accounts"
	"github.com/pheme-net/pheme/devnet/cluster"
	"github.com/pheme-net/pheme/devnet/live"
	"github.com/pheme-net/pheme/devnet/topology"
)

// upAccounts is how many accounts a devnet funds: as many as other local chains.
const upAccounts = 10

// upDegree bounds the connections of a node.
const upDegree = 10

// upNodes bounds a devnet: each node is a process.
const upNodes = 64

// UsageError is a complaint about what the caller asked for. Its exit code is 2.
type UsageError struct{ Reason string }

func (e *UsageError) Error() string { return e.Reason }

// ExitCode is what the command returns to the shell.
func (e *UsageError) ExitCode() int { return 2 }

// UpConfig is one call of [Up]; zero fields take their defaults.
type UpConfig struct {
	Nodes  int           // 4
	Slot   time.Duration // 1 s
	Binary string        // the program whose "node" command a child runs; "" is this one
	// Port, when not 0, is the JSON-RPC port of the first node; the others follow. 0 lets the
	// system choose.
	Port int
	// Dir keeps the nodes' data when set; "" uses a temporary folder that is removed at the end.
	Dir string
	// Page is the loopback address of the live page; "" lets the system choose the port, "off" serves none.
	Page string
	// JSON, when set, gets what the banner says as one object, in its place.
	JSON io.Writer
}

// upNetwork is what a program needs to use a network that is up.
type upNetwork struct {
	ChainID  uint64      `json:"chain_id"`
	SlotMS   int64       `json:"slot_ms"`
	Page     string      `json:"page,omitempty"`
	Nodes    []upNode    `json:"nodes"`
	Accounts []upAccount `json:"accounts"`
	Mnemonic string      `json:"mnemonic"`
	Dir      string      `json:"dir"`
}

type upNode struct {
	Name string `json:"name"`
	RPC  string `json:"rpc"`
	WS   string `json:"ws"`
	IPC  string `json:"ipc"`
}

type upAccount struct {
	Address string `json:"address"`
	Key     string `json:"private_key"`
}

func (c *UpConfig) fill() {
	if c.Nodes == 0 {
		c.Nodes = 4
	}
	if c.Page == "" {
		c.Page = "127.0.0.1:0"
	}
	if c.Slot == 0 {
		c.Slot = time.Second
	}
}

func (c *UpConfig) validate() error {
	bad := func(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }
	switch {
	case c.Nodes < 1 || c.Nodes > upNodes:
		return bad("%d nodes: use 1 to %d", c.Nodes, upNodes)
	case c.Slot < 100*time.Millisecond || c.Slot > time.Minute || c.Slot%time.Millisecond != 0:
		return bad("a slot of %v: use 100ms to 1m, in whole milliseconds", c.Slot)
	case c.Port < 0 || c.Port > 65_535-c.Nodes:
		return bad("port %d: use 0, or one that leaves room for %d nodes above it", c.Port, c.Nodes)
	case c.Page != "off":
		return CheckPage(c.Page)
	}
	return nil
}

// Up runs a network until ctx ends, saying URLs and funded accounts on out or as JSON, then stops every
// node and removes what it made. A node that dies is said; the others go on, and when none is left
// Up returns the last one's error.
func Up(ctx context.Context, cfg UpConfig, out io.Writer) (err error) {
	cfg.fill()
	if err := cfg.validate(); err != nil {
		return err
	}
	funded, err := accounts.Derive(accounts.Mnemonic, upAccounts)
	if err != nil {
		return err
	}
	deaths := make(chan error, cfg.Nodes) // each node dies at most once: it is not started again
	c, err := cluster.New(cluster.Config{
		Nodes: cfg.Nodes, Binary: cfg.Binary, Dir: cfg.Dir, Slot: cfg.Slot, Port: cfg.Port, Alloc: fund(funded),
		Delay: time.Second, Exited: func(_ string, err error) { deaths <- err },
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := join(ctx, c); err != nil {
		if ctx.Err() != nil {
			return nil // asked to stop while it was starting
		}
		return err
	}
	page, err := upPage(cfg, c, funded[len(funded)-1])
	if err != nil {
		return err
	}
	url := ""
	if page != nil {
		url = page.URL
		viewing, close := context.WithCancel(ctx)
		var serving sync.WaitGroup
		serving.Go(func() {
			if err := page.Run(viewing); err != nil {
				fmt.Fprintln(out, err)
			}
		})
		defer func() { close(); serving.Wait() }()
	}
	if up := describeUp(cfg, c, funded, url); cfg.JSON == nil {
		up.banner(out)
	} else if err := json.NewEncoder(cfg.JSON).Encode(up); err != nil {
		return err
	}
	for left := cfg.Nodes; left > 0; left-- {
		select {
		case <-ctx.Done():
			fmt.Fprintf(out, "\nstopping %s\n", counted(left, "node"))
			return nil
		case err = <-deaths:
			fmt.Fprintf(out, "%v\n%d of %d nodes are left\n", err, left-1, cfg.Nodes)
		}
	}
	return fmt.Errorf("no node is left: %w", err)
}

// upPage opens the live page, unless it is off.
func upPage(cfg UpConfig, c *cluster.Cluster, sender accounts.Account) (*Page, error) {
	if cfg.Page == "off" {
		return nil, nil
	}
	var targets []live.Target
	for _, n := range c.Nodes() {
		r := n.Ready()
		targets = append(targets, live.Target{Name: n.Name(), RPC: r.RPC, Where: r.IPC})
	}
	return OpenPage(cfg.Page, targets, sender.Key)
}

// join starts the nodes and connects them.
func join(ctx context.Context, c *cluster.Cluster) error {
	if err := c.Start(ctx); err != nil {
		return err
	}
	n := len(c.Nodes())
	if n == 1 {
		return nil
	}
	graph, err := topology.Build("random", n, min(n-1, upDegree), rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		return err
	}
	if err := c.Connect(ctx, graph); err != nil {
		return err
	}
	return c.AwaitMesh(ctx, graph)
}

// describeUp gathers what a person or a program needs to use the network.
func describeUp(cfg UpConfig, c *cluster.Cluster, funded []accounts.Account, page string) upNetwork {
	up := upNetwork{ChainID: cluster.ChainID, SlotMS: cfg.Slot.Milliseconds(), Page: page, Mnemonic: accounts.Mnemonic, Dir: c.Dir()}
	for _, n := range c.Nodes() {
		r := n.Ready()
		up.Nodes = append(up.Nodes, upNode{Name: n.Name(), RPC: r.RPC, WS: r.WS, IPC: r.IPC})
	}
	for _, a := range funded {
		up.Accounts = append(up.Accounts, upAccount{Address: a.Address.Hex(), Key: "0x" + hex.EncodeToString(crypto.FromECDSA(a.Key))})
	}
	return up
}

// banner prints it for a person.
func (up upNetwork) banner(out io.Writer) {
	fmt.Fprintf(out, "pheme devnet: %s, chain id %d, a block every %v\n\n", counted(len(up.Nodes), "node"), up.ChainID, time.Duration(up.SlotMS)*time.Millisecond)
	if up.Page != "" {
		fmt.Fprintf(out, "Live page\n  %s\n\n", up.Page)
	}
	fmt.Fprintf(out, "JSON-RPC over HTTP and WebSocket\n")
	for _, n := range up.Nodes {
		fmt.Fprintf(out, "  %-4s%s\n", n.Name, n.RPC)
	}
	fmt.Fprintf(out, "\nAccounts, 10000 coins each\n")
	for i, a := range up.Accounts {
		fmt.Fprintf(out, "  (%d) %s\n", i, a.Address)
	}
	fmt.Fprintf(out, "\nPrivate keys\n")
	for i, a := range up.Accounts {
		fmt.Fprintf(out, "  (%d) %s\n", i, a.Key)
	}
	fmt.Fprintf(out, "\nMnemonic  %s\nPath      m/44'/60'/0'/0/i\n", up.Mnemonic)
	fmt.Fprintf(out, "\nThese keys are public: everybody knows them. Never send anything of value to them.\n")
	fmt.Fprintf(out, "\nIn another terminal\n  pheme status --data-dir %s\n  pheme tx load --rpc %s --rate 200\n", up.Dir, up.Nodes[0].RPC)
	fmt.Fprintf(out, "\nData in %s. Stop with Ctrl-C.\n", up.Dir)
}
