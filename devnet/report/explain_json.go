package report

import (
	"math"

	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/stats"
)

// toldBlock is what [Explain] says of a block as an object: times in milliseconds, "inf" for what never
// happened and null for what is not known.
type toldBlock struct {
	Seed     int64                   `json:"seed"`
	Number   int64                   `json:"number"`
	ID       string                  `json:"id"`
	Bytes    int64                   `json:"bytes"`
	Origin   string                  `json:"origin"`
	SealedMS stats.Number            `json:"sealed_ms"` // since the window began
	Covered  map[string]stats.Number `json:"covered"`   // c50_ms and so on
	Lost     int                     `json:"lost"`      // nodes that never had it
	Nodes    int                     `json:"nodes"`
	Node     string                  `json:"node,omitempty"` // whose delivery follows
	Latency  stats.Number            `json:"latency_ms"`
	Import   stats.Number            `json:"import_ms"`
	Floor    stats.Number            `json:"floor_ms"`
	Network  stats.Number            `json:"network_floor_ms"`
	Hops     []toldHop               `json:"hops"` // empty when the way is not known whole
}

type toldHop struct {
	Way    string                  `json:"way"`
	Path   string                  `json:"path"`
	Begins stats.Number            `json:"begins_ms"`
	Stages map[string]stats.Number `json:"stages_ms"`
}

func (s *story) object(end *DeliveryRow) toldBlock {
	t := toldBlock{
		Seed: s.seed, Number: s.number, ID: s.id, Bytes: s.size, Origin: s.origin, SealedMS: stats.Number(s.born), Lost: s.lost, Nodes: len(s.rows),
		Covered: map[string]stats.Number{}, Latency: stats.Number(math.Inf(1)), Import: stats.None(), Floor: stats.None(), Network: stats.None(), Hops: []toldHop{},
	}
	var times []float64
	for _, d := range s.rows {
		times = append(times, d.Latency)
	}
	for name, q := range map[string]float64{"c50_ms": .5, "c90_ms": .9, "c99_ms": .99, "c100_ms": 1} {
		t.Covered[name] = stats.Number(stats.CoverageTime(times, q))
	}
	if end == nil {
		return t
	}
	t.Node, t.Latency, t.Import, t.Floor, t.Network = end.Node, stats.Number(end.Latency), stats.Number(end.Import), stats.Number(end.Floor), stats.Number(end.Network)
	begins := 0.0
	for _, d := range s.trail(end) {
		hop := toldHop{Way: d.passage(), Path: d.Path, Begins: stats.Number(begins), Stages: map[string]stats.Number{}}
		for stage, v := range d.Hop {
			hop.Stages[recorder.Stage(stage).String()] = stats.Number(v)
		}
		t.Hops = append(t.Hops, hop)
		begins = d.Latency
	}
	return t
}
