package devnet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pheme-net/pheme/devnet/cluster"
	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/topology"
	"github.com/pheme-net/pheme/p2p"
)

// A network grown by discovery is told one address: node 0's. Every node learns the members and
// chooses its connections, so that the graph is found out and not laid down.

// grown tells whether the nodes find each other by themselves.
func grown(spec experiment.Spec) bool { return spec.Net.Topology == experiment.Discovery }

// chosen is how many connections a node of a grown network chooses; 0 where it is told whom to connect to.
func chosen(spec experiment.Spec) int {
	if !grown(spec) {
		return 0
	}
	return p2p.Defaults().Outbound
}

// grow waits until all have found each other.
func (r *virtualRun) grow(ctx context.Context) error {
	r.say("%d nodes find each other", len(r.members))
	within, cancel := context.WithTimeout(ctx, virtualMesh)
	defer cancel()
	up := r.faults.up()
	err := cluster.Await(within, func(context.Context) (string, error) {
		for i := range r.members {
			if up[i] {
				if missing := r.ungrown(i, up); missing != "" {
					return missing, nil
				}
			}
		}
		return "", nil
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return unformed(err)
	}
	if err == nil {
		r.graph = r.found()
		r.say("%d nodes have found each other after %v", len(r.members), time.Since(r.began).Round(100*time.Millisecond))
	}
	return err
}

// ungrown says what member i of a grown network still lacks: a member that is up, or connections.
func (r *virtualRun) ungrown(i int, up []bool) string {
	live, want := 0, 0
	for _, u := range up {
		if u {
			live++
		}
	}
	for _, m := range r.members[i].node.Members(context.Background()) {
		if m.State == "alive" {
			want++
		}
	}
	s := r.members[i].node.Network()
	least := min(chosen(r.spec), live-1)
	switch {
	case want != live:
		return fmt.Sprintf("n%d knows %d of %d members", i, want, live)
	case s.Peers < least:
		return fmt.Sprintf("n%d has %d of %d peers", i, s.Peers, least)
	}
	return r.short(i, least)
}

// found is the graph of the connections there are.
func (r *virtualRun) found() topology.Graph {
	number := make(map[string]int, len(r.members))
	for i, m := range r.members {
		if m.host != nil {
			number[m.host.ID().String()] = i
		}
	}
	g := make(topology.Graph, len(r.members))
	for i, m := range r.members {
		if m.host == nil {
			continue
		}
		for _, p := range m.host.Network().Peers() {
			if j, ok := number[p.String()]; ok {
				g[i] = append(g[i], j)
			}
		}
		slices.Sort(g[i])
	}
	return g
}
