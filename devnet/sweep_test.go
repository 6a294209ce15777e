package devnet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/report"
)

func sweepOf(t *testing.T, text string) *experiment.Sweep {
	t.Helper()
	s, err := experiment.DecodeSweep("s.toml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const smallSweep = `name = "small"
engine = "virtual"
[net]
nodes = 4
[load]
blocks = 5
warmup = 1
[sweep]
"gossip.d" = [2, 3, 4]
[[law]]
name = "flat"
x = "gossip.d"
y = "block.p50_ms"
[expect]
"law.flat.slope" = "= 0"
"block.coverage" = ">= 1"
`

// A cell that fails is said and the others go on; a sweep run again goes on with what is not done.
func TestSweepGoesOn(t *testing.T) {
	out := t.TempDir()
	var mu sync.Mutex
	var ran []int
	broken := 3
	cfg := SweepConfig{Sweep: sweepOf(t, smallSweep), Out: out, Version: "1"}
	cfg.engine = func(ctx context.Context, s experiment.Spec, seed int64, p *progress) (*observation, error) {
		mu.Lock()
		defer mu.Unlock()
		ran = append(ran, s.Gossip.D)
		if s.Gossip.D == broken {
			return nil, errors.New("the moon fell down")
		}
		return scriptedEngine(nil)(ctx, s, seed, p)
	}
	var said, table bytes.Buffer
	cfg.Table = &table
	r, err := Sweep(t.Context(), cfg, &said)
	var cells *CellsError
	if !errors.As(err, &cells) || cells.ExitCode() != 1 || cells.Failed != 1 || len(cells.Whole) != 1 {
		t.Fatalf("Sweep() = %v, want one failed cell and a law without figures", err)
	}
	if !strings.Contains(said.String(), "gossip.d=3: the moon fell down") || !strings.Contains(table.String(), "gossip.d=3: the moon fell down") {
		t.Errorf("the failure is not said:\n%s\n%s", said.String(), table.String())
	}
	if len(r.Cells) != 3 || r.Cells[0].Folder == "" || r.Cells[1].Folder != "" || r.Cells[1].ExitCode != 1 || len(ran) < 3 {
		t.Errorf("cells %+v after the runs of D = %v", r.Cells, ran)
	}
	broken, ran = 0, nil
	said.Reset()
	if r, err = Sweep(t.Context(), cfg, &said); err != nil {
		t.Fatalf("the second time: %v", err)
	}
	if len(ran) != 5 || ran[0] != 3 || ran[4] != 3 || !strings.Contains(said.String(), "2 of them are done") { // the five seeds of one cell
		t.Errorf("the second time it ran D = %v: want 3 alone\n%s", ran, said.String())
	}
	if l := r.Laws[0]; l.Fit.Slope != 0 || len(l.Points) != 3 || !r.Expected[0].Met {
		t.Errorf("the law of equal cells is %+v", l)
	}
	ran, cfg.Version = nil, "2"
	if _, err = Sweep(t.Context(), cfg, &said); err != nil || len(ran) != 15 {
		t.Errorf("another version of the program ran %d of 15 runs, %v: figures of two versions do not belong into one table", len(ran), err)
	}
	var back report.Sweep
	text, err := os.ReadFile(filepath.Join(out, report.LatestLink, report.SweepResultsFile))
	if err != nil || json.Unmarshal(text, &back) != nil || len(back.Cells) != 3 || back.Schema != report.SweepSchema {
		t.Errorf("%s reads back %d cells, %v", report.SweepResultsFile, len(back.Cells), err)
	}
}

// The runs of a program that has changed since belong into no table of this one, whatever go run or a
// changed tree calls it.
func TestSweepOfAChangedProgram(t *testing.T) {
	program := filepath.Join(t.TempDir(), "pheme")
	write := func(text string) {
		if err := os.WriteFile(program, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		revision string
		again    int // runs after the program has changed
	}{{"unknown", 15}, {"", 15}, {"abc+dirty", 15}, {"abc", 0}} {
		out, ran := t.TempDir(), 0
		var mu sync.Mutex
		run := func() (said string) {
			var words bytes.Buffer
			ran = 0
			cfg := SweepConfig{Sweep: sweepOf(t, smallSweep), Out: out, Binary: program, Version: "1", Revision: tt.revision}
			cfg.engine = func(ctx context.Context, s experiment.Spec, seed int64, p *progress) (*observation, error) {
				mu.Lock()
				ran++
				mu.Unlock()
				return scriptedEngine(nil)(ctx, s, seed, p)
			}
			if _, err := Sweep(t.Context(), cfg, &words); err != nil {
				t.Fatal(err)
			}
			return words.String()
		}
		write("one program")
		run()
		if said := run(); ran != 0 {
			t.Errorf("revision %q: the same program ran %d cells' seeds again\n%s", tt.revision, ran, said)
		}
		write("another program")
		if said := run(); ran != tt.again || strings.Contains(said, "3 are done but not taken over: the program has changed since") != (tt.again > 0) {
			t.Errorf("revision %q: a changed program ran %d seeds, want %d, and says why\n%s", tt.revision, ran, tt.again, said)
		}
	}
}

// Figures of real time belong to the machine that made them; those of virtual time do not.
func TestSweepOnAnotherMachine(t *testing.T) {
	for _, tt := range []struct {
		engine string
		again  int // runs on the other machine
	}{{"process", 15}, {"virtual", 0}} {
		text := strings.Replace(smallSweep, `engine = "virtual"`, "seeds = [1, 2, 3, 4, 5]\nengine = \""+tt.engine+`"`, 1)
		cfg := SweepConfig{Sweep: sweepOf(t, text), Out: t.TempDir(), Version: "1"}
		var mu sync.Mutex
		ran := 0
		cfg.engine = func(ctx context.Context, s experiment.Spec, seed int64, p *progress) (*observation, error) {
			mu.Lock()
			ran++
			mu.Unlock()
			return scriptedEngine(nil)(ctx, s, seed, p)
		}
		if _, err := Sweep(t.Context(), cfg, nil); err != nil {
			t.Fatal(err)
		}
		cells, err := filepath.Glob(filepath.Join(cfg.Out, report.LatestLink, cellsFolder, "small-*", report.ResultsFile))
		if err != nil || len(cells) != 3 {
			t.Fatalf("%q, %v, want the figures of 3 cells", cells, err)
		}
		for _, cell := range cells {
			r, err := report.ReadResults(filepath.Dir(cell))
			if err != nil {
				t.Fatal(err)
			}
			r.Environment.Cores += 2
			text, err := r.JSON()
			if err = errors.Join(err, os.WriteFile(cell, text, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		var said bytes.Buffer
		ran = 0
		_, err = Sweep(t.Context(), cfg, &said)
		if why := "3 are done but not taken over: they were made on "; err != nil || ran != tt.again || strings.Contains(said.String(), why) != (tt.again > 0) {
			t.Errorf("%s: another machine ran %d seeds, %v, want %d, and says why\n%s", tt.engine, ran, err, tt.again, said.String())
		}
	}
}

// Prices are measured once for all cells of a sweep, and a sweep that goes on keeps them.
func TestSweepMeasuresPricesOnce(t *testing.T) {
	text := strings.Replace(smallSweep, "[net]", "seeds = [1]\n[cpu]\nmode = \"measure\"\n[net]", 1)
	text = strings.Replace(text, `"gossip.d" = [2, 3, 4]`, `"gossip.d" = [2, 3]`+"\n"+`"cpu.cores" = [1, 2]`, 1)
	text, _, _ = strings.Cut(text, "[[law]]") // which is over one key
	ran := 0
	var mu sync.Mutex
	cfg := SweepConfig{Sweep: sweepOf(t, text), Out: t.TempDir(), Version: "1"}
	cfg.engine = func(ctx context.Context, s experiment.Spec, seed int64, p *progress) (*observation, error) {
		mu.Lock()
		ran++
		mu.Unlock()
		return scriptedEngine(nil)(ctx, s, seed, p)
	}
	r, err := Sweep(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range r.Cells {
		got, want := c.Experiment.CPU, r.Cells[0].Experiment.CPU
		want.Cores = cfg.Sweep.Cells[i].Spec.CPU.Cores
		if got != want || got.Mode != experiment.CPUCharge || got.HashUS == 0 {
			t.Errorf("cell %v has the prices %+v, want %+v", c.Values, got, want)
		}
	}
	if r, err = Sweep(t.Context(), cfg, nil); err != nil || ran != 4 || r.Cells[3].Folder == "" {
		t.Errorf("the second time: %v, %d runs in all, want the 4 of the first time", err, ran)
	}
}

// The seeds that a table and a page state are those that were run, also where an interval asked for more.
func TestSweepCountsSeeds(t *testing.T) {
	text := strings.Replace(smallSweep, "[net]", "seeds = [1, 2]\n[report]\nuntil_ci = 0.0001\nuntil_figure = \"block.p50_ms\"\nuntil_seeds = 4\n[net]", 1)
	cfg := SweepConfig{Sweep: sweepOf(t, text), Out: t.TempDir(), engine: scriptedEngine(nil)}
	for range 2 { // by the runs themselves, and from their folders
		if _, err := Sweep(t.Context(), cfg, nil); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{report.SweepMarkdownFile: " over 4 seeds, ", report.PageFile: ">4 seeds a cell<"} {
			text, err := os.ReadFile(filepath.Join(cfg.Out, report.LatestLink, name))
			if err != nil || !bytes.Contains(text, []byte(want)) {
				t.Errorf("%s, %v, lacks %q", name, err, want)
			}
		}
	}
}

func TestSweepVerdicts(t *testing.T) {
	run := func(text string, bend func(*observation)) error {
		cfg := SweepConfig{Sweep: sweepOf(t, text), Out: t.TempDir(), engine: scriptedEngine(bend)}
		_, err := Sweep(t.Context(), cfg, nil)
		return err
	}
	code := func(err error) int {
		var coded interface{ ExitCode() int }
		if !errors.As(err, &coded) {
			return -1
		}
		return coded.ExitCode()
	}
	if err := run(smallSweep, func(o *observation) { o.input.Nodes[0].Lost = 1 }); code(err) != 5 || !strings.Contains(err.Error(), "of 3 cells 0 failed, 3 were not fit") {
		t.Errorf("unfit cells: %v, want exit code 5", err)
	}
	if err := run(strings.Replace(smallSweep, ">= 1", "> 1", 1), nil); code(err) != 3 || !strings.Contains(err.Error(), "3 were not as expected") {
		t.Errorf("a missed expectation in each cell: %v, want exit code 3", err)
	}
	if err := run(strings.Replace(smallSweep, "= 0", "> 0", 1), nil); code(err) != 3 || !strings.Contains(err.Error(), "missed  law.flat.slope > 0: 0") {
		t.Errorf("a missed law: %v, want exit code 3", err)
	}
	if err := run(strings.Replace(smallSweep, "block.p50_ms", "block.p51_ms", 1), nil); !errors.Is(err, experiment.ErrInvalid) || !strings.Contains(err.Error(), `law flat: y: "block.p51_ms" is no figure`) {
		t.Errorf("a law about nothing: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	cancel(stop)
	if _, err := Sweep(ctx, SweepConfig{Sweep: sweepOf(t, smallSweep), Out: t.TempDir(), engine: scriptedEngine(nil)}, nil); !errors.Is(err, stop) {
		t.Errorf("an interrupted sweep: %v, want %v", err, stop)
	}
}

func TestJobs(t *testing.T) {
	start := func(j *jobs) (cells []int) {
		for {
			next, ok := j.next(0)
			if !ok {
				return cells
			}
			cells = append(cells, next.cell)
		}
	}
	same := func(name string, got []int, want ...int) {
		t.Helper()
		if len(got) != len(want) {
			t.Fatalf("%s: started %v, want %v", name, got, want)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("%s: started %v, want %v", name, got, want)
			}
		}
	}
	j := &jobs{cores: 2, memory: 10, waiting: []job{{cell: 0, memory: 20, takes: 4 * time.Second}, {cell: 1, memory: 6}, {cell: 2, memory: 6}, {cell: 3, memory: 4}, {cell: 4, alone: true, takes: 2 * time.Second}, {cell: 5, memory: 1}}}
	if got := j.left(0); got != 4*time.Second {
		t.Errorf("left() = %v, want 2 s on two cores and 2 s alone", got)
	}
	same("one that is too large runs by itself", start(j), 0)
	j.ended(job{cell: 0, takes: 4 * time.Second}, 0)
	same("the second does not fit beside the first", start(j), 1, 3)
	j.ended(job{cell: 3}, 0)
	same("what needs the machine for itself waits", start(j), 5)
	j.ended(job{cell: 1}, 0)
	j.ended(job{cell: 5}, 0)
	same("in order", start(j), 2)
	j.ended(job{cell: 2}, 0)
	same("alone", start(j), 4)
	if j.empty() {
		t.Error("nothing runs, says the queue")
	}
	j.ended(job{cell: 4}, 0)
	if !j.empty() {
		t.Error("something runs, says the queue")
	}
	j = &jobs{cores: 2, waiting: []job{{cell: 0, takes: 2 * time.Second}, {cell: 1, takes: 2 * time.Second}, {cell: 2, takes: 4 * time.Second}}}
	first, _ := j.next(0)
	if j.next(0); j.left(time.Second) != 3*time.Second { // one second of the running, two of the waiting
		t.Errorf("left() = %v, want 3 s", j.left(time.Second))
	}
	if j.ended(first, 6*time.Second); j.pace(6*time.Second) != 3 || j.left(6*time.Second) != 6*time.Second {
		t.Errorf("pace %v, left() = %v, want three times the estimate", j.pace(6*time.Second), j.left(6*time.Second))
	}
}
