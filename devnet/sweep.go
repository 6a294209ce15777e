package devnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/report"
)

// cellsFolder holds the runs of a sweep's cells, inside its folder.
const cellsFolder = "cells"

// SweepConfig is one call of [Sweep].
type SweepConfig struct {
	Sweep *experiment.Sweep
	// Where runs only the cells that match these conditions, as [experiment.Sweep.Matching] reads
	// them; others that the sweep's folder has from before stay in its tables.
	Where []string
	// Copy is a folder that gets the table and the chart, too; "" is none.
	Copy string
	// Out, Binary, Command, Version and Revision are as in [MeasureConfig].
	Out, Binary, Command, Version, Revision string
	// Table receives the final table; nil prints none.
	Table io.Writer

	engine engine // tests: instead of the one the experiment names
}

// CellsError says that cells of a sweep have no figures, or not those expected. Its exit code is 1
// where one failed, 5 where one was not fit to report, 3 where expectations alone were missed.
type CellsError struct {
	Failed, Unfit, Missed int // cells
	Total                 int
	Whole                 []report.Expected // missed, of what is expected over several cells
}

func (e *CellsError) Error() string {
	text := fmt.Sprintf("of %d cells %d failed, %d were not fit to report and %d were not as expected", e.Total, e.Failed, e.Unfit, e.Missed)
	for _, l := range e.Whole {
		text += "\n  " + l.String()
	}
	return text
}

// ExitCode is what the command returns to the shell.
func (e *CellsError) ExitCode() int {
	switch {
	case e.Failed > 0:
		return 1
	case e.Unfit > 0:
		return 5
	}
	return 3
}

// Sweep runs every cell of a sweep that has not been run yet, several at a time as far as cores and
// memory allow, and writes one table over all. A cell that fails is said and the rest goes on. The
// sweep's folder, <out>/<name>-<digest>, keeps the cells' runs, so that a sweep that was interrupted
// goes on where it stopped. Errors: [experiment.ErrInvalid] before anything runs, [CellsError]
// together with the results.
func Sweep(ctx context.Context, cfg SweepConfig, out io.Writer) (*report.Sweep, error) {
	for i := range cfg.Sweep.Cells {
		if err := validate(cfg.Sweep.Cells[i].Spec); err != nil {
			return nil, err
		}
	}
	if err := checkFigures(cfg.Sweep); err != nil {
		return nil, err
	}
	wanted, err := cfg.Sweep.Matching(cfg.Where)
	if err != nil {
		return nil, err
	}
	dir, err := report.SweepFolder(cfg.Out, cfg.Sweep.Name, cfg.Sweep.Digest())
	if err != nil {
		return nil, err
	}
	p := newProgress(out)
	defer p.clear()
	s, err := newSweepRun(cfg, wanted, dir, p)
	if err != nil {
		return nil, err
	}
	s.announce()
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	p.clear()
	results := s.results()
	if err := report.WriteSweep(dir, results); err != nil {
		return nil, err
	}
	if cfg.Copy != "" {
		if err := report.CopySweep(cfg.Copy, results); err != nil {
			return nil, err
		}
	}
	if cfg.Table != nil {
		if err := report.SweepTable(cfg.Table, results); err != nil {
			return nil, err
		}
		fmt.Fprintf(cfg.Table, "\nreport  %s\nfigures %s\ntable   %s\nchart   %s\n", filepath.Join(dir, report.PageFile),
			filepath.Join(dir, report.SweepTableFile), filepath.Join(dir, report.SweepMarkdownFile), filepath.Join(dir, report.SweepChartFile))
	}
	return results, verdictOf(results)
}

// checkFigures refuses a law or a ratio about a figure that no results hold.
func checkFigures(s *experiment.Sweep) error {
	for _, l := range s.Laws {
		if complaint := report.UnknownFigure(s.Cells[0].Spec, []string{l.Y}); complaint != "" {
			return fmt.Errorf("%w: law %s: y: %s", experiment.ErrInvalid, l.Name, complaint)
		}
	}
	for _, r := range s.Ratios {
		if complaint := report.UnknownFigure(s.Cells[0].Spec, []string{r.Figure}); complaint != "" {
			return fmt.Errorf("%w: ratio %s: figure: %s", experiment.ErrInvalid, r.Name, complaint)
		}
	}
	return nil
}

// verdictOf is the error that the cells and laws of a sweep amount to, or nil.
func verdictOf(r *report.Sweep) error {
	e := &CellsError{Total: len(r.Cells), Whole: report.Missed(r.Expected)}
	for i := range r.Cells {
		switch r.Cells[i].ExitCode {
		case 0:
		case 3:
			e.Missed++
		case 5:
			e.Unfit++
		default:
			e.Failed++
		}
	}
	if e.Failed+e.Unfit+e.Missed+len(e.Whole) == 0 {
		return nil
	}
	return e
}

