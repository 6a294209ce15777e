package relay

import (
	"slices"
	"time"
)

// This file is what pace knows of chunks that go in datagrams, where nobody below
// sends again what is lost, and when a peer gets its chunks so.
//
//	streams --a chunk is held up--> datagrams --none lost for long, or none arrives--> streams

// drops is what became of the chunks that went to a peer in datagrams.
type drops struct {
	trip, dev  time.Duration // their smoothed round trip and its mean deviation (RFC 6298)
	came, gone float64       // how many of the latest arrived and were lost
	clean      int           // arrived since one was lost
	vain       int           // given up since one arrived
	heard      time.Time     // when one last arrived, or one was sent after a pause
}

const (
	// Random loss must not close the window, so it counts as if it had arrived; more than
	// a third does not: no more is under way than 1.65 times what arrives in a round trip,
	// where BBR allows twice that.
	maxShare    = 1.0 / 3
	shareSpan   = 256 // chunks
	shareFirst  = 16  // taken to have arrived before the first
	minOvertake = 3   // chunks that left later and have arrived (RFC 9002, 6.1.1)
	maxClean    = 512 // without one lost: where 1 % of packets is, 4 % of chunks are, and this does not happen
	maxVain     = 8   // in a row, for vainTrips round trips: the way is closed to datagrams
	vainTrips   = 4
	barred      = 10 * time.Second
)

// arrived notes that a chunk arrived.
func (d *drops) arrived(now time.Time) {
	d.heard = now
	d.count(&d.came)
	d.clean++
	d.vain = 0
}

// took notes the round trip of one.
func (d *drops) took(trip time.Duration) {
	if d.trip == 0 {
		d.trip, d.dev = trip, trip/2
	}
	d.dev += ((d.trip - trip).Abs() - d.dev) / 4
	d.trip += (trip - d.trip) / 8
}

// count counts a chunk; what is long ago weighs less and less.
func (d *drops) count(in *float64) {
	if d.came+d.gone >= shareSpan {
		d.came, d.gone = d.came/2, d.gone/2
	}
	*in++
}

// share is how many of the latest were lost, of all.
func (d *drops) share() float64 { return d.gone / (d.came + d.gone + shareFirst) }

// lost notes one that will not be acknowledged. overtaken: later ones were.
func (d *drops) lost(overtaken bool) {
	d.count(&d.gone)
	d.clean = 0
	if !overtaken {
		d.vain++
	}
}

// passed notes that f, a chunk in datagrams that was flight[i], has arrived.
func (p *pace) passed(now time.Time, i int, f flying) {
	p.drops.arrived(now)
	if !f.again {
		p.drops.took(now.Sub(f.at))
	}
	for j := range p.flight[:i] {
		p.flight[j].passed++
	}
}

// spared is the share of lost chunks that does not count against the window: as long
// as the rest does not come late, which would show that a queue is full.
func (p *pace) spared() float64 {
	if p.drops.trip > p.rtt()*9/8+p.cfg.Tell {
		return 0
	}
	return min(p.drops.share(), maxShare)
}

// lose takes the chunks out of the flight that datagrams have lost: those overtaken
// by several, or by one for more than an eighth of a round trip, or that take far
// longer than others did (RFC 9002, 6.1 and 6.2).
func (p *pace) lose(now time.Time) (lost []flying) {
	p.flight = slices.DeleteFunc(p.flight, func(f flying) bool {
		took, tell := now.Sub(f.at), p.cfg.Tell
		switch {
		case !f.datagram:
			return false
		case f.passed >= minOvertake, f.passed > 0 && took > max(p.drops.trip, p.rtt())*9/8+tell:
		case took > p.timeout():
		default:
			return false
		}
		p.flying -= f.bytes
		p.drops.lost(f.passed > 0)
		lost = append(lost, f)
		return true
	})
	return lost
}

// timeout is how long a chunk in datagrams may take if none that left later arrives.
func (p *pace) timeout() time.Duration {
	switch {
	case p.drops.trip > 0:
		return p.drops.trip*3/2 + 4*p.drops.dev + p.cfg.Tell
	case p.rtt() > 0:
		return 3 * p.rtt() // as RFC 6298 begins
	}
	return time.Second
}

// closed says whether datagrams do not arrive at all.
func (p *pace) closed(now time.Time) bool {
	return p.drops.vain >= maxVain && now.Sub(p.drops.heard) > vainTrips*p.rtt()
}

// held says whether a chunk on a stream takes twice as long as wait in our own uplink
// explains, while nothing else on the stream arrives, as it would from a queue: it stands
// behind a packet that was lost and is sent again.
func (p *pace) held(now time.Time, wait time.Duration) bool {
	rtt := p.rtt()
	return rtt > 0 && slices.ContainsFunc(p.flight, func(f flying) bool {
		return !f.datagram && now.Sub(f.at) > 2*(rtt+wait) && now.Sub(f.lane.acked) > rtt/2
	})
}

// queue is how long chunks wait in our uplink, for whomever they are.
type queue struct {
	over [16]time.Duration // by which the latest acknowledgements were later than the shortest round trip to their peer
	n    int
}

func (q *queue) note(over time.Duration) {
	q.over[q.n%len(q.over)] = over
	q.n++
}

// wait is the least of them: some peers' chunks always wait for something else, too.
func (q *queue) wait() time.Duration {
	if q.n == 0 {
		return 0
	}
	return slices.Min(q.over[:min(q.n, len(q.over))])
}
