package p2p

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/relay"
	"github.com/pheme-net/pheme/p2p/trace"
)

// TestIgnoredMessageIsForwardedOnLocalPublish pins what held blocks stand on: a
// message that the validator ignored is marked seen, so copies of it are
// duplicates, but a local publish of the same bytes is judged again and
// forwarded. Before pubsub v0.17.0 it vanished without an error.
func TestIgnoredMessageIsForwardedOnLocalPublish(t *testing.T) {
	w := newWorld(t, "pin")
	a, b, c := w.node("a"), w.node("b"), w.node("c")
	link(a, b)
	link(b, c)
	blk := w.blocks(2, 10)[1] // its parent is nowhere: b ignores it
	payload := relay.EncodeGossip(blk)
	if err := a.net.publish(t.Context(), topicBlock, payload); err != nil {
		t.Fatal(err)
	}
	b.until("b ignores it", func() bool { return b.net.Stats().Verdicts["block"]["ignore"] == 1 })
	if err := b.net.publish(t.Context(), topicBlock, payload); err != nil {
		t.Fatal(err)
	}
	c.until("c gets it", func() bool { return c.net.Stats().Verdicts["block"]["ignore"] == 1 })
}

// TestUnknownParent leaves the second node of a line without a block whose child
// then comes by gossip: the parent is fetched from the sender at once, and the
// child goes on, byte for byte, to the third node, which does the same.
func TestUnknownParent(t *testing.T) {
	w := newWorld(t, "orphan")
	a, b, c := w.node("a"), w.node("b"), w.node("c")
	one, two := w.block(w.tx(0, 100)), w.block(w.tx(1, 100))
	a.give(one) // before they meet, and then told to nobody
	a.net.grace, b.net.grace, c.net.grace = time.Hour, time.Hour, time.Hour
	link(a, b)
	link(b, c)
	a.propose(two)
	for _, n := range []*testNode{b, c} {
		n.reaches(two)
		if e := n.rec.wait(t, "parent fetched", kind(trace.BlockAccepted, one.ID())); e.Aux != trace.PathFetch {
			t.Errorf("parent came by path %d", e.Aux)
		}
		if e := n.rec.wait(t, "child accepted", kind(trace.BlockAccepted, two.ID())); e.Aux != trace.PathHeld {
			t.Errorf("child came by path %d", e.Aux)
		}
		if s := n.net.Stats(); s.Held != 0 || s.Verdicts["block"]["reject"] != 0 {
			t.Errorf("stats %+v", s)
		}
	}
	// The bytes that went on are those that came.
	for _, e := range c.rec.all(kind(trace.MsgRead, two.ID())) {
		if e.Class == trace.ClassBlock && e.Peer != b.tag() {
			t.Errorf("c read the child from %x", e.Peer)
		}
	}
}

// TestImportQueueFull: a block that finds the queue full still goes on, and comes
// back by catch-up.
func TestImportQueueFull(t *testing.T) {
	w := newWorld(t, "busy")
	a, b, c := w.node("a"), w.node("b"), w.node("c")
	link(a, b)
	link(b, c)
	b.back.full(true)
	one := w.block(w.tx(0, 100))
	a.propose(one)
	c.reaches(one)
	b.rec.wait(t, "drop counted", func(e trace.Event) bool { return e.Kind == trace.MsgDropped && e.Aux == trace.DropImportFull })
	b.reaches(one)
}

func TestLateJoinerCatchesUp(t *testing.T) {
	w := newWorld(t, "late")
	a, b := w.node("a"), w.node("b")
	blocks := w.blocks(1500, 10) // more than one answer of ids
	a.give(blocks...)
	b.give(blocks[:3]...)
	link(a, b)
	b.reaches(blocks[len(blocks)-1])
	late := w.node("late")
	link(late, a)
	link(late, b)
	late.reaches(blocks[len(blocks)-1])
	late.until("caught up", func() bool { return !late.net.Stats().Syncing })
	if s := late.net.Stats(); s.Verdicts["block"]["accept"] != 0 {
		t.Errorf("catch-up went over gossip: %+v", s.Verdicts)
	}
	// And gossip goes on from there.
	next := w.block(w.tx(0, 10))
	a.propose(next)
	late.reaches(next)
}

