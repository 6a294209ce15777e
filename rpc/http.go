package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/gorilla/websocket"
)

// contentJSON is the header of every answer. It is only read.
var contentJSON = []string{"application/json"}

const usage = `This is the JSON-RPC endpoint of a pheme node. POST a request to it, for example:

  curl -H 'Content-Type: application/json' -d '{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}' http://%s

or open a WebSocket to the same address.
`

// serveHTTP checks a request by its headers, reads its body within the limits and
// hands it to dispatch. A WebSocket handshake goes to serveWebSocket.
func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if refusal := s.guard.check(r); refusal != "" {
		http.Error(w, refusal, http.StatusForbidden)
		return
	}
	if r.URL.Path != "/" && r.URL.Path != "/ws" {
		http.Error(w, fmt.Sprintf("no such path: the JSON-RPC endpoint is http://%s/", r.Host), http.StatusNotFound)
		return
	}
	if websocket.IsWebSocketUpgrade(r) {
		s.serveWebSocket(w, r)
		return
	}
	if r.Header.Get("Origin") != "" {
		allowOrigin(w, r)
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
	if status, text := checkRequest(r); status != 0 {
		if status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", http.MethodPost)
		}
		http.Error(w, text, status)
		return
	}
	f := &flight{s: s, from: addressOf(r.RemoteAddr)}
	defer f.release()
	body, err := s.readBody(f, w, r)
	if err != nil { // a client that is cut off while it sends never sees the answer
		io.CopyN(io.Discard, r.Body, int64(8*s.cfg.MaxBody))
	}
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		http.Error(w, fmt.Sprintf("the body has more than %d bytes: send smaller batches", s.cfg.MaxBody), http.StatusRequestEntityTooLarge)
		return
	} else if errors.Is(err, errBusy) {
		w.Header().Set("Retry-After", "1")
		http.Error(w, errBusy.text, http.StatusServiceUnavailable)
		return
	} else if err != nil {
		http.Error(w, "the body of the request broke off", http.StatusBadRequest)
		return
	}
	f.received = time.Now()
	if !s.keep(w, r, f, body) {
		writeHTTP(w, f, s.call(r.Context(), f, s.public, body))
	}
}

// writeHTTP sends an answer, a small one in one piece.
func writeHTTP(w http.ResponseWriter, f *flight, a answer) {
	size := total(a[:])
	h := w.Header()
	h["Content-Type"] = contentJSON
	h["Content-Length"] = []string{strconv.Itoa(size)}
	if f.hasty {
		h.Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	}
	if size <= small {
		w.Write(bytes.Join(a[:], nil))
		return
	}
	for _, part := range a {
		if _, err := w.Write(part); err != nil {
			return // it has left
		}
	}
}

// readBody returns the body of a request, or an error that may be a
// http.MaxBytesError or errBusy.
func (s *Server) readBody(f *flight, w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > int64(s.cfg.MaxBody) {
		return nil, &http.MaxBytesError{Limit: int64(s.cfg.MaxBody)}
	}
	return f.read(http.MaxBytesReader(w, r.Body, int64(s.cfg.MaxBody)), r.ContentLength)
}

// call runs the call or batch in body with dispatcher d and returns its answer. Every
// transport comes through here, so that limits, stamps and answers are the same.
func (s *Server) call(ctx context.Context, f *flight, d *dispatcher, body []byte) answer {
	return d.serve(context.WithValue(ctx, flightKey{}, f), f, body)
}

// checkRequest returns the status and text for a request that cannot be a call.
func checkRequest(r *http.Request) (status int, text string) {
	if r.Method != http.MethodPost {
		return http.StatusMethodNotAllowed, fmt.Sprintf(usage, r.Host)
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return http.StatusUnsupportedMediaType, "compressed requests are not accepted: send the body as it is"
	}
	kind := r.Header.Get("Content-Type")
	if kind == contentJSON[0] {
		return 0, "" // what clients say
	}
	kind, _, err := mime.ParseMediaType(kind)
	if err != nil || !slices.Contains([]string{"application/json", "application/json-rpc", "application/jsonrequest"}, kind) {
		return http.StatusUnsupportedMediaType, "set the header Content-Type: application/json"
	}
	return 0, ""
}

// allowOrigin tells a browser that the page, which guard let pass, may read the answer.
func allowOrigin(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
	h.Add("Vary", "Origin")
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", http.MethodPost)
		h.Set("Access-Control-Allow-Headers", "Content-Type")
		h.Set("Access-Control-Max-Age", "600")
	}
}
