package report

import (
	"bytes"
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/stats"
)

// syntheticSweep is a grid of 5 sizes by 2 degrees with a law, one cell of which failed.
func syntheticSweep(t testing.TB) *Sweep {
	t.Helper()
	r, _ := syntheticResults(t, 8, 0)
	s := &Sweep{Schema: SweepSchema, Name: "sizes", Digest: "01234567", Environment: r.Environment, Keys: []string{"gossip.d", "net.nodes"}}
	law := experiment.Law{Name: "log-time", X: "net.nodes", Y: "block.c99_ms", Scale: "log2"}
	var points []LawPoint
	for _, d := range []string{"6", "8"} {
		for i, nodes := range []float64{50, 100, 200, 500, 1000} {
			v := 40*math.Log2(nodes) + 30*math.Sin(float64(i))
			figure := func(v float64) stats.Figure {
				return stats.Figure{Value: stats.Number(v), Lo: stats.Number(v * .93), Hi: stats.Number(v * 1.08), N: 20}
			}
			c := Cell{
				Values: []string{d, fmt.Sprint(nodes)}, Digest: "89abcdef", Folder: fmt.Sprintf("sizes-%s-%v", d, nodes), Experiment: r.Experiment,
				Summary: map[string]stats.Figure{
					"block.p95_ms": figure(v * .9), "block.c99_ms": figure(v), "block.copies": figure(4 + v/400), "block.coverage": figure(1),
					"net.bytes_per_node_per_s": figure(1e6 + 1e5*float64(i)),
				},
			}
			if d == "6" && nodes == 1000 {
				c.Summary, c.Folder, c.Error = nil, "", "not fit to report: block coverage is 0.9 <b>, its floor 1"
			}
			if d == "8" {
				points = append(points, LawPoint{X: nodes, Y: figure(v)})
			}
			s.Cells = append(s.Cells, c)
		}
	}
	s.Laws = []Law{NewLaw(law, points)}
	wide := Ratio{Name: "wide-mesh", Figure: "block.p95_ms", Min: stats.Number(math.Inf(1)), Max: stats.Number(math.Inf(-1))}
	for i := range 3 {
		wide.add(&s.Cells[5+i], &s.Cells[i], s.Keys)
	}
	s.Cells[0].Summary["block.p95_ms"] = stats.Figure{Value: 31, Lo: stats.None(), Hi: stats.None(), N: 20}
	wide.add(&s.Cells[5], &s.Cells[0], s.Keys)
	own := Ratio{Name: "own", Figure: "block.copies", Min: stats.Number(math.Inf(1)), Max: stats.Number(math.Inf(-1))}
	own.add(&s.Cells[1], nil, s.Keys)
	s.Ratios = []Ratio{wide, own}
	s.Expected = Judge(map[string]experiment.Expectation{"law.log-time.r2": ">= 0.95", "law.log-time.spread": "< 1.2"}, s.Laws[0].Figures())
	return s
}

func TestSweepPage(t *testing.T) {
	s := syntheticSweep(t)
	var b bytes.Buffer
	if err := SweepPage(&b, s); err != nil {
		t.Fatal(err)
	}
	text := withoutFiles(b.String())
	for _, banned := range []string{"http://", "https://", "<script", "src=", "url(", "0.9 <b>", "ZgotmplZ", "NaN", "%!"} {
		if strings.Contains(text, banned) {
			t.Errorf("the page contains %q", banned)
		}
	}
	for _, wanted := range []string{
		"1 of 10 cells have no figures", "not fit to report", "law.log-time.r2", "Not as expected: law.log-time.spread", "sizes-8-500",
		millisecond.figure(float64(s.Cells[3].Summary["block.c99_ms"].Value)), significant(float64(s.Laws[0].Fit.R2)), "gossip.d 8",
	} {
		if !strings.Contains(text, wanted) {
			t.Errorf("the page lacks %q", wanted)
		}
	}
	for _, r := range s.Ratios {
		for _, figure := range regexp.MustCompile(`[0-9.]+x`).FindAllString(r.text(), -1) {
			if !strings.Contains(text, figure) {
				t.Errorf("the page lacks %q of the line %q", figure, r.text())
			}
		}
	}
	if strings.Count(text, `class="whisker"`) == 0 {
		t.Error("no interval is drawn")
	}
}

// However large the grid, its page stays small.
func TestSweepPageStaysSmall(t *testing.T) {
	s := syntheticSweep(t)
	one := s.Cells
	for len(s.Cells) < 400 {
		s.Cells = append(s.Cells, one...)
	}
	var b bytes.Buffer
	if err := SweepPage(&b, s); err != nil {
		t.Fatal(err)
	}
	if b.Len() > 500_000 {
		t.Errorf("%d bytes, want under 500 KB", b.Len())
	}
	if err := SweepPage(&bytes.Buffer{}, &Sweep{Keys: []string{"net.nodes"}}); err != nil {
		t.Errorf("a sweep without cells cannot be drawn: %v", err)
	}
	single := &Sweep{Cells: []Cell{{Experiment: s.Cells[0].Experiment, Summary: s.Cells[0].Summary}}}
	if err := SweepPage(&bytes.Buffer{}, single); err != nil {
		t.Errorf("a sweep of one cell cannot be drawn: %v", err)
	}
}
