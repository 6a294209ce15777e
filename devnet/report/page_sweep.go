package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/pheme-net/pheme/devnet/stats"
)

// SweepResultsFile is the name of a sweep's figures in its folder.
const SweepResultsFile = "sweep.json"

// sweepColumns are the figures of a sweep's table and charts, where its cells have them.
var sweepColumns = []string{
	"block.p95_ms", "block.c99_ms", "block.stretch_p95", "block.copies", "block.coverage", "net.bytes_per_node_per_s", "tx.p95_ms", "tx.coverage",
}

// maxGrid bounds the cells that a page shows; sweep.json has them all.
const maxGrid = 120

// maxFailures bounds the cells whose failure stands at the top; the grid has every one.
const maxFailures = 5

// seriesClasses colour the series of a sweep's charts; more series than these share the last.
var seriesClasses = []string{"k1", "k2", "k3", "k4", "k5", "k6", "k7"}

// SweepPage writes the page of a sweep: one file without scripts that needs no network.
func SweepPage(w io.Writer, s *Sweep) error {
	p := page{
		Title: s.Name + " " + s.Digest + ": a sweep measured by pheme", Mark: "pheme · sweep", Heading: s.Name,
		Plan:  fmt.Sprintf("%d experiments that differ in %s", len(s.Cells), strings.Join(s.Keys, " and ")),
		Chips: sweepChips(s), Verdicts: sweepVerdicts(s), Notes: failures(s), Sections: sweepSections(s),
		Repeat: repeat{Which: " of the first cell", Beside: []string{SweepResultsFile}, Command: s.Environment.Command, Facts: append([]fact{{"sweep digest", s.Digest}}, environmentFacts(s.Environment)...)},
		Footer: "Every cell is a run with its own report, in the folder named beside it. Not delivered counts as infinity in every percentile; intervals are 95 % by a bootstrap over messages.",
	}
	for _, m := range s.Environment.Modules {
		p.Repeat.Facts = append(p.Repeat.Facts, fact{m.Path, m.Version})
	}
	if len(s.Cells) > 0 {
		resolved, err := s.Cells[0].Experiment.Encode()
		if err != nil {
			return err
		}
		p.Repeat.Resolved = string(resolved)
	}
	return p.write(w, func() []attachment { return packed(SweepResultsFile, s) })
}

func sweepChips(s *Sweep) (out []chip) {
	out = append(out, chip{Text: fmt.Sprintf("%d cells", len(s.Cells))})
	engines := map[string]bool{}
	for _, c := range s.Cells {
		if !engines[c.Experiment.Engine] {
			engines[c.Experiment.Engine] = true
			out = append(out, chip{Text: c.Experiment.Engine + " engine"})
		}
	}
	out = append(out, chip{Text: seedsOfCells(s) + " a cell"})
	if n := failed(s); n > 0 {
		out = append(out, chip{counted(n, "cell") + " failed", true})
	}
	return append(out, chip{Text: s.Environment.Started.UTC().Format("2006-01-02 15:04:05 UTC")})
}

// counted is a number with its noun.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// failures are what the first cells without figures say.
func failures(s *Sweep) (notes []string) {
	for _, c := range s.Cells {
		if c.Error != "" && len(notes) < maxFailures {
			var where []string
			for k, v := range c.Values {
				where = append(where, s.Keys[k]+" "+v)
			}
			notes = append(notes, strings.Join(where, ", ")+": "+c.Error)
		}
	}
	return notes
}

// failed counts the cells without figures.
func failed(s *Sweep) (n int) {
	for _, c := range s.Cells {
		if c.Summary == nil {
			n++
		}
	}
	return n
}

func sweepVerdicts(s *Sweep) (out []verdict) {
	if n := failed(s); n > 0 {
		out = append(out, verdict{false, fmt.Sprintf("%d of %d cells have no figures: see why in the grid.", n, len(s.Cells))})
	} else {
		out = append(out, verdict{true, fmt.Sprintf("All %d cells were fit to report.", len(s.Cells))})
	}
	return append(out, expectations(s.Expected)...)
}

// expectations are one verdict each.
func expectations(all []Expected) (out []verdict) {
	for _, e := range all {
		word := "As expected"
		if !e.Met {
			word = "Not as expected"
		}
		out = append(out, verdict{e.Met, fmt.Sprintf("%s: %s %s, is %s.", word, e.Figure, e.Want, headlineOf(e.Figure).unit.figure(float64(e.Value)))})
	}
	return out
}

