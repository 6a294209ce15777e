package p2p

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
)

// TestFailingSource: a peer that has the headers and fails when it is asked for blocks is asked for few of them.
func TestFailingSource(t *testing.T) {
	w := newWorld(t, "failing source")
	var headers []*chain.SignedHeader
	var blocks []*chain.Block
	for range 20 * partBlocks {
		b := w.block()
		blocks, headers = append(blocks, b), append(headers, b.SignedHeader)
	}
	head := blocks[len(blocks)-1]
	good, n := w.node("good"), w.node("n", func(c *Config) { c.FetchTimeout = patience }) // no second source is asked for slowness
	good.give(blocks...)
	var asked atomic.Int32
	e := w.evil("evil", w.claim(head.Number()+1, common.Hash{}), func(s network.Stream) {
		defer s.Reset()
		b, err := readFrame(s, maxRequestBytes)
		if err != nil {
			return
		}
		if r, err := decodeRequest(b); err != nil || r.Kind == askBlocks {
			asked.Add(1)
			return
		}
		if n.net.peers.isUp(good.host.ID()) { // the blocks are to come from there
			_ = writeFrame(s, newAnswer(headers).encode())
			_ = s.Close()
		}
	})
	if err := n.net.AddPeer(e.addr()); err != nil {
		t.Fatal(err)
	}
	n.rec.wait(t, "the evil peer is up", kind(trace.PeerUp, common.Hash{}))
	link(n, good)
	n.reaches(head)
	if got := asked.Load(); got > 2*partsAhead {
		t.Errorf("asked for blocks %d times", got)
	}
}

// TestDoubts: what is held of a peer outlives its connection, has its claims rest and its name asked last, ends when it gives
// what it is asked for, and is bounded.
func TestDoubts(t *testing.T) {
	p, now := newPeers(), time.Now()
	up := func(id peer.ID, number uint64) { p.up[id] = &remote{id: id, claim: status{Number: number}} }
	list := func() (ids []peer.ID) {
		for _, c := range p.claims("self", func(status) bool { return true }) {
			ids = append(ids, c.peer)
		}
		return ids
	}
	up("x", 9)
	up("y", 5)
	p.followed("x", false, now)
	p.followed("x", false, now)
	p.leave("x", nil)
	up("x", 9)
	claims := p.claims("self", func(status) bool { return true })
	if len(claims) != 2 || claims[0].peer != "y" || !claims[1].doubt || !claims[1].due.Equal(now.Add(2*restMin)) {
		t.Errorf("after two claims in vain and a connection: %+v", claims)
	}
	p.answered("x", true) // blocks; its claims rest all the same
	if got := list(); got[0] != "y" {
		t.Errorf("claims of %q", got)
	}
	p.followed("x", true, now)
	if got := list(); got[0] != "x" {
		t.Errorf("claims of %q after one that was true", got)
	}
	p.answered("x", false)
	if got := p.doubtedLast([]peer.ID{"x", "y", "z"}); !slices.Equal(got, []peer.ID{"y", "z", "x"}) {
		t.Errorf("asked %q", got)
	}
	p.answered("x", true)
	if got := p.doubtedLast([]peer.ID{"x", "y", "z"}); !slices.Equal(got, []peer.ID{"x", "y", "z"}) {
		t.Errorf("asked %q after an answer", got)
	}
	p.followed("x", false, now)
	for i := range maxDoubts {
		p.followed(peer.ID(fmt.Sprint(i)), false, now.Add(time.Second))
	}
	if _, ok := p.doubts["x"]; ok || len(p.doubts) != maxDoubts {
		t.Errorf("%d doubts, the oldest among them: %t", len(p.doubts), ok)
	}
}

// TestDoubtOfSources: who fails, stalls or is slower than RequestTimeout is asked last; who has not got it, or is slower than
// another, is not.
func TestDoubtOfSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{}.fill()
		n := &Net{cfg: cfg, peers: newPeers()}
		type source struct {
			after time.Duration
			err   error
		}
		never := source{after: time.Hour}
		for _, c := range []struct {
			name    string
			sources []source
			doubted []int
		}{
			{"fails", []source{{err: errors.New("reset")}, {}}, []int{0}},
			{"has not got it", []source{{err: errMissing}, {}}, nil},
			{"slower than another", []source{never, {}}, nil},
			{"slow", []source{{after: cfg.RequestTimeout + time.Second}}, []int{0}},
			{"stalled", []source{never, never, never, {}}, []int{0}},
			{"all stalled", []source{never, never}, []int{0, 1}},
		} {
			var ids, want []peer.ID
			for i := range c.sources {
				ids = append(ids, peer.ID(fmt.Sprint(c.name, i)))
			}
			for _, i := range c.doubted {
				want = append(want, ids[i])
			}
			_, _, _ = fetchFrom(t.Context(), n, ids, nil, func(ctx context.Context, p peer.ID, progress *atomic.Int64) (int, error) {
				s := c.sources[slices.Index(ids, p)]
				for end := time.Now().Add(s.after); time.Now().Before(end); {
					if err := sleep(ctx, cfg.FetchTimeout/2); err != nil {
						return 0, err
					}
					if s != never {
						progress.Add(minProgress)
					}
				}
				return 0, s.err
			})
			var got []peer.ID
			for _, id := range ids {
				if _, ok := n.peers.doubts[id]; ok {
					got = append(got, id)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: doubted %s, want %s", c.name, got, want)
			}
		}
	})
}
