package report

import (
	"cmp"
	"fmt"
	"slices"
)

// maxOpenRows is up to how many nodes the table stands open: a screen of them.
const maxOpenRows = 24

// nodeRow is a node of one run.
type nodeRow struct {
	NodeResult
	label   string
	seconds float64 // of its window
}

// nodeRows are all nodes of all runs.
func nodeRows(r *Results) (out []nodeRow) {
	for _, run := range r.Runs {
		seconds := float64(len(run.Timeline)) * r.Experiment.Chain.Slot.D().Seconds()
		for _, n := range run.Nodes {
			out = append(out, nodeRow{n, seeded(r, run.Seed, n.Name), seconds})
		}
	}
	return out
}

func nodeSection(r *Results) section {
	s := section{ID: "nodes", Title: "Nodes", Lead: "Latency is that of the blocks a node received; bytes are those of the counted slots."}
	nodes := nodeRows(r)
	if of := len(nodes); of > maxNodeRows {
		slices.SortStableFunc(nodes, func(a, b nodeRow) int { return cmp.Compare(b.P95, a.P95) })
		nodes = nodes[:maxNodeRows]
		s.Lead += fmt.Sprintf(" The %d slowest of %d nodes.", maxNodeRows, of)
	}
	t := table{Head: words("node|region||sealed|delivered|p50|p95|hops|received|sent|dropped")}
	processes := r.Experiment.Engine == "process" // in virtual time the nodes share one
	if processes {
		t.Head = append(t.Head, heading{Name: "CPU"}, heading{Name: "memory"})
		s.Lead += " CPU and memory are of the process's whole life."
	}
	for _, n := range nodes {
		row := cells(n.label, n.Region, fmt.Sprint(n.Sealed))
		row = append(row, cell{fmt.Sprintf("%d of %d", n.Got, n.Expected), n.Got < n.Expected}, timeCell(float64(n.P50)), timeCell(float64(n.P95)))
		row = append(row, cells(plain.figure(float64(n.Hops)), binary(float64(n.In)), binary(float64(n.Out)), fmt.Sprint(n.Dropped))...)
		if processes {
			row = append(row, cells(significant(n.CPU)+" s", binary(float64(n.MaxRSS)))...)
		}
		t.Rows = append(t.Rows, row)
	}
	if len(nodes) > maxOpenRows {
		t.Summary = "Table: latency, bytes and load of each node"
	}
	if len(nodes) > 0 {
		s.Exhibits = []exhibit{{Tables: []table{t}}}
	}
	return s
}
