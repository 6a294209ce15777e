package fault

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/p2p/link"
)

// Occurrence is one time that a fault of the experiment strikes.
type Occurrence struct {
	Entry int    // of the experiment's faults, from 0
	Kind  string // of experiment.FaultKinds
	Nodes []int  // whom it concerns, sorted
	At    time.Duration
	End   time.Duration // 0: it lasts to the end of the run; of a join, too

	groups   [][]int       // of a partition
	do, undo []link.Change // of a link or rates: what its beginning and its end alone do to the link model
}

// Action is one thing to do to nodes.
type Action struct {
	At    time.Duration
	Of    int // the occurrence it begins or ends
	Begin bool
	Do    Deed
	Nodes []int  // whom it really changes: a node that is down already is not killed again
	Bends []Bend // what they are from now on, if Do is Bend
}

// Deed is what is done to nodes.
type Deed uint8

// The deeds. Nothing stands for faults that the link model makes: only their beginning and end are
// noted.
const (
	Nothing Deed = iota
	Kill
	Start
	Pause
	Resume
	Deform
)

// Bend is how a node differs from an honest one with a true clock.
type Bend struct {
	Skew       time.Duration // its clock is ahead by this
	Silent     bool          // it passes nothing on
	Equivocate bool          // it signs two blocks in each of its slots
}

// Plan is the schedule of one run. All times count from the beginning of its window.
type Plan struct {
	Occurrences []Occurrence
	Actions     []Action
	Changes     []link.Timed // of the link model
	Absent      []int        // nodes that are out before the run, sorted

	spec   experiment.Spec
	links  link.Config
	pauses bool // a pause is made by cutting the links
}

// New makes the schedule of a resolved and valid experiment for one seed. links are those of the
// seed; the zero value where they are not shaped. Errors wrap [experiment.ErrInvalid].
func New(spec experiment.Spec, links link.Config, seed int64) (*Plan, error) {
	p := &Plan{spec: spec, links: links, pauses: spec.Virtual()}
	for i := range spec.Fault {
		rng := rand.New(rand.NewPCG(uint64(seed), 0xfa0175+uint64(i)))
		if err := p.occur(i, &spec.Fault[i], rng); err != nil {
			return nil, fmt.Errorf("%w: fault %d: %w", experiment.ErrInvalid, i+1, err)
		}
	}
	slices.SortStableFunc(p.Occurrences, func(a, b Occurrence) int { return cmp.Compare(a.At, b.At) })
	p.act()
	if len(p.Changes) > 0 && len(links.Nodes) == 0 {
		return nil, fmt.Errorf("%w: fault: links can be cut and changed only where they are shaped: set net.latency", experiment.ErrInvalid)
	}
	return p, nil
}

// length is how long after the window's beginning the last action may be.
func (p *Plan) length() time.Duration {
	return time.Duration(p.spec.Slots())*p.spec.Chain.Slot.D() + p.spec.Load.Drain.D()
}

// occur adds the occurrences of one entry.
func (p *Plan) occur(entry int, f *experiment.Fault, rng *rand.Rand) error {
	o := Occurrence{Entry: entry, Kind: f.Kind(), At: f.At.D()}
	if f.For > 0 {
		o.End = (f.At + f.For).D()
	}
	if o.Kind == "churn" {
		return p.churn(o, f, rng)
	}
	var sets [][]int
	for _, set := range f.Sets() {
		nodes, err := p.pick(set, rng)
		if err != nil {
			return err
		}
		sets = append(sets, nodes)
		o.Nodes = append(o.Nodes, nodes...)
	}
	named := len(o.Nodes)
	slices.Sort(o.Nodes)
	o.Nodes = slices.Compact(o.Nodes)
	switch {
	case len(o.Nodes) == 0:
		return fmt.Errorf("%s names no node", o.Kind)
	case o.Kind == "join":
		p.Absent = append(p.Absent, o.Nodes...)
		slices.Sort(p.Absent)
		p.Absent = slices.Compact(p.Absent)
	case o.Kind == "partition" && len(o.Nodes) < named:
		return errors.New("partition: a node is in two groups")
	case o.Kind == "partition":
		o.groups = sets
	}
	var err error
	if o.do, o.undo, err = p.changes(f, sets); err != nil {
		return err
	}
	p.Occurrences = append(p.Occurrences, o)
	return nil
}

func (p *Plan) pick(set experiment.Nodes, rng *rand.Rand) ([]int, error) {
	region := func(i int) string { return p.links.Table.Regions[p.links.Nodes[i].Region] }
	if p.links.Table == nil {
		region = nil
	}
	return set.Pick(p.spec.Net.Nodes, region, rng)
}

