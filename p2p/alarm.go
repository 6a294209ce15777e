package p2p

import "time"

// alarm is a timer that is set anew often while it is pending. It takes a new timer each time: one that is pending and is reset has
// Go's runtime look through all timers of a bubble of virtual time when it is due, which at a thousand nodes was most of the work.
type alarm struct{ *time.Timer }

func newAlarm(d time.Duration) *alarm { return &alarm{time.NewTimer(d)} }

// set makes the alarm go off once, d from now. What it has sent before is forgotten.
func (a *alarm) set(d time.Duration) {
	a.Stop()
	a.Timer = time.NewTimer(d)
}
