package node

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/relay"
	"github.com/pheme-net/pheme/p2p/trace"
)

// maxTimed bounds the blocks whose stages are being timed; the oldest leaves for one more.
const maxTimed = 256

// metrics is the node in Prometheus's terms, in base units (seconds, bytes). What is a moment's state
// or counted elsewhere is read when it is collected; what is a distribution is observed as the events
// come in.
type metrics struct {
	registry *prometheus.Registry

	stage  *prometheus.HistogramVec // of blocks, by stage
	copies prometheus.Histogram
	repair prometheus.Histogram
	moved  prometheus.Counter // bytes by repair
	events *prometheus.CounterVec

	clock   trace.Clock
	genesis *chain.Genesis

	mu    sync.Mutex
	timed map[[32]byte]*timing
	order [][32]byte // oldest first
}

// timing is one block's way through this node; 0: not yet.
type timing struct {
	first, received, accepted int64
	bytes                     uint64
}

func newMetrics(n *Node) *metrics {
	histogram := func(name, help string, buckets []float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		clock:    n.clock,
		genesis:  n.chain.Genesis(),
		timed:    make(map[[32]byte]*timing),
		// From 50 us, a hop inside one machine, doubling to 26 s, past which a network is broken rather than slow.
		stage: prometheus.NewHistogramVec(histogram("pheme_block_stage_seconds",
			"Time of blocks by stage: slot (start of its slot to accepted), receive (first byte to whole), validate (whole to accepted), import (accepted to stored).",
			prometheus.ExponentialBuckets(50e-6, 2, 20)), []string{"stage"}),
		copies: prometheus.NewHistogram(histogram("pheme_block_copies",
			"Payload bytes read for a block up to its import, over its size: 1 is perfect.", []float64{0, .1, .25, .5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16})),
		repair: prometheus.NewHistogram(histogram("pheme_repair_items", "Transactions gained by one exchange of repair.",
			prometheus.ExponentialBuckets(1, 4, 8))),
		moved: prometheus.NewCounter(prometheus.CounterOpts{Name: "pheme_repair_bytes_total", Help: "Bytes moved by repair exchanges."}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pheme_events_total",
			Help: "Events of blocks, transactions, peers, members and repair, by their name in the trace."}, []string{"kind"}),
	}
	m.registry.MustRegister(m.stage, m.copies, m.repair, m.moved, m.events, &state{node: n, network: n.chain.Network()},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, stage := range []string{"slot", "receive", "validate", "import"} {
		m.stage.WithLabelValues(stage) // a dashboard shows zero, not "no data"
	}
	return m
}

// emit is the trace hook.
func (m *metrics) emit(e trace.Event) {
	switch e.Kind {
	case trace.MsgQueued, trace.MsgWritten, trace.CopyDuplicate, trace.MsgDropped, trace.TxPlaced:
		return // counted in bytes or messages by the network itself
	case trace.MsgRead:
		if e.Class == trace.ClassBlock || e.Class == trace.ClassRelay || e.Class == trace.ClassSync {
			m.read(e)
		}
		return
	case trace.RepairEnd:
		m.repair.Observe(float64(max(0, e.Aux)))
		m.moved.Add(float64(e.Size))
	case trace.BlockFirstByte, trace.BlockReceived, trace.BlockAccepted:
		m.stamp(e)
	}
	m.events.WithLabelValues(e.Kind.String()).Inc()
}

// of returns the timing of a block, new if need be. The caller holds m.mu.
func (m *metrics) of(id [32]byte) *timing {
	if t := m.timed[id]; t != nil {
		return t
	}
	if len(m.order) == maxTimed {
		delete(m.timed, m.order[0])
		m.order = m.order[1:]
	}
	t := new(timing)
	m.timed[id] = t
	m.order = append(m.order, id)
	return t
}

func (m *metrics) read(e trace.Event) {
	if e.Hash == ([32]byte{}) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.of(e.Hash).bytes += uint64(e.Size)
}

func (m *metrics) stamp(e trace.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.of(e.Hash)
	switch e.Kind {
	case trace.BlockFirstByte:
		t.first = e.At
	case trace.BlockReceived:
		t.received = e.At
	case trace.BlockAccepted:
		t.accepted = e.At
	}
}

