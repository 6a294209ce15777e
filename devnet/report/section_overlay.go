package report

import "fmt"

// overlaySection puts the headline figures of the runs laid over beside this one's.
func overlaySection(r *Results) section {
	s := section{
		ID: "beside", Title: "Beside other runs",
		Lead: "The same figures of another run. The KS distance is the largest gap between the two coverage curves at any time, 0 where they are one; ratios are this run's over the other's.",
	}
	for _, o := range r.Overlays {
		t := table{Head: []heading{{"figure", true}, {"", true}, {Name: "here"}, {Name: "95 % interval"}, {Name: o.Name}, {Name: "95 % interval"}}}
		for _, h := range headline {
			a, b := r.Summary[h.metric], o.Summary[h.metric]
			if a.Value.Valid() && b.Value.Valid() {
				t.Rows = append(t.Rows, cells(h.group, h.label, h.unit.figure(float64(a.Value)), intervalText(h.unit, a), h.unit.figure(float64(b.Value)), intervalText(h.unit, b)))
			}
		}
		near := table{Head: words("how far apart||KS distance|p50 ratio|p99 ratio")}
		for _, c := range []struct {
			name  string
			curve OverlayCurve
		}{{"blocks", o.Block}, {"transactions", o.Tx}} {
			if c.curve.Deliveries > 0 {
				near.Rows = append(near.Rows, cells(c.name, plain.figure(float64(c.curve.KS)), times.figure(float64(c.curve.P50)), times.figure(float64(c.curve.P99))))
			}
		}
		what := table{Summary: fmt.Sprintf("Table: in what the two experiments differ (digest %s, revision %s)", o.Digest, o.Revision), Head: words("key|here|" + "there")}
		for _, d := range o.Differences {
			what.Rows = append(what.Rows, cells(d.Key, d.Here, d.Theirs))
		}
		s.Exhibits = append(s.Exhibits, exhibit{Title: "Against " + o.Name, Tables: []table{near, t, what}})
	}
	return s
}
