package report

import (
	"fmt"
	"html/template"
	"math"
)

// pointSeries is one row of points over places on the x axis that are named, not measured.
type pointSeries struct {
	name   string
	class  string // a fill
	points []intervalPoint
}

// intervalPoint is a figure with its interval; a NaN value leaves its place empty.
type intervalPoint struct {
	at        int // the place
	v, lo, hi float64
	tip       string
}

// intervalsChart draws figures with their intervals over places, from zero.
type intervalsChart struct {
	about, yAxis, xAxis string
	scale               float64 // of one unit of the y axis
	places              []string
	series              []pointSeries
}

func (ch intervalsChart) html() template.HTML { return drawBoth(ch.about, ch.draw) }

func (ch intervalsChart) draw(c *canvas) {
	c.height = 280
	left, right, top, bottom := 56.0, c.width-8, 30.0, c.height-44
	most := 0.0
	for _, s := range ch.series {
		for _, p := range s.points {
			for _, v := range []float64{p.v, p.hi} {
				if !math.IsInf(v, 1) && !math.IsNaN(v) {
					most = max(most, v)
				}
			}
		}
	}
	ticks := linearTicks(most/ch.scale, 5)
	full := ticks[len(ticks)-1] * ch.scale
	y := func(v float64) float64 { return bottom - (bottom-top)*min(max(v, 0), full)/full }
	for _, v := range ticks {
		c.line("grid", left, y(v*ch.scale), right, y(v*ch.scale))
		c.text("tick end", left-8, y(v*ch.scale)+4, tickText(v))
	}
	c.text("axis", 0, 14, ch.yAxis)
	pitch, longest := (right-left)/float64(len(ch.places)), 0.0
	for _, p := range ch.places {
		longest = max(longest, textWidth(p)+10)
	}
	every := max(1, int(math.Ceil(longest/pitch)))
	for i, p := range ch.places {
		if i%every == 0 {
			c.text("tick mid", left+pitch*(float64(i)+0.5), bottom+18, p)
		}
	}
	step := min(14, pitch*0.8/float64(len(ch.series)))
	for k, s := range ch.series {
		off := step * (float64(k) - float64(len(ch.series)-1)/2)
		for _, p := range s.points {
			if math.IsNaN(p.v) {
				continue
			}
			x := left + pitch*(float64(p.at)+0.5) + off
			if math.IsInf(p.v, 1) {
				c.rect("lost", x-3, top-3, 6, 6, p.tip)
				continue
			}
			if !math.IsNaN(p.lo) && !math.IsNaN(p.hi) {
				c.path("whisker", fmt.Sprintf("M%s %sh8m-4 0V%sm-4 0h8", px(x-4), px(y(p.lo)), px(y(p.hi))))
			}
			c.dot("fill "+s.class, x, y(p.v), 4.5, p.tip)
		}
	}
	c.text("axis end", right, bottom+37, ch.xAxis)
	c.line("axisline", left, bottom, right, bottom)
}

// lawChart draws a law's points with their intervals, its line, and below them the residuals, over
// the scale on which the line is straight.
type lawChart struct {
	about, yAxis, xAxis string
	scale               float64 // of one unit of the y axis
	law                 Law
	label               func(float64) string // of a figure
}

func (ch lawChart) html() template.HTML { return drawBoth(ch.about, ch.draw) }

func (ch lawChart) draw(c *canvas) {
	const rest = 70.0
	left, right, top, bottom := 56.0, c.width-24, 30.0, 270.0
	c.height = bottom + 30 + rest + 50
	lo, hi, most, off := math.Inf(1), math.Inf(-1), 0.0, 0.0
	for _, p := range ch.law.Points {
		at := ch.law.Scaled(p.X)
		lo, hi = min(lo, at), max(hi, at)
		most, off = max(most, float64(p.Y.Value)), max(off, math.Abs(float64(p.Residual)))
		if p.Y.HasInterval() && !math.IsInf(float64(p.Y.Hi), 1) {
			most = max(most, float64(p.Y.Hi))
		}
	}
	room := (hi - lo) * 0.05
	lo, hi = lo-room, hi+room
	ticks := linearTicks(most/ch.scale, 5)
	full := ticks[len(ticks)-1] * ch.scale
	x := func(at float64) float64 { return left + (right-left)*(at-lo)/(hi-lo) }
	y := func(v float64) float64 { return bottom - (bottom-top)*min(max(v, 0), full)/full }
	for _, v := range ticks {
		c.line("grid", left, y(v*ch.scale), right, y(v*ch.scale))
		c.text("tick end", left-8, y(v*ch.scale)+4, tickText(v))
	}
	c.text("axis", 0, 14, ch.yAxis)
	if !math.IsNaN(float64(ch.law.Fit.Slope)) {
		c.line("curve o1", x(lo), y(ch.law.Fit.At(lo)), x(hi), y(ch.law.Fit.At(hi)))
	}
	middle := bottom + 30 + rest/2
	if off == 0 || math.IsNaN(off) {
		off = 1
	}
	z := func(v float64) float64 { return middle - rest/2*v/off }
	c.text("axis", 0, bottom+22, "distance from the line, at most "+ch.label(off))
	c.line("axisline", left, middle, right, middle)
	last := math.Inf(-1)
	for _, p := range ch.law.Points {
		at, v := x(ch.law.Scaled(p.X)), float64(p.Y.Value)
		if math.IsNaN(v) || math.IsInf(v, 1) {
			continue
		}
		if p.Y.HasInterval() {
			c.line("whisker", at, y(float64(p.Y.Lo)), at, y(float64(p.Y.Hi)))
		}
		tip := fmt.Sprintf("%s: %s", tickText(p.X), ch.label(v))
		c.dot("fill k1", at, y(v), 5, tip)
		c.line("residual", at, middle, at, z(float64(p.Residual)))
		c.dot("fill k1", at, z(float64(p.Residual)), 3, tip)
		if name := tickText(p.X); at-last > textWidth(name)+8 {
			c.text("tick mid", at, middle+rest/2+20, name)
			last = at
		}
	}
	c.text("axis end", right, middle+rest/2+40, ch.xAxis)
	c.line("axisline", left, bottom, right, bottom)
}
