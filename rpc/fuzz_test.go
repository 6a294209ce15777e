package rpc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	gethrpc "github.com/ethereum/go-ethereum/rpc"
)

// bodies are seeds: one of each kind of request.
func bodies(r *rig) []string {
	raw, other := rawOf(r.tb, r.transfer(1, 0, nil)), rawOf(r.tb, r.transfer(2, 0, []byte{1}))
	send := `{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction","params":["%s"]}`
	return []string{
		chainIDCall, "[]", "[" + chainIDCall + ",1,null]", "{", "\ufeff{}", `{"jsonrpc":"2.0","method":"eth_chainId"}`,
		fmt.Sprintf(send, raw), fmt.Sprintf("["+send+","+send+"]", raw, other), fmt.Sprintf("["+send+","+send+"]", raw, raw),
		fmt.Sprintf("["+send+","+send+"]", raw, "0x03"), fmt.Sprintf("["+send+",{\"id\":2,"+send[1:]+"]", raw, other),
		`{"jsonrpc":"2.0","id":1,"method":"eth_getBlockByNumber","params":["latest",true]}`,
		`{"jsonrpc":"2.0","id":1,"method":"eth_feeHistory","params":["0x5","latest",[10,20]]}`,
		`{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{"to":"0x0000000000000000000000000000000000000001","accessList":[{}]},{"blockHash":"0x00"}]}`,
		`{"jsonrpc":"2.0","id":1,"method":"eth_getStorageAt","params":["0x0000000000000000000000000000000000000001","0x","latest"]}`,
		`{"jsonrpc":"2.0","id":"x","method":"eth_subscribe","params":["newHeads"]}`,
		`{"jsonrpc":"2.0","id":1,"method":"eth_unsubscribe","params":["0x1"]}`,
		`{"jsonrpc":"2.0","id":1,"method":"pheme_subscribe","params":["trace",{}]}`,
		`[{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}]`,
	}
}

// FuzzRequest: whatever the body, the answer is JSON or nothing, no call crashes, and
// it is what go-ethereum's server answers over the same methods, one call at a time.
func FuzzRequest(f *testing.F) {
	for _, seed := range bodies(newRig(f, Config{})) {
		f.Add([]byte(seed))
	}
	r, other := newRig(f, Config{}), newRig(f, Config{})
	peer := gethServer(f, other.s)
	f.Fuzz(func(t *testing.T, body []byte) {
		if strings.Contains(string(body), "pheme_waitReceipt") || strings.Contains(string(body), "Sync") {
			t.Skip("waits")
		}
		r.pool.clear()
		other.pool.clear()
		got := r.direct(body)
		if len(got) > 0 && !json.Valid(got) {
			t.Fatalf("answer is not JSON: %q", got)
		}
		if n := r.s.panics.Load(); n > 0 {
			t.Fatalf("%d calls crashed", n)
		}
		if bytes.Contains(body, []byte("Filter")) || bytes.Contains(body, []byte("pheme")) || bytes.Contains(body, []byte("rpc.discover")) {
			return // what differs from one server or moment to the next, and the name go-ethereum does not know
		}
		if want := askGeth(peer, body); !bytes.Equal(got, want) && !bytes.Equal(got, identify(t, want)) {
			t.Fatalf("body %s\nours %s\ngeth %s", body, got, want)
		}
	})
}

// gethServer serves the methods of s by go-ethereum's own server.
func gethServer(tb testing.TB, s *Server) *gethrpc.Server {
	peer := gethrpc.NewServer()
	peer.SetBatchLimits(s.cfg.MaxBatch, s.cfg.MaxResponse)
	peer.SetHTTPBodyLimit(s.cfg.MaxBody + 1)
	for name, service := range s.services(false) {
		if own, ok := service.(*rpcAPI); ok {
			*own = *s.public.methods["rpc_discover"].receiver.Interface().(*rpcAPI)
		}
		must(tb, peer.RegisterName(name, service))
	}
	return peer
}

func askGeth(peer *gethrpc.Server, body []byte) []byte {
	w := httptest.NewRecorder()
	peer.ServeHTTP(w, &http.Request{
		Method: "POST", Header: http.Header{"Content-Type": contentJSON}, ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
	})
	return w.Body.Bytes()
}

// identify gives an id to the answers of go-ethereum that have none or one that is no text, number or
// null: it leaves it out, or repeats it, when it refuses the rest of a batch or a method's name.
func identify(t *testing.T, raw []byte) []byte {
	fix := func(raw []byte) []byte {
		var id, tail json.RawMessage
		eachField(raw, func(key, value []byte) {
			switch string(key) {
			case `"id"`:
				id = value
			case `"result"`, `"error"`:
				tail = append(append(append(json.RawMessage(","), key...), ':'), value...)
			}
		})
		return append(append(appendID(nil, id), tail...), '}')
	}
	if len(raw) == 0 {
		return nil
	}
	if !isArray(raw) {
		return fix(raw)
	}
	var parts [][]byte
	eachElement(raw, func(one []byte) { parts = append(parts, fix(one)) })
	return append(append([]byte{'['}, bytes.Join(parts, []byte{','})...), ']')
}

// FuzzFrame: whatever a WebSocket client sends, each answer is JSON, its connection
// ends when it leaves, and nothing of it stays.
func FuzzFrame(f *testing.F) {
	for _, seed := range bodies(newRig(f, Config{})) {
		f.Add([]byte(seed))
	}
	r := newRig(f, Config{MaxSubs: 2})
	f.Fuzz(func(t *testing.T, body []byte) {
		if strings.Contains(string(body), "pheme_waitReceipt") || strings.Contains(string(body), "Sync") {
			t.Skip("waits")
		}
		conn := &memoryFrames{in: [][]byte{body, []byte(chainIDCall)}}
		r.s.serveStream(t.Context(), conn, netip.Addr{}, r.s.public)
		last := false
		for _, answer := range conn.out {
			if !json.Valid(answer) {
				t.Fatalf("answer is not JSON: %q", answer)
			}
			last = last || bytes.Contains(answer, []byte("0x539"))
		}
		if !last {
			t.Fatalf("the call after it was not answered: %q", conn.out)
		}
		if n := r.s.broker.count(); n > 0 {
			t.Fatalf("%d subscriptions outlive their connection", n)
		}
	})
}

// memoryFrames gives what it was filled with and then ends; it keeps what is written.
type memoryFrames struct {
	in, out [][]byte
}

func (m *memoryFrames) read(*flight) ([]byte, error) {
	if len(m.in) == 0 {
		return nil, io.EOF
	}
	body := m.in[0]
	m.in = m.in[1:]
	return body, nil
}

func (m *memoryFrames) write(parts ...[]byte) error {
	m.out = append(m.out, bytes.Join(parts, nil))
	return nil
}

func (m *memoryFrames) ping() error { return nil }

func (m *memoryFrames) stopReading() {}

func (m *memoryFrames) close(closeReason) {}
