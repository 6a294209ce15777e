package report

import (
	"html/template"
	"math"
)

// bar is a row of a stacked bar chart. Its values are as results.json has them.
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

// legendItem is one colour of a chart, a line instead of a box for curves.
type legendItem struct {
	Class, Name string
	Line        bool
}

// barChart draws stacked horizontal bars to one scale, with its axis below.
func barChart(about, axis string, bars []bar) template.HTML {
	return drawBoth(about, func(c *canvas) { drawBars(c, axis, bars) })
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
	c.text("axis end", right, bottom+35, axis)
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

// span is a row of a range chart: from lo to hi with a mark at mid; infinite ends are at the edge.
type span struct {
	label       string
	lo, mid, hi float64
	text        string
}

// rangeChart draws ranges on one logarithmic time axis. Long labels stand above their range.
func rangeChart(about, axis string, spans []span) template.HTML {
	return drawBoth(about, func(c *canvas) { drawRanges(c, axis, spans) })
}

func drawRanges(c *canvas, axis string, spans []span) {
	labels, texts := 0.0, 0.0
	var values []float64
	for _, s := range spans {
		labels, texts = max(labels, textWidth(s.label)), max(texts, textWidth(s.text))
		values = append(values, s.lo, s.mid, s.hi)
	}
	pitch, left, right, down := 32.0, labels+16, c.width-texts-14, 16.0
	if c.narrow() {
		pitch, left, down = 46, 4, 32
	}
	bottom := pitch*float64(len(spans)) + 6
	c.height = bottom + 42
	x := newLogScale(left, right, values)
	most := 10
	if c.narrow() {
		most = 4
	}
	for _, v := range x.ticks(most) {
		c.line("grid", x.at(v), 0, x.at(v), bottom)
		c.text("tick mid", min(max(x.at(v), 18), c.width-18), bottom+16, axisTime(v))
	}
	c.text("axis end", right, bottom+35, axis)
	for i, s := range spans {
		y := pitch*float64(i) + down
		if c.narrow() {
			c.text("label", left, y-12, s.label)
		} else {
			c.text("label end", left-12, y+4, s.label)
		}
		if math.IsNaN(s.mid) {
			c.text("value", right+8, y+4, s.text)
			continue
		}
		c.line("range c1", x.at(s.lo), y, x.at(s.hi), y)
		c.dot("mark c1", x.at(s.mid), y, 5, s.text)
		c.text("value", right+8, y+4, s.text)
	}
	c.line("axisline", left, bottom, right, bottom)
}
