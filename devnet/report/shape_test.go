package report

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/stats"
)

// message is a block with these latencies at nodes 0, 1, ...
func message(latencies ...float64) *recorder.Message {
	m := &recorder.Message{Origin: len(latencies)}
	for i, l := range latencies {
		m.Deliveries = append(m.Deliveries, recorder.Delivery{Node: i, Latency: l, Import: l, Parent: m.Origin, Hops: 1, Hop: recorder.Stages{recorder.Wire: l}})
	}
	return m
}

func TestBand(t *testing.T) {
	inf := math.Inf(1)
	var messages []*recorder.Message
	for k := range 20 { // the k-th reaches one node after k+1 ms, both after 10(k+1), but the last two only one
		both := 10 * float64(k+1)
		if k >= 18 {
			both = inf
		}
		messages = append(messages, message(both, float64(k+1)))
	}
	got := band(messages)
	want := []BandStep{{Share: .5, P5: 1, P50: 10, P95: 19}, {Share: 1, P5: 10, P50: 100, P95: stats.Number(inf)}}
	if !slices.Equal(got, want) {
		t.Errorf("band = %v, want %v", got, want)
	}
	if got := band(nil); len(got) != 0 {
		t.Errorf("band of nothing = %v", got)
	}
}

func TestRegionsHoldEveryDelivery(t *testing.T) {
	r := richResults(t)
	sum := 0
	for _, g := range r.Block.Regions {
		sum += g.Deliveries
		if last := g.Curve[len(g.Curve)-1]; math.Abs(last.Share-1+float64(g.Lost)/float64(g.Deliveries)) > 1e-6 {
			t.Errorf("%s: the curve ends at %v with %d of %d lost", g.Name, last.Share, g.Lost, g.Deliveries)
		}
	}
	if len(r.Block.Regions) != 2 || sum != r.Block.Deliveries {
		t.Errorf("%d regions with %d deliveries, want 2 with %d", len(r.Block.Regions), sum, r.Block.Deliveries)
	}
}

// Each node is given one reason to be late, and the report must name it.
func TestWorstNodesSayWhy(t *testing.T) {
	const n = 9
	run := Run{Seed: 1, Record: &recorder.Run{}}
	for range n + 1 {
		run.Record.Nodes = append(run.Record.Nodes, recorder.Load{})
	}
	for i, name := range []string{"lost", "far", "queued", "near", "a", "b", "c", "d", "e", "origin"} {
		run.Record.Nodes[i].Name = name
	}
	for k := range 4 {
		m := message(slices.Repeat([]float64{100}, n)...)
		for i := range m.Deliveries {
			m.Deliveries[i].Floor = 50
		}
		set := func(node int, latency, floor float64, stages recorder.Stages) {
			d := &m.Deliveries[node]
			d.Latency, d.Floor, d.Hop = latency, floor, stages
		}
		if k == 3 {
			set(0, math.Inf(1), 50, recorder.Stages{})
		}
		set(1, 250, 140, recorder.Stages{recorder.Wire: 250})
		set(2, 400, 50, recorder.Stages{recorder.Wire: 100, recorder.Queue: 300})
		set(3, 100, 10, recorder.Stages{recorder.Wire: 100})
		run.Record.Blocks = append(run.Record.Blocks, m)
	}
	got := worst([]Run{run})
	if len(got) != n {
		t.Fatalf("%d nodes, want the nine that were to receive", len(got))
	}
	for i, want := range []struct {
		name, reason string
		stretch      float64
	}{
		{"lost", "1 of 4 blocks never came", math.Inf(1)}, {"near", "near, with a floor of 10.0 ms", 10}, {"queued", "queue: 300 ms a block, 300 ms more", 8},
	} {
		if w := got[i]; w.Name != want.name || !strings.HasPrefix(w.Reason, want.reason) || float64(w.Stretch) != want.stretch {
			t.Errorf("worst %d is %s (%v): %q, want %s (%v): %q", i, w.Name, w.Stretch, w.Reason, want.name, want.stretch, want.reason)
		}
	}
	for _, w := range got {
		if w.Name == "far" && !strings.HasPrefix(w.Reason, "far away") {
			t.Errorf("far: %q", w.Reason)
		}
	}
}

func TestLifecycle(t *testing.T) {
	ms := int64(1e6)
	early := &recorder.Message{Born: ms, Admitted: 2 * ms, Published: 6 * ms, Placed: 500 * ms, Deliveries: message(10, 20, 30).Deliveries}
	late := &recorder.Message{Born: ms, Admitted: 4 * ms, Published: 8 * ms, Deliveries: message(30, 40, 50).Deliveries}
	for i := range late.Deliveries {
		late.Deliveries[i].Import = math.Inf(1)
	}
	inf := stats.Number(math.Inf(1))
	want := []LifeStep{
		{P5: 1, P50: 1, P95: 3, N: 2}, {P5: 5, P50: 5, P95: 7, N: 2}, {P5: 20, P50: 20, P95: 40, N: 2}, {P5: 30, P50: 30, P95: 50, N: 2},
		{P5: 499, P50: 499, P95: inf, N: 2, Lost: 1}, {P5: 30, P50: 30, P95: inf, N: 2, Lost: 1},
	}
	for i, got := range lifecycle([]*recorder.Message{early, late}) {
		if want[i].Step = lifeSteps[i].name; got != want[i] {
			t.Errorf("step %d = %+v, want %+v", i, got, want[i])
		}
	}
}

