package link

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWindow(t *testing.T) {
	const p = PacketBytes
	w := NewWindow(10*p, Reno)
	full := func(at int64) { w.Sent(w.Room()); w.Acked(at, p) }
	for at := range int64(10) {
		full(at)
	}
	if w.size != 20*p {
		t.Fatalf("size after ten acknowledgements = %d packets, want 20: slow start", w.size/p)
	}
	w.Lost(100, 50, p, false)
	if w.size != 10*p || w.threshold != 10*p {
		t.Fatalf("size after a loss = %d packets, want half", w.size/p)
	}
	w.Lost(101, 99, p, false)
	w.Acked(99, p)
	if w.size != 10*p {
		t.Fatalf("size after a second loss of the same event = %d packets, want no change", w.size/p)
	}
	for range 10 {
		full(200)
	}
	if w.size < 10*p+9*p/10 || w.size > 11*p {
		t.Fatalf("size after a window of acknowledgements = %d bytes, want about one packet more", w.size)
	}
	w.Lost(300, 250, p, true)
	w.Lost(301, 250, p, true)
	if w.size != 5*p && w.size != 5*p+p/2 && w.timeouts != 1 {
		t.Fatalf("size after one timeout of two packets = %d, %d timeouts", w.size, w.timeouts)
	}
	w.Lost(900, 350, p, true)
	if w.size != minWindow {
		t.Fatalf("size after the second timeout in a row = %d, want %d", w.size, minWindow)
	}

	w = NewWindow(NoWindow, Reno)
	w.Sent(100 * p)
	if w.Room() < 1<<30 {
		t.Fatalf("an open window holds back: room %d", w.Room())
	}
	w.Lost(1, 0, p, false)
	if w.Open() || w.size != 50*p {
		t.Fatalf("after its first loss: %+v, want half the flight", w)
	}
	w = NewWindow(4*p, None)
	w.Sent(4 * p)
	w.Lost(1, 0, p, true)
	if w.size != 4*p || w.Room() != p {
		t.Fatalf("reaction none: %+v, want the size kept", w)
	}
}

// TestLossOfOnePacket: a message of one packet has nothing behind it that could
// show its loss.
func TestLossOfOnePacket(t *testing.T) {
	const loss, rounds = 0.2, 4000
	for _, c := range []struct {
		cc   Reaction
		wait func(losses int) time.Duration // from leaving to leaving again
	}{
		{None, func(int) time.Duration { return 40 * time.Millisecond }},
		{Reno, func(n int) time.Duration { return 200 * time.Millisecond << n }},
	} {
		cfg := pair(t, "uniform:20ms:0s", 0, 0)
		cfg.Loss, cfg.LossCC = loss, c.cc
		l := newLab(t, cfg)
		var counts [4]int
		for range rounds {
			took := (l.arrival(0, 1, 1000) - 20*time.Millisecond).Round(time.Microsecond)
			n := 0
			for n < len(counts)-1 && took > 0 {
				took -= c.wait(n)
				n++
			}
			if took != 0 && n < len(counts)-1 {
				t.Fatalf("%s: a latency that is no sum of timeouts: %s over", c.cc, took)
			}
			counts[n]++
		}
		for n := range 3 {
			want := rounds * math.Pow(loss, float64(n)) * (1 - loss)
			if math.Abs(float64(counts[n])-want) > 4*math.Sqrt(want) {
				t.Errorf("%s: %d messages were lost %d times, want about %.0f", c.cc, counts[n], n, want)
			}
		}
	}
}

// TestDatagrams: each arrives whole or not at all, at the rate, in order.
func TestDatagrams(t *testing.T) {
	cfg := pair(t, "uniform:20ms", 8*Mbit, 0)
	cfg.Loss = 0.1
	l := newLab(t, cfg)
	var tags []int
	var last time.Duration
	left := 0
	l.seen = func(at time.Duration, e Event) {
		if e.Kind == Left {
			left++
			near(t, "leaving", at, (8*Mbit).Time(e.Tag.(int)*1452)+time.Nanosecond, 0.001)
			return
		}
		tags, last = append(tags, e.Tag.(int)), at
	}
	for i := range 2000 {
		l.Datagram(l.now, 0, 1, 1452, i, i%100 == 0)
	}
	l.until(-1)
	if got := len(tags); got < 1740 || got > 1860 {
		t.Errorf("%d of 2000 arrived, want about 1800", got)
	}
	if left != 20 {
		t.Errorf("%d of 20 told that they left", left)
	}
	if !slices.IsSorted(tags) {
		t.Error("out of order, though nothing reorders")
	}
	near(t, "the last", last, 20*time.Millisecond+(8*Mbit).Time(2000*1452), 0.01)
	if got, want := l.Count(1).Received, uint64(1452*len(tags)); got != want {
		t.Errorf("received %d bytes, want %d", got, want)
	}
}

