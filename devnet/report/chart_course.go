package report

import (
	"fmt"
	"html/template"
	"math"
	"slices"
)

// courseChart draws a run slot by slot on one time axis: coverage, the time to 95 % of the nodes,
// the different heads, and the nodes that are up where their number changes.
func courseChart(ticks []Tick, slotMS float64) template.HTML {
	return drawBoth("Coverage, time to 95 % of the nodes, nodes up and heads, slot by slot", func(c *canvas) { drawCourse(c, ticks, slotMS) })
}

// strip is one of the charts that lie above each other.
type strip struct{ left, right, top, bottom float64 }

func drawCourse(c *canvas, ticks []Tick, slotMS float64) {
	const head, height = 40.0, 78.0
	end := ticks[len(ticks)-1].AtMS + slotMS
	s := strip{left: 62, right: c.width - 10}
	x := func(ms float64) float64 { return s.left + (s.right-s.left)*ms/end }
	strips := []func(*canvas, strip, []Tick, float64, func(float64) float64){stripCoverage, stripC95, stripHeads}
	if slices.ContainsFunc(ticks, func(t Tick) bool { return t.Up != ticks[0].Up }) {
		strips = append(strips, stripUp)
	}
	for i, draw := range strips {
		s.top = float64(i)*(head+height) + head
		s.bottom = s.top + height
		draw(c, s, ticks, slotMS, x)
		c.line("axisline", s.left, s.bottom, s.right, s.bottom)
	}
	limit := 12
	if c.narrow() {
		limit = 5
	}
	for _, v := range linearTicks(end/1000, limit) {
		if v*1000 <= end {
			c.text("tick mid", min(x(v*1000), c.width-14), s.bottom+18, tickText(v)+" s")
		}
	}
	c.text("axis end", s.right, s.bottom+37, "since the window began")
	c.height = s.bottom + 44
}

// frame draws the levels of a strip and its title.
func (s strip) frame(c *canvas, title string, full float64, levels []float64, text func(float64) string) (y func(float64) float64) {
	y = func(v float64) float64 { return s.bottom - (s.bottom-s.top)*min(v, full)/full }
	for _, v := range levels {
		c.line("grid", s.left, y(v), s.right, y(v))
		c.text("tick end", s.left-8, y(v)+4, text(v))
	}
	c.text("axis", 0, s.top-12, title)
	return y
}

func stripCoverage(c *canvas, s strip, ticks []Tick, slotMS float64, x func(float64) float64) {
	y := s.frame(c, "coverage of the slot's block", 1, []float64{0, .5, 1}, func(v float64) string { return fmt.Sprintf("%.0f %%", 100*v) })
	for _, t := range ticks {
		cover := float64(t.Coverage)
		if math.IsNaN(cover) {
			continue
		}
		class, x0, width := "fill k1", x(t.AtMS)+0.5, x(t.AtMS+slotMS)-x(t.AtMS)-1
		if isBad(t) {
			c.rect("lost", x0, y(1), width, y(cover)-y(1), percent.figure(1-cover)+" not delivered")
		}
		c.rect(class, x0, y(cover), width, s.bottom-y(cover), fmt.Sprintf("slot from %s: %s", secondsText(t.AtMS), percent.figure(cover)))
	}
}

func stripC95(c *canvas, s strip, ticks []Tick, slotMS float64, x func(float64) float64) {
	most := 0.0
	for _, t := range ticks {
		if v := float64(t.C95); !math.IsInf(v, 1) && !math.IsNaN(v) {
			most = max(most, v)
		}
	}
	levels := linearTicks(most, 3)
	y := s.frame(c, "time to 95 % of the nodes; a red square: never", levels[len(levels)-1], levels, axisTime)
	for _, t := range ticks {
		middle := x(t.AtMS + slotMS/2)
		switch v := float64(t.C95); {
		case math.IsNaN(v):
		case math.IsInf(v, 1):
			c.rect("lost", middle-3, s.top-3, 6, 6, fmt.Sprintf("slot from %s: never", secondsText(t.AtMS)))
		default:
			c.dot("fill k1", middle, y(v), 3.2, fmt.Sprintf("slot from %s: %s", secondsText(t.AtMS), millisecond.figure(v)))
		}
	}
}

func stripHeads(c *canvas, s strip, ticks []Tick, slotMS float64, x func(float64) float64) {
	most := 2
	for _, t := range ticks {
		most = max(most, t.Heads)
	}
	y := s.frame(c, "different heads as the slot ends", float64(most), []float64{0, 1, float64(most)}, tickText)
	for _, t := range ticks {
		class := "fill k1"
		if t.Heads > 1 {
			class = "lost"
		}
		c.rect(class, x(t.AtMS)+0.5, y(float64(t.Heads)), x(t.AtMS+slotMS)-x(t.AtMS)-1, s.bottom-y(float64(t.Heads)), fmt.Sprintf("slot from %s: %d heads", secondsText(t.AtMS), t.Heads))
	}
}

func stripUp(c *canvas, s strip, ticks []Tick, slotMS float64, x func(float64) float64) {
	most := 1
	for _, t := range ticks {
		most = max(most, t.Up)
	}
	y := s.frame(c, "nodes up as the slot ends", float64(most), []float64{0, float64(most)}, tickText)
	for _, t := range ticks {
		c.rect("fill k1", x(t.AtMS)+0.5, y(float64(t.Up)), x(t.AtMS+slotMS)-x(t.AtMS)-1, s.bottom-y(float64(t.Up)), fmt.Sprintf("slot from %s: %d up", secondsText(t.AtMS), t.Up))
	}
}
