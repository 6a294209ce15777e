package compare

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/report"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// try is a made-up run: messages of a seed share a level, and bend says what the program does to them.
type try struct {
	seeds, blocks int
	spec          func(*experiment.Spec)
	dice          uint64
	bend          func(latency float64, rng *rand.Rand) float64
}

func (w try) side(t *testing.T) *Side {
	t.Helper()
	spec := experiment.Spec{Engine: "virtual", Net: experiment.Net{Nodes: 20}}
	if w.spec != nil {
		w.spec(&spec)
	}
	spec.Resolve()
	spec.Seeds = nil
	r := &report.Results{Schema: report.Schema, Digest: spec.Digest(), Folder: "runs/x"}
	r.Environment.Version, r.Experiment = "0.1.0", spec
	rng := rand.New(rand.NewPCG(w.dice, 9))
	s := newSide(r)
	for seed := range int64(w.seeds) {
		spec.Seeds = append(spec.Seeds, seed+1)
		run := report.RunResult{Seed: seed + 1, Nodes: make([]report.NodeResult, 20)}
		shared := rand.New(rand.NewPCG(uint64(seed), 5)) // what both sides have in common
		for b := range w.blocks {
			run.Timeline = append(run.Timeline, report.Tick{In: 20 << 20})
			level := 200 + 30*shared.NormFloat64()
			for node := range 19 {
				latency := level + 100*shared.ExpFloat64()
				if w.bend != nil {
					latency = w.bend(latency, rng)
				}
				row := &report.DeliveryRow{
					Seed: seed + 1, Block: true, ID: fmt.Sprintf("0x%d%d%d", seed, b, w.dice), Number: int64(b + 1), Size: 1000,
					Node: fmt.Sprint("n", node), Born: float64(b)*1000 + 100, Latency: latency, First: 1000, Again: 3000,
				}
				if err := s.add(row); err != nil {
					t.Fatal(err)
				}
			}
		}
		r.Runs = append(r.Runs, run)
	}
	r.Experiment = spec
	return s
}

func compareTries(t *testing.T, a, b try) *Comparison {
	t.Helper()
	c, err := Compare(a.side(t), b.side(t))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *Comparison) line(t *testing.T, metric string) Line {
	t.Helper()
	for _, l := range c.Lines {
		if l.Metric == metric {
			return l
		}
	}
	t.Fatalf("no line %s among %+v", metric, c.Lines)
	return Line{}
}

// noise is what another try of the same experiment has its own way.
func noise(size float64) func(float64, *rand.Rand) float64 {
	return func(v float64, rng *rand.Rand) float64 { return v * (1 + size*rng.NormFloat64()) }
}

