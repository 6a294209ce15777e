package bubble

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"testing/synctest"
	"time"
)

// ErrStalled is wrapped by Run's error when virtual time cannot go on or come to an end: goroutines are
// stuck or left behind.
var ErrStalled = errors.New("bubble: virtual time stalled")

// Run calls f in a bubble of its own and returns its error. A panic in f comes back as an error, and so
// does [ErrStalled], beside f's own if it has one. Meanwhile garbage is collected by Collect only: a
// collection in the midst of work would change the order of things and, above a thousand nodes,
// stall them.
func Run(f func() error) (err error) {
	runtime.GC() // none may be under way
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	defer func() {
		if r := recover(); r != nil {
			err = errors.Join(err, fmt.Errorf("%w: %v", ErrStalled, r))
		}
	}()
	// The zero T has no runner behind it: nothing here may touch it.
	synctest.Test(&testing.T{}, func(*testing.T) {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
			}
		}()
		err = f()
	})
	return err
}

// Collect collects garbage until ctx ends: only when nothing else in the bubble can run, and only
// after the heap has grown by step bytes and by half.
func Collect(ctx context.Context, step uint64) {
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	base := uint64(0)
	for ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if metrics.Read(heap); heap[0].Value.Uint64() > base+max(step, base/2) {
			runtime.GC()
			metrics.Read(heap)
			base = heap[0].Value.Uint64()
		}
	}
}
