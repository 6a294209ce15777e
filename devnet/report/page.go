package report

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"

	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/stats"
)

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

// Bounds of the page's tables and charts, which keep it small; results.json has everything.
const (
	maxBlockRows = 100 // the slowest to their last node
	maxNodeRows  = 64  // those with the highest p95
	maxBars      = 120 // of the copies chart; more blocks share bars
)

// card is one figure of the verdict strip.
type card struct{ Label, Value, Interval, About string }

// pageData is what the template is given: figures as text, charts as drawings.
type pageData struct {
	*Results
	Style     template.CSS
	Plan      string
	Seeds     string
	Fit       string
	Cards     []card
	Figures   []figureRow
	Coverage  template.HTML
	Curves    []curveRow
	Stages    template.HTML
	Path      template.HTML
	PathBlock int64
	StageKey  []legendItem
	StageName []string
	Load      template.HTML
	LoadKey   []legendItem
	Copies    template.HTML
	Resolved  string
	Started   string
	CPUBound  bool
	Blocks    []BlockResult
	BlocksOf  int
	Nodes     []nodeRow
	NodesOf   int
}

// nodeRow is a node of one run.
type nodeRow struct {
	NodeResult
	Label   string  // the name, with the seed before it where there are several
	Seconds float64 // of its window
}

// figureRow is a figure in the table of all headline figures.
type figureRow struct{ Group, Label, Value, Interval, N, About string }

// curveRow is the table behind the coverage curve: when a share of deliveries was made.
type curveRow struct{ Share, Block, Tx string }

// Page writes report.html: one file without scripts that needs no network.
func Page(w io.Writer, r *Results) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"ms": millisecond.figure, "num": func(n stats.Number) string { return millisecond.figure(float64(n)) },
		"plain": func(n stats.Number) string { return plain.figure(float64(n)) },
		"size":  func(n int64) string { return binary(float64(n)) }, "x": times.figure, "pct": func(n stats.Number) string { return share.figure(float64(n)) },
		"stage": func(m map[string]float64, name string) string { return significant(m[name]) },
		"short": func(id string) string { return id[:min(len(id), 12)] },
		"sec":   func(v float64) string { return significant(v) + " s" },
		"kinds": func() []string { return kindNames() },
		"kind":  func(m map[string]int64, name string) string { return binary(float64(m[name])) },
	}).Parse(pageText)
	if err != nil {
		return fmt.Errorf("parse page: %w", err)
	}
	resolved, err := r.Experiment.Encode()
	if err != nil {
		return err
	}
	nodes, nodesOf := slowestNodes(r)
	d := pageData{
		Results: r, Style: template.CSS(pageStyle), Plan: plan(r), Seeds: seedList(r.Experiment.Seeds), Fit: fitness(r),
		Cards: cards(r), Figures: figureRows(r),
		Coverage: coverageChart([]series{{"blocks", "c1", r.Block}, {"transactions", "c2", r.Tx}}), Curves: curveRows(r),
		Stages: stageBars(r.Block.Split), StageKey: stageLegend(), Load: loadBars(nodes), LoadKey: kindLegend(r),
		Nodes: nodes, NodesOf: nodesOf, Copies: copiesChart(r),
		Resolved: string(resolved), Started: r.Environment.Started.UTC().Format("2006-01-02 15:04:05 UTC"),
	}
	for s := range recorder.NumStages {
		d.StageName = append(d.StageName, s.String())
	}
	d.Blocks, d.BlocksOf = slowestBlocks(r)
	for _, run := range r.Runs {
		d.CPUBound = d.CPUBound || run.Host.CPUBound
		if hops := run.Slowest; len(hops) > 0 && d.Path == "" {
			d.Path, d.PathBlock = pathBars(hops), hops[0].Block
		}
	}
	if err := t.Execute(w, d); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}

// slowestBlocks are the blocks a page lists, in order, and how many there are.
func slowestBlocks(r *Results) (out []BlockResult, of int) {
	for _, run := range r.Runs {
		out = append(out, run.Messages...)
	}
	of = len(out)
	if of > maxBlockRows {
		slices.SortStableFunc(out, func(a, b BlockResult) int { return cmp.Compare(b.C100, a.C100) })
		out = out[:maxBlockRows]
	}
	return out, of
}

// slowestNodes are the nodes a page lists, in order, and how many there are.
func slowestNodes(r *Results) (out []nodeRow, of int) {
	for _, run := range r.Runs {
		seconds := float64(run.Slots) * r.Experiment.Chain.Slot.D().Seconds()
		for _, n := range run.Nodes {
			row := nodeRow{NodeResult: n, Label: n.Name, Seconds: seconds}
			if len(r.Runs) > 1 {
				row.Label = fmt.Sprintf("%d/%s", run.Seed, n.Name)
			}
			out = append(out, row)
		}
	}
	of = len(out)
	if of > maxNodeRows {
		slices.SortStableFunc(out, func(a, b nodeRow) int { return cmp.Compare(b.P95, a.P95) })
		out = out[:maxNodeRows]
	}
	return out, of
}

func kindNames() (names []string) {
	for k := range recorder.NumKinds {
		names = append(names, k.String())
	}
	return names
}

// fitness is one sentence on why the figures may be read.
func fitness(r *Results) string {
	return fmt.Sprintf("Fit to report: coverage %s of %d deliveries, %s trace events lost, %s warm-up blocks left out.",
		percent.figure(float64(r.Summary["block.coverage"].Value)), r.Block.Deliveries,
		plain.figure(float64(r.Summary["run.events_lost"].Value)), plain.figure(float64(r.Summary["run.warmup_blocks"].Value)))
}

// cards are the verdict strip.
func cards(r *Results) (out []card) {
	for _, c := range []struct{ metric, label string }{
		{"block.p50_ms", "block p50"}, {"block.p95_ms", "block p95"}, {"block.c99_ms", "block to 99 % of nodes"},
		{"block.coverage", "block coverage"}, {"block.copies", "copies of a block"}, {"tx.p50_ms", "transaction p50"},
	} {
		for _, h := range headline {
			if h.metric == c.metric {
				f := r.Summary[c.metric]
				out = append(out, card{Label: c.label, Value: h.unit.figure(float64(f.Value)), Interval: intervalText(h.unit, f), About: h.about})
			}
		}
	}
	return out
}

func intervalText(u unit, f stats.Figure) string {
	switch text := u.interval(f); {
	case text != "":
		return text
	case f.Why == stats.FewAbove:
		return "too few samples above it"
	}
	return ""
}

func figureRows(r *Results) (rows []figureRow) {
	for _, h := range headline {
		if f, ok := r.Summary[h.metric]; ok {
			rows = append(rows, figureRow{h.group, h.label, h.unit.figure(float64(f.Value)), intervalText(h.unit, f), fmt.Sprint(f.N), h.about})
		}
	}
	f := r.Summary["block.stretch_p95"]
	return append(rows, figureRow{"floor", "stretch p95", "-", "", "0", "distance to the physical floor: " + f.Why})
}

func curveRows(r *Results) (rows []curveRow) {
	for _, share := range []float64{.10, .25, .50, .75, .90, .95, .99, 1} {
		rows = append(rows, curveRow{fmt.Sprintf("%.0f %%", share*100), reached(r.Block.Curve, share), reached(r.Tx.Curve, share)})
	}
	return rows
}

// reached is when a curve first has a share of the deliveries.
func reached(curve []Point, share float64) string {
	for _, p := range curve {
		if p.Share >= share-1e-9 {
			return millisecond.figure(p.MS)
		}
	}
	return millisecond.figure(math.Inf(1))
}
