package topology

import "math/rand/v2"

// Edge is a connection and who dials it.
type Edge struct{ From, To int }

// Stages splits the connections into those to be made first and the rest, each in an order drawn by rng. The first give no node more
// than degree connections, and as many as they can; about half of a node's are dialled by itself. A mesh that is formed over the
// first alone is the same in every run where a node that has a choice of more neighbours than it wants would draw them.
func (g Graph) Stages(degree int, rng *rand.Rand) (first, rest []Edge) {
	edges := g.Edges()
	rng.Shuffle(len(edges), func(i, j int) { edges[i], edges[j] = edges[j], edges[i] })
	has, dials := make([]int, len(g)), make([]int, len(g))
	for _, e := range edges {
		a, b := e[0], e[1]
		if dials[a] > dials[b] {
			a, b = b, a
		}
		dials[a]++
		if has[a] < degree && has[b] < degree {
			has[a]++
			has[b]++
			first = append(first, Edge{a, b})
		} else {
			rest = append(rest, Edge{a, b})
		}
	}
	return first, rest
}
