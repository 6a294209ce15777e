package topology

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestStages: every connection is made once; the first give nobody more than the degree, nearly everybody that much, and everybody
// some that it dials itself; a seed gives the same.
func TestStages(t *testing.T) {
	g, err := Build("random", 200, 10, rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	first, rest := g.Stages(8, rand.New(rand.NewPCG(2, 2)))
	again, _ := g.Stages(8, rand.New(rand.NewPCG(2, 2)))
	if !slices.Equal(first, again) {
		t.Error("one seed gave two orders")
	}
	has, dials, seen := make([]int, len(g)), make([]int, len(g)), map[[2]int]bool{}
	for i, e := range slices.Concat(first, rest) {
		if seen[[2]int{min(e.From, e.To), max(e.From, e.To)}] || !slices.Contains(g[e.From], e.To) {
			t.Fatalf("%v is made twice, or is no connection of the graph", e)
		}
		seen[[2]int{min(e.From, e.To), max(e.From, e.To)}] = true
		if i < len(first) {
			has[e.From]++
			has[e.To]++
			dials[e.From]++
		}
	}
	full := 0
	for i := range g {
		if has[i] > 8 || has[i] < 6 || dials[i] < 2 {
			t.Errorf("node %d has %d connections at first and dials %d of them", i, has[i], dials[i])
		}
		if has[i] == 8 {
			full++
		}
	}
	if len(seen) != len(g.Edges()) || full < 150 {
		t.Errorf("%d of %d connections, %d of 200 nodes have 8 at first", len(seen), len(g.Edges()), full)
	}
	if all, none := g.Stages(10, rand.New(rand.NewPCG(2, 2))); len(none) > 0 || len(all) != len(seen) {
		t.Errorf("with room for all, %d of %d are made later", len(none), len(seen))
	}
}
