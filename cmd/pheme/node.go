package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/devnet"
	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/live"
	"github.com/pheme-net/pheme/node"
)

func nodeCommand() *cobra.Command {
	var file string
	var flags node.Config
	var blockSize experiment.Bytes
	var verify, repair, example, asJSON bool
	var page string
	cmd := &cobra.Command{
		Use:   "node --data-dir DIR --genesis FILE",
		Short: "run one node until it is told to stop (Ctrl-C or SIGTERM)",
		Long: `Run one node. Settings come from the --config file (TOML) and from flags, which win.
While the node serves, node.json in the data dir says where: JSON-RPC, socket, peer address. The socket (node.ipc there) also takes what
administers the node, such as the level of a package's log while it runs.`,
		Example: `  pheme node --data-dir d --genesis genesis.json --proposer-key proposer.key
  pheme node --data-dir e --genesis genesis.json --http 127.0.0.1:0 --bootstrap /ip4/127.0.0.1/tcp/4001/p2p/12D3Koo...
  pheme node --data-dir d --genesis genesis.json --metrics 127.0.0.1:9464 --page 127.0.0.1:8080
  pheme node --example-config > node.toml
  echo '{"jsonrpc":"2.0","id":1,"method":"admin_setLogLevel","params":["p2p","debug"]}' | nc -U d/node.ipc`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if example {
				text, err := node.ExampleConfig()
				if err == nil {
					_, err = cmd.OutOrStdout().Write(text)
				}
				return err
			}
			began := time.Now()
			cfg, err := nodeConfig(cmd.Flags(), file, flags, blockSize)
			if err != nil {
				return usageError{err}
			}
			if page != "" {
				if err := devnet.CheckPage(page); err != nil {
					return err
				}
			}
			switch {
			case verify && repair:
				return usagef("--verify and --repair exclude each other: verify first, repair what it names")
			case verify:
				err = verifyStore(cmd, cfg, asJSON)
			case repair:
				err = repairStore(cmd, cfg, asJSON)
			default:
				err = serveNode(cmd, cfg, page, func(r node.Ready) {
					fmt.Fprintf(cmd.ErrOrStderr(), "%s serves JSON-RPC at %s and peers at %v, started in %v\n",
						r.Name, r.RPC, r.P2P, time.Since(began).Round(time.Millisecond))
				})
			}
			if errors.Is(err, node.ErrConfig) {
				return usageError{err}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&file, "config", "", "TOML file with any of these settings and more")
	f.BoolVar(&example, "example-config", false, "print a file with every setting, its default and what it is for, then end")
	f.StringVar(&flags.DataDir, "data-dir", "", "folder of the node's identity, chain and journal; made if absent")
	f.StringVar(&flags.Genesis, "genesis", "", "genesis file of the network")
	f.StringVar(&flags.ProposerKey, "proposer-key", "", "file of the key this node proposes blocks with; without it the node follows")
	f.StringVar(&flags.HTTP, "http", "127.0.0.1:8545", "address of JSON-RPC over HTTP and WebSocket; port 0 lets the system choose")
	f.StringVar(&flags.Metrics, "metrics", "", "address of /metrics (Prometheus), /livez and /readyz, such as 127.0.0.1:9464; not served by default")
	f.StringVar(&page, "page", "", "loopback address of a live page of this node and its peers, such as 127.0.0.1:8080; not served by default")
	f.StringArrayVar(&flags.P2P.Listen, "listen", nil, "multiaddr to take peers at; repeat for more (default loopback, TCP and QUIC)")
	f.StringArrayVar(&flags.P2P.Bootstrap, "bootstrap", nil, "multiaddr of a peer to start from; repeat for more")
	f.StringArrayVar(&flags.P2P.Static, "static", nil, "multiaddr of a peer to stay connected to; repeat for more")
	f.BoolVar(&flags.P2P.MDNS, "mdns", false, "find peers on the local network")
	f.StringVar(&flags.P2P.Relay, "relay", "auto", "how blocks of its own travel: gossip, compact, coded or auto")
	f.Var(&blockSize, "block-size", "size our own blocks are filled to, such as 128KiB; 0 is the genesis limit, the default")
	f.BoolVar(&flags.Pool.JournalSync, "journal-sync", false, "fsync the pool's journal before answering: acknowledged transactions survive power loss")
	f.Lookup("block-size").DefValue = "" // the text names it
	f.Uint64Var(&flags.Chain.PruneBodies, "prune-bodies", 0, "keep the transactions of this many newest blocks only, at least those that can be undone; 0 keeps all")
	f.BoolVar(&verify, "verify", false, "read and check everything stored, then end")
	f.BoolVar(&repair, "repair", false, "bring a damaged store back to its longest verified prefix, then end")
	f.BoolVar(&asJSON, "json", false, "print what --verify and --repair find as one JSON object")
	f.BoolVar(&flags.Trace, "trace", false, "record every event in trace.bin of the data dir")
	f.BoolVar(&flags.Bendable, "bendable", false, "let admin_bend deform this node (wrong clock, silent, equivocating), for measuring")
	f.StringVar(&flags.Links, "links", "", "file that shapes our links, for measuring: every node of the network has the same (default unshaped)")
	f.IntVar(&flags.LinkNode, "link-node", 0, "which of the nodes in the --links file we are")
	f.StringVar(&flags.Name, "name", "", "name in status and traces (default: from the peer id)")
	f.StringVar(&flags.LogLevel, "log-level", "info", "debug, info, warn or error")
	return cmd
}

// serveNode serves the node and, when asked, its page beside it.
func serveNode(cmd *cobra.Command, cfg node.Config, address string, ready func(node.Ready)) error {
	if address == "" {
		return node.Serve(cmd.Context(), cfg, ready)
	}
	g, ctx := errgroup.WithContext(cmd.Context())
	g.Go(func() error {
		return node.Serve(ctx, cfg, func(r node.Ready) {
			ready(r)
			page, err := devnet.OpenPage(address, []live.Target{{Name: r.Name, RPC: r.RPC, Where: r.IPC}}, nil)
			if err != nil {
				g.Go(func() error { return err })
				return
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "live page at %s\n", page.URL)
			g.Go(func() error { return page.Run(ctx) })
		})
	})
	return usageOf(g.Wait())
}

// nodeConfig lays the flags that were given over the file.
func nodeConfig(set *pflag.FlagSet, file string, flags node.Config, blockSize experiment.Bytes) (node.Config, error) {
	var cfg node.Config
	if file != "" {
		var err error
		if cfg, err = node.ReadConfig(file); err != nil {
			return cfg, err
		}
	}
	over := map[string]func(){
		"data-dir":     func() { cfg.DataDir = flags.DataDir },
		"genesis":      func() { cfg.Genesis = flags.Genesis },
		"proposer-key": func() { cfg.ProposerKey = flags.ProposerKey },
		"http":         func() { cfg.HTTP = flags.HTTP },
		"metrics":      func() { cfg.Metrics = flags.Metrics },
		"listen":       func() { cfg.P2P.Listen = flags.P2P.Listen },
		"bootstrap":    func() { cfg.P2P.Bootstrap = flags.P2P.Bootstrap },
		"static":       func() { cfg.P2P.Static = flags.P2P.Static },
		"mdns":         func() { cfg.P2P.MDNS = flags.P2P.MDNS },
		"relay":        func() { cfg.P2P.Relay = flags.P2P.Relay },
		"block-size":   func() { cfg.BlockBytes = int(blockSize) },
		"prune-bodies": func() { cfg.Chain.PruneBodies = flags.Chain.PruneBodies },
		"journal-sync": func() { cfg.Pool.JournalSync = flags.Pool.JournalSync },
		"trace":        func() { cfg.Trace = flags.Trace },
		"bendable":     func() { cfg.Bendable = flags.Bendable },
		"links":        func() { cfg.Links = flags.Links },
		"link-node":    func() { cfg.LinkNode = flags.LinkNode },
		"name":         func() { cfg.Name = flags.Name },
		"log-level":    func() { cfg.LogLevel = flags.LogLevel },
	}
	set.Visit(func(f *pflag.Flag) {
		if apply := over[f.Name]; apply != nil {
			apply()
		}
	})
	return cfg, nil
}

func verifyStore(cmd *cobra.Command, cfg node.Config, asJSON bool) error {
	fmt.Fprintln(cmd.ErrOrStderr(), "reading everything stored")
	v, err := node.Verify(cmd.Context(), cfg)
	if err != nil {
		return err
	}
	if asJSON {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]uint64{
			"blocks": v.Blocks, "transactions": v.Txs, "accounts": v.Accounts, "commits": v.Commits, "bytes": v.Bytes,
		})
	}
	fmt.Fprintf(cmd.OutOrStdout(), "sound: %d blocks, %d transactions, %d accounts, %d commits, %.1f MiB\n",
		v.Blocks, v.Txs, v.Accounts, v.Commits, float64(v.Bytes)/(1<<20))
	return nil
}

func repairStore(cmd *cobra.Command, cfg node.Config, asJSON bool) error {
	fmt.Fprintln(cmd.ErrOrStderr(), "looking for the longest prefix of the chain that verifies")
	r, err := node.Repair(cmd.Context(), cfg)
	if err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	if asJSON {
		return json.NewEncoder(w).Encode(map[string]any{"rebuilt": r.Rebuilt, "kept": r.Kept, "skipped": r.Skipped, "head": r.Head, "head_id": r.HeadID})
	}
	if r.Rebuilt {
		fmt.Fprintf(w, "rebuilt: %d stored blocks could not be used; the damaged database is in %s: remove it when you are content\n", r.Skipped, r.Kept)
	} else {
		fmt.Fprintln(w, "the database is whole and was kept")
	}
	fmt.Fprintf(w, "head is block %d %s: start the node, peers bring what is missing\n", r.Head, r.HeadID)
	return nil
}
