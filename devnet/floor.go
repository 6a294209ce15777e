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
// of minimum delays over nodes that ran then. A node to which these do not lead is down, or found other
// connections than graph knows: its way is taken to be the direct one. cfg's schedule counts from began on the run's clock; a cut has no floor of its
// own.
func floorsOf(cfg link.Config, began int64, graph topology.Graph, nodes []recorder.Node) floors {
	out := make(floors)
	links, err := link.NewLinks(cfg)
	if err != nil {
		panic(fmt.Sprintf("devnet: the links of a run that took place: %v", err))
	}
	ways := map[int][]time.Duration{} // from each origin, until the links change or a node comes or goes
	var alive []bool
	for _, s := range seals(nodes) {
		for len(cfg.Schedule) > 0 && began+int64(cfg.Schedule[0].At) <= s.At {
			if err := links.Apply(cfg.Schedule[0].Do); err != nil {
				panic(fmt.Sprintf("devnet: a change that took place: %v", err))
			}
			cfg.Schedule, ways = cfg.Schedule[1:], map[int][]time.Duration{}
		}
		if now := aliveAt(nodes, s.At); !slices.Equal(now, alive) {
			alive, ways = now, map[int][]time.Duration{}
		}
		if ways[s.origin] == nil {
			ways[s.origin] = shortest(graph, s.origin, alive, func(a, b int) time.Duration { return links.Path(a, b).Min })
		}
		f := Floor{make([]float64, len(nodes)), make([]float64, len(nodes))}
		up := links.Node(s.origin).Up
		for i := range nodes {
			bytes := max(up.Time(int(s.Size)), links.Node(i).Down.Time(int(s.Size)))
			way, direct := ways[s.origin][i], links.Path(s.origin, i).Min
			if way == unreached {
				way = direct
			}
			f.Over[i], f.Direct[i] = milliseconds(bytes+way), milliseconds(bytes+direct)
		}
		out[s.Hash] = f
	}
	return out
}

// aliveAt says which nodes ran at a moment.
func aliveAt(nodes []recorder.Node, at int64) []bool {
	out := make([]bool, len(nodes))
	for i, n := range nodes {
		out[i] = n.Lives == nil || slices.ContainsFunc(n.Lives, func(s recorder.Span) bool { return s.Has(at) })
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

// unreached is the delay to a node to which no way leads.
const unreached = time.Duration(math.MaxInt64)

// shortest is Dijkstra's algorithm: the least delay from one node to every other over those of the graph
// that are alive.
func shortest(g topology.Graph, from int, alive []bool, delay func(a, b int) time.Duration) []time.Duration {
	dist := make([]time.Duration, len(g))
	for i := range dist {
		dist[i] = unreached
	}
	dist[from] = 0
	todo := &frontier{{from, 0}}
	for todo.Len() > 0 {
		at := heap.Pop(todo).(reach)
		if at.after > dist[at.node] {
			continue
		}
		for _, next := range g[at.node] {
			if d := at.after + delay(at.node, next); alive[next] && d < dist[next] {
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