func TestVerdicts(t *testing.T) {
	slower := func(share float64) func(float64, *rand.Rand) float64 {
		return func(v float64, rng *rand.Rand) float64 { return v * (1 + share) * (1 + .02*rng.NormFloat64()) }
	}
	loses := func(share float64) func(float64, *rand.Rand) float64 {
		return func(v float64, rng *rand.Rand) float64 {
			if rng.Float64() < share {
				return math.Inf(1)
			}
			return v
		}
	}
	lossy := loses(.02)
	a := try{seeds: 5, blocks: 20, dice: 1, bend: noise(.02)}
	tests := []struct {
		name    string
		a, b    try
		metric  string
		verdict Verdict // of the metric
		whole   Verdict
		code    int
	}{
		{"the same twice", a, try{seeds: 5, blocks: 20, dice: 2, bend: noise(.02)}, "block.p95_ms", Same, Same, 0},
		{"slower by a tenth", a, try{seeds: 5, blocks: 20, dice: 2, bend: slower(.1)}, "block.p95_ms", Worse, Worse, 3},
		{"faster by a tenth", a, try{seeds: 5, blocks: 20, dice: 2, bend: slower(-.1)}, "block.p50_ms", Better, Better, 0},
		{"slower by half a percent", a, try{seeds: 5, blocks: 20, dice: 2, bend: slower(.005)}, "block.p50_ms", Same, Same, 0},
		{"loses two of a hundred", a, try{seeds: 5, blocks: 20, dice: 2, bend: lossy}, "block.coverage", Worse, Worse, 3},
		{"finds two of a hundred", try{seeds: 5, blocks: 20, dice: 2, bend: lossy}, a, "block.coverage", Better, Better, 0},
		{"both lose about as many as p95 leaves out", try{seeds: 5, blocks: 20, dice: 1, bend: loses(.07)}, try{seeds: 5, blocks: 20, dice: 2, bend: loses(.06)}, "block.p95_ms", CannotTell, CannotTell, 4},
		{"both lose a third", try{seeds: 5, blocks: 20, dice: 1, bend: loses(.3)}, try{seeds: 5, blocks: 20, dice: 2, bend: loses(.3)}, "block.p95_ms", Same, CannotTell, 4},
		{"loses a tenth no more", try{seeds: 5, blocks: 20, dice: 1, bend: loses(.1)}, a, "block.p95_ms", Better, Better, 0},
		{"few and noisy", try{seeds: 2, blocks: 3, dice: 1, bend: noise(.5)}, try{seeds: 2, blocks: 3, dice: 2, bend: noise(.5)}, "block.p50_ms", CannotTell, CannotTell, 4},
		{"three percent with two seeds", try{seeds: 2, blocks: 40, dice: 1, bend: slower(0)}, try{seeds: 2, blocks: 40, dice: 2, bend: slower(.03)}, "block.p50_ms", Same, CannotTell, 4},
	}
	for _, tt := range tests {
		c := compareTries(t, tt.a, tt.b)
		l := c.line(t, tt.metric)
		if l.Verdict != tt.verdict || c.Verdict != tt.whole || c.Verdict.ExitCode() != tt.code {
			t.Errorf("%s: %s is %s (%.1f to %.1f ms around %.1f), the whole %s, exit code %d, want %s, %s and %d", tt.name, tt.metric, l.Verdict, l.Lo, l.Hi, l.Diff,
				c.Verdict, c.Verdict.ExitCode(), tt.verdict, tt.whole, tt.code)
		}
		if c.Blocks != tt.a.seeds*tt.a.blocks || c.Lonely != 0 || c.Seeds != tt.a.seeds {
			t.Errorf("%s: %d pairs of %d seeds, %d left out", tt.name, c.Blocks, c.Seeds, c.Lonely)
		}
	}
}

// Two tries of the same thing must not be told apart: of many such pairs at most a few may.
func TestSameIsNotTakenForBetter(t *testing.T) {
	const tries = 20
	wrong := 0
	for i := range tries {
		a := try{seeds: 5, blocks: 8, dice: uint64(100 + i), bend: noise(.05)}
		b := try{seeds: 5, blocks: 8, dice: uint64(900 + i), bend: noise(.05)}
		if v := compareTries(t, a, b).Verdict; v == Better || v == Worse {
			wrong++
		}
	}
	if wrong > tries/5 {
		t.Errorf("%d of %d pairs of the same were told apart", wrong, tries)
	}
}

// What a comparison says it could have shown, it does show.
func TestShowsWhatItSays(t *testing.T) {
	a := try{seeds: 5, blocks: 10, dice: 1, bend: noise(.1)}
	shows := compareTries(t, a, try{seeds: 5, blocks: 10, dice: 2, bend: noise(.1)}).line(t, "block.p50_ms").Shows
	if !(shows > 0) {
		t.Fatalf("could show %v", shows)
	}
	shift := func(by float64) Verdict {
		b := try{seeds: 5, blocks: 10, dice: 2, bend: func(v float64, rng *rand.Rand) float64 { return noise(.1)(v, rng) + by }}
		return compareTries(t, a, b).line(t, "block.p50_ms").Verdict
	}
	if v := shift(2 * shows); v != Worse {
		t.Errorf("twice the smallest difference is %s", v)
	}
	if v := shift(-2 * shows); v != Better {
		t.Errorf("twice the smallest difference, downwards, is %s", v)
	}
}

