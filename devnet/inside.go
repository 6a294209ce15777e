package devnet

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/syndtr/goleveldb/leveldb/storage"
	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/devnet/bubble"
	"github.com/pheme-net/pheme/devnet/cluster"
	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/fault"
	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/topology"
	"github.com/pheme-net/pheme/devnet/workload"
	"github.com/pheme-net/pheme/mempool"
	"github.com/pheme-net/pheme/node"
	"github.com/pheme-net/pheme/p2p"
	"github.com/pheme-net/pheme/p2p/link"
	"github.com/pheme-net/pheme/p2p/link/virtual"
	"github.com/pheme-net/pheme/p2p/trace"
	"github.com/pheme-net/pheme/rpc"
)

const (
	virtualMesh  = 2 * time.Minute // of virtual time, until every mesh must be formed
	virtualAfter = 3 * time.Second // of virtual time, for what the libraries leave behind
	maxOrigins   = 1024            // proposers that a genesis takes
	gcStep       = 1 << 30         // bytes the heap grows between two collections, at least
)

// virtualRun is one seed inside the bubble.
type virtualRun struct {
	spec experiment.Spec
	seed int64
	say  func(format string, args ...any)
	// probe gives a member its trace hook: the one that records, except where the probe itself is
	// judged.
	probe func(*member) trace.Hook

	clock   trace.Clock
	net     *virtual.Network
	links   link.Config
	began   time.Time    // of the network
	history []link.Timed // changes of the links since
	changed atomic.Int64 // those of them that have taken effect
	faults  *faultRun
	running *errgroup.Group // of the nodes
	nodes   context.Context // of the nodes
	plan    *workload.Plan
	graph   topology.Graph
	genesis *chain.Genesis
	// What the nodes have in common: a thousand would hold and compute it a thousand times.
	blocks   *chain.Shared
	payloads *p2p.Shared
	keys     []*ecdsa.PrivateKey
	members  []*member
	guards   string // folder of the proposers' last signed slots

	first   uint64
	warmup  recorder.Span
	window  recorder.Span
	outcome workload.Outcome
}

// member is one node of the run, in all its lives.
type member struct {
	tag    uint64
	store  storage.Storage // of its chain, which outlives it; nil: it has one life
	stop   func()
	ended  chan struct{}
	bend   node.Bend
	host   *virtual.Host
	chain  *chain.Chain
	pool   *mempool.Pool
	node   *node.Node
	api    *pipeListener
	client *rpc.Client
	http   *http.Transport

	withheld withheld
	closers  []io.Closer // in the order they were opened

	mu     sync.Mutex
	events []trace.Event
}

func (m *member) record(e trace.Event) {
	m.withheld.record(e)
	if e.Kind == trace.MsgQueued && (e.Class == trace.ClassTx || e.Class == trace.ClassControl) {
		return // a quarter of what small messages leave behind, and no figure is made of it
	}
	m.mu.Lock()
	m.events = append(m.events, e)
	m.mu.Unlock()
}

// runVirtual signs the workload in real time and runs the network in virtual time.
func runVirtual(task virtualTask, say func(string, ...any)) (*virtualSight, error) {
	r, err := newVirtualRun(task, say)
	if err != nil {
		return nil, err
	}
	return r.run()
}

// newVirtualRun does what takes real time: it signs the workload.
func newVirtualRun(task virtualTask, say func(string, ...any)) (*virtualRun, error) {
	r := &virtualRun{
		spec: task.Spec, seed: task.Seed, guards: task.Dir, say: say,
		probe:  func(m *member) trace.Hook { return m.record },
		blocks: chain.NewShared(), payloads: p2p.NewShared(),
	}
	var err error
	say("signing transactions")
	if r.plan, err = workload.New(r.spec, r.seed, cluster.ChainID); err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(uint64(r.seed), 1))
	r.graph, err = buildGraph(r.spec, rng)
	return r, err
}

