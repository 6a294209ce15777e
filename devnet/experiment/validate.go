package experiment

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/pheme-net/pheme/p2p/link"
)

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

// check is one rule: a key, whether its value is bad, and what to write instead.
type check struct {
	bad bool
	key string
	why string
}

// Validate reports the first field of a resolved s that cannot be run honestly, by its key, with
// what to write instead.
func (s *Spec) Validate() error {
	for _, c := range slices.Concat(s.checkRun(), s.checkNet(), s.checkGossip(), s.checkRepair(), s.checkLoad(), s.checkCPU(), s.checkReport()) {
		if c.bad {
			return fmt.Errorf("%w: %s = %s: %s", ErrInvalid, c.key, s.value(c.key), c.why)
		}
	}
	if err := s.checkLinks(); err != nil {
		return err
	}
	if err := s.checkFiles(); err != nil {
		return err
	}
	if err := s.checkFaults(); err != nil {
		return err
	}
	for name, e := range s.Expect {
		if err := e.check(); err != nil {
			return fmt.Errorf("%w: expect %q = %q: %w", ErrInvalid, name, e, err)
		}
	}
	return nil
}

func (s *Spec) checkRun() []check {
	return []check{
		{!nameForm.MatchString(s.Name), "name", "use lower-case letters, digits and dashes"},
		{s.Engine != "process" && !s.Virtual(), "engine", `must be "process" or "virtual"`},
		{len(s.Seeds) > 1000 || repeated(s.Seeds), "seeds", "must be at most 1000, each once"},
	}
}

func (s *Spec) checkNet() []check {
	n := &s.Net
	return []check{
		{n.Nodes < 2 || !s.Virtual() && n.Nodes > maxNodes, "net.nodes", fmt.Sprintf("must be 2 to %d: every node is a process here; the virtual engine takes more", maxNodes)},
		{n.Nodes > maxVirtual, "net.nodes", fmt.Sprintf("must be at most %d", maxVirtual)},
		{!slices.Contains([]string{"random", "full", "ring", "line", "star", Discovery}, n.Topology) && !strings.HasPrefix(n.Topology, "file:"), "net.topology", "must be random, full, ring, line, star, discovery or file:PATH"},
		{n.Degree < 1 || n.Degree > n.Nodes-1, "net.degree", "must be 1 to net.nodes - 1"},
		{n.Topology == "random" && n.Degree < 2 && n.Nodes > 2, "net.degree", "must be at least 2, or the random network falls apart"},
		{!slices.Contains([]string{"off", "on", "full"}, n.Members), "net.members", "must be off, on or full"},
		{n.Topology == Discovery && n.Members != "full", "net.members", "must be full for the topology discovery: the members are whom nodes choose from"},
		{!slices.Contains([]string{"tcp", "quic"}, n.Transport), "net.transport", "must be tcp or quic"},
		{s.Virtual() && n.Transport != "tcp", "net.transport", "virtual time has one modelled transport: leave it out, or set engine = \"process\""},
		{!slices.Contains(relays, n.Relay), "net.relay", "must be one of " + strings.Join(relays, ", ")},
		{!(n.Mixed.Share >= 0 && n.Mixed.Share <= 1), "net.mixed", "share must be 0 to 1"},
		{n.Mixed.Share > 0 && !slices.Contains(relays, n.Mixed.Relay), "net.mixed", "relay must be one of " + strings.Join(relays, ", ")},
		{n.Mixed.Share == 0 && n.Mixed.Relay != "", "net.mixed", "has a relay for a share of 0 of the nodes: set share"},
		{!(n.Loss >= 0 && n.Loss <= 0.5), "net.loss", "must be 0 to 0.5"},
		{!(n.Reorder >= 0 && n.Reorder <= 0.5), "net.reorder", "must be 0 to 0.5"},
		{s.Shaped() && !slices.Contains([]string{"slow-start", "open"}, n.Window), "net.window", "must be slow-start or open"},
		{!(n.Supers.Share >= 0 && n.Supers.Share <= 1), "net.supers", "share must be 0 to 1"},
		{n.Supers.Share == 0 && (n.Supers.Up != "" || n.Supers.Down != ""), "net.supers", "has rates for a share of 0 of the nodes: set share"},
	}
}

