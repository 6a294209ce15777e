package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/pheme-net/pheme/node"
	"github.com/pheme-net/pheme/rpc"
)

// callTimeout is how long one answer of a running node may take before we give up with words.
const callTimeout = 10 * time.Second

func statusCommand() *cobra.Command {
	var urls []string
	var where endpoint
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "show the head, peers and pool of a node, or of a whole devnet",
		Example: `  pheme status
  pheme status --data-dir d
  pheme status --rpc http://127.0.0.1:8545 --rpc http://127.0.0.1:8546
  pheme status --data-dir DIR     the folder that 'devnet up' prints: one line a node`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if all := several(urls, where.dataDir); len(all) > 0 {
				return overview(cmd, all, asJSON)
			}
			where.url = urls[0]
			ctx, cancel := context.WithTimeout(cmd.Context(), callTimeout)
			defer cancel()
			c, err := where.dial(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			s, err := c.Status(ctx)
			if err != nil {
				return unreached(c.Target(), err)
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(s)
			}
			printStatus(cmd, s)
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&urls, "rpc", []string{defaultRPC}, "JSON-RPC URL of the node; repeat for one line a node")
	cmd.Flags().StringVar(&where.dataDir, "data-dir", "", "find the node by its data dir instead, or the nodes by the folder above theirs")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func printStatus(cmd *cobra.Command, s rpc.Status) {
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "node      %s  %s  (%s)\n", s.Name, s.PeerID, s.Version)
	fmt.Fprintf(w, "network   %s  chain id %d\n", s.Network, s.ChainID)
	fmt.Fprintf(w, "head      %d  %s  slot %d\n", s.Head.Number, s.Head.ID, s.Head.Slot)
	fmt.Fprintf(w, "root      %s\n", s.Head.Root)
	fmt.Fprintf(w, "peers     %d\n", s.Peers)
	if s.Members != nil {
		fmt.Fprintf(w, "members   %d alive, %d suspect, %d dead, %d left\n", s.Members["alive"], s.Members["suspect"], s.Members["dead"], s.Members["left"])
	}
	fmt.Fprintf(w, "pool      %d executable, %d future, %d bytes\n", s.Pool.Executable, s.Pool.Future, s.Pool.Bytes)
	r := s.Relayed
	fmt.Fprintf(w, "relay     %s: sent %s; got %s\n", s.Relay, forms(r.Published), forms(r.Received))
	if r.Received.Compact+r.Received.Coded > 0 {
		fmt.Fprintf(w, "          made whole by the pool %d, with transactions asked for %d, by chunks %d, fetched after all %d; %.0f %% of the bytes were pooled\n",
			r.FromPool, r.WithAnswers, r.FromChunks, r.FetchedWhole, 100*r.HitRate)
	}
	fmt.Fprintf(w, "repair    %d exchanges, %d transactions gained, %d bytes\n", s.Repairs.Sessions, s.Repairs.Gained, s.Repairs.Bytes)
	for _, a := range s.Listen {
		fmt.Fprintf(w, "listens   %s\n", a)
	}
}

func forms(f rpc.BlockForms) string {
	return fmt.Sprintf("%d whole, %d compact, %d coded", f.Gossip, f.Compact, f.Coded)
}

// defaultRPC is where a node serves unless told otherwise.
const defaultRPC = "http://127.0.0.1:8545"

// endpoint says which node a command talks to.
type endpoint struct{ url, dataDir string }

func (e *endpoint) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&e.url, "rpc", defaultRPC, "JSON-RPC URL of the node")
	cmd.Flags().StringVar(&e.dataDir, "data-dir", "", "find the node by its data dir instead")
}

func (e *endpoint) dial(ctx context.Context) (*rpc.Client, error) {
	url := e.url
	if e.dataDir != "" {
		path := filepath.Join(e.dataDir, node.ReadyFile)
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, usagef("no node serves from %s (%w): start one with 'pheme node --data-dir %s'", e.dataDir, err, e.dataDir)
		}
		var r node.Ready
		if err := json.Unmarshal(text, &r); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		url = r.RPC
	}
	c, err := rpc.Dial(ctx, url)
	if err != nil {
		return nil, unreached(url, err)
	}
	return c, nil
}

// unreached says what to do when nobody took a connection to a node; another error it leaves as it is.
func unreached(url string, err error) error {
	dial := new(net.OpError)
	if !errors.As(err, &dial) || dial.Op != "dial" {
		return err
	}
	return fmt.Errorf("no node answers at %s (%w): pass --rpc with a URL that 'pheme devnet up' or 'pheme node' has printed", url, dial)
}
