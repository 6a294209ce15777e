package recorder

import (
	"cmp"
	"math"
	"slices"

	"github.com/pheme-net/pheme/p2p/trace"
)

// Members is what the nodes found out about who is there, within the window.
type Members struct {
	Crashes []Crash
	Rejoins []Rejoin
	// False counts deaths that a node told of another that was up, and had been for a horizon at least: sooner, it may
	// be the end of a former life that is told.
	False      int
	Suspicions int     // that nodes told of others
	Hours      float64 // that nodes were up, all together
}

// Crash is a node's end without a goodbye, as the others saw it: those that were up from then to the horizon, or until
// the node came back.
type Crash struct {
	Node    int
	At      int64
	Suspect float64   // ms until the first of them suspected it; +Inf: none did
	Dead    []float64 // ms until each of them held it for dead; +Inf: never
}

// Rejoin is a node's start after a crash, as those saw it that had held it for dead.
type Rejoin struct {
	Node  int
	At    int64
	Alive []float64 // ms until each of them held it for alive; +Inf: not within the horizon
}

// word is what a node said of another.
type word struct {
	at   int64
	kind trace.Kind
}

// members joins what all nodes told of each other with when they were up.
func (j *join) members() {
	m := &j.run.Members
	said := j.words()
	for i := range j.in.Nodes {
		for _, life := range j.lives(i) {
			m.Hours += float64(max(0, min(life.To, j.in.Window.To)-max(life.From, j.in.Window.From))) / 3.6e12
			if j.in.Window.Has(life.To) {
				m.Crashes = append(m.Crashes, j.crash(i, life.To, said))
			}
			if j.in.Window.Has(life.From) {
				m.Rejoins = append(m.Rejoins, j.rejoin(i, life.From, said))
			}
		}
		for by := range j.in.Nodes {
			for _, w := range said[[2]int{by, i}] {
				if w.kind == trace.MemberSuspect && j.in.Window.Has(w.at) {
					m.Suspicions++
				}
				if w.kind == trace.MemberDead && j.in.Window.Has(w.at) && j.through(i, Span{w.at - int64(j.in.Horizon), w.at}) {
					m.False++
				}
			}
		}
	}
	slices.SortFunc(m.Crashes, func(a, b Crash) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Node, b.Node)) })
	slices.SortFunc(m.Rejoins, func(a, b Rejoin) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Node, b.Node)) })
}

// words are what every node (first) said of every other (second), in order.
func (j *join) words() map[[2]int][]word {
	said := map[[2]int][]word{}
	for by := range j.in.Nodes {
		for _, e := range j.in.Nodes[by].Events {
			if e.Kind != trace.MemberSuspect && e.Kind != trace.MemberDead && e.Kind != trace.MemberAlive {
				continue
			}
			if of := j.node(e.Peer); of >= 0 {
				said[[2]int{by, of}] = append(said[[2]int{by, of}], word{e.At, e.Kind})
			}
		}
	}
	for _, all := range said {
		slices.SortStableFunc(all, func(a, b word) int { return cmp.Compare(a.at, b.at) })
	}
	return said
}

// crash is how the others saw the end of node i at a moment.
func (j *join) crash(i int, at int64, said map[[2]int][]word) Crash {
	until := at + int64(j.in.Horizon)
	for _, life := range j.lives(i) {
		if life.From >= at {
			until = min(until, life.From)
		}
	}
	c := Crash{Node: i, At: at, Suspect: math.Inf(1)}
	for by := range j.in.Nodes {
		if by == i || !j.through(by, Span{at, until}) {
			continue
		}
		dead := math.Inf(1)
		for _, w := range said[[2]int{by, i}] {
			if w.at < at || w.at > until {
				continue
			}
			ms := float64(w.at-at) / 1e6
			switch w.kind {
			case trace.MemberSuspect:
				c.Suspect = min(c.Suspect, ms)
			case trace.MemberDead:
				dead = min(dead, ms)
			}
		}
		c.Dead = append(c.Dead, dead)
	}
	return c
}

// rejoin is how those saw the start of node i at a moment that held it for dead.
func (j *join) rejoin(i int, at int64, said map[[2]int][]word) Rejoin {
	until := at + int64(j.in.Horizon)
	r := Rejoin{Node: i, At: at}
	for by := range j.in.Nodes {
		if by == i || !j.through(by, Span{at, until}) {
			continue
		}
		held, alive := trace.MemberAlive, math.Inf(1)
		for _, w := range said[[2]int{by, i}] {
			if w.at < at {
				held = w.kind
			} else if w.kind == trace.MemberAlive && w.at <= until {
				alive = min(alive, float64(w.at-at)/1e6)
			}
		}
		if held == trace.MemberDead {
			r.Alive = append(r.Alive, alive)
		}
	}
	return r
}

// lives is when node i ran.
func (j *join) lives(i int) []Span {
	if n := &j.in.Nodes[i]; n.Lives != nil {
		return n.Lives
	}
	return []Span{{From: math.MinInt64 / 2, To: math.MaxInt64 / 2}}
}

// through says whether node i ran all the time.
func (j *join) through(i int, s Span) bool {
	return slices.ContainsFunc(j.lives(i), func(l Span) bool { return l.From <= s.From && s.To <= l.To })
}
