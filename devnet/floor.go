package devnet

import (
	"cmp"
	"container/heap"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/topology"
	"github.com/pheme-net/pheme/p2p/link"
	"github.com/pheme-net/pheme/p2p/trace"
)

// floors holds, for each block that was sealed, what physics allows at every node.
type floors map[[32]byte]Floor

// Floor is one block's: the least time in which its bytes can be at each node, over the open
// connections and over direct paths, in milliseconds by node.
type Floor struct{ Over, Direct []float64 }

// apply writes the floors into the deliveries of a run.
func (f floors) apply(run *recorder.Run) {
	for _, m := range run.Blocks {
		floor, ok := f[m.ID]
		if !ok {
			continue
		}
		for i := range m.Deliveries {
			d := &m.Deliveries[i]
			d.Floor, d.Direct = floor.Over[d.Node], floor.Direct[d.Node]
		}
	}
}

// floorsOf computes them for every block that was sealed, over the links as they were then: the time
// its bytes need at the slower of the origin's uplink and the node's downlink, and the shortest way
// of minimum delays. cfg's schedule counts from began on the run's clock; a cut has no floor of its
// own.
func floorsOf(cfg link.Config, began int64, graph topology.Graph, nodes []recorder.Node) floors {
	out := make(floors)
	links, err := link.NewLinks(cfg)
	if err != nil {
		panic(fmt.Sprintf("devnet: the links of a run that took place: %v", err))
	}
	ways := map[int][]time.Duration{} // from each origin, until the links change
	for _, s := range seals(nodes) {
		for len(cfg.Schedule) > 0 && began+int64(cfg.Schedule[0].At) <= s.At {
			if err := links.Apply(cfg.Schedule[0].Do); err != nil {
				panic(fmt.Sprintf("devnet: a change that took place: %v", err))
			}
			cfg.Schedule, ways = cfg.Schedule[1:], map[int][]time.Duration{}
		}
		if ways[s.origin] == nil {
			ways[s.origin] = shortest(graph, s.origin, func(a, b int) time.Duration { return links.Path(a, b).Min })
		}
		f := Floor{make([]float64, len(nodes)), make([]float64, len(nodes))}
		up := links.Node(s.origin).Up
		for i := range nodes {
			bytes := max(up.Time(int(s.Size)), links.Node(i).Down.Time(int(s.Size)))
			f.Over[i] = milliseconds(bytes + ways[s.origin][i])
			f.Direct[i] = milliseconds(bytes + links.Path(s.origin, i).Min)
		}
		out[s.Hash] = f
	}
	return out
}

// seal is a block.sealed event and whose it is.
type seal struct {
	trace.Event
	origin int
}

// seals lists them in order of time.
func seals(nodes []recorder.Node) (out []seal) {
	for i, n := range nodes {
		for _, e := range n.Events {
			if e.Kind == trace.BlockSealed {
				out = append(out, seal{e, i})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b seal) int { return cmp.Compare(a.At, b.At) })
	return out
}

// regionOf is where a node of shaped links is, by the latency table; "" where that has one region.
func regionOf(cfg *link.Config, node int) string {
	if cfg == nil || len(cfg.Table.Regions) < 2 {
		return ""
	}
	return cfg.Table.Regions[cfg.Nodes[node].Region]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// shortest is Dijkstra's algorithm: the least delay from one node to every other over the graph.
func shortest(g topology.Graph, from int, delay func(a, b int) time.Duration) []time.Duration {
	dist := make([]time.Duration, len(g))
	for i := range dist {
		dist[i] = math.MaxInt64
	}
	dist[from] = 0
	todo := &frontier{{from, 0}}
	for todo.Len() > 0 {
		at := heap.Pop(todo).(reach)
		if at.after > dist[at.node] {
			continue
		}
		for _, next := range g[at.node] {
			if d := at.after + delay(at.node, next); d < dist[next] {
				dist[next] = d
				heap.Push(todo, reach{next, d})
			}
		}
	}
	return dist
}

type reach struct {
	node  int
	after time.Duration
}

type frontier []reach

func (f frontier) Len() int           { return len(f) }
func (f frontier) Less(i, j int) bool { return f[i].after < f[j].after }
func (f frontier) Swap(i, j int)      { f[i], f[j] = f[j], f[i] }
func (f *frontier) Push(x any)        { *f = append(*f, x.(reach)) }
func (f *frontier) Pop() any {
	last := len(*f) - 1
	x := (*f)[last]
	*f = (*f)[:last]
	return x
}
