package relay

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestShape(t *testing.T) {
	for _, c := range []struct{ size, chunk, data, parity int }{
		{1, 64, 1, 1}, {4096, 4096, 1, 1}, {4097, 2112, 2, 1}, {128 << 10, 4 << 10, 32, 16}, {1 << 20, 4 << 10, 256, 128}, {2 << 20, 8 << 10, 256, 128}, {4 << 20, 16 << 10, 256, 128},
	} {
		if s := shapeOf(c.size); s.chunk != c.chunk || s.data != c.data || s.parity != c.parity {
			t.Errorf("shapeOf(%d) = %+v, want %+v", c.size, s, c)
		}
	}
}

// TestCoding: any data chunks give the list back, one fewer do not.
func TestCoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := make([]byte, rapid.IntRange(1, 1200<<10).Draw(t, "size"))
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		for i := range list {
			list[i] = byte(rng.Uint32())
		}
		s := shapeOf(len(list))
		chunks, err := s.encode(list)
		if err != nil || len(chunks) != s.total() {
			t.Fatalf("encode() = %d chunks, %v", len(chunks), err)
		}
		some := make([][]byte, len(chunks))
		order := rng.Perm(len(chunks))
		for _, i := range order[:s.data-1] {
			some[i] = chunks[i]
		}
		if _, err := s.decode(some); !errors.Is(err, errShort) {
			t.Fatalf("decode() of one too few = %v", err)
		}
		last := order[s.data-1]
		some[last] = chunks[last]
		if got, err := s.decode(some); err != nil || !bytes.Equal(got, list) {
			t.Fatalf("decode() of %d of %d chunks: %v", s.data, s.total(), err)
		}
		for i := range s.data {
			if !bytes.Equal(s.cut(list, i), chunks[i]) {
				t.Fatalf("cut(%d) is not the chunk", i)
			}
		}
	})
}

// TestPace: the limit follows what is acknowledged, and what is never acknowledged
// is given up.
func TestPace(t *testing.T) {
	const piece, rtt = 4 << 10, 100 * time.Millisecond
	cfg := Config{}.fill()
	p := newPace(&cfg)
	now := time.Unix(0, 0)
	turn := func(carried int) { // as much passes in a round trip, the rest waits for the next
		for c := 0; p.room(); c++ {
			p.sent(flying{chunk: c, bytes: piece, at: now})
		}
		now = now.Add(rtt)
		for range min(carried/piece, len(p.flight)) {
			p.acked(now, tag{}, p.flight[0].chunk)
		}
	}
	for range 12 {
		turn(1 << 20)
	}
	if p.limit() < 4*float64(cfg.WindowStart) || p.rtt() != rtt || p.flying != 0 {
		t.Errorf("after twelve round trips without a queue: limit %.0f, rtt %v, %d flying", p.limit(), p.rtt(), p.flying)
	}
	for range 3 * paceSpan {
		turn(40 << 10)
	}
	if p.limit() > 1.5*paceGain*(40<<10) || p.limit() < 40<<10 {
		t.Errorf("limit %.0f of a path that carries %d a round trip", p.limit(), 40<<10)
	}
	kept := p.limit()
	for range 3 * paceSpan { // nothing to send but one
		now = now.Add(10 * rtt)
		p.sent(flying{chunk: 1000, bytes: piece, at: now})
		now = now.Add(rtt)
		p.acked(now, tag{}, 1000)
	}
	if p.limit() < kept/2 {
		t.Errorf("limit %.0f after a pause, %.0f before", p.limit(), kept)
	}
	if n, _ := p.acked(now, tag{9}, 1); n != 0 {
		t.Error("an acknowledgement of nothing counts")
	}
	before := p.flying
	p.sent(flying{chunk: 1, bytes: 100, at: now})
	if p.expire(now.Add(5 * time.Second)); p.flying < 100 {
		t.Errorf("given up early: %d flying, %d before", p.flying, before)
	}
	if p.expire(now.Add(time.Minute)); p.flying != 0 || len(p.flight) != 0 || p.limit() != float64(cfg.WindowMin) {
		t.Errorf("given up: %d flying, limit %.0f", p.flying, p.limit())
	}
}

// TestLanes: a second stream is opened where a chunk is late, and is left alone once
// there are enough.
func TestLanes(t *testing.T) {
	cfg := Config{}.fill()
	l := &link{pace: newPace(&cfg)}
	now := time.Unix(0, 0)
	if x, open := l.idle(now); x != nil || !open {
		t.Fatal("the first lane is not opened")
	}
	l.lanes = append(l.lanes, &lane{})
	l.pace.sent(flying{chunk: 1, bytes: 1, lane: l.lanes[0], at: now})
	l.pace.acked(now.Add(100*time.Millisecond), tag{}, 1)
	for i := range maxLanes - 1 {
		l.pace.sent(flying{chunk: i, bytes: 1, lane: l.lanes[i], at: now})
		if x, open := l.idle(now.Add(150 * time.Millisecond)); x == nil || open {
			t.Fatalf("lane %d: opened before anything is late", i+1)
		}
		if _, open := l.idle(now.Add(250 * time.Millisecond)); !open {
			t.Fatalf("lane %d: not opened although all others wait", i+1)
		}
		l.lanes = append(l.lanes, &lane{})
	}
	if x, open := l.idle(now.Add(250 * time.Millisecond)); x != l.lanes[maxLanes-1] || open {
		t.Error("the free lane is not taken, or one too many opened")
	}
	l.lanes[maxLanes-1].busy = true
	if x, _ := l.idle(now); x == l.lanes[maxLanes-1] {
		t.Error("a busy lane is taken")
	}
}

// TestUplink: pieces are spaced at the rate of the acknowledgements.
func TestUplink(t *testing.T) {
	var u uplink
	now := time.Unix(0, 0)
	u.sent(now, 1000)
	if w := u.wait(now); w != 0 {
		t.Fatalf("wait() = %v before any rate is known", w)
	}
	for range 30 { // 100,000 bytes a second
		u.acked(now, 1000)
		now = now.Add(10 * time.Millisecond)
	}
	u.sent(now, rateGain*10_000)
	if w := u.wait(now).Round(time.Millisecond); w != 100*time.Millisecond {
		t.Errorf("wait() = %v, want 100 ms: %g times what goes in that time", w, float64(rateGain))
	}
	now = now.Add(time.Second)
	u.acked(now, 1<<20) // what comes after a pause says nothing of the rate
	if rate := u.best[0]; rate > 101_000 {
		t.Errorf("rate %.0f", rate)
	}
}
