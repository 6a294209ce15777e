package relay

import (
	"math/rand/v2"
	"testing"
	"time"
)

// path carries datagrams for a pace: each chunk is lost at random, or when the queue of a
// bottleneck is full.
type path struct {
	rtt   time.Duration
	loss  float64 // of chunks
	rate  float64 // bytes a second of the bottleneck; 0: none
	queue float64 // seconds of it
	busy  time.Time
	rng   *rand.Rand
}

// carry returns when a chunk sent now is acknowledged; false: never.
func (x *path) carry(now time.Time, bytes int) (time.Time, bool) {
	if x.rng.Float64() < x.loss {
		return time.Time{}, false
	}
	if x.rate == 0 {
		return now.Add(x.rtt), true
	}
	if x.busy.Before(now) {
		x.busy = now
	}
	if x.busy.Sub(now).Seconds() > x.queue {
		return time.Time{}, false
	}
	x.busy = x.busy.Add(time.Duration(float64(bytes) / x.rate * 1e9))
	return x.busy.Add(x.rtt), true
}

// drive sends as much as a pace lets through for d, from now on, and returns the bytes
// sent and those acknowledged.
func (x *path) drive(p *pace, now time.Time, d time.Duration) (end time.Time, sent, acked int) {
	const bytes = 4 << 10
	answers := map[int]time.Time{}
	post := &lane{send: func([]byte) {}}
	chunk := int(now.UnixMilli()) << 20
	for end = now.Add(d); now.Before(end); now = now.Add(time.Millisecond) {
		for _, f := range append([]flying(nil), p.flight...) {
			if at, ok := answers[f.chunk]; ok && !now.Before(at) {
				n, _ := p.acked(now, tag{}, f.chunk)
				acked += n
			}
		}
		p.lose(now)
		for p.room() {
			chunk++
			if at, ok := x.carry(now, bytes); ok {
				answers[chunk] = at
			}
			p.sent(flying{chunk: chunk, bytes: bytes, lane: post, datagram: true, at: now})
			sent += bytes
		}
	}
	return end, sent, acked
}

// TestRandomLoss: losses that no queue explains do not close the window, and nearly each
// of them is noticed.
func TestRandomLoss(t *testing.T) {
	for _, loss := range []float64{0.04, 0.2} { // of chunks, as 1 and 5.4 % of packets make it
		cfg := Config{}.fill()
		p := newPace(&cfg)
		x := &path{rtt: 100 * time.Millisecond, loss: loss, rate: 1e6, queue: 0.2, rng: rand.New(rand.NewPCG(1, 2))}
		end, _, _ := x.drive(&p, time.Unix(0, 0), 5*time.Second)
		before := p.limit()
		_, sent, acked := x.drive(&p, end, 5*time.Second)
		t.Logf("loss %g: window %.0f, then %.0f, %d sent, %d acknowledged", loss, before, p.limit(), sent, acked)
		if float64(acked) < 0.9*(1-loss)*5*x.rate || p.limit() < before/2 {
			t.Errorf("loss %g: the window went from %.0f to %.0f, %d came through", loss, before, p.limit(), acked)
		}
		if share := p.drops.share(); share < loss/2 || share > 2*loss || p.closed(end.Add(time.Hour)) {
			t.Errorf("loss %g: taken for %g, %d in vain", loss, p.drops.share(), p.drops.vain)
		}
	}
}

// TestQueueLoss: where a bottleneck drops what it cannot carry no more is under way than
// it carries in a round trip and a little, nor does it stay idle.
func TestQueueLoss(t *testing.T) {
	cfg := Config{}.fill()
	p := newPace(&cfg)
	x := &path{rtt: 100 * time.Millisecond, rate: 500e3, queue: 0.05, rng: rand.New(rand.NewPCG(1, 2))}
	end, _, _ := x.drive(&p, time.Unix(0, 0), 5*time.Second)
	_, sent, acked := x.drive(&p, end, 10*time.Second)
	t.Logf("of %.0f bytes a second %d are sent and %d acknowledged; window %.0f", x.rate, sent/10, acked/10, p.limit())
	if float64(acked) < 0.8*10*x.rate || float64(sent) > 1.65*10*x.rate {
		t.Errorf("in 10 s a path of %.0f bytes a second was sent %d and carried %d", x.rate, sent, acked)
	}
}

