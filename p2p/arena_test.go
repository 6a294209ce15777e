package p2p

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/pheme-net/pheme/chain"
	model "github.com/pheme-net/pheme/p2p/link"
	"github.com/pheme-net/pheme/p2p/link/virtual"
	"github.com/pheme-net/pheme/p2p/relay"
	"github.com/pheme-net/pheme/p2p/trace"
)

// arena is what a comparison of relays needs: many nodes in virtual time over
// modelled links, which take blocks but import none. The pools hold what the
// arena says, and nothing is gossiped but blocks.
type arena struct {
	nodes, degree  int
	size, tx       int // bytes of a block's transactions and of one
	blocks, warmup int
	relay          string
	latency        string
	rate           model.Rate
	loss           float64
	pools          float64 // share of a block's transactions that a node has pooled
	seed           uint64
	bend           func(i int, c *Config)
	mute           func(i int) bool // nodes that give no pieces, only gossip and whole blocks to who asks
	silent         func(i int) bool // nodes that take, and give nothing of others' blocks
	walled         bool             // the relay's datagrams do not arrive
}

// arenaResult is over all counted blocks and their nodes.
type arenaResult struct {
	p50, p95, p100, floor time.Duration
	copies, root, most    float64 // bytes read for a block, sent by its origin, and read by the worst node / its size
	missing, hops         int
	stray                 int // bytes of chunks of no block
	unbegun               int // blocks had by a node without a first byte before all others
	gave                  int // bytes of blocks that silent nodes passed on
	paths                 map[int64]int
	stats                 relay.Stats            // of all nodes: chunks sent, answers and what was given up in pieces
	forms                 map[string]relay.Forms // received, by the relay of those that did
}

func (r arenaResult) String() string {
	return fmt.Sprintf("p50 %d p95 %d p100 %d ms, floor p95 %d (%.2fx), copies %.2f (most %.2f), origin %.2f, missing %d, hops %d, paths %v",
		r.p50.Milliseconds(), r.p95.Milliseconds(), r.p100.Milliseconds(), r.floor.Milliseconds(), float64(r.p95)/float64(r.floor), r.copies, r.most, r.root, r.missing, r.hops, r.paths)
}

func (a arena) fill() arena {
	if a.degree == 0 {
		a.degree = min(10, a.nodes-1)
	}
	if a.tx == 0 {
		a.tx = 16 << 10
	}
	if a.blocks == 0 {
		a.blocks = 3
	}
	if a.latency == "" {
		a.latency = "uniform:50ms"
	}
	if a.rate == 0 {
		a.rate = 50 * model.Mbit
	}
	if a.seed == 0 {
		a.seed = 1
	}
	return a
}

// arenaNode is one node of an arena.
type arenaNode struct {
	net    *Net
	pool   *arenaPool
	mu     sync.Mutex
	events []trace.Event
}

func (n *arenaNode) emit(e trace.Event) {
	n.mu.Lock()
	n.events = append(n.events, e)
	n.mu.Unlock()
}

// arenaPool is a backend that imports nothing.
type arenaPool struct {
	testBackend
}

func (p *arenaPool) QueueBlock(peer.ID, *chain.Block) error { return nil }

func (p *arenaPool) ImportBlock(context.Context, peer.ID, *chain.Block) error { return nil }

// bubbleBegins is what the clock of a bubble shows at first.
var bubbleBegins = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// muteHost cannot open a relay stream: it takes and never gives.
type muteHost struct{ host.Host }

func (h muteHost) NewStream(ctx context.Context, p peer.ID, ids ...protocol.ID) (network.Stream, error) {
	if slices.Contains(ids, relayProtocol) {
		return nil, errors.New("mute")
	}
	return h.Host.NewStream(ctx, p, ids...)
}

// walledHost is one whose relay sends datagrams into a wall.
type walledHost struct{ *virtual.Host }

func (h walledHost) SendPacket(to peer.ID, at netip.AddrPort, b []byte, introduce bool) {
	if b[0] != packetRelay {
		h.Host.SendPacket(to, at, b, introduce)
	}
}

// run plays the arena; it makes its own bubble.
func (a arena) run(tb testing.TB) (r arenaResult) {
	tb.Helper()
	a = a.fill()
	w := newWorldOf(tb, "arena", uint64(a.size)+64<<10, bubbleBegins)
	var blocks []*chain.Block
	for range a.warmup + a.blocks {
		var txs []*chain.Tx
		for i := range max(1, a.size/a.tx) {
			txs = append(txs, w.tx(i%len(w.users), max(1, a.tx-130)))
		}
		blocks = append(blocks, w.block(txs...))
	}
	synctest.Test(new(testing.T), func(*testing.T) { r = a.inside(tb, w, blocks) })
	return r
}

