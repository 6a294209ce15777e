package link

import "math"

// Window is the congestion window of one direction of a connection: slow start,
// congestion avoidance and one halving per loss event, as NewReno does it in
// RFC 9002 section 7. Instants are nanoseconds of any clock. Bytes acknowledged,
// lost or cut off leave the flight; nothing else does.
//
//	size
//	 |        /|
//	 |      /  |    _/|      loss: size = half of it,
//	 |     |   | _/   | _/   nothing more is halved for packets sent before
//	 |    /    |/     |/
//	 |  _/
//	 +---------------------> time
//	  slow start  avoidance
type Window struct {
	size, threshold int // threshold: slow start below it
	flight          int
	reaction        Reaction
	cutAt           int64 // packets sent up to then belong to the last loss event
	timeouts        int   // in a row, each of packets sent after the one before
	timeoutAt       int64
	open            bool // start-up is switched off and nothing was lost yet
}

// minWindow is what a window never goes below (RFC 9002 7.2).
const minWindow = 2 * PacketBytes

// maxWindow bounds it like a receiver's connection window does.
const maxWindow = 16 << 20

// NewWindow returns a window that starts with the given size in bytes. With
// NoWindow it holds nothing back until the first loss, which halves what is in
// flight then.
func NewWindow(start int, reaction Reaction) Window {
	return Window{size: start, threshold: math.MaxInt, reaction: reaction, cutAt: math.MinInt64, timeoutAt: math.MinInt64, open: start == NoWindow}
}

// Open reports whether the window holds nothing back.
func (w *Window) Open() bool { return w.open }

// Room returns how many bytes may be sent now.
func (w *Window) Room() int {
	if w.open {
		return math.MaxInt
	}
	return max(0, w.size-w.flight)
}

// Sent takes n bytes into the flight.
func (w *Window) Sent(n int) { w.flight += n }

// Acked tells that n bytes sent at sentAt have arrived. The window grows only
// where it was in use (RFC 9002 7.8) and not on packets from before a loss.
func (w *Window) Acked(sentAt int64, n int) {
	used := w.flight
	w.flight -= n
	w.timeouts = 0
	if w.open || sentAt <= w.cutAt || 2*used < w.size {
		return
	}
	if w.size < w.threshold {
		w.size += n
	} else {
		w.size += max(1, PacketBytes*n/w.size)
	}
	w.size = min(w.size, maxWindow)
}

// Lost tells that n bytes sent at sentAt are known at now to be lost, by later
// packets or by a timeout. Two timeouts in a row are persistent congestion
// (RFC 9002 7.6): the window starts again from its smallest.
func (w *Window) Lost(now, sentAt int64, n int, timeout bool) {
	flight := w.flight
	w.flight -= n
	if w.reaction == None {
		return
	}
	if w.open {
		w.open, w.size = false, flight
	}
	if timeout && sentAt > w.timeoutAt {
		w.timeouts++
		w.timeoutAt = now
	}
	if sentAt > w.cutAt {
		w.size = max(minWindow, w.size/2)
		w.threshold, w.cutAt = w.size, now
	}
	if w.timeouts >= 2 {
		w.size = minWindow
	}
}

// CutOff tells that n bytes were lost to a cut path, which the sender knows only
// once Restart is called.
func (w *Window) CutOff(n int) { w.flight -= n }

// Restart tells that the path carries again after a cut that lasted at least one
// timeout. Persistent congestion, unless the reaction is None.
func (w *Window) Restart(now int64) {
	if w.open || w.reaction == None {
		return
	}
	w.threshold = max(minWindow, w.size/2)
	w.size, w.cutAt = minWindow, now
}
