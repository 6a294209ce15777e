package devnet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pheme-net/pheme/devnet/experiment"
)

func TestFits(t *testing.T) {
	s := virtualSpec(1000, 10, "world")
	s.Resolve()
	need := s.Memory()
	for free, want := range map[int64]bool{0: true, need: true, need + 1: true, need - 1: false, 1 << 20: false} {
		err := fits(s, free)
		if (err == nil) != want || err != nil && (!errors.Is(err, experiment.ErrInvalid) || !strings.Contains(err.Error(), fmt.Sprintf("about %.1f GiB", float64(need)/(1<<30)))) {
			t.Errorf("fits with %d of %d bytes free: %v", free, need, err)
		}
	}
}

// TestFitsIntoTheSweep: what is free for a cell is what was when its sweep began, whatever the seeds of other cells hold now.
func TestFitsIntoTheSweep(t *testing.T) {
	s := smallSpec()
	s.Engine, s.Net.Nodes, s.Chain.BlockSize, s.Load.TxSize = "virtual", 5000, 4<<20, 32<<10 // more than any machine has
	s.Resolve()
	for free, want := range map[int64]bool{s.Memory(): true, s.Memory() - 1: false} {
		ran := false
		cfg := MeasureConfig{Experiment: s, Out: t.TempDir(), lanes: newLanes(1, free)}
		cfg.engine = func(context.Context, experiment.Spec, int64, *progress) (*observation, error) {
			ran = true
			return nil, errors.New("enough")
		}
		if _, err := Measure(t.Context(), cfg, nil); ran != want || errors.Is(err, experiment.ErrInvalid) == want {
			t.Errorf("with %d of %d bytes free when the sweep began: ran %t, %v", free, s.Memory(), ran, err)
		}
	}
}

// TestPace: the rest takes as long as what has passed says, and nothing is said before a slot has passed.
func TestPace(t *testing.T) {
	var p pace
	at := time.Unix(100, 0)
	for _, c := range []struct {
		after time.Duration
		words string
		want  string
	}{
		{0, "connecting 5 nodes", "connecting 5 nodes"},
		{time.Second, fmt.Sprintf(slotMark, 1, 13, "warm-up slot 1 of 3"), "warm-up slot 1 of 3"},
		{3 * time.Second, fmt.Sprintf(slotMark, 2, 13, "warm-up slot 2 of 3"), "warm-up slot 2 of 3, about 24s left"},
		{9 * time.Second, fmt.Sprintf(slotMark, 5, 13, "counted slot 2 of 10"), "counted slot 2 of 10, about 18s left"},
		{25 * time.Second, fmt.Sprintf(slotMark, 13, 13, "counted slot 10 of 10"), "counted slot 10 of 10, about 2s left"},
		{27 * time.Second, "letting the last blocks arrive", "letting the last blocks arrive"},
	} {
		if got := p.told(at.Add(c.after), c.words); got != c.want {
			t.Errorf("told(%q) = %q, want %q", c.words, got, c.want)
		}
	}
}
