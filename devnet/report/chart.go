package report

import (
	"fmt"
	"html/template"
	"math"
	"strings"

	"github.com/pheme-net/pheme/devnet/recorder"
)

// series is one curve of the coverage chart.
type series struct {
	name  string
	class string
	shape Shape
}

// coverageChart draws the share of deliveries over time as steps on a logarithmic axis, single
// messages thin behind, and at the right edge the share that never came.
func coverageChart(all []series) template.HTML {
	return drawBoth("Coverage over time", func(c *canvas) { drawCoverage(c, all) })
}

func drawCoverage(c *canvas, all []series) {
	c.height = 400
	left, right, top, bottom := 46.0, c.width-64, 34.0, c.height-44
	if c.narrow() {
		c.height = 320
		right, bottom = c.width-40, c.height-42
	}
	lo, hi := timeRange(all)
	x := logScale{lo: lo, hi: hi, x0: left, x1: right}
	y := func(share float64) float64 { return bottom - (bottom-top)*share }
	for _, share := range []float64{0, .25, .5, .75, 1} {
		c.line("grid", left, y(share), right, y(share))
		c.text("tick end", left-8, y(share)+4, fmt.Sprintf("%.0f %%", share*100))
	}
	c.text("axis", 0, 14, "share of deliveries made")
	most := 12
	if c.narrow() {
		most = 6
	}
	for _, v := range x.ticks(most) {
		c.line("grid", x.at(v), top, x.at(v), bottom)
		c.text("tick mid", x.at(v), bottom+18, axisTime(v))
	}
	c.text("axis end", right, bottom+36, "time since sealed or submitted, logarithmic")
	for _, s := range all {
		for _, points := range s.shape.ByMessage {
			c.path("thin "+s.class, steps(points, x, y))
		}
	}
	for _, s := range all {
		c.path("curve "+s.class, steps(s.shape.Curve, x, y))
		drawShelf(c, s, x, y, right)
	}
	labelCurves(c, all, x, y)
	c.line("axisline", left, bottom, right, bottom)
}

// labelCurves writes the legend at the top right, a swatch before each name.
func labelCurves(c *canvas, all []series, x logScale, y func(float64) float64) {
	at := c.width
	for i := len(all) - 1; i >= 0; i-- {
		at -= textWidth(all[i].name) + 8
		c.text("label", at, 14, all[i].name)
		at -= 22
		c.line("curve "+all[i].class, at, 10, at+16, 10)
		at -= 10
	}
}

// drawShelf ends a curve: a level line to the edge at what was delivered, and the share that was
// not, if any.
func drawShelf(c *canvas, s series, x logScale, y func(float64) float64, right float64) {
	if len(s.shape.Curve) == 0 {
		return
	}
	last := s.shape.Curve[len(s.shape.Curve)-1]
	c.line("curve tail "+s.class, x.at(last.MS), y(last.Share), right, y(last.Share))
	if s.shape.Lost == 0 {
		return
	}
	c.rect("lost", right, y(1), 8, y(last.Share)-y(1), fmt.Sprintf("%s: %d of %d not delivered", s.name, s.shape.Lost, s.shape.Deliveries))
	c.text("bad", right+12, y((1+last.Share)/2)+4, "lost")
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

// timeRange spans all curves with a little room, at least one factor of ten.
func timeRange(all []series) (lo, hi float64) {
	lo, hi = math.Inf(1), 0
	for _, s := range all {
		for _, points := range append([][]Point{s.shape.Curve}, s.shape.ByMessage...) {
			for _, p := range points {
				lo, hi = min(lo, max(p.MS, 0.01)), max(hi, p.MS)
			}
		}
	}
	if hi == 0 {
		return 1, 1000
	}
	lo, hi = lo*0.8, hi*1.25
	if hi/lo < 10 {
		middle := math.Sqrt(hi * lo)
		lo, hi = middle/math.Sqrt(10), middle*math.Sqrt(10)
	}
	return lo, hi
}

// axisTime writes a tick of the time axis.
func axisTime(v float64) string {
	if v >= 1000 {
		return significant(v/1000) + " s"
	}
	return significant(v) + " ms"
}

// stageClass colours a stage; the import after acceptance has its own.
func stageClass(s recorder.Stage) string { return fmt.Sprintf("s%d", int(s)+1) }

// importClass colours the import that follows acceptance and is outside the latency.
const importClass = "s0"

// bar is a row of a stacked bar chart.
type bar struct {
	label string
	start float64
	parts []part
	total string
}

type part struct {
	class string
	value float64
	tip   string
	thin  bool // drawn as a thin tail: not of the total
}

// legendItem is one colour of a chart.
type legendItem struct{ Class, Name string }

// barChart draws stacked horizontal bars to one scale, with its axis below.
func barChart(title, axis string, bars []bar) template.HTML {
	return drawBoth(title, func(c *canvas) { drawBars(c, axis, bars) })
}

func drawBars(c *canvas, axis string, bars []bar) {
	labels, totals, most := 0.0, 0.0, 0.0
	for _, b := range bars {
		labels, totals = max(labels, textWidth(b.label)), max(totals, textWidth(b.total))
		sum := b.start
		for _, p := range b.parts {
			sum += max(0, p.value)
		}
		most = max(most, sum)
	}
	const pitch, thick, above = 34.0, 20.0, 8.0
	left, right := labels+12, c.width-totals-14
	bottom := above + pitch*float64(len(bars))
	c.height = bottom + 42
	limit := 8
	if c.narrow() {
		limit = 4
	}
	ticks := linearTicks(most, limit)
	scale := ticks[len(ticks)-1]
	x := func(v float64) float64 { return left + (right-left)*min(v, scale)/scale }
	for _, v := range ticks {
		c.line("grid", x(v), above-4, x(v), bottom)
		c.text("tick mid", x(v), bottom+16, tickText(v))
	}
	c.text("axis end", right, bottom+34, axis)
	for i, b := range bars {
		y := above + pitch*float64(i) + (pitch-thick)/2 - 2
		c.text("label end", left-8, y+thick/2+4, b.label)
		at := b.start
		for _, p := range b.parts {
			if p.value <= 0 {
				continue
			}
			gap := 0.0
			if x(at+p.value)-x(at) > 3 {
				gap = 1 // a hairline of the page between neighbours
			}
			top, height := y, thick
			if p.thin {
				top, height = y+thick/2-3, 6
			}
			c.rect("fill "+p.class, x(at), top, x(at+p.value)-x(at)-gap, height, p.tip)
			at += p.value
		}
		c.text("value", x(at)+6, y+thick/2+4, b.total)
	}
	c.line("axisline", left, bottom, right, bottom)
}
