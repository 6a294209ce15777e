package rpc

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"sync"
	"time"
)

// frames is a connection that carries messages both ways: WebSocket or unix socket.
// One goroutine reads and one writes; the other methods may be called by any.
type frames interface {
	// read returns the next message, leasing its memory from f. io.EOF means that the other side sends no more
	// but still listens, a codeError that it is to be told what it is; every other error, that it has left.
	read(f *flight) ([]byte, error)
	// write sends the parts as one message.
	write(parts ...[]byte) error
	// ping asks the other side for a sign of life.
	ping() error
	// stopReading makes read return an error.
	stopReading()
	// close tells the other side why, if it can, and cuts the connection. It may be
	// called again, by several at once: all return when it is cut.
	close(reason closeReason)
}

// closeReason is why a connection ends, with the code WebSocket has for it.
type closeReason struct {
	code int
	text string
}

func (c closeReason) Error() string { return c.text }

var (
	closeNormal   = closeReason{1000, "bye"}
	closeStopping = closeReason{1001, "the node is stopping"}
	closeBusy     = closeReason{1013, errBusy.text}
	closeLagging  = closeReason{1008, "lagging: too many events wait for this client, read faster or subscribe to less"}
)

// pingEvery is the time between two signs of life asked of a WebSocket client. One
// that gives none in twice the time is cut off.
const pingEvery = 30 * time.Second

// stream is one WebSocket or socket connection.
//
// Goroutines: the reader (serveStream itself), one writer, one for each call in
// flight and one for each trace subscription. Everything written passes through out
// in order, so that the answer to a subscription leaves before its first event. Every
// message that is read takes a slot, which is free again when its answer was written:
// that bounds the answers that wait.
type stream struct {
	s       *Server
	conn    frames
	from    netip.Addr
	api     *dispatcher
	out     *queue
	slots   chan struct{}
	end     context.CancelCauseFunc  // cuts the connection; the cause is a closeReason
	workers sync.WaitGroup           // calls and trace subscriptions
	subs    map[string]*subscription // by id; the reader's own
}

// serveStream serves a connection until it ends, the server stops, or ctx ends, which
// cuts it. It returns when all its goroutines have.
func (s *Server) serveStream(ctx context.Context, conn frames, from netip.Addr, api *dispatcher) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	st := &stream{
		s: s, conn: conn, from: from, api: api, end: end,
		out:   newQueue(s, from),
		slots: make(chan struct{}, s.cfg.MaxInFlight),
		subs:  make(map[string]*subscription),
	}
	defer context.AfterFunc(ctx, func() { conn.close(reasonOf(ctx)) })()
	defer context.AfterFunc(s.stop, conn.stopReading)()
	var writer sync.WaitGroup
	writer.Go(st.write)

	err := st.read(ctx)
	for _, sub := range st.subs {
		sub.stop() // before out is closed: the broker may be about to queue an event
	}
	stopping := s.stop.Err() != nil
	if !stopping && !errors.Is(err, io.EOF) {
		end(closeNormal) // it has left: nobody waits for the answers
	}
	st.workers.Wait()
	st.out.close()
	writer.Wait()
	switch {
	case ctx.Err() != nil:
		conn.close(reasonOf(ctx))
	case stopping:
		conn.close(closeStopping)
	default:
		conn.close(closeNormal)
	}
}

// reasonOf returns why ctx was ended: by this package with a reason, or from outside.
func reasonOf(ctx context.Context) closeReason {
	reason := closeStopping
	errors.As(context.Cause(ctx), &reason)
	return reason
}

// read starts a call for every message until the connection gives no more.
func (st *stream) read(ctx context.Context) error {
	for {
		f := &flight{s: st.s, from: st.from}
		body, err := st.conn.read(f)
		if err != nil {
			f.release()
			if errors.Is(err, errBusy) {
				st.end(closeBusy)
			} else if fault := new(codeError); errors.As(err, &fault) {
				st.out.put(message{parts: answer{appendFault(nil, nil, fault)}})
				return io.EOF // what comes next has no beginning, but this is to be written
			}
			return err
		}
		f.received = time.Now()
		select {
		case st.slots <- struct{}{}:
		case <-ctx.Done():
			f.release()
			return ctx.Err()
		}
		if st.subscription(ctx, body) {
			f.release()
			continue
		}
		st.workers.Go(func() {
			st.out.put(message{parts: st.s.call(ctx, f, st.api, body), f: f, slot: true})
		})
	}
}

// write sends what is put into out until that is closed. After an error it only empties
// it, so that nobody waits for a connection that is gone.
func (st *stream) write() {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	var err error
	for {
		select {
		case <-st.out.more:
			m, ok := st.out.take()
			if !ok {
				return
			}
			if err == nil && len(m.parts[0]) > 0 {
				err = st.conn.write(m.parts[:]...)
			}
			if m.f != nil {
				m.f.release()
			}
			if m.slot {
				<-st.slots
			}
			if m.written != nil {
				m.written <- struct{}{}
			}
		case <-ping.C:
			if err == nil {
				err = st.conn.ping()
			}
		}
		if err != nil {
			st.end(closeNormal)
		}
	}
}
