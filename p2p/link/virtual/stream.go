package virtual

import (
	"io"
	"os"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/pheme-net/pheme/p2p/link"
)

// stream is one end of a pair of pipes. Write returns when no more than the
// send buffer is left unsent, as on a connection with a buffer of that size.
type stream struct {
	conn    *conn
	in, out *link.Pipe

	mu       sync.Mutex
	readers  *sync.Cond // both on mu
	writers  *sync.Cond
	chunks   [][]byte // arrived and not read
	waiting  int      // bytes in chunks
	held     int      // of them, the last ones: of a whole write that has not all come
	owed     int      // of them: not counted as read
	arrived  uint64   // bytes that have ever come
	unread   int      // bytes counted as read and not yet told to the network
	reading  int      // calls of Read that wait
	readErr  error    // what Read returns once chunks are read
	writeErr error
	writing  bool // a Write is under way; others wait
	passing  passing
	ended    bool // the peer has sent all it will
	closed   bool // set by ByteConn: both directions are over once ended
	deadline [2]deadline
}

const (
	reading = iota
	writing
)

// deadline is when calls of one direction give up. Whoever waits arms it: most calls do not, and every message
// sets another.
type deadline struct {
	at    time.Time
	timer *time.Timer
	due   time.Time // when timer goes off; zero while it is not set
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// set changes the deadline and has those who wait on cond look at it. The mutex of cond is held.
func (d *deadline) set(t time.Time, cond *sync.Cond) {
	d.at = t
	cond.Broadcast()
}

// wait waits on cond, whose mutex mu is held, until somebody signals or the
// deadline has passed, or for no reason.
func (d *deadline) wait(mu *sync.Mutex, cond *sync.Cond) {
	if !d.at.IsZero() && (d.due.IsZero() || d.at.Before(d.due)) {
		d.stop()
		d.due = d.at
		var timer *time.Timer
		timer = time.AfterFunc(time.Until(d.at), func() {
			mu.Lock()
			defer mu.Unlock()
			if d.timer == timer {
				d.due = time.Time{} // a deadline that was moved on is armed again by who still waits
			}
			cond.Broadcast()
		})
		d.timer = timer
	}
	cond.Wait()
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
	d.due = time.Time{}
}

// route belongs to a pipe and says whose it is, and which of its bytes are passed on whole.
type route struct {
	writer, reader *stream
	wholes         wholes
}

func duct(p *link.Pipe) *route { return p.Tag.(*route) }

// newStreams makes the two ends of a stream that a opens; announce tells b's end
// of it.
func newStreams(a, b *conn, announce bool) (ours, theirs *stream) {
	ours, theirs = &stream{conn: a}, &stream{conn: b}
	for _, s := range []*stream{ours, theirs} {
		s.readers, s.writers = sync.NewCond(&s.mu), sync.NewCond(&s.mu)
	}
	a.net.do(func(net *link.Net, now time.Time) {
		ours.out = net.Open(now, a.link, a.side, announce)
		ours.in = net.Open(now, a.link, b.side, false)
		ours.out.Tag, ours.in.Tag = &route{writer: ours, reader: theirs}, &route{writer: theirs, reader: ours}
	})
	theirs.in, theirs.out = ours.out, ours.in
	return ours, theirs
}

// Read returns what has arrived, in order.
func (s *stream) Read(b []byte) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.waiting == s.held {
		switch {
		case s.readErr != nil:
			return 0, s.readErr
		case s.deadline[reading].passed():
			return 0, os.ErrDeadlineExceeded
		}
		s.count(s.owed) // who waits for the rest would have read what there is
		s.reading++
		s.deadline[reading].wait(&s.mu, s.readers)
		s.reading--
	}
	if s.deadline[reading].passed() {
		return 0, os.ErrDeadlineExceeded
	}
	for n < len(b) && s.waiting > s.held {
		first := s.chunks[0]
		k := copy(b[n:], first[:min(len(first), s.waiting-s.held)])
		n += k
		s.waiting -= k
		if s.chunks[0] = first[k:]; k == len(first) {
			s.chunks[0] = nil
			s.chunks = s.chunks[1:]
		}
	}
	s.count(n)
	return n, nil
}

// count takes n bytes that have arrived for read, unless they were before. s.mu is held.
func (s *stream) count(n int) {
	n = min(n, s.owed)
	s.owed -= n
	s.consumed(n)
}

// consumed tells the network now and then what was read. s.mu is held.
func (s *stream) consumed(n int) {
	if s.unread += n; s.unread >= s.conn.net.cfg.RecvWindow/8 {
		k := s.unread
		s.unread = 0
		s.conn.net.do(func(net *link.Net, now time.Time) { net.Consumed(now, s.in, k) })
	}
}

// Write sends a copy of b.
func (s *stream) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, sent, err := s.write(s.conn.net.pool.keep(b))
	if sent {
		s.passing.sent(nil)
	}
	return n, err
}

