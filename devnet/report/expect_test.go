package report

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/stats"
)

func TestJudge(t *testing.T) {
	figures := map[string]stats.Figure{"block.c99_ms": {Value: 912}, "block.coverage": {Value: 1}, "block.p95_ms": stats.Missing("no samples")}
	all := Judge(map[string]experiment.Expectation{"block.c99_ms": "< 800", "block.coverage": ">= 1", "block.p95_ms": "< 9", "gone": "> 0"}, figures)
	var lines []string
	for _, e := range all {
		lines = append(lines, e.String())
	}
	want := "missed  block.c99_ms < 800: 912\nmet     block.coverage >= 1: 1\nmissed  block.p95_ms < 9: -\nmissed  gone > 0: -"
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("judged\n%s\nwant\n%s", got, want)
	}
	if missed := Missed(all); len(missed) != 3 || missed[0].Figure != "block.c99_ms" {
		t.Errorf("missed: %v", missed)
	}
}

// Every figure that real results hold can be expected, and no other.
func TestUnknownFigure(t *testing.T) {
	r, _ := syntheticResults(t, 10, 0)
	var names []string
	for name := range r.Summary {
		names = append(names, name)
	}
	if complaint := UnknownFigure(r.Experiment, names); complaint != "" {
		t.Error(complaint)
	}
	if complaint := UnknownFigure(r.Experiment, []string{"block.c98_ms"}); !strings.Contains(complaint, `"block.c98_ms" is no figure: there are`) || !strings.Contains(complaint, "block.c99_ms") {
		t.Errorf("a figure that is not there: %q", complaint)
	}
}

func TestNewLaw(t *testing.T) {
	point := func(x, y float64) LawPoint { return LawPoint{X: x, Y: stats.Figure{Value: stats.Number(y)}} }
	l := NewLaw(experiment.Law{Name: "c99", Scale: "log2"}, []LawPoint{point(2, 110), point(4, 120), point(8, 130)})
	if l.Fit.Slope != 10 || l.Fit.Intercept != 100 || l.Fit.R2 != 1 || l.Points[1].Residual != 0 {
		t.Errorf("a law of ten a doubling is %+v", l)
	}
	f := l.Figures()
	if got := float64(f["law.c99.growth"].Value); math.Abs(got-10./120) > 1e-9 || math.Abs(float64(f["law.c99.spread"].Value)-130./110) > 1e-9 || len(f) != 5 {
		t.Errorf("figures %+v, want a growth of 10 in 120 and a spread of 130 / 110", f)
	}
}

func TestSweepTable(t *testing.T) {
	cell := func(d, size string, p95 float64) Cell {
		c := Cell{Values: []string{size, d}, Digest: "0badcafe", Links: "world, 50mbit", Summary: map[string]stats.Figure{}}
		c.Experiment.Resolve()
		c.Summary["block.p95_ms"] = stats.Figure{Value: stats.Number(p95), Lo: stats.Number(p95 - 9), Hi: stats.Number(p95 + 10), N: 400}
		c.Summary["block.c99_ms"] = stats.Bare(p95+30, 20, stats.FewAbove)
		c.Summary["block.coverage"], c.Summary["block.copies"] = stats.Figure{Value: 1}, stats.Figure{Value: 4.25}
		c.Summary["net.bytes_per_node_per_s"] = stats.Figure{Value: 1 << 20}
		return c
	}
	failed := Cell{Values: []string{"1MiB", "8"}, Links: "world, 50mbit", Error: "not fit to report: block coverage is 0.98, its floor 1", ExitCode: 5}
	failed.Experiment.Resolve()
	s := &Sweep{
		Schema: SweepSchema, Name: "d-and-size", Keys: []string{"chain.block_size", "gossip.d"},
		Cells: []Cell{cell("4", "128KiB", 470), cell("8", "128KiB", 420.5), cell("4", "1MiB", 2700), failed},
	}
	s.Laws = []Law{NewLaw(experiment.Law{Name: "c99", X: "net.nodes", Y: "block.c99_ms", Scale: "log2"}, []LawPoint{
		{X: 50, Y: stats.Figure{Value: 500}}, {X: 100, Y: stats.Figure{Value: 560}}, {X: 200, Y: stats.Figure{Value: 615}},
	})}
	s.Expected = Judge(map[string]experiment.Expectation{"law.c99.r2": ">= 0.95"}, s.Laws[0].Figures())
	var table, rows strings.Builder
	if err := SweepTable(&table, s); err != nil {
		t.Fatal(err)
	}
	if err := sweepCSV(&rows, s); err != nil {
		t.Fatal(err)
	}
	golden(t, "sweep.txt", []byte(table.String()+"\n"+rows.String()))
}

func FuzzDecodeResults(f *testing.F) {
	r, _ := syntheticResults(f, 3, 0)
	text, err := r.JSON()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"schema": "pheme.results/0"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := DecodeResults(text)
		if err != nil {
			if !errors.Is(err, ErrRun) {
				t.Fatalf("error %v does not wrap ErrRun", err)
			}
			return
		}
		if _, err := r.JSON(); err != nil {
			t.Fatal(err)
		}
	})
}
