package devnet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/pheme-net/pheme/devnet/cluster"
)

// form connects the graph and waits until every mesh is formed: first no more neighbours than GossipSub wants, so that it has nothing
// to draw and a seed's meshes are the same in every run, then the rest.
func (r *virtualRun) form(ctx context.Context) error {
	if grown(r.spec) {
		return r.grow(ctx)
	}
	r.say("connecting %d nodes", len(r.members))
	within, cancel := context.WithTimeout(ctx, virtualMesh)
	defer cancel()
	degrees := []int{min(r.spec.Gossip.TxD, r.spec.Gossip.D), max(r.spec.Gossip.TxD, r.spec.Gossip.D)}
	up := r.faults.up()
	peers := make([]int, len(r.members))
	for _, stage := range r.graph.Stages(degrees, rand.New(rand.NewPCG(uint64(r.seed), 3))) {
		for _, e := range stage {
			if up[e.From] && up[e.To] {
				if err := r.dial(e.From, e.To); err != nil {
					return fmt.Errorf("connect: %w", err)
				}
				peers[e.From]++
				peers[e.To]++
			}
		}
		err := cluster.Await(within, func(context.Context) (string, error) { return r.unmeshed(peers), nil })
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return unformed(err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unformed is of a network that was not whole in time, in the words of what was missing.
func unformed(missing error) error {
	return &UnfitError{fmt.Sprintf("the mesh was not formed within %v: %v", virtualMesh, missing), "the links are too slow or lose too much: use others, or fewer --nodes"}
}

// unmeshed says which node lacks what, or nothing; peers are how many of them each should have.
func (r *virtualRun) unmeshed(peers []int) string {
	for i, n := range peers {
		if n == 0 {
			continue // not up, or its connections come later
		}
		if missing := r.short(i, n); missing != "" {
			return missing
		}
	}
	return ""
}

// lacks says what member i still lacks of those of its neighbours that are up, or nothing.
func (r *virtualRun) lacks(i int, up []bool) string {
	neighbours := 0
	for _, j := range r.graph[i] {
		if up[j] {
			neighbours++
		}
	}
	return r.short(i, neighbours)
}

// short says what member i lacks of so many neighbours and their place in its meshes, or nothing.
func (r *virtualRun) short(i, neighbours int) string {
	s := r.members[i].node.Network()
	low := meshLow(r.spec)
	block, tx := min(low["block"], neighbours), min(low["tx"], neighbours)
	switch {
	case s.Peers < neighbours:
		return fmt.Sprintf("n%d is connected to %d of %d neighbours", i, s.Peers, neighbours)
	case s.MeshBlock < block || s.MeshTx < tx:
		return fmt.Sprintf("n%d has %d of %d peers in its mesh for blocks, %d of %d in that for transactions", i, s.MeshBlock, block, s.MeshTx, tx)
	}
	return ""
}
