package devnet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"
	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/devnet/accounts"
	"github.com/pheme-net/pheme/devnet/cluster"
	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/fault"
	"github.com/pheme-net/pheme/devnet/host"
	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/report"
	"github.com/pheme-net/pheme/devnet/stats"
	"github.com/pheme-net/pheme/devnet/topology"
	"github.com/pheme-net/pheme/devnet/workload"
	"github.com/pheme-net/pheme/p2p/link"
	"github.com/pheme-net/pheme/p2p/link/live"
	"github.com/pheme-net/pheme/p2p/trace"
)

const (
	meshWithin = 30 * time.Second       // meshes form within a few heartbeats; a busy machine may take many,
	meshEach   = 500 * time.Millisecond // and more for every node
	lead       = 200 * time.Millisecond // between the formed mesh and the workload's first slot, at least
	lookEvery  = 250 * time.Millisecond // how often the drain looks whether all was delivered
)

// processEngine runs every node as a process of its own on this machine, in real time.
func processEngine(binary string) engine {
	return func(ctx context.Context, spec experiment.Spec, seed int64, p *progress) (*observation, error) {
		e := &processRun{spec: spec, seed: seed, p: p, clock: trace.NewClock(), began: time.Now()}
		return e.run(ctx, binary)
	}
}

// processRun is one seed on real processes.
type processRun struct {
	spec  experiment.Spec
	seed  int64
	p     *progress
	clock trace.Clock // the one all nodes' events are in
	began time.Time

	plan     *workload.Plan
	graph    topology.Graph
	cluster  *cluster.Cluster
	links    *link.Config // nil: not shaped
	linkPlan live.Plan
	faults   *faultRun
	first    uint64 // slot of the first warm-up block
	warmup   recorder.Span
	window   recorder.Span
	outcome  workload.Outcome
	host     report.Host
}

func (e *processRun) run(ctx context.Context, binary string) (seen *observation, err error) {
	e.p.now("signing transactions")
	if e.plan, err = workload.New(e.spec, e.seed, cluster.ChainID); err != nil {
		return nil, err
	}
	if e.graph, err = buildGraph(e.spec, rand.New(rand.NewPCG(uint64(e.seed), 1))); err != nil {
		return nil, err
	}
	if e.spec.Shaped() {
		links, err := e.spec.LinkConfig(e.seed)
		if err != nil {
			return nil, err
		}
		e.links = &links
	}
	schedule, err := e.schedule()
	if err != nil {
		return nil, err
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	e.cluster, err = cluster.New(cluster.Config{
		Nodes: e.spec.Net.Nodes, Followers: e.spec.Net.Nodes - e.spec.Proposers(), Settings: settings(e.spec), MeshLow: meshLow(e.spec), Binary: binary, Slot: e.spec.Chain.Slot.D(), Seed: e.seed, Transport: e.spec.Net.Transport, Grown: chosen(e.spec),
		Relays: e.spec.RelayOf(e.seed), Shaped: e.links != nil, Bendable: schedule.Bending(), BlockSize: int64(e.spec.Chain.BlockSize), Trace: true, Alloc: fund(e.plan.Senders),
		Delay:  time.Second + time.Duration(e.spec.Net.Nodes)*50*time.Millisecond, // about what starting takes
		Exited: func(_ string, err error) { fail(err) },
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.cluster.Close()) }()
	for _, step := range []func(context.Context) error{e.form, e.load, e.settle} {
		if err := step(ctx); err != nil {
			if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
				return nil, cause // a node's death explains what it broke
			}
			return nil, err
		}
	}
	return e.collect()
}

// schedule plans the faults.
func (e *processRun) schedule() (*fault.Plan, error) {
	var links link.Config
	if e.links != nil {
		links = *e.links
	}
	plan, err := fault.New(e.spec, links, e.seed)
	if err != nil {
		return nil, err
	}
	e.faults = newFaultRun(plan, processRig{e}, e.clock, e.spec.Net.Nodes)
	return plan, nil
}

// fund gives each account of a devnet 10,000 coins.
func fund(all []accounts.Account) map[common.Address]*uint256.Int {
	coins, _ := uint256.FromBig(new(big.Int).Mul(big.NewInt(10_000), big.NewInt(1e18)))
	alloc := make(map[common.Address]*uint256.Int, len(all))
	for _, a := range all {
		alloc[a.Address] = coins
	}
	return alloc
}

