package devnet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/devnet/fault"
	"github.com/pheme-net/pheme/devnet/recorder"
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
	over   int64 // when the run was looked at to its end
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

// observe waits until what follows the faults has been seen for a horizon: before, "not yet" is no "never".
func (f *faultRun) observe(ctx context.Context) error {
	last := int64(-always)
	f.mu.Lock()
	for of := range f.marks {
		m := &f.marks[of]
		begin, end := f.plan.Watched(of)
		if begin && m.begun {
			last = max(last, m.at)
		}
		if end && m.ended {
			last = max(last, m.end)
		}
	}
	f.mu.Unlock()
	left := time.Duration(last+int64(f.plan.Horizon())) - time.Duration(f.clock.Now())
	if left <= 0 {
		return nil
	}
	return until(ctx, time.Now().Add(left))
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
			all.Go(func() error { return f.pause(i) })
		case fault.Resume:
			all.Go(func() error { return f.resume(ctx, i) })
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

// start brings a node up. It belongs to E of what is born once its meshes are formed; a node that
// starts inside a pause connects when that is over.
func (f *faultRun) start(ctx context.Context, of, i int) error {
	began := time.Now()
	if err := f.rig.start(ctx, i); err != nil {
		return fmt.Errorf("start n%d: %w", i, err)
	}
	life, err := f.enter(ctx, of, i)
	if err != nil {
		return fmt.Errorf("start n%d: %w", i, err)
	}
	tick := time.NewTicker(lookEvery / 5)
	defer tick.Stop()
	wait := func() error {
		select {
		case <-tick.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for f.nth(i) == life && !f.up()[i] {
		if err := wait(); err != nil {
			return err
		}
	}
	if f.nth(i) != life {
		return nil
	}
	if err := f.rig.connect(ctx, i, f.up()); err != nil && f.up()[i] {
		return fmt.Errorf("connect n%d: %w", i, err)
	}
	limit, missing := time.Now().Add(meshAgain), ""
	for time.Now().Before(limit) && f.up()[i] {
		var err error
		if missing, err = f.rig.lacks(ctx, i, f.up()); err != nil && f.up()[i] {
			return err
		}
		if missing == "" && err == nil {
			break
		}
		if err := wait(); err != nil {
			return err
		}
	}
	if f.nth(i) != life { // killed again meanwhile
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spans[i] = append(f.spans[i], recorder.Span{From: f.clock.Now(), To: always})
	proof := fmt.Sprintf("n%d: up after %v", i, time.Since(began).Round(time.Millisecond))
	if missing != "" {
		proof += ", although " + missing
	}
	f.marks[of].proofs = append(f.marks[of].proofs, proof)
	return nil
}

// enter makes a node that has just started what the faults in force say, then counts it as alive and
// returns the number of its life. Until then no action touches it.
func (f *faultRun) enter(ctx context.Context, of, i int) (life int, err error) {
	var bent fault.Bend
	for stopped := false; ; {
		f.mu.Lock()
		b, paused := f.bends[i], f.paused[i]
		if stopped == paused && (paused || b == bent) { // one that stands still is bent when it goes on
			f.alive[i] = true // before it looks whom to connect to: of two that start at once, one sees the other
			at := f.marks[of].at
			if f.marks[of].ended {
				at = f.marks[of].end
			}
			f.life[i] = append(f.life[i], recorder.Span{From: at, To: always}) // from then on it is waited for
			life = len(f.life[i])
			f.mu.Unlock()
			return life, nil
		}
		f.mu.Unlock()
		switch {
		case paused:
			err = f.stop(i)
		case stopped:
			err = f.rig.resume(i)
		default:
			bent, err = b, f.rig.bend(ctx, i, b)
		}
		if stopped = paused; err != nil {
			return 0, err
		}
	}
}

// nth is which life of a node it is that it lives; 0 while it is down.
func (f *faultRun) nth(i int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.alive[i] {
		return 0
	}
	return len(f.life[i])
}

// pause stops a node, or has it stop when it starts.
func (f *faultRun) pause(i int) error {
	f.mu.Lock()
	f.paused[i] = true
	alive := f.alive[i]
	f.mu.Unlock()
	if !alive {
		return nil
	}
	return f.stop(i)
}

// stop stops a node that runs. That proves all the pauses that it is in.
func (f *faultRun) stop(i int) error {
	proof, err := f.rig.pause(i)
	if err != nil {
		return fmt.Errorf("pause n%d: %w", i, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for of, o := range f.plan.Occurrences {
		if m := &f.marks[of]; o.Kind == "pause" && m.begun && !m.ended && slices.Contains(o.Nodes, i) {
			m.proofs = append(m.proofs, fmt.Sprintf("n%d: %s", i, proof))
		}
	}
	return nil
}

// resume lets a node go on, as what the faults have made of it meanwhile.
func (f *faultRun) resume(ctx context.Context, i int) error {
	f.mu.Lock()
	alive := f.alive[i]
	if !alive {
		f.paused[i] = false
	}
	f.mu.Unlock()
	if !alive {
		return nil
	}
	if err := f.rig.resume(i); err != nil {
		return fmt.Errorf("resume n%d: %w", i, err)
	}
	f.mu.Lock()
	f.paused[i] = false
	b := f.bends[i]
	f.mu.Unlock()
	if !f.plan.Bending() {
		return nil
	}
	if err := f.rig.bend(ctx, i, b); err != nil {
		return fmt.Errorf("bend n%d: %w", i, err)
	}
	return nil
}

func (f *faultRun) deform(ctx context.Context, i int, b fault.Bend) error {
	f.mu.Lock()
	f.bends[i] = b
	up := f.alive[i] && !f.paused[i]
	f.mu.Unlock()
	if !up {
		return nil // when it starts, or goes on
	}
	if err := f.rig.bend(ctx, i, b); err != nil {
		return fmt.Errorf("bend n%d: %w", i, err)
	}
	return nil
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
