package report

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/stats"
)

// SweepMarkdownFile is the name of a sweep's table for documents, in its folder.
const SweepMarkdownFile = "table.md"

// pivot is a sweep with the values of one key side by side.
type pivot struct {
	column  int // its place among the keys
	keys    []int
	columns []string
	rows    []pivotRow
}

// pivotRow is what is equal in the cells of a row, by pivot.keys, and the cells by column.
type pivotRow struct {
	values []string
	cells  []*Cell // nil: not run, or not of the sweep
}

// newPivot puts the variants side by side, or where there are none the key with the most values.
func newPivot(s *Sweep) (p pivot) {
	if len(s.Keys) == 0 {
		return p
	}
	if p.column = slices.Index(s.Keys, experiment.VariantKey); p.column < 0 {
		p.column = widest(s)
	}
	for k := range s.Keys {
		if k != p.column {
			p.keys = append(p.keys, k)
		}
	}
	for i := range s.Cells {
		if v := s.Cells[i].Values[p.column]; !slices.Contains(p.columns, v) {
			p.columns = append(p.columns, v)
		}
	}
	p.order(s)
	for i := range s.Cells {
		c := &s.Cells[i]
		var values []string
		for _, k := range p.keys {
			values = append(values, c.Values[k])
		}
		at := slices.IndexFunc(p.rows, func(r pivotRow) bool { return slices.Equal(r.values, values) })
		if at < 0 {
			at = len(p.rows)
			p.rows = append(p.rows, pivotRow{values, make([]*Cell, len(p.columns))})
		}
		p.rows[at].cells[slices.Index(p.columns, c.Values[p.column])] = c
	}
	return p
}

// order puts variants in the order of their names, so that a table of a part looks like one of all.
func (p *pivot) order(s *Sweep) {
	if s.Keys[p.column] == experiment.VariantKey {
		slices.Sort(p.columns)
	}
}

// main is the figure that a sweep is about, and what stands beside it.
func (s *Sweep) main() (first string, beside []row) {
	kind := "tx"
	if slices.ContainsFunc(s.Cells, func(c Cell) bool { return c.Experiment.Proposers() > 0 }) {
		kind = "block"
	}
	for _, b := range []row{
		{metric: kind + ".stretch_p95", label: "stretch"}, {metric: kind + ".copies", label: "copies"},
		{metric: kind + ".copies_with_tx", label: "with transactions"},
	} {
		if slices.ContainsFunc(s.Cells, func(c Cell) bool { return c.Summary[b.metric].N > 0 }) {
			beside = append(beside, b)
		}
	}
	return kind + ".p95_ms", beside
}

// sweepMarkdown writes a sweep as one table for a document, with what its columns are below it.
func sweepMarkdown(b *bytes.Buffer, s *Sweep) {
	first, beside := s.main()
	p := newPivot(s)
	h := headlineOf(first)
	fmt.Fprintf(b, "%s %s over %s, brackets hold 95 %% intervals", strings.ToUpper(h.group[:1])+h.group[1:], h.label, seedsOfCells(s))
	for _, c := range beside {
		fmt.Fprintf(b, "; %s: %s", c.label, headlineOf(c.metric).about)
	}
	b.WriteString(". (few): too few deliveries above it for an interval. inf: not delivered to as many.\n\n|")
	for _, k := range p.keys {
		fmt.Fprintf(b, " %s |", shortKey(s.Keys, s.Keys[k]))
	}
	for _, c := range p.columns {
		fmt.Fprintf(b, " %s |", escaped(c))
	}
	b.WriteString("\n|" + strings.Repeat("---|", len(p.keys)+len(p.columns)) + "\n")
	for _, r := range p.rows {
		b.WriteString("|")
		for _, v := range r.values {
			fmt.Fprintf(b, " %s |", escaped(v))
		}
		for _, c := range r.cells {
			fmt.Fprintf(b, " %s |", markdownCell(c, first, beside))
		}
		b.WriteString("\n")
	}
	for i, v := range s.Variants {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(b, "- `%s`: %s\n", v.Name, escaped(v.Settings))
	}
	for i := range s.Ratios {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(b, "- %s\n", escaped(s.Ratios[i].text()))
	}
	for i := range s.Cells {
		if c := &s.Cells[i]; c.Error != "" {
			fmt.Fprintf(b, "\n%s: %s\n", escaped(CellLabel(s.Keys, c)), escaped(c.Error))
		}
	}
	env := &s.Environment
	fmt.Fprintf(b, "\n%s%s, by `%s`, revision %s, %s, %s.\n", s.extent(), sweepLinks(s), env.Command, env.Revision, env.CPU, env.Started.Format("2006-01-02"))
}

// extent is how many of the sweep's cells there are.
func (s *Sweep) extent() string {
	if len(s.Cells) < s.Whole {
		return fmt.Sprintf("%d of %d cells", len(s.Cells), s.Whole)
	}
	return fmt.Sprintf("%d cells", len(s.Cells))
}

// seedsOfCells says over how many seeds the figures of a cell are that has some.
func seedsOfCells(s *Sweep) string {
	least, most := 0, 0
	for i := range s.Cells {
		n := s.Cells[i].Runs
		if most = max(most, n); n > 0 && (least == 0 || n < least) {
			least = n
		}
	}
	if least == most {
		return counted(most, "seed")
	}
	return fmt.Sprintf("%d to %d seeds", least, most)
}

// markdownCell is a figure with its interval, and below it what stands beside.
func markdownCell(c *Cell, first string, beside []row) string {
	switch {
	case c == nil:
		return ""
	case c.Summary == nil:
		return "failed"
	}
	h, f := headlineOf(first), c.Summary[first]
	text := h.unit.figure(float64(f.Value))
	if f.HasInterval() {
		text += fmt.Sprintf(" [%s, %s]", bare(h.unit, f.Lo), bare(h.unit, f.Hi))
	} else if f.Why == stats.FewAbove {
		text += " (few)"
	}
	var more []string
	for _, b := range beside {
		if f := c.Summary[b.metric]; f.N > 0 {
			more = append(more, b.label+" "+bare(headlineOf(b.metric).unit, f.Value))
		}
	}
	if len(more) > 0 {
		text += "<br>" + strings.Join(more, ", ")
	}
	return text
}

// bare is a figure without its unit, unless that differs from the usual one: seconds stay marked.
func bare(u unit, v stats.Number) string {
	text := u.figure(float64(v))
	return strings.TrimSuffix(strings.TrimSuffix(text, " ms"), "x")
}

// escaped keeps a text from ending a column.
func escaped(text string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ", "<", "&lt;").Replace(text)
}
