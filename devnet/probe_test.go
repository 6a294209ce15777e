package devnet

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/core/types"
	gethrpc "github.com/ethereum/go-ethereum/rpc"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/devnet/cluster"
	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/stats"
	"github.com/pheme-net/pheme/devnet/workload"
	"github.com/pheme-net/pheme/node"
	"github.com/pheme-net/pheme/p2p/trace"
)

// probed is one run on real processes, seen from outside the probe.
type probed struct {
	heads   []float64     // ms from a counted slot's begin to the news of its block, at every node
	cpu     time.Duration // of all nodes, over their whole life
	events  int           // that the probe wrote
	flushes int           // in how many writes, about
	before  float64       // events of a node from a block's seal to its acceptance there, mean
}

// BenchmarkProbe says what the probe costs. Twins on real processes, recording and not, are watched
// from outside by subscriptions to new heads; what tells them apart is mostly the machine's mood. So
// the cost of an event is measured by itself too, and the events are counted: their share of the
// nodes' CPU and of a block's latency must be at most 1 %.
func BenchmarkProbe(b *testing.B) {
	s := experiment.Spec{Engine: "process", Seeds: []int64{1}}
	s.Net.Nodes, s.Net.Relay, s.Load.Blocks = 4, "gossip", 12
	s.Resolve()
	if err := s.Validate(); err != nil {
		b.Fatal(err)
	}
	var on, off probed
	for i := range b.N {
		for _, tracing := range []bool{i%2 == 0, i%2 != 0} { // the first has the colder machine
			sum := &off
			if tracing {
				sum = &on
			}
			p := runProbed(b, s, tracing)
			sum.heads, sum.cpu = append(sum.heads, p.heads...), sum.cpu+p.cpu
			sum.events, sum.flushes, sum.before = sum.events+p.events, sum.flushes+p.flushes, sum.before+p.before/float64(b.N)
		}
	}
	each, flush := eventCost(b), flushCost(b)
	slices.Sort(on.heads)
	slices.Sort(off.heads)
	for name, q := range map[string]float64{"p50": .50, "p95": .95} {
		with, without := stats.Percentile(on.heads, q), stats.Percentile(off.heads, q)
		b.ReportMetric(with, "head-"+name+"-ms-probe-on")
		b.ReportMetric(without, "head-"+name+"-ms-probe-off")
	}
	b.ReportMetric(on.cpu.Seconds()/float64(b.N), "cpu-s-probe-on")
	b.ReportMetric(off.cpu.Seconds()/float64(b.N), "cpu-s-probe-off")
	b.ReportMetric(float64(each), "ns/event")
	b.ReportMetric(float64(on.events)/float64(b.N), "events")
	b.ReportMetric(float64(flush.Microseconds()), "us/flush")
	cost := float64(on.events)*float64(each) + float64(on.flushes)*float64(flush)
	cpu := 100 * cost / float64(on.cpu)
	latency := 100 * on.before * milliseconds(each) / stats.Percentile(on.heads, .5)
	b.ReportMetric(cpu, "probe-cpu-%")
	b.ReportMetric(latency, "probe-latency-%")
	if on.events == 0 || off.events != 0 || cpu > 1 || latency > 1 {
		b.Errorf("%d events of %v and %d flushes of %v with the probe on, %d events with it off: %.2f %% of %v and %.2f %% of latency, want at most 1 %%",
			on.events, each, on.flushes, flush, off.events, cpu, on.cpu, latency)
	}
}

// runProbed runs the experiment on processes that record or do not.
func runProbed(b *testing.B, s experiment.Spec, tracing bool) (p probed) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	plan, err := workload.New(s, 1, cluster.ChainID)
	must(err)
	graph, err := buildGraph(s, rand.New(rand.NewPCG(1, 1)))
	must(err)
	c, err := cluster.New(cluster.Config{
		Nodes: s.Net.Nodes, MeshLow: meshLow(s), Settings: settings(s), Slot: s.Chain.Slot.D(), Seed: 1, Relays: s.RelayOf(1),
		BlockSize: int64(s.Chain.BlockSize), Trace: tracing, Alloc: fund(plan.Senders), Delay: 2 * time.Second,
	})
	must(err)
	defer c.Close()
	must(c.Start(ctx))
	must(c.Connect(ctx, graph))
	must(c.AwaitMesh(ctx, graph))
	first := c.Genesis().SlotAt(time.Now().Add(lead)) + 2
	counted := first + uint64(s.Load.Warmup)
	end := counted + uint64(s.Slots())
	stop := watchProcesses(ctx, b, c, func(slot uint64, late time.Duration) {
		if slot >= counted && slot < end {
			p.heads = append(p.heads, milliseconds(late))
		}
	})
	var nodes []workload.Submitter
	for _, n := range c.Nodes() {
		nodes = append(nodes, n.Client())
	}
	began, clock := time.Now(), trace.NewClock()
	_, err = plan.Run(ctx, c.Genesis().SlotStart(first-1), nodes)
	must(err)
	must(c.AwaitHead(ctx, end-1))
	stop()
	must(c.Stop())
	input := recorder.Input{Window: recorder.Span{From: clock.At(began), To: clock.Now()}, Horizon: s.Horizon(), Slot: s.Chain.Slot.D()}
	for _, n := range c.Nodes() {
		p.cpu += n.Usage().CPU
		if !tracing {
			continue
		}
		h, events, _, err := trace.ReadFile(filepath.Join(n.Dir(), node.TraceFile))
		must(err)
		p.events += len(events)
		if len(events) > 0 {
			p.flushes += int(time.Duration(events[len(events)-1].At-events[0].At) / trace.FlushInterval)
		}
		for _, e := range events {
			if e.Kind == trace.BlockSealed {
				p.flushes++
			}
		}
		input.Nodes = append(input.Nodes, recorder.Node{Name: n.Name(), Tag: h.PeerTag, Events: events})
	}
	if tracing {
		run, err := recorder.Join(input)
		must(err)
		p.before = eventsBefore(run, input)
	}
	return p
}