func (r *virtualRun) run() (sight *virtualSight, err error) {
	var own error
	err = bubble.Run(func() error {
		sight, own = r.inside()
		return own
	})
	if own == nil && errors.Is(err, bubble.ErrStalled) {
		return nil, &UnfitError{err.Error(), "this is a defect of pheme: report it with the experiment"}
	}
	return sight, err
}

// inside is everything between the bubble's first instant and its last.
func (r *virtualRun) inside() (sight *virtualSight, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	var behind sync.WaitGroup // what ends after the nodes have
	defer func() {
		cancel()
		behind.Wait()
		time.Sleep(virtualAfter)
	}()
	if err := r.wire(); err != nil {
		return nil, err
	}
	behind.Go(func() { bubble.Collect(ctx, gcStep) })
	behind.Go(func() { _ = r.net.Run(ctx) })
	defer func() { err = errors.Join(err, r.close()) }()
	up := r.faults.up()
	for i := range r.spec.Net.Nodes {
		if err := r.add(i); err != nil {
			return nil, err
		}
		if !up[i] {
			continue // until it joins
		}
		if err := r.open(i); err != nil {
			return nil, err
		}
	}
	nodes, stop := context.WithCancel(ctx)
	defer stop()
	r.running, r.nodes = errgroup.WithContext(nodes)
	for i := range r.members {
		if up[i] {
			r.launch(i)
		}
	}
	r.running.Go(func() error {
		defer stop()
		for _, step := range []func(context.Context) error{r.form, r.load, r.drain, r.faults.observe, r.faults.finish} {
			if err := step(r.nodes); err != nil {
				return err
			}
		}
		sight = r.collect()
		return nil
	})
	err = r.running.Wait()
	return sight, err
}

// launch runs member i until it is stopped, or all are.
func (r *virtualRun) launch(i int) {
	m := r.members[i]
	ctx, stop := context.WithCancel(r.nodes)
	ended := make(chan struct{})
	m.stop, m.ended = stop, ended
	r.running.Go(func() error {
		defer close(ended)
		err := m.node.Run(ctx, nil)
		if r.nodes.Err() == nil && ctx.Err() != nil {
			return nil // killed: what broke in it is no matter
		}
		return err
	})
}

// dial has member i keep a connection to member j.
func (r *virtualRun) dial(i, j int) error {
	return r.members[i].node.AddPeer(r.address(j))
}

// address is where member i is reached.
func (r *virtualRun) address(i int) string {
	h := r.members[i].host
	return fmt.Sprintf("%s/p2p/%s", h.Addrs()[0], h.ID())
}

// wire makes the network, the genesis and the proposers' keys.
func (r *virtualRun) wire() (err error) {
	r.clock = trace.ClockAt(time.Now(), 0)
	if r.links, err = r.spec.LinkConfig(r.seed); err != nil {
		return err
	}
	plan, err := fault.New(r.spec, r.links, r.seed)
	if err != nil {
		return err
	}
	r.began = time.Now()
	r.faults = newFaultRun(plan, virtualRig{r}, r.clock, r.spec.Net.Nodes)
	if r.net, err = virtual.NewAt(r.links, virtual.Direct, r.began); err != nil {
		return err
	}
	r.net.Tell(func(link.Change) { r.changed.Add(1) })
	g := chain.Genesis{
		ChainID: cluster.ChainID, TimeMS: uint64(time.Now().Add(time.Second).UnixMilli()), SlotMS: uint64(r.spec.Chain.Slot.D().Milliseconds()),
		Alloc: fund(r.plan.Senders), Label: "pheme devnet",
	}
	for i := range max(1, min(r.spec.Proposers(), maxOrigins)) { // a genesis has at least one
		key, err := crypto.ToECDSA(crypto.Keccak256(fmt.Appendf(nil, "pheme devnet proposer %d of seed %d", i, r.seed)))
		if err != nil {
			return fmt.Errorf("derive proposer key: %w", err)
		}
		r.keys = append(r.keys, key)
		g.Proposers = append(g.Proposers, crypto.PubkeyToAddress(key.PublicKey))
	}
	r.genesis, err = chain.DecodeGenesis(g.Encode())
	return err
}

