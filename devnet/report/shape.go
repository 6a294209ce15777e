package report

import (
	"cmp"
	"math"
	"slices"

	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/stats"
)

// shape draws the distribution of messages' deliveries.
func shape(messages []*recorder.Message) Shape {
	s := Shape{Messages: len(messages)}
	var all []float64
	for _, m := range messages {
		times := m.Latencies()
		all = append(all, times...)
		s.Lost += len(times) - m.Reached()
	}
	slices.Sort(all)
	s.Deliveries = len(all)
	s.Curve = curve(all, maxPoints)
	s.Band = band(messages)
	return s
}

// curve is the step function of sorted times, by at most limit points that are evenly spread over
// the ranks and always hold the last finite one. What was not delivered leaves it below 1.
func curve(sorted []float64, limit int) (points []Point) {
	n, finite := len(sorted), finite(sorted)
	count := min(finite, limit)
	for k := 1; k <= count; k++ {
		rank := (k*finite + count - 1) / count
		points = append(points, Point{MS: round(sorted[rank-1]), Share: round(float64(rank) / float64(n))})
	}
	return points
}

// finite is how many of the sorted times are not infinite.
func finite(sorted []float64) int {
	n := len(sorted)
	for n > 0 && math.IsInf(sorted[n-1], 1) {
		n--
	}
	return n
}

// band is, for shares of the nodes, the middle 90 % over the messages of the time to that share.
func band(messages []*recorder.Message) (steps []BandStep) {
	nodes := 0
	times := make([][]float64, 0, len(messages))
	for _, m := range messages {
		if t := m.Latencies(); len(t) > 0 {
			slices.Sort(t)
			times = append(times, t)
			nodes = max(nodes, len(t))
		}
	}
	count := min(nodes, maxBand)
	at := make([]float64, len(times))
	for k := 1; k <= count; k++ {
		share := float64(k) / float64(count)
		for i, t := range times {
			at[i] = stats.Percentile(t, share)
		}
		slices.Sort(at)
		q := func(p float64) stats.Number { return stats.Number(stats.Percentile(at, p)) }
		steps = append(steps, BandStep{Share: round(share), P5: q(.05), P50: q(.50), P95: q(.95)})
	}
	return steps
}

// regions splits deliveries by the region of their node, the region with the most nodes first;
// nil where the links have no regions.
func regions(runs []Run, pick func(*recorder.Run) []*recorder.Message) (out []Region) {
	nodes, times := map[string]int{}, map[string][]float64{}
	for _, run := range runs {
		for _, n := range run.Record.Nodes {
			if n.Region != "" {
				nodes[n.Region]++
			}
		}
		for _, m := range pick(run.Record) {
			for i := range m.Deliveries {
				region := run.Record.Nodes[m.Deliveries[i].Node].Region
				times[region] = append(times[region], m.Deliveries[i].Latency)
			}
		}
	}
	for name, count := range nodes {
		t := times[name]
		if len(t) == 0 {
			continue // its only nodes are the origins
		}
		slices.Sort(t)
		q := func(p float64) stats.Number { return stats.Number(stats.Percentile(t, p)) }
		out = append(out, Region{
			Name: name, Nodes: count, Deliveries: len(t), Lost: len(t) - finite(t), P50: q(.50), P95: q(.95), P99: q(.99), Curve: curve(t, maxSmall),
		})
	}
	slices.SortFunc(out, func(a, b Region) int { return cmp.Or(cmp.Compare(b.Nodes, a.Nodes), cmp.Compare(a.Name, b.Name)) })
	return out[:min(len(out), maxRegions)]
}

// scatter samples the deliveries of blocks that have a floor, evenly over the ranks of their
// latency, so that the slowest is always there.
func scatter(blocks []*recorder.Message) (s Stretch) {
	var made []*recorder.Delivery
	for _, m := range blocks {
		for i := range m.Deliveries {
			if d := &m.Deliveries[i]; d.Delivered() && d.Floor > 0 {
				made = append(made, d)
			}
		}
	}
	slices.SortStableFunc(made, func(a, b *recorder.Delivery) int { return cmp.Compare(a.Latency, b.Latency) })
	s.Of = len(made)
	s.Points = []StretchPoint{}
	count := min(len(made), maxScatter)
	for k := 1; k <= count; k++ {
		d := made[(k*len(made)+count-1)/count-1]
		s.Points = append(s.Points, StretchPoint{Floor: round(d.Floor), MS: round(d.Latency), Hops: d.Hops})
	}
	return s
}

// lifeSteps are the steps of a transaction's life with when one got there, in milliseconds since
// it was submitted or +Inf.
var lifeSteps = []struct {
	name string
	at   func(*recorder.Message) float64
}{
	{"admitted by its first node", func(m *recorder.Message) float64 { return since(m, m.Admitted) }},
	{"handed to gossip", func(m *recorder.Message) float64 { return since(m, m.Published) }},
	{"in half of the other pools", func(m *recorder.Message) float64 { return stats.CoverageTime(m.Latencies(), .50) }},
	{"in 90 % of the other pools", func(m *recorder.Message) float64 { return stats.CoverageTime(m.Latencies(), .90) }},
	{"in a block, at its proposer", func(m *recorder.Message) float64 { return since(m, m.Placed) }},
	{"in a block, at 90 % of the other nodes", func(m *recorder.Message) float64 {
		placed := make([]float64, len(m.Deliveries))
		for i := range m.Deliveries {
			placed[i] = m.Deliveries[i].Import
		}
		return stats.CoverageTime(placed, .90)
	}},
}

// since is from the birth of m to a moment in milliseconds, +Inf for never.
func since(m *recorder.Message, at int64) float64 {
	if at == 0 {
		return math.Inf(1)
	}
	return float64(at-m.Born) / 1e6
}

// lifecycle is when transactions got to each step.
func lifecycle(txs []*recorder.Message) []LifeStep {
	steps := []LifeStep{}
	for _, s := range lifeSteps {
		var at []float64
		for _, m := range txs {
			if v := s.at(m); !math.IsNaN(v) {
				at = append(at, v)
			}
		}
		slices.Sort(at)
		q := func(p float64) stats.Number { return stats.Number(stats.Percentile(at, p)) }
		steps = append(steps, LifeStep{Step: s.name, P5: q(.05), P50: q(.50), P95: q(.95), N: len(at), Lost: len(at) - finite(at)})
	}
	return steps
}
