package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/pheme-net/pheme/devnet/stats"
)

// maxPanels bounds the regions that are drawn; the table below has the rest.
const maxPanels = 10

func coverageSection(r *Results) section {
	s := section{
		ID: "coverage", Title: "Coverage",
		Lead: "Share of all deliveries made by a time. The origin is left out, the first hop is in, and what never arrived keeps its curve below 100 %. The band holds the middle 90 % of single messages.",
	}
	if r.Experiment.Net.Relay != "gossip" && len(r.Overlays) == 0 {
		s.Lead += " Plain gossip would stand beside it had the same program run the same experiment with --relay gossip into the same folder."
	}
	for _, kind := range []struct {
		key, title, one, axis string
		shape                 Shape
		more                  []table
	}{
		{"block", "Blocks", "block", "since the block was sealed, logarithmic", r.Block, []table{blockTable(r)}},
		{"tx", "Transactions", "transaction", "since it was submitted, logarithmic", r.Tx, nil},
	} {
		if kind.shape.Deliveries == 0 {
			continue
		}
		lines := coverageLines(r, kind.key)
		s.Exhibits = append(s.Exhibits, exhibit{
			Title: kind.title, Key: curveKey(lines), Chart: curvesChart("Share of "+kind.one+" deliveries made over time", kind.axis, lines),
			Tables: append([]table{curveTable("when a share of the "+kind.one+" deliveries was made", lines, kind.shape.Band)}, kind.more...),
		})
		if regions := kind.shape.Regions; len(regions) > 1 {
			s.Exhibits = append(s.Exhibits, exhibit{
				Title: kind.title + " by region", Key: []legendItem{{"c1", "this region", true}, {"c4", "this region, with losses", true}, {"ghost", "all nodes", true}},
				Chart:  panels("Share of "+kind.one+" deliveries made over time, by region", kind.shape.Curve, regionPanels(regions)),
				Tables: []table{regionTable(kind.one, regions)},
			})
		}
	}
	return s
}

// coverageLines are the run's curve and those laid over it.
func coverageLines(r *Results, kind string) []line {
	shape, class := r.Block, "c1"
	name := "blocks"
	if kind == "tx" {
		shape, class, name = r.Tx, "c2", "transactions"
	}
	lines := []line{{name: name, class: class, points: shape.Curve, band: shape.Band, lost: shape.Lost, of: shape.Deliveries}}
	if len(r.Overlays) > 0 {
		lines[0].name = fmt.Sprintf("%s here, %s", name, hereName(r))
	}
	for i, o := range r.Overlays {
		curve := o.Block
		if kind == "tx" {
			curve = o.Tx
		}
		if curve.Deliveries > 0 {
			lines = append(lines, line{name: o.Name, class: overlayClass(i), points: curve.Curve, lost: curve.Lost, of: curve.Deliveries})
		}
	}
	return lines
}

// overlayClass colours the curves laid over; a third looks like the second.
func overlayClass(i int) string { return []string{"o1", "o2"}[min(i, 1)] }

// hereName is this run beside others: its relay, and its engine where that differs.
func hereName(r *Results) string {
	for _, o := range r.Overlays {
		for _, d := range o.Differences {
			if d.Key == "engine" {
				return r.Experiment.Engine + " engine"
			}
		}
	}
	return r.Experiment.Net.Relay
}

func curveKey(lines []line) (items []legendItem) {
	for _, l := range lines {
		items = append(items, legendItem{l.class, l.name, true})
	}
	if len(lines) > 0 && len(lines[0].band) > 1 {
		items = append(items, legendItem{"band " + lines[0].class, "middle 90 % of messages", false})
	}
	return items
}

