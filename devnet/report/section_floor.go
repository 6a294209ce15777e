package report

import (
	"fmt"
	"strings"
)

// floorSection is the distance to what physics allows, and the nodes that are farthest from it.
func floorSection(r *Results) section {
	s := section{ID: "floor", Title: "Distance to the physical floor"}
	if points := r.Stretch.Points; len(points) > 0 {
		s.Lead = "The floor of a delivery is the time its bytes need at the slower end plus the shortest way over the open connections: no scheme that moves the bytes over them beats it. A dot on the ray 2x took twice that."
		if text := r.belowFloor(); text != "" {
			s.Lead += " " + text
		}
		title := "Every delivery of a block"
		if len(points) < r.Stretch.Of {
			title = fmt.Sprintf("%d of %d deliveries of blocks, evenly over the ranks of their latency", len(points), r.Stretch.Of)
		}
		s.Exhibits = append(s.Exhibits, exhibit{Title: title, Key: hopLegend(points), Chart: scatterChart(points), Tables: []table{floorTable(r)}})
	} else {
		s.Lead = "There is none to compare with: " + r.Summary["block.stretch_p95"].Why + "."
	}
	if len(r.Worst) > 0 {
		s.Exhibits = append(s.Exhibits, exhibit{Title: fmt.Sprintf("The %d worst nodes, and why", len(r.Worst)), Tables: []table{worstTable(r)}})
	}
	return s
}

// belowFloor says why a stretch is below 1, "" where none is.
func (r *Results) belowFloor() string {
	if r.Summary["block.stretch_p95"].Value < 1 {
		return "The stretch is below 1: this relay moved fewer bytes than the blocks have, since pools held their transactions already."
	}
	return ""
}

func floorTable(r *Results) table {
	t := table{Summary: "Table: latency over floor", Head: append(words("figure||value|95 % interval"), heading{"", true})}
	for _, metric := range []string{"block.p95_ms", "block.floor_p95_ms", "block.stretch_p95", "block.stretch_net_p95"} {
		h, f := headlineOf(metric), r.Summary[metric]
		t.Rows = append(t.Rows, cells(h.group+" "+strings.TrimSpace(h.label), h.unit.figure(float64(f.Value)), intervalText(h.unit, f), h.about))
	}
	return t
}

func worstTable(r *Results) table {
	t := table{Head: words("node|region||p95|floor p95|stretch|lost")}
	t.Head = append(t.Head, heading{"why", true})
	for _, w := range r.Worst {
		t.Rows = append(t.Rows, append(cells(seeded(r, w.Seed, w.Name), w.Region), timeCell(float64(w.P95)), cell{Text: millisecond.figure(float64(w.Floor))},
			cell{Text: times.figure(float64(w.Stretch))}, cell{fmt.Sprint(w.Lost), w.Lost > 0}, cell{Text: w.Reason}))
	}
	return t
}
