package recorder

import (
	"cmp"
	"slices"

	"github.com/pheme-net/pheme/p2p/trace"
)

// heads notes for the end of every slot of the window how many nodes are up and how many different
// heads they have. A node that has not yet told of a head has the genesis.
func (j *join) heads() {
	slots := j.run.Slots
	seen := make([]map[[32]byte]bool, len(slots))
	for i := range j.in.Nodes {
		var changes []trace.Event
		for _, e := range j.in.Nodes[i].Events {
			if e.Kind == trace.HeadChanged {
				changes = append(changes, e)
			}
		}
		slices.SortStableFunc(changes, func(a, b trace.Event) int { return cmp.Compare(a.At, b.At) })
		var head [32]byte
		for k := range slots {
			end := j.in.Window.From + int64(k+1)*int64(j.in.Slot)
			for len(changes) > 0 && changes[0].At < end {
				head, changes = changes[0].Hash, changes[1:]
			}
			if !j.upAt(i, end) {
				continue
			}
			slots[k].Up++
			if seen[k] == nil {
				seen[k] = map[[32]byte]bool{}
			}
			seen[k][head] = true
		}
	}
	for k := range slots {
		slots[k].Heads = len(seen[k])
	}
}

// HeadsEqual is the first moment, not before after, at which all nodes that are up have one head; ok
// is false when there is none. A node keeps its head while it is down.
func HeadsEqual(in Input, after int64) (at int64, ok bool) {
	type change struct {
		at   int64
		node int
		head [32]byte
		kind int8 // 0: another head, 1: up, -1: down
	}
	var all []change
	heads, up := make([][32]byte, len(in.Nodes)), make([]bool, len(in.Nodes))
	for i, n := range in.Nodes {
		up[i] = n.Up == nil
		for _, s := range n.Up {
			all = append(all, change{at: s.From, node: i, kind: 1}, change{at: s.To, node: i, kind: -1})
		}
		for _, e := range n.Events {
			if e.Kind == trace.HeadChanged {
				all = append(all, change{at: e.At, node: i, head: e.Hash})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b change) int { return cmp.Compare(a.at, b.at) })
	one := func() bool {
		first := slices.Index(up, true)
		for i := range heads {
			if up[i] && heads[i] != heads[first] {
				return false
			}
		}
		return first >= 0
	}
	for now, k := after, 0; ; now = all[k].at {
		for ; k < len(all) && all[k].at <= now; k++ {
			if c := all[k]; c.kind == 0 {
				heads[c.node] = c.head
			} else {
				up[c.node] = c.kind > 0
			}
		}
		if one() {
			return now, true
		}
		if k == len(all) {
			return 0, false
		}
	}
}

// reorgs finds the most blocks that a node took off its chain at once, after the warm-up.
func (j *join) reorgs() {
	for i := range j.in.Nodes {
		for _, e := range j.in.Nodes[i].Events {
			if e.Kind == trace.HeadChanged && j.in.Window.From <= e.At {
				j.run.ReorgDepth = max(j.run.ReorgDepth, int(e.Size))
			}
		}
	}
}

// upAt says whether node i was up at a moment.
func (j *join) upAt(i int, at int64) bool {
	up := j.in.Nodes[i].Up
	return up == nil || slices.ContainsFunc(up, func(s Span) bool { return s.Has(at) })
}
