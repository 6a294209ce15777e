package devnet

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/host"
	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/report"
	"github.com/pheme-net/pheme/node"
)

// proc is where Linux tells about itself.
const proc = "/proc"

// MeasureConfig is one call of [Measure].
type MeasureConfig struct {
	// Experiment is what to run; zero fields take their defaults.
	Experiment experiment.Spec
	// Out is the folder that keeps the runs; "" is "runs".
	Out string
	// Binary is the program whose "node" command a child runs; "" is this one.
	Binary string
	// Baseline is the folder of a finished run to lay over this one in the report. "" looks in Out for
	// the same experiment with the gossip relay, where the relay is another, made by this same program and
	// in real time on this machine.
	Baseline string
	// Twin runs the same experiment with the gossip relay first, where there is no baseline, the relay is
	// another, the engine virtual and the run short enough.
	Twin bool
	// Command is the command line that asked for the run, for the report's reproduce box.
	Command string
	// Version and Revision describe the binary in the report.
	Version, Revision string
	// Table receives the final table; nil prints none.
	Table io.Writer

	engine  engine // tests: instead of the one the experiment names
	lanes   *lanes // of the sweep that the run belongs to; nil: this machine's
	program string // [programSum]; "" is not yet computed
}

// engine runs one seed of a resolved experiment and returns what its nodes recorded. It owns time:
// how fast the run's clock goes and when the run is over.
type engine func(ctx context.Context, spec experiment.Spec, seed int64, p *progress) (*observation, error)

// observation is one seed as an engine saw it.
type observation struct {
	input     recorder.Input
	warmup    recorder.Span // the stretch before the window in which blocks were full but did not count
	wall      time.Duration
	host      report.Host
	processes []report.Process
	open      []string // nodes whose recording has no end: they were killed
	cut       int      // lives whose recording has no end
	refused   int      // transactions a node did not take
	why       error    // the first refusal
	late      time.Duration
	floors    floors // nil where links are not shaped
	faults    []report.Fault
}

// Measure runs the experiment, writes the run's folder and returns its results. progress receives
// the plan at once and then where the run stands. Errors: [experiment.ErrInvalid] for one that
// cannot be run, [UnfitError] for one whose figures would mislead; [MissedError] together with the
// results when they are not what was expected.
func Measure(ctx context.Context, cfg MeasureConfig, out io.Writer) (*report.Results, error) {
	spec := cfg.Experiment
	spec.Resolve()
	if err := validate(spec); err != nil {
		return nil, err
	}
	p := newProgress(out)
	defer p.clear()
	if spec.CPU.Mode == experiment.CPUMeasure { // first: the run to stand beside it has the same prices
		p.now("measuring what computing costs")
		var err error
		if spec.CPU, err = calibrate(spec.CPU.Cores); err != nil {
			return nil, err
		}
	}
	here := environment(cfg)
	cfg.program = here.Program
	baseline, beside, err := baselineOf(cfg, spec, here)
	if err != nil {
		return nil, err
	}
	if baseline == nil && cfg.Twin && hasTwin(spec) {
		if baseline, beside, err = twinOf(ctx, cfg, spec, out); err != nil {
			return nil, err
		}
	}
	side := cfg.lanes
	if side == nil {
		side = lanesHere()
	}
	announce(p, spec, side)
	if err := fits(spec, side.free); err != nil { // now, other cells of a sweep hold some of it
		return nil, err
	}
	env := environment(cfg)
	run := cfg.engine
	if run == nil {
		if run = processEngine(cfg.Binary); spec.Virtual() {
			run = virtualEngine(cfg.Binary)
		}
	}
	runs, notes, err := measureSeeds(ctx, side, run, spec, p)
	if err != nil {
		return nil, err
	}
	results := report.New(spec, env, runs, unique(append(notes, beside...)))
	if baseline != nil {
		if err := results.LayOver(baseline); err != nil {
			return nil, err
		}
	}
	p.clear()
	if err := publish(cfg, results, runs); err != nil {
		return nil, err
	}
	if missed := report.Missed(results.Expected); len(missed) > 0 {
		return results, &MissedError{missed}
	}
	return results, nil
}