func TestDistance(t *testing.T) {
	a := []Point{{1, .25}, {2, .5}, {3, .75}, {4, 1}}
	for _, tt := range []struct {
		name string
		b    []Point
		want float64
	}{
		{"itself", a, 0}, {"later by one", []Point{{2, .25}, {3, .5}, {4, .75}, {5, 1}}, .25},
		{"wholly later", []Point{{9, 1}}, 1}, {"half lost", []Point{{1, .25}, {2, .5}}, .5}, {"nothing", nil, math.NaN()},
	} {
		for _, got := range []float64{distance(a, tt.b), distance(tt.b, a)} {
			if got != tt.want && !(math.IsNaN(got) && math.IsNaN(tt.want)) {
				t.Errorf("%s: distance %v, want %v", tt.name, got, tt.want)
			}
		}
	}
}

func TestLayOver(t *testing.T) {
	r, _ := syntheticResults(t, 8, 0)
	base, _ := syntheticResults(t, 8, 9)
	base.Experiment.Net.Relay, base.Experiment.Engine, base.Experiment.Name = "coded", "virtual", "other"
	if err := r.LayOver(base); err != nil {
		t.Fatal(err)
	}
	o := r.Overlays[0]
	if want := []Difference{{"engine", "process", "virtual"}, {"net.relay", "auto", "coded"}}; !slices.Equal(o.Differences, want) {
		t.Errorf("differences %v, want %v: the name is none", o.Differences, want)
	}
	if o.Name != "virtual engine, coded" || o.Block.Lost != base.Block.Lost || o.Summary["block.p50_ms"] != base.Summary["block.p50_ms"] {
		t.Errorf("overlay %q with %d lost, want the other run's", o.Name, o.Block.Lost)
	}
	if want := float64(r.Summary["block.p50_ms"].Value / base.Summary["block.p50_ms"].Value); float64(o.Block.P50) != want || o.Block.P99.Valid() {
		t.Errorf("ratios %v and %v, want %v and none: the other p99 was not delivered", o.Block.P50, o.Block.P99, want)
	}
	if float64(o.Block.KS) < float64(base.Block.Lost)/140 {
		t.Errorf("KS distance %v, want at least the share that was lost", o.Block.KS)
	}
}

func TestReadReturnsWhatWasWritten(t *testing.T) {
	r, runs := syntheticResults(t, 4, 0)
	dir := t.TempDir() + "/run"
	if _, err := ReadResults(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("Read of nothing: %v", err)
	}
	dir, err := NewFolder(dir, r.Experiment)
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, r, runs); err != nil {
		t.Fatal(err)
	}
	back, err := ReadResults(dir)
	if err != nil {
		t.Fatal(err)
	}
	was, _ := r.JSON()
	is, _ := back.JSON()
	if string(was) != string(is) {
		t.Error("results.json changes when it is read and written again")
	}
}

// A stretch below 1 is explained wherever it stands.
func TestBelowTheFloorIsSaid(t *testing.T) {
	r := richResults(t)
	for _, value := range []stats.Number{1.2, .9} {
		r.Summary["block.stretch_p95"] = stats.Bare(float64(value), 140, "")
		var table, page strings.Builder
		if err := errors.Join(Table(&table, r), Page(&page, r)); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"table": table.String(), "page": page.String()} {
			if got := strings.Contains(text, "The stretch is below 1"); got != (value < 1) {
				t.Errorf("stretch %v: the %s explains it: %v", value, name, got)
			}
		}
	}
}

func TestWorstTicksKeepTheWorst(t *testing.T) {
	inf, none := stats.Number(math.Inf(1)), stats.None()
	got := worstTicks([]Tick{
		{AtMS: 0, Up: 8, Heads: 1, Coverage: none, C95: none}, {AtMS: 1000, Up: 7, Heads: 3, Coverage: .5, C95: inf}, {AtMS: 2000, Up: 8, Heads: 1, Coverage: 1, C95: 20},
		{AtMS: 3000, Up: 8, Heads: 1, Coverage: 1, C95: 10},
	}, 3)
	if len(got) != 2 || got[0].Up != 7 || got[0].Heads != 3 || got[0].Coverage != .5 || got[0].C95 != inf || got[1].C95 != 10 {
		t.Errorf("worstTicks = %+v", got)
	}
}
