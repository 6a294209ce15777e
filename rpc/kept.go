package rpc

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// keep goes on with the connection of a call that net/http has read: it answers the
// call and reads and answers what comes after it, until the client leaves, asks to
// close, lets IdleTimeout pass, or the server stops. It reports false, and has done
// nothing, where the connection is to end with this call.
//
// net/http spends a goroutine, a read and two switches a call on noticing a client that
// leaves before it has its answer; a submission is answered before that matters. Its
// parser reads the requests here too, and every one passes serveHTTP.
func (s *Server) keep(w http.ResponseWriter, r *http.Request, f *flight, body []byte) bool {
	if r.Close || !r.ProtoAtLeast(1, 1) || s.stop.Err() != nil {
		return false
	}
	if _, nested := w.(*keptWriter); nested {
		return false
	}
	s.streams.Add(1)
	defer s.streams.Done()
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return false
	}
	defer conn.Close()
	conn.SetWriteDeadline(time.Now().Add(s.cfg.WriteTimeout))                   // Hijack has cleared it
	early := io.LimitReader(buffered.Reader, int64(buffered.Reader.Buffered())) // of the next request
	k := &keptConn{s: s, conn: conn, in: io.LimitedReader{R: io.MultiReader(early, conn), N: unlimited}, out: buffered.Writer}
	k.r = bufio.NewReaderSize(&k.in, 4<<10)
	defer context.AfterFunc(r.Context(), func() { conn.Close() })()
	defer context.AfterFunc(s.stop, k.stopReading)()
	first := &keptWriter{k: k, header: w.Header()} // net/http writes them no more
	writeHTTP(first, f, s.call(r.Context(), f, s.public, body))
	f.release()
	if first.finish() == nil {
		k.serve(r.Context(), r.RemoteAddr)
	}
	return true
}

// keptConn is a connection that the server reads by itself.
type keptConn struct {
	s       *Server
	conn    net.Conn
	in      io.LimitedReader // counts the headers of a request
	r       *bufio.Reader
	out     *bufio.Writer
	stopped atomic.Bool
	taken   bool // a WebSocket has it now
}

// unlimited is for bodies, which have limits of their own.
const unlimited = 1 << 62

// stopReading ends the wait for the next request.
func (k *keptConn) stopReading() {
	k.stopped.Store(true)
	k.conn.SetReadDeadline(time.Unix(1, 0))
}

// await gives what is read next until a time.
func (k *keptConn) await(d time.Duration) bool {
	k.conn.SetReadDeadline(time.Now().Add(d))
	return !k.stopped.Load() // after setting the deadline: stopReading does it the other way round
}

// serve reads and answers requests until the connection ends.
func (k *keptConn) serve(ctx context.Context, remote string) {
	cfg := &k.s.cfg
	for k.await(cfg.IdleTimeout) {
		if _, err := k.r.Peek(1); err != nil {
			return
		}
		began := time.Now()
		k.conn.SetReadDeadline(began.Add(cfg.HeaderTimeout))
		k.in.N = int64(cfg.MaxHeader - k.r.Buffered())
		r, err := http.ReadRequest(k.r)
		full := k.in.N <= 0
		k.in.N = unlimited
		w := &keptWriter{k: k, last: true}
		switch {
		case err != nil && full:
			http.Error(w, "the headers are too long", http.StatusRequestHeaderFieldsTooLarge)
		case err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) && !isTimeout(err):
			http.Error(w, "400 Bad Request", http.StatusBadRequest)
		case err != nil:
			return
		default:
			k.conn.SetReadDeadline(began.Add(cfg.ReadTimeout))
			k.conn.SetWriteDeadline(began.Add(cfg.WriteTimeout))
			w.last, w.bare = r.Close || !r.ProtoAtLeast(1, 1), r.Method == http.MethodHead
			r.RemoteAddr = remote
			if strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
				r.Body = &eager{ReadCloser: r.Body, k: k}
			}
			k.s.serveHTTP(w, r.WithContext(ctx))
			if k.taken {
				return
			}
			if n, err := io.CopyN(io.Discard, r.Body, 256<<10); n == 256<<10 || !errors.Is(err, io.EOF) {
				w.last = true // what is left of the body is not worth reading
			}
		}
		if w.finish() != nil || w.last {
			return
		}
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// eager is the body of a client that waits to be asked for it.
type eager struct {
	io.ReadCloser
	k     *keptConn
	asked bool
}

// Read implements io.Reader.
func (e *eager) Read(p []byte) (int, error) {
	if !e.asked {
		e.asked = true
		if _, err := io.WriteString(e.k.conn, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return 0, err
		}
	}
	return e.ReadCloser.Read(p)
}

// keptWriter writes one answer. A handler that says how long it is has it passed on as
// it is written; any other has it kept until the end, and those are short.
type keptWriter struct {
	k      *keptConn
	header http.Header
	status int
	begun  bool // the head is written
	last   bool // the connection ends with it
	bare   bool // it answers a HEAD: no body is sent
	body   []byte
}

// Header implements http.ResponseWriter.
func (w *keptWriter) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header, 4)
	}
	return w.header
}

// WriteHeader implements http.ResponseWriter.
func (w *keptWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

// Write implements http.ResponseWriter.
func (w *keptWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if len(w.Header()["Content-Length"]) == 0 {
		w.body = append(w.body, p...)
		return len(p), nil
	}
	w.begin()
	return w.k.out.Write(p)
}

// begin writes the head.
func (w *keptWriter) begin() {
	if w.begun {
		return
	}
	w.begun = true
	out := w.k.out
	out.WriteString("HTTP/1.1 ")
	out.WriteString(strconv.Itoa(w.status))
	out.WriteByte(' ')
	out.WriteString(http.StatusText(w.status))
	out.WriteString("\r\nDate: ")
	out.Write(time.Now().UTC().AppendFormat(make([]byte, 0, 32), http.TimeFormat))
	out.WriteString("\r\n")
	w.header.Write(out)
	if w.last {
		out.WriteString("Connection: close\r\n")
	}
	out.WriteString("\r\n")
}

// finish sends what is left of the answer.
func (w *keptWriter) finish() error {
	w.WriteHeader(http.StatusOK)
	if !w.begun {
		if w.status != http.StatusNoContent {
			w.Header()["Content-Length"] = []string{strconv.Itoa(len(w.body))}
		}
		w.Header()
		w.begin()
		if !w.bare {
			w.k.out.Write(w.body)
		}
	}
	return w.k.out.Flush()
}

// Hijack implements http.Hijacker, for a client that begins a WebSocket after a call.
func (w *keptWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.k.taken = true
	w.k.conn.SetDeadline(time.Time{})
	return w.k.conn, bufio.NewReadWriter(w.k.r, w.k.out), nil
}
