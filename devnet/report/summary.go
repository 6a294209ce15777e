package report

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/stats"
)

// NotShaped is why there is no floor and no stretch.
const NotShaped = "links not shaped"

// family is the counted messages of one kind, as clusters for resampling.
type family struct {
	messages []*recorder.Message
	draw     *stats.Resampler
}

// summary holds what the figures are computed from.
type summary struct {
	spec        experiment.Spec
	runs        []Run
	blocks, txs family
	rates       *stats.Resampler // over the slots of the window
	out         map[string]stats.Figure
}

// summarize computes every figure of the summary.
func summarize(spec experiment.Spec, runs []Run) map[string]stats.Figure {
	s := &summary{spec: spec, runs: runs, out: map[string]stats.Figure{}}
	s.blocks = s.family(func(r *recorder.Run) []*recorder.Message { return r.Blocks })
	s.txs = s.family(func(r *recorder.Run) []*recorder.Message { return r.Txs })
	slots := make([]int, len(runs))
	for i, r := range runs {
		slots[i] = len(r.Record.Slots)
	}
	s.rates = stats.NewResampler(slots, spec.Report.Draws, s.rng())
	s.latencies("block", s.blocks)
	s.latencies("tx", s.txs)
	s.blockFigures()
	s.txFigures()
	s.copiesWithTx()
	s.netFigures()
	s.chainFigures()
	s.memberFigures()
	s.runFigures()
	return s.out
}

// rng is the same for every family, so that a report made again has the same intervals.
func (s *summary) rng() *rand.Rand {
	return rand.New(rand.NewPCG(uint64(s.spec.Seeds[0]), 0x9e3779b97f4a7c15))
}

func (s *summary) family(pick func(*recorder.Run) []*recorder.Message) (f family) {
	counts := make([]int, len(s.runs))
	for i, r := range s.runs {
		messages := pick(r.Record)
		counts[i] = len(messages)
		f.messages = append(f.messages, messages...)
	}
	f.draw = stats.NewResampler(counts, s.spec.Report.Draws, s.rng())
	return f
}

// samples collects values of every message's deliveries, one cluster a message.
func (f family) samples(pick func(*recorder.Delivery) float64) *stats.Samples {
	clusters := make([][]float64, len(f.messages))
	for i, m := range f.messages {
		for d := range m.Deliveries {
			clusters[i] = append(clusters[i], pick(&m.Deliveries[d]))
		}
	}
	return stats.NewSamples(clusters)
}

// perMessage makes one value a message, for a figure over messages.
func (f family) perMessage(pick func(*recorder.Message) float64) []float64 {
	out := make([]float64, len(f.messages))
	for i, m := range f.messages {
		out[i] = pick(m)
	}
	return out
}

// ratio is sum(num)/sum(den) over the messages, resting on n samples.
func (f family) ratio(num, den func(*recorder.Message) float64, n int) stats.Figure {
	if len(f.messages) == 0 {
		return stats.Missing("no messages")
	}
	return f.draw.Figure(stats.Ratio(f.perMessage(num), f.perMessage(den)), n)
}

// latencies writes the figures that blocks and transactions share.
func (s *summary) latencies(kind string, f family) {
	all := f.samples(func(d *recorder.Delivery) float64 { return d.Latency })
	for name, q := range map[string]float64{"p50": .50, "p90": .90, "p95": .95, "p99": .99} {
		s.out[kind+"."+name+"_ms"] = f.draw.PercentileFigure(all, q)
	}
	s.out[kind+".max_ms"] = maximum(all.Values())
	for name, q := range map[string]float64{"c50": .50, "c90": .90, "c95": .95, "c99": .99, "c100": 1} {
		times := make([][]float64, len(f.messages))
		for i, m := range f.messages {
			if len(m.Deliveries) > 0 {
				times[i] = []float64{stats.CoverageTime(m.Latencies(), q)}
			}
		}
		over := stats.NewSamples(times)
		s.out[kind+"."+name+"_ms"] = f.draw.PercentileFigure(over, .50)
		s.out[kind+"."+name+"_p95_ms"] = f.draw.PercentileFigure(over, .95)
	}
	expected := func(m *recorder.Message) float64 { return float64(len(m.Deliveries)) }
	bytes := func(m *recorder.Message) float64 { return float64(m.Size) * float64(len(m.Deliveries)) }
	s.out[kind+".coverage"] = f.ratio(func(m *recorder.Message) float64 { return float64(m.Reached()) }, expected, all.Len())
	s.out[kind+".copies"] = f.ratio(received, bytes, all.Len())
	s.out[kind+".duplicates"] = f.ratio(again, bytes, all.Len())
	hops := f.samples(func(d *recorder.Delivery) float64 { return float64(d.Hops) }).Values()
	s.out[kind+".hops_max"] = maximum(hops)
}

