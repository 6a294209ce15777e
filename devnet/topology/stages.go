package topology

import (
	"math/rand/v2"
	"slices"
)

// Edge is a connection and who dials it.
type Edge struct{ From, To int }

// Stages splits the connections into those to be made first, next, and so on, one stage for each of the ascending degrees and one for
// the rest, each in an order drawn by rng. With those of a stage and the ones before, no node has more connections than its degree,
// and as many as there can be; about half of a node's are dialled by itself. A mesh that is formed over a stage alone is the same in
// every run where a node that has a choice of more neighbours than it wants would draw them.
func (g Graph) Stages(degrees []int, rng *rand.Rand) [][]Edge {
	left := g.Edges()
	rng.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
	has, dials := make([]int, len(g)), make([]int, len(g))
	take := func(e [2]int, most int) (Edge, bool) {
		a, b := e[0], e[1]
		if has[a] >= most || has[b] >= most {
			return Edge{}, false
		}
		if 2*dials[a]-has[a] > 2*dials[b]-has[b] {
			a, b = b, a
		}
		dials[a]++
		has[a]++
		has[b]++
		return Edge{a, b}, true
	}
	stages := make([][]Edge, len(degrees)+1)
	for k, degree := range degrees {
		for most := 1; most <= degree; most++ {
			// One more for everybody, those first who have fewest: else some would be left with one or two.
			slices.SortStableFunc(left, func(x, y [2]int) int { return min(has[x[0]], has[x[1]]) - min(has[y[0]], has[y[1]]) })
			left = slices.DeleteFunc(left, func(e [2]int) bool {
				edge, ok := take(e, most)
				if ok {
					stages[k] = append(stages[k], edge)
				}
				return ok
			})
		}
	}
	for _, e := range left {
		edge, _ := take(e, len(g))
		stages[len(degrees)] = append(stages[len(degrees)], edge)
	}
	return stages
}
