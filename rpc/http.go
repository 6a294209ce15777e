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
	"time"

	gethrpc "github.com/ethereum/go-ethereum/rpc"
	"github.com/gorilla/websocket"
)

// callHeader satisfies the dispatcher's check of the content type. It is only read.
var callHeader = http.Header{"Content-Type": []string{"application/json"}}

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
	f := &flight{s: s}
	defer f.release()
	body, err := s.readBody(f, w, r)
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		// A client that is cut off while it sends never sees the answer.
		io.CopyN(io.Discard, r.Body, int64(8*s.cfg.MaxBody))
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
	s.call(withReceived(r.Context(), time.Now()), f, s.public, spliceWriter{w, f}, body)
}

// readBody returns the body of a request, or an error that may be a
// http.MaxBytesError or errBusy.
func (s *Server) readBody(f *flight, w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > int64(s.cfg.MaxBody) {
		return nil, &http.MaxBytesError{Limit: int64(s.cfg.MaxBody)}
	}
	return f.read(http.MaxBytesReader(w, r.Body, int64(s.cfg.MaxBody)), r.ContentLength)
}

// call runs the call or batch in body with dispatcher d and writes its answer to w.
// Every transport comes through here, so that limits, stamps and answers are the same.
func (s *Server) call(ctx context.Context, f *flight, d *gethrpc.Server, w http.ResponseWriter, body []byte) {
	s.calls.Add(1)
	body = renamed(body)
	f.alone = !isBatch(body)
	ctx = context.WithValue(ctx, flightKey{}, f)
	r := http.Request{
		Method:        http.MethodPost,
		Header:        callHeader,
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
	}
	d.ServeHTTP(w, r.WithContext(s.prepare(ctx, body)))
}

func isBatch(body []byte) bool {
	body = bytes.TrimLeft(body, " \t\r\n")
	return len(body) > 0 && body[0] == '['
}

// checkRequest returns the status and text for a request that cannot be a call.
func checkRequest(r *http.Request) (status int, text string) {
	if r.Method != http.MethodPost {
		return http.StatusMethodNotAllowed, fmt.Sprintf(usage, r.Host)
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return http.StatusUnsupportedMediaType, "compressed requests are not accepted: send the body as it is"
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
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
