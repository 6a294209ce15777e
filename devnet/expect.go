package devnet

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/report"
)

// MissedError says that a run is fit to report and its figures are not what was expected. Its exit
// code is 3.
type MissedError struct{ Missed []report.Expected }

func (e *MissedError) Error() string {
	lines := make([]string, len(e.Missed))
	for i, m := range e.Missed {
		lines[i] = m.String()
	}
	return "not as expected:\n  " + strings.Join(lines, "\n  ")
}

// ExitCode is what the command returns to the shell.
func (e *MissedError) ExitCode() int { return 3 }

// validate is the experiment's own validation, and of the figures it names.
func validate(spec experiment.Spec) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(spec.Expect))
	if spec.Report.UntilCI > 0 {
		names = append(names, spec.Report.UntilFigure)
	}
	if complaint := report.UnknownFigure(spec, names); complaint != "" {
		return fmt.Errorf("%w: %s", experiment.ErrInvalid, complaint)
	}
	return nil
}

// seeds says which seed to run next: those of the experiment, then further ones until an interval
// is tight.
type seeds struct {
	spec  experiment.Spec
	extra int
	width float64 // of the interval to its wider side, as a share of the figure, when last looked
}

func newSeeds(spec experiment.Spec) *seeds { return &seeds{spec: spec, width: math.Inf(1)} }

// next is the seed to run after runs, or false when there is none.
func (s *seeds) next(runs []report.Run) (int64, bool) {
	planned, r := s.spec.Seeds, &s.spec.Report
	if len(runs) < len(planned) {
		return planned[len(runs)], true
	}
	if r.UntilCI == 0 {
		return 0, false
	}
	s.width = width(s.spec, runs)
	if s.width <= r.UntilCI || len(runs) >= r.UntilSeeds {
		return 0, false
	}
	s.extra++
	return slices.Max(planned) + int64(s.extra), true
}

// width is how far the interval of the figure that must be tight reaches, as a share of it; infinite
// without one.
func width(spec experiment.Spec, runs []report.Run) float64 {
	f := report.New(spec, report.Environment{}, runs, nil).Summary[spec.Report.UntilFigure]
	v := float64(f.Value)
	if !f.HasInterval() || v == 0 {
		return math.Inf(1)
	}
	w := max(float64(f.Hi)-v, v-float64(f.Lo)) / math.Abs(v)
	if math.IsNaN(w) {
		return math.Inf(1)
	}
	return w
}

// remark says what came of further seeds.
func (s *seeds) remark(spec experiment.Spec) []string {
	r := &spec.Report
	if r.UntilCI == 0 {
		return nil
	}
	total := len(spec.Seeds) + s.extra
	if s.width > r.UntilCI {
		return []string{fmt.Sprintf("After %d seeds the interval of %s is still %.1f %% of it wide, %g %% was asked for: allow more report.until_seeds.", total, r.UntilFigure, 100*s.width, 100*r.UntilCI)}
	}
	return []string{fmt.Sprintf("%d seeds until the interval of %s was within %g %% of it.", total, r.UntilFigure, 100*r.UntilCI)}
}
