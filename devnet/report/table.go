package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/pheme-net/pheme/devnet/stats"
)

// row is a line of the terminal's table and of the page's: a metric with its words.
type row struct {
	metric string
	group  string // what the line belongs to
	label  string
	unit   unit
	about  string // what the figure means, for the page
}

// headline lists the figures a reader sees first, in order.
var headline = []row{
	{"block.p50_ms", "block latency", "p50", millisecond, "sealed to accepted, over all blocks and nodes"},
	{"block.p95_ms", "block latency", "p95", millisecond, "sealed to accepted, over all blocks and nodes"},
	{"block.p99_ms", "block latency", "p99", millisecond, "sealed to accepted, over all blocks and nodes"},
	{"block.import_p50_ms", "block latency", "imported p50", millisecond, "sealed to stored, over all blocks and nodes"},
	{"block.c50_ms", "block reaches", "50 % of nodes", millisecond, "time to half of the nodes, median over blocks"},
	{"block.c90_ms", "block reaches", "90 %", millisecond, "time to 90 % of the nodes, median over blocks"},
	{"block.c99_ms", "block reaches", "99 %", millisecond, "time to 99 % of the nodes, median over blocks"},
	{"block.c100_ms", "block reaches", "all", millisecond, "time to the last node, median over blocks"},
	{"block.coverage", "block delivery", "coverage", percent, "share of expected deliveries made by the horizon"},
	{"block.copies", "block delivery", "copies", times, "bytes received for a block by a node / its size; 1 is perfect"},
	{"block.copies_with_tx", "block delivery", "  and of its txs", times, "copies of a block + copies of a transaction, whose bytes filled the pools before it"},
	{"block.hops_max", "block delivery", "hops, most", plain, "longest way along first copies"},
	{"block.floor_p95_ms", "physical floor", "p95", millisecond, "what no scheme beats that moves the bytes over these connections"},
	{"block.stretch_p95", "physical floor", "stretch p95", times, "block p95 / floor p95; 1 is physics"},
	{"block.stretch_net_p95", "physical floor", "  on direct paths", times, "the same against direct paths from the proposer"},
	{"tx.p50_ms", "transaction", "p50", millisecond, "submitted over JSON-RPC to admitted by another node's pool"},
	{"tx.p95_ms", "transaction", "p95", millisecond, "submitted over JSON-RPC to admitted by another node's pool"},
	{"tx.coverage", "transaction", "coverage", percent, "share of expected admissions made by the horizon"},
	{"tx.copies", "transaction", "copies", times, "bytes received for a transaction by a node / its size"},
	{"net.bytes_per_node_per_s", "network", "a node receives", byteRate, "bytes received a second on gossip and fetch streams, mean over nodes; handshakes, security and muxing are not in it"},
	{"net.multiplier", "network", "multiplier", times, "block bytes on the wire / (block size x nodes reached)"},
	{"heal.heads_equal_ms", "after a heal", "one head", millisecond, "from the end of a partition until all nodes that are up had one head; the longest"},
	{"heal.pools_equal_ms", "after a heal", "equal pools", millisecond, "from the end of a partition until all nodes that are up had, in pool or block, what any pool had taken by then; the longest"},
	{"heal.repair_ratio", "after a heal", "repair bytes", times, "bytes of repair received within a horizon of the end / bytes of transactions that nodes lacked then"},
	{"members.suspect_p50_ms", "a crash", "suspected p50", millisecond, "from a node's crash until the first other node suspected it"},
	{"members.dead_p99_ms", "a crash", "confirmed p99", millisecond, "from a node's crash until another node held it for dead, over all crashes and nodes"},
	{"members.dead_max_ms", "a crash", "by all", millisecond, "the longest of these"},
	{"members.rejoin_max_ms", "a crash", "return seen by all", millisecond, "from a node's start until those that had held it for dead held it for alive; the longest"},
	{"members.false_deaths", "members", "false deaths", plain, "nodes held for dead by another although they ran"},
	{"net.member_per_node_per_s", "members", "a node receives", byteRate, "bytes of membership received a second"},
	{"run.max_rss_bytes", "run", "largest process", byteCount, "most memory a process held: one node, or all of them in virtual time"},
	{"run.events_lost", "run", "events lost", plain, "trace events dropped; more than none is not reported"},
}