// checkLinks parses what stands in text.
func (s *Spec) checkLinks() error {
	if !s.Shaped() {
		return nil
	}
	bad := func(key string, err error) error { return fmt.Errorf("%w: %s: %w", ErrInvalid, key, err) }
	if _, err := s.Net.Table(); err != nil {
		return bad("net.latency", err)
	}
	if _, err := link.ParseReaction(s.Net.LossCC); err != nil {
		return bad("net.loss_cc", err)
	}
	rates := []struct{ key, text string }{{"net.rate", s.Net.Rate}, {"net.up", s.Net.Up}, {"net.down", s.Net.Down}}
	if s.Net.Supers.Share > 0 {
		rates = append(rates, []struct{ key, text string }{{"net.supers.up", s.Net.Supers.Up}, {"net.supers.down", s.Net.Supers.Down}}...)
	}
	for _, r := range rates {
		if _, err := link.ParseRate(r.text); err != nil {
			return bad(r.key, err)
		}
	}
	return nil
}

func (s *Spec) checkGossip() []check {
	g := &s.Gossip
	return []check{
		{g.D < 2 || g.D > 100, "gossip.d", "must be 2 to 100"},
		{g.Dlo < 1 || g.Dlo > g.D, "gossip.d_lo", "must be 1 to gossip.d"},
		{g.Dhi < g.D || g.Dhi > 200, "gossip.d_hi", "must be gossip.d to 200"},
		{g.Dout < 0 || g.Dout > 0 && (g.Dout >= g.Dlo || g.Dout > g.D/2), "gossip.d_out", "must be below gossip.d_lo and at most half of gossip.d"},
		{g.TxD < 2 || g.TxD > 100, "gossip.tx_d", "must be 2 to 100"},
		{g.Dlazy < 1 || g.Dlazy > 200, "gossip.d_lazy", "must be 1 to 200"},
		{g.Heartbeat.D() < 50*time.Millisecond || g.Heartbeat.D() > time.Minute, "gossip.heartbeat", "must be 50ms to 1m"},
		{g.IDontWant < 1 || g.IDontWant > 1<<30, "gossip.idontwant", "must be 1B to 1GiB"},
	}
}

func (s *Spec) checkRepair() []check {
	r := &s.Repair
	return []check{
		{r.Interval.D() < 100*time.Millisecond || r.Interval.D() > time.Hour, "repair.interval", "must be 100ms to 1h; off = true turns repair off"},
		{r.Fanout < 1 || r.Fanout > 100, "repair.fanout", "must be 1 to 100"},
		{!slices.Contains([]string{"push", "pull", "push-pull"}, r.Mode), "repair.mode", "must be push, pull or push-pull"},
	}
}