// churn strikes every Every: a share of the nodes is drawn anew from those it has not just struck,
// another set is struck whole each second time. Each node is out for one Every.
func (p *Plan) churn(o Occurrence, f *experiment.Fault, rng *rand.Rand) error {
	end := cmp.Or(o.End, p.length())
	share := strings.HasSuffix(string(f.Churn), "%")
	var out []int // of the strike before
	for at := o.At; at < end; at += f.Every.D() {
		nodes, err := p.pick(f.Churn, rng)
		if err != nil {
			return err
		}
		if share {
			want := len(nodes)
			nodes = slices.DeleteFunc(rng.Perm(p.spec.Net.Nodes), func(i int) bool { return slices.Contains(out, i) })
			nodes = nodes[:min(want, len(nodes))]
			slices.Sort(nodes)
		} else {
			nodes = slices.DeleteFunc(nodes, func(i int) bool { return slices.Contains(out, i) })
		}
		out = nodes
		if len(nodes) == 0 {
			continue
		}
		strike := Occurrence{Entry: o.Entry, Kind: o.Kind, Nodes: nodes, At: at}
		if back := at + f.Every.D(); back < p.length() {
			strike.End = back
		}
		p.Occurrences = append(p.Occurrences, strike)
	}
	return nil
}

// changes are what a fault does to the link model at its beginning and at its end, cuts aside.
func (p *Plan) changes(f *experiment.Fault, sets [][]int) (do, undo []link.Change, err error) {
	switch f.Kind() {
	case "link":
		if f.Add > 0 {
			do = append(do, link.Slow{A: sets[0], B: sets[1], Add: f.Add.D()})
		}
		if f.Loss > 0 {
			do = append(do, link.Lossy{A: sets[0], B: sets[1], Loss: f.Loss})
		}
		undo = append(undo, link.Restore{A: sets[0], B: sets[1]})
	case "rates":
		r := link.Rates{Nodes: sets[0]}
		if r.Up, err = link.ParseRate(f.Up); err != nil {
			return nil, nil, err
		}
		if r.Down, err = link.ParseRate(f.Down); err != nil {
			return nil, nil, err
		}
		do = append(do, r)
		for _, i := range sets[0] {
			if i < len(p.links.Nodes) {
				n := p.links.Nodes[i]
				undo = append(undo, link.Rates{Nodes: []int{i}, Up: n.Up, Down: n.Down})
			}
		}
	}
	return do, undo, nil
}

func (p *Plan) add(at time.Duration, changes []link.Change) {
	for _, c := range changes {
		p.Changes = append(p.Changes, link.Timed{At: at, Do: c})
	}
}

// PausesCut says whether a pause is made by cutting the node off.
func (p *Plan) PausesCut() bool { return p.pauses }

// Begun is how many changes of the links have taken effect once an occurrence has begun.
func (p *Plan) Begun(of int) int {
	at := p.Occurrences[of].At
	n, _ := slices.BinarySearchFunc(p.Changes, at+1, func(c link.Timed, at time.Duration) int { return cmp.Compare(c.At, at) })
	return n
}

// Watched says after which of its bounds figures look at an occurrence for a horizon: after what it ends or starts within the
// window, after the end of a node there only where nodes watch each other, and after every heal.
func (p *Plan) Watched(of int) (begin, end bool) {
	o := &p.Occurrences[of]
	window := time.Duration(p.spec.Slots()) * p.spec.Chain.Slot.D()
	down := o.Kind == "kill" || o.Kind == "churn"
	begin = o.At < window && (o.Kind == "join" || down && p.spec.Net.Members != "off")
	return begin, o.End != 0 && (o.End < window || o.Kind == "partition")
}

// Horizon is how long figures look at what follows.
func (p *Plan) Horizon() time.Duration { return p.spec.Horizon() }

// Losing says whether an occurrence loses packets of links that by themselves lose none: only there
// does a lost packet prove anything.
func (p *Plan) Losing(of int) bool {
	return p.spec.Fault[p.Occurrences[of].Entry].Loss > 0 && p.spec.Net.Loss == 0 && !lossy(p.links.Table)
}

// lossy says whether any path of a table loses packets.
func lossy(t *link.Table) bool {
	if t == nil {
		return false
	}
	for a := range t.Regions {
		for b := range t.Regions {
			if t.Path(0, 0, a, 1, b).Loss > 0 {
				return true
			}
		}
	}
	return false
}

// Bending says whether any node is deformed, ever.
func (p *Plan) Bending() bool {
	return slices.ContainsFunc(p.Actions, func(a Action) bool { return a.Do == Deform })
}
