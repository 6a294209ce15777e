package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// small is the size up to which requests and answers are not counted: two thousand
// connections with as much each are 128 MiB.
const small = 64 << 10

var errBusy = &codeError{codeBusy, "too many large requests and answers are on their way: try again"}

// flight is a request from the reading of its bytes to the writing of its answer. It
// accounts for memory: what is larger than small is leased from the server's MaxMemory
// until the answer was written, however slowly a client sends or reads. The result of
// single calls that is kept in the cache is written from there, and leased once for all of them;
// it counts once in the share of each of their clients.
type flight struct {
	s        *Server
	received time.Time  // when its last byte was read
	from     netip.Addr // the client's, not valid on the unix socket
	batch    bool
	hasty    bool // refused, for its client calls too often
	leased   atomic.Int64
	held     *cacheEntry // whose bytes the answer is written from; nil: none
}

type flightKey struct{}

// ReceivedAt returns the time at which the last byte of the request that ctx
// belongs to was read, before it was parsed, or the zero time when ctx does not
// come from a request of this package's server.
func ReceivedAt(ctx context.Context) time.Time {
	if f := flightFrom(ctx); f != nil {
		return f.received
	}
	return time.Time{}
}

func flightFrom(ctx context.Context) *flight {
	f, _ := ctx.Value(flightKey{}).(*flight)
	return f
}

// clientFrom returns the address of the client whose call ctx belongs to, not valid on the unix socket.
func clientFrom(ctx context.Context) netip.Addr {
	if f := flightFrom(ctx); f != nil {
		return f.from
	}
	return netip.Addr{}
}

// lease reserves n bytes until release, and reports whether they were free.
func (f *flight) lease(n int) bool {
	if f == nil {
		return true
	}
	if !f.s.memory.take(f.from, n, n) {
		return false
	}
	f.leased.Add(int64(n))
	return true
}

// paid is how many bytes are leased.
func (f *flight) paid() int {
	if f == nil {
		return 0
	}
	return int(f.leased.Load())
}

// cover leases what n bytes of results or answers take above small, and above what was leased for them since before by
// the calls they come from. It reports whether that was free.
func (f *flight) cover(n, before int) bool {
	if f == nil || f.held != nil {
		return true
	}
	more := n - small - (f.paid() - before)
	return more <= 0 || f.lease(more)
}

// release gives all back; it may be called again.
func (f *flight) release() {
	if n := int(f.leased.Swap(0)); n > 0 {
		f.s.memory.give(f.from, n, n)
	}
	if f.held != nil {
		f.held.letGo(f)
		f.held = nil
	}
}

// memory counts what is leased of MaxMemory. One address has a quarter at the most: it cannot take what others need. One
// thing alone may be half, for the receipts of a block full of the smallest transfers are some 40 MB.
type memory struct {
	max int

	mu   sync.Mutex
	all  int
	held shares
}

func newMemory(max int) *memory {
	held := newShares(max)
	held.alone = 2 * held.each
	return &memory{max: max, held: held}
}

// take leases bytes, own of a client's share and all of the whole, and reports whether both were free. They differ where
// several clients hold the same bytes.
func (m *memory) take(from netip.Addr, own, all int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all+all > m.max || !m.held.take(from, own) {
		return false
	}
	m.all += all
	return true
}

// give undoes takes of so many bytes.
func (m *memory) give(from netip.Addr, own, all int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held.give(from, own)
	m.all -= all
}

// leased is how many bytes are.
func (m *memory) leased() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.all
}

// read returns all bytes of a request. hint is what the client says there are, or less
// than zero; it is trusted as far as small goes, and behind that within what was leased.
func (f *flight) read(r io.Reader, hint int64) ([]byte, error) {
	buf := bytes.NewBuffer(make([]byte, 0, min(max(hint, 0), small)+bytes.MinRead))
	if _, err := buf.ReadFrom(io.LimitReader(r, small)); err != nil || buf.Len() < small {
		return buf.Bytes(), err
	}
	if !f.lease(f.s.cfg.MaxBody) {
		return nil, errBusy
	}
	size := f.s.cfg.MaxBody
	if hint > 0 {
		size = min(size, int(hint))
	}
	// Once: by doubling, a body at the limit would take three times its size.
	buf = bytes.NewBuffer(append(make([]byte, 0, max(size, small)+bytes.MinRead), buf.Bytes()...))
	_, err := buf.ReadFrom(r)
	return buf.Bytes(), err
}

// reserve makes sure that a result of n bytes may be built for the call of ctx, before it is.
func reserve(ctx context.Context, n int) error {
	if n > small && !flightFrom(ctx).lease(n) {
		return errBusy
	}
	return nil
}

// kept returns a result that is kept in the cache. It is copied only into the answer of a batch, which
// pays for it; other answers share its bytes and what they cost.
func kept(ctx context.Context, e *cacheEntry, raw []byte) (json.RawMessage, error) {
	f := flightFrom(ctx)
	if f != nil && !f.batch && len(raw) > small && !e.hold(f, raw) {
		return nil, errBusy
	}
	return raw, nil
}

// total is how many bytes they are together.
func total(parts [][]byte) (n int) {
	for _, p := range parts {
		n += len(p)
	}
	return n
}
