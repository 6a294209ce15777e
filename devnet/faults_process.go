package devnet

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/devnet/fault"
	"github.com/pheme-net/pheme/devnet/topology"
	"github.com/pheme-net/pheme/p2p/link"
	"github.com/pheme-net/pheme/rpc"
)

// processRig is what a run on processes does to its nodes: signals, a schedule of the links that
// all of them read, and calls over their sockets.
type processRig struct{ *processRun }

func (r processRig) follow(ctx context.Context, changes []link.Timed, begin time.Time) error {
	more := make([]link.Timed, len(changes))
	for i, c := range changes {
		more[i] = link.Timed{At: begin.Sub(time.Unix(0, r.linkPlan.Start)) + c.At, Do: c.Do}
	}
	r.linkPlan.Extend(more)
	r.links.Schedule = more
	if err := r.linkPlan.Write(r.cluster.LinksPath()); err != nil {
		return err
	}
	var g errgroup.Group
	for i, up := range r.faults.up() {
		if up {
			g.Go(func() error {
				_, err := r.cluster.Node(i).Links(ctx)
				return err
			})
		}
	}
	return g.Wait()
}

func (r processRig) kill(i int) (string, error) {
	n := r.cluster.Node(i)
	if !n.Kill() {
		return "", errors.New("it does not run")
	}
	return n.LastExit(), nil
}

func (r processRig) start(ctx context.Context, i int) error {
	n := r.cluster.Node(i)
	if n.LastExit() != "" {
		if err := n.KeepTrace(); err != nil {
			return err
		}
	}
	return n.Start(ctx)
}

func (r processRig) connect(ctx context.Context, i int, up []bool) error {
	for _, j := range r.graph[i] {
		if !up[j] || grown(r.spec) {
			continue
		}
		if err := r.cluster.Node(i).ConnectTo(ctx, r.cluster.Node(j)); err != nil {
			return err
		}
	}
	return nil
}

func (r processRig) lacks(ctx context.Context, i int, up []bool) (string, error) {
	client := r.cluster.Node(i).Client()
	if client == nil {
		return "it does not run", nil
	}
	s, err := client.Status(ctx)
	if err != nil {
		return "", err
	}
	if grown(r.spec) {
		live := 0
		for _, u := range up {
			if u {
				live++
			}
		}
		return r.cluster.Ungrown(i, &s, live), nil
	}
	return r.cluster.Lacks(i, &s, len(among(r.graph, up)[i])), nil
}

func (r processRig) bend(ctx context.Context, i int, b fault.Bend) error {
	_, err := r.cluster.Node(i).Bend(ctx, &rpc.Bend{SkewNS: int64(b.Skew), Silent: b.Silent, Equivocate: b.Equivocate})
	return err
}

func (r processRig) pause(i int) (string, error) { return r.cluster.Node(i).Pause() }

func (r processRig) resume(i int) error { return r.cluster.Node(i).Resume() }

func (r processRig) tally(ctx context.Context, i int) (t tally, err error) {
	n := r.cluster.Node(i)
	if r.links != nil {
		c, err := n.Links(ctx)
		if err != nil {
			return t, err
		}
		t.Cut, t.Lost, t.Received, t.Changes = c.Cut, c.Lost, c.Received, c.Changes
	}
	if r.faults.plan.Bending() {
		b, err := n.Bend(ctx, nil)
		if err != nil {
			return t, err
		}
		t.Withheld, t.Second = b.Withheld, b.Second
		t.Bend = fault.Bend{Skew: time.Duration(b.SkewNS), Silent: b.Silent, Equivocate: b.Equivocate}
		var seen []rpc.Evidence
		if err := n.Client().Call(ctx, &seen, "pheme_evidence"); err != nil {
			return t, err
		}
		t.Evidence = uint64(len(seen))
	}
	return t, nil
}

// among is the graph without the edges of nodes that are not up.
func among(g topology.Graph, up []bool) topology.Graph {
	out := make(topology.Graph, len(g))
	for i, row := range g {
		for _, j := range row {
			if up[i] && up[j] {
				out[i] = append(out[i], j)
			}
		}
	}
	return out
}
