package report

import (
	"fmt"
	"html/template"
	"math"
	"strings"
)

// maxHopClass is the number of hops from which on deliveries share a colour.
const maxHopClass = 5

// scatterChart draws latency over floor, one dot a delivery, coloured by hops, with rays at whole
// factors of the floor.
func scatterChart(points []StretchPoint) template.HTML {
	return drawBoth("Latency of single deliveries over their physical floor", func(c *canvas) { drawScatter(c, points) })
}

func drawScatter(c *canvas, points []StretchPoint) {
	c.height = 380
	left, right, top, bottom := 62.0, c.width-34, 30.0, c.height-44
	if c.narrow() {
		c.height, bottom, right = 320, 276, c.width-26
	}
	mostX, mostY := 0.0, 0.0
	for _, p := range points {
		mostX, mostY = max(mostX, p.Floor), max(mostY, p.MS)
	}
	limit := 8
	if c.narrow() {
		limit = 4
	}
	xs, ys := linearTicks(mostX, limit), linearTicks(mostY, 6)
	fullX, fullY := xs[len(xs)-1], ys[len(ys)-1]
	x := func(v float64) float64 { return left + (right-left)*v/fullX }
	y := func(v float64) float64 { return bottom - (bottom-top)*v/fullY }
	for _, v := range xs {
		c.line("grid", x(v), top, x(v), bottom)
		c.text("tick mid", x(v), bottom+18, axisTime(v))
	}
	for _, v := range ys {
		c.line("grid", left, y(v), right, y(v))
		c.text("tick end", left-8, y(v)+4, axisTime(v))
	}
	c.text("axis", 0, 14, "latency")
	c.text("axis end", right, bottom+37, "physical floor of the delivery")
	paths := make([]strings.Builder, maxHopClass+1)
	for _, p := range points {
		fmt.Fprintf(&paths[min(p.Hops, maxHopClass)], "M%s %sh0", px(x(p.Floor)), px(y(p.MS)))
	}
	for hops := range paths {
		c.path(fmt.Sprintf("dots h%d", hops), paths[hops].String())
	}
	last := math.Inf(1)
	for _, factor := range []float64{1, 2, 4, 8, 16} {
		endX, endY := fullX, fullX*factor
		if endY > fullY {
			endX, endY = fullY/factor, fullY
		}
		c.line("ideal", left, bottom, x(endX), y(endY))
		if endX == fullX && last-y(endY) > 12 { // labels keep their distance
			last = y(endY)
			c.text("tick", right+5, last+4, fmt.Sprintf("%gx", factor))
		} else if endX < fullX && x(endX)-left > 30 {
			c.text("tick mid", x(endX), top-6, fmt.Sprintf("%gx", factor))
		}
	}
	c.line("axisline", left, bottom, right, bottom)
}

// hopLegend names the colours of the hops that occur.
func hopLegend(points []StretchPoint) (items []legendItem) {
	seen := [maxHopClass + 1]bool{}
	for _, p := range points {
		seen[min(p.Hops, maxHopClass)] = true
	}
	for hops, there := range seen {
		name := fmt.Sprintf("%d hops", hops)
		switch hops {
		case 0:
			name = "way not known"
		case 1:
			name = "1 hop"
		case maxHopClass:
			name = fmt.Sprintf("%d hops and more", hops)
		}
		if there {
			items = append(items, legendItem{Class: fmt.Sprintf("h%d", hops), Name: name})
		}
	}
	return items
}
