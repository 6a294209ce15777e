package devnet

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/host"
	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/report"
)

// lanes holds the seeds of virtual runs that go side by side: one a core, since a seed computes on one, and together no more than
// 70 % of the memory that was free, but always one.
type lanes struct {
	cores int
	free  int64 // bytes, before any of them ran; 0 is unknown, which bounds nothing
	room  int64 // of free; likewise

	turn   *semaphore.Weighted // one a core
	memory *semaphore.Weighted
}

func newLanes(cores int, free int64) *lanes {
	room := free / 10 * 7
	return &lanes{cores: cores, free: free, room: room, turn: semaphore.NewWeighted(int64(cores)), memory: semaphore.NewWeighted(max(1, room))}
}

// lanesHere are those of this machine.
func lanesHere() *lanes { return newLanes(runtime.NumCPU(), host.FreeMemory(proc)) }

// width is how many seeds of an experiment may run side by side. Processes run in real time and need the machine for themselves.
func (l *lanes) width(s experiment.Spec) int {
	if !s.Virtual() {
		return 1
	}
	n := min(l.cores, len(s.Seeds))
	if l.room > 0 {
		n = min(n, int(l.room/s.Memory()))
	}
	return max(1, n)
}

// enter waits until a run that takes so much memory may begin; the caller calls leave when it has ended.
func (l *lanes) enter(ctx context.Context, memory int64) (leave func(), err error) {
	if err := l.turn.Acquire(ctx, 1); err != nil {
		return nil, context.Cause(ctx)
	}
	takes := int64(0)
	if l.room > 0 {
		takes = min(memory, l.room)
	}
	if err := l.memory.Acquire(ctx, takes); err != nil {
		l.turn.Release(1)
		return nil, context.Cause(ctx)
	}
	return func() { l.memory.Release(takes); l.turn.Release(1) }, nil
}

// judged is what came of one seed that is fit to report.
type judged struct {
	run   report.Run
	notes []string
}

// measureSeed runs one seed and judges whether it is fit to report.
func measureSeed(ctx context.Context, run engine, spec experiment.Spec, seed int64, p *progress) (m judged, err error) {
	seen, err := run(ctx, spec, seed, p)
	if err != nil {
		return m, err
	}
	record, err := recorder.Join(seen.input)
	if err != nil {
		return m, err
	}
	seen.judgeHost(record)
	seen.floors.apply(record)
	if err := fit(spec, seen, record); err != nil {
		return m, err
	}
	m.run = report.Run{
		Seed: seed, Record: record, Warmup: sealedIn(seen), Slots: blockSlots(spec), Wall: seen.wall, Host: seen.host, Processes: seen.processes, Faults: seen.faults,
	}
	m.notes = remarks(spec, seen, record)
	return m, nil
}

// measureSeeds runs the planned seeds of an experiment, side by side as far as the lanes allow, and then one after another those that
// its until_ci asks for. What it returns is in the order of the seeds, whichever ended first; the error is that of the first of them
// that has one, and ends those after it.
func measureSeeds(ctx context.Context, l *lanes, run engine, spec experiment.Spec, p *progress) (runs []report.Run, notes []string, err error) {
	n := len(spec.Seeds)
	planned, failed := make([]judged, n), make([]error, n)
	within, cancel := make([]context.Context, n), make([]context.CancelFunc, n)
	for i := range within {
		within[i], cancel[i] = context.WithCancel(ctx)
		defer cancel[i]()
	}
	b := &board{p: p, total: n, where: map[int]string{}}
	var g errgroup.Group
	g.SetLimit(l.width(spec))
	for i, seed := range spec.Seeds {
		g.Go(func() error {
			failed[i] = l.lane(within[i], spec, func() (err error) {
				planned[i], err = measureSeed(within[i], run, spec, seed, b.begins(i, seed))
				return err
			})
			if b.ended(i); failed[i] != nil {
				for _, later := range cancel[i+1:] {
					later()
				}
			}
			return nil
		})
	}
	_ = g.Wait() // each error is in its place
	for i, m := range planned {
		if failed[i] != nil {
			return nil, nil, failed[i]
		}
		runs, notes = append(runs, m.run), append(notes, m.notes...)
	}
	further := newSeeds(spec)
	for {
		seed, more := further.next(runs)
		if !more {
			return runs, append(notes, further.remark(spec)...), nil
		}
		err := l.lane(ctx, spec, func() error {
			m, err := measureSeed(ctx, run, spec, seed, p)
			runs, notes = append(runs, m.run), append(notes, m.notes...)
			return err
		})
		if err != nil {
			return nil, nil, err
		}
	}
}

// lane calls f when a seed of the experiment may run.
func (l *lanes) lane(ctx context.Context, spec experiment.Spec, f func() error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if spec.Virtual() {
		leave, err := l.enter(ctx, spec.Memory())
		if err != nil {
			return err
		}
		defer leave()
	}
	return f()
}

// expected is how long the planned seeds take.
func (l *lanes) expected(s experiment.Spec) time.Duration {
	width := l.width(s)
	rounds := (len(s.Seeds) + width - 1) / width
	return s.Expected() / time.Duration(max(1, len(s.Seeds))) * time.Duration(rounds)
}

// board says in one line where seeds stand that run side by side: how many are done, and how far the first of the others is.
type board struct {
	p     *progress
	total int

	mu    sync.Mutex
	done  int
	where map[int]string // by place in the experiment: what a seed that runs has said last
}

// begins is where seed i tells its progress.
func (b *board) begins(i int, seed int64) *progress {
	if b.total == 1 {
		return b.p
	}
	return &progress{up: func(text string) { b.told(i, fmt.Sprintf("seed %d: %s", seed, text)) }}
}

func (b *board) told(i int, text string) {
	b.mu.Lock()
	b.where[i] = text
	first := i
	for j := range b.where {
		first = min(first, j)
	}
	line := fmt.Sprintf("%d of %d seeds done, %d running; %s", b.done, b.total, len(b.where), b.where[first])
	b.mu.Unlock()
	b.p.now("%s", line)
}

func (b *board) ended(i int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.where, i)
	b.done++
}
