package node

import (
	"errors"
	"fmt"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/mempool"
	"github.com/pheme-net/pheme/p2p"
	"github.com/pheme-net/pheme/rpc"
)

// ErrConfig is wrapped by every complaint about a configuration: its message names the key or flag
// and what to write instead.
var ErrConfig = errors.New("config")

// Config is all that can be set on a node. A zero field means its default.
type Config struct {
	Name        string // shown in status and traces; default: the peer id's end
	DataDir     string // identity, chain, journal; made if absent
	Genesis     string // path of the network's genesis file
	ProposerKey string // path of a hex private key; empty: this node proposes nothing
	HTTP        string // address of HTTP and WebSocket, port 0 lets the kernel choose
	Metrics     string // address of /metrics, /livez and /readyz; empty: not served
	BlockBytes  int    // size our own blocks are filled to; default: the genesis limit
	Trace       bool   // write every event to TraceFile in the data dir
	LogLevel    string // debug, info, warn or error
	Bendable    bool   // serve admin_bend, which deforms this node for measuring faults
	Links       string // file of a live.Plan that shapes our links; empty: they are what they are
	LinkNode    int    // which of the plan's nodes we are

	Chain chain.Config
	Pool  mempool.Config
	P2P   p2p.Config
	RPC   rpc.Config
}

// fill writes the defaults of the fields that are the node's own.
func (c *Config) fill() {
	if c.HTTP == "" {
		c.HTTP = "127.0.0.1:8545" // where Ethereum's tools look first
	}
	if c.LogLevel == "" {
		c.LogLevel = "info"
	}
}

func (c *Config) validate() error {
	switch {
	case c.DataDir == "":
		return fmt.Errorf("%w: no data dir: pass --data-dir DIR", ErrConfig)
	case c.Genesis == "":
		return fmt.Errorf("%w: no genesis: pass --genesis FILE ('pheme genesis' makes one)", ErrConfig)
	case c.BlockBytes != 0 && c.BlockBytes < 1024: // the least of a genesis, too
		return fmt.Errorf("%w: block size %d: use at least 1KiB", ErrConfig, c.BlockBytes)
	case len(c.Chain.Extra) > chain.MaxExtraBytes:
		return fmt.Errorf("%w: extra has %d bytes: use at most %d", ErrConfig, len(c.Chain.Extra), chain.MaxExtraBytes)
	}
	return nil
}

// validateIn checks what depends on the network.
func (c *Config) validateIn(g *chain.Genesis) error {
	if n := c.BlockBytes; n > 0 && uint64(n) > g.MaxBlockBytes {
		return fmt.Errorf("%w: block size %d: the genesis allows %d: use at most that, or 0 for it", ErrConfig, n, g.MaxBlockBytes)
	}
	undo := c.Chain.UndoWindow(g)
	if n := c.Chain.PruneBodies; n > 0 && n < undo {
		return fmt.Errorf("%w: prune_bodies %d: %d blocks can be undone and need their transactions: use at least %d, or 0 to keep all", ErrConfig, n, undo, undo)
	}
	return nil
}
