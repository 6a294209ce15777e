package stats

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/quick"
)

var inf = math.Inf(1)

func TestPercentile(t *testing.T) {
	ten := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	lossy := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, inf}
	tests := []struct {
		name    string
		samples []float64
		q, want float64
	}{
		{"median of ten is the fifth", ten, 0.50, 5},
		{"p90 of ten is the ninth", ten, 0.90, 9},
		{"p91 of ten is the tenth", ten, 0.91, 10},
		{"p99 of ten is the last", ten, 0.99, 10},
		{"p0 is the first", ten, 0, 1},
		{"p100 is the last", ten, 1, 10},
		{"one lost of ten spares p90", lossy, 0.90, 9},
		{"one lost of ten reaches p95", lossy, 0.95, inf},
		{"one sample", []float64{7}, 0.01, 7},
		{"rank is exact where 0.95 n is whole", series(140), 0.95, 133},
		{"rank is exact where 0.99 n is whole", series(700), 0.99, 693},
	}
	for _, tt := range tests {
		if got := Percentile(tt.samples, tt.q); got != tt.want {
			t.Errorf("%s: Percentile(%v) = %v, want %v", tt.name, tt.q, got, tt.want)
		}
	}
	if got := Percentile(nil, 0.5); !math.IsNaN(got) {
		t.Errorf("Percentile of nothing = %v, want NaN", got)
	}
}

func TestCoverageTime(t *testing.T) {
	// Seven nodes: ceil(0.5 x 7) = 4, ceil(0.9 x 7) = ceil(0.99 x 7) = 7.
	got := []float64{30, 10, 70, 20, 60, 40, 50}
	for q, want := range map[float64]float64{0.5: 40, 0.9: 70, 0.95: 70, 0.99: 70, 1: 70, 0.8: 60} {
		if c := CoverageTime(got, q); c != want {
			t.Errorf("C%v = %v, want %v", q*100, c, want)
		}
	}
	if got[0] != 30 {
		t.Error("CoverageTime sorted the caller's slice")
	}
	dnf := []float64{10, 20, 30, inf}
	if c := CoverageTime(dnf, 0.75); c != 30 {
		t.Errorf("C75 = %v, want 30: three of four had it", c)
	}
	if c := CoverageTime(dnf, 0.99); !math.IsInf(c, 1) {
		t.Errorf("C99 = %v, want inf: one of four never had it", c)
	}
}

// A percentile by weights must be the percentile of the samples written out that many times.
func TestWeightedPercentileIsThePercentileOfRepeats(t *testing.T) {
	law := func(seed uint64) bool {
		rng := rand.New(rand.NewPCG(seed, 1))
		clusters := make([][]float64, 1+rng.IntN(5))
		weights := make([]uint16, len(clusters))
		var flat []float64
		for i := range clusters {
			weights[i] = uint16(rng.IntN(4))
			for range 1 + rng.IntN(6) {
				v := float64(rng.IntN(20))
				if rng.IntN(10) == 0 {
					v = inf
				}
				clusters[i] = append(clusters[i], v)
				for range weights[i] {
					flat = append(flat, v)
				}
			}
		}
		slices.Sort(flat)
		q := rng.Float64()
		got, want := NewSamples(clusters).Percentile(q)(weights), Percentile(flat, q)
		return got == want || math.IsNaN(got) && math.IsNaN(want)
	}
	if err := quick.Check(law, nil); err != nil {
		t.Fatal(err)
	}
}

func TestResamplerDrawsWithinEachSeedBelowFive(t *testing.T) {
	r := NewResampler([]int{3, 5}, 500, rand.New(rand.NewPCG(1, 2)))
	for _, w := range r.draws {
		if sum(w[:3]) != 3 || sum(w[3:]) != 5 {
			t.Fatalf("draw %v: want three from the first seed and five from the second", w)
		}
	}
}

func TestResamplerDrawsSeedsFromFive(t *testing.T) {
	r := NewResampler([]int{2, 2, 2, 2, 2}, 500, rand.New(rand.NewPCG(1, 2)))
	missed := 0
	for _, w := range r.draws {
		if sum(w) != 10 {
			t.Fatalf("draw %v: want ten messages", w)
		}
		if sum(w[:2]) == 0 {
			missed++
		}
	}
	// A seed is left out of a draw with probability (4/5)^5 = 0.33; a resampler that drew only
	// messages would never leave one out.
	if missed < 100 || missed > 230 {
		t.Fatalf("the first seed was left out of %d of 500 draws, want about 164", missed)
	}
}