// add makes member i, without a life.
func (r *virtualRun) add(i int) error {
	key, err := virtual.Identity(uint64(r.seed), i)
	if err != nil {
		return err
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return err
	}
	m := &member{tag: trace.PeerTag(id.String())}
	if len(r.faults.plan.Actions) > 0 {
		m.store = storage.NewMemStorage()
	}
	r.members = append(r.members, m)
	return nil
}

// open begins a life of member i; nothing of it runs yet.
func (r *virtualRun) open(i int) error {
	m := r.members[i]
	m.api, m.bend = newPipeListener(), node.Bend{}
	key, err := virtual.Identity(uint64(r.seed), i)
	if err != nil {
		return err
	}
	if m.host, err = virtual.NewHost(r.net, virtual.HostConfig{Node: i, Key: key}); err != nil {
		return err
	}
	m.closers = append(m.closers, m.host)
	if m.chain, err = chain.Open(chain.Config{Shared: r.blocks}, r.genesis, "", m.store); err != nil {
		return err
	}
	m.closers = append(m.closers, m.chain)
	if m.pool, err = mempool.Open(mempool.Config{}, r.genesis, m.chain.State()); err != nil {
		return err
	}
	m.closers = append(m.closers, m.pool)
	d := node.Deps{Chain: m.chain, Pool: m.pool, Host: m.host, Listener: m.api, Hook: r.probe(m), Clock: r.clock, Withhold: m.withheld.has}
	if r.spec.CPU.Mode == experiment.CPUCharge {
		d.Charge = newProcessor(r.spec.CPU).charge
	}
	if i < min(r.spec.Proposers(), maxOrigins) {
		d.Proposer = r.keys[i]
		if d.Guard, err = chain.OpenSlotGuard(filepath.Join(r.guards, fmt.Sprint(i))); err != nil {
			return err
		}
	}
	cfg := node.Config{Name: fmt.Sprintf("n%d", i), BlockBytes: int(r.spec.Chain.BlockSize)}
	cfg.P2P = p2pConfig(r.spec)
	cfg.P2P.Relay = r.spec.RelayOf(r.seed)[i]
	cfg.P2P.Shared = r.payloads
	if grown(r.spec) && i > 0 {
		cfg.P2P.Bootstrap = []string{r.address(0)}
	}
	if m.node, err = node.New(cfg, d); err != nil {
		return err
	}
	m.http = &http.Transport{DialContext: m.api.dial, DisableCompression: true}
	m.client, err = rpc.DialHTTP(context.Background(), "http://127.0.0.1", &http.Client{Transport: m.http})
	return err
}

// load runs the workload through warm-up and window.
func (r *virtualRun) load(ctx context.Context) error {
	r.first = r.genesis.SlotAt(time.Now().Add(lead)) + 2
	counted := r.first + uint64(r.spec.Load.Warmup)
	end := counted + uint64(r.spec.Slots())
	bound := func(slot uint64) int64 {
		return r.clock.At(r.genesis.SlotStart(slot)) - int64(r.spec.Chain.Slot)/10
	}
	r.warmup = recorder.Span{From: bound(r.first), To: bound(counted)}
	r.window = recorder.Span{From: bound(counted), To: bound(end)}
	if err := r.faults.prepare(ctx, r.genesis.SlotStart(counted)); err != nil {
		return err
	}
	nodes := r.faults.submitters(func(i int) workload.Submitter { return r.members[i].client })
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.faults.run(ctx) })
	g.Go(func() (err error) {
		if r.plan.Blocks != nil {
			return r.place(ctx)
		}
		r.outcome, err = r.plan.Run(ctx, r.genesis.SlotStart(r.first-1), nodes)
		return err
	})
	g.Go(func() error {
		for s := r.first; s < end; s++ {
			if err := until(ctx, r.genesis.SlotStart(s)); err != nil {
				return err
			}
			r.say(slotMark, s-r.first+1, end-r.first, r.slotName(s, counted))
		}
		return until(ctx, r.genesis.SlotStart(end))
	})
	return g.Wait()
}

