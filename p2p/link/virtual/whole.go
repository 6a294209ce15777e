package virtual

import (
	"os"
	"sync"
	"time"
)

// This file passes large writes on whole. A library that writes and reads whole messages holds each as long as
// it is on its way: once at the writer, who waits for the last byte to leave, and once at the reader, who has
// made room when he knew its length. Of a block of 1 MiB that a thousand nodes pass on at a time these are
// 13 GB. Here all of them share one copy, as long as neither the writer waits nor the reader has begun.

// PassWhole has the network take each write of least bytes or more off the writer's hands. Write returns at once; the
// next one waits until it would have returned on another stream, and sent is called then, once, with its error: at its
// deadline the stream is reset. The reader gets such a write's first byte when it has come, and the others when all have.
// When what leaves and arrives on the wire is the same. sent must not block. Call it before the first write. False: this
// stack cannot, and nothing has changed.
func (s *hostStream) PassWhole(least int, sent func(error)) bool {
	if s.direct == nil {
		return false
	}
	s.direct.mu.Lock()
	defer s.direct.mu.Unlock()
	s.direct.passing.least, s.direct.passing.sent = least, sent
	return true
}

// passing is a stream's write that its writer does not wait for. The mutex of the stream guards it, but for sent, which is
// set once.
type passing struct {
	least int         // bytes of a write that is passed on whole; 0: none is
	sent  func(error) // told of each
	busy  bool        // one is under way
	told  bool        // and is over, which sent is being told
	limit *time.Timer // its deadline; nil: none
}

func (p *passing) takes(size int) bool { return p.least > 0 && size >= p.least }

// pass begins with what Write leaves behind. s.mu is held.
func (s *stream) pass() {
	p := &s.passing
	p.busy, p.told, p.limit = true, false, nil
	if at := s.deadline[writing].at; !at.IsZero() {
		var limit *time.Timer
		limit = time.AfterFunc(time.Until(at), func() {
			s.mu.Lock()
			due := p.limit == limit
			s.mu.Unlock()
			if due && s.passed(os.ErrDeadlineExceeded) {
				_ = s.Reset()
			}
		})
		p.limit = limit
	}
}

// passed ends it, unless that has happened, and tells sent before the next Write goes on.
func (s *stream) passed(err error) bool {
	p := &s.passing
	s.mu.Lock()
	over := p.busy && !p.told
	if over {
		p.told = true
		if p.limit != nil {
			p.limit.Stop()
		}
	}
	s.mu.Unlock()
	if !over {
		return false
	}
	p.sent(err)
	s.mu.Lock()
	p.busy, p.limit = false, nil
	s.writers.Broadcast()
	s.mu.Unlock()
	return true
}

// awaitPassing waits until the write before this one is over, which does not count for this one's deadline. s.mu is held.
func (s *stream) awaitPassing() {
	if !s.passing.busy {
		return
	}
	began := time.Now()
	for s.passing.busy {
		s.writers.Wait()
	}
	if d := &s.deadline[writing]; !d.at.IsZero() {
		d.at = d.at.Add(time.Since(began))
	}
}

// wholes knows which bytes of a pipe are passed on whole.
type wholes struct {
	mu      sync.Mutex
	written uint64  // bytes so far
	under   []whole // not all of them arrived, in order
}

// whole is a stretch of a pipe's bytes, to not included.
type whole struct{ from, to uint64 }

// write notes a write.
func (w *wholes) write(size int, passed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if passed {
		w.under = append(w.under, whole{w.written, w.written + uint64(size)})
	}
	w.written += uint64(size)
}

// takeBack notes that the last bytes written, not to be passed on whole, were not sent.
func (w *wholes) takeBack(size int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.written -= uint64(size)
}

// arrive says of bytes that have arrived, all of one write, whether they are the first of it and whether they are the
// last. Bytes that are not passed on whole are both.
func (w *wholes) arrive(from uint64, size int) (first, last bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.under) == 0 || from < w.under[0].from {
		return true, true
	}
	first, last = from == w.under[0].from, from+uint64(size) == w.under[0].to
	if last {
		w.under = w.under[1:]
	}
	return first, last
}