// received is all bytes that came for m at the nodes of E(m).
func received(m *recorder.Message) (sum float64) {
	for i := range m.Deliveries {
		sum += float64(m.Deliveries[i].First)
	}
	return sum + again(m)
}

// again is the part of received that was not needed.
func again(m *recorder.Message) (sum float64) {
	for i := range m.Deliveries {
		sum += m.Deliveries[i].Again
	}
	return sum
}

func maximum(sorted []float64) stats.Figure {
	if len(sorted) == 0 {
		return stats.Missing("no samples")
	}
	return stats.Bare(sorted[len(sorted)-1], len(sorted), "a maximum")
}

func (s *summary) blockFigures() {
	imports := s.blocks.samples(func(d *recorder.Delivery) float64 { return d.Import })
	s.out["block.import_p50_ms"] = s.blocks.draw.PercentileFigure(imports, .50)
	s.out["block.import_p95_ms"] = s.blocks.draw.PercentileFigure(imports, .95)
	s.stretch()
	one := func(*recorder.Message) float64 { return 1 }
	s.out["block.size_bytes"] = s.blocks.ratio(func(m *recorder.Message) float64 { return float64(m.Size) }, one, len(s.blocks.messages))
	s.out["block.dnf"] = stats.Bare(dnf(s.blocks.messages), len(s.blocks.messages), "a count")
}

// stretch compares the latencies with what physics allows on these links: p95 over p95 of the same
// deliveries.
func (s *summary) stretch() {
	if !s.spec.Shaped() {
		for _, name := range []string{"block.floor_p95_ms", "block.stretch_p95", "block.stretch_net_p95"} {
			s.out[name] = stats.Missing(NotShaped)
		}
		return
	}
	b := s.blocks
	all := b.samples(func(d *recorder.Delivery) float64 { return d.Latency })
	floor := b.samples(func(d *recorder.Delivery) float64 { return d.Floor })
	direct := b.samples(func(d *recorder.Delivery) float64 { return d.Direct })
	s.out["block.floor_p95_ms"] = b.draw.PercentileFigure(floor, .95)
	for name, low := range map[string]*stats.Samples{"block.stretch_p95": floor, "block.stretch_net_p95": direct} {
		t, f := all.Percentile(.95), low.Percentile(.95)
		ratio := func(w []uint16) float64 { return t(w) / f(w) }
		switch n := all.Len(); {
		case n == 0:
			s.out[name] = stats.Missing("no samples")
		case !stats.Enough(.95, n):
			s.out[name] = stats.Bare(b.draw.Value(ratio), n, stats.FewAbove)
		default:
			s.out[name] = b.draw.Figure(ratio, n)
		}
	}
}

// dnf counts the messages that did not reach every expected node.
func dnf(messages []*recorder.Message) (n float64) {
	for _, m := range messages {
		if m.Reached() < len(m.Deliveries) {
			n++
		}
	}
	return n
}

// NotSent is why there are no figures of transactions.
const NotSent = "transactions were placed in pools, not sent"

func (s *summary) txFigures() {
	if s.spec.Load.Placed() {
		for name := range s.out {
			if strings.HasPrefix(name, "tx.") {
				s.out[name] = stats.Missing(NotSent)
			}
		}
		s.out["tx.placed_p50_ms"], s.out["tx.placed_p95_ms"] = stats.Missing(NotSent), stats.Missing(NotSent)
		return
	}
	placed := make([][]float64, len(s.txs.messages))
	for i, m := range s.txs.messages {
		placed[i] = []float64{math.Inf(1)}
		if m.Placed != 0 {
			placed[i][0] = float64(m.Placed-m.Born) / 1e6
		}
	}
	over := stats.NewSamples(placed)
	s.out["tx.placed_p50_ms"] = s.txs.draw.PercentileFigure(over, .50)
	s.out["tx.placed_p95_ms"] = s.txs.draw.PercentileFigure(over, .95)
}

// notFromPools is why there is no figure of blocks with their transactions.
const notFromPools = "no block is put together from pools"