// TestThroughputUnderLoss: reno's follows Mathis et al. (1997), that of none
// only sends more.
func TestThroughputUnderLoss(t *testing.T) {
	const loss, size = 0.01, 8 << 20
	cfg := pair(t, "uniform:25ms:0s", 50*Mbit, 50*Mbit)
	cfg.Loss, cfg.LossCC = loss, None
	l := newLab(t, cfg)
	near(t, "none", l.arrival(0, 1, size), 50*time.Millisecond+(50*Mbit).Time(size)*101/100, 0.05)
	if c := l.Count(0); c.Resent != c.Lost || math.Abs(float64(c.Lost)/size-loss/(1-loss)) > 0.0035 {
		t.Errorf("none: %+v, want each loss sent again once", c)
	}

	cfg.LossCC, cfg.Window = Reno, 0
	l = newLab(t, cfg)
	rate := float64(PacketBytes) / 0.050 * math.Sqrt(1.5/loss) // bytes a second
	near(t, "reno", l.arrival(0, 1, size), time.Duration(size/rate*1e9), 0.25)
}

func TestPartitionAndHeal(t *testing.T) {
	for _, cc := range []Reaction{Reno, None} {
		cfg := pair(t, "uniform:50ms:0s", 50*Mbit, 50*Mbit)
		cfg.LossCC = cc
		cfg.Schedule = []Timed{{time.Second, Partition{[][]int{{0}, {1}}}}, {4 * time.Second, Heal{}}}
		l := newLab(t, cfg)
		var came []time.Duration
		l.seen = func(at time.Duration, e Event) {
			if e.Kind == Data || e.Kind == Packet {
				came = append(came, at)
			}
		}
		c := l.Connect(l.now, 0, 1)
		p := l.Open(l.now, c, 0, false)
		l.until(980 * time.Millisecond)
		l.Write(l.now, p, []byte("under way when the path is cut"))
		l.until(1500 * time.Millisecond)
		l.Write(l.now, p, []byte("sent into the cut"))
		l.Datagram(l.now, 0, 1, 100, "gone", false)
		l.until(-1)
		// Reno probes 0.2, 0.6, 1.4 and 3 s after it met the cut at 1.03 s, none every 0.2 s.
		if len(came) != 2 {
			t.Fatalf("%s: arrivals at %v, want two", cc, came)
		}
		for _, at := range came {
			near(t, cc.String()+" finds the path open at 4.03 s and", at, 4080*time.Millisecond, 0.001)
		}
		if k := l.Count(0); k.Lost == 0 || k.Sent != k.Lost+l.Count(1).Received {
			t.Errorf("%s: %+v after the cut", cc, k)
		}
	}
}

func TestCutForTooLong(t *testing.T) {
	cfg := pair(t, "uniform:50ms:0s", 0, 0)
	cfg.DeadAfter = 10 * time.Second
	l := newLab(t, cfg)
	var ends []Event
	var when []time.Duration
	l.seen = func(at time.Duration, e Event) {
		if e.Kind == Closed {
			ends, when = append(ends, e), append(when, at)
		}
	}
	idle, closed := l.Connect(l.now, 0, 1), l.Connect(l.now, 1, 0)
	if err := l.Apply(l.now, Partition{[][]int{{1}}}); err != nil {
		t.Fatal(err)
	}
	l.until(3 * time.Second)
	l.Close(l.now, closed, 1, 5) // node 0's end; node 1 cannot be told
	l.until(4 * time.Second)
	if err := l.Apply(l.now, Heal{}); err != nil {
		t.Fatal(err)
	}
	l.until(6 * time.Second)
	if len(ends) != 1 || ends[0].Conn != closed || ends[0].Side != 0 || ends[0].Code != 5 {
		t.Fatalf("after a short cut: %v, want only the closed one to have ended, told late", ends)
	}
	if err := l.Apply(l.now, Partition{[][]int{{1}}}); err != nil {
		t.Fatal(err)
	}
	l.until(-1)
	if len(ends) != 3 || ends[1].Conn != idle || ends[1].Code != CodeTimeout || when[1] != 16*time.Second {
		t.Fatalf("after a long cut: %v at %v, want both ends of the idle one closed at 16 s", ends, when)
	}
}