// watchProcesses subscribes to the heads of every member until stop is called; told is never called
// twice at once.
func watchProcesses(ctx context.Context, b *testing.B, c *cluster.Cluster, told func(slot uint64, late time.Duration)) (stop func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(ctx)
	var mu sync.Mutex
	var watching sync.WaitGroup
	for _, n := range c.Nodes() {
		client, err := gethrpc.DialContext(ctx, n.Ready().WS)
		if err != nil {
			b.Fatal(err)
		}
		heads := make(chan *types.Header, 64)
		sub, err := client.EthSubscribe(ctx, heads, "newHeads")
		if err != nil {
			b.Fatal(err)
		}
		watching.Go(func() {
			defer client.Close()
			defer sub.Unsubscribe()
			for {
				select {
				case h := <-heads:
					mu.Lock()
					slot := chain.SlotOf(h)
					told(slot, time.Since(c.Genesis().SlotStart(slot)))
					mu.Unlock()
				case <-ctx.Done():
					return
				}
			}
		})
	}
	return func() {
		cancel()
		watching.Wait()
	}
}

// eventsBefore is how many events a node emits on average from a block's seal to its acceptance
// there: no more of them can have delayed it at that node.
func eventsBefore(run *recorder.Run, in recorder.Input) float64 {
	count, deliveries := 0, 0
	for _, m := range run.Blocks {
		for i := range m.Deliveries {
			d := &m.Deliveries[i]
			if !d.Delivered() {
				continue
			}
			deliveries++
			for _, e := range in.Nodes[d.Node].Events {
				if e.At >= m.Born && e.At <= m.Born+int64(d.Latency*1e6) {
					count++
				}
			}
		}
	}
	return float64(count) / float64(max(1, deliveries))
}

// flushCost is the CPU time of one wake-up and write of a ring that holds little.
func flushCost(b *testing.B) time.Duration {
	b.Helper()
	const n, every = 200, 20 * time.Millisecond
	emit := func(hook trace.Hook) time.Duration {
		tick := time.NewTicker(every)
		defer tick.Stop()
		before := cpuTime(b)
		for range n {
			<-tick.C
			hook.Emit(trace.Event{Kind: trace.MsgRead})
		}
		return cpuTime(b) - before
	}
	idle := emit(nil)
	f, err := trace.CreateFile(filepath.Join(b.TempDir(), node.TraceFile))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	ring, err := trace.NewRing(trace.RingConfig{Interval: every}, f, trace.Header{Name: "flush"})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = ring.Run(ctx) })
	busy := emit(ring.Emit)
	cancel()
	running.Wait()
	return max(0, busy-idle) / n
}

// eventCost is the CPU time of one event, from the hook to the file, in a node that has run for a while: the ring's
// buffers are as large as they get.
func eventCost(b *testing.B) time.Duration {
	b.Helper()
	const rounds, each = 1000, 1000
	f, err := trace.CreateFile(filepath.Join(b.TempDir(), node.TraceFile))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	written := make(chan struct{}, 1)
	ring, err := trace.NewRing(trace.RingConfig{Capacity: 2 * (each - 1), Interval: time.Hour}, writerFunc(func(p []byte) (int, error) {
		defer func() { written <- struct{}{} }()
		return f.Write(p)
	}), trace.Header{Name: "cost"})
	if err != nil {
		b.Fatal(err)
	}
	<-written // the header
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = ring.Run(ctx) })
	clock, hook := trace.NewClock(), trace.Hook(ring.Emit)
	before := cpuTime(b)
	for range rounds {
		for i := range each { // the last is one more than half of what the ring holds: it is written now
			hook.Emit(trace.Event{At: clock.Now(), Kind: trace.MsgRead, Hash: [32]byte{byte(i)}, Size: 100})
		}
		<-written
	}
	took := cpuTime(b) - before
	cancel()
	running.Wait()
	if ring.Written() != rounds*each || ring.Lost() != 0 {
		b.Fatalf("%d of %d events were written, %d lost", ring.Written(), rounds*each, ring.Lost())
	}
	return took / (rounds * each)
}

// writerFunc is a function as a writer.
type writerFunc func(p []byte) (int, error)

// Write implements io.Writer.
func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
