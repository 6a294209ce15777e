package p2p

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/pheme-net/pheme/chain"
	linkmodel "github.com/pheme-net/pheme/p2p/link"
	"github.com/pheme-net/pheme/p2p/link/virtual"
	"github.com/pheme-net/pheme/p2p/trace"
)

// coldStart measures how long a node that starts with nothing takes to the head of
// three peers over links of 50 Mbit/s, once by all blocks and once by
// state. Every transaction pays a new account. Computing takes no time here: only
// what crosses the links does.
func coldStart(t *testing.T, latency string, blocks, perBlock, data int) (full, state time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "cold")
		for i := range blocks {
			var txs []*chain.Tx
			for j := range perBlock {
				txs = append(txs, w.payWith(j%len(w.users), common.BytesToAddress(fmt.Appendf(nil, "new %d %d", i, j)), data))
			}
			w.block(txs...)
		}
		head := w.builder.HeadID()
		table, err := linkmodel.ParseLatency(latency)
		if err != nil {
			t.Fatal(err)
		}
		const nodes = 5
		cfg := linkmodel.Config{Nodes: linkmodel.Uniform(nodes, table, 50*linkmodel.Mbit, 50*linkmodel.Mbit, rand.New(rand.NewPCG(1, 1))), Table: table, Seed: 1}
		net, err := virtual.New(cfg, virtual.Direct)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { _ = net.Run(ctx) })
		clock := trace.ClockAt(time.Now(), 0)
		var hosts []*virtual.Host
		var all []*testNode
		start := func(c *chain.Chain, cfg Config) *testNode {
			key, err := virtual.Identity(1, len(hosts))
			if err != nil {
				t.Fatal(err)
			}
			h, err := virtual.NewHost(net, virtual.HostConfig{Node: len(hosts), Key: key})
			if err != nil {
				t.Fatal(err)
			}
			hosts = append(hosts, h)
			n := &testNode{t: t, host: h, chain: c, rec: newRecorder()}
			n.back = &testBackend{chain: n.chain, rec: n.rec, queue: make(chan *chain.Block, 16), pool: make(map[common.Hash]*chain.Tx)}
			if n.net, err = New(cfg, h, n.chain, n.back, nil, clock); err != nil {
				t.Fatal(err)
			}
			n.back.net = n.net
			running.Go(func() {
				if err := n.net.Run(ctx); err != nil {
					t.Errorf("Run: %v", err)
				}
			})
			all = append(all, n)
			return n
		}
		for range nodes - 2 {
			start(w.builder, Config{})
		}
		reach := func(cfg Config) time.Duration {
			n := start(openChain(t, w.genesis), cfg)
			began := time.Now()
			for _, o := range all[:nodes-2] {
				if err := n.net.AddPeer(fmt.Sprintf("%s/p2p/%s", o.host.Addrs()[0], o.host.ID())); err != nil {
					t.Fatal(err)
				}
			}
			for n.chain.HeadID() != head {
				time.Sleep(10 * time.Millisecond)
				if time.Since(began) > 10*time.Minute {
					t.Fatalf("at block %d after %v", n.chain.Weight(), time.Since(began))
				}
			}
			took := time.Since(began)
			in := n.net.Stats().In[trace.ClassSync]
			t.Logf("full %v: %v and %d bytes to block %d, window from %d", cfg.FullSync, took, in, n.chain.Weight(), n.chain.Low())
			if got := n.chain.Low() > 0; got == cfg.FullSync {
				t.Errorf("full %v, window from %d", cfg.FullSync, n.chain.Low())
			}
			return took
		}
		full = reach(Config{FullSync: true})
		state = reach(Config{StateBlocks: 256})
		cancel()
		running.Wait()
		for _, n := range all {
			_ = n.chain.Close()
		}
		for _, h := range hosts {
			_ = h.Close()
		}
		time.Sleep(5 * time.Second)
	})
	return full, state
}

// TestColdStart: a state is there in a quarter of the time that the blocks take.
func TestColdStart(t *testing.T) {
	full, state := coldStart(t, "uniform:10ms", 322, 2, 30_000)
	if 4*state > full {
		t.Errorf("by state in %v, by blocks in %v: want at most a quarter", state, full)
	}
}