// imported observes the stages of a block that has just been stored. A block of our own was not
// received, and one that came by catching up says nothing about propagation: neither counts.
func (m *metrics) imported(b *chain.Block) {
	now := m.clock.Now()
	var t timing // as it is now: copies that come late go on counting
	m.mu.Lock()
	if now := m.timed[b.ID()]; now != nil {
		t = *now
	}
	m.mu.Unlock()
	if t.accepted == 0 || t.first == 0 {
		return
	}
	seconds := func(ns int64) float64 { return float64(max(0, ns)) / 1e9 }
	start := m.clock.At(m.genesis.SlotStart(b.Slot()))
	m.stage.WithLabelValues("slot").Observe(seconds(t.accepted - start))
	m.stage.WithLabelValues("receive").Observe(seconds(t.received - t.first))
	m.stage.WithLabelValues("validate").Observe(seconds(t.accepted - t.received))
	m.stage.WithLabelValues("import").Observe(seconds(now - t.accepted))
	m.copies.Observe(float64(t.bytes) / float64(max(1, b.Size())))
}

// state collects what the parts of the node count themselves.
type state struct {
	node    *Node
	network string // the genesis's; its hash costs a state root
}

// series names one metric of state.
type series struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func gauge(name, help string, labels ...string) series {
	return series{prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue}
}

func counter(name, help string, labels ...string) series {
	return series{prometheus.NewDesc(name, help, labels, nil), prometheus.CounterValue}
}

// The series of state. Descriptions do not change and hold nothing of a node.
var (
	seriesInfo      = gauge("pheme_info", "1, with what this node is.", "version", "name", "network")
	seriesHead      = gauge("pheme_head_number", "Number of the head block.")
	seriesHeadSlot  = gauge("pheme_head_slot", "Slot of the head block.")
	seriesSlot      = gauge("pheme_slot", "The slot at present.")
	seriesDamaged   = gauge("pheme_store_damaged", "1 once a read of the chain's store met damage.")
	seriesPool      = gauge("pheme_pool_transactions", "Pooled transactions by queue.", "queue")
	seriesPoolBytes = gauge("pheme_pool_bytes", "Encoded bytes of pooled transactions.")
	seriesPoolDrop  = counter("pheme_pool_dropped_total", "Transactions that left the pool other than in a block, by reason.", "reason")
	seriesPeers     = gauge("pheme_peers", "Connected peers of this network.")
	seriesMesh      = gauge("pheme_mesh_peers", "Peers in the GossipSub mesh, by topic.", "topic")
	seriesMembers   = gauge("pheme_members", "Members known, this node too, by state; nothing while membership is off.", "state")
	seriesHeld      = gauge("pheme_held_blocks", "Blocks waiting for their parent or their slot.")
	seriesSyncing   = gauge("pheme_syncing", "1 while the node catches up.")
	seriesBytes     = counter("pheme_network_bytes_total", "Bytes by direction (in, out) and class.", "direction", "class")
	seriesDuplicate = counter("pheme_network_duplicate_bytes_total", "Payload bytes that had come before, by class.", "class")
	seriesDropped   = counter("pheme_network_dropped_messages_total", "Messages lost before they were written or judged, by reason.", "reason")
	seriesVerdicts  = counter("pheme_network_verdicts_total", "Messages judged, by topic and verdict.", "topic", "verdict")
	seriesRelayed   = counter("pheme_relay_blocks_total", "Blocks by what was done with them (published, received) and form (gossip, compact, coded).", "direction", "form")
	seriesPieced    = counter("pheme_relay_completed_total", "Announced blocks by what made them whole: pool, answers, chunks, or fetched after all.", "of")
	seriesAnnounced = counter("pheme_relay_announced_bytes_total", "Transactions of announced blocks that were compared with the pool; by pheme_relay_pooled_bytes_total over this, the hit rate.")
	seriesPooled    = counter("pheme_relay_pooled_bytes_total", "Of them, pooled beforehand.")
	seriesSingles   = counter("pheme_relay_transactions_total", "Single transactions of announced blocks that were asked for, by direction (fetched, served).", "direction")
	seriesChunks    = counter("pheme_relay_chunks_total", "Chunks of blocks: sent, received and needed, received again; of those sent: posted in datagrams, and lost in them.", "direction")
	seriesDatagrams = counter("pheme_relay_datagrams_dropped_total", "Datagrams of the relay that came faster than they were read.")
	seriesCalls     = counter("pheme_rpc_calls_total", "JSON-RPC calls answered.")
	seriesPanics    = counter("pheme_rpc_panics_total", "JSON-RPC calls that crashed: each is a defect.")
)

