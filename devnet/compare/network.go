package compare

import (
	"math/rand/v2"

	"github.com/pheme-net/pheme/devnet/report"
	"github.com/pheme-net/pheme/devnet/stats"
)

// network compares what a node receives a second, slot by slot of the same seeds.
func network(a, b *report.Results) (Line, bool) {
	rates := func(r *report.Results, run report.RunResult) []float64 {
		out := make([]float64, len(run.Timeline))
		for i, t := range run.Timeline {
			out[i] = float64(t.In) / float64(max(1, len(run.Nodes))) / r.Experiment.Chain.Slot.D().Seconds()
		}
		return out
	}
	var counts []int
	var left, right []float64
	for _, run := range a.Runs {
		for _, other := range b.Runs {
			if run.Seed != other.Seed || len(run.Timeline) != len(other.Timeline) {
				continue
			}
			counts = append(counts, len(run.Timeline))
			left = append(left, rates(a, run)...)
			right = append(right, rates(b, other)...)
		}
	}
	if len(left) == 0 {
		return Line{}, false
	}
	ones := make([]float64, len(left))
	for i := range ones {
		ones[i] = 1
	}
	statA, statB := stats.Ratio(left, ones), stats.Ratio(right, ones)
	draw := stats.NewResampler(counts, draws, rand.New(rand.NewPCG(dice, 2)))
	difference := func(w []uint16) float64 { return statB(w) - statA(w) }
	l := Line{Metric: "net.bytes_per_node_per_s", A: draw.Value(statA), B: draw.Value(statB), Diff: draw.Value(difference), Verdict: NotJudged}
	l.Lo, l.Hi = draw.Interval(difference)
	l.Shows = caution * (l.Hi - l.Lo) / 2
	l.judge(figure{}, len(counts))
	return l, true
}
