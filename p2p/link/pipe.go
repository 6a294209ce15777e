package link

import "time"

// Pipe is one direction of a stream. Bytes written to it are delivered in order
// and exactly once, unless it is reset or its connection ends.
//
// Stages: announced (Opened) -> data -> Finished; Aborted from any of them.
type Pipe struct {
	Tag  any // for its owner
	flow *flow
	id   uint64 // of the flow's pipes: which it is

	// At the sender.
	queue    fifo[[]byte]
	queued   int // bytes in queue
	opening  bool
	ending   bool // an end of stream waits behind the queue
	aborting bool // a reset waits before the queue
	code     uint32
	closed   bool // no more may be written
	reset    bool // what was sent and lost need not be sent again
	listed   bool // in flow.ready
	since    int64
	wantRoom bool
	credit   int // what the receiver can still take
	sent     uint64

	// At the receiver.
	arrived   uint64            // bursts passed on
	early     map[uint64]*burst // bursts that came before their turn
	over      bool              // reset arrived: the rest is dropped
	owed      int               // read, and the sender not yet told
	promising int               // of owed: on its way to the sender
}

// burst is a run of a pipe's bytes that was sent together, with the marks that
// stand before and behind it.
type burst struct {
	pipe    *Pipe
	index   uint64
	one     [1][]byte // room for the usual single piece
	pieces  [][]byte
	size    int // bytes on the wire
	missing int // of them: not yet arrived
	tries   int // timeouts so far

	opening, ending, aborting bool
}

// Write queues b, which the caller must never change again.
func (n *Net) Write(now time.Time, p *Pipe, b []byte) {
	if p.closed || p.flow.dead || len(b) == 0 {
		return
	}
	p.queue.push(b)
	p.queued += len(b)
	n.offerPipe(n.instant(now), p)
}

// Unsent returns how many bytes wait beyond what the send buffer holds: a writer
// that behaves like one on a real connection waits until it is zero.
func (n *Net) Unsent(p *Pipe) int {
	if p.flow.dead {
		return 0
	}
	return max(0, p.queued-n.cfg.SendBuffer)
}

// WantRoom asks for one Room event as soon as Unsent is zero.
func (n *Net) WantRoom(p *Pipe) { p.wantRoom = true }

// TakeBack drops the last bytes of the queue that exceed the send buffer, at
// most limit of them, and returns how many: a write that ran into its deadline
// has written the rest.
func (n *Net) TakeBack(p *Pipe, limit int) (dropped int) {
	for dropped < limit && n.Unsent(p) > 0 {
		last := p.queue.last()
		k := min(limit-dropped, n.Unsent(p), len(*last))
		*last = (*last)[:len(*last)-k]
		if len(*last) == 0 {
			p.queue.popLast()
		}
		p.queued -= k
		dropped += k
	}
	return dropped
}

// Finish ends the pipe behind what was written.
func (n *Net) Finish(now time.Time, p *Pipe) {
	if p.closed || p.flow.dead {
		return
	}
	p.closed, p.ending = true, true
	n.offerPipe(n.instant(now), p)
}

// Abort resets the pipe: what was not yet sent is dropped, and the receiver
// hears of it without waiting for what was.
func (n *Net) Abort(now time.Time, p *Pipe, code uint32) {
	if p.reset || p.flow.dead {
		return
	}
	p.queue.clear()
	p.queued = 0
	p.reset, p.closed, p.opening, p.ending, p.aborting, p.code = true, true, false, false, true, code
	n.offerPipe(n.instant(now), p)
}

// Drop ends the pipe at its sender without a word: the receiver is known to be
// gone.
func (n *Net) Drop(p *Pipe) {
	p.queue.clear()
	p.queued = 0
	p.reset, p.closed, p.opening, p.ending, p.aborting = true, true, false, false, false
}

// Consumed tells that the receiver has read k bytes.
func (n *Net) Consumed(now time.Time, p *Pipe, k int) {
	p.owed += k
	if p.promising == 0 && p.owed >= n.cfg.RecvWindow/2 {
		p.promising, p.owed = p.owed, 0
		n.agenda.push(n.instant(now)+int64(p.flow.back().travel()), stepCredit, 0, p)
	}
}

func (n *Net) credit(at int64, p *Pipe) {
	if p.flow.dead {
		return
	}
	if p.flow.currentPath().Cut {
		n.agenda.push(at+minTimeout, stepCredit, 0, p)
		return
	}
	p.credit += p.promising
	p.promising = 0
	n.offerPipe(at, p)
	if p.owed >= n.cfg.RecvWindow/2 {
		p.promising, p.owed = p.owed, 0
		n.agenda.push(at+2*int64(p.flow.travel()), stepCredit, 0, p)
	}
}

// sendable reports whether the pipe has something that may go now.
func (p *Pipe) sendable() bool {
	return p.opening || p.aborting || p.queued > 0 && p.credit > 0 || p.ending && p.queued == 0
}

// cut takes up to limit bytes off the queue, and the marks that are due.
func (p *Pipe) cut(limit int) *burst {
	b := &burst{pipe: p, index: p.sent, opening: p.opening, aborting: p.aborting}
	b.pieces = b.one[:0]
	p.sent++
	p.opening, p.aborting = false, false
	for _, mark := range []bool{b.opening, b.aborting} {
		if mark {
			b.size += FrameBytes
		}
	}
	for data := min(limit-b.size, p.credit); data > 0 && p.queued > 0; {
		first := p.queue.first()
		k := min(data, len(*first))
		b.pieces = append(b.pieces, (*first)[:k:k])
		if *first = (*first)[k:]; len(*first) == 0 {
			p.queue.pop()
		}
		p.queued -= k
		p.credit -= k
		b.size += k
		data -= k
	}
	if p.ending && p.queued == 0 {
		p.ending, b.ending = false, true
		b.size += FrameBytes
	}
	b.missing = b.size
	return b
}

// complete passes a burst on, and those that waited for it.
func (n *Net) complete(b *burst) {
	p := b.pipe
	if p.over || p.flow.conn != nil && !p.flow.conn.open[p.flow.receiver()] {
		return
	}
	if b.aborting {
		p.over, p.early = true, nil
		n.out = append(n.out, Event{Kind: Aborted, Pipe: p, Code: p.code})
		return
	}
	if b.index != p.arrived {
		if p.early == nil {
			p.early = map[uint64]*burst{}
		}
		p.early[b.index] = b
		return
	}
	for ok := true; ok; b, ok = p.early[p.arrived] {
		delete(p.early, b.index)
		p.arrived++
		if b.opening {
			n.out = append(n.out, Event{Kind: Opened, Pipe: p})
		}
		for _, piece := range b.pieces {
			n.out = append(n.out, Event{Kind: Data, Pipe: p, Data: piece})
		}
		if b.ending {
			p.over = true
			n.out = append(n.out, Event{Kind: Finished, Pipe: p})
			return
		}
	}
}
