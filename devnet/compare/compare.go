package compare

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/pheme-net/pheme/devnet/report"
	"github.com/pheme-net/pheme/devnet/stats"
)

// Verdict is what a comparison comes to.
type Verdict string

// The verdicts, on one figure and on the whole.
const (
	Better     Verdict = "better"
	Worse      Verdict = "worse"
	Same       Verdict = "same"
	CannotTell Verdict = "cannot tell"
	// NotJudged is that of a figure without an interval.
	NotJudged Verdict = "-"
)

// Comparison is run B held against run A.
type Comparison struct {
	A, B    *report.Results
	Seeds   int
	Differ  []report.Difference // keys of the experiments; none compares two programs, or two tries
	Blocks  int                 // pairs of messages
	Txs     int
	Lonely  int // messages without a partner, left out
	Lines   []Line
	Verdict Verdict
	Why     string // which figures made it
}

// Line is one figure on both sides.
type Line struct {
	Metric  string // as in results.json
	A, B    float64
	Diff    float64 // B - A
	Lo, Hi  float64 // its 95 % interval; NaN without one
	Shows   float64 // the smallest difference that could have been shown; NaN without an interval
	Verdict Verdict
	minor   bool // it need not be the same for the whole to be
}

// figure is how a line is made.
type figure struct {
	metric string
	of     func(*side) stats.Statistic
	// above is how many of all values lie above a percentile, which carries an interval only if
	// there are enough.
	quantile   float64
	moreBetter bool
	minor      bool // rests on few samples: see Line
}

// From where on a difference matters. Where seeds were drawn, one percent: what is below is nobody's
// business. With fewer seeds the intervals hold nothing of what a whole run has its own way, such as
// which meshes its nodes formed: two tries of one experiment may be several percent apart, and so
// only five percent matter. A tenth of a percent of coverage always does.
const (
	seedsToTrust                       = 5
	noticeable, margin                 = .01, .05
	noticeableCoverage, marginCoverage = .001, .005
)

// caution is by how much an interval is widened before it may tell two runs apart. Some fifteen
// figures are looked at: with 95 % intervals as they are, one of them would leave zero out by chance
// in every third or so comparison of a run with its twin; half as wide again they do in one of
// twenty.
const caution = 1.5

// draws and seed of the bootstrap: the same runs always come to the same verdict.
const (
	draws = 2000
	dice  = 0x636f6d70617265
)

// Compare holds b against a.
func Compare(a, b *Side) (*Comparison, error) {
	differ, err := match(a.Results, b.Results)
	if err != nil {
		return nil, err
	}
	c := &Comparison{A: a.Results, B: b.Results, Differ: differ}
	blocks, txs := pair(a, b, false), pair(a, b, true)
	c.Blocks, c.Txs = len(blocks.a.messages), len(txs.a.messages)
	c.Lonely = len(a.messages) + len(b.messages) - 2*(c.Blocks+c.Txs)
	if c.Seeds = max(blocks.seeds, txs.seeds); c.Seeds == 0 {
		return nil, fmt.Errorf("%w: the runs share no message: they have the seeds %v and %v", ErrMismatch, a.Results.Experiment.Seeds, b.Results.Experiment.Seeds)
	}
	for _, kind := range []struct {
		name string
		p    *pairs
	}{{"block", blocks}, {"tx", txs}} {
		if len(kind.p.a.messages) > 0 {
			c.Lines = append(c.Lines, kind.p.lines(kind.name)...)
		}
	}
	if line, ok := network(a.Results, b.Results); ok {
		c.Lines = append(c.Lines, line)
	}
	c.judge()
	return c, nil
}

// pairs are the messages of one kind that both sides have, in the same order, seed by seed.
type pairs struct {
	a, b  side
	seeds int
	draw  *stats.Resampler
}

// side is one side of pairs.
type side struct {
	messages []*message
	all      *stats.Samples // their latencies, one cluster a message
}