// Describe sends nothing: which labels there are is known when they are collected.
func (s *state) Describe(chan<- *prometheus.Desc) {}

// Collect reads the counters of all parts.
func (s *state) Collect(out chan<- prometheus.Metric) {
	n := s.node
	send := func(what series, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(what.desc, what.kind, v, labels...)
	}
	head := n.chain.Head()
	send(seriesInfo, 1, Version, n.name, s.network)
	send(seriesHead, float64(head.Number.Uint64()))
	send(seriesHeadSlot, float64(chain.SlotOf(head)))
	send(seriesSlot, float64(n.presentSlot()))
	send(seriesDamaged, oneIf(n.chain.Damage() != nil))

	pool := n.pool.Stats()
	send(seriesPool, float64(pool.Executable), "executable")
	send(seriesPool, float64(pool.Future), "future")
	send(seriesPoolBytes, float64(pool.Bytes))
	for reason, count := range map[string]uint64{
		"replaced": pool.Dropped.Replaced, "evicted": pool.Dropped.Evicted, "overdrawn": pool.Dropped.Overdrawn,
		"crowded": pool.Dropped.Crowded, "expired": pool.Dropped.Expired, "unrecorded": pool.Dropped.Unrecorded, "reverted": pool.Dropped.Reverted,
	} {
		send(seriesPoolDrop, float64(count), reason)
	}

	net := n.net.Stats()
	send(seriesPeers, float64(net.Peers))
	send(seriesMesh, float64(net.MeshBlock), "block")
	send(seriesMesh, float64(net.MeshTx), "tx")
	send(seriesHeld, float64(net.Held))
	members := make(map[string]int)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, m := range n.net.Members(ctx) {
		members[m.State]++
	}
	for state, count := range members {
		send(seriesMembers, float64(count), state)
	}
	send(seriesSyncing, oneIf(net.Syncing))
	for c := trace.ClassBlock; c < trace.NumClasses; c++ {
		send(seriesBytes, float64(net.In[c]), "in", c.String())
		send(seriesBytes, float64(net.Out[c]), "out", c.String())
		if d := net.Duplicate[c]; d > 0 || c == trace.ClassBlock || c == trace.ClassTx {
			send(seriesDuplicate, float64(d), c.String())
		}
	}
	for reason, count := range net.Dropped {
		send(seriesDropped, float64(count), reason)
	}
	for topic, by := range net.Verdicts {
		for verdict, count := range by {
			send(seriesVerdicts, float64(count), topic, verdict)
		}
	}
	sendRelay(send, net.Relay)
	calls, panics := n.rpc.Counts()
	send(seriesCalls, float64(calls))
	send(seriesPanics, float64(panics))
}

func sendRelay(send func(series, float64, ...string), r relay.Stats) {
	for direction, by := range map[string]relay.Forms{"published": r.Published, "received": r.Received} {
		send(seriesRelayed, float64(by.Gossip), direction, "gossip")
		send(seriesRelayed, float64(by.Compact), direction, "compact")
		send(seriesRelayed, float64(by.Coded), direction, "coded")
	}
	send(seriesPieced, float64(r.FromPool), "pool")
	send(seriesPieced, float64(r.WithAnswers), "answers")
	send(seriesPieced, float64(r.FromChunks), "chunks")
	send(seriesPieced, float64(r.FetchedWhole), "fetched")
	send(seriesAnnounced, float64(r.AnnouncedBytes))
	send(seriesPooled, float64(r.PooledBytes))
	send(seriesSingles, float64(r.TxsFetched), "fetched")
	send(seriesSingles, float64(r.TxsServed), "served")
	send(seriesChunks, float64(r.ChunksSent), "sent")
	send(seriesChunks, float64(r.ChunksReceived), "received")
	send(seriesChunks, float64(r.ChunksDuplicate), "duplicate")
	send(seriesChunks, float64(r.ChunksPosted), "posted")
	send(seriesChunks, float64(r.ChunksLost), "lost")
	send(seriesDatagrams, float64(r.DatagramsDropped))
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