func (s *Spec) checkLoad() []check {
	l, slot := &s.Load, s.Chain.Slot.D()
	blocks := l.Work == WorkBlocks
	return []check{
		{slot < minSlot || slot > maxSlot, "chain.slot", "must be 100ms to 6m"},
		{slot%time.Millisecond != 0, "chain.slot", "must be whole milliseconds"},
		{!blocks && l.Work != WorkTxs, "load.work", "must be blocks or transactions"},
		{l.TxSize < minTx || l.TxSize > maxTx, "load.tx_size", fmt.Sprintf("must be %d to %d bytes", minTx, maxTx)},
		{s.Chain.BlockSize > maxBlock, "chain.block_size", "must be at most 4MiB"},
		{s.Chain.BlockSize < l.TxSize+1024, "chain.block_size", "must hold one transaction of load.tx_size and 1KiB of header"},
		{blocks && (l.Blocks < 1 || l.Blocks > maxMessages), "load.blocks", fmt.Sprintf("must be 1 to %d", maxMessages)},
		{blocks && l.Duration != 0, "load.duration", "counts where there are no blocks: set load.blocks instead, or load.work = \"transactions\""},
		{!blocks && l.Blocks != 0, "load.blocks", "there are none with load.work = \"transactions\": set load.duration instead"},
		{!blocks && (l.Duration.D() < slot || l.Duration.D() > time.Hour || l.Duration.D()%slot != 0), "load.duration", "must be whole slots, at most 1h"},
		{blocks && l.Origin != "rotate" && l.Origin != "fixed", "load.origin", "must be rotate or fixed"},
		{!blocks && l.Origin != "", "load.origin", "says who proposes blocks: there are none with load.work = \"transactions\""},
		{l.Warmup < 1 || l.Warmup > maxMessages, "load.warmup", "must be at least 1: cold connections would count"},
		{!(l.TxRate > 0 && l.TxRate <= 1e5), "load.tx_rate", "must be above 0 and at most 100000 a second"},
		{!blocks && l.TxRate*float64(l.TxSize)*(l.Duration.D().Seconds()+float64(l.Warmup+1)*slot.Seconds()) > maxPooled, "load.tx_rate",
			"fills the pools, which nothing empties without blocks: keep rate x size x duration under 48MiB"},
		{!slices.Contains([]string{PoolsWarm, PoolsHalf, PoolsCold}, l.Pools), "load.pools", "must be warm, half or cold"},
		{l.Placed() && !s.Virtual(), "load.pools", "only the virtual engine can place transactions in pools unseen: set engine = \"virtual\", or warm"},
		{l.Placed() && !blocks, "load.pools", "is about blocks: there are none with load.work = \"transactions\""},
		{l.Placed() && l.TxRate != s.fullRate(), "load.tx_rate", "nothing is submitted unless load.pools = \"warm\": every block is full; leave it out"},
		{l.Arrival != "uniform" && l.Arrival != "poisson", "load.arrival", "must be uniform or poisson"},
		{l.Tick.D() < time.Millisecond || l.Tick.D() > slot, "load.tick", "must be 1ms to one slot"},
		{l.Drain.D() < s.Horizon() || l.Drain.D() > time.Hour, "load.drain", fmt.Sprintf("must be at least %v, the time a message has to be delivered, and at most 1h", s.Horizon())},
	}
}

func (s *Spec) checkReport() []check {
	r := &s.Report
	return []check{
		{!(r.CoverageFloor > 0 && r.CoverageFloor <= 1), "report.coverage_floor", "must be above 0 and at most 1"},
		{r.Draws < 200 || r.Draws > 100_000, "report.draws", "must be 200 to 100000"},
		{!(r.UntilCI >= 0 && r.UntilCI < 1), "report.until_ci", "must be a share such as 0.05"},
		{r.UntilCI == 0 && (r.UntilFigure != "" || r.UntilSeeds != 0), "report.until_figure", "has no report.until_ci to reach"},
		{r.UntilCI > 0 && (r.UntilSeeds < len(s.Seeds) || r.UntilSeeds > 1000), "report.until_seeds", "must be the number of seeds to 1000"},
	}
}

// value is what s holds under a dotted key, for an error message.
func (s *Spec) value(key string) string {
	text, err := s.Encode()
	var tree map[string]any
	if err != nil || toml.Unmarshal(text, &tree) != nil {
		return "?"
	}
	section, name, nested := strings.Cut(key, ".")
	if !nested {
		return fmt.Sprintf("%v", tree[section])
	}
	fields, _ := tree[section].(map[string]any)
	if v, ok := fields[name]; ok {
		return fmt.Sprintf("%v", v)
	}
	return "nothing"
}

func repeated(seeds []int64) bool {
	sorted := slices.Clone(seeds)
	slices.Sort(sorted)
	return len(slices.Compact(sorted)) != len(seeds)
}
