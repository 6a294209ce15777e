package topology

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

func TestFixedShapes(t *testing.T) {
	tests := []struct {
		kind string
		n    int
		want Graph
	}{
		{"full", 4, Graph{{1, 2, 3}, {0, 2, 3}, {0, 1, 3}, {0, 1, 2}}},
		{"ring", 4, Graph{{1, 3}, {0, 2}, {1, 3}, {0, 2}}},
		{"ring", 2, Graph{{1}, {0}}},
		{"line", 4, Graph{{1}, {0, 2}, {1, 3}, {2}}},
		{"star", 4, Graph{{1, 2, 3}, {0}, {0}, {0}}},
		{"random", 2, Graph{{1}, {0}}},
	}
	for _, tt := range tests {
		got, err := Build(tt.kind, tt.n, 10, seeded(1))
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("Build(%s, %d) = %v, %v, want %v", tt.kind, tt.n, got, err, tt.want)
		}
	}
}

func TestRandomIsRegularSimpleAndConnected(t *testing.T) {
	for n := 3; n <= 40; n++ {
		for degree := 2; degree < min(n, 12); degree++ {
			g, err := Build("random", n, degree, seeded(uint64(n*100+degree)))
			if err != nil || !g.Connected() {
				t.Fatalf("n=%d degree=%d: connected = false, %v", n, degree, err)
			}
			short := 0
			for i, row := range g {
				if slices.Contains(row, i) || len(slices.Compact(slices.Clone(row))) != len(row) {
					t.Fatalf("n=%d degree=%d: node %d has neighbours %v: a loop or a double edge", n, degree, i, row)
				}
				if len(row) != degree {
					short++
				}
			}
			if short != n*degree%2 {
				t.Fatalf("n=%d degree=%d: %d nodes off degree, want %d", n, degree, short, n*degree%2)
			}
		}
	}
}

func TestRandomRepeatsBySeed(t *testing.T) {
	a, _ := Build("random", 30, 4, seeded(7))
	b, _ := Build("random", 30, 4, seeded(7))
	c, _ := Build("random", 30, 4, seeded(8))
	if !reflect.DeepEqual(a, b) {
		t.Error("one seed gave two graphs")
	}
	if reflect.DeepEqual(a, c) {
		t.Error("two seeds gave one graph")
	}
}

func TestEdgesListsEachOnce(t *testing.T) {
	g, _ := Build("random", 20, 5, seeded(1))
	edges := g.Edges()
	if len(edges) != 50 {
		t.Fatalf("%d edges, want 20 x 5 / 2", len(edges))
	}
	for _, e := range edges {
		if e[0] >= e[1] || !slices.Contains(g[e[0]], e[1]) || !slices.Contains(g[e[1]], e[0]) {
			t.Fatalf("edge %v is not one of the graph", e)
		}
	}
}

func TestConnectedFindsTwoParts(t *testing.T) {
	if (Graph{{1}, {0}, {3}, {2}}).Connected() {
		t.Error("two pairs are called connected")
	}
}

func TestBuildRefuses(t *testing.T) {
	for _, tt := range []struct {
		kind      string
		n, degree int
	}{{"torus", 8, 4}, {"ring", 1, 2}, {"random", 8, 1}} {
		if g, err := Build(tt.kind, tt.n, tt.degree, seeded(1)); err == nil {
			t.Errorf("Build(%s, %d, %d) = %v, want an error", tt.kind, tt.n, tt.degree, g)
		}
	}
}
