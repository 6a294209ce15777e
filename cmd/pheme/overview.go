package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/ethereum/go-ethereum/common"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/node"
	"github.com/pheme-net/pheme/rpc"
)

// seenNode is one row of the overview of several nodes.
type seenNode struct {
	Where  string      `json:"where"`
	Error  string      `json:"error,omitempty"`
	Status *rpc.Status `json:"status,omitempty"`
}

// nodesBelow lists the ready files of the nodes that keep their data in folders of dir, as those of a
// devnet do.
func nodesBelow(dir string) []string {
	found, _ := filepath.Glob(filepath.Join(dir, "*", node.ReadyFile)) // the pattern is ours
	slices.SortFunc(found, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b) // n2 before n10
		}
		return strings.Compare(a, b)
	})
	return found
}

// overview asks all nodes at once and prints a line for each.
func overview(cmd *cobra.Command, wheres []endpoint, asJSON bool) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), callTimeout)
	defer cancel()
	nodes := make([]seenNode, len(wheres))
	var g errgroup.Group
	for i, where := range wheres {
		g.Go(func() error {
			nodes[i] = look(ctx, where)
			return nil
		})
	}
	_ = g.Wait()
	up := 0
	for _, n := range nodes {
		if n.Status != nil {
			up++
		}
	}
	var err error
	if asJSON {
		err = json.NewEncoder(cmd.OutOrStdout()).Encode(nodes)
	} else {
		err = printNodes(cmd.OutOrStdout(), nodes, up)
	}
	if err == nil && up == 0 {
		err = fmt.Errorf("no node answers: the first says %s", nodes[0].Error)
	}
	return err
}

// printNodes prints a line for each node, of which so many are up.
func printNodes(out io.Writer, nodes []seenNode, up int) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "node\thead\tblock id\tslot\tpeers\tmesh\tpool\t")
	heads := make(map[common.Hash]bool)
	for _, n := range nodes {
		if n.Status == nil {
			fmt.Fprintf(w, "%s\t-\tdown\t-\t-\t-\t-\t\n", filepath.Base(n.Where))
			continue
		}
		s := n.Status
		heads[s.Head.ID] = true
		fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%d\t%d\t%d\t\n", s.Name, s.Head.Number, s.Head.ID.Hex()[:10], s.Head.Slot, s.Peers, s.Mesh["block"], s.Pool.Executable+s.Pool.Future)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	what := "one head"
	if len(heads) != 1 {
		what = fmt.Sprintf("%d heads", len(heads))
	}
	_, err := fmt.Fprintf(out, "\n%d of %d nodes up, %s\n", up, len(nodes), what)
	return err
}

func look(ctx context.Context, where endpoint) seenNode {
	n := seenNode{Where: where.url}
	if where.dataDir != "" {
		n.Where = where.dataDir
	}
	c, err := where.dial(ctx)
	if err != nil {
		n.Error = err.Error()
		return n
	}
	defer c.Close()
	s, err := c.Status(ctx)
	if err != nil {
		n.Error = err.Error()
		return n
	}
	n.Status = &s
	return n
}

// several turns what status was given into more than one endpoint: --rpc more than once, or a folder
// whose subfolders are data dirs. Otherwise it is nil.
func several(urls []string, dataDir string) (out []endpoint) {
	if len(urls) > 1 {
		for _, url := range urls {
			out = append(out, endpoint{url: url})
		}
		return out
	}
	if dataDir == "" {
		return nil
	}
	if _, err := os.Stat(filepath.Join(dataDir, node.ReadyFile)); err == nil {
		return nil
	}
	for _, file := range nodesBelow(dataDir) {
		out = append(out, endpoint{dataDir: filepath.Dir(file)})
	}
	return out
}
