package report

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"

	"github.com/pheme-net/pheme/devnet/stats"
)

// SweepChartFile is the name of a sweep's chart, in its folder: one SVG that stands alone.
const SweepChartFile = "chart.svg"

// chartStyle is what a chart outside a page needs of page.css, besides the colours at its head.
const chartStyle = `svg{background:var(--paper);font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Noto Sans","DejaVu Sans",sans-serif}
text{fill:var(--soft)}.tick,.axis{fill:var(--faint)}.label{fill:var(--ink)}.head{fill:var(--ink);font-weight:600}.mid{text-anchor:middle}.end{text-anchor:end}
.grid{stroke:var(--rule)}.whisker{stroke:var(--ink);stroke-width:1.3;fill:none}.floor{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:2 2}.lost{fill:var(--bad)}
.k1{fill:var(--blue)}.k2{fill:var(--orange)}.k3{fill:var(--purple)}.k4{fill:var(--teal)}.k5{fill:var(--navy)}.k6{fill:var(--moss)}.k7{fill:var(--rose)}`

// mostPanels is how many values of a key stand side by side in a chart.
const mostPanels = 4

// Sizes of a sweep's chart, in pixels.
const (
	chartWidth = 1120.0
	chartStep  = 7.0 // between the marks of one row
	chartPad   = 12.0
)

// sweepPlot is a sweep's chart: a row for each combination of values, marks for the pivot's columns in
// it, and panels side by side for the values of one more key.
type sweepPlot struct {
	pivot  pivot
	metric string
	panel  int // the key of the panels, by its place in pivot.keys; -1 for one panel
	panels []string
	rows   []plotRow
}

// plotRow is one row with its cells by panel and column.
type plotRow struct {
	label string
	cells [][]*Cell
}

// SweepChart draws a sweep's main figure with intervals, in all its cells, on one logarithmic axis; a
// dashed line is the physical floor. It is read in light and in dark.
func SweepChart(s *Sweep) []byte {
	p := newSweepPlot(s)
	labels := 0.0
	for _, r := range p.rows {
		labels = max(labels, textWidth(r.label))
	}
	c := &canvas{width: chartWidth}
	left := labels + 18
	top := p.legend(c, left) + 34
	pitch := chartStep*float64(len(p.pivot.columns)) + chartPad
	bottom := top + pitch*float64(len(p.rows))
	c.height = bottom + 44
	width := (chartWidth - left) / float64(len(p.panels))
	var values []float64
	for i := range s.Cells {
		f := s.Cells[i].Summary[p.metric]
		values = append(values, float64(f.Value), float64(f.Hi), float64(f.Lo), float64(s.Cells[i].Summary["block.floor_p95_ms"].Value))
	}
	for k, name := range p.panels {
		x := newLogScale(left+float64(k)*width+8, left+float64(k+1)*width-16, values)
		c.text("head mid", (x.x0+x.x1)/2, top-10, name)
		for _, v := range x.ticks(int(width / 52)) {
			c.line("grid", x.at(v), top, x.at(v), bottom)
			c.text("tick mid", x.at(v), bottom+16, axisTime(v))
		}
		for i, r := range p.rows {
			p.marks(c, x, r.cells[k], top+pitch*float64(i)+chartPad/2+chartStep/2, pitch)
		}
	}
	for i, r := range p.rows {
		y := top + pitch*float64(i)
		c.line("grid", 0, y, chartWidth, y)
		c.text("label end", left-10, y+pitch/2+4, r.label)
	}
	h := headlineOf(p.metric)
	c.text("axis end", chartWidth-16, bottom+36, fmt.Sprintf("%s %s, milliseconds or seconds, logarithmic; whiskers: 95 %% intervals; dashed: the physical floor's p95", h.group, h.label))
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %s %s" width="%s" height="%s" role="img" aria-label="%s"><style>%s%s</style><rect width="100%%" height="100%%" style="fill:var(--paper)"/>%s</svg>`+"\n",
		px(c.width), px(c.height), px(c.width), px(c.height), html.EscapeString(s.Name+": "+h.group+" "+h.label+" of "+s.extent()), colours(), chartStyle, c.b.String())
	return out.Bytes()
}

