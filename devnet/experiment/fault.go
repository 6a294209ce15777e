package experiment

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/pheme-net/pheme/p2p/link"
)

// Fault is one thing that goes wrong: exactly one of the kinds, from At for For. Times count from
// the beginning of the counted window. Where For is absent the fault lasts to the end of the run.
//
//	[[fault]]                         [[fault]]                      [[fault]]
//	at = "5s"                         at = "8s"                      at = "0s"
//	partition = ["0-24", "25-49"]     kill = "50%"                   link = ["region:tokyo", "all"]
//	for = "10s"  # then it heals      for = "15s"  # then restarts   add = "200ms"
type Fault struct {
	At  Duration `toml:"at" json:"at"`
	For Duration `toml:"for,omitempty" json:"for,omitempty"`

	// Partition cuts all links between nodes of different groups, live connections too, both ways.
	// Nodes in no group form one more. It ends in a heal.
	Partition []Nodes `toml:"partition,omitempty" json:"partition,omitempty"`
	// Link changes the links between a node of the first and a node of the second set, both ways:
	// Add to their delay, Loss instead of theirs, or both.
	Link []Nodes  `toml:"link,omitempty" json:"link,omitempty"`
	Add  Duration `toml:"add,omitempty" json:"add,omitempty"`
	Loss float64  `toml:"loss,omitempty" json:"loss,omitempty"`
	// Rates sets what the nodes send and receive at.
	Rates Nodes  `toml:"rates,omitempty" json:"rates,omitempty"`
	Up    string `toml:"up,omitempty" json:"up,omitempty"`
	Down  string `toml:"down,omitempty" json:"down,omitempty"`
	// Kill ends nodes without a goodbye; after For they start again on the same data.
	Kill Nodes `toml:"kill,omitempty" json:"kill,omitempty"`
	// Pause stops nodes for For: they neither read, send nor compute, and do not know it.
	Pause Nodes `toml:"pause,omitempty" json:"pause,omitempty"`
	// Join keeps nodes out until At.
	Join Nodes `toml:"join,omitempty" json:"join,omitempty"`
	// Churn kills other nodes at each Every; each starts again after one Every.
	Churn Nodes    `toml:"churn,omitempty" json:"churn,omitempty"`
	Every Duration `toml:"every,omitempty" json:"every,omitempty"`
	// Skew sets the clocks of nodes By ahead, or behind where it is negative.
	Skew Nodes    `toml:"skew,omitempty" json:"skew,omitempty"`
	By   Duration `toml:"by,omitempty" json:"by,omitempty"`
	// Silent nodes receive and pass nothing on.
	Silent Nodes `toml:"silent,omitempty" json:"silent,omitempty"`
	// Equivocate makes proposers sign two blocks in each of their slots.
	Equivocate Nodes `toml:"equivocate,omitempty" json:"equivocate,omitempty"`
}

// FaultKinds are the kinds of faults, as they stand in a file.
var FaultKinds = [...]string{"partition", "link", "rates", "kill", "pause", "join", "churn", "skew", "silent", "equivocate"}

// Kind is which of [FaultKinds] f is, or "" where it is none or several.
func (f *Fault) Kind() (kind string) {
	for i, set := range []bool{
		len(f.Partition) > 0, len(f.Link) > 0, f.Rates != "", f.Kill != "", f.Pause != "", f.Join != "", f.Churn != "", f.Skew != "", f.Silent != "", f.Equivocate != "",
	} {
		if !set {
			continue
		}
		if kind != "" {
			return ""
		}
		kind = FaultKinds[i]
	}
	return kind
}

// Sets are the node sets that f names.
func (f *Fault) Sets() (sets []Nodes) {
	sets = append(append(sets, f.Partition...), f.Link...)
	for _, n := range []Nodes{f.Rates, f.Kill, f.Pause, f.Join, f.Churn, f.Skew, f.Silent, f.Equivocate} {
		if n != "" {
			sets = append(sets, n)
		}
	}
	return sets
}

func (s *Spec) checkFaults() error {
	if len(s.Fault) > maxFaults {
		return fmt.Errorf("%w: fault: %d entries: at most %d", ErrInvalid, len(s.Fault), maxFaults)
	}
	for i := range s.Fault {
		f := &s.Fault[i]
		if key, why := s.faultComplaint(f); key != "" {
			return fmt.Errorf("%w: fault %d: %s: %s", ErrInvalid, i+1, key, why)
		}
	}
	return nil
}

