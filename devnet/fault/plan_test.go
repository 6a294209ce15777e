package fault

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/p2p/link"
)

const sec = experiment.Duration(time.Second)

// plan makes the schedule of faults over ten nodes in virtual time.
func plan(t testing.TB, seed int64, faults ...experiment.Fault) (*Plan, error) {
	t.Helper()
	s := experiment.Spec{Engine: "virtual", Fault: faults}
	s.Net.Nodes = 10
	s.Resolve()
	links, err := s.LinkConfig(seed)
	if err != nil {
		t.Fatal(err)
	}
	return New(s, links, seed)
}

// text is a schedule in words.
func text(p *Plan) (lines []string) {
	for _, a := range p.Actions {
		verb := [...]string{"note", "kill", "start", "pause", "resume", "bend"}[a.Do]
		if a.Do == Nothing {
			verb = map[bool]string{true: "begin", false: "end"}[a.Begin]
		}
		line := fmt.Sprintf("%v %s %s %v", a.At, p.Occurrences[a.Of].Kind, verb, a.Nodes)
		if a.Do == Deform {
			line += fmt.Sprintf(" %+v", a.Bends)
		}
		lines = append(lines, line)
	}
	for _, c := range p.Changes {
		lines = append(lines, fmt.Sprintf("%v %T%v", c.At, c.Do, c.Do))
	}
	return lines
}

func TestSchedules(t *testing.T) {
	for _, tt := range []struct {
		name   string
		faults []experiment.Fault
		want   []string
	}{
		{"a partition heals", []experiment.Fault{{At: 5 * sec, For: 3 * sec, Partition: []experiment.Nodes{"0-3", "4-6"}}}, []string{
			"5s partition begin [0 1 2 3 4 5 6]", "8s partition end [0 1 2 3 4 5 6]",
			"5s link.Partition{[[0 1 2 3] [4 5 6]]}", "8s link.Heal{}",
		}},
		{"two kills of one node add up", []experiment.Fault{{At: sec, For: 4 * sec, Kill: "1,2"}, {At: 2 * sec, For: 5 * sec, Kill: "2,3"}, {At: 3 * sec, Kill: "9"}}, []string{
			"1s kill kill [1 2]", "2s kill kill [3]", "3s kill kill [9]", "5s kill start [1]", "7s kill start [2 3]",
		}},
		{"who joins late may be killed before", []experiment.Fault{{At: 4 * sec, Join: "8"}, {At: 2 * sec, For: 4 * sec, Kill: "8"}}, []string{
			"2s kill kill []", "4s join start []", "6s kill start [8]",
		}},
		{"a pause inside a partition stays alone", []experiment.Fault{{At: sec, For: 4 * sec, Partition: []experiment.Nodes{"0-4"}}, {At: 2 * sec, For: 6 * sec, Pause: "3"}}, []string{
			"1s partition begin [0 1 2 3 4]", "2s pause pause [3]", "5s partition end [0 1 2 3 4]", "8s pause resume [3]",
			"1s link.Partition{[[0 1 2 3 4]]}", "2s link.Partition{[[0 1 2 4] [3]]}", "5s link.Partition{[[3]]}", "8s link.Heal{}",
		}},
		{"one partition follows another", []experiment.Fault{{At: sec, For: sec, Partition: []experiment.Nodes{"0"}}, {At: 2 * sec, For: sec, Partition: []experiment.Nodes{"1"}}}, []string{
			"1s partition begin [0]", "2s partition end [0]", "2s partition begin [1]", "3s partition end [1]",
			"1s link.Partition{[[0]]}", "2s link.Partition{[[1]]}", "3s link.Heal{}",
		}},
		{"links change and change back", []experiment.Fault{{At: sec, For: sec, Link: []experiment.Nodes{"0", "1"}, Add: sec, Loss: .5}, {At: 3 * sec, For: sec, Rates: "2", Up: "1mbit", Down: "2mbit"}}, []string{
			"1s link begin [0 1]", "2s link end [0 1]", "3s rates begin [2]", "4s rates end [2]",
			"1s link.Slow{[0] [1] 1s}", "1s link.Lossy{[0] [1] 0.5}", "2s link.Restore{[0] [1]}",
			"3s link.Rates{[2] 1mbit 2mbit}", "4s link.Rates{[2] 50mbit 50mbit}",
		}},
		{"the end of one link fault leaves the other", []experiment.Fault{{At: sec, For: 4 * sec, Link: []experiment.Nodes{"0-2", "3"}, Add: sec}, {At: 2 * sec, For: sec, Link: []experiment.Nodes{"0", "3"}, Loss: .5}}, []string{
			"1s link begin [0 1 2 3]", "2s link begin [0 3]", "3s link end [0 3]", "5s link end [0 1 2 3]",
			"1s link.Slow{[0 1 2] [3] 1s}", "2s link.Lossy{[0] [3] 0.5}",
			"3s link.Restore{[0] [3]}", "3s link.Slow{[0 1 2] [3] 1s}", "5s link.Restore{[0 1 2] [3]}",
		}},
		{"one link fault follows another that stands below it", []experiment.Fault{{At: 2 * sec, Link: []experiment.Nodes{"0", "1"}, Add: sec}, {At: sec, For: sec, Link: []experiment.Nodes{"0", "1"}, Loss: .5}}, []string{
			"1s link begin [0 1]", "2s link end [0 1]", "2s link begin [0 1]",
			"1s link.Lossy{[0] [1] 0.5}", "2s link.Restore{[0] [1]}", "2s link.Slow{[0] [1] 1s}",
		}},
		{"roles and clocks add up", []experiment.Fault{{At: sec, For: 3 * sec, Silent: "1"}, {At: 2 * sec, Skew: "1,2", By: -sec}, {At: 3 * sec, For: 3 * sec, Equivocate: "2"}}, []string{
			"1s silent bend [1] [{Skew:0s Silent:true Equivocate:false}]",
			"2s skew bend [1 2] [{Skew:-1s Silent:true Equivocate:false} {Skew:-1s Silent:false Equivocate:false}]",
			"3s equivocate bend [2] [{Skew:-1s Silent:false Equivocate:true}]",
			"4s silent bend [1] [{Skew:-1s Silent:false Equivocate:false}]",
			"6s equivocate bend [2] [{Skew:-1s Silent:false Equivocate:false}]",
		}},
		{"a set churns whole", []experiment.Fault{{At: sec, For: 5 * sec, Churn: "4,5", Every: 2 * sec}}, []string{
			"1s churn kill [4 5]", "3s churn start [4 5]", "5s churn kill [4 5]", "7s churn start [4 5]",
		}},
	} {
		p, err := plan(t, 1, tt.faults...)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := text(p); !slices.Equal(got, tt.want) {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
		}
	}
}