func (a arena) inside(tb testing.TB, w *world, blocks []*chain.Block) arenaResult {
	table, err := model.ParseLatency(a.latency)
	if err != nil {
		tb.Fatal(err)
	}
	cfg := model.Config{Nodes: model.Uniform(a.nodes, table, a.rate, a.rate, rand.New(rand.NewPCG(a.seed, 2))), Table: table, Seed: a.seed, Loss: a.loss}
	wires, err := virtual.New(cfg, virtual.Direct)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	links, stop := context.WithCancel(context.Background())
	var running, under sync.WaitGroup
	under.Go(func() { _ = wires.Run(links) })
	clock := trace.ClockAt(time.Now(), 0)
	nodes := make([]*arenaNode, a.nodes)
	hosts := make([]*virtual.Host, a.nodes)
	var chains []*chain.Chain
	for i := range nodes {
		key, err := virtual.Identity(a.seed, i)
		if err != nil {
			tb.Fatal(err)
		}
		if hosts[i], err = virtual.NewHost(wires, virtual.HostConfig{Node: i, Key: key}); err != nil {
			tb.Fatal(err)
		}
		c, err := chain.Open(chain.Config{}, w.genesis, "", nil)
		if err != nil {
			tb.Fatal(err)
		}
		chains = append(chains, c)
		n := &arenaNode{pool: &arenaPool{testBackend{chain: c, pool: make(map[common.Hash]*chain.Tx)}}}
		conf := Config{Relay: a.relay, NoRepair: true}
		if a.bend != nil {
			a.bend(i, &conf)
		}
		var h host.Host = hosts[i]
		if a.walled {
			h = walledHost{hosts[i]}
		}
		if a.mute != nil && a.mute(i) {
			h = muteHost{h}
		}
		if n.net, err = New(conf, h, c, n.pool, n.emit, clock); err != nil {
			tb.Fatal(err)
		}
		n.net.SetSilent(a.silent != nil && a.silent(i))
		nodes[i] = n
		running.Go(func() {
			if err := n.net.Run(ctx); err != nil {
				tb.Errorf("Run: %v", err)
			}
		})
	}
	edges := randomGraph(a.nodes, a.degree, rand.New(rand.NewPCG(a.seed, 3)))
	var dials sync.WaitGroup
	for _, e := range edges {
		dials.Go(func() {
			if err := hosts[e[0]].Connect(ctx, peer.AddrInfo{ID: hosts[e[1]].ID(), Addrs: hosts[e[1]].Addrs()}); err != nil {
				tb.Error(err)
			}
		})
	}
	dials.Wait()
	time.Sleep(10 * time.Second)
	rng := rand.New(rand.NewPCG(a.seed, 4))
	var r arenaResult
	var latencies, floors []time.Duration
	r.paths, r.forms = map[int64]int{}, map[string]relay.Forms{}
	for k, b := range blocks {
		for _, n := range nodes {
			n.mu.Lock()
			n.events = nil
			n.mu.Unlock()
			n.pool.mu.Lock()
			clear(n.pool.pool)
			for _, x := range b.Txs() {
				if rng.Float64() < a.pools {
					n.pool.pool[x.Hash()] = x
				}
			}
			n.pool.mu.Unlock()
		}
		origin := k * 7 % a.nodes
		begin := clock.Now()
		for _, x := range blocks[:k+1] { // an origin that missed one has its parent all the same
			if err := chains[origin].Check(x, time.Now()); err != nil && !errors.Is(err, chain.ErrKnown) {
				tb.Fatal(err)
			}
		}
		if err := nodes[origin].net.PublishBlock(b); err != nil {
			tb.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		if k < a.warmup {
			continue
		}
		ways := hopsFrom(a.nodes, edges, origin)
		for i, n := range nodes {
			read, sent, first, at, path, hops := n.sum(b.ID())
			if i == origin {
				r.root = max(r.root, float64(sent)/float64(b.Size()))
				continue
			}
			if a.silent != nil && a.silent(i) {
				r.gave += sent
			}
			r.copies += float64(read) / float64(b.Size()) / float64(len(nodes)-1) / float64(a.blocks)
			r.most = max(r.most, float64(read)/float64(b.Size()))
			if at == 0 {
				r.missing++
				latencies = append(latencies, time.Hour)
				continue
			}
			if first == 0 {
				r.unbegun++
			}
			r.paths[path]++
			r.hops = max(r.hops, hops)
			latencies = append(latencies, time.Duration(at-begin))
			floors = append(floors, a.rate.Time(b.Size())+time.Duration(ways[i])*wires.Path(0, 1).Min)
		}
	}
	for i, n := range nodes {
		r.stray += n.stray()
		r.count(n.net)
		for j, h := range hosts {
			if p := n.net.peers.penalty(h.ID()); p != 0 {
				tb.Errorf("node %d blames node %d: %g points, and all keep to the protocol", i, j, p)
			}
		}
	}
	cancel()
	running.Wait()
	for i := range hosts {
		_ = hosts[i].Close()
		_ = chains[i].Close()
	}
	stop()
	under.Wait()
	time.Sleep(5 * time.Second)
	slices.Sort(latencies)
	slices.Sort(floors)
	at := func(d []time.Duration, q float64) time.Duration { return d[min(len(d)-1, int(q*float64(len(d))))] }
	r.p50, r.p95, r.p100 = at(latencies, .5), at(latencies, .95), latencies[len(latencies)-1]
	if len(floors) > 0 {
		r.floor = at(floors, .95)
	}
	return r
}

// count adds what a node's relay counted.
func (r *arenaResult) count(n *Net) {
	s := n.Stats().Relay
	r.stats.ChunksSent += s.ChunksSent
	r.stats.ChunksPosted += s.ChunksPosted
	r.stats.ChunksLost += s.ChunksLost
	r.stats.WithAnswers += s.WithAnswers
	r.stats.FetchedWhole += s.FetchedWhole
	f := r.forms[n.Relay()]
	f.Gossip, f.Compact, f.Coded = f.Gossip+s.Received.Gossip, f.Compact+s.Received.Compact, f.Coded+s.Received.Coded
	r.forms[n.Relay()] = f
}

// sum adds up what a node recorded of a block. Its first byte is at 0 if it was
// recorded never or twice, or after a message of it was whole.
func (n *arenaNode) sum(id common.Hash) (read, sent int, first, at, path int64, hops int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var begun int64 // when a message of it was whole
	firsts := 0
	for _, e := range n.events {
		if e.Hash != id {
			continue
		}
		switch e.Kind {
		case trace.MsgRead:
			read += int(e.Size)
			if begun == 0 {
				begun = e.At
			}
		case trace.BlockFirstByte:
			firsts++
			first = e.At
		case trace.MsgWritten:
			sent += int(e.Size)
		case trace.BlockAccepted:
			if at == 0 {
				at = e.At
				path, hops = trace.PathOf(e.Aux)
			}
		}
	}
	if firsts != 1 || first > begun {
		first = 0
	}
	return read, sent, first, at, path, hops
}

// stray is how many bytes of chunks a node recorded as of no block.
func (n *arenaNode) stray() (bytes int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.events {
		if e.Kind == trace.MsgRead && e.Class == trace.ClassRelay && e.Hash == (common.Hash{}) {
			if _, piece := trace.PieceOf(e.Aux); piece != trace.PieceNone {
				bytes += int(e.Size)
			}
		}
	}
	return bytes
}

// randomGraph gives every node about a degree of neighbours; it is connected.
func randomGraph(n, degree int, rng *rand.Rand) (edges [][2]int) {
	has := map[[2]int]bool{}
	add := func(a, b int) bool {
		e := [2]int{min(a, b), max(a, b)}
		if a == b || has[e] {
			return false
		}
		has[e] = true
		edges = append(edges, [2]int{a, b})
		return true
	}
	for a := range n {
		add(a, (a+1)%n) // a ring, so that nothing is apart
	}
	for a := range n {
		for dialled, tries := 1, 0; dialled < degree/2 && tries < 10*n; tries++ {
			if add(a, rng.IntN(n)) {
				dialled++
			}
		}
	}
	return edges
}

// hopsFrom is breadth-first search.
func hopsFrom(n int, edges [][2]int, from int) []int {
	next := make([][]int, n)
	for _, e := range edges {
		next[e[0]], next[e[1]] = append(next[e[0]], e[1]), append(next[e[1]], e[0])
	}
	dist := make([]int, n)
	for i := range dist {
		dist[i] = -1
	}
	dist[from] = 0
	for todo := []int{from}; len(todo) > 0; todo = todo[1:] {
		for _, j := range next[todo[0]] {
			if dist[j] < 0 {
				dist[j] = dist[todo[0]] + 1
				todo = append(todo, j)
			}
		}
	}
	return dist
}

// BenchmarkRelay compares the relays in virtual time, where nothing but the links
// takes any: p95 of all deliveries in ms, what it is in floors, bytes read and
// bytes sent by the origin in sizes of a block.
func BenchmarkRelay(b *testing.B) {
	for _, n := range []int{20, 100, 1000} {
		for _, size := range []int{128 << 10, 1 << 20} {
			for _, pools := range []string{"cold", "half", "warm"} {
				for _, relay := range []string{"gossip", "compact", "coded", "auto"} {
					if pools != "cold" && relay == "gossip" { // it asks no pool
						continue
					}
					b.Run(fmt.Sprintf("nodes=%d/size=%dKiB/pools=%s/relay=%s", n, size>>10, pools, relay), func(b *testing.B) {
						for b.Loop() {
							r := arena{
								nodes: n, size: size, relay: relay, warmup: 2, blocks: 3,
								pools: map[string]float64{"cold": 0, "half": 0.5, "warm": 1}[pools],
							}.run(b)
							b.Logf("%v", r)
							b.ReportMetric(float64(r.p95)/1e6, "p95-ms")
							b.ReportMetric(float64(r.p95)/float64(r.floor), "p95-floors")
							b.ReportMetric(r.copies, "copies")
							b.ReportMetric(r.root, "origin-copies")
							b.ReportMetric(float64(r.missing), "missing")
							if size == 1<<20 && (relay == "coded" || relay == "auto") && r.root > maxRoot {
								b.Errorf("the origin sends %.2f copies, want %d at most", r.root, maxRoot)
							}
						}
					})
				}
			}
		}
	}
}