// TestReorgByCatchUp: the better of two branches wins everywhere.
func TestReorgByCatchUp(t *testing.T) {
	w := newWorld(t, "branches")
	a, b := w.node("a"), w.node("b")
	common := w.blocks(3, 10)
	a.give(common...)
	b.give(common...)
	other, err := chain.Open(chain.Config{}, w.genesis, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for _, blk := range common {
		if _, err := other.Add(blk); err != nil {
			t.Fatal(err)
		}
	}
	var head *chain.Block // of a longer branch, in slots of its own
	for i := range uint64(5) {
		head, _, err = other.Build(100+i, w.key, nil, 0)
		if err == nil {
			_, err = other.Add(head)
		}
		if err != nil {
			t.Fatal(err)
		}
		b.give(head)
	}
	a.give(w.blocks(4, 10)...)
	link(a, b)
	a.reaches(head)
	if b.chain.HeadID() != head.ID() {
		t.Error("b left the better branch")
	}
}

// TestReorgDeeperThanOneAnswer: a branch outweighs ours only after its second
// thousand of headers, and no block is fetched before that is known.
func TestReorgDeeperThanOneAnswer(t *testing.T) {
	w, o := newWorld(t, "deep"), newWorld(t, "deep")
	o.genesis, o.builder = w.genesis, openChain(t, w.genesis)
	a, b := w.node("a"), w.node("b")
	a.give(w.blocks(1100, 0)...)
	o.slot = 1 // other slots, so another branch
	better := o.blocks(1150, 0)
	b.give(better...)
	link(a, b)
	a.reaches(better[len(better)-1])
}

// evil starts a bare host that agrees on the status and then answers requests as told.
func (w *world) evil(name string, claim status, serve network.StreamHandler) *testNode {
	w.t.Helper()
	h, err := NewHost(testConfig(), identity(name))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = h.Close() })
	pretend(h, claim, serve)
	return &testNode{t: w.t, host: h}
}

// pretend has a bare host agree on the status and then answer requests as told.
func pretend(h host.Host, claim status, serve network.StreamHandler) {
	h.SetStreamHandler(statusProtocol, func(s network.Stream) {
		defer s.Reset()
		if writeFrame(s, claim.encode()) == nil {
			for {
				if _, err := readFrame(s, maxStatusBytes); err != nil {
					return
				}
			}
		}
	})
	h.SetStreamHandler(blocksProtocol, serve)
}

func (w *world) claim(number uint64, head common.Hash) status {
	return status{Version: statusVersion, Genesis: w.genesis.Hash(), Number: number, Slot: 1, Head: head}
}

