package report

import (
	"fmt"
	"math"
	"slices"
)

// maxCourses bounds the seeds whose course is drawn: the first, and those in which something happened.
const maxCourses = 2

// courseSection is the run slot by slot: how far each slot's block got, how long it took, and how
// many nodes and heads there were.
func courseSection(r *Results) section {
	s := section{
		ID: "course", Title: "The course of the run",
		Lead: "One column a slot of the counted window. Heads are counted as the slot ends: more than one is a fork, or nodes that have not caught up.",
	}
	if slices.ContainsFunc(r.Runs, func(run RunResult) bool { return len(run.Faults) > 0 }) {
		s.Lead += " A red bar is a fault while it lasts, the thin one behind it the time from its end until all nodes that are up had one head."
	}
	if slices.ContainsFunc(r.Runs, func(run RunResult) bool { return len(run.Timeline) > maxColumns/2 }) {
		s.Lead += " Where there are more slots than columns, a column shows the worst of its slots."
	}
	for i, run := range r.Runs {
		quiet := len(run.Faults) == 0 && !slices.ContainsFunc(run.Timeline, run.eventful)
		if len(run.Timeline) == 0 || len(s.Exhibits) == maxCourses || i > 0 && quiet {
			continue
		}
		e := exhibit{
			Title: seedTitle("Slot by slot", r, run), Chart: courseChart(run.Timeline, run.Faults, r.Experiment.Chain.Slot.D().Seconds()*1000),
			Tables: []table{courseTable(run.Timeline)},
		}
		if len(run.Faults) > 0 {
			e.Tables = append([]table{faultTable(run.Faults)}, e.Tables...)
		}
		s.Exhibits = append(s.Exhibits, e)
	}
	return s
}

// faultTable lists what went wrong, with the proof that it did.
func faultTable(faults []Fault) table {
	t := table{Head: words("fault|nodes||from|to|one head after")}
	t.Head = append(t.Head, heading{"what was seen of it", true})
	for _, f := range faults[:min(len(faults), maxNodeRows)] {
		to := "the end"
		if f.EndMS.Valid() {
			to = secondsText(float64(f.EndMS))
		}
		proof := f.Proof
		if !f.Happened {
			proof = "it did not happen: " + proof
		}
		t.Rows = append(t.Rows, []cell{
			{Text: f.Kind}, {Text: nodesText(f.Nodes)}, {Text: secondsText(f.AtMS)}, {Text: to}, timeCell(float64(f.HeadsEqual)), {proof, !f.Happened},
		})
	}
	return t
}

// eventful says whether a slot is unlike those of a quiet run.
func (r RunResult) eventful(t Tick) bool { return isBad(t) || t.Heads > 1 || t.Up != len(r.Nodes) }

func courseTable(ticks []Tick) table {
	t := table{Summary: "Table: coverage, time to 95 % of the nodes, nodes and heads, by slot", Head: words("from||coverage|C95|nodes up|heads")}
	for _, tick := range ticks[:min(len(ticks), maxNodeRows)] {
		t.Rows = append(t.Rows, []cell{
			{Text: secondsText(tick.AtMS)}, {percent.figure(float64(tick.Coverage)), tick.Coverage < 1}, timeCell(float64(tick.C95)),
			{Text: fmt.Sprint(tick.Up)}, {fmt.Sprint(tick.Heads), tick.Heads > 1},
		})
	}
	if len(ticks) > maxNodeRows {
		t.Summary += fmt.Sprintf("; the first %d of %d", maxNodeRows, len(ticks))
	}
	return t
}

// isBad says whether a slot's block did not reach every node.
func isBad(t Tick) bool { return !math.IsNaN(float64(t.Coverage)) && t.Coverage < 1 }
