package relay

import (
	"slices"
	"time"
)

// pace limits how many bytes are under way to one peer, so that what waits in
// queues below us stays little: a chunk given to the transport cannot be taken
// back when the peer gets it from another. As in BBR (draft-ietf-ccwg-bbr) the
// limit is paceGain of what the peer acknowledged lately in the shortest round-trip
// time: enough for the transport's window to grow, and little beyond it. A lost
// packet delays what waits for it and changes the rate only as far as the transport
// sends less. A pure state machine.
type pace struct {
	cfg       *Config
	flying    int        // bytes sent and not acknowledged
	delivered int        // bytes acknowledged
	best      [2]float64 // bytes a second: of this span and of the one before
	span      time.Time  // when best[0] was begun
	full      bool       // since then it was the limit that held us back
	base      [2]time.Duration
	turned    time.Time // when base[0] was begun
	flight    []flying
	drops     drops
}

// flying is one chunk on its way.
type flying struct {
	tag       tag
	chunk     int
	bytes     int
	lane      *lane
	datagram  bool // it went in datagrams
	again     bool // and had gone before: nobody knows which of them is acknowledged (Karn)
	at        time.Time
	delivered int // by then
	passed    int // datagram: chunks in datagrams that left later and have arrived
}

const (
	paceGain = 1.1 // lets the estimate grow; see doc.go for what more costs
	paceSpan = 4   // round trips
)

func newPace(cfg *Config) pace { return pace{cfg: cfg} }

// limit is how many bytes may be under way.
func (p *pace) limit() float64 {
	rate := max(p.best[0], p.best[1])
	if rate == 0 {
		return float64(p.cfg.WindowStart)
	}
	return min(max(paceGain/(1-p.spared())*rate*(p.rtt()+p.cfg.Tell).Seconds(), float64(p.cfg.WindowMin)), float64(p.cfg.WindowMax))
}

// room says whether another chunk may be sent: a limit smaller than a chunk lets
// one through.
func (p *pace) room() bool {
	if float64(p.flying) < p.limit() {
		return true
	}
	p.full = true
	return false
}

// sent notes a chunk handed to the transport.
func (p *pace) sent(f flying) {
	f.delivered = p.delivered
	p.flying += f.bytes
	if f.datagram && p.drops.vain == 0 && !slices.ContainsFunc(p.flight, func(g flying) bool { return g.datagram }) { // none can have come for a while
		p.drops.heard = f.at
	}
	p.flight = append(p.flight, f)
}

// cancel takes back that a chunk was sent.
func (p *pace) cancel(t tag, chunk int) {
	for i, f := range slices.Backward(p.flight) {
		if f.tag == t && f.chunk == chunk {
			p.flight = slices.Delete(p.flight, i, i+1)
			p.flying -= f.bytes
			return
		}
	}
}

// restart forgets the rate: the streams' is none of datagrams.
func (p *pace) restart() { p.best = [2]float64{} }

// acked notes the acknowledgement of a chunk and returns its bytes and by how much it
// took longer than the shortest round trip; one that was not sent is nothing.
func (p *pace) acked(now time.Time, t tag, chunk int) (bytes int, over time.Duration) {
	for i, f := range p.flight {
		if f.tag == t && f.chunk == chunk {
			p.flight = append(p.flight[:i], p.flight[i+1:]...)
			p.flying -= f.bytes
			p.delivered += f.bytes
			if f.lane != nil {
				f.lane.acked = now
			}
			if f.datagram {
				p.passed(now, i, f)
			}
			if f.again {
				return f.bytes, max(0, now.Sub(f.at)-p.rtt())
			}
			p.note(now, now.Sub(f.at))
			p.measure(now, float64(p.delivered-f.delivered)/now.Sub(f.at).Seconds())
			return f.bytes, now.Sub(f.at) - p.rtt()
		}
	}
	return 0, 0
}

// measure takes in a rate. The best of two spans counts; one in which we did not
// send what we might have tells nothing about what the path cannot do.
func (p *pace) measure(now time.Time, rate float64) {
	if now.Sub(p.span) > paceSpan*p.rtt() {
		if p.full {
			p.best[1], p.best[0] = p.best[0], 0
		}
		p.span, p.full = now, false
	}
	p.best[0] = max(p.best[0], rate)
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

// on tells how many chunks are under way on a lane, and whether one of them takes
// twice as long as the fastest: what is behind it waits.
func (p *pace) on(x *lane, now time.Time) (chunks int, late bool) {
	for _, f := range p.flight {
		if f.lane == x {
			chunks++
			late = late || p.rtt() > 0 && now.Sub(f.at) > 2*p.rtt()
		}
	}
	return chunks, late
}

// expire gives up waiting for acknowledgements that are late. The window starts
// again from its smallest.
func (p *pace) expire(now time.Time) {
	for len(p.flight) > 0 && now.Sub(p.flight[0].at) > late {
		p.flying -= p.flight[0].bytes
		p.flight = p.flight[1:]
		p.best = [2]float64{1, 1}
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
	rateGain   = 2.0                    // above what was seen: an uplink that was never full must not be taken for a slow one
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