// world draws runs of one network: seeds differ, messages of a seed differ, and so do the deliveries
// of a message.
type world struct {
	seeds, messages, nodes        int
	betweenSeeds, between, within float64 // standard deviations
}

func (w world) run(rng *rand.Rand) (counts []int, clusters [][]float64) {
	for range w.seeds {
		counts = append(counts, w.messages)
		seed := w.betweenSeeds * rng.NormFloat64()
		for range w.messages {
			level := seed + w.between*rng.NormFloat64()
			values := make([]float64, w.nodes)
			for i := range values {
				values[i] = 100 + level + w.within*rng.ExpFloat64() // a tail to the right, as latencies have
			}
			clusters = append(clusters, values)
		}
	}
	return counts, clusters
}

// An interval must hold the truth in about 95 of 100 runs, for the figures that are reported and the
// sizes that runs have: few seeds of one network drawn message by message, five and more drawn seed
// by seed, where the seeds themselves differ.
func TestIntervalsHoldTheTruth(t *testing.T) {
	const tries, draws = 250, 400
	for name, w := range map[string]world{
		"one seed of 20 messages":   {1, 20, 30, 0, 10, 20},
		"three seeds of 8 messages": {3, 8, 30, 0, 10, 20},
		"five seeds that differ":    {5, 10, 30, 8, 10, 20},
		"five seeds of 8 messages":  {5, 8, 30, 6, 10, 20},
		"ten seeds that differ":     {10, 10, 30, 8, 10, 20},
	} {
		rng := rand.New(rand.NewPCG(3, 4))
		large := w
		large.seeds, large.messages = 2000, 20
		_, all := large.run(rng)
		truth := NewSamples(all)
		ones := make([]uint16, len(all))
		for i := range ones {
			ones[i] = 1
		}
		hits := map[string]int{}
		for range tries {
			counts, clusters := w.run(rng)
			r, s := NewResampler(counts, draws, rng), NewSamples(clusters)
			num, den := make([]float64, len(clusters)), make([]float64, len(clusters))
			for i, c := range clusters {
				for _, v := range c {
					num[i], den[i] = num[i]+v, den[i]+1
				}
			}
			for figure, f := range map[string]struct {
				of   Statistic
				true float64
			}{
				"p50": {s.Percentile(.5), truth.Percentile(.5)(ones)}, "p95": {s.Percentile(.95), truth.Percentile(.95)(ones)},
				"mean": {Ratio(num, den), 100 + w.within},
			} {
				if lo, hi := r.Interval(f.of); lo <= f.true && f.true <= hi {
					hits[figure]++
				}
			}
		}
		for figure, n := range hits {
			share := float64(n) / tries
			t.Logf("%s: %s held in %.1f %%", name, figure, 100*share)
			if share < .89 || share > .995 {
				t.Errorf("%s: the intervals of %s hold the truth in %.1f %%, want about 95 %%", name, figure, 100*share)
			}
		}
	}
}

func TestStudent(t *testing.T) {
	for degrees, want := range map[float64]float64{4: 2.776, 9: 2.262, 19: 2.093, 99: 1.984} { // tables
		if got := student975(degrees); math.Abs(got-want) > .005*want {
			t.Errorf("t of %v degrees = %.4f, want %.3f", degrees, got, want)
		}
	}
	if many, five := NewResampler([]int{1000}, 0, nil).tail(), NewResampler([]int{9, 9, 9, 9, 9}, 0, nil).tail(); math.Abs(many-.025) > .001 || five > .0015 || five < .0005 {
		t.Errorf("an interval leaves out %.4f of many messages' draws and %.4f of five seeds', want 0.025 and 0.001", many, five)
	}
}

// Samples of one message move together: the interval must be that of few messages, not of many
// deliveries.
func TestClustersWidenTheInterval(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	together, apart := make([][]float64, 10), make([][]float64, 1000)
	for i := range together {
		level := rng.NormFloat64()
		for j := range 100 {
			together[i] = append(together[i], level)
			apart[i*100+j] = []float64{level}
		}
	}
	width := func(clusters [][]float64) float64 {
		lo, hi := NewResampler([]int{len(clusters)}, 500, rng).Interval(NewSamples(clusters).Percentile(0.5))
		return hi - lo
	}
	if c, s := width(together), width(apart); c < 3*s {
		t.Fatalf("interval of 10 clusters is %v wide, of 1000 single samples %v: want it much wider", c, s)
	}
}

