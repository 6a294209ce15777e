package trace

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// RingConfig sizes a ring. The zero value of a field is its default.
type RingConfig struct {
	Capacity int           // events held before they are lost
	Interval time.Duration // between two flushes; kill -9 loses what was emitted since the last
}

// FlushInterval is the default of RingConfig.Interval. A flush is a wake-up and a write, up to 0.2 ms
// of CPU: every 50 ms they would be a fifth of what a node of a small devnet uses.
const FlushInterval = 2 * time.Second

func (c RingConfig) fill() RingConfig {
	if c.Capacity <= 0 {
		c.Capacity = 1 << 17 // two seconds at 65,000 events/s, many times what a full node emits; 11 MB only if reached
	}
	if c.Interval <= 0 {
		c.Interval = FlushInterval
	}
	return c
}

// Ring holds events between the hot path, which emits them, and Run, which
// writes them. Two buffers are swapped under one mutex that is held for the copy
// of one event and never across I/O. The buffers grow to what is needed, at most
// the capacity.
type Ring struct {
	cfg  RingConfig
	w    io.Writer
	wake chan struct{} // one token: the buffer is half full, or holds a birth

	mu      sync.Mutex
	filling []Event
	closed  bool

	lost    atomic.Uint64
	written atomic.Uint64
}

// NewRing returns a ring that writes to w, which gets the header at once.
func NewRing(cfg RingConfig, w io.Writer, h Header) (*Ring, error) {
	r := &Ring{cfg: cfg.fill(), w: w, wake: make(chan struct{}, 1)}
	if _, err := w.Write(AppendHeader(nil, h)); err != nil {
		return nil, fmt.Errorf("write trace header: %w", err)
	}
	return r, nil
}

// Emit takes one event; it is a Hook. It never blocks: when the buffer is full,
// or Run has ended, the event is lost and counted.
func (r *Ring) Emit(e Event) {
	r.mu.Lock()
	n := len(r.filling)
	if n >= r.cfg.Capacity || r.closed {
		r.mu.Unlock()
		r.lost.Add(1)
		return
	}
	r.filling = append(r.filling, e)
	r.mu.Unlock()
	if n == r.cfg.Capacity/2 || e.Kind == BlockSealed { // without its birth a block is in no figure, even if its proposer dies
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// Lost returns how many events were lost so far.
func (r *Ring) Lost() uint64 { return r.lost.Load() }

// Written returns how many events were written so far.
func (r *Ring) Written() uint64 { return r.written.Load() }

// Run writes what was emitted until ctx ends, then the rest and the end record.
// It returns nil when all was written. After a write error it keeps emptying the
// buffer, counting every event as lost, and returns the error at the end: a full
// disk must not stop the node.
func (r *Ring) Run(ctx context.Context) error {
	tick := time.NewTicker(r.cfg.Interval)
	defer tick.Stop()
	f := flusher{ring: r}
	for {
		select {
		case <-ctx.Done():
			r.mu.Lock()
			r.closed = true
			r.mu.Unlock()
			f.flush()
			f.end()
			return f.err
		case <-tick.C:
		case <-r.wake:
		}
		f.flush()
	}
}

// swap hands the filled buffer out and takes an empty one in.
func (r *Ring) swap(empty []Event) []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	full := r.filling
	r.filling = empty[:0]
	return full
}

// flusher is Run's own state: the spare buffer, the encoded bytes, the first error.
type flusher struct {
	ring    *Ring
	spare   []Event
	out     []byte
	lostOut uint64 // the lost count last written
	err     error
}

// chunk is how many records one write holds: 256 KiB.
const chunk = 4096

func (f *flusher) flush() {
	events := f.ring.swap(f.spare)
	f.spare = events
	for len(events) > 0 {
		part := events[:min(chunk, len(events))]
		events = events[len(part):]
		f.out = f.out[:0]
		for _, e := range part {
			f.out = AppendRecord(f.out, e)
		}
		if f.write() {
			f.ring.written.Add(uint64(len(part)))
		} else {
			f.ring.lost.Add(uint64(len(part)))
		}
	}
	if lost := f.ring.lost.Load(); lost != f.lostOut {
		f.out = appendRecord(f.out[:0], recordLost, Event{Aux: int64(lost)})
		if f.write() {
			f.lostOut = lost
		}
	}
}

func (f *flusher) end() {
	f.out = appendRecord(f.out[:0], recordEnd, Event{Aux: int64(f.ring.lost.Load())})
	f.write()
}

// write sends f.out and reports whether it was taken. After a failure nothing
// more is written: a torn record in the middle would shift all that follow.
func (f *flusher) write() bool {
	if f.err != nil {
		return false
	}
	_, f.err = f.ring.w.Write(f.out)
	return f.err == nil
}

// CreateFile opens path for a new trace, mode 0600, replacing what was there.
// The caller closes it after Ring.Run has returned.
func CreateFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create trace: %w", err)
	}
	return f, nil
}