// slotName says which slot that is to a person.
func (r *virtualRun) slotName(slot, counted uint64) string {
	if slot < counted {
		return fmt.Sprintf("warm-up slot %d of %d", slot-r.first+1, r.spec.Load.Warmup)
	}
	return fmt.Sprintf("counted slot %d of %d", slot-counted+1, r.spec.Slots())
}

// drain waits until all nodes have one head past the window and what was under way has arrived, at
// most to the horizon of the last block.
func (r *virtualRun) drain(ctx context.Context) error {
	r.say("letting the last blocks arrive")
	end := r.first + uint64(r.spec.Load.Warmup+r.spec.Slots())
	if r.spec.Proposers() == 0 {
		return until(ctx, r.genesis.SlotStart(end).Add(r.spec.Load.Drain.D()))
	}
	within, cancel := context.WithDeadline(ctx, r.genesis.SlotStart(end).Add(r.spec.Load.Drain.D()))
	defer cancel()
	err := cluster.Await(within, func(context.Context) (string, error) {
		var first common.Hash
		for i, up := range r.faults.up() {
			if !up {
				continue
			}
			h := r.members[i].chain.Head()
			if first == (common.Hash{}) {
				first = h.Hash()
			}
			if chain.SlotOf(h) < end-1 || h.Hash() != first {
				return fmt.Sprintf("n%d is at slot %d", i, chain.SlotOf(h)), nil
			}
		}
		return "", nil
	})
	if err != nil && (ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded)) {
		return err
	}
	for { // a slot more at least, for transactions that a block overtook
		if err := until(ctx, time.Now().Add(r.spec.Chain.Slot.D())); err != nil {
			return err
		}
		if within.Err() != nil || !recorder.Pending(r.input(), r.clock.Now()) {
			return nil
		}
	}
}

// input is what was recorded up to now.
func (r *virtualRun) input() recorder.Input {
	in := recorder.Input{Window: r.window, Horizon: r.spec.Horizon(), Slot: r.spec.Chain.Slot.D()}
	for i, m := range r.members {
		m.mu.Lock()
		in.Nodes = append(in.Nodes, recorder.Node{
			Name: fmt.Sprintf("n%d", i), Region: regionOf(&r.links, i), Tag: m.tag, Events: m.events, Up: r.faults.upSpans(i), Lives: r.faults.lives(i),
		})
		m.mu.Unlock()
	}
	return in
}

// collect takes what was recorded up to now.
func (r *virtualRun) collect() *virtualSight {
	s := &virtualSight{Warmup: r.warmup, Refused: r.outcome.Refused, Late: r.outcome.Late}
	if r.outcome.Why != nil {
		s.Why = r.outcome.Why.Error()
	}
	s.Input = r.input()
	for _, m := range r.members {
		m.mu.Lock()
		m.events = nil
		m.mu.Unlock()
	}
	links := r.links
	links.Schedule = r.history
	s.Floors = floorsOf(links, r.clock.At(r.began), r.graph, s.Input.Nodes)
	s.Faults = r.faults.results(s.Input)
	return s
}

// close takes down what add made, the network's clients first.
func (r *virtualRun) close() error {
	var errs []error
	for _, m := range r.members {
		errs = append(errs, m.close())
	}
	return errors.Join(errs...)
}

// close ends what a life of a member holds open.
func (m *member) close() error {
	var errs []error
	if m.client != nil {
		m.client.Close()
		m.http.CloseIdleConnections()
	}
	for _, c := range slices.Backward(m.closers) {
		errs = append(errs, c.Close())
	}
	m.client, m.closers = nil, nil
	return errors.Join(errs...)
}
