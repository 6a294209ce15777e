package report

import (
	"fmt"
	"math"

	"github.com/pheme-net/pheme/devnet/recorder"
)

// stageSection is where the time goes: the split at C50, C90 and C99, and the slowest way.
func stageSection(r *Results) section {
	s := section{
		ID: "time", Title: "Where the time goes",
		Lead: "The way of the delivery that completed 50, 90 and 99 % of the nodes, cut at the events along it. The coloured parts add up to the latency; the import that follows acceptance is outside it.",
	}
	if bars := splitBars(r.Block.Split); len(bars) > 0 {
		s.Exhibits = append(s.Exhibits, exhibit{
			Key: stageKey(), Chart: barChart("Mean time by stage to C50, C90 and C99", "milliseconds since sealed, mean over blocks", bars), Tables: []table{splitTable(r.Block.Split)},
		})
	}
	if seed, hops := slowestPath(r); len(hops) > 0 {
		title := fmt.Sprintf("The slowest way: block %s, hop by hop", seeded(r, seed, fmt.Sprint(hops[0].Block)))
		s.Exhibits = append(s.Exhibits, exhibit{
			Title: title, Key: stageKey(), Chart: barChart("Critical path of the slowest block", "milliseconds since sealed", pathBars(hops)), Tables: []table{pathTable(hops)},
		})
	}
	return s
}

// slowestPath is the way that took longest over all seeds.
func slowestPath(r *Results) (seed int64, hops []Hop) {
	longest := -1.0
	for _, run := range r.Runs {
		if n := len(run.Slowest); n > 0 && endOf(run.Slowest[n-1]) > longest {
			seed, hops, longest = run.Seed, run.Slowest, endOf(run.Slowest[n-1])
		}
	}
	return seed, hops
}

func endOf(h Hop) float64 { return h.StartMS + totalOf(h.Stages) }

// totalOf sums in the stages' order, so that the same stages always give the same total.
func totalOf(stages map[string]float64) (sum float64) {
	for s := range recorder.NumStages {
		sum += stages[s.String()]
	}
	return sum
}

func splitBars(split []SplitBar) (bars []bar) {
	for _, s := range split {
		if s.N > 0 {
			bars = append(bars, bar{label: s.Coverage, parts: stageParts(s.Stages, s.Import), total: millisecond.figure(s.Total)})
		}
	}
	return bars
}

// stageParts are the parts of a bar; the import after acceptance comes last, pale and thin.
func stageParts(stages map[string]float64, imported float64) (parts []part) {
	for s := range recorder.NumStages {
		v := stages[s.String()]
		parts = append(parts, part{class: stageClass(s), value: v, tip: fmt.Sprintf("%s: %s", s, millisecond.figure(v))})
	}
	return append(parts, part{class: importClass, value: imported, thin: true, tip: "import, after acceptance: " + millisecond.figure(imported)})
}

// stageClass colours a stage; the import after acceptance has its own.
func stageClass(s recorder.Stage) string { return fmt.Sprintf("s%d", int(s)+1) }

// importClass colours the import that follows acceptance and is outside the latency.
const importClass = "s0"

func stageKey() (items []legendItem) {
	for s := range recorder.NumStages {
		items = append(items, legendItem{Class: stageClass(s), Name: s.String()})
	}
	return append(items, legendItem{Class: importClass, Name: "import, after acceptance"})
}

// pathBars shows each hop where it begins.
func pathBars(hops []Hop) (bars []bar) {
	for _, h := range hops {
		imported := float64(h.Import)
		if math.IsNaN(imported) {
			imported = 0
		}
		bars = append(bars, bar{
			label: h.From + " to " + h.To, start: h.StartMS, parts: stageParts(h.Stages, imported), total: "+" + millisecond.figure(totalOf(h.Stages)),
		})
	}
	return bars
}

func splitTable(split []SplitBar) table {
	t := table{Summary: "Table: mean milliseconds by stage", Head: []heading{{"coverage", true}}}
	t.Head = append(t.Head, stageHeads("total", "import", "blocks", "left out")...)
	for _, s := range split {
		row := append(cells(s.Coverage), stageCells(s.Stages)...)
		t.Rows = append(t.Rows, append(row, cells(millisecond.figure(s.Total), millisecond.figure(s.Import), fmt.Sprint(s.N), fmt.Sprint(s.Left))...))
	}
	return t
}

func pathTable(hops []Hop) table {
	t := table{Summary: "Table: milliseconds by hop and stage", Head: append([]heading{{"from", true}, {"to", true}, {Name: "starts at"}}, stageHeads("import")...)}
	for _, h := range hops {
		row := append(cells(h.From, h.To, millisecond.figure(h.StartMS)), stageCells(h.Stages)...)
		t.Rows = append(t.Rows, append(row, cell{Text: millisecond.figure(float64(h.Import))}))
	}
	return t
}

func stageHeads(more ...string) (head []heading) {
	for s := range recorder.NumStages {
		head = append(head, heading{Name: s.String()})
	}
	for _, m := range more {
		head = append(head, heading{Name: m})
	}
	return head
}

func stageCells(stages map[string]float64) (row []cell) {
	for s := range recorder.NumStages {
		row = append(row, cell{Text: significant(stages[s.String()])})
	}
	return row
}
