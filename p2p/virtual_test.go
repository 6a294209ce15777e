package p2p

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	mocknet "github.com/libp2p/go-libp2p/p2p/net/mock"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
)

// bubble is a line of nodes in virtual time with the same delay on every link.
type bubble struct {
	*world
	nodes []*testNode
	clock trace.Clock
	mock  mocknet.Mocknet
	stop  func()
}

const delay = 30 * time.Millisecond

// newBubble starts n nodes in a line and waits for their meshes. It runs inside
// synctest.Test; the caller defers burst.
func newBubble(t *testing.T, label string, n int, bend ...func(*Config)) *bubble {
	t.Helper()
	v := &bubble{world: newWorld(t, label), mock: mocknet.New(), clock: trace.ClockAt(time.Now(), 0)}
	v.mock.SetLinkDefaults(mocknet.LinkOptions{Latency: delay})
	var cfg Config
	for _, f := range bend {
		f(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	v.stop = func() { cancel(); running.Wait() }
	for i := range n {
		mock, err := v.mock.AddPeer(identity(fmt.Sprint(i)), ma.StringCast(fmt.Sprintf("/ip4/10.0.0.%d/tcp/4001", i+1)))
		if err != nil {
			t.Fatal(err)
		}
		h := &cutHost{Host: mock, from: make(map[peer.ID]bool)}
		n := &testNode{t: t, host: h, chain: openChain(t, v.genesis), rec: newRecorder()}
		n.back = &testBackend{chain: n.chain, rec: n.rec, queue: make(chan *chain.Block, 16), pool: make(map[common.Hash]*chain.Tx)}
		if n.net, err = New(cfg, h, n.chain, n.back, n.rec.emit, v.clock); err != nil {
			t.Fatal(err)
		}
		n.back.net = n.net
		running.Go(func() {
			if err := n.net.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		running.Go(func() { n.back.run(ctx) })
		v.nodes = append(v.nodes, n)
	}
	if err := v.mock.LinkAll(); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	for i := range n - 1 {
		if _, err := v.mock.ConnectPeers(v.nodes[i].host.ID(), v.nodes[i+1].host.ID()); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(3 * time.Second)
	for i, n := range v.nodes {
		want := 2
		if i == 0 || i == len(v.nodes)-1 {
			want = 1
		}
		if s := n.net.Stats(); s.MeshBlock != want || s.MeshTx != want {
			t.Fatalf("meshes of node %d: %d and %d", i, s.MeshBlock, s.MeshTx)
		}
	}
	return v
}

// cutHost opens no stream to peers that it is cut from. mocknet would, on a connection that it is closing, and
// the stream would outlive that: GossipSub opens one as soon as its old one ends.
type cutHost struct {
	host.Host
	mu   sync.Mutex
	from map[peer.ID]bool
}

func (h *cutHost) cut(p peer.ID, yes bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.from[p] = yes
}

// NewStream implements host.Host.
func (h *cutHost) NewStream(ctx context.Context, p peer.ID, ids ...protocol.ID) (network.Stream, error) {
	h.mu.Lock()
	cut := h.from[p]
	h.mu.Unlock()
	if cut {
		return nil, network.ErrNoConn
	}
	return h.Host.NewStream(ctx, p, ids...)
}

// cut parts two nodes, so that they cannot find each other again before join.
func (v *bubble) cut(i, j int) {
	a, b := v.nodes[i].host.ID(), v.nodes[j].host.ID()
	v.nodes[i].host.(*cutHost).cut(b, true)
	v.nodes[j].host.(*cutHost).cut(a, true)
	if err := errors.Join(v.mock.UnlinkPeers(a, b), v.mock.DisconnectPeers(a, b)); err != nil {
		v.t.Fatal(err)
	}
}

// join links and connects two nodes.
func (v *bubble) join(i, j int) {
	a, b := v.nodes[i].host.ID(), v.nodes[j].host.ID()
	v.nodes[i].host.(*cutHost).cut(b, false)
	v.nodes[j].host.(*cutHost).cut(a, false)
	if len(v.mock.LinksBetweenPeers(a, b)) == 0 {
		if _, err := v.mock.LinkPeers(a, b); err != nil {
			v.t.Fatal(err)
		}
	}
	if _, err := v.mock.ConnectPeers(a, b); err != nil {
		v.t.Fatal(err)
	}
}

// burst ends all that lives in the bubble.
func (v *bubble) burst() {
	v.stop()
	_ = v.mock.Close()
	for _, n := range v.nodes {
		_ = n.chain.Close()
	}
	_ = v.builder.Close()
	time.Sleep(5 * time.Second) // goleveldb's last goroutine lives a second after Close
}

// TestVirtualTime runs three nodes in a bubble, where a goroutine that outlives
// Run, or a lock held across a wait, fails the test. In virtual time the stages
// of a hop are exact: nothing but the links takes any.
func TestVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newBubble(t, "virtual", 3)
		defer v.burst()
		blk := v.block(v.tx(0, 1000))
		start := v.clock.Now()
		v.nodes[0].propose(blk)
		x := v.tx(1, 100)
		if err := v.nodes[0].net.PublishTx([]*chain.Tx{x}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for hops, n := range v.nodes[1:] {
			e := n.rec.all(kind(trace.BlockAccepted, blk.ID()))
			if want := start + int64(hops+1)*int64(delay); len(e) != 1 || e[0].At != want {
				t.Errorf("block at %d hops: %v, want %d", hops+1, e, want)
			}
			r := n.rec.all(kind(trace.MsgRead, blk.ID()))
			if len(r) != 1 || r[0].At != e[0].At {
				t.Errorf("msg.read %v, block.accepted %v", r, e)
			}
			if !n.chain.Has(blk.ID()) || n.back.Tx(x.Hash()) == nil {
				t.Error("block or transaction is missing")
			}
		}
		pub := v.nodes[0].rec.all(kind(trace.TxPublished, x.Hash()))
		if len(pub) != 1 || pub[0].At != start+int64(5*time.Millisecond) {
			t.Errorf("batch left at %v, want 5 ms after %d", pub, start)
		}
	})
}

// TestEarlyBlocksAreHeld: a block a little ahead of our clock is held, and
// accepted and passed on when its slot begins; one far ahead is dropped.
func TestEarlyBlocksAreHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newBubble(t, "early", 3)
		defer v.burst()
		a, b, c := v.nodes[0], v.nodes[1], v.nodes[2]
		slot := v.genesis.SlotAt(time.Now()) + 1
		begins := v.genesis.SlotStart(slot)
		time.Sleep(time.Until(begins) - 300*time.Millisecond)
		v.slot = slot - 1
		blk := v.block()
		if err := a.net.PublishBlock(blk); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		if s := b.net.Stats(); s.Held != 1 || s.Verdicts["block"]["ignore"] != 1 {
			t.Errorf("before its slot: %+v", s)
		}
		time.Sleep(time.Second)
		for i, n := range []*testNode{b, c} {
			e := n.rec.all(kind(trace.BlockAccepted, blk.ID()))
			if len(e) != 1 || e[0].At != v.clock.At(begins)+int64(i)*int64(delay) || i == 0 && e[0].Aux != trace.PathHeld {
				t.Errorf("node %d: %+v, slot begins at %d", i+1, e, v.clock.At(begins))
			}
			if s := n.net.Stats(); s.Held != 0 || s.Verdicts["block"]["reject"] != 0 {
				t.Errorf("after its slot: %+v", s)
			}
		}
		far, _, err := v.builder.Build(slot+10, v.key, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.net.PublishBlock(far); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		if s := b.net.Stats(); s.Held != 0 || s.Verdicts["block"]["ignore"] != 2 || s.Verdicts["block"]["reject"] != 0 {
			t.Errorf("far ahead: %+v", s)
		}
	})
}

// TestNoticeHealsALostBlock: a node that never got a block by gossip asks for it
// when gossip has had its time, and not before.
func TestNoticeHealsALostBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newBubble(t, "notice", 2)
		defer v.burst()
		a, b := v.nodes[0], v.nodes[1]
		start := v.clock.Now()
		blk := v.block()
		if err := a.back.add(blk); err != nil { // imported and told of, but not published
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		e := b.rec.all(kind(trace.BlockAccepted, blk.ID()))
		if len(e) != 1 || e[0].Aux != trace.PathSync {
			t.Fatalf("accepted: %+v", e)
		}
		if took := time.Duration(e[0].At - start); took < b.net.grace || took > b.net.grace+10*delay {
			t.Errorf("took %v, grace is %v", took, b.net.grace)
		}
	})
}
