package trace

import "golang.org/x/sys/unix"

// monotonic reads the system-wide monotonic clock in nanoseconds. Both systems
// pheme runs on have it; a failure leaves 0, which only shifts the base.
func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return ts.Nano()
}
