package relay

import "time"

// pace limits how many bytes are under way to one peer, so that what waits in
// queues below us stays little: a chunk given to the transport cannot be taken
// back when the peer gets it from another. It is a window that is steered by
// delay, as LEDBAT's is (RFC 6817): it grows while chunks are acknowledged in
// about the shortest round-trip time seen, and shrinks in proportion to what they
// take more. All peers of a node share its uplink, so each gets a fair share of it
// without anybody knowing its rate. A pure state machine.
type pace struct {
	cfg    *Config
	window float64 // bytes
	flying int     // bytes sent and not acknowledged
	slow   bool    // the first growth is over
	base   [2]time.Duration
	turned time.Time // when base[0] was begun
	flight []flying
}

// flying is one chunk on its way.
type flying struct {
	tag   tag
	chunk int
	bytes int
	at    time.Time
}

func newPace(cfg *Config) pace { return pace{cfg: cfg, window: float64(cfg.WindowStart)} }

// room says whether another chunk may be sent: a window smaller than a chunk lets
// one through.
func (p *pace) room() bool { return float64(p.flying) < p.window }

// sent notes a chunk handed to the transport.
func (p *pace) sent(f flying) {
	p.flying += f.bytes
	p.flight = append(p.flight, f)
}

// acked notes the acknowledgement of a chunk and returns its bytes; one that was
// not sent is nothing.
func (p *pace) acked(now time.Time, t tag, chunk int) int {
	for i, f := range p.flight {
		if f.tag == t && f.chunk == chunk {
			used := float64(p.flying)
			p.flight = append(p.flight[:i], p.flight[i+1:]...)
			p.flying -= f.bytes
			p.steer(now, now.Sub(f.at), float64(f.bytes), used)
			return f.bytes
		}
	}
	return 0
}

// steer moves the window after a round trip of rtt that carried bytes while used
// were under way.
func (p *pace) steer(now time.Time, rtt time.Duration, bytes, used float64) {
	p.note(now, rtt)
	target := p.cfg.Tell + p.rtt()/4
	off := float64(target-(rtt-p.rtt())) / float64(target)
	switch {
	case off < 0:
		p.slow = true
	case used < p.window/2: // it was not the window that held us back
		return
	}
	if !p.slow {
		p.window += bytes
	} else {
		p.window += max(off, -1) * bytes * float64(p.cfg.WindowStart) / p.window
	}
	p.window = min(max(p.window, float64(p.cfg.WindowMin)), float64(p.cfg.WindowMax))
}

// note keeps the shortest round trip of the last one to two baseSpans.
func (p *pace) note(now time.Time, rtt time.Duration) {
	if now.Sub(p.turned) > baseSpan {
		p.base[1], p.base[0], p.turned = p.base[0], 0, now
	}
	if p.base[0] == 0 || rtt < p.base[0] {
		p.base[0] = rtt
	}
}

// baseSpan is short enough to follow a route that became longer.
const baseSpan = 30 * time.Second

// rtt is the shortest round-trip time seen lately, 0 before the first.
func (p *pace) rtt() time.Duration {
	if p.base[1] == 0 || p.base[0] != 0 && p.base[0] < p.base[1] {
		return p.base[0]
	}
	return p.base[1]
}

// late is how long an acknowledgement may take. The transport loses nothing: what
// takes seconds is on its way over a bad link, and a second copy would only take
// longer. Without one at all the peer had no room for what came.
const late = 10 * time.Second

// expire gives up waiting for acknowledgements that are late. The window starts
// again from its smallest.
func (p *pace) expire(now time.Time) {
	for len(p.flight) > 0 && now.Sub(p.flight[0].at) > late {
		p.flying -= p.flight[0].bytes
		p.flight = p.flight[1:]
		p.window, p.slow = float64(p.cfg.WindowMin), true
	}
}

// uplink spaces what a node sends to all its peers together, so that it waits
// here, where it can still be chosen otherwise, and not in a queue below. The rate
// is the highest at which acknowledgements of all peers came lately, as BBR finds
// it (draft-ietf-ccwg-bbr); before the first there is none, and windows alone hold
// the node back. A pure state machine.
type uplink struct {
	best   [2]float64 // bytes a second: of this rateSpan and of the one before
	turned time.Time
	bytes  int       // acknowledged since begun
	begun  time.Time // of the present sample
	last   time.Time // of the latest acknowledgement
	next   time.Time // when the next piece may leave
}

const (
	rateSpan   = 30 * time.Second
	rateSample = 100 * time.Millisecond // acknowledgements come in bunches; shorter samples see peaks that no link carries
	rateGap    = 50 * time.Millisecond  // without one for so long nothing was under way: no sample
	rateGain   = 1.1                    // above what was seen, so that the estimate can grow
)

// acked notes the acknowledgement of bytes.
func (u *uplink) acked(now time.Time, bytes int) {
	if now.Sub(u.last) > rateGap {
		u.begun, u.bytes = now, 0
	}
	u.last = now
	if took := now.Sub(u.begun); took >= rateSample {
		u.note(now, float64(u.bytes)/took.Seconds())
		u.begun, u.bytes = now, 0
	}
	u.bytes += bytes
}

func (u *uplink) note(now time.Time, rate float64) {
	if now.Sub(u.turned) > rateSpan {
		u.best[1], u.best[0], u.turned = u.best[0], 0, now
	}
	u.best[0] = max(u.best[0], rate)
}

// sent notes that bytes leave now and says when the next may.
func (u *uplink) sent(now time.Time, bytes int) {
	rate := rateGain * max(u.best[0], u.best[1])
	if rate == 0 {
		return
	}
	if u.next.Before(now) {
		u.next = now
	}
	u.next = u.next.Add(time.Duration(float64(bytes) / rate * 1e9))
}

// wait is how long until the next piece may leave.
func (u *uplink) wait(now time.Time) time.Duration { return max(0, u.next.Sub(now)) }
