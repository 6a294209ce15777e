package relay

import (
	"math/bits"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/peer"
	"pgregory.net/rapid"
)

// check holds all to what is promised.
func (c *crowd) check(t *rapid.T) {
	for _, m := range c.nodes {
		if i := slices.IndexFunc(m.blamed, func(p peer.ID) bool { return p != evil }); i >= 0 {
			t.Fatalf("%s blames %s", m, string(m.blamed[i]))
		}
		whole := make(map[common.Hash]bool)
		for _, b := range m.whole {
			if whole[b.ID()] {
				t.Fatalf("%s completes %s twice", m, b.ID())
			}
			whole[b.ID()] = true
		}
		m.checkPeers(t)
		m.checkBlocks(t)
	}
}

// checkPeers: what is kept of and for each peer has its bounds.
func (m *member) checkPeers(t *rapid.T) {
	e := m.e
	if len(e.links) > len(m.mesh) || len(e.ring) != len(e.links) {
		t.Fatalf("%s: %d links, %d in turn", m, len(e.links), len(e.ring))
	}
	early := 0
	for p, n := range e.early.by {
		if early += n; n <= 0 || n > earlyPerPeer {
			t.Fatalf("%s keeps %d bytes of early frames of %s", m, n, string(p))
		}
	}
	if early != e.early.bytes || early > earlyBytes {
		t.Fatalf("%s keeps %d bytes of early frames, counts %d", m, early, e.early.bytes)
	}
	for p, l := range e.links {
		flying := 0
		for _, f := range l.pace.flight {
			flying += f.bytes
		}
		if len(l.urgent) > maxUrgent || len(l.lanes) > maxLanes || flying != l.pace.flying || m.desks[p].bytes > deskBytes {
			t.Fatalf("%s to %s: %d urgent, %d lanes, %d bytes under way and %d counted, %d on the desk",
				m, string(p), len(l.urgent), len(l.lanes), flying, l.pace.flying, m.desks[p].bytes)
		}
	}
}

// checkBlocks: no more blocks are followed than maxLive, each once, and what waits for a peer is no more than one block.
func (m *member) checkBlocks(t *rapid.T) {
	e := m.e
	ids := make(map[common.Hash]bool)
	for _, x := range e.order {
		ids[x.id] = true
		held := 0
		for _, w := range x.swarm.have {
			held += bits.OnesCount64(w)
		}
		if held != x.swarm.count || x.opening || len(x.parked) > len(m.mesh) || x.block != nil && x.block.ID() != x.id {
			t.Fatalf("%s: %d chunks held and %d counted, opening %v, %d questions", m, held, x.swarm.count, x.opening, len(x.parked))
		}
		for _, n := range x.news {
			if len(n.acks) > x.swarm.total || len(n.held) > x.swarm.total {
				t.Fatalf("%s: news of %d and %d chunks of %d waits", m, len(n.acks), len(n.held), x.swarm.total)
			}
		}
	}
	if len(e.order) > maxLive || len(e.live) != len(e.order) || len(ids) != len(e.order) {
		t.Fatalf("%s follows %d announcements of %d blocks, %d live; want at most %d, of a block each",
			m, len(e.order), len(ids), len(e.live), maxLive)
	}
}

// settle lets all that wants to be said arrive. Then b and c have both blocks, in pieces if all was calm.
func (c *crowd) settle(t *rapid.T) {
	for _, m := range c.nodes {
		for _, x := range m.e.order {
			x.gained, x.asks = time.Now(), 0 // nobody could have answered
		}
		for _, payload := range c.said {
			c.receive(t, m, m.mesh[0], payload)
		}
	}
	for range 200 {
		for _, m := range c.nodes {
			for _, p := range m.mesh {
				for c.tell(m, p) {
				}
			}
			for c.give(t, m) {
			}
		}
		parcels := c.flight
		c.flight = nil
		for _, p := range parcels {
			c.deliver(p)
		}
		time.Sleep(20 * time.Millisecond)
		missing := 0
		for _, m := range c.nodes {
			calm := c.calm
			c.review(m, func() bool {
				if calm {
					t.Fatalf("%s fetches a block whole though nothing was lost", m)
				}
				return true
			})
			for _, b := range c.blocks {
				if !m.has[b.ID()] {
					missing++
				}
			}
		}
		c.check(t)
		if missing == 0 {
			return
		}
	}
	t.Fatal("blocks are missing in the end")
}

// engineProperty: whatever evil says, and in whatever order the rest comes, nobody falls, nothing grows without bound, no node
// blames one that keeps to the rules, and all have the blocks in the end.
func engineProperty(s *stock) func(*rapid.T) {
	return func(t *rapid.T) {
		c := newCrowd(t, s)
		tell := func(t *rapid.T) { c.tell(c.someone(t)) }
		give := func(t *rapid.T) { m, _ := c.someone(t); c.give(t, m) }
		t.Repeat(map[string]func(*rapid.T){
			"": c.check, "hear": c.hear, "tell": tell, "tell2": tell, "give": give, "give2": give,
			"arrive": c.arrive, "arrive2": c.arrive, "arrive3": c.arrive,
			"part": c.part, "lie": c.lie, "say": c.say, "say2": c.say, "answer": c.answer, "post": c.post, "flood": c.flood,
			"divert": func(t *rapid.T) {
				m, p := c.someone(t)
				m.e.divert(m.e.link(p), time.Now())
			},
			"wait": func(t *rapid.T) {
				const ms = time.Millisecond
				time.Sleep(oneOf(t, "how long", 10*ms, 50*ms, 100*ms, 210*ms, 210*ms, 400*ms, 5000*ms))
				for _, m := range c.nodes {
					c.review(m, func() bool { return rapid.Bool().Draw(t, "whole") })
				}
			},
		})
		c.settle(t)
	}
}

// inBubble is a property in virtual time. What stops it must do so outside of the bubble, too: a failure, a panic with where it was,
// or rapid's own for which there is no more to draw.
func inBubble(property func(*rapid.T)) func(*rapid.T) {
	return func(t *rapid.T) {
		var fell any
		var stack []byte
		synctest.Test(new(testing.T), func(*testing.T) {
			defer func() { fell, stack = recover(), debug.Stack() }()
			property(t)
		})
		if err, ok := fell.(runtime.Error); ok {
			t.Fatalf("%v\n%s", err, stack)
		}
		if t.Failed() {
			t.FailNow()
		}
		if fell != nil {
			panic(fell)
		}
	}
}

// TestEngineLaws draws courses of engineProperty.
func TestEngineLaws(t *testing.T) { rapid.Check(t, inBubble(engineProperty(newStock(t)))) }

// FuzzEngine is TestEngineLaws with a course that the fuzzer writes.
func FuzzEngine(f *testing.F) {
	addCourses(f)
	f.Fuzz(rapid.MakeFuzz(inBubble(engineProperty(newStock(f)))))
}
