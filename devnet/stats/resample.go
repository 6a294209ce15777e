package stats

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
)

// seedsToDraw is how many seeds must be there before seeds are drawn too; with fewer, messages are
// drawn within each seed and the interval says nothing about other seeds.
const seedsToDraw = 5

// Resampler draws the clusters of a run again and again. Its clusters are messages inside seeds,
// numbered through: first those of the first seed, then those of the second, ...
//
// The draws are made once and shared, so that all figures of a run, and both sides of a paired
// comparison, see the same resampled worlds.
type Resampler struct {
	clusters int
	units    int        // what is drawn independently: seeds, or messages less one for each further seed
	draws    [][]uint16 // one weight a cluster: how often it was drawn
}

// Statistic computes a figure from how often each cluster counts; the plain value is the one with
// all weights 1.
type Statistic func(weights []uint16) float64

// NewResampler draws from seeds, which hold the given numbers of messages each.
func NewResampler(messages []int, draws int, rng *rand.Rand) *Resampler {
	r := &Resampler{draws: make([][]uint16, draws)}
	first := make([]int, len(messages))
	for i, n := range messages {
		first[i] = r.clusters
		r.clusters += n
	}
	r.units = r.clusters - len(messages) + 1
	if len(messages) >= seedsToDraw {
		r.units = len(messages)
	}
	for d := range r.draws {
		weights := make([]uint16, r.clusters)
		for i := range messages {
			seed := i
			if len(messages) >= seedsToDraw {
				seed = rng.IntN(len(messages))
			}
			for range messages[seed] {
				weights[first[seed]+rng.IntN(messages[seed])]++
			}
		}
		r.draws[d] = weights
	}
	return r
}

// Clusters is how many weights a statistic is given.
func (r *Resampler) Clusters() int { return r.clusters }

// Value is the statistic of the samples as they are.
func (r *Resampler) Value(s Statistic) float64 {
	ones := make([]uint16, r.clusters)
	for i := range ones {
		ones[i] = 1
	}
	return s(ones)
}

// Interval is the 95 % bootstrap interval of s by percentiles, nearest rank. Few units make plain
// percentiles too narrow, by the same factors by which a normal interval of a mean is narrower than
// Student's: the percentiles are moved outwards accordingly (Hesterberg, What Teachers Should Know
// About the Bootstrap, 2015, section 5.3). It is NaN, NaN where there are fewer than two clusters to
// draw from.
func (r *Resampler) Interval(s Statistic) (lo, hi float64) {
	if r.clusters < 2 || len(r.draws) == 0 {
		return math.NaN(), math.NaN()
	}
	values := make([]float64, 0, len(r.draws))
	for _, w := range r.draws {
		if v := s(w); !math.IsNaN(v) { // a draw that left nothing to compute from says nothing
			values = append(values, v)
		}
	}
	slices.Sort(values)
	tail := r.tail()
	return Percentile(values, tail), Percentile(values, 1-tail)
}

// tail is the share of the draws that an interval leaves out at either end: 2.5 % for many units.
func (r *Resampler) tail() float64 {
	n := float64(max(2, r.units))
	return 0.5 * math.Erfc(math.Sqrt(n/(n-1))*student975(n-1)/math.Sqrt2)
}

// student975 is the 97.5 % quantile of Student's t distribution, to 0.5 % from four degrees of
// freedom on (Abramowitz and Stegun 26.7.5), and too small below.
func student975(degrees float64) float64 {
	const z = 1.959964
	const z3, z5, z7 = z * z * z, z * z * z * z * z, z * z * z * z * z * z * z
	return z + (z3+z)/(4*degrees) + (5*z5+16*z3+3*z)/(96*degrees*degrees) + (3*z7+19*z5+17*z3-15*z)/(384*degrees*degrees*degrees)
}