func sweepSections(s *Sweep) (out []section) {
	lead := "One row an experiment, its figures with their 95 % intervals; a folder beside this page holds each one's own report."
	if len(s.Cells) > maxGrid {
		lead += fmt.Sprintf(" These are the first %d of %d cells.", maxGrid, len(s.Cells))
		few := *s
		few.Cells = few.Cells[:maxGrid]
		s = &few
	}
	out = append(out, section{ID: "grid", Title: "The grid", Lead: lead, Exhibits: []exhibit{{Tables: []table{gridTable(s)}}}})
	figures := section{ID: "figures", Title: "Figures", Lead: "A dot a cell, with its 95 % interval where the samples carry one. A red square at the top: not delivered."}
	for _, metric := range sweepColumns {
		if ch, ok := cellChart(s, metric); ok && metric != "block.coverage" && metric != "tx.coverage" {
			figures.Exhibits = append(figures.Exhibits, ch)
		}
	}
	if len(figures.Exhibits) > 0 {
		out = append(out, figures)
	}
	if len(s.Ratios) > 0 {
		ratios := section{ID: "ratios", Title: "Ratios", Lead: "Cells beside others that are alike in all else, or alone by a figure of their own. Where both have intervals, a ratio is at least the one end over the other and at most the other way round."}
		for _, r := range s.Ratios {
			ratios.Exhibits = append(ratios.Exhibits, ratioExhibit(r))
		}
		out = append(out, ratios)
	}
	if len(s.Laws) > 0 {
		laws := section{ID: "laws", Title: "Laws", Lead: "Each figure against the setting it must follow: the least-squares line, how much of the variance it explains (R2), and how far each point lies from it."}
		for _, l := range s.Laws {
			laws.Exhibits = append(laws.Exhibits, lawExhibit(l))
		}
		out = append(out, laws)
	}
	return out
}

func gridTable(s *Sweep) table {
	var t table
	for _, k := range s.Keys {
		t.Head = append(t.Head, heading{Name: k})
	}
	var columns []string
	for _, metric := range sweepColumns {
		if slices.ContainsFunc(s.Cells, func(c Cell) bool { return c.Summary[metric].N > 0 }) {
			columns = append(columns, metric)
			t.Head = append(t.Head, heading{Name: shortName(metric)}, heading{Name: "95 %"})
		}
	}
	t.Head = append(t.Head, heading{"run", true}, heading{"remark", true})
	for _, c := range s.Cells {
		row := cells(c.Values...)
		for _, metric := range columns {
			u, f := headlineOf(metric).unit, c.Summary[metric]
			if f.N == 0 {
				f = stats.Missing("")
			}
			row = append(row, cell{u.figure(float64(f.Value)), math.IsInf(float64(f.Value), 1)}, cell{Text: u.interval(f)})
		}
		remark := c.Error
		if remark == "" {
			remark = strings.Join(c.Notes, " ")
		}
		t.Rows = append(t.Rows, append(row, cell{Text: c.Folder}, cell{remark, c.Error != ""}))
	}
	return t
}

// shortName is a metric without its unit: "block p95".
func shortName(metric string) string {
	name := strings.TrimSuffix(strings.TrimSuffix(metric, "_ms"), "_per_node_per_s")
	return strings.ReplaceAll(strings.ReplaceAll(name, ".", " "), "_", " ")
}

