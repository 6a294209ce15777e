package compare

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/pheme-net/pheme/devnet/report"
)

func joined(names []string) string {
	if len(names) > 4 {
		return strings.Join(names[:3], ", ") + fmt.Sprintf(" and %d more", len(names)-3)
	}
	return strings.Join(names, ", ")
}

// head is what the two runs are, a line each.
func (c *Comparison) head() (lines []string) {
	lines = append(lines, "A  "+about(c.A), "B  "+about(c.B))
	switch {
	case len(c.Differ) > 0:
		for _, d := range c.Differ {
			lines = append(lines, fmt.Sprintf("   %s: %s -> %s", d.Key, orNothing(d.Here), orNothing(d.Theirs)))
		}
	case c.A.Environment.Revision != c.B.Environment.Revision:
		lines = append(lines, "   the same experiment, another revision of the program")
	default:
		lines = append(lines, "   the same experiment, run twice")
	}
	return lines
}

func about(r *report.Results) string {
	text := fmt.Sprintf("%s  %s engine, %s", r.Folder, r.Experiment.Engine, r.Environment.Version)
	if rev := r.Environment.Revision; rev != "" {
		text += " " + rev[:min(len(rev), 12)]
	}
	return text
}

// pairsText says what was compared.
func (c *Comparison) pairsText() string {
	text := fmt.Sprintf("%d blocks and %d transactions in %d seeds, paired", c.Blocks, c.Txs, c.Seeds)
	if c.Seeds == 1 {
		text = strings.Replace(text, "1 seeds", "1 seed", 1)
	}
	if c.Lonely > 0 {
		text += fmt.Sprintf("; %d messages without a partner are left out", c.Lonely)
	}
	return text
}

// notes are what a reader must know besides.
func (c *Comparison) notes() (out []string) {
	if c.Seeds < seedsToTrust {
		out = append(out, fmt.Sprintf("With fewer than %d seeds the intervals do not hold what another seed would change: only differences of 5 %% count.", seedsToTrust))
	}
	a, b := &c.A.Environment, &c.B.Environment
	if !c.A.Experiment.Virtual() && (a.CPU != b.CPU || a.Cores != b.Cores) {
		out = append(out, fmt.Sprintf("The runs were made on different machines: %s, %d cores, and %s, %d cores.", a.CPU, a.Cores, b.CPU, b.Cores))
	}
	for _, side := range []struct {
		name string
		r    *report.Results
	}{{"A", c.A}, {"B", c.B}} {
		for _, run := range side.r.Runs {
			if run.Host.CPUBound {
				out = append(out, side.name+" was CPU-bound: its latencies are its machine's.")
				break
			}
		}
	}
	return out
}

// conclusion is the last line.
func (c *Comparison) conclusion() string {
	text := "B is " + string(c.Verdict)
	switch c.Verdict {
	case Same:
		text = "B is the same as A"
	case CannotTell:
		text = "cannot tell"
	}
	if c.Why != "" {
		text += ": " + c.Why
	}
	return text
}

// columns of both tables.
var columns = [...]string{"", "A", "B", "B - A", "95 % interval", "could show", "verdict"}

func (l *Line) cells() [len(columns)]string {
	figure := func(v float64) string { return report.FormatFigure(l.Metric, v) }
	signed := func(v float64) string {
		if v > 0 {
			return "+" + figure(v)
		}
		return figure(v)
	}
	interval, shows := "", ""
	if !math.IsNaN(l.Lo) {
		interval, shows = signed(l.Lo)+" to "+signed(l.Hi), figure(l.Shows)
	}
	return [...]string{l.Metric, figure(l.A), figure(l.B), signed(l.Diff), interval, shows, string(l.Verdict)}
}

// width is that of a terminal, and longName what a figure's name may take of it beside the other cells.
const width, longName = 80, 16

// narrow makes cells fit a terminal: a unit that all share stands once, at the difference, and a long name on a
// line of its own.
func narrow(cells [len(columns)]string) (above string, _ [len(columns)]string) {
	const diff = 3
	unit := strings.TrimLeft(cells[diff], "+-0123456789.")
	if unit == "inf" {
		unit = ""
	}
	lo, hi, ok := strings.Cut(cells[diff+1], " to ")
	if ok {
		cells[diff+1] = strings.TrimPrefix(strings.TrimSuffix(lo, unit), "+") + ", " + strings.TrimPrefix(strings.TrimSuffix(hi, unit), "+")
	}
	for _, i := range []int{1, 2, diff + 2} {
		cells[i] = strings.TrimSuffix(cells[i], unit)
	}
	if len(cells[0]) > longName {
		above, cells[0] = cells[0]+"\n", ""
	}
	return above, cells
}

// Table writes the comparison for a terminal.
func (c *Comparison) Table(w io.Writer) error {
	var b strings.Builder
	for _, line := range c.head() {
		b.WriteString(line + "\n")
	}
	fmt.Fprintf(&b, "%s\n\n", c.pairsText())
	could, show, _ := strings.Cut(columns[5], " ")
	head := columns
	head[5] = show
	rows, names := [][len(columns)]string{{5: could}, head}, []string{"", ""}
	for i := range c.Lines {
		name, cells := narrow(c.Lines[i].cells())
		rows, names = append(rows, cells), append(names, name)
	}
	var widths [len(columns)]int
	for _, r := range rows {
		for i, text := range r {
			widths[i] = max(widths[i], len(text))
		}
	}
	for n, r := range rows {
		b.WriteString(names[n])
		line := fmt.Sprintf("%-*s", widths[0], r[0])
		for i, text := range r[1:] {
			if i+2 == len(columns) {
				line += "  " + text
				continue
			}
			line += fmt.Sprintf("  %*s", widths[i+1], text)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	for _, n := range c.notes() {
		fmt.Fprintf(&b, "\n%s\n", report.Wrap(n, width))
	}
	fmt.Fprintf(&b, "\n%s\n", report.Wrap(c.conclusion(), width))
	_, err := io.WriteString(w, b.String())
	return err
}

// Markdown writes the comparison for a comment on a change.
func (c *Comparison) Markdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "**%s**\n\n", c.conclusion())
	row := func(cells [len(columns)]string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells[:], " | ")) }
	row(columns)
	b.WriteString("|" + strings.Repeat(" --- |", len(columns)) + "\n")
	for i := range c.Lines {
		cells := c.Lines[i].cells()
		cells[0] = "`" + cells[0] + "`"
		if v := c.Lines[i].Verdict; v == Better || v == Worse {
			cells[len(cells)-1] = "**" + string(v) + "**"
		}
		row(cells)
	}
	b.WriteString("\n" + c.pairsText() + ".\n\n")
	for _, line := range c.head() {
		b.WriteString("    " + line + "\n")
	}
	for _, n := range c.notes() {
		fmt.Fprintf(&b, "\n%s\n", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