// TestDrawn: shares are drawn by seed, churn never strikes a node twice in a row.
func TestDrawn(t *testing.T) {
	f := []experiment.Fault{{At: sec, Kill: "50%"}, {At: 2 * sec, For: 9 * sec, Churn: "40%", Every: sec}}
	p, err := plan(t, 1, f...)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := plan(t, 1, f...)
	other, _ := plan(t, 2, f...)
	if !reflect.DeepEqual(text(p), text(again)) || reflect.DeepEqual(text(p), text(other)) {
		t.Errorf("seed 1 twice and seed 2 once:\n%v\n%v\n%v", text(p), text(again), text(other))
	}
	var before []int
	strikes := 0
	for _, o := range p.Occurrences {
		if o.Kind != "churn" {
			if len(o.Nodes) != 5 {
				t.Errorf("%d nodes are half of ten", len(o.Nodes))
			}
			continue
		}
		strikes++
		if len(o.Nodes) != 4 || o.End != o.At+time.Second {
			t.Errorf("churn strikes %+v, want four nodes for 1s", o)
		}
		for _, i := range o.Nodes {
			if slices.Contains(before, i) {
				t.Errorf("churn strikes %d twice in a row", i)
			}
		}
		before = o.Nodes
	}
	if strikes != 9 {
		t.Errorf("churn strikes %d times, want 9", strikes)
	}
}

// TestLaws: whatever the faults, nobody is killed who is down, or started who is up, and times do
// not run backwards.
func TestLaws(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var faults []experiment.Fault
		for range rapid.IntRange(0, 8).Draw(rt, "faults") {
			f := experiment.Fault{At: experiment.Duration(rapid.IntRange(0, 20).Draw(rt, "at")) * sec}
			set := experiment.Nodes(rapid.SampledFrom([]string{"0", "1-3", "30%", "2,5"}).Draw(rt, "set"))
			kind := rapid.IntRange(0, 4).Draw(rt, "kind")
			if kind != 3 {
				f.For = experiment.Duration(rapid.IntRange(1, 9).Draw(rt, "for")) * sec
			}
			switch kind {
			case 0:
				f.Kill = set
			case 1:
				f.Churn, f.Every = set, 2*sec
			case 2:
				f.Pause = set
			case 3:
				f.Join = set
			case 4:
				f.Partition = []experiment.Nodes{set}
			}
			faults = append(faults, f)
		}
		p, err := plan(t, rapid.Int64().Draw(rt, "seed"), faults...)
		if err != nil {
			rt.Fatal(err)
		}
		up, runs := make([]bool, 10), make([]bool, 10)
		for i := range up {
			up[i], runs[i] = !slices.Contains(p.Absent, i), true
		}
		last := time.Duration(0)
		for _, a := range p.Actions {
			if a.At < last {
				rt.Fatalf("%v after %v", a.At, last)
			}
			last = a.At
			for _, i := range a.Nodes {
				switch a.Do {
				case Kill, Start:
					if up[i] == (a.Do == Start) {
						rt.Fatalf("at %v node %d: up is %t before %+v", a.At, i, up[i], a)
					}
					up[i] = a.Do == Start
				case Pause, Resume:
					if runs[i] == (a.Do == Resume) {
						rt.Fatalf("at %v node %d: running is %t before %+v", a.At, i, runs[i], a)
					}
					runs[i] = a.Do == Resume
				}
			}
		}
		cfg := p.links
		cfg.Schedule = p.Changes
		if _, err := link.NewLinks(cfg); err != nil {
			rt.Fatalf("the link model refuses the changes: %v", err)
		}
	})
}