func TestSchedule(t *testing.T) {
	cfg := pair(t, "uniform:10ms:0s", 8*Mbit, 0)
	cfg.Schedule = []Timed{
		{1 * time.Second, Slow{A: []int{1}, Add: 30 * time.Millisecond}},
		{2 * time.Second, Rates{Nodes: []int{0}, Up: 80 * Mbit}},
		{3 * time.Second, Slow{}},
		{4 * time.Second, Lossy{Loss: 0.5}},
		{4 * time.Second, Slow{Add: time.Second}},
		{5 * time.Second, Restore{A: []int{0}, B: []int{1}}},
	}
	l := newLab(t, cfg)
	own := l.links.Path(0, 1)
	for i, want := range []time.Duration{20, 50, 41, 11} { // ms for 10,000 bytes
		l.until(time.Duration(i)*time.Second + time.Millisecond)
		p := l.Open(l.now, l.Connect(l.now, 0, 1), 0, false)
		began := l.since()
		l.Write(l.now, p, make([]byte, 10_000))
		var last time.Duration
		l.seen = func(at time.Duration, e Event) { last = at - began }
		l.until(l.since() + 500*time.Millisecond)
		near(t, "phase "+string(rune('0'+i)), last, want*time.Millisecond, 0.001)
	}
	l.until(4 * time.Second)
	if got := l.links.Path(0, 1).Loss; got != 0.5 {
		t.Fatalf("loss at 4 s = %g", got)
	}
	if l.until(5 * time.Second); l.links.Path(0, 1) != own || l.links.Path(1, 0) != own {
		t.Fatalf("path at the end = %+v, want %+v as at first", l.links.Path(0, 1), own)
	}
}

func TestBadNetworks(t *testing.T) {
	good := func() Config { return Config{Nodes: make([]Node, 3)} }
	for want, spoil := range map[string]func(*Config){
		"Nodes":        func(c *Config) { c.Nodes = nil },
		"Loss":         func(c *Config) { c.Loss = 1 },
		"Window":       func(c *Config) { c.Window = 7 },
		"node 1":       func(c *Config) { c.Nodes[1].Region = 1 },
		"order":        func(c *Config) { c.Schedule = []Timed{{2, Heal{}}, {1, Heal{}}} },
		"in two group": func(c *Config) { c.Schedule = []Timed{{1, Partition{[][]int{{0, 1}, {1}}}}} },
		"node 9":       func(c *Config) { c.Schedule = []Timed{{1, Partition{[][]int{{9}}}}} },
		"use a partit": func(c *Config) { c.Schedule = []Timed{{1, Lossy{Loss: 1}}} },
		"a delay of":   func(c *Config) { c.Schedule = []Timed{{1, Slow{Add: -1}}} },
		"rates of":     func(c *Config) { c.Schedule = []Timed{{1, Rates{Up: -1}}} },
		"Reorder":      func(c *Config) { c.Reorder = 2 },
		"RecvWindow":   func(c *Config) { c.RecvWindow = 10 },
	} {
		cfg := good()
		spoil(&cfg)
		if _, err := NewLinks(cfg); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("NewLinks = %v, want %q", err, want)
		}
	}
	l, err := NewLinks(good())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Apply(Slow{A: []int{3}}); !errors.Is(err, ErrConfig) {
		t.Errorf("Apply to a node that is not there = %v", err)
	}
	if err := l.Apply(Partition{[][]int{{0}, {1, 2}}}); err != nil || !l.Path(0, 1).Cut || l.Path(1, 2).Cut || l.Path(0, 0).Cut {
		t.Errorf("after a partition: %v, %+v", err, l.Path(0, 1))
	}
	if r, err := ParseReaction("none"); err != nil || r != None {
		t.Errorf("ParseReaction(none) = %v, %v", r, err)
	}
	if _, err := ParseReaction("cubic"); err == nil {
		t.Error("ParseReaction(cubic) passed")
	}
}

func TestFifo(t *testing.T) {
	var q fifo[int]
	var model []int
	for i := range 5000 {
		switch {
		case i%7 < 4 || len(model) == 0:
			q.push(i)
			model = append(model, i)
		case i%7 == 6:
			if got := q.popLast(); got != model[len(model)-1] {
				t.Fatalf("popLast() = %d, want %d", got, model[len(model)-1])
			}
			model = model[:len(model)-1]
		default:
			if got := q.pop(); got != model[0] {
				t.Fatalf("pop() = %d, want %d", got, model[0])
			}
			model = slices.Clone(model[1:])
		}
		if i > 2500 && len(model) > 0 {
			q.pop()
			model = model[1:]
		}
		if q.len() != len(model) || q.len() > 0 && (*q.first() != model[0] || *q.last() != model[len(model)-1]) {
			t.Fatalf("length %d, want %d", q.len(), len(model))
		}
	}
}
