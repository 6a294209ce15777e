package p2p

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
)

// TestSybils: peers that claim more than anybody, keep who asks them waiting and come back under another name do not keep
// a node from an honest peer's blocks.
func TestSybils(t *testing.T) {
	const sybils = 4
	for _, name := range []string{"trickle", "silent"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newBubble(t, "sybils", 2, func(c *Config) { c.StatusTimeout = time.Hour }) // bare hosts say their status once
				defer v.burst()
				n, good := v.nodes[0], v.nodes[1]
				v.cut(0, 1)
				blocks := v.blocks(70, 50)
				good.give(blocks...)
				serve := func(s network.Stream) {
					if _, err := readFrame(s, maxRequestBytes); err != nil {
						return
					}
					if name == "silent" {
						time.Sleep(5 * time.Second)
						return
					}
					frame := append(binary.AppendUvarint(nil, maxHeadersBytes), make([]byte, maxHeadersBytes-1)...)
					for piece := range slices.Chunk(frame, minProgress) {
						if _, err := s.Write(piece); err != nil {
							return
						}
						time.Sleep(n.net.cfg.FetchTimeout)
					}
				}
				var ended atomic.Bool
				defer ended.Store(true)
				var asked atomic.Int32
				var appear func(name string)
				appear = func(name string) {
					addr := ma.StringCast(fmt.Sprintf("/ip4/10.1.0.1/tcp/%d", 1+asked.Load()))
					h, err := v.mock.AddPeer(identity(name), addr)
					if err != nil {
						t.Error(err)
						return
					}
					var once sync.Once
					pretend(h, v.claim(1<<60, common.Hash{}), func(s network.Stream) {
						asked.Add(1)
						serve(s)
						_ = s.Reset()
						once.Do(func() {
							if _ = h.Network().ClosePeer(n.host.ID()); !ended.Load() {
								appear(name + "'")
							}
						})
					})
					if _, err := v.mock.LinkPeers(n.host.ID(), h.ID()); err != nil {
						t.Error(err)
					}
					if _, err := v.mock.ConnectPeers(n.host.ID(), h.ID()); err != nil {
						t.Error(err)
					}
				}
				for i := range sybils {
					appear(fmt.Sprint("sybil ", i))
				}
				await(t, 10*time.Second, func() bool { return asked.Load() > 0 })
				v.join(0, 1)
				took := await(t, 2*time.Minute, func() bool { return n.chain.HeadID() == blocks[len(blocks)-1].ID() })
				t.Logf("at the head after %v, sybils asked %d times", took, asked.Load())
			})
		})
	}
}

// TestSlowHeaders: for headers that come as slowly as hedge bears there is time, frame by frame; for sources of which each
// takes as long and then gives none, there is the time of one frame.
func TestSlowHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newBubble(t, "slow headers", 2, func(c *Config) { c.RequestTimeout, c.StatusTimeout = 5*time.Second, time.Hour })
		defer v.burst()
		n := v.nodes[0]
		for range 3*maxHeaders + 500 { // as many as have begun
			v.block()
		}
		head := v.builder.HeadHeader()
		limit := n.net.cfg.RequestTimeout + maxHeadersBytes*n.net.cfg.FetchTimeout/minProgress
		var ids []peer.ID
		for i := range 5 {
			h, err := v.mock.AddPeer(identity(fmt.Sprint("slow ", i)), ma.StringCast(fmt.Sprintf("/ip4/10.1.0.%d/tcp/1", 1+i)))
			if err != nil {
				t.Fatal(err)
			}
			pretend(h, v.claim(0, common.Hash{}), func(s network.Stream) {
				defer s.Reset()
				var out bytes.Buffer
				if _, err := readFrame(s, maxRequestBytes); err != nil {
					return
				}
				for at := v.builder.SignedHeaderByNumber(0); at.ID() != head.ID(); {
					headers := following(at, v.builder.SignedHeaderByNumber)
					at = headers[len(headers)-1]
					_ = writeFrame(&out, newAnswer(headers).encode())
				}
				if i > 0 {
					out.Truncate(maxHeaders * 150) // in the first frame
				}
				for piece := range slices.Chunk(out.Bytes(), minProgress) {
					if _, err := s.Write(piece); err != nil {
						return
					}
					time.Sleep(n.net.cfg.FetchTimeout)
				}
				if i == 0 {
					_ = s.Close()
				}
			})
			if _, err := v.mock.LinkPeers(n.host.ID(), h.ID()); err != nil {
				t.Fatal(err)
			}
			if _, err := v.mock.ConnectPeers(n.host.ID(), h.ID()); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, h.ID())
		}
		await(t, 10*time.Second, func() bool { return n.net.peers.count() == 6 })
		began := time.Now()
		headers, _, err := n.net.fetchHeaders(t.Context(), ids[:1], true)
		if took := time.Since(began); err != nil || took < limit || headers[len(headers)-1].ID() != head.ID() {
			t.Errorf("true headers: %d, %v after %v", len(headers), err, took)
		}
		began = time.Now()
		if _, _, err := n.net.fetchHeaders(t.Context(), ids[1:], true); !errors.Is(err, errStalled) || time.Since(began) != limit {
			t.Errorf("no headers: %v after %v, want %v", err, time.Since(began), limit)
		}
	})
}

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
	up := func(id peer.ID, number uint64) { p.up[id] = &remote{id: id, claim: status{Number: number}, waits: now} }
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

// TestTurns: after a catch-up that brought little the claim that has waited longest is followed, whoever claims more.
func TestTurns(t *testing.T) {
	w := newWorld(t, "turns")
	n := w.node("n", func(c *Config) { c.NoMembers = true })
	n.stop() // nothing moves but what is set here
	now := time.Now()
	up := func(id peer.ID, number uint64, since time.Time) {
		n.net.peers.up[id] = &remote{id: id, claim: status{Number: number}, waits: since}
	}
	up("liar", 1<<60, now.Add(-time.Minute))
	up("honest", 10, now.Add(-2*time.Second))
	want := func(id peer.ID) {
		t.Helper()
		if c, _ := n.net.target(now); c == nil || c.peer != id {
			t.Errorf("follows %+v, want %s", c, string(id))
		}
	}
	want("liar")
	n.net.sync.poor = true
	want("liar")                                              // it is its turn, too
	n.net.peers.followed("liar", true, now.Add(-time.Second)) // it brought a block
	up("another liar", 1<<61, now)                            // came later
	want("honest")
	n.net.sync.poor = false
	want("another liar")
}

// TestParentWhileAClaimIsFollowed: while nobody knows what is behind a claim that is followed, a parent is fetched after
// a moment; while blocks come, it comes with them.
func TestParentWhileAClaimIsFollowed(t *testing.T) {
	w := newWorld(t, "parent meanwhile")
	one := w.block(w.tx(0, 10))
	a, n := w.node("a"), w.node("n")
	a.net.grace, n.net.grace = time.Hour, time.Hour // no catch-up
	link(a, n)
	a.give(one)
	n.net.sync.busy.Store(true)
	n.net.sync.sure.Store(true)
	wanted := want{id: one.ID(), from: a.host.ID(), number: 1}
	n.net.fetchParent(t.Context(), wanted)
	if len(n.rec.all(kind(trace.BlockReceived, one.ID()))) > 0 {
		t.Error("fetched twice")
	}
	n.net.sync.sure.Store(false)
	n.net.fetchParent(t.Context(), wanted)
	n.reaches(one)
}
