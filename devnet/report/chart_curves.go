package report

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
)

// line is one curve of a coverage chart.
type line struct {
	name   string
	class  string
	points []Point
	band   []BandStep
	lost   int // of deliveries: never made
	of     int
}

// curvesChart draws the share of deliveries over time as steps on a logarithmic axis, the spread of
// single messages behind, and on a shelf at the right edge the share that never came.
func curvesChart(about, axis string, lines []line) template.HTML {
	return drawBoth(about, func(c *canvas) { drawCurves(c, axis, lines) })
}

func drawCurves(c *canvas, axis string, lines []line) {
	c.height = 380
	left, right, top, bottom := 50.0, c.width-10, 30.0, c.height-44
	if c.narrow() {
		c.height, bottom = 300, 256
	}
	lost := slices.ContainsFunc(lines, func(l line) bool { return l.lost > 0 })
	edge := right
	if lost {
		right -= 74
	}
	var times []float64
	for _, l := range lines {
		for _, p := range l.points {
			times = append(times, p.MS)
		}
		for _, s := range l.band {
			times = append(times, float64(s.P5), float64(s.P95))
		}
	}
	x := newLogScale(left, right, times)
	y := func(share float64) float64 { return bottom - (bottom-top)*share }
	for _, share := range []float64{0, .25, .5, .75, .9, 1} {
		c.line("grid", left, y(share), edge, y(share))
		c.text("tick end", left-8, y(share)+4, fmt.Sprintf("%.0f %%", share*100))
	}
	c.text("axis", 0, 14, "share of deliveries made")
	most := 12
	if c.narrow() {
		most = 5
	}
	for _, v := range x.ticks(most) {
		c.line("grid", x.at(v), top, x.at(v), bottom)
		if at := x.at(v); at < right-24 || !lost {
			c.text("tick mid", min(at, c.width-20), bottom+18, axisTime(v))
		}
	}
	c.text("axis end", edge, bottom+37, axis)
	if lost {
		c.rect("shelf", right, top, edge-right, bottom-top, "")
		c.text("tick mid", (right+edge)/2, bottom+18, "never")
	}
	for _, l := range lines {
		c.path("band "+l.class, bandPath(l.band, x, y))
	}
	for _, l := range lines {
		c.path("curve "+l.class, steps(l.points, x, y))
	}
	drawShelf(c, lines, x, y, right, edge)
	c.line("axisline", left, bottom, edge, bottom)
}

// drawShelf ends the curves: a level line to the edge at what was delivered, and beside it how much
// was not. Labels keep their distance.
func drawShelf(c *canvas, lines []line, x logScale, y func(float64) float64, right, edge float64) {
	free := 0.0
	ordered := slices.Clone(lines)
	slices.SortStableFunc(ordered, func(a, b line) int { return a.lost*max(1, b.of) - b.lost*max(1, a.of) }) // the highest end first
	for _, l := range ordered {
		if len(l.points) == 0 {
			continue
		}
		last := l.points[len(l.points)-1]
		c.line("curve tail "+l.class, x.at(last.MS), y(last.Share), edge, y(last.Share))
		if l.lost == 0 {
			continue
		}
		c.rect("lost", right, y(1), 5, y(last.Share)-y(1), fmt.Sprintf("%s: %d of %d not delivered", l.name, l.lost, l.of))
		at := max(y(last.Share)+15, free)
		c.text("bad", right+10, at, lostText(l.lost, l.of))
		free = at + 14
	}
}

// lostText is a share that was not delivered, never rounded down to nothing.
func lostText(lost, of int) string {
	v := 100 * float64(lost) / float64(max(1, of))
	if v < 0.01 {
		return "< 0.01 %"
	}
	return significant(v) + " %"
}

// steps is the path of a step function from zero.
func steps(points []Point, x logScale, y func(float64) float64) string {
	var b strings.Builder
	share := 0.0
	for i, p := range points {
		if i == 0 {
			fmt.Fprintf(&b, "M%s %s", px(x.at(p.MS)), px(y(0)))
		} else {
			fmt.Fprintf(&b, "H%s", px(x.at(p.MS)))
		}
		if p.Share != share {
			fmt.Fprintf(&b, "V%s", px(y(p.Share)))
			share = p.Share
		}
	}
	return b.String()
}

// bandPath outlines the band: up along the 5th percentiles, down along the 95th. What is infinite
// is at the right edge.
func bandPath(band []BandStep, x logScale, y func(float64) float64) string {
	var b strings.Builder
	for i, s := range band {
		if math.IsInf(float64(s.P5), 1) {
			band = band[:i] // nothing to draw where even the fastest messages never came
			break
		}
	}
	if len(band) < 2 {
		return ""
	}
	fmt.Fprintf(&b, "M%s %s", px(x.at(float64(band[0].P5))), px(y(0)))
	for _, s := range band {
		fmt.Fprintf(&b, "H%sV%s", px(x.at(float64(s.P5))), px(y(s.Share)))
	}
	for i := len(band) - 1; i >= 0; i-- {
		below := 0.0
		if i > 0 {
			below = band[i-1].Share
		}
		fmt.Fprintf(&b, "H%sV%s", px(x.at(float64(band[i].P95))), px(y(below)))
	}
	return b.String() + "Z"
}

// small is one panel of a small-multiples chart: a curve against the same grey one.
type small struct {
	name, note string
	points     []Point
	lost       bool
}

// panels draws one small curve each, all to the same scale, before the curve of all, of which as
// many steps are drawn as a panel shows.
func panels(about string, all []Point, parts []small) template.HTML {
	all = fewer(all, maxSmall)
	return drawBoth(about, func(c *canvas) { drawPanels(c, all, parts) })
}

// fewer takes at most limit points of a curve, evenly, the last among them.
func fewer(points []Point, limit int) (out []Point) {
	count := min(len(points), limit)
	for k := 1; k <= count; k++ {
		out = append(out, points[(k*len(points)+count-1)/count-1])
	}
	return out
}

func drawPanels(c *canvas, all []Point, parts []small) {
	columns, gap := 4, 26.0
	if c.narrow() {
		columns, gap = 2, 18
	}
	columns = min(columns, len(parts))
	width := (c.width - gap*float64(columns-1)) / float64(max(columns, 2))
	const height, head, foot = 76.0, 38.0, 24.0
	rows := (len(parts) + columns - 1) / columns
	c.height = float64(rows) * (head + height + foot)
	var times []float64
	for _, p := range all {
		times = append(times, p.MS)
	}
	for i, p := range parts {
		x0 := float64(i%columns) * (width + gap)
		top := float64(i/columns)*(head+height+foot) + head
		bottom := top + height
		x := newLogScale(x0, x0+width, times)
		y := func(share float64) float64 { return bottom - height*share }
		c.text("label", x0, top-22, p.name)
		c.text("tick", x0, top-7, p.note)
		for _, share := range []float64{.5, 1} {
			c.line("grid", x0, y(share), x0+width, y(share))
		}
		ticks := x.ticks(3)
		for _, v := range ticks {
			c.line("grid", x.at(v), top, x.at(v), bottom)
			c.text("tick mid", min(max(x.at(v), x0+18), x0+width-18), bottom+16, axisTime(v))
		}
		c.path("curve ghost", steps(all, x, y))
		class := "c1"
		if p.lost {
			class = "c4"
		}
		c.path("curve "+class, steps(p.points, x, y))
		c.line("axisline", x0, bottom, x0+width, bottom)
	}
}
