package report

import (
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