// copiesWithTx adds what filled the pools to the copies of blocks that are put together from them.
func (s *summary) copiesWithTx() {
	relays := []string{s.spec.Net.Relay}
	if m := s.spec.Net.Mixed; m.Share > 0 {
		relays = append(relays, m.Relay)
	}
	block, tx := s.out["block.copies"], s.out["tx.copies"]
	sum := stats.Missing(notFromPools)
	if slices.Contains(relays, "compact") || slices.Contains(relays, "auto") {
		switch {
		case !tx.Value.Valid():
			sum = stats.Missing(tx.Why)
		case !block.Value.Valid():
			sum = stats.Missing(block.Why)
		default:
			sum = stats.Bare(float64(block.Value+tx.Value), block.N, "a sum of two figures")
		}
	}
	s.out["block.copies_with_tx"] = sum
}

func (s *summary) netFigures() {
	var in, seconds []float64
	kinds := make([][]float64, recorder.NumKinds)
	for _, r := range s.runs {
		for _, slot := range r.Record.Slots {
			in = append(in, float64(slot.In))
			seconds = append(seconds, float64(len(r.Record.Nodes))*s.spec.Chain.Slot.D().Seconds())
			for k, n := range slot.Kinds {
				kinds[k] = append(kinds[k], float64(n))
			}
		}
	}
	s.out["net.bytes_per_node_per_s"] = s.rates.Figure(stats.Ratio(in, seconds), len(in))
	s.out["net.bytes_per_s"] = s.rates.Figure(stats.Ratio(in, one(len(in), s.spec.Chain.Slot.D().Seconds())), len(in))
	for k := range recorder.NumKinds {
		s.out["net."+kindKeys[k]+"_per_node_per_s"] = s.rates.Figure(stats.Ratio(kinds[k], seconds), len(in))
	}
	wire := func(m *recorder.Message) float64 { return m.Wire }
	whole := func(m *recorder.Message) float64 { return float64(m.Size) * float64(len(m.Deliveries)) }
	s.out["net.multiplier"] = s.blocks.ratio(wire, whole, len(s.blocks.messages))
	s.out["net.tx_multiplier"] = s.txs.ratio(wire, whole, len(s.txs.messages))
	s.peerFigures()
	var loads []float64
	for _, r := range s.runs {
		for _, n := range r.Record.Nodes {
			loads = append(loads, float64(n.In+n.Out))
		}
	}
	if len(loads) == 0 {
		loads = []float64{math.NaN()}
	}
	slices.Sort(loads)
	s.out["net.load_max_over_mean"] = stats.Bare(loads[len(loads)-1]/mean(loads), len(loads), "a maximum")
	s.out["net.load_p99_over_p50"] = stats.Bare(stats.Percentile(loads, .99)/stats.Percentile(loads, .50), len(loads), "one value a node")
}

const (
	attached = "attach" // engine of nodes that somebody else started
	// notSeen is why nobody knows how many peers a node has that is only followed.
	notSeen = "connections from before are not seen"
	// notFollowed is why nothing is said of all blocks of a chain.
	notFollowed = "not all nodes are followed"
	// notOurs is why nothing is said of processes.
	notOurs = "not our processes"
)

// partial says whether blocks of the window were sealed by nodes that nobody follows.
func partial(spec experiment.Spec, r Run) bool { return spec.Engine == attached && r.Record.Strange }

// peerFigures are of the connections as windows end: the fewest and the most of any node.
func (s *summary) peerFigures() {
	var all []int
	for _, r := range s.runs {
		all = append(all, r.Record.Peers...)
	}
	if len(all) == 0 {
		all = []int{0}
	}
	if s.spec.Engine == attached {
		s.out["net.peers_min"], s.out["net.peers_max"] = stats.Missing(notSeen), stats.Missing(notSeen)
		return
	}
	s.out["net.peers_min"] = stats.Bare(float64(slices.Min(all)), len(all), "a minimum")
	s.out["net.peers_max"] = stats.Bare(float64(slices.Max(all)), len(all), "a maximum")
}

// kindKeys are the kinds of bytes in metric names.
var kindKeys = [recorder.NumKinds]string{"payload_first", "payload_duplicate", "control", "relay", "sync", "repair", "member", "rest"}

// one is the same value n times.
func one(n int, v float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = v
	}
	return out
}

func mean(v []float64) (m float64) {
	for _, x := range v {
		m += x / float64(len(v))
	}
	return m
}