// blockSlots is how many slots should bring a block.
func blockSlots(s experiment.Spec) int {
	if s.Proposers() == 0 {
		return 0
	}
	return s.Slots()
}

// announce says what is going to happen and how long it takes.
func announce(p *progress, s experiment.Spec, side *lanes) {
	over := s.Net.Transport
	if s.Shaped() {
		over += " shaped in real time"
	}
	if s.Virtual() {
		over = "modelled links in virtual time"
	}
	p.say("%d nodes over %s, %s of degree %d, %s relay", s.Net.Nodes, over, s.Net.Topology, s.Net.Degree, s.Net.Relay)
	p.say("links %s; %s", s.Links(), seedsText(s.Seeds, side.width(s)))
	if s.Proposers() == 0 {
		p.say("%g transactions of %s a second for %v, no blocks, after %d slots of %v", s.Load.TxRate, s.Load.TxSize, s.Load.Duration, s.Load.Warmup, s.Chain.Slot)
	} else {
		p.say("%d warm-up and %d counted blocks of %s (%d transactions) in slots of %v",
			s.Load.Warmup, s.Load.Blocks, s.Chain.BlockSize, s.TxsPerBlock(), s.Chain.Slot)
	}
	if r := &s.Report; r.UntilCI > 0 {
		p.say("further seeds, %d in all at most, until the interval of %s is within %g %% of it", r.UntilSeeds, r.UntilFigure, 100*r.UntilCI)
	}
	p.say("takes about %v and %.1f GiB of memory", side.expected(s).Round(time.Second), float64(side.width(s))*float64(s.Memory())/(1<<30))
}

func seedsText(seeds []int64, width int) string {
	switch {
	case len(seeds) == 1:
		return fmt.Sprintf("seed %d", seeds[0])
	case width == 1:
		return fmt.Sprintf("%d seeds, one run each", len(seeds))
	}
	return fmt.Sprintf("%d seeds, one run each, %d at a time", len(seeds), width)
}

// publish writes the run's folder, the table, and what to do next.
func publish(cfg MeasureConfig, r *report.Results, runs []report.Run) error {
	dir, err := report.NewFolder(cfg.out(), r.Experiment)
	if err != nil {
		return err
	}
	if err := report.Write(dir, r, runs); err != nil {
		return err
	}
	if cfg.Table == nil {
		return nil
	}
	if err := report.Table(cfg.Table, r); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cfg.Table, "\nreport  %s\nnext    %s\n", filepath.Join(dir, report.PageFile), next(r))
	return err
}

// next is one command worth running after this one.
func next(r *report.Results) string {
	command := "pheme devnet measure "
	if self, err := os.Executable(); err == nil && strings.Contains(self, "go-build") { // started by go run
		command = "go run ./cmd/pheme devnet measure "
	}
	switch s := r.Experiment; {
	case s.Virtual() && s.Net.Nodes < 100:
		return command + "--engine virtual --nodes 100 --seeds 1"
	case s.Virtual() && s.Net.Relay != gossipRelay:
		return command + "--engine virtual --nodes 100 --relay gossip --seeds 1"
	case s.Virtual():
		return command + "--engine virtual --nodes 20 --block-size 1MiB --slot 6s --seeds 1"
	case len(s.Seeds) == 1 && s.Chain.BlockSize < 1<<20:
		return command + "--block-size 1MiB"
	case len(s.Seeds) == 1:
		return command + "--seeds 5"
	default:
		return command + "--engine virtual --nodes 100 --seeds 1"
	}
}

// environment is what stands beside the figures, taken before the run loads the machine.
func environment(cfg MeasureConfig) report.Environment {
	if cfg.program == "" {
		cfg.program = programSum(cfg.Binary)
	}
	h := host.Describe(proc)
	env := report.Environment{
		Command: cfg.Command, Version: cfg.Version, Revision: cfg.Revision, Program: cfg.program, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Kernel: h.Kernel, CPU: h.CPU, Cores: h.Cores, Memory: h.Memory, Load: h.Load,
		Clock: "the host's monotonic clock, read by every process", Started: time.Now().UTC().Truncate(time.Second),
	}
	for _, m := range node.Modules() {
		env.Modules = append(env.Modules, report.Module{Path: m.Path, Version: m.Version})
	}
	return env
}
