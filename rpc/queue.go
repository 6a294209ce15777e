package rpc

import (
	"net/netip"
	"sync"
)

const (
	maxQueued = 4 << 20 // bytes of the events that wait on one connection: 4,096 whole transfers
	roomEvent = 100     // bytes of a waiting event beside its result
)

// message waits to be written as one frame.
type message struct {
	parts   answer
	f       *flight       // of the call it answers, whose memory is to be freed; nil for anything else
	slot    bool          // it holds one of the stream's slots
	event   bool          // it was offered
	written chan struct{} // gets a token once it was, if not nil; has room for it
}

func (m *message) room() int { return len(m.parts[1]) + roomEvent }

// queue is what waits to be written on one stream, in order. Nobody waits to put something in: answers
// are bounded by the slots of the stream, trace notifications by their tokens, and other events here. It takes
// memory only while something waits; what the events take above small is leased from the server's MaxMemory.
type queue struct {
	s    *Server
	from netip.Addr    // of its client
	more chan struct{} // one token while there is something to take, or an end to be noticed

	mu      sync.Mutex
	waiting []message
	closed  bool
	events  int // among those waiting
	bytes   int // of these events
	leased  int // for these bytes
}

func newQueue(s *Server, from netip.Addr) *queue {
	return &queue{s: s, from: from, more: make(chan struct{}, 1)}
}

// put adds what is bounded elsewhere.
func (q *queue) put(m message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(m)
}

// offer adds an event, made of a head, a result and a tail, and reports whether there was room.
func (q *queue) offer(m message) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	bytes := q.bytes + m.room()
	if q.events >= q.s.cfg.MaxQueue || bytes > maxQueued || !q.lease(bytes) {
		return false
	}
	m.event = true
	q.events++
	q.bytes = bytes
	q.add(m)
	return true
}

// lease makes what is leased fit a number of bytes of events.
func (q *queue) lease(bytes int) bool {
	more := max(0, bytes-small) - q.leased
	switch {
	case more < 0:
		q.s.memory.give(q.from, -more, -more)
	case more > 0 && !q.s.memory.take(q.from, more, more):
		return false
	}
	q.leased += more
	return true
}

func (q *queue) add(m message) {
	q.waiting = append(q.waiting, m)
	if len(q.waiting) == 1 {
		q.more <- struct{}{} // has room: there is a token only while something waits
	}
}

// take returns what has waited longest, after a token was taken from more; ok is false at the end.
func (q *queue) take() (m message, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return m, false
	}
	m, q.waiting[0] = q.waiting[0], message{}
	q.waiting = q.waiting[1:]
	if m.event {
		q.events--
		q.bytes -= m.room()
		q.lease(q.bytes) // gives back, which never fails
	}
	if len(q.waiting) > 0 || q.closed {
		q.more <- struct{}{}
	}
	return m, true
}

// close ends it behind what waits. Nothing may be added any more.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	if len(q.waiting) == 0 {
		q.more <- struct{}{}
	}
}