// cellChart draws one figure of all cells: over the values of the key with the most of them, a
// series for each combination of the others. ok is false when no cell has the figure, or there is but one.
func cellChart(s *Sweep, metric string) (exhibit, bool) {
	if len(s.Keys) == 0 {
		return exhibit{}, false // nothing varies
	}
	h := headlineOf(metric)
	axis := widest(s)
	ch := intervalsChart{about: h.group + " " + h.label, xAxis: s.Keys[axis], scale: 1}
	byName, most := map[string]int{}, 0.0
	for _, c := range s.Cells {
		f, ok := c.Summary[metric]
		if !ok || f.N == 0 || !f.Value.Valid() {
			continue
		}
		place := slices.Index(ch.places, c.Values[axis])
		if place < 0 {
			place = len(ch.places)
			ch.places = append(ch.places, c.Values[axis])
		}
		name := otherValues(s, c, axis)
		k, ok := byName[name]
		if !ok {
			k = len(ch.series)
			byName[name] = k
			ch.series = append(ch.series, pointSeries{name: name, class: seriesClasses[min(k, len(seriesClasses)-1)]})
		}
		v := float64(f.Value)
		if !math.IsInf(v, 1) {
			most = max(most, v)
		}
		tip := fmt.Sprintf("%s: %s %s", strings.Join(c.Values, ", "), h.unit.figure(v), intervalText(h.unit, f))
		ch.series[k].points = append(ch.series[k].points, intervalPoint{at: place, v: v, lo: float64(f.Lo), hi: float64(f.Hi), tip: tip})
	}
	if len(ch.places) == 0 {
		return exhibit{}, false
	}
	ch.scale, ch.yAxis = h.unit.axis(most)
	e := exhibit{Title: h.group + ", " + h.label, Lead: h.about, Chart: ch.html()}
	if len(ch.series) > 1 {
		for _, series := range ch.series {
			e.Key = append(e.Key, legendItem{Class: series.class, Name: series.name})
		}
	}
	return e, true
}

// widest is the key with the most different values.
func widest(s *Sweep) (axis int) {
	most := 0
	for k := range s.Keys {
		seen := map[string]bool{}
		for _, c := range s.Cells {
			seen[c.Values[k]] = true
		}
		if len(seen) > most {
			axis, most = k, len(seen)
		}
	}
	return axis
}

// otherValues name a cell's series.
func otherValues(s *Sweep, c Cell, axis int) string {
	var words []string
	for k, v := range c.Values {
		if k != axis {
			words = append(words, s.Keys[k]+" "+v)
		}
	}
	return strings.Join(words, ", ")
}

func ratioExhibit(r Ratio) exhibit {
	kind, over, u := r.words()
	all := table{Head: words("figure||" + over + "|least|most")}
	all.Rows = [][]cell{cells(shortName(r.Figure), fmt.Sprint(len(r.Pairs)), u.figure(float64(r.Min)), u.figure(float64(r.Max)))}
	t := table{Summary: "Table: " + over, Head: words("of|over||" + kind + "|at least|at most")}
	for _, p := range r.Pairs {
		t.Rows = append(t.Rows, cells(p.Of, p.Over, u.figure(float64(p.Value)), u.figure(float64(p.Lo)), u.figure(float64(p.Hi))))
	}
	return exhibit{Title: r.Name, Tables: []table{all, t}}
}

func lawExhibit(l Law) exhibit {
	h := headlineOf(l.Y)
	most := 0.0
	for _, p := range l.Points {
		if v := float64(p.Y.Value); !math.IsInf(v, 1) {
			most = max(most, v)
		}
	}
	scale, yAxis := h.unit.axis(most)
	xAxis := l.X
	if l.Scale != "linear" {
		xAxis += ", " + l.Scale
	}
	t := table{Summary: "Table: points and line", Head: words("" + l.X + "||value|95 % interval|line|distance")}
	for _, p := range l.Points {
		line := float64(p.Y.Value) - float64(p.Residual)
		t.Rows = append(t.Rows, cells(tickText(p.X), h.unit.figure(float64(p.Y.Value)), intervalText(h.unit, p.Y), h.unit.figure(line), h.unit.figure(float64(p.Residual))))
	}
	fit := table{Head: words("line||slope|intercept|R2|largest / smallest|growth a step")}
	fit.Rows = [][]cell{cells(fmt.Sprintf("%s over %s", l.Y, xAxis), h.unit.figure(float64(l.Fit.Slope)), h.unit.figure(float64(l.Fit.Intercept)),
		significant(float64(l.Fit.R2)), times.figure(float64(l.Spread)), share.figure(float64(l.Growth)))}
	ch := lawChart{about: "Law " + l.Name, yAxis: yAxis, xAxis: xAxis, scale: scale, law: l, label: h.unit.figure}
	return exhibit{
		Title: l.Name, Key: []legendItem{{Class: "k1", Name: "cells, with 95 % intervals"}, {"o1", "least-squares line", true}},
		Chart: ch.html(), Tables: []table{fit, t},
	}
}
