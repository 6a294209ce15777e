package p2p

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
	netlink "github.com/pheme-net/pheme/p2p/link"
	"github.com/pheme-net/pheme/p2p/link/virtual"
	"github.com/pheme-net/pheme/p2p/trace"
)

// overLinks runs n nodes with the default settings in virtual time over modelled links of 20 ms,
// each keeping a connection to all with larger numbers, and plays on them.
func overLinks(t *testing.T, n int, play func(net *virtual.Network, nodes []*testNode)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "links")
		table, err := netlink.ParseLatency("uniform:20ms")
		if err != nil {
			t.Fatal(err)
		}
		net, err := virtual.New(netlink.Config{Nodes: netlink.Uniform(n, table, 0, 0, rand.New(rand.NewPCG(1, 1))), Table: table}, virtual.Direct)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var running, wires sync.WaitGroup
		wires.Go(func() { _ = net.Run(ctx) })
		inner, stop := context.WithCancel(ctx)
		clock := trace.ClockAt(time.Now(), 0)
		nodes := make([]*testNode, n)
		for i := range n {
			h, err := virtual.NewHost(net, virtual.HostConfig{Node: i, Key: identity(fmt.Sprint(i))})
			if err != nil {
				t.Fatal(err)
			}
			tn := &testNode{t: t, host: h, chain: openChain(t, w.genesis), rec: newRecorder()}
			tn.back = &testBackend{chain: tn.chain, rec: tn.rec, queue: make(chan *chain.Block, 16), pool: make(map[common.Hash]*chain.Tx)}
			if tn.net, err = New(Config{}, h, tn.chain, tn.back, tn.rec.emit, clock); err != nil {
				t.Fatal(err)
			}
			tn.back.net = tn.net
			running.Go(func() {
				if err := tn.net.Run(inner); err != nil {
					t.Errorf("Run: %v", err)
				}
			})
			running.Go(func() { tn.back.run(inner) })
			nodes[i] = tn
		}
		for i, a := range nodes {
			for _, b := range nodes[i+1:] {
				if err := a.net.AddPeer(b.addr()); err != nil {
					t.Fatal(err)
				}
			}
		}
		for n := range nodes {
			await(t, 10*time.Second, func() bool { return nodes[n].net.peers.count() == len(nodes)-1 })
		}
		play(net, nodes)
		stop()
		running.Wait()
		for _, n := range nodes {
			if err := errors.Join(n.host.Close(), n.chain.Close()); err != nil {
				t.Error(err)
			}
		}
		if err := w.builder.Close(); err != nil {
			t.Error(err)
		}
		cancel()
		wires.Wait()
		time.Sleep(5 * time.Second) // of virtual time: goleveldb's last goroutine lives a second after Close
	})
}

// await waits in virtual time and returns how long it took.
func await(t *testing.T, limit time.Duration, condition func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !condition() {
		if time.Since(began) > limit {
			t.Fatalf("not within %v", limit)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(began)
}

// TestHeal cuts two nodes apart for shorter and longer than their connection lives. They give each
// other up, and are connected again within 10 s of the heal by themselves, within 1 s when told.
func TestHeal(t *testing.T) {
	for _, cut := range []time.Duration{7 * time.Second, 12 * time.Second, 15 * time.Second, 29 * time.Second, 64 * time.Second} {
		for _, told := range []bool{false, true} {
			overLinks(t, 2, func(net *virtual.Network, nodes []*testNode) {
				a, b := nodes[0], nodes[1]
				if err := net.Apply(netlink.Partition{Groups: [][]int{{0}}}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(cut)
				if up := a.net.peers.isUp(b.host.ID()); up != (cut < 10*time.Second) {
					t.Errorf("after a cut of %v the peer is up: %t", cut, up)
				}
				if net.Count(0).Cut == 0 {
					t.Error("the cut dropped nothing")
				}
				if err := net.Apply(netlink.Heal{}); err != nil {
					t.Fatal(err)
				}
				limit := 10 * time.Second
				if told {
					limit = time.Second
					a.net.Redial()
					b.net.Redial()
				}
				heard := func(n, o *testNode) bool { // since the heal
					return n.net.peers.isUp(o.host.ID()) && len(n.net.peers.silent(time.Now().Add(-100*time.Millisecond))) == 0
				}
				took := await(t, limit, func() bool { return heard(a, b) || heard(b, a) })
				t.Logf("cut %v, told %t: heard of each other after %v", cut, told, took)
			})
		}
	}
}

// TestOnePeerBack: a peer that is reached again has the others tried at once.
func TestOnePeerBack(t *testing.T) {
	now := time.Unix(1000, 0)
	d := newDialer("self", 100*time.Millisecond, 4*time.Second)
	var cancelled []string
	for _, id := range []string{"a", "b", "c"} {
		d.add(peer.AddrInfo{ID: peer.ID(id)}, originStatic)
	}
	none := func(peer.ID) bool { return false }
	dial, _ := d.due(now, none, false)
	for range 8 { // all fail until they wait longest
		for _, i := range dial {
			d.done(i.ID, false, now)
		}
		now = now.Add(9 * time.Second)
		dial, _ = d.due(now, none, false)
	}
	for _, i := range dial {
		d.began(i.ID, func() { cancelled = append(cancelled, string(i.ID)) })
	}
	d.done("a", false, now)
	d.done("b", true, now)
	if now = now.Add(stale); len(dial) != 3 {
		t.Fatalf("%d dials, want 3", len(dial))
	}
	connected := func(id peer.ID) bool { return id == "b" }
	if again, _ := d.due(now, connected, false); len(again) != 0 {
		t.Fatalf("%d dials before a peer is up, want none", len(again))
	}
	d.came("b", now)
	if len(cancelled) != 1 || cancelled[0] != "c" {
		t.Errorf("dials given up = %q, want the one of c, begun %v ago", cancelled, stale)
	}
	if again, _ := d.due(now, connected, false); len(again) != 1 || again[0].ID != "a" {
		t.Errorf("dials at once = %v, want that of a", again)
	}
	cancelled = nil
	if d.came("b", now); len(cancelled) != 0 {
		t.Errorf("a peer that was up already had dials %q given up", cancelled)
	}
}