// colours is the head of the page's style sheet, which names the colours for light and dark.
func colours() string {
	_, css, _ := strings.Cut(pageStyle, "*/")
	head, _, _ := strings.Cut(css, "\n* {")
	return strings.TrimSpace(head)
}

func newSweepPlot(s *Sweep) *sweepPlot {
	p := &sweepPlot{pivot: newPivot(s), panel: -1}
	p.metric, _ = s.main()
	values := func(k int) (out []string) {
		for _, r := range p.pivot.rows {
			if !slices.Contains(out, r.values[k]) {
				out = append(out, r.values[k])
			}
		}
		return out
	}
	for k := range p.pivot.keys {
		if v := values(k); len(v) > len(p.panels) && len(v) <= mostPanels && len(v) > 1 {
			p.panel, p.panels = k, v
		}
	}
	if p.panel < 0 {
		p.panels = []string{""}
	}
	at := map[string]int{}
	for _, r := range p.pivot.rows {
		var words []string
		place := 0
		for k, v := range r.values {
			if k == p.panel {
				place = slices.Index(p.panels, v)
			} else {
				words = append(words, shortKey(s.Keys, s.Keys[p.pivot.keys[k]])+" "+v)
			}
		}
		label := strings.Join(words, ", ")
		i, ok := at[label]
		if !ok {
			i = len(p.rows)
			at[label] = i
			p.rows = append(p.rows, plotRow{label, make([][]*Cell, len(p.panels))})
		}
		p.rows[i].cells[place] = r.cells
	}
	return p
}

// legend names the marks and returns how far down it reaches.
func (p *sweepPlot) legend(c *canvas, left float64) float64 {
	x, y := left, 18.0
	for i, name := range p.pivot.columns {
		if x+textWidth(name)+34 > chartWidth {
			x, y = left, y+20
		}
		mark(c, i, x+6, y-4)
		c.text("label", x+16, y, name)
		x += textWidth(name) + 36
	}
	return y
}

// marks draws the cells of one row in one panel, each a little lower than the one before.
func (p *sweepPlot) marks(c *canvas, x logScale, cells []*Cell, y, pitch float64) {
	drawn := false
	for i, cell := range cells {
		if cell == nil {
			continue
		}
		if f := float64(cell.Summary["block.floor_p95_ms"].Value); cell.Summary["block.floor_p95_ms"].N > 0 && !drawn {
			top := y - chartStep/2 - chartPad/2
			c.line("floor", x.at(f), top+2, x.at(f), top+pitch-2)
			drawn = true
		}
		f, at := cell.Summary[p.metric], y+chartStep*float64(i)
		switch v := float64(f.Value); {
		case f.N == 0 || math.IsNaN(v):
		case math.IsInf(v, 1):
			c.rect("lost", x.x1-3, at-3, 6, 6, "")
		default:
			whisker(c, x, f, at)
			mark(c, i, x.at(v), at)
		}
	}
}

func whisker(c *canvas, x logScale, f stats.Figure, y float64) {
	if lo, hi := float64(f.Lo), float64(f.Hi); f.HasInterval() && !math.IsInf(hi, 1) {
		c.line("whisker", x.at(lo), y, x.at(hi), y)
	}
}

// mark draws the mark of a column: seven colours and three shapes, no two alike up to 21.
func mark(c *canvas, i int, x, y float64) {
	class := seriesClasses[i%len(seriesClasses)]
	switch i % 3 {
	case 0:
		c.dot(class, x, y, 3.6, "")
	case 1:
		c.rect(class, x-3.2, y-3.2, 6.4, 6.4, "")
	default:
		c.path(class, fmt.Sprintf("M%s %sl4.4 4.4-4.4 4.4-4.4-4.4z", px(x), px(y-4.4)))
	}
}
