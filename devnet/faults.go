package devnet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/devnet/fault"
	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/report"
	"github.com/pheme-net/pheme/devnet/stats"
	"github.com/pheme-net/pheme/p2p/link"
	"github.com/pheme-net/pheme/p2p/trace"
)

// rig is what an engine does to its nodes. Its methods are called from several goroutines, those of
// one node from one at a time.
type rig interface {
	// follow adds changes to the links' schedule, at times of the wall clock.
	follow(ctx context.Context, changes []link.Timed, begin time.Time) error
	// kill ends a node at once and says what was seen of its end.
	kill(i int) (proof string, err error)
	// start starts a node on its data; connect then connects it to those of its neighbours that
	// are up.
	start(ctx context.Context, i int) error
	connect(ctx context.Context, i int, up []bool) error
	// lacks says what a node still needs of those that are up to be served by gossip, or nothing.
	lacks(ctx context.Context, i int, up []bool) (string, error)
	// bend makes a node what b says; pause and resume stop it and let it go on.
	bend(ctx context.Context, i int, b fault.Bend) error
	pause(i int) (proof string, err error)
	resume(i int) error
	// tally reads what a node that is up has counted.
	tally(ctx context.Context, i int) (tally, error)
}

// tally is what proves that faults have happened, of one node since its start, or of several.
type tally struct {
	Cut, Lost, Received uint64 // bytes of its links
	Withheld, Second    uint64 // messages not passed on, second blocks published
	Evidence            uint64 // slots it saw signed twice
	Changes             int    // of the links' schedule: in virtual time those in effect, of a process those it knows
	Bend                fault.Bend
}

// meshAgain is how long a node that starts during a run may take until it counts as up although
// its meshes are not formed: it may be cut off from its neighbours.
const meshAgain = 10 * time.Second

// faultRun plays the schedule of faults of one run. The mutex guards what stands below it.
type faultRun struct {
	plan  *fault.Plan
	rig   rig
	clock trace.Clock
	begin time.Time // of the window
	names []string

	mu     sync.Mutex
	alive  []bool
	paused []bool
	spans  [][]recorder.Span // when each belonged to E; the last one may be open
	life   [][]recorder.Span // when each was alive
	bends  []fault.Bend
	marks  []mark
}

// mark is what is known of one occurrence.
type mark struct {
	begun, ended bool
	at, end      int64   // of the run's clock
	before       []tally // of all nodes when it began
	proofs       []string
	failed       []string
}

// always is the end of time on a run's clock.
const always = math.MaxInt64 / 2

func newFaultRun(plan *fault.Plan, r rig, clock trace.Clock, nodes int) *faultRun {
	f := &faultRun{
		plan: plan, rig: r, clock: clock, alive: make([]bool, nodes), paused: make([]bool, nodes),
		spans: make([][]recorder.Span, nodes), life: make([][]recorder.Span, nodes), bends: make([]fault.Bend, nodes), marks: make([]mark, len(plan.Occurrences)),
	}
	for i := range nodes {
		f.names = append(f.names, fmt.Sprintf("n%d", i))
		if f.alive[i] = !slices.Contains(plan.Absent, i); f.alive[i] {
			f.spans[i] = []recorder.Span{{From: -always, To: always}}
			f.life[i] = slices.Clone(f.spans[i])
		}
	}
	return f
}

// up is which nodes serve: those that are alive and not paused.
func (f *faultRun) up() []bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := slices.Clone(f.alive)
	for i := range out {
		out[i] = out[i] && !f.paused[i]
	}
	return out
}

// prepare hands the changes of the links to the rig; the window begins at begin.
func (f *faultRun) prepare(ctx context.Context, begin time.Time) error {
	f.begin = begin
	if len(f.plan.Changes) == 0 {
		return nil
	}
	return f.rig.follow(ctx, f.plan.Changes, begin)
}

// run plays the schedule and returns when the last action is done and every node that was started
// counts as up.
func (f *faultRun) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	err := func() error {
		for _, a := range f.plan.Actions {
			if err := until(ctx, f.begin.Add(a.At)); err != nil {
				return err
			}
			if err := f.act(ctx, g, a); err != nil {
				return err
			}
		}
		return nil
	}()
	return errors.Join(err, g.Wait())
}

// act does what one action says; what takes longer goes on in g.
func (f *faultRun) act(ctx context.Context, g *errgroup.Group, a fault.Action) error {
	if a.Begin {
		before, err := f.tallies(ctx)
		if err != nil {
			return err
		}
		f.mu.Lock()
		f.marks[a.Of].before = before
		f.mu.Unlock()
	} else if err := f.prove(ctx, a.Of); err != nil { // while it is still in force
		return err
	}
	f.mu.Lock()
	m := &f.marks[a.Of]
	if now := f.clock.Now(); a.Begin {
		m.begun, m.at = true, now
	} else {
		m.ended, m.end = true, now
	}
	f.mu.Unlock()
	var all errgroup.Group
	for k, i := range a.Nodes {
		switch a.Do {
		case fault.Kill:
			all.Go(func() error { return f.kill(a.Of, i) })
		case fault.Start:
			g.Go(func() error { return f.start(ctx, a.Of, i) })
		case fault.Pause:
			all.Go(func() error { return f.pause(a.Of, i) })
		case fault.Resume:
			all.Go(func() error { return f.resume(i) })
		case fault.Deform:
			all.Go(func() error { return f.deform(ctx, i, a.Bends[k]) })
		}
	}
	return all.Wait()
}

