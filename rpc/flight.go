package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
)

// small is the size up to which requests and answers are not counted: two thousand
// connections with as much each are 128 MiB.
const small = 64 << 10

var errBusy = &codeError{codeBusy, "too many large requests and answers are on their way: try again"}

// flight is a request from the reading of its bytes to the writing of its answer. It
// accounts for memory: what is larger than small is leased from the server's MaxMemory
// until the answer was written, however slowly a client sends or reads. The result of a
// single call that is kept in the cache costs nothing: it is written from there.
type flight struct {
	s      *Server
	alone  bool                   // not a batch
	big    atomic.Pointer[[]byte] // the result of a single call, to be written from where it is
	leased atomic.Int64
}

type flightKey struct{}

func flightFrom(ctx context.Context) *flight {
	f, _ := ctx.Value(flightKey{}).(*flight)
	return f
}

// lease reserves n bytes until release, and reports whether they were free.
func (f *flight) lease(n int) bool {
	if f == nil {
		return true
	}
	if f.s.memory.Add(int64(n)) > int64(f.s.cfg.MaxMemory) {
		f.s.memory.Add(int64(-n))
		return false
	}
	f.leased.Add(int64(n))
	return true
}

func (f *flight) release() {
	f.s.memory.Add(-f.leased.Swap(0))
}

// read returns all bytes of a request. hint is what the client says there are, or less
// than zero; it is trusted as far as small goes.
func (f *flight) read(r io.Reader, hint int64) ([]byte, error) {
	buf := bytes.NewBuffer(make([]byte, 0, min(max(hint, 0), small)+bytes.MinRead))
	if _, err := buf.ReadFrom(io.LimitReader(r, small)); err != nil || buf.Len() < small {
		return buf.Bytes(), err
	}
	if !f.lease(f.s.cfg.MaxBody) {
		return nil, errBusy
	}
	_, err := buf.ReadFrom(r)
	return buf.Bytes(), err
}

// reserve makes sure that a result of n bytes may be built for the call of ctx.
func reserve(ctx context.Context, n int) error {
	if n > small && !flightFrom(ctx).lease(n) {
		return errBusy
	}
	return nil
}

// kept returns a result that is kept in the cache. A large one is not copied into the
// answer of a single call, only into that of a batch, which pays for it.
func kept(ctx context.Context, raw []byte) (json.RawMessage, error) {
	f := flightFrom(ctx)
	if len(raw) <= small || f == nil {
		return raw, nil
	}
	if f.alone && f.big.CompareAndSwap(nil, &raw) {
		return null, nil // in its place, see splice
	}
	return raw, reserve(ctx, 2*len(raw))
}

// splice returns the parts of an answer: the dispatcher's with the result put in.
func (f *flight) splice(answer []byte) [3][]byte {
	head, ok := bytes.CutSuffix(answer, []byte("null}"))
	if big := f.big.Load(); big != nil && ok {
		return [3][]byte{head, *big, []byte("}")}
	}
	return [3][]byte{answer}
}

// spliceWriter writes the dispatcher's answer to a HTTP client.
type spliceWriter struct {
	http.ResponseWriter
	f *flight
}

func (w spliceWriter) Write(p []byte) (int, error) {
	parts := w.f.splice(p)
	w.Header().Set("Content-Length", strconv.Itoa(total(parts[:])))
	for _, part := range parts {
		if _, err := w.ResponseWriter.Write(part); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (w spliceWriter) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

func total(parts [][]byte) (n int) {
	for _, p := range parts {
		n += len(p)
	}
	return n
}

// answerWriter keeps the dispatcher's answer for a client that is not on HTTP.
type answerWriter struct {
	header http.Header
	body   []byte
}

func (w *answerWriter) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header)
	}
	return w.header
}

func (w *answerWriter) WriteHeader(int) {}

func (w *answerWriter) Write(p []byte) (int, error) {
	w.body = append(w.body, p...)
	return len(p), nil
}