func (s *summary) chainFigures() {
	var intervals [][]float64
	missed, stale, depth := 0, 0, 0
	for _, r := range s.runs {
		depth = max(depth, r.Record.ReorgDepth)
		missed += missedSlots(r)
		stale += staleBlocks(r)
		for i, m := range r.Record.Blocks {
			if gap := []float64(nil); i == 0 {
				intervals = append(intervals, gap)
			} else {
				intervals = append(intervals, []float64{float64(m.Born-r.Record.Blocks[i-1].Born) / 1e6})
			}
		}
	}
	s.out["chain.interval_p50_ms"] = s.blocks.draw.PercentileFigure(stats.NewSamples(intervals), .50)
	s.out["chain.missed_slots"] = stats.Bare(float64(missed), len(s.runs), "a count")
	s.out["chain.reorg_depth"] = stats.Bare(float64(depth), len(s.runs), "a maximum")
	s.healFigures()
	s.out["chain.stale_blocks"] = stats.Bare(float64(stale), len(s.runs), "a count")
	if slices.ContainsFunc(s.runs, func(r Run) bool { return partial(s.spec, r) }) {
		for _, name := range []string{"chain.interval_p50_ms", "chain.missed_slots", "chain.stale_blocks"} {
			s.out[name] = stats.Missing(notFollowed)
		}
	}
}

// healFigures are of all partitions that ended.
func (s *summary) healFigures() {
	heads, pools, healed := 0.0, 0.0, 0
	var repair, lacking int64
	for _, r := range s.runs {
		for _, f := range r.Faults {
			if t := float64(f.HeadsEqual); f.Kind == "partition" && !math.IsNaN(t) {
				heads, pools, healed = max(heads, t), max(pools, float64(f.PoolsEqual)), healed+1
				repair, lacking = repair+f.Repair, lacking+f.Lacking
			}
		}
	}
	why := "no partition healed"
	for name, v := range map[string]float64{"heal.heads_equal_ms": heads, "heal.pools_equal_ms": pools} {
		if s.out[name] = stats.Missing(why); healed > 0 {
			s.out[name] = stats.Bare(v, healed, "a maximum")
		}
	}
	if healed > 0 {
		why = "pools did not differ"
	}
	if s.out["heal.repair_ratio"] = stats.Missing(why); lacking > 0 {
		s.out["heal.repair_ratio"] = stats.Bare(float64(repair)/float64(lacking), healed, "a ratio of sums")
	}
}

// missedSlots counts the slots of the window in which no block was sealed.
func missedSlots(r Run) int { return max(0, r.Slots-len(r.Record.Blocks)) }

// staleBlocks counts the counted blocks beyond one for each number: the others lost to a sibling.
func staleBlocks(r Run) int {
	numbers := map[int64]bool{}
	for _, m := range r.Record.Blocks {
		numbers[m.Number] = true
	}
	return len(r.Record.Blocks) - len(numbers)
}

func (s *summary) runFigures() {
	var wall, lost, rss, cpu, warmup float64
	var busy, wait []float64
	for _, r := range s.runs {
		wall += r.Wall.Seconds()
		lost += float64(r.Record.Lost)
		warmup += float64(r.Warmup)
		busy = append(busy, float64(r.Host.Busy))
		wait = append(wait, float64(r.Host.Wait))
		for _, p := range r.Processes {
			rss = max(rss, float64(p.MaxRSS))
			cpu += p.CPU
		}
	}
	n := len(s.runs)
	s.out["run.wall_s"] = stats.Bare(wall, n, "a total over the seeds")
	s.out["run.events_lost"] = stats.Bare(lost, n, "a total over the seeds")
	s.out["run.warmup_blocks"] = stats.Bare(warmup, n, "a total over the seeds")
	if rss == 0 { // nodes that somebody else started
		s.out["run.max_rss_bytes"], s.out["run.cpu_s"] = stats.Missing(notOurs), stats.Missing(notOurs)
	} else {
		s.out["run.max_rss_bytes"] = stats.Bare(rss, n, "of the largest node")
		s.out["run.cpu_s"] = stats.Bare(cpu, n, "a total over all nodes")
	}
	s.out["run.host_busy"] = s.hostFigure(mean(busy), "share of all cores in use during the window")
	s.out["run.cpu_wait"] = s.hostFigure(mean(wait), "share of the time nodes wanted a core and waited")
}

// hostFigure is one of the machine, where it is known.
func (s *summary) hostFigure(v float64, what string) stats.Figure {
	switch {
	case !math.IsNaN(v):
		return stats.Bare(v, len(s.runs), what)
	case s.spec.Virtual():
		return stats.Missing("virtual time has no cores")
	case s.spec.Engine == attached:
		return stats.Missing(notOurs)
	}
	return stats.Missing("the system does not tell")
}
