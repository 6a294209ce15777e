package devnet

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/report"
	"github.com/pheme-net/pheme/devnet/stats"
)

// tallies are those of all nodes; zero of those that are not up.
func (f *faultRun) tallies(ctx context.Context) ([]tally, error) {
	out := make([]tally, len(f.names))
	up := f.up()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i := range out {
		if !up[i] {
			continue
		}
		g.Go(func() (err error) {
			if out[i], err = f.rig.tally(ctx, i); err != nil && !f.up()[i] {
				err = nil // it was killed meanwhile
			}
			return err
		})
	}
	return out, g.Wait()
}

// finish proves what has no end, before the nodes are stopped.
func (f *faultRun) finish(ctx context.Context) error {
	for of := range f.marks {
		if m := &f.marks[of]; m.begun && !m.ended {
			if err := f.prove(ctx, of); err != nil {
				return err
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = f.clock.Now()
	return nil
}

// prove decides whether an occurrence has happened by what changed since it began.
func (f *faultRun) prove(ctx context.Context, of int) error {
	o := &f.plan.Occurrences[of]
	after, err := f.tallies(ctx)
	if err != nil {
		return err
	}
	up := f.up()
	f.mu.Lock()
	defer f.mu.Unlock()
	m := &f.marks[of]
	var all tally // what everybody counted meanwhile
	knowing, reached := 0, 0
	for i := range after {
		a, b := after[i], m.before[i]
		if a.Received < b.Received || a.Cut < b.Cut || a.Lost < b.Lost || a.Withheld < b.Withheld || a.Second < b.Second { // another life
			b = tally{}
		}
		all.Cut += a.Cut - b.Cut
		if a.Evidence > b.Evidence {
			all.Evidence++
		}
		if up[i] && a.Changes >= f.plan.Begun(of) {
			reached++
		}
		if up[i] {
			knowing++
		}
		if slices.Contains(o.Nodes, i) { // both ends of each link that is changed are
			all.Lost += (a.Lost - a.Cut) - (b.Lost - b.Cut)
			all.Withheld += a.Withheld - b.Withheld
			all.Second += a.Second - b.Second
			if want := f.bends[i]; up[i] && a.Bend != want {
				m.failed = append(m.failed, fmt.Sprintf("n%d is %+v, want %+v", i, a.Bend, want))
			}
		}
	}
	claim := func(happened bool, proof, missing string) {
		if happened {
			m.proofs = append(m.proofs, proof)
		} else {
			m.failed = append(m.failed, missing)
		}
	}
	switch o.Kind {
	case "partition":
		claim(all.Cut > 0, size(all.Cut)+" dropped by the cut", "nothing was dropped by the cut: no link crosses it, or nothing was sent")
	case "pause":
		if f.plan.PausesCut() {
			claim(all.Cut > 0, size(all.Cut)+" of others not taken", "nobody sent it anything")
		}
	case "link", "rates":
		claim(reached == knowing, fmt.Sprintf("in force at %d nodes", reached), fmt.Sprintf("%d of %d nodes do not know of it", knowing-reached, knowing))
		if f.plan.Losing(of) {
			claim(all.Lost > 0, size(all.Lost)+" lost", "nothing was lost")
		}
	case "silent":
		claim(all.Withheld > 0, fmt.Sprintf("%d messages not passed on", all.Withheld), "they had nothing to pass on")
	case "equivocate":
		claim(all.Second > 0 && all.Evidence > 0, fmt.Sprintf("%d second blocks, known as such to %d nodes", all.Second, all.Evidence),
			fmt.Sprintf("%d second blocks were signed, %d nodes know of any: they had no slot, or empty blocks", all.Second, all.Evidence))
	case "skew":
		claim(true, "their clocks are off", "")
	}
	return nil
}

// results are the occurrences as the report shows them; in has the recordings of all nodes.
func (f *faultRun) results(in recorder.Input) (out []report.Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	alive := in
	alive.Nodes = slices.Clone(in.Nodes)
	for i := range alive.Nodes {
		alive.Nodes[i].Up = f.life[i]
	}
	ms := func(at int64) float64 { return float64(at-f.clock.At(f.begin)) / 1e6 }
	for of := range f.marks {
		m, o := &f.marks[of], &f.plan.Occurrences[of]
		r := report.Fault{Kind: o.Kind, AtMS: o.At.Seconds() * 1e3, EndMS: stats.None(), HeadsEqual: stats.None(), PoolsEqual: stats.None()}
		for _, i := range o.Nodes {
			r.Nodes = append(r.Nodes, f.names[i])
		}
		switch {
		case !m.begun:
			r.Proof = "the run ended before it"
		case len(m.failed) > 0:
			r.AtMS, r.Proof = ms(m.at), strings.Join(m.failed, "; ")
		case len(m.proofs) == 0:
			r.AtMS, r.Proof = ms(m.at), "nothing was seen of it"
		default:
			r.AtMS, r.Happened, r.Proof = ms(m.at), true, strings.Join(m.proofs, "; ")
		}
		end := m.end
		if m.ended {
			r.EndMS = stats.Number(ms(m.end))
		} else if o.Kind == "join" {
			end = m.at
		}
		if m.begun && (m.ended || o.Kind == "join") {
			if at, ok := recorder.HeadsEqual(alive, end); ok {
				r.HeadsEqual = stats.Number(float64(at-end) / 1e6)
			} else if end+int64(in.Horizon) <= f.over { // else the run ended too soon to say
				r.HeadsEqual = stats.Number(math.Inf(1))
			}
		}
		if m.ended && o.Kind == "partition" {
			h := recorder.Heal(alive, end)
			r.PoolsEqual, r.Lacking, r.Repair = stats.Number(math.Inf(1)), h.Lacking, h.Repair
			if h.Whole {
				r.PoolsEqual = stats.Number(float64(h.Equal-end) / 1e6)
			}
		}
		out = append(out, r)
	}
	return out
}

// size is bytes for a person.
func size(bytes uint64) string {
	if bytes < 10<<10 {
		return fmt.Sprintf("%d bytes", bytes)
	}
	return fmt.Sprintf("%.0f KiB", float64(bytes)/1024)
}