func TestRefusesWhatDoesNotMatch(t *testing.T) {
	a := try{seeds: 2, blocks: 3}
	for want, bend := range map[string]func(*experiment.Spec){
		"net.nodes is 20 in A and 30 in B":                 func(s *experiment.Spec) { s.Net.Nodes = 30 },
		"net.latency is world in A and uniform:50ms in B":  func(s *experiment.Spec) { s.Net.Latency = "uniform:50ms" },
		"chain.block_size is 128KiB in A and 1MiB in B":    func(s *experiment.Spec) { s.Chain.BlockSize, s.Load.TxRate = 1<<20, 8 },
		"net.supers.down is not set in A and 1gbit in B":   func(s *experiment.Spec) { s.Net.Supers.Share = .5 },
		"load.tx_rate is 8 in A and 9 in B: the runs must": func(s *experiment.Spec) { s.Load.TxRate = 9 },
		"again, B with the prices of A: [cpu] mode = \"charge\", cores = 2, signature_us = 36, hash_us = 7, transfer_us = 10": func(s *experiment.Spec) { s.CPU.HashUS = 7.25 },
		"in B: the runs must not differ in it: measure one":                                                                   func(s *experiment.Spec) { s.Engine = "process" },
	} {
		_, err := Compare(a.side(t), try{seeds: 2, blocks: 3, spec: bend}.side(t))
		if !errors.Is(err, ErrMismatch) || !strings.Contains(err.Error(), want) {
			t.Errorf("Compare() = %v, want %q", err, want)
		}
	}
	if _, err := Compare(a.side(t), try{seeds: 3, blocks: 3}.side(t)); !errors.Is(err, ErrMismatch) || !strings.Contains(err.Error(), "seeds is 1 2 in A and 1 2 3 in B") {
		t.Errorf("other seeds: %v", err)
	}
	free := func(s *experiment.Spec) { s.Gossip.D, s.Net.Degree, s.Report.Draws = 6, 12, 300 }
	if c, err := Compare(a.side(t), try{seeds: 2, blocks: 3, spec: free}.side(t)); err != nil || len(c.Differ) < 3 {
		t.Errorf("another D and degree: %v", err)
	}
}

// A block that one side never sealed has no partner; a sibling of one slot is a message of its own.
func TestPairsByTheSlot(t *testing.T) {
	a, b := try{seeds: 1, blocks: 4}.side(t), try{seeds: 1, blocks: 4, dice: 3}.side(t)
	delete(b.messages, key{seed: 1, slot: 2})
	if err := a.add(&report.DeliveryRow{Seed: 1, Block: true, ID: "0xsibling", Born: 150, Latency: 1, Size: 1}); err != nil {
		t.Fatal(err)
	}
	c, err := Compare(a, b)
	if err != nil || c.Blocks != 3 || c.Lonely != 2 {
		t.Errorf("%d pairs, %d left out, %v, want 3 and 2", c.Blocks, c.Lonely, err)
	}
}

func TestTables(t *testing.T) {
	a := try{seeds: 5, blocks: 10, dice: 1, bend: noise(.02)}
	b := try{seeds: 5, blocks: 10, dice: 2, bend: func(v float64, rng *rand.Rand) float64 { return 1.2 * v }, spec: func(s *experiment.Spec) { s.Gossip.D = 12 }}
	c := compareTries(t, a, b)
	var text, markdown strings.Builder
	if err := errors.Join(c.Table(&text), c.Markdown(&markdown)); err != nil {
		t.Fatal(err)
	}
	got, path := text.String()+"\n"+markdown.String(), filepath.Join("testdata", "compare.txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || got != string(want) {
		t.Errorf("%v, or the tables differ from %s: run go test -update and read the diff\n%s", err, path, got)
	}
}

func TestReadRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(dir); !errors.Is(err, report.ErrRun) || !strings.Contains(err.Error(), "name the folder of a run") {
		t.Errorf("an empty folder: %v", err)
	}
	for name, text := range map[string]string{report.ResultsFile: `{"schema": "` + report.Schema + `", "experiment": {"chain": {"slot": "1s"}}}`, report.DeliveriesFile: "seed,kind\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Read(dir); !errors.Is(err, report.ErrRun) || !strings.Contains(err.Error(), "its columns are not") {
		t.Errorf("deliveries of another version: %v", err)
	}
}
