package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/stats"
)

// SweepTableFile is the name of a sweep's figures as a table, in its folder.
const SweepTableFile = "sweep.csv"

// SweepFolder is the folder of a sweep, <out>/<name>-<digest>, made if absent: a sweep goes on where
// it stopped.
func SweepFolder(out, name, digest string) (string, error) {
	if out == "" {
		out = "runs"
	}
	dir := filepath.Join(out, name+"-"+digest)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the sweep's folder: %w", err)
	}
	return dir, nil
}

// WriteSweep puts the sweep's figures and page into its folder and lets "latest" beside it point to it.
func WriteSweep(dir string, s *Sweep) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode sweep: %w", err)
	}
	var table, page, markdown bytes.Buffer
	if err := sweepCSV(&table, s); err != nil {
		return err
	}
	if err := SweepPage(&page, s); err != nil {
		return err
	}
	sweepMarkdown(&markdown, s)
	files := map[string][]byte{
		SweepTableFile: table.Bytes(), PageFile: page.Bytes(), SweepResultsFile: append(text, '\n'), SweepMarkdownFile: markdown.Bytes(), SweepChartFile: SweepChart(s),
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return fmt.Errorf("write the sweep: %w", err)
		}
	}
	return link(dir)
}

// CopySweep puts the sweep's table and chart into a folder of documents, which is made if absent.
func CopySweep(dir string, s *Sweep) error {
	var table bytes.Buffer
	sweepMarkdown(&table, s)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("copy the sweep: %w", err)
	}
	for name, content := range map[string][]byte{SweepMarkdownFile: table.Bytes(), SweepChartFile: SweepChart(s)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return fmt.Errorf("copy the sweep: %w", err)
		}
	}
	return nil
}

// FitLaws fits the laws of a sweep to its cells and returns their figures by name. A law lacks what
// it needs where a cell has no figure. places are those of the sweep's cells among the results', -1 for
// one that has not been run; then there is no law, and want loses what it has of it.
func FitLaws(r *Sweep, s *experiment.Sweep, places []int, want map[string]experiment.Expectation) map[string]stats.Figure {
	figures := map[string]stats.Figure{}
	if slices.Contains(places, -1) {
		maps.DeleteFunc(want, func(key string, _ experiment.Expectation) bool { return strings.HasPrefix(key, experiment.LawPrefix) })
		return figures
	}
	for _, law := range s.Laws {
		var points []LawPoint
		for i := range s.Cells {
			x, err := s.Cells[i].X(&law)
			if err != nil {
				continue // checked when the sweep was read
			}
			f, ok := r.Cells[i].Summary[law.Y]
			if !ok {
				f = stats.Missing("the cell has no figures")
			}
			points = append(points, LawPoint{X: x, Y: f})
		}
		slices.SortFunc(points, func(a, b LawPoint) int { return int(math.Copysign(1, a.X-b.X)) })
		l := NewLaw(law, points)
		r.Laws = append(r.Laws, l)
		maps.Copy(figures, l.Figures())
	}
	return figures
}

