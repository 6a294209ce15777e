package report

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"slices"

	"github.com/pheme-net/pheme/devnet/recorder"
)

// bandwidthSection is what the network carried: by node, over time, at the proposer, and how often
// the same block came.
func bandwidthSection(r *Results) section {
	s := section{
		ID: "bandwidth", Title: "Bandwidth",
		Lead: "Bytes on gossip and fetch streams while messages counted. Handshakes, security and muxing are not in it.",
	}
	if nodes := nodeRows(r); len(nodes) > 0 && len(r.Runs[0].Timeline) > 0 {
		s.Exhibits = append(s.Exhibits, nodeBytes(r, nodes), bytesOverTime(r.Runs[0], r))
		if r.Block.Messages > 0 {
			s.Exhibits = append(s.Exhibits, proposerBytes(r.Runs[0], r))
		}
	}
	if copies := copyColumns(r); len(copies) > 0 {
		s.Exhibits = append(s.Exhibits, exhibit{
			Title: "Copies of each block", Key: []legendItem{{Class: "k1", Name: "needed"}, {Class: "k2", Name: "came again"}},
			Chart: columnsChart{
				about: "How often a node received each block", yAxis: "bytes received for a block by a node / its size", xAxis: "counted blocks; 1x is perfect", suffix: "x", scale: 1, ideal: 1, columns: copies,
			}.html(),
			Tables: []table{copyTable(r)},
		})
	}
	return s
}

// kindClass colours a kind of bytes.
func kindClass(k recorder.Kind) string { return fmt.Sprintf("k%d", int(k)+1) }

// kindKey names the kinds that occur, and what the tick across a column is.
func kindKey(r *Results, mark string) (items []legendItem) {
	for k := range recorder.NumKinds {
		if slices.ContainsFunc(r.Runs, func(run RunResult) bool {
			return slices.ContainsFunc(run.Nodes, func(n NodeResult) bool { return n.Kinds[k.String()] > 0 })
		}) {
			items = append(items, legendItem{Class: kindClass(k), Name: k.String()})
		}
	}
	if mark != "" {
		items = append(items, legendItem{Class: "tickmark", Name: mark, Line: true})
	}
	return items
}

func kindParts(kinds map[string]int64, tip func(k recorder.Kind, n int64) string) (parts []part) {
	for k := range recorder.NumKinds {
		n := kinds[k.String()]
		parts = append(parts, part{class: kindClass(k), value: float64(n), tip: tip(k, n)})
	}
	return parts
}

// nodeBytes shows each node's bytes, the most loaded first.
func nodeBytes(r *Results, nodes []nodeRow) exhibit {
	slices.SortStableFunc(nodes, func(a, b nodeRow) int { return cmp.Compare(b.In, a.In) })
	columns, seconds := nodeColumns(nodes), nodes[0].seconds
	t := table{Summary: "Table: bytes received in the counted slots, by kind", Head: append(words("node||sent|received"), kindHeads()...)}
	if len(nodes) > maxNodeRows {
		t.Summary += fmt.Sprintf("; the %d of %d nodes that received most", maxNodeRows, len(nodes))
	}
	for _, n := range nodes[:min(len(nodes), maxNodeRows)] {
		t.Rows = append(t.Rows, append(cells(n.label, binary(float64(n.Out)), binary(float64(n.In))), kindCells(n.Kinds)...))
	}
	even, tail := r.Summary["net.load_max_over_mean"], r.Summary["net.load_p99_over_p50"]
	return exhibit{
		Title: fmt.Sprintf("By node; sent and received together, the busiest carries %s the mean, p99 / p50 is %s", times.figure(float64(even.Value)), significant(float64(tail.Value))),
		Key:   kindKey(r, "sent"), Chart: rateChart("Bytes received by each node, by kind", "a node", "nodes, most received first", seconds, columns), Tables: []table{t},
	}
}

func nodeColumns(nodes []nodeRow) (columns []column) {
	for _, n := range nodes {
		columns = append(columns, column{label: n.label, mark: float64(n.Out), parts: kindParts(n.Kinds, func(k recorder.Kind, v int64) string {
			return fmt.Sprintf("%s, %s: %s", n.label, k, byteRate.figure(float64(v)/n.seconds))
		})})
	}
	return columns
}

// rateChart draws bytes as rates: of so many seconds, in the unit that suits them.
func rateChart(about, whose, xAxis string, seconds float64, columns []column) template.HTML {
	most := 0.0
	for _, col := range columns {
		sum := 0.0
		for _, p := range col.parts {
			sum += p.value
		}
		if most = max(most, sum); !math.IsNaN(col.mark) {
			most = max(most, col.mark)
		}
	}
	size, name := binaryUnit(most / seconds)
	return columnsChart{about: about, yAxis: name + " a second, " + whose, xAxis: xAxis, scale: size * seconds, columns: columns}.html()
}

