package report

import (
	"math"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/stats"
)

// SweepSchema names the form of sweep.json; a change that breaks a reader raises the number.
const SweepSchema = "pheme.sweep/1"

// Sweep is what became of a grid of experiments, as sweep.json holds it.
type Sweep struct {
	Schema      string      `json:"schema"`
	Name        string      `json:"name"`
	Digest      string      `json:"digest"` // over those of the cells
	Environment Environment `json:"environment"`
	Keys        []string    `json:"keys"`  // of the experiment file, whose values differ between cells
	Whole       int         `json:"whole"` // cells of the sweep, of which those below have been run
	Variants    []Variant   `json:"variants,omitempty"`
	Cells       []Cell      `json:"cells"`
	Laws        []Law       `json:"laws,omitempty"`
	Ratios      []Ratio     `json:"ratios,omitempty"`
	Expected    []Expected  `json:"expected,omitempty"` // of the laws and ratios
}

// Variant is a name for several settings that vary together.
type Variant struct {
	Name     string `json:"name"`
	Settings string `json:"settings"`
}

// Cell is one experiment of a sweep.
type Cell struct {
	Values     []string                `json:"values"` // one for each of the sweep's keys
	Digest     string                  `json:"digest"`
	Folder     string                  `json:"folder,omitempty"` // of its run, inside the sweep's; "" where there is none
	Experiment experiment.Spec         `json:"experiment"`
	Links      string                  `json:"links"`
	Error      string                  `json:"error,omitempty"` // why there are no figures, or which expectation was missed
	ExitCode   int                     `json:"exit_code"`       // as `devnet measure` of the cell alone would have
	Runs       int                     `json:"runs"`            // seeds that were run; until_ci may have added to the experiment's
	WallS      float64                 `json:"wall_s"`
	Notes      []string                `json:"notes,omitempty"`
	Summary    map[string]stats.Figure `json:"summary,omitempty"`
	Expected   []Expected              `json:"expected,omitempty"`
}

// Law is how a figure follows from a setting over the cells of a sweep: a straight line over a scale
// of the setting.
type Law struct {
	experiment.Law
	Points []LawPoint   `json:"points"` // in order of X
	Fit    stats.Line   `json:"fit"`
	Spread stats.Number `json:"spread"` // largest / smallest value of the figure
	// Growth is what one step of the scale (a decade, a doubling, one) adds, as a share of the mean.
	Growth stats.Number `json:"growth"`
}

// LawPoint is one cell of a law.
type LawPoint struct {
	X        float64      `json:"x"` // of the setting itself, not of its scale
	Y        stats.Figure `json:"y"`
	Residual stats.Number `json:"residual"` // Y minus the line
}

// NewLaw fits points, at least two of different X.
func NewLaw(law experiment.Law, points []LawPoint) Law {
	l := Law{Law: law, Points: points}
	var x, y []float64
	least, most, sum := math.Inf(1), math.Inf(-1), 0.0
	for _, p := range points {
		v := float64(p.Y.Value)
		x, y = append(x, law.Scaled(p.X)), append(y, v)
		least, most, sum = min(least, v), max(most, v), sum+v
	}
	l.Fit = stats.FitLine(x, y)
	for i := range l.Points {
		l.Points[i].Residual = stats.Number(y[i] - l.Fit.At(x[i]))
	}
	l.Spread = stats.Number(most / least)
	l.Growth = stats.Number(float64(l.Fit.Slope) / (sum / float64(len(points))))
	return l
}

// Figures are what can be expected of the law, by their names.
func (l *Law) Figures() map[string]stats.Figure {
	n := len(l.Points)
	out := map[string]stats.Figure{}
	for name, v := range map[string]stats.Number{
		"slope": l.Fit.Slope, "intercept": l.Fit.Intercept, "r2": l.Fit.R2, "spread": l.Spread, "growth": l.Growth,
	} {
		out[experiment.LawPrefix+l.Name+"."+name] = stats.Figure{Value: v, Lo: stats.None(), Hi: stats.None(), N: n}
	}
	return out
}