func pair(a, b *Side, txs bool) *pairs {
	var keys []key
	for k := range a.messages {
		if (k.tx != "") == txs && b.messages[k] != nil {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(x, y key) int {
		return cmp.Or(cmp.Compare(x.seed, y.seed), cmp.Compare(x.slot, y.slot), cmp.Compare(x.nth, y.nth), cmp.Compare(x.tx, y.tx))
	})
	p := &pairs{}
	var counts []int
	for i, k := range keys {
		if i == 0 || k.seed != keys[i-1].seed {
			counts = append(counts, 0)
		}
		counts[len(counts)-1]++
		p.a.messages = append(p.a.messages, a.messages[k])
		p.b.messages = append(p.b.messages, b.messages[k])
	}
	p.seeds = len(counts)
	p.a.gather()
	p.b.gather()
	p.draw = stats.NewResampler(counts, draws, rand.New(rand.NewPCG(dice, 1)))
	return p
}

// lines are the figures of one kind of message.
func (p *pairs) lines(kind string) (out []Line) {
	latency := func(q float64) func(*side) stats.Statistic {
		return func(s *side) stats.Statistic { return s.all.Percentile(q) }
	}
	reach := func(q float64) func(*side) stats.Statistic {
		return func(s *side) stats.Statistic { return s.reach(q).Percentile(.5) }
	}
	ratio := func(num, den func(*message) float64) func(*side) stats.Statistic {
		return func(s *side) stats.Statistic { return stats.Ratio(s.each(num), s.each(den)) }
	}
	whole := func(m *message) float64 { return m.size * float64(len(m.latencies)) }
	figures := []figure{
		{metric: "p50_ms", of: latency(.50), quantile: .50}, {metric: "p95_ms", of: latency(.95), quantile: .95}, {metric: "p99_ms", of: latency(.99), quantile: .99, minor: true},
		{metric: "c50_ms", of: reach(.50), minor: true}, {metric: "c99_ms", of: reach(.99), minor: true},
		{metric: "coverage", of: ratio((*message).reached, func(m *message) float64 { return float64(len(m.latencies)) }), moreBetter: true},
		{metric: "copies", of: ratio(func(m *message) float64 { return m.bytes }, whole)},
	}
	for _, f := range figures {
		f.metric = kind + "." + f.metric
		out = append(out, p.line(f))
	}
	return out
}

// line computes a figure on both sides of every draw.
func (p *pairs) line(f figure) Line {
	a, b := f.of(&p.a), f.of(&p.b)
	l := Line{Metric: f.metric, A: p.draw.Value(a), B: p.draw.Value(b), Lo: math.NaN(), Hi: math.NaN(), Shows: math.NaN(), Verdict: NotJudged, minor: f.minor}
	difference := func(w []uint16) float64 { return minus(b(w), a(w)) }
	l.Diff = p.draw.Value(difference)
	enough := len(p.a.messages) > 1
	if f.quantile > 0 {
		enough = enough && stats.Enough(f.quantile, p.a.all.Len()) && stats.Enough(f.quantile, p.b.all.Len())
	}
	if enough {
		l.Lo, l.Hi = p.draw.Interval(difference)
		l.Shows = caution * (l.Hi - l.Lo) / 2
	}
	l.judge(f, p.seeds)
	return l
}

// minus is b - a; two times that were never reached do not differ.
func minus(b, a float64) float64 {
	if math.IsInf(a, 1) && math.IsInf(b, 1) {
		return 0
	}
	return b - a
}

// judge gives the verdict on one figure, see the package.
func (l *Line) judge(f figure, seeds int) {
	if math.IsNaN(l.Lo) || math.IsNaN(l.Hi) {
		return
	}
	scale, notice, within := math.Abs(l.A), noticeable, margin
	if seeds < seedsToTrust {
		notice = margin
	}
	if f.moreBetter {
		scale, notice, within = 1, noticeableCoverage, marginCoverage
	}
	room := within * scale
	if math.IsInf(room, 1) { // a share of what was not delivered is no distance
		room = 0
	}
	worse := l.Diff > 0 != f.moreBetter
	apart := l.Lo > 0 && !(l.Diff < caution*(l.Diff-l.Lo)) || l.Hi < 0 && !(-l.Diff < caution*(l.Hi-l.Diff))
	switch {
	case apart && !(math.Abs(l.Diff) < notice*scale) && worse:
		l.Verdict = Worse
	case apart && !(math.Abs(l.Diff) < notice*scale):
		l.Verdict = Better
	case l.Lo >= -room && l.Hi <= room:
		l.Verdict = Same
	default:
		l.Verdict = CannotTell
	}
}

// judge gives the verdict on the whole: worse if anything is, else better if anything is, else same
// if everything is that rests on enough samples to tell, which single messages' times do not.
func (c *Comparison) judge() {
	with := func(v Verdict) (names []string) {
		for _, l := range c.Lines {
			if l.Verdict == v && !(v == CannotTell && l.minor) {
				names = append(names, l.Metric)
			}
		}
		return names
	}
	for _, v := range []Verdict{Worse, Better, CannotTell, Same} {
		names := with(v)
		if len(names) == 0 {
			continue
		}
		if c.Verdict = v; v != Same {
			c.Why = joined(names)
		}
		if better := with(Better); v == Worse && len(better) > 0 {
			c.Why += "; better in " + joined(better)
		}
		return
	}
	c.Verdict, c.Why = CannotTell, "no figure has an interval: compare runs with more messages"
}

// ExitCode is what the command returns to the shell.
func (v Verdict) ExitCode() int {
	switch v {
	case Worse:
		return 3
	case CannotTell:
		return 4
	}
	return 0
}

func (s *side) gather() {
	clusters := make([][]float64, len(s.messages))
	for i, m := range s.messages {
		clusters[i] = m.latencies
	}
	s.all = stats.NewSamples(clusters)
}

// reach is the time to a share of the nodes, one value a message.
func (s *side) reach(q float64) *stats.Samples {
	clusters := make([][]float64, len(s.messages))
	for i, m := range s.messages {
		clusters[i] = []float64{stats.CoverageTime(m.latencies, q)}
	}
	return stats.NewSamples(clusters)
}

func (s *side) each(f func(*message) float64) []float64 {
	out := make([]float64, len(s.messages))
	for i, m := range s.messages {
		out[i] = f(m)
	}
	return out
}

func (m *message) reached() (n float64) {
	for _, l := range m.latencies {
		if !math.IsInf(l, 1) {
			n++
		}
	}
	return n
}
