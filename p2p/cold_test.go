package p2p

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/chain"
	linkmodel "github.com/pheme-net/pheme/p2p/link"
	"github.com/pheme-net/pheme/p2p/link/virtual"
	"github.com/pheme-net/pheme/p2p/trace"
)

// cold is a chain that a node without anything is to reach the head of.
type cold struct {
	latency                string
	blocks, perBlock, data int
	value                  int64 // wei, about: each account gets another amount
}

// cpu is what computing costs, on all cores.
type cpu struct {
	signature, transfer, hashedKiB time.Duration
}

func (c *cpu) charge(w chain.Work) {
	time.Sleep(time.Duration(w.Signatures)*c.signature + time.Duration(w.Transfers)*c.transfer + time.Duration(w.HashedBytes)*c.hashedKiB/1024)
}

// arrival is how a node came to the head.
type arrival struct {
	took  time.Duration
	bytes uint64 // of sync that it read
}

// start measures how long a node that starts with nothing takes to the head of
// three peers over links of 50 Mbit/s, once by all blocks and once by state, for each
// price of computing, where nil is none. Every transaction pays a new account.
func (p cold) start(t *testing.T, prices ...*cpu) (full, state []arrival) {
	synctest.Test(t, func(t *testing.T) {
		w, shared := newWorldOf(t, "cold", 1<<20, time.Now().Add(-4*time.Hour)), chain.NewShared()
		if err := w.builder.Close(); err != nil {
			t.Fatal(err)
		}
		w.builder = openShared(t, w.genesis, shared)
		p.build(w)
		head := w.builder.HeadID()
		table, err := linkmodel.ParseLatency(p.latency)
		if err != nil {
			t.Fatal(err)
		}
		const servers = 3
		nodes := servers + 2*len(prices)
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
		start := func(ctx context.Context, running *sync.WaitGroup, c *chain.Chain, cfg Config) *testNode {
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
			return n
		}
		var peers []*testNode
		for range servers {
			peers = append(peers, start(ctx, &running, w.builder, Config{NoRepair: true}))
		}
		reach := func(cfg Config) arrival {
			var ends sync.WaitGroup
			ctx, stop := context.WithCancel(ctx)
			n := start(ctx, &ends, openShared(t, w.genesis, shared), cfg)
			began := time.Now()
			for _, o := range peers {
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
			t.Logf("full %v: %v and %d bytes to block %d", cfg.FullSync, took, in, n.chain.Weight())
			if executed := len(n.rec.all(kind(trace.BlockImported, common.Hash{}))); (executed == p.blocks) != cfg.FullSync {
				t.Errorf("full %v, and %d of %d blocks executed", cfg.FullSync, executed, p.blocks)
			}
			stop()
			ends.Wait()
			if err := n.chain.Close(); err != nil {
				t.Error(err)
			}
			return arrival{took, in}
		}
		for _, price := range prices {
			cfg := Config{NoRepair: true, StateBlocks: 256}
			if price != nil {
				cfg.Charge = price.charge
			}
			state = append(state, reach(cfg))
			cfg.FullSync = true
			full = append(full, reach(cfg))
		}
		cancel()
		running.Wait()
		if err := w.builder.Close(); err != nil {
			t.Error(err)
		}
		for _, h := range hosts {
			_ = h.Close()
		}
		time.Sleep(5 * time.Second)
	})
	return full, state
}

// openShared opens a chain that keeps its blocks together with others, as those of
// virtual time do. It is charged for each all the same.
func openShared(t *testing.T, g *chain.Genesis, shared *chain.Shared) *chain.Chain {
	c, err := chain.Open(chain.Config{Shared: shared}, g, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// build makes the chain, on all cores.
func (p cold) build(w *world) {
	rng := rand.New(rand.NewPCG(5, 5))
	for i := range p.blocks {
		txs := make([]*chain.Tx, p.perBlock)
		var g errgroup.Group
		for j := range txs {
			var to common.Address
			binary.BigEndian.PutUint64(to[:], rng.Uint64()) // as dense as any
			binary.BigEndian.PutUint64(to[8:], rng.Uint64())
			binary.BigEndian.PutUint32(to[16:], uint32(i*p.perBlock+j))
			user, wei := j%len(w.users), 1+rng.Int64N(2*p.value)
			nonce := w.nonces[user]
			w.nonces[user]++
			g.Go(func() (err error) {
				txs[j], err = w.sign(user, nonce, to, wei, p.data)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			w.t.Fatal(err)
		}
		chain.RecoverSenders(txs, w.genesis)
		w.block(txs...)
	}
}

// TestColdStart: a state is there in a quarter of the time that the blocks take.
func TestColdStart(t *testing.T) {
	full, state := cold{latency: "uniform:10ms", blocks: 322, perBlock: 2, data: 30_000, value: 1}.start(t, nil)
	if 4*state[0].took > full[0].took {
		t.Errorf("by state in %v, by blocks in %v: want at most a quarter", state[0].took, full[0].took)
	}
}

// twoCores are the prices of experiments, with signatures spread over two cores.
var twoCores = &cpu{signature: 18 * time.Microsecond, transfer: 10 * time.Microsecond, hashedKiB: 7 * time.Microsecond}