// Figure is s with its interval, resting on n samples.
func (r *Resampler) Figure(s Statistic, n int) Figure {
	lo, hi := r.Interval(s)
	return Figure{Value: Number(r.Value(s)), Lo: Number(lo), Hi: Number(hi), N: n}
}

// Samples are values that belong to clusters, kept sorted. How many of the first values belong to
// which cluster is kept for every chunk of them, so that a weighted percentile need not pass over all
// values.
type Samples struct {
	values   []float64
	clusters []int32
	count    int // clusters
	chunk    int
	// prefix[k*count+c] is how many of the first k*chunk values are of cluster c; the last row counts
	// all values.
	prefix []uint32
}

// minChunk keeps the chunks of few clusters from becoming as many as the values.
const minChunk = 256

// NewSamples takes the values of each cluster.
func NewSamples(clusters [][]float64) *Samples {
	type pair struct {
		v float64
		c int32
	}
	var pairs []pair
	for c, values := range clusters {
		for _, v := range values {
			pairs = append(pairs, pair{v, int32(c)})
		}
	}
	slices.SortStableFunc(pairs, func(a, b pair) int { return cmp.Compare(a.v, b.v) })
	s := &Samples{values: make([]float64, len(pairs)), clusters: make([]int32, len(pairs)), count: len(clusters), chunk: max(minChunk, len(clusters))}
	rows := (len(pairs)+s.chunk-1)/s.chunk + 1
	s.prefix = make([]uint32, rows*s.count)
	for i, p := range pairs {
		s.values[i], s.clusters[i] = p.v, p.c
		row := i/s.chunk + 1
		if i%s.chunk == 0 {
			copy(s.prefix[row*s.count:(row+1)*s.count], s.prefix[(row-1)*s.count:row*s.count])
		}
		s.prefix[row*s.count+int(p.c)]++
	}
	return s
}

// Len is how many values there are.
func (s *Samples) Len() int { return len(s.values) }

// Values are all values, sorted; the caller must not change them.
func (s *Samples) Values() []float64 { return s.values }

// upTo is the weight of the first row x chunk values.
func (s *Samples) upTo(row int, weights []uint16) (sum int) {
	for c, n := range s.prefix[row*s.count : (row+1)*s.count] {
		sum += int(n) * int(weights[c])
	}
	return sum
}

// Percentile is the nearest-rank q-quantile under weights.
func (s *Samples) Percentile(q float64) Statistic {
	return func(weights []uint16) float64 {
		if len(s.values) == 0 {
			return math.NaN()
		}
		rows := len(s.prefix)/s.count - 1
		total := s.upTo(rows, weights)
		if total == 0 {
			return math.NaN()
		}
		left := rank(q, total)
		row := sort.Search(rows, func(k int) bool { return s.upTo(k+1, weights) >= left })
		left -= s.upTo(row, weights)
		for i := row * s.chunk; i < len(s.values); i++ {
			if left -= int(weights[s.clusters[i]]); left <= 0 {
				return s.values[i]
			}
		}
		return math.NaN()
	}
}

// PercentileFigure is the q-quantile of s with its interval, or without one where fewer than five
// samples lie above it.
func (r *Resampler) PercentileFigure(s *Samples, q float64) Figure {
	v, n := r.Value(s.Percentile(q)), s.Len()
	switch {
	case n == 0:
		return Missing("no samples")
	case !Enough(q, n):
		return Bare(v, n, FewAbove)
	}
	return r.Figure(s.Percentile(q), n)
}

// FewAbove is the reason a high percentile stands without an interval.
const FewAbove = "fewer than 5 samples lie above it: read it as a maximum"

// Ratio is sum(num) / sum(den) over the drawn clusters: a mean where den counts, a share where it
// is the whole.
func Ratio(num, den []float64) Statistic {
	return func(weights []uint16) float64 {
		var n, d float64
		for i, w := range weights {
			n += float64(w) * num[i]
			d += float64(w) * den[i]
		}
		return n / d // 0 / 0 is NaN: no figure
	}
}