// write sends kept. sent means that it was to be passed on whole, and is through already.
func (s *stream) write(kept []byte) (n int, sent bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awaitPassing()
	for s.writing && s.writeErr == nil && !s.deadline[writing].passed() {
		s.deadline[writing].wait(&s.mu, s.writers)
	}
	switch {
	case s.writeErr != nil:
		return 0, false, s.writeErr
	case s.deadline[writing].passed():
		return 0, false, os.ErrDeadlineExceeded
	}
	s.writing = true
	defer func() {
		s.writing = false
		s.writers.Broadcast()
	}()
	way, whole := &duct(s.out).wholes, s.passing.takes(len(kept))
	way.write(len(kept), whole)
	s.conn.net.do(func(net *link.Net, now time.Time) { net.Write(now, s.out, kept) })
	for s.crowded() {
		switch {
		case s.writeErr != nil:
			return 0, false, s.writeErr
		case whole:
			s.pass()
			return len(kept), false, nil
		case s.deadline[writing].passed():
			dropped := s.takeBack(len(kept))
			way.takeBack(dropped)
			return len(kept) - dropped, false, os.ErrDeadlineExceeded
		}
		s.deadline[writing].wait(&s.mu, s.writers)
	}
	if s.writeErr != nil {
		return 0, false, s.writeErr
	}
	return len(kept), whole, nil
}

// crowded reports whether the send buffer is over full, and asks to be told when
// it no longer is.
func (s *stream) crowded() (crowded bool) {
	s.conn.net.do(func(net *link.Net, _ time.Time) {
		if crowded = net.Unsent(s.out) > 0; crowded {
			net.WantRoom(s.out)
		}
	})
	return crowded
}

func (s *stream) takeBack(limit int) (dropped int) {
	s.conn.net.do(func(net *link.Net, _ time.Time) { dropped = net.TakeBack(s.out, limit) })
	return dropped
}

// CloseWrite ends the stream behind what was written.
func (s *stream) CloseWrite() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writeErr == nil {
		s.writeErr = os.ErrClosed
		s.conn.net.do(func(net *link.Net, now time.Time) { net.Finish(now, s.out) })
		s.writers.Broadcast()
	}
	return nil
}

// CloseRead drops what has arrived and what will.
func (s *stream) CloseRead() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endRead(os.ErrClosed)
	return nil
}

// endRead makes every Read fail, at once. s.mu is held.
func (s *stream) endRead(err error) {
	if s.readErr == nil || s.waiting > 0 {
		s.readErr = err
	}
	if s.waiting > 0 {
		s.readErr = &brokenOff{s.readErr, s.waiting}
	}
	s.chunks, s.waiting, s.held = nil, 0, 0
	s.count(s.owed)
	s.readers.Broadcast()
}

// brokenOff is the end of a stream of which not all was read that had arrived.
type brokenOff struct {
	error
	unread int
}

// Unwrap is why it ended.
func (b *brokenOff) Unwrap() error { return b.error }

// Unread is how many bytes had arrived and were never read.
func (b *brokenOff) Unread() int { return b.unread }

// Close is CloseWrite and CloseRead.
func (s *stream) Close() error {
	_ = s.CloseWrite()
	_ = s.CloseRead()
	s.conn.forget(s)
	return nil
}

// Reset ends both directions at once, without delivering what is under way.
func (s *stream) Reset() error { return s.ResetWithError(network.StreamNoError) }

// ResetWithError does the same and tells the peer a reason.
func (s *stream) ResetWithError(code network.StreamErrorCode) error {
	s.conn.net.do(func(net *link.Net, now time.Time) { net.Abort(now, s.out, uint32(code)) })
	s.fail(&network.StreamError{ErrorCode: code})
	s.conn.forget(s)
	return nil
}

// fail ends both directions at this end.
func (s *stream) fail(err error) {
	s.mu.Lock()
	s.endRead(err)
	if s.writeErr == nil {
		s.writeErr = err
	}
	s.writers.Broadcast()
	for i := range s.deadline {
		s.deadline[i].stop()
	}
	s.mu.Unlock()
	s.passed(err)
}

// SetDeadline sets both deadlines.
func (s *stream) SetDeadline(t time.Time) error {
	_ = s.SetReadDeadline(t)
	return s.SetWriteDeadline(t)
}

// SetReadDeadline makes Read fail from t on; zero is never.
func (s *stream) SetReadDeadline(t time.Time) error { s.setDeadline(reading, t); return nil }

// SetWriteDeadline makes Write fail from t on; zero is never.
func (s *stream) SetWriteDeadline(t time.Time) error { s.setDeadline(writing, t); return nil }

func (s *stream) setDeadline(way int, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline[way].set(t, []*sync.Cond{s.readers, s.writers}[way])
}

// The rest is what the network calls.

func (s *stream) receive(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readErr != nil {
		s.consumed(len(b))
		return
	}
	s.chunks = append(s.chunks, b)
	s.waiting += len(b)
	s.owed += len(b)
	first, last := duct(s.in).wholes.arrive(s.arrived, len(b))
	s.arrived += uint64(len(b))
	switch {
	case last:
		s.held = 0
	case first:
		s.held = len(b) - 1
	default:
		s.held += len(b)
		if s.reading > 0 {
			s.count(s.owed)
		}
		return
	}
	s.readers.Signal()
}

func (s *stream) finished() {
	s.mu.Lock()
	if s.readErr == nil {
		s.readErr = io.EOF
	}
	s.readers.Broadcast()
	s.ended = true
	over := s.closed
	s.mu.Unlock()
	if over {
		_ = s.conn.Close()
	}
}

// aborted ends both directions: a reset is of the whole stream.
func (s *stream) aborted(code uint32) {
	s.fail(&network.StreamError{Remote: true, ErrorCode: network.StreamErrorCode(code)})
	s.conn.net.do(func(net *link.Net, _ time.Time) { net.Drop(s.out) })
	s.conn.forget(s)
}

func (s *stream) room() {
	s.mu.Lock()
	through := s.passing.busy && !s.crowded()
	s.writers.Broadcast()
	s.mu.Unlock()
	if through {
		s.passed(nil)
	}
}
