package report

import (
	"github.com/pheme-net/pheme/devnet/stats"
)

// memberFigures are of membership: what the nodes found out about crashes, about returns, and what they got wrong.
func (s *summary) memberFigures() {
	var suspect, dead, alive [][]float64
	crashes, rejoins := make([]int, len(s.runs)), make([]int, len(s.runs))
	wrong, suspicions, hours := 0, 0, 0.0
	for i, r := range s.runs {
		m := &r.Record.Members
		crashes[i], rejoins[i] = len(m.Crashes), len(m.Rejoins)
		for _, c := range m.Crashes {
			suspect, dead = append(suspect, []float64{c.Suspect}), append(dead, c.Dead)
		}
		for _, j := range m.Rejoins {
			alive = append(alive, j.Alive)
		}
		wrong += m.False
		suspicions += m.Suspicions
		hours += m.Hours
	}
	figures := func(name string, counts []int, clusters [][]float64, why string) {
		all := stats.NewSamples(clusters)
		for suffix, q := range map[string]float64{"_p50_ms": .50, "_p99_ms": .99} {
			if all.Len() == 0 || s.unwatched() {
				s.out[name+suffix] = stats.Missing(why)
				continue
			}
			s.out[name+suffix] = stats.NewResampler(counts, s.spec.Report.Draws, s.rng()).PercentileFigure(all, q)
		}
		if all.Len() == 0 || s.unwatched() {
			s.out[name+"_max_ms"] = stats.Missing(why)
		} else {
			s.out[name+"_max_ms"] = maximum(all.Values())
		}
	}
	figures("members.suspect", crashes, suspect, "no crash was watched")
	figures("members.dead", crashes, dead, "no crash was watched")
	figures("members.rejoin", rejoins, alive, "no return was watched")
	if s.unwatched() {
		for _, name := range []string{"false_deaths", "false_deaths_per_node_hour", "suspicions"} {
			s.out["members."+name] = stats.Missing("members are off")
		}
		return
	}
	s.out["members.suspicions"] = stats.Bare(float64(suspicions), len(s.runs), "a count")
	s.out["members.false_deaths"] = stats.Bare(float64(wrong), len(s.runs), "a count")
	s.out["members.false_deaths_per_node_hour"] = stats.Bare(float64(wrong)/hours, wrong, "a count by the time that nodes were up")
}

// unwatched says whether no node finds out who is there.
func (s *summary) unwatched() bool { return s.spec.Net.Members == "off" }