// TestLateAcknowledgement: a chunk that was taken for lost and sent again tells no round trip: its acknowledgement may be
// the first one's.
func TestLateAcknowledgement(t *testing.T) {
	cfg := Config{}.fill()
	p := newPace(&cfg)
	s := newSwarm(4, 6, 3, 0)
	for i := range 6 {
		s.add(i, 0)
	}
	now := time.Unix(0, 0)
	send := func() int {
		c, again := s.choose(7)
		if !again {
			t.Fatal("nothing to send")
		}
		again = s.give(7, c)
		p.sent(flying{chunk: c, bytes: 1000, datagram: true, again: again, at: now})
		return c
	}
	c := send()
	p.acked(now.Add(100*time.Millisecond), tag{}, c)
	s.heard(7, c)
	late := send()
	now = now.Add(time.Second) // on a path that has become slow
	if lost := p.lose(now); len(lost) != 1 || !s.retract(7, late) {
		t.Fatalf("%d taken for lost", len(lost))
	}
	for send() != late {
	}
	if n, _ := p.acked(now.Add(time.Millisecond), tag{}, late); n != 1000 {
		t.Fatalf("%d bytes acknowledged", n)
	}
	if p.rtt() != 100*time.Millisecond || p.drops.trip != 100*time.Millisecond {
		t.Errorf("a round trip of %v, smoothed %v", p.rtt(), p.drops.trip)
	}
}

// TestClosedPath: where no datagram arrives that is known after some round trips, and
// not before, however many are lost at once.
func TestClosedPath(t *testing.T) {
	cfg := Config{}.fill()
	p := newPace(&cfg)
	x := &path{rtt: 100 * time.Millisecond, rng: rand.New(rand.NewPCG(1, 2))}
	now, _, _ := x.drive(&p, time.Unix(0, 0), time.Second)
	for len(p.flight) > 0 {
		p.acked(now, tag{}, p.flight[0].chunk)
	}
	now = now.Add(time.Minute) // nothing to send
	x.loss = 1
	closed, _, _ := x.drive(&p, now, 2*x.rtt)
	if closed, _, _ = x.drive(&p, closed, 3*x.rtt/2); p.drops.vain < maxVain {
		t.Fatalf("only %d in vain", p.drops.vain)
	}
	if p.closed(closed) {
		t.Error("given up after three and a half round trips")
	}
	if closed, _, _ = x.drive(&p, closed, time.Second); !p.closed(closed) {
		t.Errorf("not given up after a second: %d in vain, %d under way", p.drops.vain, len(p.flight))
	}
}

// TestHeld: a chunk behind a lost packet is told from one that waits in our uplink like
// all others.
func TestHeld(t *testing.T) {
	cfg := Config{}.fill()
	p := newPace(&cfg)
	var q queue
	stream := &lane{}
	now := time.Unix(0, 0)
	trip := func(d time.Duration) {
		p.sent(flying{chunk: 1, bytes: 1, lane: stream, at: now})
		now = now.Add(d)
		_, over := p.acked(now, tag{}, 1)
		q.note(over)
	}
	trip(100 * time.Millisecond)
	p.sent(flying{chunk: 2, bytes: 1, lane: stream, at: now})
	if p.held(now.Add(190*time.Millisecond), q.wait()) || !p.held(now.Add(210*time.Millisecond), q.wait()) {
		t.Error("without a queue a chunk is held up after twice the round trip")
	}
	for range len(q.over) {
		p.flight = nil
		trip(300 * time.Millisecond)
	}
	p.sent(flying{chunk: 2, bytes: 1, lane: stream, at: now})
	if p.held(now.Add(590*time.Millisecond), q.wait()) || !p.held(now.Add(610*time.Millisecond), q.wait()) {
		t.Errorf("where all wait %v a chunk is held up after twice that and the round trip", q.wait())
	}
	stream.acked = now.Add(600 * time.Millisecond)
	if p.held(now.Add(610*time.Millisecond), q.wait()) {
		t.Error("a chunk is held up on a stream that moves")
	}
	p.flight[0].datagram = true
	if p.held(now.Add(time.Hour), 0) {
		t.Error("a chunk in a datagram is held up by nothing")
	}
}