// TestWithholdingAndLyingPeers: none of them keeps a node from an honest peer's blocks.
func TestWithholdingAndLyingPeers(t *testing.T) {
	w := newWorld(t, "evil")
	blocks := w.blocks(70, 50)
	head := blocks[len(blocks)-1]
	fake := signedHeaders(500)
	var light, tomorrow []*chain.SignedHeader
	side, err := chain.Open(chain.Config{}, w.genesis, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer side.Close()
	for i := range uint64(5) {
		b, _, err := side.Build(500+i, w.key, nil, 0)
		if err == nil {
			_, err = side.Add(b)
		}
		if err != nil {
			t.Fatal(err)
		}
		light = append(light, b.SignedHeader)
	}
	late, _, err := w.builder.Build(w.genesis.SlotAt(time.Now())+10_000, w.key, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	tomorrow = append(tomorrow, late.SignedHeader)
	asked := func(s network.Stream) (r request, ok bool) {
		b, err := readFrame(s, maxRequestBytes)
		if err == nil {
			r, err = decodeRequest(b)
		}
		return r, err == nil
	}
	honest := func(s network.Stream, r request) bool { // answers headers truly
		if r.Kind != askAfter {
			return false
		}
		var headers []*chain.SignedHeader
		for _, b := range blocks[10:] {
			headers = append(headers, b.SignedHeader)
		}
		_ = writeFrame(s, newAnswer(headers).encode())
		_ = s.Close()
		return true
	}
	other := newWorld(t, "another").block()
	for name, serve := range map[string]network.StreamHandler{
		"silent": func(s network.Stream) {}, // takes the request and says nothing
		"light headers": func(s network.Stream) { // true ones, of a branch lighter than the victim's
			if r, ok := asked(s); ok && r.Kind == askAfter {
				_ = writeFrame(s, newAnswer(light).encode())
				_ = s.Close()
			} else if ok && r.IDs[0] == light[0].ID() {
				t.Error("blocks of a light branch are asked for")
			}
		},
		"headers of tomorrow": func(s network.Stream) {
			if r, ok := asked(s); ok && r.Kind == askAfter {
				_ = writeFrame(s, newAnswer(tomorrow).encode())
				_ = s.Close()
			} else if ok && r.IDs[0] == tomorrow[0].ID() {
				t.Error("blocks of tomorrow are asked for")
			}
		},
		"resets": func(s network.Stream) { _ = s.Reset() },
		"headers only": func(s network.Stream) {
			if r, ok := asked(s); ok && !honest(s, r) {
				<-t.Context().Done() // the blocks never come
				_ = s.Reset()
			}
		},
		"fake headers": func(s network.Stream) {
			if r, ok := asked(s); ok && r.Kind == askAfter {
				_ = writeFrame(s, newAnswer(fake).encode())
				_ = s.Close()
			}
		},
		"wrong block": func(s network.Stream) {
			if r, ok := asked(s); ok && !honest(s, r) {
				_ = writeFrame(s, other.Raw())
				_ = s.Close()
			}
		},
		"garbage": func(s network.Stream) {
			if r, ok := asked(s); ok && !honest(s, r) {
				_ = writeFrame(s, []byte("garbage"))
				_ = s.Close()
			}
		},
		"endless frame": func(s network.Stream) {
			if r, ok := asked(s); ok && !honest(s, r) {
				_, _ = s.Write([]byte{0xff, 0xff, 0xff, 0xff, 0x0f})
			}
		},
		"slow": func(s network.Stream) { // a byte at a time
			if r, ok := asked(s); ok && !honest(s, r) {
				_, _ = s.Write([]byte{0xff, 0x7f})
				tick := time.NewTicker(20 * time.Millisecond)
				defer tick.Stop()
				for range tick.C {
					if _, err := s.Write([]byte{1}); err != nil {
						return
					}
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := w.node("victim " + name)
			e := w.evil("evil "+name, w.claim(1000, common.Hash{9}), serve)
			good := w.node("good " + name)
			good.give(blocks...)
			n.give(blocks[:10]...)
			if err := n.net.AddPeer(e.addr()); err != nil {
				t.Fatal(err)
			}
			n.rec.wait(t, "the evil peer is up", kind(trace.PeerUp, common.Hash{}))
			start := time.Now()
			link(n, good)
			n.reaches(head)
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("caught up after %v", d)
			}
			if !n.net.peers.isUp(good.host.ID()) {
				t.Error("the honest peer was put out")
			}
			n.stop()
		})
	}
}

// TestSlowAnswers: an answer may take longer than a request may stand still, at both ends.
func TestSlowAnswers(t *testing.T) {
	w := newWorld(t, "slow")
	var txs []*chain.Tx
	for i := range 25 {
		txs = append(txs, w.tx(i%8, 30<<10))
	}
	b := w.block(txs...)
	frame := binary.AppendUvarint(nil, uint64(len(b.Raw())))
	frame = append(frame, b.Raw()...)
	n := w.node("n", func(c *Config) { c.RequestTimeout, c.StatusTimeout = 500*time.Millisecond, 20*time.Second })
	took := make(chan time.Duration, 8)
	e := w.evil("slow", w.claim(1, b.ID()), func(s network.Stream) {
		raw, err := readFrame(s, maxRequestBytes)
		if err != nil {
			return
		}
		if r, err := decodeRequest(raw); err != nil || r.Kind != askBlocks {
			_ = writeFrame(s, newAnswer([]*chain.SignedHeader{b.SignedHeader}).encode())
			_ = s.Close()
			return
		}
		start := time.Now()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for piece := range slices.Chunk(frame, 64<<10) {
			<-tick.C
			if _, err := s.Write(piece); err != nil {
				return
			}
		}
		took <- time.Since(start)
		_ = s.Close()
	})
	if err := n.net.AddPeer(e.addr()); err != nil {
		t.Fatal(err)
	}
	n.reaches(b)
	if d := <-took; d < n.cfg.RequestTimeout {
		t.Fatalf("the answer took %v: the test shows nothing", d)
	}

	s, err := e.host.NewStream(t.Context(), n.host.ID(), blocksProtocol)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeFrame(s, request{Kind: askBlocks, IDs: []common.Hash{b.ID()}}.encode()); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	got := make([]byte, len(frame))
	for at := 0; at < len(got); at += 32 << 10 {
		<-tick.C
		if _, err := io.ReadFull(s, got[at:min(at+32<<10, len(got))]); err != nil {
			t.Fatalf("who reads slowly gets %d bytes and %v", at, err)
		}
	}
	if !bytes.Equal(got, frame) {
		t.Error("who reads slowly gets something else")
	}
}

// TestKnownIsNotFetched: a block that is here by the time it would be fetched is not asked for.
func TestKnownIsNotFetched(t *testing.T) {
	w := newWorld(t, "known")
	b := w.block(w.tx(0, 10))
	n := w.node("n")
	var asked atomic.Int32
	e := w.evil("source", w.claim(1, b.ID()), func(s network.Stream) {
		if raw, err := readFrame(s, maxRequestBytes); err == nil {
			if r, err := decodeRequest(raw); err == nil && slices.Equal(r.IDs, []common.Hash{b.ID()}) && r.Kind == askBlocks {
				asked.Add(1)
			}
		}
		_ = s.Reset()
	})
	n.net.grace = time.Hour // no catch-up
	if err := n.net.AddPeer(e.addr()); err != nil {
		t.Fatal(err)
	}
	n.until("up", func() bool { return n.net.peers.isUp(e.host.ID()) })
	wanted := want{id: b.ID(), from: e.host.ID(), number: 1}
	n.net.fetchParent(t.Context(), wanted)
	if asked.Load() == 0 {
		t.Fatal("a block that is not here is not asked for")
	}
	before := asked.Load()
	n.give(b)
	n.net.fetchParent(t.Context(), wanted)
	if more := asked.Load() - before; more != 0 {
		t.Errorf("asked %d times for a block that is here", more)
	}
}

// TestParentFromSecondSource: the peer that sent a child does not give the
// parent; another is asked within half a second.
func TestParentFromSecondSource(t *testing.T) {
	w := newWorld(t, "second")
	one, two := w.block(w.tx(0, 10)), w.block(w.tx(0, 10))
	n, good := w.node("n"), w.node("good")
	n.net.grace = time.Hour // no catch-up
	good.give(one)
	asked := make(chan struct{}, 8)
	e := w.evil("withholds", w.claim(0, common.Hash{}), func(s network.Stream) { asked <- struct{}{} })
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := e.host.Connect(ctx, addrInfo(n)); err != nil {
		t.Fatal(err)
	}
	s, err := e.host.NewStream(ctx, n.host.ID(), statusProtocol)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeFrame(s, w.claim(0, common.Hash{}).encode()); err != nil {
		t.Fatal(err)
	}
	n.until("the withholding peer is up", func() bool { return n.net.peers.isUp(e.host.ID()) })
	topic := e.topic(ctx, t, n, topicBlock)
	link(n, good)
	start := time.Now()
	if err := topic.Publish(ctx, relay.EncodeGossip(two)); err != nil {
		t.Fatal(err)
	}
	<-asked
	n.reaches(two)
	if d := time.Since(start); d < testConfig().FetchTimeout || d > time.Second {
		t.Errorf("took %v", d)
	}
}

// TestRedial: a static peer that restarts on the same port is found again.
func TestRedial(t *testing.T) {
	w := newWorld(t, "redial")
	port := freePort(t)
	a := w.node("a")
	b := w.node("b", func(c *Config) { c.Listen = []string{fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", port)} })
	link(a, b)
	b.stop()
	a.rec.wait(t, "peer down", kind(trace.PeerDown, common.Hash{}))
	a.until("peer gone", func() bool { return !a.net.peers.isUp(b.host.ID()) })
	missed := w.block(w.tx(0, 10))
	a.propose(missed)
	b.start()
	b.until("up again", func() bool { return b.net.peers.isUp(a.host.ID()) })
	b.reaches(missed)
}

// TestSlowStarter: a node that listens before it speaks is not taken for a stranger.
func TestSlowStarter(t *testing.T) {
	w := newWorld(t, "slow")
	a := w.node("a")
	h, err := NewHost(testConfig(), identity("b"))
	if err != nil {
		t.Fatal(err)
	}
	b := &testNode{t: t, cfg: testConfig(), key: identity("b"), chain: openChain(t, w.genesis), rec: newRecorder(), host: h}
	if err := a.net.AddPeer(b.addr()); err != nil {
		t.Fatal(err)
	}
	a.until("connected", func() bool { return a.connected(b) })
	b.run()
	a.rec.wait(t, "up", kind(trace.PeerUp, common.Hash{}))
	a.meshed(b)
	b.meshed(a)
}

func TestTakenPortIsNamed(t *testing.T) {
	w := newWorld(t, "port")
	a := w.node("a")
	cfg := testConfig()
	cfg.Listen = []string{a.host.Network().ListenAddresses()[0].String()}
	h, err := NewHost(cfg, identity("late"))
	if err == nil {
		_ = h.Close()
		t.Fatal("two hosts listen on one port")
	}
	if !strings.Contains(err.Error(), "taken by another program") {
		t.Errorf("error does not say what to do: %v", err)
	}
}

// TestNothingIsLeftBehind: after Run has returned and the host is closed, no
// goroutine of p2p or pubsub remains.
func TestNothingIsLeftBehind(t *testing.T) {
	w := newWorld(t, "ends")
	nodes := []*testNode{w.node("a"), w.node("b"), w.node("c")}
	link(nodes[0], nodes[1])
	link(nodes[1], nodes[2])
	nodes[0].propose(w.block(w.tx(0, 100)))
	nodes[2].reaches(w.builder.BlockByNumber(1))
	if err := nodes[0].net.PublishBlock(w.block()); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		n.stop()
		if err := n.net.PublishBlock(w.builder.BlockByNumber(1)); !errors.Is(err, ErrNotRunning) {
			t.Errorf("publish after the end: %v", err)
		}
	}
	var stacks string
	deadline := time.Now().Add(patience)
	for {
		buf := make([]byte, 1<<20)
		stacks = string(buf[:runtime.Stack(buf, true)])
		ours := strings.Count(stacks, "pheme/p2p.(*Net)") + strings.Count(stacks, "go-libp2p-pubsub.") + strings.Count(stacks, "pheme/p2p.(*tap")
		if ours == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines are left:\n%s", ours, stacks)
		}
		runtime.Gosched()
	}
}
