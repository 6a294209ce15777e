package topology

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// Graph is an undirected connected graph of nodes 0 to len-1; row i holds i's neighbours, sorted.
type Graph [][]int

// Build makes the graph of n >= 2 nodes that kind names: "random" is random regular of the given
// degree, "full" connects all to all, "ring", "line" and "star" are what they say, the star's
// centre being node 0. degree counts only for random; at n-1 or above it is full.
func Build(kind string, n, degree int, rng *rand.Rand) (Graph, error) {
	switch {
	case n < 2:
		return nil, fmt.Errorf("topology: %d nodes: at least 2 are needed", n)
	case kind == "full" || kind == "random" && degree >= n-1:
		return from(n, func(i, j int) bool { return true }), nil
	case kind == "random" && degree < 2:
		return nil, fmt.Errorf("topology: random of degree %d cannot be connected: use at least 2", degree)
	case kind == "random":
		return random(n, degree, rng), nil
	case kind == "ring":
		return from(n, func(i, j int) bool { return j == i+1 || i == 0 && j == n-1 }), nil
	case kind == "line":
		return from(n, func(i, j int) bool { return j == i+1 }), nil
	case kind == "star":
		return from(n, func(i, j int) bool { return i == 0 }), nil
	}
	return nil, fmt.Errorf("topology: unknown kind %q: use random, full, ring, line or star", kind)
}

// Edges lists every connection once, the smaller number first.
func (g Graph) Edges() (edges [][2]int) {
	for i, row := range g {
		for _, j := range row {
			if i < j {
				edges = append(edges, [2]int{i, j})
			}
		}
	}
	return edges
}

// Connected says whether every node can be reached from node 0.
func (g Graph) Connected() bool {
	seen, todo := make([]bool, len(g)), []int{0}
	seen[0] = true
	reached := 1
	for len(todo) > 0 {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, j := range g[i] {
			if !seen[j] {
				seen[j] = true
				reached++
				todo = append(todo, j)
			}
		}
	}
	return reached == len(g)
}

// from makes the graph of n nodes in which i < j are connected where is says so.
func from(n int, is func(i, j int) bool) Graph {
	g := make(Graph, n)
	for i := range n {
		for j := i + 1; j < n; j++ {
			if is(i, j) {
				g[i] = append(g[i], j)
				g[j] = append(g[j], i)
			}
		}
	}
	return g
}

// swapsPerEdge is how often each edge is rewired on average: enough to forget the lattice the
// shuffle starts from (the chain mixes in a few swaps an edge).
const swapsPerEdge = 10

// random shuffles the edges of a lattice by double swaps (a-b, c-d becomes a-d, c-b), which keep
// every degree, until the result is connected. Where n x degree is odd one node has degree - 1.
func random(n, degree int, rng *rand.Rand) Graph {
	for {
		edges := lattice(n, degree)
		has := make(map[[2]int]bool, len(edges))
		for _, e := range edges {
			has[e] = true
		}
		for range swapsPerEdge * len(edges) {
			x, y := rng.IntN(len(edges)), rng.IntN(len(edges))
			a, b, c, d := edges[x][0], edges[x][1], edges[y][0], edges[y][1]
			if rng.IntN(2) == 0 {
				c, d = d, c
			}
			p, q := ordered(a, d), ordered(c, b)
			if a == d || b == c || p == q || has[p] || has[q] {
				continue
			}
			delete(has, edges[x])
			delete(has, edges[y])
			edges[x], edges[y] = p, q
			has[p], has[q] = true, true
		}
		if g := fromEdges(n, edges); g.Connected() {
			return g
		}
	}
}

// lattice connects each node to its nearest on a circle until it has degree neighbours: degree/2
// on each side, and for an odd degree the one opposite.
func lattice(n, degree int) (edges [][2]int) {
	for k := 1; k <= degree/2; k++ {
		for i := range n {
			edges = append(edges, ordered(i, (i+k)%n))
		}
	}
	if degree%2 == 0 {
		return edges
	}
	half := n / 2
	for i := range half { // for an odd n the last node stays without a partner
		edges = append(edges, ordered(i, i+half))
	}
	return edges
}

func fromEdges(n int, edges [][2]int) Graph {
	g := make(Graph, n)
	for _, e := range edges {
		g[e[0]] = append(g[e[0]], e[1])
		g[e[1]] = append(g[e[1]], e[0])
	}
	for _, row := range g {
		slices.Sort(row)
	}
	return g
}

func ordered(a, b int) [2]int { return [2]int{min(a, b), max(a, b)} }
