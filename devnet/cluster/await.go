package cluster

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/devnet/topology"
	"github.com/pheme-net/pheme/rpc"
)

// statusEvery is how often a condition over all members is looked at: often enough not to be seen
// beside a slot, seldom enough not to be seen in the CPU.
const statusEvery = 50 * time.Millisecond

// Await looks at a condition again and again until it holds or ctx ends; then the error says what
// was still missing, in the condition's own words.
func Await(ctx context.Context, condition func(context.Context) (missing string, err error)) error {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	missing := "not looked at once"
	for {
		now, err := condition(ctx)
		switch {
		case ctx.Err() != nil: // the look itself may have been cut short: what was missing before it counts
			return fmt.Errorf("%s: %w", missing, context.Cause(ctx))
		case err != nil:
			return err
		case now == "":
			return nil
		}
		missing = now
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", missing, context.Cause(ctx))
		}
	}
}

// Statuses asks every member that runs at once; one that does not run has a nil entry.
func (c *Cluster) Statuses(ctx context.Context) ([]*rpc.Status, error) {
	nodes := c.Nodes()
	out := make([]*rpc.Status, len(nodes))
	g, ctx := errgroup.WithContext(ctx)
	for i, n := range nodes {
		client := n.Client()
		if client == nil || n.PID() == 0 {
			continue
		}
		g.Go(func() error {
			s, err := client.Status(ctx)
			if err != nil {
				return fmt.Errorf("status of %s: %w", n.name, err)
			}
			out[i] = &s
			return nil
		})
	}
	return out, g.Wait()
}

// AwaitMesh waits until every member is connected to all its neighbours in the graph and has
// enough of them in the mesh of every topic.
func (c *Cluster) AwaitMesh(ctx context.Context, graph topology.Graph) error {
	return Await(ctx, func(ctx context.Context) (string, error) {
		statuses, err := c.Statuses(ctx)
		if err != nil {
			return "", err
		}
		for i, s := range statuses {
			if s == nil || i >= len(graph) {
				continue
			}
			if missing := c.Lacks(i, s, len(graph[i])); missing != "" {
				return missing, nil
			}
		}
		return "", nil
	})
}

// Lacks says what member i, whose status is s, lacks of so many neighbours and of their place in its meshes, or nothing.
func (c *Cluster) Lacks(i int, s *rpc.Status, neighbours int) string {
	if s.Peers < neighbours {
		return fmt.Sprintf("n%d is connected to %d of %d neighbours", i, s.Peers, neighbours)
	}
	if len(s.Mesh) == 0 {
		return fmt.Sprintf("n%d has joined no topic", i)
	}
	for topic, size := range s.Mesh {
		if want := min(c.cfg.MeshLow[topic], neighbours); size < want {
			return fmt.Sprintf("n%d has %d of %d peers in the mesh of %s", i, size, want, topic)
		}
	}
	return ""
}

// Ungrown says what member i lacks of a network of so many live members that find each other: members it does not
// know, or connections it should have chosen.
func (c *Cluster) Ungrown(i int, s *rpc.Status, live int) string {
	if alive := s.Members["alive"]; alive != live {
		return fmt.Sprintf("n%d knows %d of %d members", i, alive, live)
	}
	return c.Lacks(i, s, min(c.cfg.Grown, live-1))
}

// AwaitGrown waits until every member that runs knows all that run and has chosen its connections.
func (c *Cluster) AwaitGrown(ctx context.Context) error {
	return Await(ctx, func(ctx context.Context) (string, error) {
		statuses, err := c.Statuses(ctx)
		if err != nil {
			return "", err
		}
		live := 0
		for _, s := range statuses {
			if s != nil {
				live++
			}
		}
		for i, s := range statuses {
			if s == nil {
				continue
			}
			if missing := c.Ungrown(i, s, live); missing != "" {
				return missing, nil
			}
		}
		return "", nil
	})
}

// Graph is the connections there are between members that run.
func (c *Cluster) Graph(ctx context.Context) (topology.Graph, error) {
	statuses, err := c.Statuses(ctx)
	if err != nil {
		return nil, err
	}
	number := make(map[string]int, len(statuses))
	for i, s := range statuses {
		if s != nil {
			number[s.PeerID] = i
		}
	}
	graph := make(topology.Graph, len(statuses))
	for i, s := range statuses {
		if s == nil {
			continue
		}
		peers, err := c.Node(i).Client().Peers(ctx)
		if err != nil {
			return nil, fmt.Errorf("peers of n%d: %w", i, err)
		}
		for _, p := range peers {
			if j, ok := number[p.ID]; ok {
				graph[i] = append(graph[i], j)
			}
		}
		slices.Sort(graph[i])
	}
	return graph, nil
}

// AwaitHead waits until all running members have one head, of at least the given slot.
func (c *Cluster) AwaitHead(ctx context.Context, slot uint64) error {
	return Await(ctx, func(ctx context.Context) (string, error) {
		statuses, err := c.Statuses(ctx)
		if err != nil {
			return "", err
		}
		var first *rpc.Status
		for i, s := range statuses {
			switch {
			case s == nil:
			case s.Head.Slot < slot:
				return fmt.Sprintf("the head of n%d is of slot %d, before slot %d", i, s.Head.Slot, slot), nil
			case first == nil:
				first = s
			case s.Head.ID != first.Head.ID:
				return fmt.Sprintf("n%d is at block %d and %s at block %d", i, s.Head.Number, first.Name, first.Head.Number), nil
			}
		}
		return "", nil
	})
}