// TestLinkLaws: whatever faults overlap, at each instant a link is what the newest fault in force says
// of it, and what it was where none does.
func TestLinkLaws(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var faults []experiment.Fault
		for k := range rapid.IntRange(1, 8).Draw(rt, "faults") {
			f := experiment.Fault{
				At:  experiment.Duration(rapid.IntRange(0, 8).Draw(rt, "at")) * sec,
				For: experiment.Duration(rapid.IntRange(0, 5).Draw(rt, "for")) * sec,
			}
			set := func() experiment.Nodes {
				return experiment.Nodes(rapid.SampledFrom([]string{"0", "1", "0-2", "1,3"}).Draw(rt, "set"))
			}
			switch rapid.IntRange(0, 2).Draw(rt, "kind") {
			case 0:
				f.Link, f.Add = []experiment.Nodes{set(), set()}, experiment.Duration(k+1)*sec
			case 1:
				f.Link, f.Loss = []experiment.Nodes{set(), set()}, float64(k+1)/20
			case 2:
				f.Rates, f.Up, f.Down = set(), fmt.Sprintf("%dmbit", k+1), fmt.Sprintf("%dmbit", k+11)
			}
			faults = append(faults, f)
		}
		p, err := plan(t, 1, faults...)
		if err != nil {
			rt.Fatal(err)
		}
		links, err := link.NewLinks(p.links)
		if err != nil {
			rt.Fatal(err)
		}
		before, changes := *links, p.Changes
		for at := time.Duration(0); at < 15*time.Second; at += time.Second {
			for len(changes) > 0 && changes[0].At <= at {
				if err := links.Apply(changes[0].Do); err != nil {
					rt.Fatal(err)
				}
				changes = changes[1:]
			}
			for a := range 4 {
				for b := range a {
					add, loss := time.Duration(0), before.Path(a, b).Loss
					for _, f := range inForce(p, at) {
						in := func(k, i int) bool { return slices.Contains(nodesOf(t, f.Link[k]), i) }
						if f.Kind() != "link" || !(in(0, a) && in(1, b) || in(0, b) && in(1, a)) {
							continue
						}
						if f.Add > 0 {
							add = f.Add.D()
						}
						if f.Loss > 0 {
							loss = f.Loss
						}
					}
					if got := links.Path(a, b); got.Loss != loss || got.Min != before.Path(a, b).Min+add {
						rt.Fatalf("at %v link %d-%d has %v more delay and loss %g, want %v and %g\n%s", at, a, b, got.Min-before.Path(a, b).Min, got.Loss, add, loss, strings.Join(text(p), "\n"))
					}
				}
				want := p.links.Nodes[a]
				for _, f := range inForce(p, at) {
					if f.Kind() == "rates" && slices.Contains(nodesOf(t, f.Rates), a) {
						want.Up, _ = link.ParseRate(f.Up)
						want.Down, _ = link.ParseRate(f.Down)
					}
				}
				if got := links.Node(a); got != want {
					rt.Fatalf("at %v node %d is %+v, want %+v\n%s", at, a, got, want, strings.Join(text(p), "\n"))
				}
			}
		}
	})
}

// inForce are the faults that hold at an instant, the newest last.
func inForce(p *Plan, at time.Duration) (out []experiment.Fault) {
	for _, o := range p.Occurrences {
		if o.At <= at && (o.End == 0 || at < o.End) {
			out = append(out, p.spec.Fault[o.Entry])
		}
	}
	return out
}

func nodesOf(t *testing.T, set experiment.Nodes) []int {
	t.Helper()
	nodes, err := set.Pick(10, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return nodes
}

func TestRefused(t *testing.T) {
	if _, err := plan(t, 1, experiment.Fault{Partition: []experiment.Nodes{"0-3", "3-4"}}); !errors.Is(err, experiment.ErrInvalid) || !strings.Contains(err.Error(), "fault 1: partition: a node is in two groups") {
		t.Errorf("a node in two groups: %v", err)
	}
	s := experiment.Default()
	s.Fault = []experiment.Fault{{At: sec, Partition: []experiment.Nodes{"0"}}}
	if _, err := New(s, link.Config{}, 1); !errors.Is(err, experiment.ErrInvalid) || !strings.Contains(err.Error(), "net.latency") {
		t.Errorf("a partition of unshaped links: %v", err)
	}
	s.Fault = []experiment.Fault{{At: sec, For: sec, Pause: "0"}}
	if p, err := New(s, link.Config{}, 1); err != nil || len(p.Changes) != 0 || len(p.Actions) != 2 {
		t.Errorf("a pause of a process: %v, %v, want no change of links", p, err)
	}
}
