package link

import (
	"fmt"
	"time"
)

// Timed is a change and when it takes effect, counted from the start.
type Timed struct {
	At time.Duration
	Do Change
}

// Change is one thing that happens to the network: Partition, Heal, Slow, Lossy,
// Restore or Rates. A change replaces what an earlier one said of the same links.
type Change interface {
	check(nodes int) error
	apply(*Links)
}

// Partition cuts every link between nodes of different groups, both ways and
// under way: live connections go on sending into nothing. Nodes in no group form
// one more.
type Partition struct{ Groups [][]int }

// Heal ends the partition.
type Heal struct{}

// Slow adds a delay to the links between a node of A and a node of B, both ways;
// zero takes it away again. A nil set is every node.
type Slow struct {
	A, B []int
	Add  time.Duration
}

// Lossy sets the share of packets lost on the links between a node of A and a
// node of B, both ways. A nil set is every node.
type Lossy struct {
	A, B []int
	Loss float64
}

// Restore takes away what Slow and Lossy did to the links between a node of A and
// a node of B, both ways. A nil set is every node.
type Restore struct{ A, B []int }

// Rates sets the rates of nodes; nil is every node.
type Rates struct {
	Nodes    []int
	Up, Down Rate
}

func checkNodes(total int, sets ...[]int) error {
	for _, set := range sets {
		for _, i := range set {
			if i < 0 || i >= total {
				return fmt.Errorf("node %d: there are %d", i, total)
			}
		}
	}
	return nil
}

func (p Partition) check(nodes int) error {
	seen := map[int]bool{}
	for _, g := range p.Groups {
		for _, i := range g {
			if seen[i] {
				return fmt.Errorf("node %d is in two groups", i)
			}
			seen[i] = true
		}
	}
	return checkNodes(nodes, p.Groups...)
}

func (Heal) check(int) error { return nil }

func (s Slow) check(nodes int) error {
	if s.Add < 0 || s.Add > maxDelay {
		return fmt.Errorf("a delay of %s: want 0 to %s", s.Add, maxDelay)
	}
	return checkNodes(nodes, s.A, s.B)
}

func (y Lossy) check(nodes int) error {
	if !(y.Loss >= 0 && y.Loss <= maxLoss) {
		return fmt.Errorf("a loss of %g: want 0 to %g; to let nothing pass, use a partition", y.Loss, maxLoss)
	}
	return checkNodes(nodes, y.A, y.B)
}

func (r Restore) check(nodes int) error { return checkNodes(nodes, r.A, r.B) }

func (r Rates) check(nodes int) error {
	if r.Up < 0 || r.Down < 0 || r.Up > maxRate || r.Down > maxRate {
		return fmt.Errorf("rates of %d and %d bit/s: want 0 (unlimited) to %s", r.Up, r.Down, maxRate)
	}
	return checkNodes(nodes, r.Nodes)
}

func (p Partition) apply(l *Links) {
	l.groups = make([]int, len(l.nodes))
	for g, nodes := range p.Groups {
		for _, i := range nodes {
			l.groups[i] = g + 1
		}
	}
}

func (Heal) apply(l *Links) { l.groups = nil }

func (s Slow) apply(l *Links) { l.rules = append(l.rules, newRule(s.A, s.B, &s.Add, nil)) }

func (y Lossy) apply(l *Links) { l.rules = append(l.rules, newRule(y.A, y.B, nil, &y.Loss)) }

func (r Restore) apply(l *Links) {
	back := newRule(r.A, r.B, nil, nil)
	back.restore = true
	l.rules = append(l.rules, back)
}

func (r Rates) apply(l *Links) {
	set := func(i int) { l.nodes[i].Up, l.nodes[i].Down = r.Up, r.Down }
	for i := range l.nodes {
		if r.Nodes == nil {
			set(i)
		}
	}
	for _, i := range r.Nodes {
		set(i)
	}
}

// rule is what a change said of the links between two sets of nodes.
type rule struct {
	a, b map[int]bool // nil: every node
	add  *time.Duration
	loss *float64
	// restore takes away what earlier rules said.
	restore bool
}

func newRule(a, b []int, add *time.Duration, loss *float64) rule {
	set := func(nodes []int) map[int]bool {
		if nodes == nil {
			return nil
		}
		m := make(map[int]bool, len(nodes))
		for _, i := range nodes {
			m[i] = true
		}
		return m
	}
	return rule{a: set(a), b: set(b), add: add, loss: loss}
}

func (r rule) covers(from, to int) bool {
	in := func(set map[int]bool, i int) bool { return set == nil || set[i] }
	return in(r.a, from) && in(r.b, to) || in(r.a, to) && in(r.b, from)
}
