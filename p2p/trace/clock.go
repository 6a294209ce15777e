package trace

import "time"

// Clock reads the time of events: nanoseconds of the system's monotonic clock.
// The zero Clock is not useful; see NewClock and ClockAt. A Clock is a value and
// may be copied and used from any goroutine.
type Clock struct {
	start time.Time // an instant with Go's monotonic reading
	base  int64     // the clock's value at start
}

// NewClock returns the clock of this host. On Linux two processes of one
// machine, and two calls in one process, give the same clock to within about a
// microsecond, because Go's own monotonic reading and CLOCK_MONOTONIC are one
// clock. In virtual time use ClockAt.
func NewClock() Clock {
	best := Clock{}
	width := time.Duration(1 << 62)
	for range 5 { // the tightest of a few brackets: a preemption in between costs precision
		before := time.Now()
		mono := monotonic()
		if d := time.Since(before); d < width {
			width = d
			best = Clock{start: before, base: mono - int64(d)/2}
		}
	}
	return best
}

// ClockAt returns a clock that reads base at the instant start and then follows
// package time, which inside a testing/synctest bubble is virtual time.
func ClockAt(start time.Time, base int64) Clock { return Clock{start: start, base: base} }

// Now returns the time in nanoseconds.
func (c Clock) Now() int64 { return c.base + int64(time.Since(c.start)) }

// At converts an instant read by time.Now in this process.
func (c Clock) At(t time.Time) int64 { return c.base + int64(t.Sub(c.start)) }

// Wall returns the wall time, in nanoseconds since 1970, of the clock's value
// at: the start's wall reading plus the monotonic distance, so that a wall clock
// that is stepped during a run does not bend it.
func (c Clock) Wall(at int64) int64 { return c.start.UnixNano() + (at - c.base) }
