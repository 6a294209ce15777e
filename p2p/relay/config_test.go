package relay

import (
	"strings"
	"testing"
	"time"

	"github.com/pheme-net/pheme/p2p/trace"
)

// tuned is a relay with these numbers.
func tuned(t testing.TB, c Config) (*node, *engine) {
	t.Helper()
	n := &node{}
	c.Name = "coded"
	r, err := New(c, Deps{Node: n, Network: n, Clock: trace.NewClock(), MaxList: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return n, r.(*coded).engine
}

// TestConfigIsRefused: what is negative, by its name.
func TestConfigIsRefused(t *testing.T) {
	for name, c := range map[string]Config{
		"whole": {Whole: -1}, "budget": {Budget: -1}, "tell": {Tell: -1}, "window start": {WindowStart: -1}, "window min": {WindowMin: -1},
		"window max": {WindowMax: -1}, "stall": {Stall: -1}, "keep": {Keep: -time.Second},
	} {
		if _, err := New(c, Deps{Node: &node{}}); err == nil || !strings.Contains(err.Error(), "relay: "+name+" ") {
			t.Errorf("New() of %+v = %v, want an error that names %q", c, err, name)
		}
		if err := c.fill().validate(); err == nil {
			t.Errorf("validate() of %+v = nil", c)
		}
	}
	for name, c := range map[string]Config{"stall": {Stall: 3}, "window min": {WindowMin: 2, WindowMax: 1}} {
		if _, err := New(c, Deps{Node: &node{}}); err == nil || !strings.Contains(err.Error(), "relay: "+name+" ") {
			t.Errorf("New() of %+v = %v, want an error that names %q", c, err, name)
		}
	}
	if err := (Config{}).fill().validate(); err != nil {
		t.Errorf("validate() of the defaults = %v", err)
	}
}

// TestConfigCounts: what is not zero stays as it is, and the relay goes by it.
func TestConfigCounts(t *testing.T) {
	all := Config{Name: "coded", Whole: 1, Budget: 2, Tell: 3, WindowStart: 4, WindowMin: 5, WindowMax: 6, Stall: 7, Keep: 8}
	if got := all.fill(); got != all {
		t.Errorf("fill() = %+v, want %+v", got, all)
	}
	b := sampleOf(t, 6, 8<<10)
	payload := announce(t, "coded", b)
	for _, c := range []struct{ budget, own, near, far int }{ // sends of a chunk of ours, of one from its origin, and from farther
		{0, originBudget, 6, 3}, {1, 1, 2, 1}, {5, originBudget, 10, 5},
	} {
		_, origin := tuned(t, Config{Budget: c.budget})
		if err := origin.publish(b, kindCoded, true); err != nil {
			t.Fatal(err)
		}
		_, e := tuned(t, Config{Budget: c.budget})
		if err := e.Receive(Message{From: "a", Payload: payload}); err != nil {
			t.Fatal(err)
		}
		x, y := origin.byID(b.ID()), e.byID(b.ID())
		for i, hops := range []uint8{0, 1} { // as the frames say: here it is one more
			if err := e.handle("a", y.frame(i, x.chunks[i], hops)); err != nil {
				t.Fatal(err)
			}
		}
		ours, theirs := gives(x.swarm, 20), gives(y.swarm, 20)
		if ours[0] != c.own || theirs[0] != c.near || theirs[1] != c.far {
			t.Errorf("budget %d: a chunk is sent %d times of ours, %d next to its origin, %d farther; want %d, %d, %d",
				c.budget, ours[0], theirs[0], theirs[1], c.own, c.near, c.far)
		}
	}
	n, e := tuned(t, Config{Whole: b.BodySize()})
	r := &coded{e}
	if err := r.Publish(b); err != nil || len(n.sent) != 1 || n.sent[0][0] != kindGossip {
		t.Errorf("a block of Whole bytes: %v, not sent whole", err)
	}
	larger := sampleOf(t, 7, 8<<10)
	if err := r.Publish(larger); err != nil || len(n.sent) != 2 || n.sent[1][0] != kindCoded {
		t.Errorf("a larger block: %v, not sent in chunks", err)
	}
	_, e = tuned(t, Config{WindowStart: 12345, Stall: time.Minute})
	if l := e.link("a"); l.pace.limit() != 12345 || e.patience() != time.Minute {
		t.Errorf("limit() = %v, patience() = %v; want 12345 and a minute", l.pace.limit(), e.patience())
	}
}

// gives is how often a swarm sends each chunk to so many peers that lack all.
func gives(s *swarm, peers int) map[int]int {
	times := make(map[int]int)
	for p := range peers {
		for c, ok := s.next(100 + p); ok; c, ok = s.next(100 + p) {
			times[c]++
		}
	}
	return times
}
