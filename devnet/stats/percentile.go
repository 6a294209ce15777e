package stats

import (
	"math"
	"slices"
)

// minAbove is how many samples must lie above a percentile before it may carry an interval: with
// fewer, the bootstrap can only repeat the largest samples it was given.
const minAbove = 5

// rank is the 1-based nearest rank of the q-quantile of n samples, ceil(q n), at least 1. The
// small allowance keeps 0.95 x 140, which is 133, from becoming 134 by rounding.
func rank(q float64, n int) int {
	return min(n, max(1, int(math.Ceil(q*float64(n)-1e-9))))
}

// Percentile is the nearest-rank q-quantile of samples, infinities included, without
// interpolation. samples must be sorted; of none it is NaN.
func Percentile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	return sorted[rank(q, len(sorted))-1]
}

// CoverageTime is the smallest t at which at least ceil(q n) of the n nodes had the message, or
// +Inf when so many never had it. latencies need not be sorted; of none it is NaN.
func CoverageTime(latencies []float64, q float64) float64 {
	return Percentile(slices.Sorted(slices.Values(latencies)), q)
}

// Enough says whether the q-quantile of n samples has enough of them above it to carry an interval.
func Enough(q float64, n int) bool { return n-rank(q, n) >= minAbove }
