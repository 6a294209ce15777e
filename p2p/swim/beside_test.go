package swim

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

// A comparison with hashicorp/memberlist over the same links: one crash of a
// fifth of the members (at most 20), and a while without any.

// trial is one setting of a comparison.
type trial struct {
	n     int
	loss  float64
	slow  time.Duration // added by one in twenty to all it does, if not 0
	calm  time.Duration // without crashes, for false deaths and bytes
	seeds int
}

// seen is what came of a trial. Times are over all pairs of crashed and live.
type seen struct {
	dead     []time.Duration
	pairs    int
	formed   time.Duration // from the first start until all know all, the slowest
	back     time.Duration // a member that crashed, was found dead and starts anew, is known to all
	bytes    float64       // a member sends a second, while nothing happens
	falsely  int           // deaths of the living
	observed time.Duration // times members
}

func (c trial) crashes() int { return max(1, min(20, c.n/5)) }

// afterJoin is left to what joining moves before bytes are counted.
const afterJoin = 40 * time.Second

// ours runs the trial on this package.
func (c trial) ours(tb testing.TB, cfg Config) (out seen) {
	for seed := range uint64(c.seeds) {
		s := newSim(tb, seed, cfg, newLinks(seed, c.loss))
		out.formed = max(out.formed, s.form(c.n))
		if c.slow > 0 {
			for i := range max(1, c.n/20) {
				s.nodes[c.n-1-i].slow = c.slow
			}
		}
		s.run(afterJoin)
		sum, at := s.mark()
		s.run(c.calm)
		out.bytes += s.rate(sum, at) / float64(c.seeds)
		out.falsely += s.falseDeaths(at, nil)
		out.observed += c.calm * time.Duration(c.n)
		d := s.crashes(c.crashes(), 20*time.Second)
		out.dead, out.pairs = append(out.dead, d.dead...), out.pairs+d.pairs
		for _, n := range s.nodes {
			if !n.up {
				s.boot(n)
				s.sync(n, s.nodes[slices.IndexFunc(s.nodes, func(o *simNode) bool { return o != n && o.up })])
			}
		}
		out.back = max(out.back, s.until(5*time.Minute, s.complete))
	}
	slices.Sort(out.dead)
	return out
}

// theirs runs it on memberlist: its LAN settings with another probe interval, and
// half of that as the timeout, as in its LAN settings.
func (c trial) theirs(tb testing.TB, interval time.Duration) (out seen) {
	bend := func(cfg *memberlist.Config) { cfg.ProbeInterval, cfg.ProbeTimeout = interval, interval/2 }
	for seed := range uint64(c.seeds) {
		inBubble(func() {
			v := newTheirs(tb, seed, newLinks(seed, c.loss))
			defer v.stop()
			out.formed = max(out.formed, v.form(c.n, bend))
			if c.slow > 0 {
				for i := range max(1, c.n/20) {
					v.nodes[c.n-1-i].slowBy(c.slow)
				}
			}
			time.Sleep(afterJoin)
			sum, at := v.sum(), time.Now()
			time.Sleep(c.calm)
			out.bytes += float64(v.sum()-sum) / c.calm.Seconds() / float64(c.n) / float64(c.seeds)
			out.falsely += len(v.deaths(at, nil))
			out.observed += c.calm * time.Duration(c.n)
			down := map[string]bool{}
			at = time.Now()
			for _, i := range v.rng.Perm(c.n)[:c.crashes()] {
				v.crash(i)
				down[theirName(i)] = true
			}
			time.Sleep(max(20*time.Second, 60*interval))
			out.dead, out.pairs = append(out.dead, v.deaths(at, down)...), out.pairs+c.crashes()*(c.n-c.crashes())
			at = time.Now()
			for i, n := range v.nodes {
				if down[theirName(i)] {
					v.restart(n, bend)
				}
			}
			v.await()
			out.back = max(out.back, time.Since(at))
		})
	}
	slices.Sort(out.dead)
	return out
}

func (o *seen) String() string {
	return fmt.Sprintf("dead p50 %4.1f s, p99 %4.1f s, all %4.1f s; %5.0f B/s; %d false deaths in %.0f node-minutes; formed %4.1f s, back %4.1f s",
		quantile(o.dead, .5, o.pairs).Seconds(), quantile(o.dead, .99, o.pairs).Seconds(), quantile(o.dead, 1, o.pairs).Seconds(),
		o.bytes, o.falsely, o.observed.Minutes(), o.formed.Seconds(), o.back.Seconds())
}

