package bubble

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestRunIsVirtual(t *testing.T) {
	began := time.Now()
	err := Run(func() error {
		start := time.Now()
		time.Sleep(72 * time.Hour)
		if d := time.Since(start); d != 72*time.Hour {
			t.Errorf("72 hours took %v", d)
		}
		return nil
	})
	if err != nil || time.Since(began) > time.Hour {
		t.Fatalf("Run = %v", err)
	}
}

// TestRunReportsWhatGoesWrong pins what Run leans on: that a bubble's failures can be caught.
func TestRunReportsWhatGoesWrong(t *testing.T) {
	own := errors.New("own")
	if err := Run(func() error { return own }); !errors.Is(err, own) {
		t.Errorf("Run = %v, want the function's error", err)
	}
	if err := Run(func() error { panic("oh") }); err == nil || !strings.Contains(err.Error(), "panic: oh") {
		t.Errorf("Run = %v, want the panic", err)
	}
	if err := Run(func() error { <-make(chan int); return nil }); !errors.Is(err, ErrStalled) || !strings.Contains(err.Error(), "deadlock") {
		t.Errorf("Run = %v, want the deadlock", err)
	}
}

func TestCollectEnds(t *testing.T) {
	err := Run(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		Collect(ctx, 1<<20)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
