package report

import (
	"fmt"
	"slices"
)

// lifeSection follows transactions from JSON-RPC into a block.
func lifeSection(r *Results) section {
	s := section{
		ID: "life", Title: "The life of a transaction",
		Lead: "From the moment its bytes were read from JSON-RPC. The dot is the median over all counted transactions, the line their middle 90 %; a line to the right edge holds transactions that had not got so far when the run ended, such as those submitted last.",
	}
	if r.Tx.Messages == 0 {
		return s
	}
	t := table{Summary: "Table: milliseconds since submitted", Head: words("step||p5|p50|p95|transactions|not by the end")}
	steps := slices.DeleteFunc(slices.Clone(r.Lifecycle), func(l LifeStep) bool { return l.Lost == l.N }) // no blocks, no steps into them
	for _, l := range steps {
		row := append(cells(l.Step), timeCell(float64(l.P5)), timeCell(float64(l.P50)), timeCell(float64(l.P95)))
		t.Rows = append(t.Rows, append(row, cells(fmt.Sprint(l.N), fmt.Sprint(l.Lost))...))
	}
	s.Exhibits = []exhibit{{Chart: rangeChart("Times to the steps of a transaction's life", "since submitted, logarithmic", lifeSpans(steps)), Tables: []table{t}}}
	return s
}

func lifeSpans(steps []LifeStep) (spans []span) {
	for _, l := range steps {
		spans = append(spans, span{
			label: l.Step, lo: float64(l.P5), mid: float64(l.P50), hi: float64(l.P95), text: millisecond.figure(float64(l.P50)),
		})
	}
	return spans
}