// sweepRun is a sweep on its way. One goroutine, run's, owns it.
type sweepRun struct {
	cfg   SweepConfig
	dir   string
	p     *progress
	cells []report.Cell
	out   []bool // cells that are neither wanted nor there
	env   report.Environment
	jobs  jobs
	lanes *lanes         // which all cells share
	kept  int            // cells found done
	left  map[string]int // cells that are done but not taken over, by the reason
	began time.Time
}

func newSweepRun(cfg SweepConfig, wanted []bool, dir string, p *progress) (*sweepRun, error) {
	n := len(cfg.Sweep.Cells)
	s := &sweepRun{cfg: cfg, dir: dir, p: p, began: time.Now(), cells: make([]report.Cell, n), out: make([]bool, n), left: map[string]int{}}
	s.env = environment(MeasureConfig{Command: cfg.Command, Version: cfg.Version, Revision: cfg.Revision, program: programSum(cfg.Binary)})
	s.lanes = lanesHere()
	s.jobs = jobs{cores: s.lanes.cores, memory: s.lanes.room}
	prices, err := s.prices()
	if err != nil {
		return nil, err
	}
	for i, cell := range cfg.Sweep.Cells {
		if cpu := &cell.Spec.CPU; cpu.Mode == experiment.CPUMeasure {
			cores := cpu.Cores
			*cpu = prices
			cpu.Cores = cores
		}
		s.cells[i] = report.Cell{Values: cell.Values, Digest: cell.Spec.Digest(), Experiment: cell.Spec, Links: cell.Spec.Links()}
		if s.find(i) {
			s.kept++
			continue
		}
		if !wanted[i] {
			s.out[i] = true
			continue
		}
		s.jobs.waiting = append(s.jobs.waiting, job{cell: i, memory: cell.Spec.Memory(), takes: cell.Spec.Expected(), alone: !cell.Spec.Virtual()})
	}
	return s, nil
}

// prices are what computing costs in all the cells that want it measured: what this same program on
// this kind of machine found for those that are done, else what it finds now. Nothing where no cell wants it.
func (s *sweepRun) prices() (prices experiment.CPU, err error) {
	stated := map[string]bool{} // digests of cells with prices of their own
	for i := range s.cfg.Sweep.Cells {
		if spec := &s.cfg.Sweep.Cells[i].Spec; spec.CPU.Mode != experiment.CPUMeasure {
			stated[spec.Digest()] = true
		}
	}
	if len(stated) == len(s.cfg.Sweep.Cells) {
		return prices, nil
	}
	folders, err := filepath.Glob(filepath.Join(s.dir, cellsFolder, "*"))
	if err != nil {
		return prices, err
	}
	for _, folder := range folders {
		r, err := report.ReadResults(folder)
		if err == nil && !stated[r.Digest] && r.Environment.CPU == s.env.CPU && otherProgram(r.Environment, s.env) == "" {
			return r.Experiment.CPU, nil
		}
	}
	s.p.now("measuring what computing costs")
	return calibrate(1)
}

// find takes over the run of cell i that a former sweep left, if it was made by this same program and, in
// real time, on this machine.
func (s *sweepRun) find(i int) bool {
	folders, err := filepath.Glob(filepath.Join(s.dir, cellsFolder, s.cells[i].Experiment.Name+"-"+s.cells[i].Digest+"*"))
	if err != nil {
		return false
	}
	other := ""
	for _, folder := range folders {
		r, err := report.ReadResults(folder)
		if err != nil || r.Digest != s.cells[i].Digest {
			continue
		}
		if other = foreign(r, s.env); other == "" {
			s.take(i, r)
			return true
		}
	}
	if other != "" {
		s.left[other]++
	}
	return false
}

// take fills cell i from the results of its run.
func (s *sweepRun) take(i int, r *report.Results) {
	c := &s.cells[i]
	c.Folder = filepath.Join(cellsFolder, filepath.Base(r.Folder))
	c.Summary, c.Expected, c.Notes, c.Runs = r.Summary, r.Expected, r.Notes, len(r.Runs)
	for _, run := range r.Runs {
		c.WallS += run.WallS
	}
	if missed := report.Missed(r.Expected); len(missed) > 0 {
		e := &MissedError{missed}
		c.Error, c.ExitCode = e.Error(), e.ExitCode()
	}
}