func (f *faultRun) note(of int, proof string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.marks[of].proofs = append(f.marks[of].proofs, proof)
}

func (f *faultRun) kill(of, i int) error {
	f.mu.Lock()
	f.alive[i] = false
	for _, all := range [][]recorder.Span{f.spans[i], f.life[i]} {
		if n := len(all); n > 0 {
			all[n-1].To = min(all[n-1].To, f.clock.Now())
		}
	}
	f.mu.Unlock()
	proof, err := f.rig.kill(i)
	if err != nil {
		return fmt.Errorf("kill n%d: %w", i, err)
	}
	f.note(of, fmt.Sprintf("n%d: %s", i, proof))
	return nil
}

// start brings a node up. It belongs to E of what is born once its meshes are formed.
func (f *faultRun) start(ctx context.Context, of, i int) error {
	began := time.Now()
	if err := f.rig.start(ctx, i); err != nil {
		return fmt.Errorf("start n%d: %w", i, err)
	}
	f.mu.Lock()
	f.alive[i] = true // before it looks whom to connect to: of two that start at once, one sees the other
	at := f.marks[of].at
	if f.marks[of].ended {
		at = f.marks[of].end
	}
	f.life[i] = append(f.life[i], recorder.Span{From: at, To: always}) // from then on it is waited for
	b := f.bends[i]
	f.mu.Unlock()
	if b != (fault.Bend{}) {
		if err := f.rig.bend(ctx, i, b); err != nil {
			return err
		}
	}
	if err := f.rig.connect(ctx, i, f.up()); err != nil && f.up()[i] {
		return fmt.Errorf("connect n%d: %w", i, err)
	}
	limit, missing := time.Now().Add(meshAgain), ""
	tick := time.NewTicker(lookEvery / 5)
	defer tick.Stop()
	for time.Now().Before(limit) && f.up()[i] {
		var err error
		if missing, err = f.rig.lacks(ctx, i, f.up()); err != nil && f.up()[i] {
			return err
		}
		if missing == "" && err == nil {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.alive[i] { // killed again meanwhile
		return nil
	}
	f.spans[i] = append(f.spans[i], recorder.Span{From: f.clock.Now(), To: always})
	proof := fmt.Sprintf("n%d: up after %v", i, time.Since(began).Round(time.Millisecond))
	if missing != "" {
		proof += ", although " + missing
	}
	f.marks[of].proofs = append(f.marks[of].proofs, proof)
	return nil
}

func (f *faultRun) pause(of, i int) error {
	f.mu.Lock()
	f.paused[i] = true
	f.mu.Unlock()
	proof, err := f.rig.pause(i)
	if err != nil {
		return fmt.Errorf("pause n%d: %w", i, err)
	}
	f.note(of, fmt.Sprintf("n%d: %s", i, proof))
	return nil
}

func (f *faultRun) resume(i int) error {
	if err := f.rig.resume(i); err != nil {
		return fmt.Errorf("resume n%d: %w", i, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.paused[i] = false
	return nil
}

func (f *faultRun) deform(ctx context.Context, i int, b fault.Bend) error {
	f.mu.Lock()
	f.bends[i] = b
	alive := f.alive[i]
	f.mu.Unlock()
	if !alive {
		return nil // when it starts
	}
	if err := f.rig.bend(ctx, i, b); err != nil {
		return fmt.Errorf("bend n%d: %w", i, err)
	}
	return nil
}

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
			r.HeadsEqual = stats.Number(math.Inf(1))
			if at, ok := recorder.HeadsEqual(alive, end); ok {
				r.HeadsEqual = stats.Number(float64(at-end) / 1e6)
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

// upSpans is when a node belonged to E; nil is always.
func (f *faultRun) upSpans(i int) []recorder.Span {
	f.mu.Lock()
	defer f.mu.Unlock()
	return spansOf(f.spans[i])
}

// spansOf are spans as the recorder takes them.
func spansOf(spans []recorder.Span) []recorder.Span {
	switch {
	case len(spans) == 1 && spans[0] == (recorder.Span{From: -always, To: always}):
		return nil
	case spans == nil:
		return []recorder.Span{{From: always, To: always}} // never
	}
	return slices.Clone(spans)
}

// lives is when a node ran; nil is always.
func (f *faultRun) lives(i int) []recorder.Span {
	f.mu.Lock()
	defer f.mu.Unlock()
	return spansOf(f.life[i])
}

// survives says whether a node is to be alive at the end.
func (f *faultRun) survives(i int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.alive[i]
}

// size is bytes for a person.
func size(bytes uint64) string {
	if bytes < 10<<10 {
		return fmt.Sprintf("%d bytes", bytes)
	}
	return fmt.Sprintf("%.0f KiB", float64(bytes)/1024)
}
