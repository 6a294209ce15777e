package fault

import (
	"cmp"
	"reflect"
	"slices"
	"time"

	"github.com/pheme-net/pheme/p2p/link"
)

// edge is the beginning or the end of an occurrence.
type edge struct {
	at    time.Duration
	of    int
	begin bool
}

// state is what holds at an instant, for every node.
type state struct {
	down, paused []int   // by how many faults
	bent         [][]int // by which occurrences
	parted       []int   // partitions in force, in the order of their beginnings
	cut          [][]int // groups that the link model has; nil: none
	// Those that change links or rates: in force in the order of their beginnings, begun and ended at
	// this instant.
	linked, began, ended []int
}

// act derives the actions and the cuts from the occurrences.
func (p *Plan) act() {
	var edges []edge
	for i, o := range p.Occurrences {
		edges = append(edges, edge{o.At, i, true})
		if o.End != 0 {
			edges = append(edges, edge{o.End, i, false})
		}
	}
	slices.SortStableFunc(edges, func(a, b edge) int {
		if a.at == b.at && a.begin != b.begin { // what ends makes room for what begins
			if b.begin {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.at, b.at)
	})
	n := p.spec.Net.Nodes
	s := &state{down: make([]int, n), paused: make([]int, n), bent: make([][]int, n)}
	for _, o := range p.Occurrences {
		if o.Kind == "join" {
			for _, i := range o.Nodes {
				s.down[i]++
			}
		}
	}
	for k, e := range edges {
		p.Actions = append(p.Actions, p.step(s, e))
		if k+1 == len(edges) || edges[k+1].at > e.at {
			p.relink(s, e.at)
			p.recut(s, e.at)
		}
	}
}

// step takes one edge into the state and returns what is to be done.
func (p *Plan) step(s *state, e edge) Action {
	o := &p.Occurrences[e.of]
	a := Action{At: e.at, Of: e.of, Begin: e.begin}
	count := func(of []int, up bool, deed Deed) { // the nodes whose count leaves or reaches zero
		a.Do = deed
		for _, i := range o.Nodes {
			before := of[i]
			if up {
				of[i]++
			} else {
				of[i]--
			}
			if before == 0 || of[i] == 0 {
				a.Nodes = append(a.Nodes, i)
			}
		}
	}
	switch o.Kind {
	case "kill", "churn":
		count(s.down, e.begin, map[bool]Deed{true: Kill, false: Start}[e.begin])
	case "join":
		count(s.down, false, Start)
	case "pause":
		count(s.paused, e.begin, map[bool]Deed{true: Pause, false: Resume}[e.begin])
	case "skew", "silent", "equivocate":
		a.Do = Deform
		for _, i := range o.Nodes {
			if e.begin {
				s.bent[i] = append(s.bent[i], e.of)
			} else {
				s.bent[i] = slices.DeleteFunc(s.bent[i], func(of int) bool { return of == e.of })
			}
			a.Nodes = append(a.Nodes, i)
			a.Bends = append(a.Bends, p.bend(s.bent[i]))
		}
	case "partition":
		if e.begin {
			s.parted = append(s.parted, e.of)
		} else {
			s.parted = slices.DeleteFunc(s.parted, func(of int) bool { return of == e.of })
		}
		a.Nodes = o.Nodes
	case "link", "rates":
		if e.begin {
			s.linked, s.began = append(s.linked, e.of), append(s.began, e.of)
		} else {
			s.linked = slices.DeleteFunc(s.linked, func(of int) bool { return of == e.of })
			s.ended = append(s.ended, e.of)
		}
		a.Nodes = o.Nodes
	default:
		a.Nodes = o.Nodes
	}
	return a
}

// bend is what the occurrences make of a node together; skews add up.
func (p *Plan) bend(of []int) (b Bend) {
	for _, i := range of {
		switch o := &p.Occurrences[i]; o.Kind {
		case "skew":
			b.Skew += p.spec.Fault[o.Entry].By.D()
		case "silent":
			b.Silent = true
		case "equivocate":
			b.Equivocate = true
		}
	}
	return b
}

// relink tells the link model what begins and ends at an instant. An end takes away whatever was said
// of its links or nodes, so all that is in force is said again after it.
func (p *Plan) relink(s *state, at time.Duration) {
	for _, of := range s.ended {
		p.add(at, p.Occurrences[of].undo)
	}
	again := s.began
	if len(s.ended) > 0 {
		again = s.linked
	}
	for _, of := range again {
		p.add(at, p.Occurrences[of].do)
	}
	s.began, s.ended = nil, nil
}

// recut tells the link model which groups the newest partition and the pauses make, if others than
// before.
func (p *Plan) recut(s *state, at time.Duration) {
	alone := func(i int) bool { return p.pauses && s.paused[i] > 0 }
	var groups [][]int
	if len(s.parted) > 0 {
		for _, g := range p.Occurrences[s.parted[len(s.parted)-1]].groups {
			groups = append(groups, slices.DeleteFunc(slices.Clone(g), alone))
		}
	}
	for i := range s.paused {
		if alone(i) {
			groups = append(groups, []int{i})
		}
	}
	switch {
	case reflect.DeepEqual(groups, s.cut):
		return
	case groups == nil:
		p.add(at, []link.Change{link.Heal{}})
	default:
		p.add(at, []link.Change{link.Partition{Groups: groups}})
	}
	s.cut = groups
}
