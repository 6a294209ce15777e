package p2p

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"
	mocknet "github.com/libp2p/go-libp2p/p2p/net/mock"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
)

// TestVirtualTime runs three nodes in a bubble, where a goroutine that outlives
// Run, or a lock held across a wait, fails the test. In virtual time the stages
// of a hop are exact: nothing but the links takes any.
func TestVirtualTime(t *testing.T) {
	const delay = 30 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "virtual")
		mock := mocknet.New()
		mock.SetLinkDefaults(mocknet.LinkOptions{Latency: delay})
		clock := trace.ClockAt(time.Now(), 0)
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		var nodes []*testNode
		for i, name := range []string{"a", "b", "c"} {
			h, err := mock.AddPeer(identity(name), ma.StringCast("/ip4/10.0.0."+string('1'+rune(i))+"/tcp/4001"))
			if err != nil {
				t.Fatal(err)
			}
			n := &testNode{t: t, host: h, chain: openChain(t, w.genesis), rec: newRecorder()}
			n.back = &testBackend{chain: n.chain, rec: n.rec, queue: make(chan *chain.Block, 16), pool: make(map[common.Hash]*chain.Tx)}
			if n.net, err = New(Config{}, h, n.chain, n.back, n.rec.emit, clock); err != nil {
				t.Fatal(err)
			}
			n.back.net = n.net
			running.Go(func() {
				if err := n.net.Run(ctx); err != nil {
					t.Errorf("Run: %v", err)
				}
			})
			running.Go(func() { n.back.run(ctx) })
			nodes = append(nodes, n)
		}
		if err := mock.LinkAll(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for i := range 2 { // a line
			if _, err := mock.ConnectPeers(nodes[i].host.ID(), nodes[i+1].host.ID()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(3 * time.Second)
		if _, size := nodes[1].net.tracer.inMesh(""); size != [numTopics]int{2, 2} {
			t.Fatalf("meshes of the middle: %v", size)
		}
		blk := w.block(w.tx(0, 1000))
		start := clock.Now()
		nodes[0].propose(blk)
		x := w.tx(1, 100)
		if err := nodes[0].net.PublishTx([]*chain.Tx{x}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for hops, n := range nodes[1:] {
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
		pub := nodes[0].rec.all(kind(trace.TxPublished, x.Hash()))
		if len(pub) != 1 || pub[0].At != start+int64(5*time.Millisecond) {
			t.Errorf("batch left at %v, want 5 ms after %d", pub, start)
		}
		cancel()
		running.Wait()
		if err := mock.Close(); err != nil {
			t.Error(err)
		}
		for _, n := range nodes {
			_ = n.chain.Close()
		}
		_ = w.builder.Close()
		time.Sleep(5 * time.Second) // goleveldb's last goroutine lives a second after Close
	})
}