// Table writes the final table, at most 80 columns wide, with the notes under it. Beside another relay
// stand the figures of plain gossip, where there is such a run.
func Table(w io.Writer, r *Results) error {
	var b strings.Builder
	e := &r.Experiment
	fmt.Fprintf(&b, "%s\n", Wrap(fmt.Sprintf("%s  %s engine, %s, links %s", e.Name, e.Engine, seedList(r.Runs), r.Links), 80))
	fmt.Fprintf(&b, "%s\n\n", Wrap(plan(r), 80))
	twin := r.twin()
	column := fmt.Sprintf("%9s", "n")
	if twin != nil {
		column = fmt.Sprintf("%12s", twin.Name)
	}
	fmt.Fprintf(&b, "%-16s%-18s%12s   %-18s%s\n", "", "", "value", "95 % interval", column)
	last := ""
	for _, h := range r.headline() {
		f := r.Summary[h.metric]
		group := h.group
		if group == last {
			group = ""
		}
		last = h.group
		column := fmt.Sprintf("%9d", f.N)
		if twin != nil {
			value, ok := twin.Summary[h.metric]
			if !ok {
				value = stats.Missing("")
			}
			column = fmt.Sprintf("%12s", h.unit.figure(float64(value.Value)))
		}
		line := fmt.Sprintf("%-16s%-18s%12s   %-18s%s", group, h.label, h.unit.figure(float64(f.Value)), note(h.unit, f), column)
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	if stretch := r.Summary["block.stretch_p95"]; stretch.Why == NotShaped {
		fmt.Fprintf(&b, "%-16s%-18s%12s   %s\n", "floor", "stretch p95", "-", stretch.Why)
	}
	for i, e := range r.Expected {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "%-16s%s\n", []string{"", "expected"}[max(0, 1-i)], e)
	}
	for _, o := range r.Overlays {
		b.WriteString(o.lines())
	}
	if text := r.belowFloor(); text != "" {
		b.WriteString("\n" + Wrap(text, 80) + "\n")
	}
	for _, n := range r.Notes {
		b.WriteString("\n" + Wrap(n, 80) + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// twin is the run laid over that differs in its relay alone: its figures have a column of their own, in
// place of the samples'.
func (r *Results) twin() *Overlay {
	for i := range r.Overlays {
		if d := r.Overlays[i].Differences; len(d) == 1 && d[0].Key == "net.relay" {
			return &r.Overlays[i]
		}
	}
	return nil
}

// lines are an overlay in the terminal's table.
func (o Overlay) lines() string {
	var b strings.Builder
	name := o.Name
	if !strings.Contains(name, o.Digest) {
		name += ", run " + o.Digest
	}
	fmt.Fprintf(&b, "\n%s\n", Wrap("beside "+name+"; ratios are this run's over that one's", 80))
	for _, c := range []struct {
		kind  string
		curve OverlayCurve
	}{{"block", o.Block}, {"transaction", o.Tx}} {
		if c.curve.Deliveries > 0 {
			fmt.Fprintf(&b, "%-16s%-18s%12s   p99 %s, KS distance %s\n", c.kind, "p50 ratio", times.figure(float64(c.curve.P50)),
				times.figure(float64(c.curve.P99)), plain.figure(float64(c.curve.KS)))
		}
	}
	return b.String()
}

// headline are the lines that have a meaning in this run.
func (r *Results) headline() (rows []row) {
	for _, h := range headline {
		f, ok := r.Summary[h.metric]
		aboutBlocks := strings.HasPrefix(h.metric, "block.") || h.metric == "net.multiplier"
		told := f.Value.Valid() || !strings.HasPrefix(h.metric, "heal.") && !strings.HasPrefix(h.metric, "members.") && h.metric != "block.copies_with_tx"
		if h.group == "members" && r.Experiment.Net.Members != "full" {
			told = false // it only watches: few want to know
		}
		if ok && told && f.Why != NotShaped && !(aboutBlocks && r.Experiment.Proposers() == 0) {
			rows = append(rows, h)
		}
	}
	return rows
}

// note is the interval, or the mark of a figure that stands without one.
func note(u unit, f stats.Figure) string {
	if text := u.interval(f); text != "" {
		return text
	}
	if f.Why == stats.FewAbove {
		return "(too few above)"
	}
	return ""
}

// plan is one line on what was run.
func plan(r *Results) string {
	e := &r.Experiment
	size := r.Summary["block.size_bytes"]
	over := e.Net.Transport
	if e.Virtual() {
		over = "modelled links"
	}
	relay := e.Net.Relay
	if m := e.Net.Mixed; m.Share > 0 {
		relay += fmt.Sprintf(", %g %% %s", 100*m.Share, m.Relay)
	}
	load := fmt.Sprintf("%s relay over %s; %d blocks of %s, %v slots", relay, over, r.Block.Messages, byteCount.figure(float64(size.Value)), e.Chain.Slot)
	if e.Proposers() == 0 {
		load = fmt.Sprintf("%s; %d transactions of %s, no blocks", over, r.Tx.Messages, e.Load.TxSize)
	}
	return fmt.Sprintf("%d nodes, %s, %s", e.Net.Nodes, topologyOf(r), load)
}

func topologyOf(r *Results) string {
	n := &r.Experiment.Net
	if n.Topology == "random" {
		return fmt.Sprintf("degree %d", n.Degree)
	}
	return n.Topology
}

// seedList is the seed that was run, or how many: until_ci may have added to the experiment's.
func seedList(runs []RunResult) string {
	if len(runs) == 1 {
		return fmt.Sprintf("seed %d", runs[0].Seed)
	}
	return fmt.Sprintf("%d seeds", len(runs))
}

// Wrap breaks text into lines of at most width characters at spaces, if it is longer.
func Wrap(text string, width int) string {
	if len([]rune(text)) <= width {
		return text
	}
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return strings.Join(append(lines, line), "\n")
}
