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

// upAt says whether node i was up at a moment.
func (j *join) upAt(i int, at int64) bool {
	up := j.in.Nodes[i].Up
	return up == nil || slices.ContainsFunc(up, func(s Span) bool { return s.Has(at) })
}