// lan is memberlist's own probe interval.
const lan = time.Second

// equal is the probe interval at which memberlist detects 99 % of the pairs about
// as soon as we do, found by trying.
var equal = map[int]time.Duration{10: 200 * time.Millisecond, 100: 160 * time.Millisecond, 500: 155 * time.Millisecond}

// BenchmarkSideBySide prints both beside each other and fails where a promise is
// not kept: the detection times of budgets, no false death in 10 minutes at 10 %
// loss, no more bytes than memberlist at equal detection, and bytes that do not
// grow with the number of members.
func BenchmarkSideBySide(b *testing.B) {
	idle := map[int]float64{}
	for _, c := range []trial{
		{n: 10, calm: 10 * time.Minute, seeds: 10},
		{n: 10, loss: 0.05, calm: 10 * time.Minute, seeds: 2},
		{n: 10, loss: 0.1, calm: 10 * time.Minute, seeds: 2},
		{n: 10, slow: 150 * time.Millisecond, calm: 10 * time.Minute, seeds: 2},
		{n: 100, calm: time.Minute, seeds: 5},
		{n: 100, loss: 0.05, calm: 2 * time.Minute, seeds: 2},
		{n: 100, loss: 0.1, calm: 10 * time.Minute, seeds: 1},
		{n: 100, slow: 150 * time.Millisecond, calm: 2 * time.Minute, seeds: 1},
		{n: 500, calm: time.Minute, seeds: 1},
		{n: 500, loss: 0.05, calm: time.Minute, seeds: 1},
		{n: 500, loss: 0.1, calm: time.Minute, seeds: 1},
		{n: 500, slow: 150 * time.Millisecond, calm: time.Minute, seeds: 1},
	} {
		b.Run(fmt.Sprintf("n=%d/loss=%g/slow=%v", c.n, c.loss, c.slow), func(b *testing.B) {
			for b.Loop() {
				us := c.ours(b, Config{})
				same := c.theirs(b, equal[c.n])
				b.Logf("\nn=%d, loss %g, slow %v, links 10 ms + 5 ms\n  swim                  %v\n  memberlist at %v   %v", c.n, c.loss, c.slow, &us, equal[c.n], &same)
				if c.loss == 0 && c.slow == 0 {
					wide := c.theirs(b, lan)
					b.Logf("\n  memberlist, LAN       %v", &wide)
					idle[c.n] = us.bytes
					if us.bytes > same.bytes {
						b.Errorf("%.0f B/s, memberlist %.0f", us.bytes, same.bytes)
					}
				}
				if us.falsely > 0 {
					b.Errorf("%d false deaths", us.falsely)
				}
				for _, g := range budgets {
					if c.n == g.n && c.loss == 0 && c.slow == 0 && (quantile(us.dead, .99, us.pairs) > g.p99 || quantile(us.dead, 1, us.pairs) > g.all) {
						b.Errorf("too late for %+v", g)
					}
				}
				b.ReportMetric(float64(quantile(us.dead, .99, us.pairs).Milliseconds()), "dead-p99-ms")
				b.ReportMetric(us.bytes, "B/s")
			}
		})
	}
	if idle[500] > 1.1*idle[100] {
		b.Errorf("%.0f B/s among 100, %.0f among 500", idle[100], idle[500])
	}
}

// TestSideBySide is the comparison in small: at the interval at which memberlist
// detects about as soon, it sends no fewer bytes.
func TestSideBySide(t *testing.T) {
	c := trial{n: 20, calm: 20 * time.Second, seeds: 1}
	us, same := c.ours(t, Config{}), c.theirs(t, equal[100])
	t.Logf("\nswim        %v\nmemberlist  %v", &us, &same)
	if len(us.dead) != us.pairs || len(same.dead) != same.pairs {
		t.Errorf("%d and %d of %d confirmed", len(us.dead), len(same.dead), us.pairs)
	}
	if us.bytes > same.bytes {
		t.Errorf("%.0f B/s, memberlist %.0f", us.bytes, same.bytes)
	}
	if us.falsely > 0 {
		t.Errorf("%d false deaths", us.falsely)
	}
}
