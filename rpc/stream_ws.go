package rpc

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// closeWait is how long a close frame may take to leave before the connection is cut.
const closeWait = time.Second

// serveWebSocket upgrades a connection whose host and origin were checked, and serves
// it until it ends.
func (s *Server) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	if s.stop.Err() != nil {
		http.Error(w, errStopping.Error(), http.StatusServiceUnavailable)
		return
	}
	s.streams.Add(1)
	defer s.streams.Done()
	up := websocket.Upgrader{
		ReadBufferSize:  4096,
		WriteBufferSize: 4096,
		WriteBufferPool: &s.wsBuffers,
		CheckOrigin:     func(*http.Request) bool { return true },
	}
	conn, err := up.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	conn.SetReadLimit(int64(s.cfg.MaxBody))
	f := &wsFrames{conn: conn, timeout: s.cfg.WriteTimeout, whole: s.cfg.ReadTimeout, closed: make(chan struct{})}
	conn.SetPongHandler(func(string) error { return f.alive() })
	s.serveStream(r.Context(), f, addressOf(r.RemoteAddr), s.public)
}

// wsFrames is a WebSocket connection as frames.
type wsFrames struct {
	conn    *websocket.Conn
	timeout time.Duration // of one write
	whole   time.Duration // a message may take to come
	partly  bool          // a message has begun to come; the reader's
	stopped atomic.Bool
	closing atomic.Bool
	closed  chan struct{} // closed when close has ended
	buf     []byte        // the writer's
}

// alive gives the client until two pings from now to show that it lives. A message that has begun to come
// keeps its own time.
func (f *wsFrames) alive() error {
	if f.partly {
		return nil
	}
	return f.await(2 * pingEvery)
}

// await gives what is read next until a time.
func (f *wsFrames) await(d time.Duration) error {
	f.conn.SetReadDeadline(time.Now().Add(d))
	if f.stopped.Load() { // after setting the deadline: stopReading does it the other way round
		return closeStopping
	}
	return nil
}

func (f *wsFrames) read(fl *flight) ([]byte, error) {
	if err := f.alive(); err != nil {
		return nil, err
	}
	_, r, err := f.conn.NextReader()
	if err != nil {
		return nil, err
	}
	f.partly = true
	defer func() { f.partly = false }()
	if err := f.await(f.whole); err != nil {
		return nil, err
	}
	return fl.read(r, -1)
}

func (f *wsFrames) write(parts ...[]byte) error {
	f.conn.SetWriteDeadline(time.Now().Add(f.timeout))
	if total(parts) > small { // in fragments, which are not copied
		w, err := f.conn.NextWriter(websocket.TextMessage)
		for _, p := range parts {
			if err == nil {
				_, err = w.Write(p)
			}
		}
		if err != nil {
			return err
		}
		return w.Close()
	}
	f.buf = f.buf[:0]
	for _, p := range parts {
		f.buf = append(f.buf, p...)
	}
	return f.conn.WriteMessage(websocket.TextMessage, f.buf)
}

func (f *wsFrames) ping() error {
	return f.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(f.timeout))
}

func (f *wsFrames) stopReading() {
	f.stopped.Store(true)
	f.conn.SetReadDeadline(time.Unix(1, 0))
}

func (f *wsFrames) close(reason closeReason) {
	if !f.closing.CompareAndSwap(false, true) {
		<-f.closed
		return
	}
	f.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(reason.code, reason.text), time.Now().Add(closeWait))
	f.conn.Close()
	close(f.closed)
}
