package report

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
)

// courseChart draws a run slot by slot on one time axis: its faults, coverage, the time to 95 % of
// the nodes, the different heads, and the nodes that are up where their number changes.
func courseChart(ticks []Tick, faults []Fault, slotMS float64) template.HTML {
	return drawBoth("Faults, coverage, time to 95 % of the nodes, heads and nodes up, slot by slot", func(c *canvas) { drawCourse(c, ticks, faults, slotMS) })
}

// strip is one of the charts that lie above each other.
type strip struct{ left, right, top, bottom float64 }

// stripDrawer draws one quantity of the ticks, which are so many milliseconds wide, at x.
type stripDrawer func(c *canvas, s strip, ticks []Tick, slotMS float64, x func(float64) float64)

func drawCourse(c *canvas, ticks []Tick, faults []Fault, slotMS float64) {
	const head, height, row = 40.0, 78.0, 34.0
	end := courseEnd(ticks, faults, slotMS)
	limit, labels := maxColumns, 12
	if c.narrow() {
		limit, labels = maxColumns/2, 5
	}
	each := sharedBy(len(ticks), limit)
	ticks, slotMS = worstTicks(ticks, each), slotMS*float64(each)
	s := strip{left: 62, right: c.width - 10}
	x := func(ms float64) float64 { return s.left + (s.right-s.left)*min(max(ms, 0), end)/end }
	strips := []stripDrawer{stripHeads}
	if slices.ContainsFunc(ticks, func(t Tick) bool { return t.Coverage.Valid() }) {
		strips = append([]stripDrawer{stripCoverage, stripC95}, strips...)
	}
	if slices.ContainsFunc(ticks, func(t Tick) bool { return t.Up != ticks[0].Up }) {
		strips = append(strips, stripUp)
	}
	faults = faults[:min(len(faults), maxFaultRows)]
	above := row * float64(len(faults))
	for i, f := range faults {
		to := faultEnd(f, end)
		c.rect("during", x(f.AtMS), row*float64(i)+16, x(to)-x(f.AtMS), above+float64(len(strips))*(head+height)-row*float64(i)-16, "")
	}
	for i, f := range faults {
		drawFault(c, f, end, row*float64(i), s.left, x)
	}
	for i, draw := range strips {
		s.top = above + float64(i)*(head+height) + head
		s.bottom = s.top + height
		draw(c, s, ticks, slotMS, x)
		c.flush()
		c.line("axisline", s.left, s.bottom, s.right, s.bottom)
	}
	for _, v := range linearTicks(end/1000, labels) {
		if v*1000 <= end {
			c.text("tick mid", min(x(v*1000), c.width-14), s.bottom+18, tickText(v)+" s")
		}
	}
	c.text("axis end", s.right, s.bottom+37, "since the window began")
	c.height = s.bottom + 44
}

// worstTicks lets each so many neighbours share a column, which shows the worst of them.
func worstTicks(ticks []Tick, each int) (out []Tick) {
	if each < 2 {
		return ticks
	}
	for group := range slices.Chunk(ticks, each) {
		sum := group[0]
		for _, t := range group[1:] {
			if !(sum.Coverage <= t.Coverage) && t.Coverage.Valid() {
				sum.Coverage = t.Coverage
			}
			if !(sum.C95 >= t.C95) && t.C95.Valid() {
				sum.C95 = t.C95
			}
			sum.Heads, sum.Up = max(sum.Heads, t.Heads), min(sum.Up, t.Up)
		}
		out = append(out, sum)
	}
	return out
}

// maxFaultRows bounds the faults that are drawn; the table below has every one.
const maxFaultRows = 12

// courseEnd is where the time axis ends: after the last slot, and after what the faults brought.
func courseEnd(ticks []Tick, faults []Fault, slotMS float64) float64 {
	end := ticks[len(ticks)-1].AtMS + slotMS
	for _, f := range faults {
		end = max(end, f.AtMS)
		if f.EndMS.Valid() {
			end = max(end, float64(f.EndMS))
			if healed := float64(f.EndMS + f.HeadsEqual); !math.IsNaN(healed) && !math.IsInf(healed, 1) {
				end = max(end, healed)
			}
		}
	}
	return end
}

// faultEnd is when a fault ended: that of the chart where it did not.
func faultEnd(f Fault, end float64) float64 {
	if f.EndMS.Valid() {
		return float64(f.EndMS)
	}
	return end
}

// drawFault is one fault's row: its name, a bar while it lasts, and a thin one from its end until
// all heads are equal.
func drawFault(c *canvas, f Fault, end, y, left float64, x func(float64) float64) {
	to := faultEnd(f, end)
	name := fmt.Sprintf("%s, %s", f.Kind, nodesText(f.Nodes))
	if !f.Happened {
		name += ": did not happen"
	}
	c.text("label", left, y+12, name)
	c.rect("lost", x(f.AtMS), y+18, max(2, x(to)-x(f.AtMS)), 7, f.Proof)
	switch healed := float64(f.HeadsEqual); {
	case math.IsNaN(healed):
	case math.IsInf(healed, 1):
		c.rect("fill s0", x(to), y+20, x(end)-x(to), 3, "never one head again")
	default:
		c.rect("fill s0", x(to), y+20, x(to+healed)-x(to), 3, "one head after "+millisecond.figure(healed))
	}
}

// nodesText names up to three nodes, else how many they are.
func nodesText(nodes []string) string {
	if len(nodes) > 3 {
		return fmt.Sprintf("%d nodes", len(nodes))
	}
	return strings.Join(nodes, " ")
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
		x0, width := x(t.AtMS)+0.5, x(t.AtMS+slotMS)-x(t.AtMS)-1
		if isBad(t) {
			c.box("lost", x0, y(1), width, y(cover)-y(1), fmt.Sprintf("slot from %s: %s", secondsText(t.AtMS), percent.figure(cover)))
		}
		c.box("fill k1", x0, y(cover), width, s.bottom-y(cover), "")
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
			c.box("lost", middle-3, s.top-3, 6, 6, "")
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
		class, tip := "fill k1", ""
		if t.Heads > 1 {
			class, tip = "lost", fmt.Sprintf("slot from %s: %d heads", secondsText(t.AtMS), t.Heads)
		}
		c.box(class, x(t.AtMS)+0.5, y(float64(t.Heads)), x(t.AtMS+slotMS)-x(t.AtMS)-1, s.bottom-y(float64(t.Heads)), tip)
	}
}

func stripUp(c *canvas, s strip, ticks []Tick, slotMS float64, x func(float64) float64) {
	most := 1
	for _, t := range ticks {
		most = max(most, t.Up)
	}
	y := s.frame(c, "nodes up as the slot ends", float64(most), []float64{0, float64(most)}, tickText)
	for _, t := range ticks {
		c.box("fill k1", x(t.AtMS)+0.5, y(float64(t.Up)), x(t.AtMS+slotMS)-x(t.AtMS)-1, s.bottom-y(float64(t.Up)), "")
	}
}
