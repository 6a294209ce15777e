package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/stats"
)

// profile is how blocks reach one node, as means over those whose way is known.
type profile struct {
	WorstNode
	expected int
	latency  float64
	floor    float64 // NaN where links are not shaped
	hops     float64
	stages   recorder.Stages
}

// worst finds the nodes that blocks reach latest: by p95 over the p95 of their floors where there
// are floors, else by p95. Each says what sets it most apart from the median node of all runs.
func worst(runs []Run) []WorstNode {
	var all []profile
	for _, run := range runs {
		for i := range run.Record.Nodes {
			if p := profileOf(run, i); p.expected > 0 {
				all = append(all, p)
			}
		}
	}
	typical := typicalOf(all)
	slices.SortStableFunc(all, func(a, b profile) int {
		return cmp.Or(-cmp.Compare(lateness(a), lateness(b)), -cmp.Compare(a.Lost, b.Lost), -cmp.Compare(a.latency, b.latency))
	})
	out := []WorstNode{}
	for _, p := range all[:min(len(all), maxWorst)] {
		p.Reason = p.reason(typical)
		out = append(out, p.WorstNode)
	}
	return out
}

// lateness is what nodes are ranked by.
func lateness(p profile) float64 {
	if p.Stretch.Valid() {
		return float64(p.Stretch)
	}
	return float64(p.P95)
}

func profileOf(run Run, node int) profile {
	load := run.Record.Nodes[node]
	p := profile{WorstNode: WorstNode{Seed: run.Seed, Name: load.Name, Region: load.Region, Floor: stats.None(), Stretch: stats.None()}, floor: math.NaN()}
	var times, floors []float64
	known := 0.0
	for _, m := range run.Record.Blocks {
		d := m.At(node)
		if d == nil {
			continue
		}
		p.expected++
		times = append(times, d.Latency)
		if d.Floor > 0 {
			floors = append(floors, d.Floor)
		}
		if !d.Delivered() {
			p.Lost++
		} else if split, ok := m.Split(node); ok {
			known++
			p.latency += d.Latency
			p.hops += float64(d.Hops)
			p.stages.Add(split)
		}
	}
	for s := range p.stages {
		p.stages[s] /= known
	}
	p.latency, p.hops = p.latency/known, p.hops/known
	slices.Sort(times)
	p.P95 = stats.Number(stats.Percentile(times, .95))
	if len(floors) > 0 && len(floors) == len(times) {
		p.floor = mean(floors)
		slices.Sort(floors)
		p.Floor = stats.Number(stats.Percentile(floors, .95))
		p.Stretch = p.P95 / p.Floor
	}
	return p
}

// typicalOf is the median of each property over the nodes; the nodes themselves stay as they are.
func typicalOf(all []profile) (t profile) {
	over := func(pick func(profile) float64) float64 {
		values := make([]float64, len(all))
		for i, p := range all {
			values[i] = pick(p)
		}
		return median(values)
	}
	t.latency, t.floor = over(func(p profile) float64 { return p.latency }), over(func(p profile) float64 { return p.floor })
	t.hops = over(func(p profile) float64 { return p.hops })
	for s := range t.stages {
		t.stages[s] = over(func(p profile) float64 { return p.stages[s] })
	}
	return t
}

// asLate says how a node's mean latency compares with the median node's.
func asLate(behind float64) string {
	if behind > 0 {
		return millisecond.figure(behind) + " later than to that one"
	}
	return millisecond.figure(-behind) + " earlier only"
}

// reason is one sentence: loss first, then distance where it explains half of what the node is
// behind by, then the stage in which it loses most.
func (p profile) reason(typical profile) string {
	behind := p.latency - typical.latency
	switch {
	case p.Lost > 0:
		return fmt.Sprintf("%d of %d blocks never came", p.Lost, p.expected)
	case math.IsNaN(behind):
		return "its blocks' ways are not known"
	case typical.floor-p.floor > max(0, behind): // false where there is no floor
		return fmt.Sprintf("near, with a floor of %s against the median node's %s, but blocks come %s", millisecond.figure(p.floor), millisecond.figure(typical.floor), asLate(behind))
	case behind <= 0:
		return "on average as fast as the median node: single blocks were late"
	case p.floor-typical.floor >= behind/2: // false where there is no floor
		return fmt.Sprintf("far away: its floor is %s, %s above the median node's", millisecond.figure(p.floor), millisecond.figure(p.floor-typical.floor))
	}
	most := recorder.Stage(0)
	for s := range recorder.NumStages {
		if p.stages[s]-typical.stages[s] > p.stages[most]-typical.stages[most] {
			most = s
		}
	}
	text := fmt.Sprintf("%s: %s a block, %s more than the median node", most, millisecond.figure(p.stages[most]), millisecond.figure(p.stages[most]-typical.stages[most]))
	if p.hops >= typical.hops+0.5 {
		text += fmt.Sprintf("; %s hops against %s", significant(p.hops), significant(typical.hops))
	}
	return text
}