// faultComplaint is the first key of f that makes no sense, and why; "" when it does.
func (s *Spec) faultComplaint(f *Fault) (key, why string) {
	kind := f.Kind()
	end := Duration(s.Slots())*s.Chain.Slot + s.Load.Drain
	is := func(kinds ...string) bool { return slices.Contains(kinds, kind) }
	for _, c := range []check{
		{kind == "", "kind", "must be exactly one of " + strings.Join(FaultKinds[:], ", ")},
		{is("partition", "link", "rates") && !s.Shaped(), kind, "links can be cut and changed only where they are shaped: set net.latency"},
		{is("kill", "join", "churn") && s.Load.Pools != PoolsWarm && s.Load.Pools != "", kind, "the pools of a node that is down cannot be filled: set load.pools = \"warm\""},
		{f.At < 0 || f.At >= end, "at", fmt.Sprintf("must be 0s to the end of the run at %v", end)},
		{f.For < 0 || f.For > 0 && f.At+f.For > end, "for", fmt.Sprintf("must end before the run does, at %v; leave it out for the rest of the run", end)},
		{f.For != 0 && is("join"), "for", "a node that joined stays"},
		{f.For == 0 && is("pause"), "for", "a pause must end: say how long"},
		{is("link") && len(f.Link) != 2, "link", `must be two sets of nodes, such as ["0-9", "all"]`},
		{is("link") && f.Add == 0 && f.Loss == 0, "link", "changes nothing: set add, loss or both"},
		{!is("link") && (f.Add != 0 || f.Loss != 0), "add", "add and loss belong to a link"},
		{f.Add < 0 || f.Add > Duration(maxAdd), "add", fmt.Sprintf("must be 0s to %v", Duration(maxAdd))},
		{!(f.Loss >= 0 && f.Loss <= 0.9), "loss", "must be 0 to 0.9; to let nothing pass use a partition"},
		{is("rates") && (f.Up == "" || f.Down == ""), "rates", "needs up and down"},
		{!is("rates") && (f.Up != "" || f.Down != ""), "up", "up and down belong to rates"},
		{is("churn") && f.Every <= 0, "every", "must say how often"},
		{!is("churn") && f.Every != 0, "every", "belongs to churn"},
		{is("skew") && f.By == 0, "by", "must say how far the clocks are off"},
		{!is("skew") && f.By != 0, "by", "belongs to skew"},
	} {
		if c.bad {
			return c.key, c.why
		}
	}
	for _, text := range []string{f.Up, f.Down} {
		if text == "" {
			continue
		}
		if _, err := link.ParseRate(text); err != nil {
			return "rates", err.Error()
		}
	}
	return s.setComplaint(f)
}

// setComplaint is about the nodes that f names.
func (s *Spec) setComplaint(f *Fault) (key, why string) {
	var table *link.Table
	if s.Net.Latency != "" {
		table, _ = s.Net.Table() // checked before
	}
	for _, set := range f.Sets() {
		if err := set.check(s.Net.Nodes, table); err != nil {
			return f.Kind(), err.Error()
		}
	}
	if k := f.Kind(); (k == "kill" || k == "pause" || k == "join" || k == "churn") && f.Sets()[0].all(s.Net.Nodes) {
		return k, "would leave no node: name fewer"
	}
	return "", ""
}

// Nodes is a set of nodes: parts separated by commas, each a number ("3"), a range ("0-49"), a share
// drawn by seed ("10%"), a region of the latency table ("region:tokyo"), or "all".
type Nodes string

// part is one part of a set, parsed.
type part struct {
	lo, hi int
	share  float64 // 0: a range
	region string
}

func (n Nodes) parts(total int) (out []part, err error) {
	for text := range strings.SplitSeq(string(n), ",") {
		text = strings.TrimSpace(text)
		switch percent, isShare := strings.CutSuffix(text, "%"); {
		case text == "all":
			out = append(out, part{lo: 0, hi: total - 1})
		case strings.HasPrefix(text, "region:"):
			out = append(out, part{region: strings.TrimPrefix(text, "region:")})
		case isShare:
			v, err := strconv.ParseFloat(percent, 64)
			if err != nil || !(v > 0 && v <= 100) {
				return nil, fmt.Errorf("%q: a share is above 0%% and at most 100%%", text)
			}
			out = append(out, part{share: v / 100})
		default:
			first, last, isRange := strings.Cut(text, "-")
			if !isRange {
				last = first
			}
			lo, err := strconv.Atoi(first)
			hi, err2 := strconv.Atoi(last)
			if err != nil || err2 != nil {
				return nil, fmt.Errorf(`%q: write a number, a range "0-49", a share "10%%", "region:NAME" or "all"`, text)
			}
			if lo < 0 || hi < lo || hi >= total {
				return nil, fmt.Errorf("%q: the nodes are 0 to %d", text, total-1)
			}
			out = append(out, part{lo: lo, hi: hi})
		}
	}
	return out, nil
}

func (n Nodes) check(total int, table *link.Table) error {
	parts, err := n.parts(total)
	for _, p := range parts {
		if p.region != "" && (table == nil || !slices.Contains(table.Regions, p.region)) {
			return fmt.Errorf("%q: the latency table has no such region", p.region)
		}
	}
	return err
}

// all says whether n certainly names every node.
func (n Nodes) all(total int) bool {
	parts, _ := n.parts(total)
	for _, p := range parts {
		if p.share == 1 || p.share == 0 && p.region == "" && p.lo == 0 && p.hi == total-1 {
			return true
		}
	}
	return false
}

// Pick is the set as sorted numbers below total. region is a node's, by number; nil where there are
// none. A share is at least one node, drawn from rng.
func (n Nodes) Pick(total int, region func(i int) string, rng *rand.Rand) ([]int, error) {
	parts, err := n.parts(total)
	if err != nil {
		return nil, err
	}
	var out []int
	for _, p := range parts {
		switch {
		case p.share > 0:
			out = append(out, rng.Perm(total)[:max(1, int(math.Round(p.share*float64(total))))]...)
		case p.region != "":
			for i := range total {
				if region != nil && region(i) == p.region {
					out = append(out, i)
				}
			}
		default:
			for i := p.lo; i <= p.hi; i++ {
				out = append(out, i)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
