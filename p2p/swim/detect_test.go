package swim

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// detection is what a crash of several members at once looked like.
type detection struct {
	suspect, dead []time.Duration // from the crash, over (crashed, live) pairs, ascending
	pairs         int
}

// crashes crashes k members and watches the others for a while.
func (s *sim) crashes(k int, watch time.Duration) (d detection) {
	down := map[ID]bool{}
	for _, i := range s.rng.Perm(len(s.nodes))[:k] {
		s.crash(i)
		down[s.nodes[i].id] = true
	}
	at := s.now
	s.run(watch)
	for _, n := range s.nodes {
		if !n.up {
			continue
		}
		d.pairs += k
		met := map[Change]bool{}
		for _, e := range n.events {
			if e.at.Before(at) || !down[e.ID] || met[e.Change] {
				continue
			}
			met[e.Change] = true
			switch e.State {
			case Suspect:
				d.suspect = append(d.suspect, e.at.Sub(at))
			case Dead:
				d.dead = append(d.dead, e.at.Sub(at))
			}
		}
	}
	slices.Sort(d.suspect)
	slices.Sort(d.dead)
	return d
}

// quantile is the nearest rank of q in ds, ascending, which ought to be of total.
func quantile(ds []time.Duration, q float64, total int) time.Duration {
	rank := int(q*float64(total)+0.999999) - 1
	if rank >= len(ds) {
		return time.Hour // it never happened
	}
	return ds[rank]
}

// budget is what a detection must reach.
type budget struct {
	n       int
	p99     time.Duration
	all     time.Duration
	crashes int
}

var budgets = []budget{{100, 3 * time.Second, 5 * time.Second, 20}, {500, 4500 * time.Millisecond, 7 * time.Second, 20}}

// TestCrashDetection: a crash of 20 members is confirmed by 99 % of the pairs of
// crashed and live in 3 s among 100, in 4.5 s among 500, and by all in 5 and 7 s.
func TestCrashDetection(t *testing.T) {
	for _, b := range budgets {
		t.Run(fmt.Sprint(b.n), func(t *testing.T) {
			s := newSim(t, 1, Config{}, newLinks(1, 0))
			s.settled(b.n)
			s.run(2 * time.Second)
			d := s.crashes(b.crashes, b.all)
			if len(d.dead) != d.pairs {
				t.Fatalf("confirmed by %d of %d after %v", len(d.dead), d.pairs, b.all)
			}
			if got := quantile(d.dead, 0.99, d.pairs); got > b.p99 {
				t.Errorf("99 %% after %v, want %v", got, b.p99)
			}
			t.Logf("suspect p50 %v, dead p50 %v p99 %v max %v", quantile(d.suspect, .5, d.pairs), quantile(d.dead, .5, d.pairs), quantile(d.dead, .99, d.pairs), quantile(d.dead, 1, d.pairs))
			for _, n := range s.nodes {
				if n.up && n.size() != b.n-b.crashes {
					t.Fatalf("a member counts %d alive, want %d", n.size(), b.n-b.crashes)
				}
			}
		})
	}
}

// TestNoFalseDeaths: at 10 % loss, and with members that take 300 ms more to answer,
// nobody who lives is found dead, though probes fail.
func TestNoFalseDeaths(t *testing.T) {
	s := newSim(t, 3, Config{}, newLinks(3, 0.1))
	s.settled(40)
	for _, n := range s.nodes[:3] {
		n.slow = 150 * time.Millisecond
	}
	s.run(2 * time.Minute)
	failed := uint64(0)
	for _, n := range s.nodes {
		failed += n.Counters().ProbesFailed
	}
	if failed == 0 || s.drop == 0 {
		t.Fatalf("%d probes failed, %d packets lost: nothing was tried", failed, s.drop)
	}
	if n := s.falseDeaths(simStart, nil); n > 0 {
		t.Errorf("%d false deaths", n)
	}
}

// TestSlowObserver: a member that is slow itself kills nobody.
func TestSlowObserver(t *testing.T) {
	s := newSim(t, 4, Config{}, newLinks(4, 0))
	s.settled(30)
	slow := s.nodes[7]
	slow.slow = 200 * time.Millisecond
	s.run(time.Minute)
	if slow.Counters().ProbesFailed+slow.Counters().Suspicions == 0 && slow.rtt < 400*time.Millisecond {
		t.Errorf("it answers in %v and notices nothing: is it slow at all?", slow.rtt)
	}
	if n := s.falseDeaths(simStart, nil); n > 0 {
		t.Errorf("%d false deaths", n)
	}
}