// form starts the nodes, connects them and waits until every mesh is formed and all heads are one.
func (e *processRun) form(ctx context.Context) error {
	e.p.now("starting %d nodes", e.spec.Net.Nodes)
	if e.links != nil {
		e.linkPlan = live.NewPlan(*e.links, e.spec.Net.Latency, e.spec.Net.Jitter, time.Now())
		if err := e.linkPlan.Write(e.cluster.LinksPath()); err != nil {
			return err
		}
	}
	up := e.faults.up()
	var starts errgroup.Group
	for i, n := range e.cluster.Nodes() {
		switch {
		case !up[i]:
		case i == 0 && grown(e.spec): // the others start from it
			if err := n.Start(ctx); err != nil {
				return err
			}
		default:
			starts.Go(func() error { return n.Start(ctx) })
		}
	}
	if err := starts.Wait(); err != nil {
		return err
	}
	limit := meshWithin + time.Duration(e.spec.Net.Nodes)*meshEach
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := e.connect(within, up)
	if err == nil {
		err = e.cluster.AwaitHead(within, 0)
	}
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return &UnfitError{fmt.Sprintf("the mesh was not formed within %v: %v", limit, err), "the machine is too busy: use fewer --nodes or stop other programs"}
	}
	return err
}

// connect makes the connections, or lets the nodes make them, and waits until every mesh is formed.
func (e *processRun) connect(ctx context.Context, up []bool) (err error) {
	if grown(e.spec) {
		e.p.now("waiting until %d nodes have found each other", e.spec.Net.Nodes)
		if err := e.cluster.AwaitGrown(ctx); err != nil {
			return err
		}
		e.graph, err = e.cluster.Graph(ctx)
		return err
	}
	graph := among(e.graph, up)
	if err := e.cluster.Connect(ctx, graph); err != nil {
		return err
	}
	e.p.now("waiting for the meshes")
	return e.cluster.AwaitMesh(ctx, graph)
}

// slot is when a slot begins.
func (e *processRun) slot(n uint64) time.Time { return e.cluster.Genesis().SlotStart(n) }

// counted is the first counted slot, and the one after the last.
func (e *processRun) counted() (from, to uint64) {
	from = e.first + uint64(e.spec.Load.Warmup)
	return from, from + uint64(e.spec.Slots())
}

// setWindow fixes which slots are warm-up and which count, and when they are on the nodes' clock. A
// block is sealed at the beginning of its slot: bounds a tenth before it keep every seal on its
// side.
func (e *processRun) setWindow() {
	now := time.Now()
	e.first = e.cluster.Genesis().SlotAt(now.Add(lead)) + 2
	bound := func(slot uint64) int64 {
		return e.clock.At(now) + int64(e.slot(slot).Sub(now)) - int64(e.spec.Chain.Slot)/10
	}
	from, to := e.counted()
	e.warmup = recorder.Span{From: bound(e.first), To: bound(from)}
	e.window = recorder.Span{From: bound(from), To: bound(to)}
}

// load runs the workload through warm-up and window, and reads the cores at both ends of the
// window.
func (e *processRun) load(ctx context.Context) error {
	e.setWindow()
	nodes := e.faults.submitters(func(i int) workload.Submitter { return e.cluster.Node(i).Client() })
	from, _ := e.counted()
	if err := e.faults.prepare(ctx, e.slot(from)); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return e.faults.run(ctx) })
	g.Go(func() (err error) {
		e.outcome, err = e.plan.Run(ctx, e.slot(e.first-1), nodes)
		return err
	})
	g.Go(func() error {
		from, to := e.counted()
		if err := e.passSlots(ctx, e.first, from, "warm-up slot"); err != nil {
			return err
		}
		before := host.ReadCPU(proc, e.pids())
		if err := e.passSlots(ctx, from, to, "counted slot"); err != nil {
			return err
		}
		pids := e.pids() // others than before where nodes were killed, started or joined
		after := host.ReadCPU(proc, pids)
		each := float64(len(pids) * e.spec.Slots())
		e.host = report.Host{
			Busy: stats.Number(after.Busy(before)), Wait: stats.Number(after.Wait(before)), Waited: stats.Number(after.Waited(before) / each),
		}
		return nil
	})
	return g.Wait()
}

