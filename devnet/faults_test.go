package devnet

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/fault"
	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/p2p/link"
	"github.com/pheme-net/pheme/p2p/trace"
)

// strictRig is a rig of nothing, on which a node takes a second to start. It refuses what no node can
// do: one that is down does nothing, one that is stopped answers nobody.
type strictRig struct {
	mu    sync.Mutex
	began time.Time
	nodes []strictNode
	log   []string
}

type strictNode struct {
	down, stopped bool
	bend          fault.Bend
}

// act does something to a node that must be up, and running unless the deed is a signal.
func (r *strictRig) act(i int, signal bool, deed string, f func(n *strictNode)) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := &r.nodes[i]
	if n.down || n.stopped && !signal {
		return "", fmt.Errorf("%s n%d at %v: it is %+v", deed, i, time.Since(r.began), *n)
	}
	if f != nil {
		f(n)
		r.log = append(r.log, fmt.Sprintf("%v %s n%d", time.Since(r.began).Truncate(lookEvery), deed, i)) // start looks more often
	}
	return "seen", nil
}

func (r *strictRig) follow(context.Context, []link.Timed, time.Time) error { return nil }

func (r *strictRig) kill(i int) (string, error) {
	return r.act(i, true, "kill", func(n *strictNode) { *n = strictNode{down: true} })
}

func (r *strictRig) start(_ context.Context, i int) error {
	time.Sleep(time.Second)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nodes[i] = strictNode{}
	r.log = append(r.log, fmt.Sprintf("%v start n%d", time.Since(r.began), i))
	return nil
}

func (r *strictRig) connect(_ context.Context, i int, _ []bool) error {
	_, err := r.act(i, false, "connect", func(*strictNode) {})
	return err
}

func (r *strictRig) lacks(_ context.Context, i int, _ []bool) (string, error) {
	_, err := r.act(i, false, "ask", nil)
	return "", err
}

func (r *strictRig) bend(_ context.Context, i int, b fault.Bend) error {
	_, err := r.act(i, false, "bend", func(n *strictNode) { n.bend = b })
	return err
}

func (r *strictRig) pause(i int) (string, error) {
	return r.act(i, true, "pause", func(n *strictNode) { n.stopped = true })
}

func (r *strictRig) resume(i int) error {
	_, err := r.act(i, true, "resume", func(n *strictNode) { n.stopped = false })
	return err
}

func (r *strictRig) tally(_ context.Context, i int) (t tally, err error) {
	_, err = r.act(i, false, "tally", func(n *strictNode) { t.Bend = n.bend })
	r.mu.Lock()
	r.log = slices.DeleteFunc(r.log, func(l string) bool { return strings.Contains(l, "tally") })
	r.mu.Unlock()
	return t, err
}

// TestPausesOverlapOthers: a node is never asked for what it cannot do, is stopped whenever it runs
// inside a pause, and goes on as what the faults in force make of it.
func TestPausesOverlapOthers(t *testing.T) {
	pause := experiment.Fault{At: 2 * sec, For: 8 * sec, Pause: "1"}
	for _, tt := range []struct {
		name string
		with []experiment.Fault
		want []string // in the order of their times
	}{
		{"killed and started inside the pause", []experiment.Fault{{At: 4 * sec, For: 2 * sec, Kill: "1"}},
			[]string{"2s pause n1", "4s kill n1", "7s start n1", "7s pause n1", "10s resume n1", "10s connect n1"}},
		{"killed before, started inside", []experiment.Fault{{At: sec, For: 4 * sec, Kill: "1"}},
			[]string{"1s kill n1", "6s start n1", "6s pause n1", "10s resume n1", "10s connect n1"}},
		{"killed inside, started after", []experiment.Fault{{At: 4 * sec, For: 8 * sec, Kill: "1"}},
			[]string{"2s pause n1", "4s kill n1", "13s start n1", "13s connect n1"}},
		{"starting as the pause begins", []experiment.Fault{{At: 500 * ms, For: sec, Kill: "1"}},
			[]string{"500ms kill n1", "2.5s start n1", "2.5s pause n1", "10s resume n1", "10s connect n1"}},
		{"joins inside the pause", []experiment.Fault{{At: 5 * sec, Join: "1"}},
			[]string{"6s start n1", "6s pause n1", "10s resume n1", "10s connect n1"}},
		{"killed twice inside the pause", []experiment.Fault{{At: 3 * sec, For: sec, Kill: "1"}, {At: 6 * sec, For: sec, Kill: "1"}},
			[]string{"2s pause n1", "3s kill n1", "5s start n1", "5s pause n1", "6s kill n1", "8s start n1", "8s pause n1", "10s resume n1", "10s connect n1"}},
		{"bent inside the pause", []experiment.Fault{{At: 4 * sec, Skew: "1", By: sec}},
			[]string{"2s pause n1", "10s resume n1", "10s bend n1"}},
		{"bent as it starts inside the pause", []experiment.Fault{{At: sec, Skew: "1", By: sec}, {At: 4 * sec, For: 2 * sec, Kill: "1"}},
			[]string{"1s bend n1", "2s pause n1", "4s kill n1", "7s start n1", "7s pause n1", "10s resume n1", "10s bend n1", "10s connect n1"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := experiment.Spec{Fault: append(slices.Clone(tt.with), pause)}
			s.Net.Nodes = 3
			s.Resolve()
			plan, err := fault.New(s, link.Config{}, 1)
			if err != nil {
				t.Fatal(err)
			}
			r := &strictRig{began: time.Now(), nodes: make([]strictNode, 3)}
			for _, i := range plan.Absent {
				r.nodes[i].down = true
			}
			f := newFaultRun(plan, r, trace.NewClock(), 3)
			f.begin = r.began
			if err := f.run(t.Context()); err != nil {
				t.Fatalf("%s: %v\n%s", tt.name, err, strings.Join(r.log, "\n"))
			}
			if err := f.finish(t.Context()); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			if !slices.Equal(r.log, tt.want) {
				t.Errorf("%s:\n%s\nwant\n%s", tt.name, strings.Join(r.log, "\n"), strings.Join(tt.want, "\n"))
			}
			for of, m := range f.marks {
				if len(m.failed) > 0 || len(m.proofs) == 0 {
					t.Errorf("%s: %s: proofs %q, failed %q", tt.name, plan.Occurrences[of].Kind, m.proofs, m.failed)
				}
			}
			if spans := f.upSpans(1); len(spans) > 2 || !f.up()[1] {
				t.Errorf("%s: n1 belongs to E in %v, is up: %t", tt.name, spans, f.up()[1])
			}
			if n := r.nodes[1]; n.bend != f.bends[1] {
				t.Errorf("%s: n1 is bent by %+v, want %+v", tt.name, n.bend, f.bends[1])
			}
		})
	}
}

