package link

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/quick"
	"time"
)

// lab drives a Net by its own agenda: time jumps from step to step.
type lab struct {
	*Net
	t    *testing.T
	now  time.Time
	seen func(at time.Duration, e Event)
}

func newLab(t *testing.T, cfg Config) *lab {
	t.Helper()
	start := time.Unix(1_000_000_000, 0)
	n, err := New(cfg, start)
	if err != nil {
		t.Fatal(err)
	}
	return &lab{Net: n, t: t, now: start}
}

func (l *lab) since() time.Duration { return l.now.Sub(l.start) }

// until runs up to the instant end, or until nothing is left if end is negative.
func (l *lab) until(end time.Duration) {
	for {
		at, ok := l.Next()
		if at.Before(l.now) {
			at = l.now
		}
		if !ok || end >= 0 && at.Sub(l.start) > end {
			break
		}
		l.now = at
		for _, e := range l.Advance(at, nil) {
			if e.Kind == Data {
				l.Consumed(l.now, e.Pipe, len(e.Data))
			}
			if l.seen != nil {
				l.seen(l.since(), e)
			}
		}
	}
	if end >= 0 {
		l.now = l.start.Add(end)
	}
	l.conserved()
}

// conserved checks that no byte is made or forgotten.
func (l *lab) conserved() {
	l.t.Helper()
	var c Count
	for i := range l.nodes {
		k := l.Count(i)
		c.Sent, c.Received, c.Lost = c.Sent+k.Sent, c.Received+k.Received, c.Lost+k.Lost
	}
	if flying := l.InFlight(); c.Sent != c.Received+c.Lost+flying {
		l.t.Fatalf("at %s: sent %d, received %d, lost %d, in flight %d", l.since(), c.Sent, c.Received, c.Lost, flying)
	}
}

// arrival sends size bytes over a new connection and returns when all are there.
func (l *lab) arrival(from, to, size int) time.Duration {
	l.t.Helper()
	begin, done, got := l.since(), time.Duration(-1), 0
	c := l.Connect(l.now, from, to)
	p := l.Open(l.now, c, 0, false)
	l.Write(l.now, p, make([]byte, size))
	l.seen = func(at time.Duration, e Event) {
		if e.Pipe == p && e.Kind == Data {
			if got += len(e.Data); got == size {
				done = at - begin
			}
		}
	}
	l.until(-1)
	if done < 0 {
		l.t.Fatalf("%d of %d bytes came", got, size)
	}
	return done
}