// sweepCSV writes one row for every cell and figure.
func sweepCSV(w io.Writer, s *Sweep) error {
	out := csv.NewWriter(w)
	head := append(slices.Clone(s.Keys), "digest", "exit_code", "figure", "value", "lo", "hi", "n", "why")
	if err := out.Write(head); err != nil {
		return err
	}
	number := func(v stats.Number) string {
		if !v.Valid() {
			return ""
		}
		return millis(float64(v))
	}
	for i := range s.Cells {
		c := &s.Cells[i]
		front := append(slices.Clone(c.Values), c.Digest, strconv.Itoa(c.ExitCode))
		for _, name := range slices.Sorted(maps.Keys(c.Summary)) {
			f := c.Summary[name]
			if err := out.Write(append(slices.Clone(front), name, number(f.Value), number(f.Lo), number(f.Hi), strconv.Itoa(f.N), f.Why)); err != nil {
				return err
			}
		}
		if len(c.Summary) == 0 {
			if err := out.Write(append(slices.Clone(front), "", "", "", "", "", c.Error)); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return out.Error()
}

// tableColumns are the figures of a sweep's table.
var tableColumns = []row{
	{metric: "block.p95_ms", label: "block p95", unit: millisecond},
	{metric: "block.c99_ms", label: "C99", unit: millisecond},
	{metric: "block.stretch_p95", label: "stretch", unit: times},
	{metric: "block.coverage", label: "coverage", unit: percent},
	{metric: "block.copies", label: "copies", unit: times},
	{metric: "tx.p95_ms", label: "tx p95", unit: millisecond},
	{metric: "tx.coverage", label: "coverage", unit: percent},
	{metric: "tx.copies", label: "copies", unit: times},
	{metric: "net.bytes_per_node_per_s", label: "a node gets", unit: byteRate},
}

// SweepTable writes one line for each cell, its settings first, then the laws and what was expected.
func SweepTable(w io.Writer, s *Sweep) error {
	blocks := slices.ContainsFunc(s.Cells, func(c Cell) bool { return c.Experiment.Proposers() > 0 })
	var columns []row
	for _, c := range tableColumns {
		if strings.HasPrefix(c.metric, "block.") == blocks || strings.HasPrefix(c.metric, "net.") {
			if c.metric != "block.stretch_p95" || slices.ContainsFunc(s.Cells, func(c Cell) bool { return c.Summary["block.stretch_p95"].N > 0 }) {
				columns = append(columns, c)
			}
		}
	}
	rows := [][]string{{}}
	for _, k := range s.Keys {
		rows[0] = append(rows[0], shortKey(s.Keys, k))
	}
	for i, c := range columns {
		if rows[0] = append(rows[0], c.label); i == 0 {
			rows[0] = append(rows[0], "95 % interval")
		}
	}
	for i := range s.Cells {
		rows = append(rows, sweepRow(&s.Cells[i], columns))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s%s\n\n", s.Name, s.extent(), sweepLinks(s))
	align(&b, rows, len(s.Keys))
	for i := range s.Laws {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "%s\n", s.Laws[i].text())
	}
	for i := range s.Ratios {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "%s\n", s.Ratios[i].text())
	}
	for i, e := range s.Expected {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "expected  %s\n", e)
	}
	for i := range s.Cells {
		if c := &s.Cells[i]; c.Error != "" {
			fmt.Fprintf(&b, "\n%s\n", Wrap(CellLabel(s.Keys, c)+": "+c.Error, 80))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// sweepLinks says over which links the cells ran: all of them, or that they differ, and which were
// idealised.
func sweepLinks(s *Sweep) string {
	var all, ideal []string
	for i := range s.Cells {
		c := &s.Cells[i]
		if !slices.Contains(all, c.Links) {
			all = append(all, c.Links)
		}
		if c.Experiment.Net.LossCC == "none" {
			ideal = append(ideal, CellLabel(s.Keys, c))
		}
	}
	switch {
	case len(all) == 1:
		return ", links " + all[0]
	case len(ideal) > 0:
		return ", idealised (loss_cc = none): " + strings.Join(ideal, ", ")
	}
	return ""
}

func sweepRow(c *Cell, columns []row) []string {
	cells := slices.Clone(c.Values)
	for i, column := range columns {
		f, ok := c.Summary[column.metric]
		if !ok {
			f = stats.Missing("")
		}
		if cells = append(cells, column.unit.figure(float64(f.Value))); i == 0 {
			cells = append(cells, column.unit.interval(f))
		}
	}
	return cells
}

// align writes rows in columns as wide as their widest entry; the first left columns stand left, the
// others right.
func align(b *strings.Builder, rows [][]string, left int) {
	var widths []int
	for _, r := range rows {
		for i, text := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len(text))
		}
	}
	for _, r := range rows {
		var line strings.Builder
		for i, text := range r {
			pad := strings.Repeat(" ", widths[i]-len(text))
			if i < left {
				line.WriteString(text + pad + "  ")
			} else {
				line.WriteString(pad + text + "  ")
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// shortKey is the last part of a key, or the whole key where another one ends in the same.
func shortKey(keys []string, key string) string {
	last := key[strings.LastIndexByte(key, '.')+1:]
	for _, k := range keys {
		if k != key && strings.HasSuffix(k, "."+last) {
			return key
		}
	}
	return last
}

// CellLabel names a cell by its settings.
func CellLabel(keys []string, c *Cell) string {
	var parts []string
	for i, k := range keys {
		if c.Values[i] != "" {
			parts = append(parts, k+"="+c.Values[i])
		}
	}
	if len(parts) == 0 {
		return "the only cell"
	}
	return strings.Join(parts, " ")
}

// text is the law as a line of a table.
func (l *Law) text() string {
	if !l.Fit.Slope.Valid() {
		return fmt.Sprintf("law %s: no line through cells without figures", l.Name)
	}
	scale, step := l.X, "unit"
	switch l.Scale {
	case "log2":
		scale, step = "log2("+l.X+")", "doubling"
	case "log10":
		scale, step = "log10("+l.X+")", "decade"
	}
	text := fmt.Sprintf("law %s: %s = %s + %s x %s, R2 %.3f, largest / smallest %s", l.Name, l.Y,
		significant(float64(l.Fit.Intercept)), significant(float64(l.Fit.Slope)), scale, float64(l.Fit.R2), significant(float64(l.Spread)))
	if l.Scale == "linear" {
		return text
	}
	return text + fmt.Sprintf(", %+.1f %% a %s", 100*float64(l.Growth), step)
}