// TestBytesFlat: what a member sends does not grow with their number.
func TestBytesFlat(t *testing.T) {
	rate := map[int]float64{}
	for _, n := range []int{100, 400} {
		s := newSim(t, 5, Config{}, newLinks(5, 0))
		s.settled(n)
		s.run(3 * time.Second)
		sum, at := s.mark()
		s.run(6 * time.Second)
		rate[n] = s.rate(sum, at)
	}
	t.Logf("%.0f B/s among 100, %.0f among 400", rate[100], rate[400])
	if rate[400] > 1.1*rate[100] {
		t.Errorf("%.0f B/s among 100, %.0f among 400", rate[100], rate[400])
	}
}

// TestNewsSpeed: an entry reaches all in O(log N) gossip rounds.
func TestNewsSpeed(t *testing.T) {
	for _, n := range []int{10, 100, 400} {
		s := newSim(t, 6, Config{}, newLinks(6, 0.05))
		s.settled(n)
		s.run(time.Second)
		if err := s.nodes[0].Set(s.now, map[string]string{"zone": "a"}); err != nil {
			t.Fatal(err)
		}
		s.flush(s.nodes[0])
		took := s.until(10*time.Second, func() bool {
			for _, m := range s.nodes[1:] {
				if m.members[s.nodes[0].tag].record.Entries.Get("zone") != "a" {
					return false
				}
			}
			return true
		})
		if limit := time.Duration(5*log10(n)) * s.nodes[0].cfg.GossipInterval; took > limit {
			t.Errorf("%d members: %v, want at most %v", n, took, limit)
		}
	}
}

// TestAggregates: after 2 log2 N rounds every member's count and means are within
// 2 %, and its maxima exact; also when some restart in the midst of it, an epoch
// later, and at 5 % loss in a whole epoch.
func TestAggregates(t *testing.T) {
	for _, c := range []struct {
		n      int
		loss   float64
		rounds int
	}{{100, 0, 14}, {500, 0, 18}, {100, 0.05, 30}} {
		t.Run(fmt.Sprintf("n=%d/loss=%g", c.n, c.loss), func(t *testing.T) {
			cfg, err := Config{ID: "x", Sign: func([]byte) ([]byte, error) { return nil, nil }, Verify: fakeVerify}.fill()
			if err != nil {
				t.Fatal(err)
			}
			// Only the aggregation runs at its usual pace.
			s := newSim(t, 8, Config{ProbeInterval: 10 * time.Second, ReviveInterval: time.Hour}, newLinks(8, c.loss))
			s.settled(c.n)
			var want Aggregate
			for i, n := range s.nodes {
				v := Values{Head: uint64(1000 + i%3), Pool: uint64(i * 10), Load: uint64(500 * (i % 7))}
				n.SetValues(v)
				want.Mean.Head += float64(v.Head) / float64(c.n)
				want.Mean.Pool += float64(v.Pool) / float64(c.n)
				want.Mean.Load += float64(v.Load) / float64(c.n)
				want.Max = Values{max(want.Max.Head, v.Head), max(want.Max.Pool, v.Pool), max(want.Max.Load, v.Load)}
			}
			want.Nodes = float64(c.n)
			length := cfg.AggregateInterval * time.Duration(cfg.EpochRounds)
			next := s.now.Truncate(length).Add(length) // all of them begin here, but for a round
			s.run(next.Sub(s.now) + time.Duration(c.rounds+1)*cfg.AggregateInterval)
			for _, n := range s.nodes {
				within(t, n.round.estimate(), want, 0.02)
			}
		})
	}
}

func within(t *testing.T, got, want Aggregate, share float64) {
	t.Helper()
	for _, v := range [][2]float64{{got.Nodes, want.Nodes}, {got.Mean.Head, want.Mean.Head}, {got.Mean.Pool, want.Mean.Pool}, {got.Mean.Load, want.Mean.Load}} {
		if v[0] < v[1]*(1-share) || v[0] > v[1]*(1+share) {
			t.Fatalf("aggregate %+v, want %+v within %g", got, want, share)
		}
	}
	if got.Max != want.Max {
		t.Fatalf("maxima %+v, want %+v", got.Max, want.Max)
	}
}

// TestAggregatesSurviveRestarts: an epoch in which members crash and come back
// ends, and the next one counts all that are there.
func TestAggregatesSurviveRestarts(t *testing.T) {
	s := newSim(t, 9, Config{}, newLinks(9, 0))
	s.settled(30)
	set := func() {
		for _, n := range s.nodes {
			n.SetValues(Values{Head: 7, Pool: 3, Load: 5})
		}
	}
	set()
	s.run(90 * time.Second) // in the midst of an epoch
	for _, i := range []int{3, 4, 5} {
		s.crash(i)
	}
	s.run(5 * time.Second)
	for _, i := range []int{3, 4, 5} {
		s.boot(s.nodes[i])
		s.sync(s.nodes[i], s.nodes[0])
	}
	set()
	s.run(150 * time.Second) // two more have begun
	for _, n := range s.nodes {
		within(t, n.round.result, Aggregate{Nodes: 30, Mean: Mean{7, 3, 5}, Max: Values{7, 3, 5}}, 0.02)
	}
}