// TestFaultsAreObserved: a run goes on until what follows its faults has been seen for a horizon, which is ten seconds; where it
// has not, it is not said that heads were never equal. The window has twenty.
func TestFaultsAreObserved(t *testing.T) {
	for _, tt := range []struct {
		name    string
		members string
		fault   experiment.Fault
		want    time.Duration // since the window began, at the least
		heads   float64       // equal after so many ms, of heads that never are
	}{
		{"a kill", "full", experiment.Fault{At: 19 * sec, Kill: "1"}, 29 * time.Second, math.NaN()},
		{"a kill that nobody looks for", "off", experiment.Fault{At: 19 * sec, Kill: "1"}, 19 * time.Second, math.NaN()},
		{"a kill after the window", "full", experiment.Fault{At: 21 * sec, Kill: "1"}, 21 * time.Second, math.NaN()},
		{"a start", "off", experiment.Fault{At: 10 * sec, For: 8 * sec, Kill: "1"}, 28 * time.Second, math.Inf(1)},
		{"a join", "full", experiment.Fault{At: 19 * sec, Join: "1"}, 29 * time.Second, math.Inf(1)},
		{"the end of a pause", "full", experiment.Fault{At: 15 * sec, For: 4 * sec, Pause: "1"}, 29 * time.Second, math.Inf(1)},
		{"the end of a pause after the window", "full", experiment.Fault{At: 15 * sec, For: 8 * sec, Pause: "1"}, 23 * time.Second, math.NaN()},
		{"a heal after the window", "off", experiment.Fault{At: 15 * sec, For: 8 * sec, Partition: []experiment.Nodes{"1"}}, 33 * time.Second, math.Inf(1)},
		{"what lasts", "full", experiment.Fault{At: 19 * sec, Skew: "1", By: sec}, 19 * time.Second, math.NaN()},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := virtualSpec(3, 20, "uniform:20ms")
			s.Net.Members, s.Fault = tt.members, []experiment.Fault{tt.fault}
			s.Resolve()
			links, err := s.LinkConfig(1)
			if err != nil {
				t.Fatal(err)
			}
			plan, err := fault.New(s, links, 1)
			if err != nil {
				t.Fatal(err)
			}
			r := &strictRig{began: time.Now(), nodes: make([]strictNode, 3)}
			for _, i := range plan.Absent {
				r.nodes[i].down = true
			}
			f := newFaultRun(plan, r, trace.ClockAt(r.began, 0), 3)
			f.begin = r.began
			for _, step := range []func(context.Context) error{f.run, f.observe, f.finish} {
				if err := step(t.Context()); err != nil {
					t.Fatalf("%s: %v", tt.name, err)
				}
			}
			if took := time.Since(r.began); took != tt.want {
				t.Errorf("%s: the run may end after %v, want %v", tt.name, took, tt.want)
			}
			in := recorder.Input{Horizon: plan.Horizon(), Nodes: make([]recorder.Node, 3)}
			for i := range in.Nodes {
				in.Nodes[i].Events = []trace.Event{{Kind: trace.HeadChanged, Hash: [32]byte{byte(i)}}}
			}
			if got := float64(f.results(in)[0].HeadsEqual); got != tt.heads && !(math.IsNaN(got) && math.IsNaN(tt.heads)) {
				t.Errorf("%s: heads are equal after %v ms, want %v", tt.name, got, tt.heads)
			}
		})
	}
}