func exact(t *testing.T, delay string) *Table {
	t.Helper()
	table, err := ParseLatency(delay)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func pair(t *testing.T, delay string, up, down Rate) Config {
	return Config{Nodes: []Node{{Up: up, Down: up}, {Up: down, Down: down}}, Table: exact(t, delay), Window: NoWindow, Seed: 1}
}

func near(t *testing.T, what string, got, want time.Duration, share float64) {
	t.Helper()
	if math.Abs(got.Seconds()/want.Seconds()-1) > share {
		t.Errorf("%s = %s, want %s within %.3g%%", what, got, want, 100*share)
	}
}

func TestTwoNodes(t *testing.T) {
	for _, c := range []struct {
		up, down Rate
		size     int
	}{
		{50 * Mbit, 50 * Mbit, 128 << 10}, {50 * Mbit, 50 * Mbit, 1 << 20}, {50 * Mbit, 50 * Mbit, 1000}, {10 * Mbit, 100 * Mbit, 1 << 20},
		{100 * Mbit, 10 * Mbit, 1 << 20}, {0, 0, 1 << 20}, {1 * Mbit, 0, 128 << 10}, {1 * Gbit, 100 * Kbit, 64 << 10},
	} {
		l := newLab(t, pair(t, "uniform:50ms:0s", c.up, c.down))
		slow := c.up
		if c.down > 0 && (slow == 0 || c.down < slow) {
			slow = c.down
		}
		want := 50*time.Millisecond + slow.Time(c.size)
		got := l.arrival(0, 1, c.size)
		near(t, c.up.String()+" to "+c.down.String(), got, want, 0.01)
	}
}

func TestWindowStartUp(t *testing.T) {
	cfg := pair(t, "uniform:50ms:0s", 0, 0)
	cfg.Window = 10 * PacketBytes
	l := newLab(t, cfg)
	// 10 + 20 + 40 + 30 packets: three round trips, and the way of the last.
	near(t, "100 packets from a window of 10", l.arrival(0, 1, 100*PacketBytes), 350*time.Millisecond, 0.001)

	// A window that is never full does not grow.
	c := l.Connect(l.now, 0, 1)
	p := l.Open(l.now, c, 0, false)
	for range 100 {
		l.Write(l.now, p, make([]byte, 1000))
		l.until(l.since() + 200*time.Millisecond)
	}
	if w := p.flow.window; w.size != cfg.Window || w.flight != 0 {
		t.Fatalf("window after trickling = %+v, want the size it began with", w)
	}
}

func TestUplinkIsSharedFairly(t *testing.T) {
	cfg := Config{Nodes: make([]Node, 5), Table: exact(t, "uniform:10ms:0s"), Window: NoWindow}
	cfg.Nodes[0].Up = 40 * Mbit
	l := newLab(t, cfg)
	const size = 1 << 20
	got, done := map[*Pipe]int{}, []time.Duration{}
	l.seen = func(at time.Duration, e Event) {
		if e.Kind == Data {
			if got[e.Pipe] += len(e.Data); got[e.Pipe] == size {
				done = append(done, at)
			}
		}
	}
	for to := 1; to < 5; to++ {
		p := l.Open(l.now, l.Connect(l.now, 0, to), 0, false)
		for i := range size / 1024 { // one peer's many small writes weigh as much as another's large one
			if to > 1 {
				l.Write(l.now, p, make([]byte, size))
				break
			}
			l.Write(l.now, p, make([]byte, 1024))
			_ = i
		}
	}
	l.until(400 * time.Millisecond)
	for p, n := range got {
		near(t, "share of node "+string(rune('0'+p.flow.to)), time.Duration(n), time.Duration(40e6/8*0.39/4), 0.02)
	}
	l.until(-1)
	if len(done) != 4 {
		t.Fatalf("%d of 4 arrived", len(done))
	}
	near(t, "first", done[0], 10*time.Millisecond+(40*Mbit).Time(4*size), 0.02)
	near(t, "last", done[3], 10*time.Millisecond+(40*Mbit).Time(4*size), 0.01)
}

func TestDownlink(t *testing.T) {
	for _, fair := range []bool{false, true} {
		cfg := Config{Nodes: make([]Node, 4), Table: exact(t, "uniform:10ms:0s"), Window: NoWindow, FairDown: fair}
		cfg.Nodes[0].Down = 20 * Mbit
		for i := 1; i < 4; i++ {
			cfg.Nodes[i].Up = 10 * Mbit // together more than the downlink, each alone less
		}
		l := newLab(t, cfg)
		const size = 512 << 10
		got, done := map[*Pipe]int{}, []time.Duration{}
		l.seen = func(at time.Duration, e Event) {
			if e.Kind == Data {
				if got[e.Pipe] += len(e.Data); got[e.Pipe] == size {
					done = append(done, at)
				}
			}
		}
		for from := 1; from < 4; from++ {
			l.Write(l.now, l.Open(l.now, l.Connect(l.now, from, 0), 0, false), make([]byte, size))
		}
		l.until(-1)
		near(t, "three into one", slices.Max(done), 10*time.Millisecond+(20*Mbit).Time(3*size), 0.02)
		near(t, "first of three", slices.Min(done), 10*time.Millisecond+(20*Mbit).Time(3*size), 0.05)

		done = nil // two slow senders leave room for each other
		began := l.since()
		clear(got)
		for from := 1; from < 3; from++ {
			l.Write(l.now, l.Open(l.now, l.Connect(l.now, from, 0), 0, false), make([]byte, size))
		}
		l.until(-1)
		near(t, "two into one", slices.Max(done)-began, 10*time.Millisecond+(10*Mbit).Time(size), 0.02)
	}
}

func TestSmallMessageBehindLarge(t *testing.T) {
	l := newLab(t, pair(t, "uniform:5ms:0s", 50*Mbit, 0))
	c := l.Connect(l.now, 0, 1)
	large, small := l.Open(l.now, c, 0, false), l.Open(l.now, c, 0, true)
	l.Write(l.now, large, make([]byte, 4<<20))
	l.Write(l.now, small, make([]byte, 100))
	var at time.Duration
	l.seen = func(now time.Duration, e Event) {
		if e.Pipe == small && e.Kind == Data {
			at = now
		}
	}
	l.until(-1)
	if at > 15*time.Millisecond {
		t.Fatalf("a small message on its own stream took %s, want two turns and the delay", at)
	}
}

func TestMarks(t *testing.T) {
	l := newLab(t, pair(t, "uniform:5ms:0s", 10*Mbit, 10*Mbit))
	var kinds []Kind
	l.seen = func(_ time.Duration, e Event) { kinds = append(kinds, e.Kind) }
	c := l.Connect(l.now, 0, 1)
	p := l.Open(l.now, c, 0, true)
	l.Write(l.now, p, make([]byte, 10))
	l.Finish(l.now, p)
	l.Write(l.now, p, make([]byte, 10)) // after the end: not sent
	l.until(-1)
	if want := []Kind{Opened, Data, Finished}; !slices.Equal(kinds, want) {
		t.Fatalf("events %v, want %v", kinds, want)
	}
	if got := l.Count(0).Sent; got != 10+2*FrameBytes {
		t.Fatalf("sent %d bytes, want 10 and two marks", got)
	}

	kinds = nil
	q := l.Open(l.now, c, 1, true)
	l.Write(l.now, q, make([]byte, 1<<20))
	l.until(l.since() + 100*time.Millisecond)
	l.Abort(l.now, q, 7)
	l.until(-1)
	if kinds[len(kinds)-1] != Aborted || l.Count(1).Sent > 200<<10 {
		t.Fatalf("events end with %v after %d bytes, want a reset after about 125,000", kinds[len(kinds)-1], l.Count(1).Sent)
	}

	kinds = nil
	l.Write(l.now, l.Open(l.now, c, 1, true), make([]byte, 1<<20))
	l.Close(l.now, c, 0, 3)
	l.until(-1)
	if !slices.Equal(kinds, []Kind{Closed}) || len(l.conns) != 0 {
		t.Fatalf("events %v and %d connections left, want Closed at the other end only", kinds, len(l.conns))
	}
}

func TestSendBufferAndCredit(t *testing.T) {
	cfg := pair(t, "uniform:5ms:0s", 10*Mbit, 0)
	cfg.RecvWindow = 1 << 20
	l := newLab(t, cfg)
	c := l.Connect(l.now, 0, 1)
	p := l.Open(l.now, c, 0, false)
	l.Write(l.now, p, make([]byte, 300<<10))
	l.WantRoom(p)
	var room time.Duration
	l.seen = func(at time.Duration, e Event) {
		if e.Kind == Room {
			room = at
		}
	}
	l.until(100 * time.Millisecond)
	unsent := l.Unsent(p)
	if unsent == 0 || l.TakeBack(p, 1000) != 1000 || l.Unsent(p) != unsent-1000 {
		t.Fatalf("unsent %d, then %d after 1000 were taken back", unsent, l.Unsent(p))
	}
	l.until(-1)
	near(t, "room", room, (10 * Mbit).Time(300<<10-64<<10-1000), 0.07)

	// A reader that does not read stops the writer at the receive window.
	q := l.Open(l.now, c, 0, false)
	sent := l.Count(0).Sent
	l.Write(l.now, q, make([]byte, 4<<20))
	for {
		at, ok := l.Next()
		if !ok {
			break
		}
		l.now = at
		l.Advance(at, nil)
	}
	if got := l.Count(0).Sent - sent; got != 1<<20 {
		t.Fatalf("sent %d bytes to one who does not read, want the window of %d", got, 1<<20)
	}
	l.Consumed(l.now, q, 1<<20)
	l.until(-1)
	if got := l.Count(0).Sent - sent; got != 4<<20 {
		t.Fatalf("sent %d bytes in the end", got)
	}
}

func TestJitter(t *testing.T) {
	cfg := pair(t, "uniform:50ms:4ms", 0, 0)
	l := newLab(t, cfg)
	p := l.Open(l.now, l.Connect(l.now, 0, 1), 0, false)
	var took []time.Duration
	var began time.Duration
	l.seen = func(at time.Duration, e Event) { took = append(took, at-began) }
	for range 4000 {
		began = l.since()
		l.Write(l.now, p, []byte{1})
		l.until(-1)
	}
	slices.Sort(took)
	path := l.links.Path(0, 1)
	near(t, "median", took[2000], 50*time.Millisecond, 0.005)
	near(t, "p90 - p50", took[3600]-took[2000], 4*time.Millisecond, 0.1)
	near(t, "smallest", took[0], path.Min, 0.001)
	// The whole distribution: the largest distance from the exponential's.
	worst := 0.0
	for i, d := range took {
		f := 1 - math.Exp(-(d-path.Min).Seconds()/path.Jitter.Seconds())
		worst = max(worst, math.Abs(f-float64(i)/4000))
	}
	if worst > 0.03 {
		t.Fatalf("Kolmogorov distance %.3f from the stated distribution, want below 0.03", worst)
	}
}

func TestDrops(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, loss := range []float64{0, 0.001, 0.05, 0.5, 1} {
		p, lost, total := Path{Loss: loss}, 0, 0
		for range 20000 {
			last := -1
			p.Drops(rng, 12, func(i int) {
				if i <= last || i >= 12 {
					t.Fatalf("packet %d after %d", i, last)
				}
				last = i
				lost++
			})
			total += 12
		}
		if got := float64(lost) / float64(total); math.Abs(got-loss) > 0.003 {
			t.Errorf("loss %g: %g of packets lost", loss, got)
		}
	}
}

func TestReorderIsLate(t *testing.T) {
	cfg := pair(t, "uniform:10ms:0s", 0, 0)
	cfg.Reorder, cfg.ReorderBy = 0.3, 7*time.Millisecond
	l := newLab(t, cfg)
	late := 0
	for range 1000 {
		if l.arrival(0, 1, 1000).Round(time.Microsecond) == 17*time.Millisecond {
			late++
		}
	}
	if late < 250 || late > 350 {
		t.Fatalf("%d of 1000 packets were overtaken, want about 300", late)
	}
}

// TestConservation sends at random over random networks and counts every byte.
func TestConservation(t *testing.T) {
	check := func(seed uint64) bool {
		rng := rand.New(rand.NewPCG(seed, 5))
		nodes := make([]Node, 4)
		for i := range nodes {
			nodes[i] = Node{Up: Rate(rng.IntN(20)) * Mbit, Down: Rate(rng.IntN(20)) * Mbit}
		}
		cfg := Config{
			Nodes: nodes, Table: exact(t, "uniform:5ms-40ms"), Seed: seed, Loss: 0.1 * rng.Float64(), LossCC: Reaction(rng.IntN(2)),
			FairDown: rng.IntN(2) == 0, Reorder: 0.1, Window: []int{0, NoWindow}[rng.IntN(2)], DeadAfter: time.Hour,
			Schedule: []Timed{{200 * time.Millisecond, Partition{[][]int{{0, 1}}}}, {900 * time.Millisecond, Heal{}}, {time.Second, Rates{nil, 10 * Mbit, 0}}},
		}
		l := newLab(t, cfg)
		want, got := map[*Pipe]int{}, map[*Pipe]int{}
		l.seen = func(_ time.Duration, e Event) { got[e.Pipe] += len(e.Data) }
		for range 6 {
			from := rng.IntN(4)
			c := l.Connect(l.now, from, (from+1+rng.IntN(3))%4)
			for range 3 {
				p := l.Open(l.now, c, rng.IntN(2), true)
				want[p] = 1 + rng.IntN(200<<10)
				l.Write(l.now, p, make([]byte, want[p]))
				l.until(l.since() + time.Duration(rng.IntN(50))*time.Millisecond)
			}
		}
		l.until(-1)
		for p := range want {
			if got[p] != want[p] {
				t.Errorf("seed %d: %d of %d bytes came", seed, got[p], want[p])
			}
		}
		return l.InFlight() == 0
	}
	if err := quick.Check(check, &quick.Config{MaxCount: 60}); err != nil {
		t.Fatal(err)
	}
}

func TestSameSeedSameRun(t *testing.T) {
	run := func(seed uint64) (d []time.Duration) {
		cfg := pair(t, "world", 20*Mbit, 20*Mbit)
		cfg.Loss, cfg.Seed = 0.02, seed
		l := newLab(t, cfg)
		for range 5 {
			d = append(d, l.arrival(0, 1, 200<<10))
		}
		return d
	}
	if a, b, c := run(1), run(1), run(2); !slices.Equal(a, b) || slices.Equal(a, c) {
		t.Fatalf("seed 1: %v and %v; seed 2: %v", a, b, c)
	}
}
