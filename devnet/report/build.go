package report

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"slices"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/stats"
)

// Bounds of what a page draws; results.json keeps the same.
const (
	maxPoints  = 400 // of a curve: about one for every two pixels of its width
	maxBand    = 50  // steps of the band
	maxRegions = 32  // those with the most nodes
	maxSmall   = 40  // points of a region's curve, which is drawn small
	maxScatter = 800 // deliveries in the scatter of stretch
	maxWorst   = 10
)

// New computes the results of the runs of one experiment, which must be resolved. Notes are
// sentences that a reader of the figures must know.
func New(spec experiment.Spec, env Environment, runs []Run, notes []string) *Results {
	r := &Results{
		Schema: Schema, Digest: spec.Digest(), Links: spec.Links(), Experiment: spec, Environment: env,
		Notes: append([]string{}, notes...), Summary: summarize(spec, runs),
	}
	r.Expected = Judge(spec.Expect, r.Summary)
	var blocks, txs []*recorder.Message
	for _, run := range runs {
		r.Runs = append(r.Runs, runResult(spec, run))
		blocks = append(blocks, run.Record.Blocks...)
		txs = append(txs, run.Record.Txs...)
	}
	r.Fingerprint = fingerprint(r.Runs)
	r.Block, r.Tx = shape(blocks), shape(txs)
	r.Block.Regions = regions(runs, func(r *recorder.Run) []*recorder.Message { return r.Blocks })
	r.Tx.Regions = regions(runs, func(r *recorder.Run) []*recorder.Message { return r.Txs })
	r.Stretch, r.Worst, r.Lifecycle = scatter(blocks), worst(runs), lifecycle(txs)
	for _, c := range []struct {
		name string
		q    float64
	}{{"C50", .50}, {"C90", .90}, {"C99", .99}} {
		r.Block.Split = append(r.Block.Split, splitBar(c.name, c.q, blocks))
	}
	return r
}

