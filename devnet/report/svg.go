package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"slices"
	"strconv"
	"strings"
)

// canvas builds one SVG. Colours and fonts come from the page's classes, so that one drawing serves
// light, dark and print; every text that is not a number is escaped here.
type canvas struct {
	b             strings.Builder
	width, height float64
	boxes         []*boxes
}

// boxes are many boxes of one class in one path, which takes a third of the bytes.
type boxes struct {
	class string
	path  strings.Builder
}

// Widths in which every chart is drawn; the page shows the one that fits.
const (
	wideWidth   = 960
	narrowWidth = 358 // a phone of 390 without the margins
)

// drawBoth draws a chart at both widths. about is what a screen reader says in its place.
func drawBoth(about string, draw func(c *canvas)) template.HTML {
	var b strings.Builder
	for _, size := range []struct {
		class string
		width float64
	}{{"wide", wideWidth}, {"narrow", narrowWidth}} {
		c := &canvas{width: size.width}
		draw(c)
		fmt.Fprintf(&b, `<svg class="%s" viewBox="0 0 %s %s" role="img" aria-label="%s">%s</svg>`,
			size.class, px(c.width), px(c.height), html.EscapeString(about), c.b.String())
	}
	return template.HTML(b.String())
}

// narrow says whether this is the drawing for a phone.
func (c *canvas) narrow() bool { return c.width < 600 }

// px writes a coordinate with at most one decimal.
func px(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

func (c *canvas) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(&c.b, `<line class="%s" x1="%s" y1="%s" x2="%s" y2="%s"/>`, class, px(x1), px(y1), px(x2), px(y2))
}

// box draws a box, with a tooltip if there is one and the screen is one for a mouse. Those without
// are drawn by flush, so that they lie above what was drawn before it.
func (c *canvas) box(class string, x, y, w, h float64, tip string) {
	if tip != "" && !c.narrow() {
		c.rect(class, x, y, w, h, tip)
		return
	}
	i := slices.IndexFunc(c.boxes, func(b *boxes) bool { return b.class == class })
	if i < 0 {
		i = len(c.boxes)
		c.boxes = append(c.boxes, &boxes{class: class})
	}
	fmt.Fprintf(&c.boxes[i].path, "M%s %sh%sv%sh-%sz", px(x), px(y), px(max(0, w)), px(max(0, h)), px(max(0, w)))
}

// flush draws the boxes.
func (c *canvas) flush() {
	for i := range c.boxes {
		c.path(c.boxes[i].class, c.boxes[i].path.String())
	}
	c.boxes = nil
}

// rect draws a box with a tooltip, if there is one and the screen is one for a mouse.
func (c *canvas) rect(class string, x, y, w, h float64, tip string) {
	fmt.Fprintf(&c.b, `<rect class="%s" x="%s" y="%s" width="%s" height="%s"`, class, px(x), px(y), px(max(0, w)), px(max(0, h)))
	c.tip(tip, "rect")
}

// dot draws a filled circle with a tooltip.
func (c *canvas) dot(class string, x, y, r float64, tip string) {
	fmt.Fprintf(&c.b, `<circle class="%s" cx="%s" cy="%s" r="%s"`, class, px(x), px(y), px(r))
	c.tip(tip, "circle")
}

// tip ends an element that was begun.
func (c *canvas) tip(text, element string) {
	if text == "" || c.narrow() {
		c.b.WriteString("/>")
		return
	}
	fmt.Fprintf(&c.b, `><title>%s</title></%s>`, html.EscapeString(text), element)
}

// text writes at a point; the class gives colour and anchor.
func (c *canvas) text(class string, x, y float64, text string) {
	fmt.Fprintf(&c.b, `<text class="%s" x="%s" y="%s">%s</text>`, class, px(x), px(y), html.EscapeString(text))
}

func (c *canvas) path(class, d string) {
	if d != "" {
		fmt.Fprintf(&c.b, `<path class="%s" d="%s"/>`, class, d)
	}
}

// logScale maps positive values between lo and hi to pixels; what is outside goes to its edge.
type logScale struct{ lo, hi, x0, x1 float64 }

func (s logScale) at(v float64) float64 {
	v = min(max(v, s.lo), s.hi)
	return s.x0 + (s.x1-s.x0)*(math.Log(v)-math.Log(s.lo))/(math.Log(s.hi)-math.Log(s.lo))
}

// newLogScale spans the finite positive values with a little room, at least one factor of ten. Zero
// has no place on it and goes to the edge.
func newLogScale(x0, x1 float64, values []float64) logScale {
	lo, hi := math.Inf(1), 0.0
	for _, v := range values {
		if v > 0 && !math.IsInf(v, 1) {
			lo, hi = min(lo, v), max(hi, v)
		}
	}
	if hi == 0 {
		return logScale{1, 1000, x0, x1}
	}
	lo, hi = lo*0.8, hi*1.25
	if hi/lo < 10 {
		middle := math.Sqrt(hi * lo)
		lo, hi = middle/math.Sqrt(10), middle*math.Sqrt(10)
	}
	return logScale{lo, hi, x0, x1}
}

// ticks are 1, 2 and 5 times the powers of ten within the scale, only the powers where those would
// crowd.
func (s logScale) ticks(most int) (out []float64) {
	for _, steps := range [][]float64{{1, 2, 5}, {1, 3}, {1}} {
		out = out[:0]
		for p := math.Floor(math.Log10(s.lo)); p <= math.Ceil(math.Log10(s.hi)); p++ {
			for _, m := range steps {
				if v := m * math.Pow(10, p); v >= s.lo*0.999 && v <= s.hi*1.001 {
					out = append(out, v)
				}
			}
		}
		if len(out) <= most {
			break
		}
	}
	return out
}

// linearTicks are at most limit+1 round values from 0 that reach most; the last is the scale's end.
func linearTicks(most float64, limit int) (ticks []float64) {
	if most <= 0 || math.IsInf(most, 0) || math.IsNaN(most) {
		most = 1
	}
	p := math.Pow(10, math.Floor(math.Log10(most/float64(limit))))
	for _, m := range []float64{1, 2, 2.5, 5, 10, 20} {
		step := m * p
		if n := math.Ceil(most/step - 1e-9); n <= float64(limit) {
			for i := range int(n) + 1 {
				ticks = append(ticks, float64(i)*step)
			}
			return ticks
		}
	}
	return []float64{0, most}
}

// tickText writes a tick without needless zeros.
func tickText(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }

// axisTime writes a tick of a time axis.
func axisTime(v float64) string {
	if v >= 1000 {
		return tickText(v/1000) + " s"
	}
	return tickText(v) + " ms"
}

// textWidth is about how wide a text of the charts' 12 px font is.
func textWidth(text string) float64 { return 6.6 * float64(len([]rune(text))) }
