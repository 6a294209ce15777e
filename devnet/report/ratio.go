package report

import (
	"fmt"
	"maps"
	"math"
	"strings"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/stats"
)

// Ratio is how a figure of some cells of a sweep compares with that of others which are alike in all
// other keys, or that figure itself.
type Ratio struct {
	Name   string      `json:"name"`
	Figure string      `json:"figure"`
	Pairs  []RatioPair `json:"pairs"`
	// Min and Max are the least and the greatest of the pairs or cells; null where one has no figure.
	Min stats.Number `json:"min"`
	Max stats.Number `json:"max"`
}

// RatioPair is one cell's figure over another's. Lo and Hi are as far apart as the ends of the two 95 %
// intervals allow, which is wider than the ratio's own interval. Without Over it is the figure with its
// interval.
type RatioPair struct {
	Of    string       `json:"of"` // the cells, by their settings
	Over  string       `json:"over,omitempty"`
	Value stats.Number `json:"value"`
	Lo    stats.Number `json:"lo"`
	Hi    stats.Number `json:"hi"`
}

// Compare computes the ratios of a sweep over the pairs of which all cells are in the results, and
// returns their figures by name. A ratio without a pair there is left out, and so is what want has of it.
func Compare(r *Sweep, s *experiment.Sweep, places []int, want map[string]experiment.Expectation) map[string]stats.Figure {
	figures := map[string]stats.Figure{}
	for _, ratio := range s.Ratios {
		prefix := experiment.RatioPrefix + ratio.Name + "."
		out := Ratio{Name: ratio.Name, Figure: ratio.Figure, Min: stats.Number(math.Inf(1)), Max: stats.Number(math.Inf(-1))}
		for _, p := range ratio.Pairs {
			switch a := places[p[0]]; {
			case a < 0:
			case p[1] < 0:
				out.add(&r.Cells[a], nil, r.Keys)
			case places[p[1]] >= 0:
				out.add(&r.Cells[a], &r.Cells[places[p[1]]], r.Keys)
			}
		}
		if len(out.Pairs) == 0 {
			maps.DeleteFunc(want, func(key string, _ experiment.Expectation) bool { return strings.HasPrefix(key, prefix) })
			continue
		}
		r.Ratios = append(r.Ratios, out)
		for name, v := range map[string]stats.Number{"min": out.Min, "max": out.Max} {
			figures[prefix+name] = stats.Figure{Value: v, Lo: stats.None(), Hi: stats.None(), N: len(out.Pairs)}
		}
	}
	return figures
}

// add takes a pair in, or a cell where over is nil. One without a figure makes the ratio unknown; what was
// not delivered at all has a figure, which is infinite.
func (r *Ratio) add(of, over *Cell, keys []string) {
	p := RatioPair{Of: CellLabel(keys, of), Value: stats.None(), Lo: stats.None(), Hi: stats.None()}
	a := of.Summary[r.Figure]
	if over == nil {
		if a.N > 0 {
			p.Value, p.Lo, p.Hi = a.Value, a.Lo, a.Hi
		}
	} else {
		p.Over = CellLabel(keys, over)
		if b := over.Summary[r.Figure]; a.N > 0 && b.N > 0 {
			p.Value = a.Value / b.Value
			if a.HasInterval() && b.HasInterval() {
				p.Lo, p.Hi = a.Lo/b.Hi, a.Hi/b.Lo
			}
		}
	}
	r.Pairs = append(r.Pairs, p)
	r.Min = stats.Number(math.Min(float64(r.Min), float64(p.Value))) // NaN if any is
	r.Max = stats.Number(math.Max(float64(r.Max), float64(p.Value)))
}

// words are what a ratio is called, what it is over and in which unit; nothing divides a figure.
func (r *Ratio) words() (kind, over string, u unit) {
	if len(r.Pairs) > 0 && r.Pairs[0].Over == "" {
		return "figure", "cells", headlineOf(r.Figure).unit
	}
	return "ratio", "pairs", times
}

// text is the ratio as a line of a table.
func (r *Ratio) text() string {
	kind, over, u := r.words()
	name := strings.TrimSuffix(strings.TrimSuffix(r.Figure, "_ms"), "_per_node_per_s")
	if len(r.Pairs) == 1 {
		p := r.Pairs[0]
		line := fmt.Sprintf("%s %s: %s of %s", kind, r.Name, name, p.Of)
		if p.Over != "" {
			line += " over " + p.Over
		}
		line += ": " + u.figure(float64(p.Value))
		if p.Lo.Valid() && p.Hi.Valid() {
			line += fmt.Sprintf(" (%s)", between(u, p.Lo, p.Hi))
		}
		return line
	}
	return fmt.Sprintf("%s %s: %s of %d %s: %s", kind, r.Name, name, len(r.Pairs), over, between(u, r.Min, r.Max))
}

// between writes "lo to hi", their unit once where it is one for certain.
func between(u unit, lo, hi stats.Number) string {
	low, high := u.figure(float64(lo)), u.figure(float64(hi))
	if u == times || strings.HasSuffix(high, " ms") {
		low = bare(u, lo)
	}
	return low + " to " + high
}