// pids are the processes of the nodes that run.
func (e *processRun) pids() (pids []int) {
	for _, n := range e.cluster.Nodes() {
		if pid := n.PID(); pid != 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// passSlots waits until slot to begins and says at each slot where the run stands.
func (e *processRun) passSlots(ctx context.Context, from, to uint64, what string) error {
	for s := from; s < to; s++ {
		if err := until(ctx, e.slot(s)); err != nil {
			return err
		}
		e.p.now("%s %d of %d", what, s-from+1, to-from)
	}
	return until(ctx, e.slot(to))
}

func until(ctx context.Context, at time.Time) error {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// settle lets what counts arrive, takes the last proofs and stops the nodes.
func (e *processRun) settle(ctx context.Context) error {
	for _, step := range []func(context.Context) error{e.drain, e.faults.observe, e.faults.finish} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return e.cluster.Stop() // past the horizon what is missing is lost: the figures will say so
}

// drain lets the network deliver what counts: until nothing is missing, at most to the horizon of
// the last block.
func (e *processRun) drain(ctx context.Context) error {
	e.p.now("letting the last blocks arrive")
	_, to := e.counted()
	within, cancel := context.WithDeadline(ctx, e.slot(to).Add(e.spec.Load.Drain.D()))
	defer cancel()
	var err error
	if e.spec.Proposers() > 0 {
		err = e.cluster.AwaitHead(within, to-1)
	}
	if err == nil {
		err = e.awaitDeliveries(within)
	}
	if err != nil && (ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded)) {
		return err
	}
	return nil
}

// awaitDeliveries waits until the recordings show that every counted message is everywhere.
func (e *processRun) awaitDeliveries(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		seen, err := e.record()
		if err != nil {
			return err
		}
		run, err := recorder.Join(seen.input)
		if err != nil {
			return err
		}
		if coverage(run.Blocks) == 1 && coverage(run.Txs) == 1 && imported(run.Blocks) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// imported says whether every block was also stored everywhere.
func imported(blocks []*recorder.Message) bool {
	for _, m := range blocks {
		for i := range m.Deliveries {
			if math.IsInf(m.Deliveries[i].Import, 1) {
				return false
			}
		}
	}
	return true
}

// record reads what the nodes have recorded so far.
func (e *processRun) record() (*observation, error) {
	seen := &observation{warmup: e.warmup}
	seen.input = recorder.Input{Window: e.window, Horizon: e.spec.Horizon(), Slot: e.spec.Chain.Slot.D()}
	for i, n := range e.cluster.Nodes() {
		one := recorder.Node{Name: n.Name(), Region: regionOf(e.links, i), Up: e.faults.upSpans(i), Lives: e.faults.lives(i)}
		ended := false
		for _, life := range n.Traces() {
			h, events, lost, err := trace.ReadFile(life)
			if err != nil {
				return nil, err
			}
			if one.Tag, ended = h.PeerTag, h.Ended; !ended {
				seen.cut++
			}
			one.Events = append(one.Events, events...)
			one.Lost += lost
		}
		if !ended && e.faults.survives(i) {
			seen.open = append(seen.open, n.Name())
		}
		seen.input.Nodes = append(seen.input.Nodes, one)
	}
	return seen, nil
}

// collect reads the closed recordings and what the processes used.
func (e *processRun) collect() (*observation, error) {
	seen, err := e.record()
	if err != nil {
		return nil, err
	}
	for _, n := range e.cluster.Nodes() {
		u := n.Usage()
		seen.processes = append(seen.processes, report.Process{Name: n.Name(), CPU: u.CPU.Seconds(), MaxRSS: u.MaxRSS})
	}
	if e.links != nil {
		began := e.clock.At(time.Now()) - int64(time.Since(time.Unix(0, e.linkPlan.Start)))
		seen.floors = floorsOf(*e.links, began, e.graph, seen.input.Nodes)
	}
	seen.faults = e.faults.results(seen.input)
	seen.wall, seen.host = time.Since(e.began), e.host
	seen.refused, seen.why, seen.late = e.outcome.Refused, e.outcome.Why, e.outcome.Late
	return seen, nil
}
