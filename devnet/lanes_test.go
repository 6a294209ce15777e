package devnet

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pheme-net/pheme/devnet/experiment"
)

func seedsSpec(seeds ...int64) experiment.Spec {
	s := smallSpec()
	s.Engine, s.Seeds = "virtual", seeds
	s.Resolve()
	return s
}

func TestLanesWidth(t *testing.T) {
	five := seedsSpec(1, 2, 3, 4, 5)
	process := five
	process.Engine = "process"
	need := five.Memory()
	for _, tt := range []struct {
		name  string
		cores int
		free  int64
		spec  experiment.Spec
		want  int
	}{
		{"as many as cores", 2, 100 * need, five, 2},
		{"no more than seeds", 8, 100 * need, five, 5},
		{"70 % of the memory", 4, 5 * need, five, 3},
		{"always one", 4, need / 2, five, 1},
		{"nobody knows the memory", 4, 0, five, 4},
		{"processes alone", 4, 100 * need, process, 1},
	} {
		if got := newLanes(tt.cores, tt.free).width(tt.spec); got != tt.want {
			t.Errorf("%s: width() = %d, want %d", tt.name, got, tt.want)
		}
	}
}

// TestSeedsSideBySide: two seeds run at a time, never three, and what they give stands in their order, whichever ends first.
func TestSeedsSideBySide(t *testing.T) {
	spec := seedsSpec(11, 12, 13)
	first, second, third := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	running, most := 0, 0
	count := func(by int) {
		mu.Lock()
		defer mu.Unlock()
		running += by
		most = max(most, running)
	}
	run := func(ctx context.Context, _ experiment.Spec, seed int64, p *progress) (*observation, error) {
		count(1)
		defer count(-1)
		p.now("begun")
		switch seed {
		case 11: // ends last
			close(first)
			<-second
			<-third
		case 12:
			<-first
			close(second)
		case 13:
			close(third)
		}
		return scripted(), nil
	}
	runs, _, err := measureSeeds(t.Context(), newLanes(2, 100*spec.Memory()), run, spec, newProgress(nil))
	if err != nil {
		t.Fatal(err)
	}
	var order []int64
	for _, r := range runs {
		order = append(order, r.Seed)
	}
	if !slices.Equal(order, spec.Seeds) || most != 2 {
		t.Errorf("runs of seeds %v, %d at a time, want %v and 2", order, most, spec.Seeds)
	}
}

// TestSeedsFail: the first seed, in their order, that fails says why, and ends those after it.
func TestSeedsFail(t *testing.T) {
	spec := seedsSpec(1, 2, 3)
	first, begun, ended := errors.New("first"), make(chan struct{}), make(chan struct{})
	run := func(ctx context.Context, _ experiment.Spec, seed int64, _ *progress) (*observation, error) {
		switch seed {
		case 1:
			<-ended
			return nil, first
		case 2:
			<-begun
			return nil, errors.New("second")
		}
		close(begun)
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	}
	if _, _, err := measureSeeds(t.Context(), newLanes(3, 0), run, spec, newProgress(nil)); !errors.Is(err, first) {
		t.Errorf("measureSeeds() = %v, want %v", err, first)
	}
	stop := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	never := func(context.Context, experiment.Spec, int64, *progress) (*observation, error) { return nil, stop }
	if _, _, err := measureSeeds(ctx, newLanes(2, 0), never, spec, newProgress(nil)); !errors.Is(err, stop) {
		t.Errorf("measureSeeds() after the end = %v, want %v", err, stop)
	}
}

// TestNoSeedAfterTheEnd: when a seed of processes has failed, or somebody has had enough, no other begins.
func TestNoSeedAfterTheEnd(t *testing.T) {
	spec := seedsSpec(1, 2, 3)
	spec.Engine = "process"
	for _, enough := range []bool{false, true} {
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("enough")
		var ran []int64
		run := func(_ context.Context, _ experiment.Spec, seed int64, _ *progress) (*observation, error) {
			ran = append(ran, seed)
			if enough {
				cancel(why)
			}
			return nil, why
		}
		_, _, err := measureSeeds(ctx, newLanes(2, 0), run, spec, newProgress(nil))
		if !errors.Is(err, why) || !slices.Equal(ran, []int64{1}) {
			t.Errorf("enough %t: measureSeeds() = %v, ran the seeds %v: want the first alone", enough, err, ran)
		}
		cancel(nil)
	}
}

// TestLanesAreShared: two runs of a sweep together take no more than there is.
func TestLanesAreShared(t *testing.T) {
	l := newLanes(2, 100)
	leave, err := l.enter(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.enter(ctx, 20); err == nil {
		t.Error("80 of 70 bytes were given")
	}
	if again, err := l.enter(t.Context(), 10); err != nil {
		t.Error(err)
	} else {
		again()
	}
	leave()
	if all, err := l.enter(t.Context(), 1000); err != nil { // too large, and alone
		t.Error(err)
	} else {
		all()
	}
}

func TestBoardSaysWhereSeedsStand(t *testing.T) {
	var said bytes.Buffer
	b := &board{p: newProgress(&said), total: 3, where: map[int]string{}}
	one, two := b.begins(0, 7), b.begins(1, 8)
	two.now("slot %d", 5)
	b.p.spoke = b.p.spoke.Add(-pipeEvery)
	one.now("slot %d", 4)
	b.ended(0)
	b.p.spoke = b.p.spoke.Add(-pipeEvery)
	two.now("slot %d", 6)
	for _, want := range []string{"0 of 3 seeds done, 2 running; seed 7: slot 4\n", "1 of 3 seeds done, 1 running; seed 8: slot 6\n"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("said %q, without %q", said.String(), want)
		}
	}
}
