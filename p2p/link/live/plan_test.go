package live

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/pheme-net/pheme/p2p/link"
)

// planConfig has one change of each kind.
func planConfig(t testing.TB) link.Config {
	cfg := config(t, 3, "uniform:5ms:0s", 8*link.Mbit)
	cfg.Loss, cfg.Reorder, cfg.LossCC, cfg.Seed = .01, .02, link.None, 7
	cfg.Schedule = []link.Timed{
		{At: time.Second, Do: link.Partition{Groups: [][]int{{0}, {1, 2}}}},
		{At: 2 * time.Second, Do: link.Heal{}},
		{At: 3 * time.Second, Do: link.Slow{A: []int{1}, Add: time.Second}},
		{At: 4 * time.Second, Do: link.Lossy{B: []int{2}, Loss: .3}},
		{At: 5 * time.Second, Do: link.Restore{A: []int{0}}},
		{At: 5 * time.Second, Do: link.Rates{Nodes: []int{0}, Up: link.Mbit}},
	}
	return cfg
}

// TestPlan: what is written is what is read, and a shaper takes it.
func TestPlan(t *testing.T) {
	cfg, start := planConfig(t), time.Unix(5, 17)
	p := NewPlan(cfg, "uniform:5ms", "0s", start)
	path := filepath.Join(t.TempDir(), "links.json")
	if err := p.Write(path); err != nil {
		t.Fatal(err)
	}
	read, err := ReadPlan(path)
	if err != nil || !reflect.DeepEqual(read, p) {
		t.Fatalf("ReadPlan() = %+v, %v, want %+v", read, err, p)
	}
	got, began, err := read.Config()
	if got.Table == nil || got.Table.Path(7, 0, 0, 1, 0) != cfg.Table.Path(7, 0, 0, 1, 0) {
		t.Errorf("the table is another one: %+v", got.Table)
	}
	whole := got
	got.Table, cfg.Table = nil, nil
	if err != nil || !began.Equal(start) || !reflect.DeepEqual(got, cfg) {
		t.Fatalf("Config() = %+v, %v, %v, want %+v, %v", got, began, err, cfg, start)
	}
	if _, err := New(whole, 2, began); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadPlan(path + "x"); !errors.Is(err, ErrPlan) {
		t.Errorf("ReadPlan() of no file = %v", err)
	}
}

func TestPlanRefused(t *testing.T) {
	for _, text := range []string{
		``, `{`, `{"version":2}`, `{"version":1,"schedule":[{"at_ns":1}]}`,
		`{"version":1,"schedule":[{"at_ns":1,"heal":{},"slow":{}}]}`,
	} {
		if _, err := DecodePlan([]byte(text)); !errors.Is(err, ErrPlan) {
			t.Errorf("DecodePlan(%s) = %v, want ErrPlan", text, err)
		}
	}
	for _, p := range []Plan{{Version: 1, Latency: "moon", LossCC: "reno"}, {Version: 1, Latency: "lan", Jitter: "often", LossCC: "reno"}, {Version: 1, Latency: "lan", LossCC: "hope"}} {
		if _, _, err := p.Config(); !errors.Is(err, ErrPlan) {
			t.Errorf("Config() of %+v = %v, want ErrPlan", p, err)
		}
	}
}

// FuzzDecodePlan: what decodes has a schedule in the model's terms, and comes back the same.
func FuzzDecodePlan(f *testing.F) {
	p := NewPlan(planConfig(f), "lan", "", time.Unix(0, 1))
	text, err := json.Marshal(p)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"version":1,"schedule":[{"at_ns":1,"heal":{}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := DecodePlan(text)
		if err != nil {
			return
		}
		timed, err := p.Timed()
		if err != nil {
			t.Fatal(err)
		}
		again := p
		again.Schedule = nil
		again.Extend(timed)
		if len(again.Schedule) != len(p.Schedule) {
			t.Fatalf("%d steps became %d", len(p.Schedule), len(again.Schedule))
		}
		for i := range p.Schedule {
			if !reflect.DeepEqual(again.Schedule[i], p.Schedule[i]) {
				t.Fatalf("step %d: %+v became %+v", i, p.Schedule[i], again.Schedule[i])
			}
		}
	})
}

// TestExtend grows the schedules of two running shapers: the partition stops what is written, is
// counted, and its heal is told.
func TestExtend(t *testing.T) {
	l := newLab(t, config(t, 2, "uniform:1ms:0s", 0))
	from, to := l.dial(0, 1)
	l.transfer(from, to, 1000)
	extend := func(c link.Change) {
		t.Helper()
		at := time.Since(l.start)
		for _, s := range l.shapers {
			if err := s.Extend([]link.Timed{{At: at, Do: c}}); err != nil {
				t.Fatal(err)
			}
			if err := s.Extend([]link.Timed{{Do: c}}); err == nil {
				t.Error("Extend() took a change from before the last one")
			}
		}
	}
	extend(link.Partition{Groups: [][]int{{0}}})
	arrived := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { l.transfer(from, to, 1000); close(arrived) })
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for l.shapers[1].Count().Cut == 0 {
		<-look.C
	}
	select {
	case <-arrived:
		t.Error("1000 bytes crossed the cut")
	default:
	}
	extend(link.Heal{})
	wg.Wait()
	for _, s := range l.shapers {
		<-s.Heals()
	}
}