func TestPercentileFigureNeedsFiveAbove(t *testing.T) {
	clusters := make([][]float64, 20)
	for i, v := range series(140) {
		clusters[i%20] = append(clusters[i%20], v)
	}
	s, r := NewSamples(clusters), NewResampler([]int{20}, 300, rand.New(rand.NewPCG(1, 1)))
	p95 := r.PercentileFigure(s, 0.95) // 7 of 140 lie above
	if p95.Value != 133 || !p95.HasInterval() || p95.N != 140 || p95.Lo > 133 || p95.Hi < 133 {
		t.Errorf("p95 = %+v, want 133 with an interval around it, n = 140", p95)
	}
	p99 := r.PercentileFigure(s, 0.99) // 1 of 140 lies above
	if p99.Value != 139 || p99.HasInterval() || p99.Why != FewAbove {
		t.Errorf("p99 = %+v, want 139 bare", p99)
	}
	if none := NewResampler(nil, 300, rand.New(rand.NewPCG(1, 1))).PercentileFigure(NewSamples(nil), 0.5); none.Value.Valid() {
		t.Errorf("figure of no samples = %+v, want none", none)
	}
}

func TestLossReachesTheInterval(t *testing.T) {
	clusters := make([][]float64, 20)
	for i := range clusters {
		clusters[i] = []float64{1, 2, 3, 4, 5, 6, 7}
	}
	for i := range 10 { // half of the messages miss one node: 10 of 140
		clusters[i][6] = inf
	}
	f := NewResampler([]int{20}, 500, rand.New(rand.NewPCG(1, 1))).PercentileFigure(NewSamples(clusters), 0.93)
	if !math.IsInf(float64(f.Hi), 1) || math.IsInf(float64(f.Lo), 1) {
		t.Errorf("p93 = %+v, want an interval from a figure to inf", f)
	}
}

func TestFitLine(t *testing.T) {
	l := FitLine([]float64{1, 2, 3, 4}, []float64{5, 7, 9, 11})
	if l.Slope != 2 || l.Intercept != 3 || l.R2 != 1 || l.At(10) != 23 {
		t.Errorf("a straight line is %+v, want 3 + 2 x", l)
	}
	// y = x^2 over 0..4: slope 4, intercept -2, R2 = 1600 / (10 x 174) by hand.
	l = FitLine([]float64{0, 1, 2, 3, 4}, []float64{0, 1, 4, 9, 16})
	if math.Abs(float64(l.Slope)-4) > 1e-9 || math.Abs(float64(l.Intercept)+2) > 1e-9 || math.Abs(float64(l.R2)-1600./1740) > 1e-9 {
		t.Errorf("a parabola is %+v", l)
	}
	if flat := FitLine([]float64{1, 2, 3}, []float64{4, 4, 4}); flat.Slope != 0 || flat.R2 != 1 {
		t.Errorf("a flat line is %+v", flat)
	}
	for _, y := range [][]float64{{1, inf}, {1, math.NaN()}} {
		if l := FitLine([]float64{1, 2}, y); l.Slope.Valid() {
			t.Errorf("a line through %v is %+v, want none", y, l)
		}
	}
	if l := FitLine([]float64{1, 1}, []float64{1, 2}); l.Slope.Valid() {
		t.Errorf("a line over one x is %+v, want none", l)
	}
}

func TestNumberJSON(t *testing.T) {
	var back Figure
	for want, f := range map[string]Figure{
		`{"value":"inf","lo":1.25,"hi":null,"n":3}`: {Value: Number(inf), Lo: 1.25, Hi: None(), N: 3},
		`{"value":0,"lo":"-inf","hi":null,"n":3}`:   {Lo: Number(-inf), Hi: None(), N: 3},
	} {
		text, err := json.Marshal(f)
		if err != nil || string(text) != want {
			t.Fatalf("json = %s, %v, want %s", text, err, want)
		}
		if err := json.Unmarshal(text, &back); err != nil || back.Value != f.Value || back.Lo != f.Lo || back.Hi.Valid() {
			t.Fatalf("read back %+v, %v", back, err)
		}
	}
	if err := json.Unmarshal([]byte(`{"value":"fast"}`), &back); err == nil {
		t.Fatal("a word was read as a number")
	}
}

func series(n int) []float64 {
	s := make([]float64, n)
	for i := range s {
		s[i] = float64(i + 1)
	}
	return s
}

func sum(w []uint16) (n int) {
	for _, v := range w {
		n += int(v)
	}
	return n
}
