package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// canvas builds one SVG. Colours and fonts come from the page's classes, so that one drawing serves
// light, dark and print; every text that is not a number is escaped here.
type canvas struct {
	b             strings.Builder
	width, height float64
}

// Widths in which every chart is drawn; the page shows the one that fits.
const (
	wideWidth   = 960
	narrowWidth = 358 // a phone of 390 without the margins
)

// drawBoth draws a chart at both widths.
func drawBoth(title string, draw func(c *canvas)) template.HTML {
	var b strings.Builder
	for _, size := range []struct {
		class string
		width float64
	}{{"wide", wideWidth}, {"narrow", narrowWidth}} {
		c := &canvas{width: size.width}
		draw(c)
		fmt.Fprintf(&b, `<svg class="%s" viewBox="0 0 %s %s" role="img" aria-label="%s">%s</svg>`,
			size.class, px(c.width), px(c.height), html.EscapeString(title), c.b.String())
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

// rect draws a box with a tooltip, if there is one.
func (c *canvas) rect(class string, x, y, w, h float64, tip string) {
	fmt.Fprintf(&c.b, `<rect class="%s" x="%s" y="%s" width="%s" height="%s">`, class, px(x), px(y), px(max(0, w)), px(h))
	if tip != "" {
		fmt.Fprintf(&c.b, `<title>%s</title>`, html.EscapeString(tip))
	}
	c.b.WriteString(`</rect>`)
}

// text writes at a point; the class gives colour and anchor.
func (c *canvas) text(class string, x, y float64, text string) {
	fmt.Fprintf(&c.b, `<text class="%s" x="%s" y="%s">%s</text>`, class, px(x), px(y), html.EscapeString(text))
}

func (c *canvas) path(class, d string) { fmt.Fprintf(&c.b, `<path class="%s" d="%s"/>`, class, d) }

// logScale maps milliseconds between lo and hi to pixels.
type logScale struct{ lo, hi, x0, x1 float64 }

func (s logScale) at(v float64) float64 {
	v = min(max(v, s.lo), s.hi)
	return s.x0 + (s.x1-s.x0)*(math.Log(v)-math.Log(s.lo))/(math.Log(s.hi)-math.Log(s.lo))
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

// textWidth is about how wide a text of the charts' 12 px font is.
func textWidth(text string) float64 { return 6.4 * float64(len([]rune(text))) }
