package report

import (
	"fmt"
	"html/template"
	"math"
	"slices"

	"github.com/pheme-net/pheme/devnet/recorder"
)

// stageBars shows where the time to C50, C90 and C99 went.
func stageBars(split []SplitBar) template.HTML {
	var bars []bar
	for _, s := range split {
		if s.N > 0 {
			bars = append(bars, bar{label: s.Coverage, parts: stageParts(s.Stages, s.Import), total: millisecond.figure(s.Total)})
		}
	}
	if len(bars) == 0 {
		return ""
	}
	return barChart("Where the time goes", "milliseconds since sealed, mean over blocks", bars)
}

// stageParts are the parts of a bar; the import after acceptance comes last, pale and thin.
func stageParts(stages map[string]float64, imported float64) (parts []part) {
	for s := range recorder.NumStages {
		v := stages[s.String()]
		parts = append(parts, part{class: stageClass(s), value: v, tip: fmt.Sprintf("%s: %s", s, millisecond.figure(v))})
	}
	return append(parts, part{class: importClass, value: imported, thin: true, tip: "import, after acceptance: " + millisecond.figure(imported)})
}

// pathBars shows the slowest block's way, each hop where it begins.
func pathBars(hops []Hop) template.HTML {
	var bars []bar
	for _, h := range hops {
		imported := float64(h.Import)
		if math.IsNaN(imported) {
			imported = 0
		}
		total := 0.0
		for _, v := range h.Stages {
			total += v
		}
		bars = append(bars, bar{label: h.From + " to " + h.To, start: h.StartMS, parts: stageParts(h.Stages, imported), total: "+" + millisecond.figure(total)})
	}
	if len(bars) == 0 {
		return ""
	}
	return barChart("Critical path of the slowest block", "milliseconds since sealed", bars)
}

// stageLegend names the colours of both.
func stageLegend() (items []legendItem) {
	for s := range recorder.NumStages {
		items = append(items, legendItem{stageClass(s), s.String()})
	}
	return append(items, legendItem{importClass, "import, after acceptance"})
}

// kindClass colours a kind of bytes.
func kindClass(k recorder.Kind) string { return fmt.Sprintf("k%d", int(k)+1) }

// loadBars shows what each node received a second, by kind.
func loadBars(nodes []nodeRow) template.HTML {
	if len(nodes) == 0 {
		return ""
	}
	most := 0.0
	for _, n := range nodes {
		most = max(most, float64(n.In)/n.Seconds)
	}
	size, name := binaryUnit(most)
	var bars []bar
	for _, n := range nodes {
		b := bar{label: n.Label, total: byteRate.figure(float64(n.In) / n.Seconds)}
		for k := range recorder.NumKinds {
			v := float64(n.Kinds[k.String()]) / n.Seconds
			b.parts = append(b.parts, part{class: kindClass(k), value: v / size, tip: fmt.Sprintf("%s: %s", k, byteRate.figure(v))})
		}
		bars = append(bars, b)
	}
	return barChart("Bandwidth by kind", name+" received a second", bars)
}

// kindLegend names the kinds that occur.
func kindLegend(r *Results) (items []legendItem) {
	for k := range recorder.NumKinds {
		for _, run := range r.Runs {
			if hasKind(run, k) {
				items = append(items, legendItem{kindClass(k), k.String()})
				break
			}
		}
	}
	return items
}

func hasKind(run RunResult, k recorder.Kind) bool {
	for _, n := range run.Nodes {
		if n.Kinds[k.String()] > 0 {
			return true
		}
	}
	return false
}

// copiesChart shows how often each block was received: the part above one is waste.
func copiesChart(r *Results) template.HTML {
	var blocks []BlockResult
	for _, run := range r.Runs {
		blocks = append(blocks, run.Messages...)
	}
	if len(blocks) == 0 {
		return ""
	}
	blocks = merge(blocks, maxBars)
	return drawBoth("Copies of each block", func(c *canvas) { drawCopies(c, blocks) })
}

// merge lets neighbours share a bar, by their mean, where there are more blocks than bars.
func merge(blocks []BlockResult, limit int) []BlockResult {
	each := (len(blocks) + limit - 1) / limit
	if each < 2 {
		return blocks
	}
	var out []BlockResult
	for group := range slices.Chunk(blocks, each) {
		bar := group[0]
		bar.Copies = 0
		for _, b := range group {
			bar.Copies += b.Copies / float64(len(group))
		}
		out = append(out, bar)
	}
	return out
}

func drawCopies(c *canvas, blocks []BlockResult) {
	c.height = 220
	left, right, top, bottom := 46.0, c.width-8, 30.0, c.height-44
	most := 1.0
	for _, b := range blocks {
		most = max(most, b.Copies)
	}
	ticks := linearTicks(max(2, most), 5)
	scale := ticks[len(ticks)-1]
	y := func(v float64) float64 { return bottom - (bottom-top)*v/scale }
	for _, v := range ticks {
		c.line("grid", left, y(v), right, y(v))
		c.text("tick end", left-8, y(v)+4, tickText(v)+"x")
	}
	c.text("axis", 0, 14, "bytes received for a block by a node / its size")
	pitch := (right - left) / float64(len(blocks))
	width := min(26, max(1, pitch*0.7))
	for i, b := range blocks {
		x := left + pitch*(float64(i)+0.5) - width/2
		tip := fmt.Sprintf("block %d: %s", b.Number, times.figure(b.Copies))
		c.rect("fill k1", x, y(min(1, b.Copies)), width, bottom-y(min(1, b.Copies)), tip)
		c.rect("fill k2", x, y(b.Copies), width, max(0, y(1)-y(b.Copies)-1), tip)
	}
	c.line("ideal", left, y(1), right, y(1))
	c.text("tick", left, bottom+18, fmt.Sprintf("block %d", blocks[0].Number))
	c.text("tick end", right, bottom+18, fmt.Sprintf("block %d", blocks[len(blocks)-1].Number))
	c.text("axis end", right, bottom+36, "1x is perfect: what lies above came again")
	c.line("axisline", left, bottom, right, bottom)
}
