package virtual

import (
	"net"
	"os"
	"sync"
	"time"
)

// SocketBytes is how many bytes may wait in a packet socket to be read, and as
// many to be sent: a usual socket buffer.
const SocketBytes = 256 << 10

// Inbox is the receiving half of a packet socket: a queue of SocketBytes that
// drops what does not fit.
type Inbox struct {
	mu       sync.Mutex
	cond     *sync.Cond
	queue    []datagram
	unread   int
	deadline deadline
	err      error
}

type datagram struct {
	payload []byte
	from    net.Addr
}

// NewInbox returns an empty inbox.
func NewInbox() *Inbox {
	b := &Inbox{}
	b.cond = sync.NewCond(&b.mu)
	return b
}

// Put queues a packet, which nobody may change again.
func (b *Inbox) Put(payload []byte, from net.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil || b.unread+len(payload) > SocketBytes {
		return
	}
	b.queue = append(b.queue, datagram{payload, from})
	b.unread += len(payload)
	b.cond.Signal()
}

// ReadFrom waits for the next packet.
func (b *Inbox) ReadFrom(p []byte) (int, net.Addr, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		switch {
		case b.err != nil:
			return 0, nil, b.err
		case b.deadline.passed():
			return 0, nil, os.ErrDeadlineExceeded
		case len(b.queue) > 0:
			d := b.queue[0]
			b.queue[0] = datagram{}
			b.queue = b.queue[1:]
			b.unread -= len(d.payload)
			return copy(p, d.payload), d.from, nil
		}
		b.deadline.wait(&b.mu, b.cond)
	}
}

// SetReadDeadline makes ReadFrom fail from t on; zero is never.
func (b *Inbox) SetReadDeadline(t time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deadline.set(t, b.cond)
	return nil
}

// Fail makes ReadFrom fail, at once; the first error stays.
func (b *Inbox) Fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err, b.queue = err, nil
	}
	b.deadline.stop()
	b.cond.Broadcast()
}

// Outbox is the sending half: it holds a writer back while SocketBytes wait.
type Outbox struct {
	mu     sync.Mutex
	cond   *sync.Cond
	unsent int
	err    error
}

// NewOutbox returns an empty outbox.
func NewOutbox() *Outbox {
	b := &Outbox{}
	b.cond = sync.NewCond(&b.mu)
	return b
}

// Reserve waits until n bytes fit.
func (b *Outbox) Reserve(n int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.err == nil && b.unsent > 0 && b.unsent+n > SocketBytes {
		b.cond.Wait()
	}
	if b.err == nil {
		b.unsent += n
	}
	return b.err
}

// Release tells that n bytes were sent.
func (b *Outbox) Release(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unsent -= n
	b.cond.Signal()
}

// Fail makes Reserve fail, at once; the first error stays.
func (b *Outbox) Fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	b.cond.Broadcast()
}
