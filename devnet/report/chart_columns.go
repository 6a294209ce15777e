package report

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
)

// maxColumns is how many columns a chart has at most; neighbours share one beyond.
const maxColumns = 80

// column is a stacked column; values are as results.json has them, or their mean over the
// neighbours that share the column.
type column struct {
	label string
	parts []part
	mark  float64 // a second value drawn as a tick across the column; NaN: none
}

// columnsChart draws stacked columns. scale divides the values for the axis, unit names it there.
type columnsChart struct {
	about   string
	yAxis   string
	xAxis   string
	scale   float64
	suffix  string // behind each tick of the y axis
	ideal   float64
	columns []column
}

func (ch columnsChart) html() template.HTML {
	if len(ch.columns) == 0 {
		return ""
	}
	return drawBoth(ch.about, ch.draw)
}

func (ch columnsChart) draw(c *canvas) {
	c.height = 250
	left, right, top, bottom := 50.0, c.width-4, 30.0, c.height-44
	limit := maxColumns
	if c.narrow() {
		limit = maxColumns / 2
	}
	columns := shareColumns(ch.columns, limit)
	most := ch.ideal
	for _, col := range columns {
		sum := 0.0
		for _, p := range col.parts {
			sum += max(0, p.value)
		}
		if most = max(most, sum); !math.IsNaN(col.mark) {
			most = max(most, col.mark)
		}
	}
	ticks := linearTicks(most/ch.scale, 5)
	full := ticks[len(ticks)-1] * ch.scale
	y := func(v float64) float64 { return bottom - (bottom-top)*v/full }
	for _, v := range ticks {
		c.line("grid", left, y(v*ch.scale), right, y(v*ch.scale))
		c.text("tick end", left-8, y(v*ch.scale)+4, tickText(v)+ch.suffix)
	}
	c.text("axis", 0, 14, ch.yAxis)
	pitch := (right - left) / float64(len(columns))
	width, longest := min(30, max(1.5, pitch*0.72)), 0.0
	for _, col := range columns {
		longest = max(longest, textWidth(col.label)+10)
	}
	every := max(1, int(math.Ceil(longest/pitch)))
	for i, col := range columns {
		middle := left + pitch*(float64(i)+0.5)
		ch.drawColumn(c, col, middle-width/2, width, y)
		if i%every == 0 {
			c.text("tick mid", middle, bottom+18, col.label)
		}
	}
	c.flush()
	var marks strings.Builder
	for i, col := range columns {
		if !math.IsNaN(col.mark) {
			fmt.Fprintf(&marks, "M%s %sh%s", px(left+pitch*(float64(i)+0.5)-width/2-2), px(y(col.mark)), px(width+4))
		}
	}
	c.path("tickmark", marks.String())
	if ch.ideal > 0 {
		c.line("ideal", left, y(ch.ideal), right, y(ch.ideal))
	}
	axis := ch.xAxis
	if each := sharedBy(len(ch.columns), limit); each > 1 {
		axis += fmt.Sprintf("; a column is the mean of %d", each)
	}
	c.text("axis end", right, bottom+37, axis)
	c.line("axisline", left, bottom, right, bottom)
}

func (ch columnsChart) drawColumn(c *canvas, col column, x, width float64, y func(float64) float64) {
	at := 0.0
	for _, p := range col.parts {
		if p.value <= 0 || y(at)-y(at+p.value) < 0.05 {
			continue
		}
		gap, tip := 0.0, "" // what is too flat to point at has no tooltip
		if y(at)-y(at+p.value) > 3 {
			gap, tip = 1, p.tip
		}
		c.box("fill "+p.class, x, y(at+p.value)+gap, width, y(at)-y(at+p.value)-gap, tip)
		at += p.value
	}
}

// sharedBy is how many of n neighbours share a column where there is room for limit.
func sharedBy(n, limit int) int { return (n + limit - 1) / limit }

// shareColumns lets neighbours share a column, by their mean, where there are more than limit.
func shareColumns(columns []column, limit int) (out []column) {
	each := sharedBy(len(columns), limit)
	if each < 2 {
		return columns
	}
	for group := range slices.Chunk(columns, each) {
		sum := column{label: group[0].label, parts: slices.Clone(group[0].parts)}
		for i := range sum.parts {
			sum.parts[i].value, sum.parts[i].tip = 0, ""
		}
		for _, col := range group {
			for i, p := range col.parts {
				sum.parts[i].value += p.value / float64(len(group))
			}
			sum.mark += col.mark / float64(len(group))
		}
		out = append(out, sum)
	}
	return out
}