// bytesOverTime shows what the nodes of one run received in each slot.
func bytesOverTime(run RunResult, r *Results) exhibit {
	t := table{Summary: "Table: bytes received by all nodes, by slot and kind", Head: append(words("from||received"), kindHeads()...)}
	for _, tick := range run.Timeline[:min(len(run.Timeline), maxNodeRows)] {
		t.Rows = append(t.Rows, append(cells(secondsText(tick.AtMS), binary(float64(tick.In))), kindCells(tick.Kinds)...))
	}
	seconds := r.Experiment.Chain.Slot.D().Seconds() * float64(len(run.Nodes))
	return exhibit{
		Title: seedTitle("Over time, mean over the nodes", r, run), Key: kindKey(r, ""),
		Chart: rateChart("Bytes received in each slot, by kind", "mean over the nodes", "slots, since the window began", seconds, timeColumns(run, seconds)), Tables: []table{t},
	}
}

func timeColumns(run RunResult, seconds float64) (columns []column) {
	for _, tick := range run.Timeline {
		columns = append(columns, column{label: secondsText(tick.AtMS), mark: math.NaN(), parts: kindParts(tick.Kinds, func(k recorder.Kind, v int64) string {
			return fmt.Sprintf("slot from %s, %s: %s", secondsText(tick.AtMS), k, byteRate.figure(float64(v)/seconds))
		})})
	}
	return columns
}

// proposerBytes sets what a slot's proposer sent in it beside what the other nodes did.
func proposerBytes(run RunResult, r *Results) exhibit {
	t := table{Summary: "Table: bytes sent in each slot", Head: words("from||proposer|mean of the others")}
	for _, tick := range run.Timeline[:min(len(run.Timeline), maxNodeRows)] {
		t.Rows = append(t.Rows, cells(secondsText(tick.AtMS), byteCount.figure(float64(tick.OriginOut)), byteCount.figure(float64(tick.RelayOut))))
	}
	return exhibit{
		Title: seedTitle("What the proposer sends in its slot, against the others", r, run),
		Key:   []legendItem{{Class: "k1", Name: "mean of the other nodes"}, {Class: "tickmark", Name: "the slot's proposer", Line: true}},
		Chart: rateChart("Bytes sent by the proposer and by the others in each slot", "sent by a node", "slots, since the window began", r.Experiment.Chain.Slot.D().Seconds(), proposerColumns(run)), Tables: []table{t},
	}
}

func proposerColumns(run RunResult) (columns []column) {
	for _, tick := range run.Timeline {
		relay := float64(tick.RelayOut)
		if math.IsNaN(relay) {
			relay = 0 // no block: nobody was the origin
		}
		columns = append(columns, column{label: secondsText(tick.AtMS), mark: float64(tick.OriginOut), parts: []part{{class: "k1", value: relay,
			tip: fmt.Sprintf("slot from %s: proposer %s, others %s", secondsText(tick.AtMS), byteCount.figure(float64(tick.OriginOut)), byteCount.figure(float64(tick.RelayOut)))}}})
	}
	return columns
}

// seedTitle adds the seed where there are several.
func seedTitle(title string, r *Results, run RunResult) string {
	if len(r.Runs) > 1 {
		return fmt.Sprintf("%s, seed %d", title, run.Seed)
	}
	return title
}

func secondsText(ms float64) string { return tickText(ms/1000) + " s" }

func kindHeads() (head []heading) {
	for k := range recorder.NumKinds {
		head = append(head, heading{Name: k.String()})
	}
	return head
}

func kindCells(kinds map[string]int64) (row []cell) {
	for k := range recorder.NumKinds {
		row = append(row, cell{Text: binary(float64(kinds[k.String()]))})
	}
	return row
}

// copyColumns are how often each block was received: the part above one is waste.
func copyColumns(r *Results) (columns []column) {
	for _, run := range r.Runs {
		for _, b := range run.Messages {
			tip := fmt.Sprintf("block %d: %s", b.Number, times.figure(b.Copies))
			columns = append(columns, column{label: fmt.Sprint(b.Number), mark: math.NaN(), parts: []part{
				{class: "k1", value: min(1, b.Copies), tip: tip}, {class: "k2", value: max(0, b.Copies-1), tip: tip},
			}})
		}
	}
	return columns
}

func copyTable(r *Results) table {
	t := table{Summary: "Table: copies and duplicates", Head: words("figure||value|95 % interval")}
	for _, metric := range []string{"block.copies", "block.duplicates", "net.multiplier", "tx.copies", "tx.duplicates", "net.tx_multiplier"} {
		if f, ok := r.Summary[metric]; ok {
			t.Rows = append(t.Rows, cells(metric, times.figure(float64(f.Value)), intervalText(times, f)))
		}
	}
	return t
}
