package link

import (
	"math/rand/v2"
	"time"
)

// minTimeout is the shortest time a sender waits before it takes silence for
// loss (RFC 6298 asks for 1 s, every stack in use has about this).
const minTimeout = int64(200 * time.Millisecond)

// maxTimeout bounds its doubling, as TCP and QUIC bound theirs.
const maxTimeout = int64(60 * time.Second)

// reorderPackets is how many later packets show that one is lost (RFC 9002 6.1.1).
const reorderPackets = 3

// jitterHold is how long a flow's packets share one draw of the jitter: what
// follows closely meets the same queues.
const jitterHold = int64(10 * time.Millisecond)

// flow is one direction of a connection: the streams that share it, its window,
// what it must send again.
type flow struct {
	net      *Net
	conn     *Conn // nil: a datagram
	from, to int
	rng      *rand.Rand
	window   Window
	datagram bool
	dead     bool

	key    uint64       // of from's flows: which it is
	since  int64        // when it was offered
	pipes  uint64       // opened so far
	ready  fifo[*Pipe]  // pipes with something to send, in turn
	again  fifo[resend] // goes before them
	inRing bool
	turn   int    // bytes sent in this turn
	sent   uint64 // packets sent so far

	stalled bool // the path was found cut: nothing is sent but probes
	backoff int

	path      Path // as of age
	age       int
	delay     time.Duration // this draw of the delay
	delayEnds int64
	reached   int64 // when the latest train reaches the receiver

	arrived    fifo[*train] // waiting for a fair downlink
	inDownRing bool
}

type resend struct {
	burst *burst
	size  int
}

// train is one transmission of a burst or of a part of it.
type train struct {
	flow    *flow
	burst   *burst
	size    int    // bytes sent
	lost    int    // of them: dropped on the way
	lastBad uint64 // number, in its flow, of the last packet lost
	sentAt  int64  // its first bit left
	leftAt  int64  // its last bit left
	lastAt  int64  // its last bit reaches the downlink
}

// passing returns the bytes that reach the receiver.
func (t *train) passing() int { return t.size - t.lost }

func (f *flow) back() *flow { return f.conn.flows[f.receiver()] }

// receiver returns the side of the connection that reads this flow.
func (f *flow) receiver() int {
	if f.conn.flows[0] == f {
		return 1
	}
	return 0
}

func (f *flow) currentPath() Path {
	if f.age != f.net.links.age {
		f.path, f.age = f.net.links.Path(f.from, f.to), f.net.links.age
		f.delayEnds = 0
	}
	return f.path
}

// travel is the typical one-way delay, for acknowledgements and the like.
func (f *flow) travel() time.Duration { return f.currentPath().Median() }

// rtt is the smoothed round-trip time without queues.
func (f *flow) rtt() int64 { return int64(f.currentPath().Mean() + f.back().currentPath().Mean()) }

// timeout is how long the sender waits for an answer after that many timeouts.
func (f *flow) timeout(tries int) int64 {
	t := max(minTimeout, 2*f.rtt())
	return min(t<<min(tries, 16), maxTimeout)
}

// sendable reports whether the flow may send now.
func (f *flow) sendable() bool {
	for f.ready.len() > 0 && !(*f.ready.first()).sendable() {
		f.ready.pop().listed = false
	}
	if f.dead || f.stalled || f.again.len() == 0 && f.ready.len() == 0 {
		return false
	}
	return f.window.Room() >= PacketBytes
}

// take returns what goes next, at most limit bytes; the flow must be sendable.
func (f *flow) take(limit int) (b *burst, size int) {
	if limit = min(limit, f.window.Room()); limit > PacketBytes {
		limit -= limit % PacketBytes
	}
	if f.again.len() > 0 {
		r := f.again.first()
		size = min(limit, r.size)
		b = r.burst
		if r.size -= size; r.size == 0 {
			f.again.pop()
		}
		f.net.nodes[f.from].count.Resent += uint64(size)
		return b, size
	}
	p := f.ready.pop()
	if f.datagram { // whole or not at all
		if p.wantRoom {
			f.net.out = append(f.net.out, Event{Kind: Left, Tag: p.Tag})
		}
		b = &burst{pipe: p, size: p.queued, missing: p.queued}
		p.queued, p.listed = 0, false
		return b, b.size
	}
	b = p.cut(limit)
	if p.listed = p.sendable(); p.listed {
		f.ready.push(p)
	}
	if p.wantRoom && f.net.Unsent(p) == 0 {
		p.wantRoom = false
		f.net.out = append(f.net.out, Event{Kind: Room, Pipe: p})
	}
	return b, b.size
}

// reach returns when a train that starts at at, and whose first packet has left
// at first, reaches the receiver. Queues on the way are first in, first out: a
// shorter draw does not overtake a longer one before it. Only what the path
// reorders is overtaken.
func (f *flow) reach(at, first int64, packets int) int64 {
	p := f.currentPath()
	if at >= f.delayEnds {
		f.delay, f.delayEnds = p.Delay(f.rng), at+jitterHold
	}
	f.reached = max(f.reached, first+int64(f.delay))
	return f.reached + int64(p.Reordered(f.rng, packets))
}

// drop draws which packets of the train are lost.
func (f *flow) drop(t *train) {
	packets, whole := Packets(t.size), PacketBytes
	if f.datagram {
		packets, whole = 1, t.size
	}
	before := f.sent
	f.sent += uint64(packets)
	if f.path.Cut {
		t.lost, t.lastBad = t.size, f.sent-1
		return
	}
	f.path.Drops(f.rng, packets, func(i int) {
		t.lost += min(whole, t.size-i*PacketBytes)
		t.lastBad = before + uint64(i)
	})
}
