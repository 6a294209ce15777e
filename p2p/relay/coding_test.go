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
		{1, 64, 1, 1}, {4096, 4096, 1, 1}, {4097, 2112, 2, 1}, {128 << 10, 4 << 10, 32, 16}, {1 << 20, 8 << 10, 128, 64}, {2 << 20, 16 << 10, 128, 64}, {4 << 20, 32 << 10, 128, 64},
	} {
		if s := shapeOf(c.size); s.chunk != c.chunk || s.data != c.data || s.parity != c.parity {
			t.Errorf("shapeOf(%d) = %+v, want %+v", c.size, s, c)
		}
	}
}

// TestCoding: any data chunks give the list back, one fewer do not.
func TestCoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := make([]byte, rapid.IntRange(1, 600<<10).Draw(t, "size"))
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

// TestPace: the window follows the delay, and what is never acknowledged is given
// up.
func TestPace(t *testing.T) {
	cfg := Config{}.fill()
	p := newPace(&cfg)
	now := time.Unix(0, 0)
	turn := func(rtt time.Duration) {
		for c := 0; p.room(); c++ {
			p.sent(flying{chunk: c, bytes: 8 << 10, at: now})
		}
		now = now.Add(rtt)
		for c := range len(p.flight) {
			p.acked(now, tag{}, c)
		}
	}
	for range 4 {
		turn(100 * time.Millisecond)
	}
	if p.window < 3*float64(cfg.WindowStart) || p.rtt() != 100*time.Millisecond || p.flying != 0 {
		t.Errorf("after four round trips without a queue: window %.0f, rtt %v, %d flying", p.window, p.rtt(), p.flying)
	}
	grown := p.window
	for range 20 {
		turn(300 * time.Millisecond)
	}
	if p.window > grown/2 {
		t.Errorf("window %.0f over a long queue, was %.0f", p.window, grown)
	}
	if p.acked(now, tag{}, 1); p.flying != 0 {
		t.Errorf("an acknowledgement of nothing: %d flying", p.flying)
	}
	p.sent(flying{chunk: 1, bytes: 100, at: now})
	if p.expire(now.Add(5 * time.Second)); p.flying != 100 {
		t.Errorf("given up early: %d flying", p.flying)
	}
	if p.expire(now.Add(time.Minute)); p.flying != 0 || len(p.flight) != 0 || p.window != float64(cfg.WindowMin) {
		t.Errorf("given up: %d flying, window %.0f", p.flying, p.window)
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
	u.sent(now, 11_000)
	if w := u.wait(now).Round(time.Millisecond); w != 100*time.Millisecond {
		t.Errorf("wait() = %v, want 100 ms: 11,000 bytes at 1.1 x 100,000 a second", w)
	}
	now = now.Add(time.Second)
	u.acked(now, 1<<20) // what comes after a pause says nothing of the rate
	if rate := u.best[0]; rate > 101_000 {
		t.Errorf("rate %.0f", rate)
	}
}