// curveTable is when each curve first has a share of the deliveries, and when single messages had
// that share of their nodes.
func curveTable(what string, lines []line, band []BandStep) table {
	t := table{Summary: "Table: " + what, Head: []heading{{"share", true}}}
	for _, l := range lines {
		t.Head = append(t.Head, heading{Name: l.name})
	}
	t.Head = append(t.Head, heading{Name: "messages, p5"}, heading{Name: "p50"}, heading{Name: "p95"})
	for _, share := range []float64{.10, .25, .50, .75, .90, .95, .99, 1} {
		row := cells(fmt.Sprintf("%.0f %%", share*100))
		for _, l := range lines {
			row = append(row, timeCell(reached(l.points, share)))
		}
		b := bandAt(band, share)
		t.Rows = append(t.Rows, append(row, timeCell(float64(b.P5)), timeCell(float64(b.P50)), timeCell(float64(b.P95))))
	}
	return t
}

// timeCell writes milliseconds; what never came stands out.
func timeCell(ms float64) cell { return cell{millisecond.figure(ms), math.IsInf(ms, 1)} }

// bandAt is the first step of a band that holds a share.
func bandAt(band []BandStep, share float64) BandStep {
	for _, s := range band {
		if s.Share >= share-1e-6 {
			return s
		}
	}
	return BandStep{P5: stats.None(), P50: stats.None(), P95: stats.None()}
}

// reached is when a curve first has a share of the deliveries.
func reached(curve []Point, share float64) float64 {
	for _, p := range curve {
		if p.Share >= share-1e-9 {
			return p.MS
		}
	}
	return math.Inf(1)
}

// blockTable lists the counted blocks in order, of many the slowest.
func blockTable(r *Results) table {
	type numbered struct {
		BlockResult
		seed int64
	}
	var blocks []numbered
	for _, run := range r.Runs {
		for _, b := range run.Messages {
			blocks = append(blocks, numbered{b, run.Seed})
		}
	}
	t := table{Summary: "Table: every counted block", Head: words("block|id|sealed by||size|C50|C90|C99|C100|lost|copies|hops")}
	if of := len(blocks); of > maxBlockRows {
		slices.SortStableFunc(blocks, func(a, b numbered) int { return cmp.Compare(b.C100, a.C100) })
		blocks = blocks[:maxBlockRows]
		t.Summary = fmt.Sprintf("Table: the %d slowest of %d counted blocks", maxBlockRows, of)
	}
	for _, b := range blocks {
		row := cells(seeded(r, b.seed, fmt.Sprint(b.Number)), b.ID[:min(len(b.ID), 10)], b.Origin, byteCount.figure(float64(b.Size)))
		row = append(row, timeCell(float64(b.C50)), timeCell(float64(b.C90)), timeCell(float64(b.C99)), timeCell(float64(b.C100)))
		t.Rows = append(t.Rows, append(row, cell{fmt.Sprint(b.Lost), b.Lost > 0}, cell{Text: times.figure(b.Copies)}, cell{Text: fmt.Sprint(b.HopsMax)}))
	}
	return t
}

// seeded puts the seed before a name where there are several.
func seeded(r *Results, seed int64, name string) string {
	if len(r.Runs) > 1 {
		return fmt.Sprintf("%d/%s", seed, name)
	}
	return name
}

func regionPanels(regions []Region) (out []small) {
	for _, g := range regions[:min(len(regions), maxPanels)] {
		out = append(out, small{
			name: g.Name, note: fmt.Sprintf("p50 %s, p95 %s", millisecond.figure(float64(g.P50)), millisecond.figure(float64(g.P95))), points: g.Curve, lost: g.Lost > 0,
		})
	}
	return out
}

func regionTable(one string, regions []Region) table {
	t := table{Summary: "Table: " + one + " deliveries by region", Head: words("region||nodes|deliveries|lost|p50|p95|p99")}
	for _, g := range regions {
		row := append(cells(g.Name, fmt.Sprint(g.Nodes), fmt.Sprint(g.Deliveries)), cell{fmt.Sprint(g.Lost), g.Lost > 0})
		t.Rows = append(t.Rows, append(row, timeCell(float64(g.P50)), timeCell(float64(g.P95)), timeCell(float64(g.P99))))
	}
	return t
}
