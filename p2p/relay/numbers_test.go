package relay

import (
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// TestResetsGainNothing: who ends its streams after each chunk, or each answer, gets no more than who does not.
func TestResetsGainNothing(t *testing.T) {
	e, x, all := toldAll(t)
	chunks, answers := 0, 0
	now := time.Now()
	for range 3 * maxGiven * x.swarm.total {
		for _, f := range []*frame{
			{kind: frameHave, tag: x.tag, flags: flagWant | flagStarved | flagAll},
			{kind: frameAsk, tag: x.tag, asked: all},
		} {
			if err := e.handle("evil", f); err != nil {
				t.Fatal(err)
			}
		}
		for f := e.next("evil"); f != nil; f = e.next("evil") {
			answers += len(f.txs)
		}
		now = now.Add(time.Second)
		if lane, _, _ := e.pick(now); lane != nil {
			chunks++
		}
		e.unlink(e.links["evil"])
		for len(e.start) > 0 {
			<-e.start
		}
	}
	if chunks != maxGiven*x.swarm.total || answers != len(all) {
		t.Errorf("%d chunks of %d, %d transactions of %d", chunks, x.swarm.total, answers, len(all))
	}
	if e.review(now.Add(e.cfg.Keep + time.Second)); e.byID(x.id) != nil {
		t.Error("it is kept for ever")
	}
}

// TestNumbersAreBounded: peers that come and go are forgotten in the end, and the linked ones last.
func TestNumbersAreBounded(t *testing.T) {
	b := sampleOf(t, 6, 8<<10)
	_, e, x, _ := receiver(t, b)
	first := e.links["a"].slot
	for i := range maxNumbers + 100 {
		p := peer.ID(fmt.Sprint("peer ", i))
		if err := e.handle(p, &frame{kind: frameHave, tag: x.tag, flags: flagDone}); err != nil {
			t.Fatal(err)
		}
		e.unlink(e.links[p])
		for len(e.start) > 0 {
			<-e.start
		}
	}
	if n := e.numbers; len(n.by) > maxNumbers || len(n.order) > maxNumbers || len(x.swarm.views) > maxNumbers {
		t.Errorf("%d numbers of %d peers, %d views", len(n.by), len(n.order), len(x.swarm.views))
	}
	if n := e.number("a"); n != first {
		t.Errorf("a is called %d, and was %d", n, first)
	}
}