func (s *sweepRun) announce() {
	s.p.say("%s: %d cells over %v, in %s", s.cfg.Sweep.Name, len(s.cells), s.cfg.Sweep.Keys, s.dir)
	if s.kept > 0 {
		s.p.say("%d of them are done: their runs are taken over", s.kept)
	}
	for _, why := range slices.Sorted(maps.Keys(s.left)) {
		s.p.say("%d are done but not taken over: %s", s.left[why], why)
	}
	if n := s.total() - s.kept; n < len(s.cells)-s.kept {
		s.p.say("%d are to be run now: %s", n, strings.Join(s.cfg.Where, " and "))
	}
	if len(s.jobs.waiting) > 0 {
		s.p.say("takes about %v; the largest cell about %d MiB", s.jobs.left(0).Round(time.Second), s.jobs.largest()>>20)
	}
}

// total counts the cells that the tables will have.
func (s *sweepRun) total() (n int) {
	for _, out := range s.out {
		if !out {
			n++
		}
	}
	return n
}

// finished is what a cell's goroutine hands back.
type finished struct {
	job job
	r   *report.Results
	err error
}

// run runs what waits. It returns an error only when ctx ended.
func (s *sweepRun) run(ctx context.Context) error {
	done := make(chan finished, s.jobs.cores) // as many as can run at once: none blocks
	var g errgroup.Group
	defer func() { _ = g.Wait() }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for !s.jobs.empty() {
		for ctx.Err() == nil {
			j, ok := s.jobs.next(time.Since(s.began))
			if !ok {
				break
			}
			g.Go(func() error {
				done <- s.measure(ctx, j)
				return nil
			})
		}
		select {
		case f := <-done:
			if s.jobs.ended(f.job, time.Since(s.began)); ctx.Err() == nil {
				s.finish(f)
			}
		case <-ctx.Done():
			return context.Cause(ctx) // the runs end by themselves and leave nothing
		case <-tick.C:
			s.where()
		}
	}
	return nil
}

// measure runs one cell.
func (s *sweepRun) measure(ctx context.Context, j job) finished {
	cfg := MeasureConfig{
		Experiment: s.cells[j.cell].Experiment, Out: filepath.Join(s.dir, cellsFolder), Binary: s.cfg.Binary,
		Command: s.cfg.Command, Version: s.cfg.Version, Revision: s.cfg.Revision,
		engine: s.cfg.engine, lanes: s.lanes, program: s.env.Program,
	}
	r, err := Measure(ctx, cfg, io.Discard)
	return finished{j, r, err}
}

// finish notes what became of a cell.
func (s *sweepRun) finish(f finished) {
	c := &s.cells[f.job.cell]
	if f.r != nil {
		s.take(f.job.cell, f.r)
	}
	if f.err != nil {
		c.Error, c.ExitCode = f.err.Error(), 1
		var coded interface{ ExitCode() int }
		if errors.As(f.err, &coded) {
			c.ExitCode = coded.ExitCode()
		}
		s.p.say("%s: %v", report.CellLabel(s.cfg.Sweep.Keys, c), f.err)
	}
	s.where()
}

// where says where the sweep stands, and how long it still takes at the pace it has had.
func (s *sweepRun) where() {
	done := s.total() - s.kept - len(s.jobs.waiting) - len(s.jobs.running)
	if s.jobs.empty() {
		return
	}
	text := fmt.Sprintf("%d of %d cells done, %d running", s.kept+done, s.total(), len(s.jobs.running))
	s.p.now("%s, about %v left", text, s.jobs.left(time.Since(s.began)).Round(time.Second))
}

// results are the cells as they stand, with the laws fitted to those that have figures and the ratios
// of those that have been run.
func (s *sweepRun) results() *report.Sweep {
	sweep := s.cfg.Sweep
	r := &report.Sweep{Schema: report.SweepSchema, Name: sweep.Name, Digest: sweep.Digest(), Environment: s.env, Keys: sweep.Keys, Whole: len(s.cells)}
	for i := range sweep.Variants {
		r.Variants = append(r.Variants, report.Variant{Name: sweep.Variants[i].Name, Settings: sweep.Variants[i].Text()})
	}
	places := make([]int, len(s.cells)) // in the results
	for i := range s.cells {
		if places[i] = -1; !s.out[i] {
			places[i] = len(r.Cells)
			r.Cells = append(r.Cells, s.cells[i])
		}
	}
	want := maps.Clone(sweep.Expect)
	figures := report.FitLaws(r, sweep, places, want)
	maps.Copy(figures, report.Compare(r, sweep, places, want))
	r.Expected = report.Judge(want, figures)
	return r
}
