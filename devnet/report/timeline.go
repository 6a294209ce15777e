package report

import (
	"math"
	"slices"
	"time"

	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/stats"
)

// timeline is the window slot by slot.
func timeline(slot time.Duration, rec *recorder.Run) []Tick {
	ticks := make([]Tick, len(rec.Slots))
	reached, expected := make([]int, len(ticks)), make([]int, len(ticks))
	for k, s := range rec.Slots {
		ticks[k] = Tick{
			AtMS: round(float64(k) * float64(slot) / 1e6), Up: s.Up, Heads: s.Heads, Coverage: stats.None(), C95: stats.None(),
			In: s.In, Out: s.Out, OriginOut: stats.None(), RelayOut: stats.None(), Kinds: kindsOf(s.Kinds),
		}
		if s.Origin >= 0 {
			ticks[k].OriginOut = stats.Number(s.OriginOut)
			ticks[k].RelayOut = stats.Number(float64(s.Out-s.OriginOut) / float64(len(rec.Nodes)-1))
		}
	}
	for _, m := range rec.Blocks {
		k := min(len(ticks)-1, int((m.Born-rec.From)/int64(slot)))
		reached[k] += m.Reached()
		expected[k] += len(m.Deliveries)
		if at := stats.CoverageTime(m.Latencies(), .95); !ticks[k].C95.Valid() || at > float64(ticks[k].C95) {
			ticks[k].C95 = stats.Number(at)
		}
		ticks[k].Coverage = stats.Number(float64(reached[k]) / float64(expected[k]))
	}
	return ticks
}

// kindsOf names bytes by kind. The edges of a span may leave what is carved out of a class a little
// below zero.
func kindsOf(kinds [recorder.NumKinds]int64) map[string]int64 {
	out := make(map[string]int64, len(kinds))
	for k, n := range kinds {
		out[recorder.Kind(k).String()] = max(0, n)
	}
	return out
}

// median is the middle of values, which it sorts; NaN of none.
func median(values []float64) float64 {
	values = slices.DeleteFunc(values, math.IsNaN)
	slices.Sort(values)
	return stats.Percentile(values, .5)
}
