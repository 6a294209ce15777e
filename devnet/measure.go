package devnet

import (
	"context"
	"fmt"
	"io"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/report"
)

// MeasureConfig is one call of [Measure].
type MeasureConfig struct {
	// Experiment is what to run; zero fields take their defaults.
	Experiment experiment.Spec
	// Out is the folder that keeps the runs; "" is "runs".
	Out string
	// Binary is the program whose "node" command a child runs; "" is this one.
	Binary string
	// Command is the command line that asked for the run, for the report's reproduce box.
	Command string
	// Version and Revision describe the binary in the report.
	Version, Revision string
	// Table receives the final table; nil prints none.
	Table io.Writer
}

// UnfitError says that a run took place and its figures are not fit to report, why, and what to
// change. Its exit code is 5.
type UnfitError struct{ Reason, Change string }

func (e *UnfitError) Error() string {
	return fmt.Sprintf("not fit to report: %s: %s", e.Reason, e.Change)
}

// ExitCode is what the command returns to the shell.
func (e *UnfitError) ExitCode() int { return 5 }

// Measure runs the experiment, writes the run's folder and returns its results. progress receives
// the plan at once and then where the run stands. Errors: [experiment.ErrInvalid] for one that
// cannot be run, [UnfitError] for one whose figures would mislead.
func Measure(ctx context.Context, cfg MeasureConfig, progress io.Writer) (*report.Results, error) {
	spec := cfg.Experiment
	spec.Resolve()
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("measure: the %s engine is not written yet", spec.Engine)
}
