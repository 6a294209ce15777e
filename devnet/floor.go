package devnet

import (
	"container/heap"
	"math"
	"time"

	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/topology"
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

// floors computes them for every block a member sealed: the time its bytes need at the slower of
// the origin's uplink and the node's downlink, and the shortest way of minimum delays.
func (r *virtualRun) floors() floors {
	out := make(floors)
	for origin, m := range r.members {
		m.mu.Lock()
		events := m.events
		m.mu.Unlock()
		var ways []time.Duration
		for _, e := range events {
			if e.Kind != trace.BlockSealed {
				continue
			}
			if ways == nil {
				ways = shortest(r.graph, origin, func(a, b int) time.Duration { return r.net.Path(a, b).Min })
			}
			f := Floor{make([]float64, len(r.members)), make([]float64, len(r.members))}
			up, _ := r.net.Rates(origin)
			for i := range r.members {
				_, down := r.net.Rates(i)
				bytes := max(up.Time(int(e.Size)), down.Time(int(e.Size)))
				f.Over[i] = milliseconds(bytes + ways[i])
				f.Direct[i] = milliseconds(bytes + r.net.Path(origin, i).Min)
			}
			out[e.Hash] = f
		}
	}
	return out
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
