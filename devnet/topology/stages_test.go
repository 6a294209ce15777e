package topology

import (
	"math/rand/v2"
	"reflect"
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
	degrees := []int{4, 8}
	stages := g.Stages(degrees, rand.New(rand.NewPCG(2, 2)))
	if again := g.Stages(degrees, rand.New(rand.NewPCG(2, 2))); !reflect.DeepEqual(stages, again) {
		t.Error("one seed gave two orders")
	}
	for k, least := range []int{2, 6} {
		testStages(t, g, degrees[k], least, slices.Concat(stages[:k+1]...), slices.Concat(stages[k+1:]...))
	}
	if all := g.Stages([]int{10}, rand.New(rand.NewPCG(2, 2))); len(all[1]) > 0 || len(all[0]) != len(g.Edges()) {
		t.Errorf("with room for all, %d of %d are made later", len(all[1]), len(g.Edges()))
	}
}

// testStages: every connection is made once, no node has more than degree at first, and few have less.
func testStages(t *testing.T, g Graph, degree, least int, first, rest []Edge) {
	t.Helper()
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
		if has[i] > degree || has[i] < least || dials[i] < degree/4 {
			t.Errorf("node %d has %d connections of %d at first and dials %d of them", i, has[i], degree, dials[i])
		}
		if has[i] == degree {
			full++
		}
	}
	if len(seen) != len(g.Edges()) || full < 150 {
		t.Errorf("%d of %d connections, %d of 200 nodes have %d at first", len(seen), len(g.Edges()), full, degree)
	}
}
