package report

import (
	"fmt"
	"math"
	"slices"
)

// maxCourses bounds the seeds whose course is drawn: the first, and those in which something happened.
const maxCourses = 3

// courseSection is the run slot by slot: how far each slot's block got, how long it took, and how
// many nodes and heads there were.
func courseSection(r *Results) section {
	s := section{
		ID: "course", Title: "The course of the run",
		Lead: "One column a slot of the counted window. Heads are counted as the slot ends: more than one is a fork, or nodes that have not caught up.",
	}
	for i, run := range r.Runs {
		if len(run.Timeline) == 0 || len(s.Exhibits) == maxCourses || i > 0 && !slices.ContainsFunc(run.Timeline, run.eventful) {
			continue
		}
		s.Exhibits = append(s.Exhibits, exhibit{
			Title: seedTitle("Slot by slot", r, run), Chart: courseChart(run.Timeline, r.Experiment.Chain.Slot.D().Seconds()*1000), Tables: []table{courseTable(run.Timeline)},
		})
	}
	return s
}

// eventful says whether a slot is unlike those of a quiet run.
func (r RunResult) eventful(t Tick) bool { return isBad(t) || t.Heads > 1 || t.Up != len(r.Nodes) }

func courseTable(ticks []Tick) table {
	t := table{Summary: "Table: coverage, time to 95 % of the nodes, nodes and heads, by slot", Head: words("from||coverage|C95|nodes up|heads")}
	for _, tick := range ticks[:min(len(ticks), maxBlockRows)] {
		t.Rows = append(t.Rows, []cell{
			{Text: secondsText(tick.AtMS)}, {percent.figure(float64(tick.Coverage)), tick.Coverage < 1}, timeCell(float64(tick.C95)),
			{Text: fmt.Sprint(tick.Up)}, {fmt.Sprint(tick.Heads), tick.Heads > 1},
		})
	}
	if len(ticks) > maxBlockRows {
		t.Summary += fmt.Sprintf("; the first %d of %d", maxBlockRows, len(ticks))
	}
	return t
}

// isBad says whether a slot's block did not reach every node.
func isBad(t Tick) bool { return !math.IsNaN(float64(t.Coverage)) && t.Coverage < 1 }