// fingerprint is that of the only run, or the SHA-256 over those of all runs in order.
func fingerprint(runs []RunResult) string {
	if len(runs) == 1 {
		return runs[0].Fingerprint
	}
	h := sha256.New()
	for _, run := range runs {
		h.Write([]byte(run.Fingerprint))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// splitBar is the mean over messages of the split of the delivery that completed coverage q.
func splitBar(name string, q float64, messages []*recorder.Message) SplitBar {
	bar := SplitBar{Coverage: name, Stages: map[string]float64{}}
	var sum recorder.Stages
	var imports float64
	for _, m := range messages {
		d := completing(m, q)
		if d == nil {
			bar.Left++
			continue
		}
		split, ok := m.Split(d.Node)
		if !ok {
			bar.Left++
			continue
		}
		sum.Add(split)
		if !math.IsInf(d.Import, 1) {
			imports += max(0, d.Import-d.Latency)
		}
		bar.N++
	}
	for s := range recorder.NumStages {
		bar.Stages[s.String()] = round(sum[s] / float64(max(1, bar.N)))
	}
	bar.Total = round(sum.Total() / float64(max(1, bar.N)))
	bar.Import = round(imports / float64(max(1, bar.N)))
	return bar
}

// completing is the delivery with which m reached ceil(q |E|) nodes, or nil when it never did.
func completing(m *recorder.Message, q float64) *recorder.Delivery {
	at := stats.CoverageTime(m.Latencies(), q)
	if math.IsNaN(at) || math.IsInf(at, 1) {
		return nil
	}
	for i := range m.Deliveries {
		if m.Deliveries[i].Latency == at {
			return &m.Deliveries[i]
		}
	}
	return nil
}

func runResult(spec experiment.Spec, run Run) RunResult {
	rec := run.Record
	out := RunResult{
		Seed: run.Seed, Fingerprint: rec.Fingerprint(), WallS: round(run.Wall.Seconds()), EventsLost: rec.Lost, Warmup: run.Warmup,
		Slots: run.Slots, Missed: stats.Number(missedSlots(run)), Stale: stats.Number(staleBlocks(run)), Txs: len(rec.Txs), Host: run.Host,
	}
	if partial(spec, run) {
		out.Missed, out.Stale = stats.None(), stats.None()
	}
	for _, m := range rec.Blocks {
		out.Messages = append(out.Messages, blockResult(rec, m))
	}
	for i := range rec.Nodes {
		out.Nodes = append(out.Nodes, nodeResult(run, i))
	}
	out.Timeline = timeline(spec.Chain.Slot.D(), rec)
	out.Slowest, out.ReorgDepth = slowest(rec), rec.ReorgDepth
	out.Faults = append([]Fault{}, run.Faults...)
	return out
}

func blockResult(rec *recorder.Run, m *recorder.Message) BlockResult {
	times := m.Latencies()
	c := func(q float64) stats.Number { return stats.Number(stats.CoverageTime(times, q)) }
	b := BlockResult{
		ID: "0x" + hex.EncodeToString(m.ID[:]), Number: m.Number, Origin: rec.Nodes[m.Origin].Name, Size: m.Size,
		BornMS: round(float64(m.Born-rec.From) / 1e6), C50: c(.50), C90: c(.90), C95: c(.95), C99: c(.99), C100: c(1),
		N: len(times), Lost: len(times) - m.Reached(), Copies: round(received(m) / (float64(m.Size) * float64(max(1, len(times))))),
	}
	for i := range m.Deliveries {
		b.HopsMax = max(b.HopsMax, m.Deliveries[i].Hops)
	}
	return b
}

func nodeResult(run Run, i int) NodeResult {
	load := run.Record.Nodes[i]
	n := NodeResult{Name: load.Name, Region: load.Region, In: load.In, Out: load.Out, Kinds: kindsOf(load.Kinds), Dropped: load.Dropped}
	for _, p := range run.Processes {
		if p.Name == load.Name {
			n.CPU, n.MaxRSS = round(p.CPU), p.MaxRSS
		}
	}
	var times []float64
	hops := 0
	for _, m := range run.Record.Blocks {
		if m.Origin == i {
			n.Sealed++
		}
		if d := m.At(i); d != nil {
			n.Expected++
			times = append(times, d.Latency)
			if d.Delivered() {
				n.Got++
				hops += d.Hops
			}
		}
	}
	slices.Sort(times)
	n.P50, n.P95 = stats.Number(stats.Percentile(times, .50)), stats.Number(stats.Percentile(times, .95))
	n.Hops = stats.Number(float64(hops) / float64(n.Got))
	return n
}

// slowest is the way of the block that took longest to its last node, among those whose way is
// known whole.
func slowest(rec *recorder.Run) (hops []Hop) {
	var worst *recorder.Message
	var last *recorder.Delivery
	for _, m := range rec.Blocks {
		for i := range m.Deliveries {
			d := &m.Deliveries[i]
			if d.Delivered() && (last == nil || d.Latency > last.Latency) && m.Trail(d.Node) != nil {
				worst, last = m, d
			}
		}
	}
	if worst == nil {
		return nil
	}
	for _, step := range worst.Way(last.Node) {
		h := Hop{From: rec.Nodes[step.From].Name, To: rec.Nodes[step.Node].Name, StartMS: round(step.Start), Stages: map[string]float64{}, Import: stats.None(), Block: worst.Number}
		for s := range recorder.NumStages {
			h.Stages[s.String()] = round(step.Parts[s])
		}
		hops = append(hops, h)
	}
	if !math.IsInf(last.Import, 1) {
		hops[len(hops)-1].Import = stats.Number(last.Import - last.Latency)
	}
	return hops
}

// round keeps a nanosecond of a millisecond figure.
func round(v float64) float64 { return math.Round(v*1e6) / 1e6 }
