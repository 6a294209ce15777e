package rpc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
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

// FuzzRequest: whatever the body, the answer is JSON or nothing, no call crashes, and a
// batch that was prepared in one piece answers as one that runs call by call.
func FuzzRequest(f *testing.F) {
	for _, seed := range bodies(newRig(f, Config{})) {
		f.Add([]byte(seed))
	}
	r, plain := newRig(f, Config{}), newRig(f, Config{})
	f.Fuzz(func(t *testing.T, body []byte) {
		if strings.Contains(string(body), "pheme_waitReceipt") || strings.Contains(string(body), "Sync") {
			t.Skip("waits")
		}
		r.pool.clear()
		plain.pool.clear()
		answer := r.direct(body)
		if len(answer) > 0 && !json.Valid(answer) {
			t.Fatalf("answer is not JSON: %q", answer)
		}
		if n := r.s.panics.Load(); n > 0 {
			t.Fatalf("%d calls crashed", n)
		}
		if !bytes.Contains(body, sendMethod) {
			return
		}
		var w answerWriter
		plain.s.public.ServeHTTP(&w, &http.Request{Method: "POST", Header: callHeader, Body: io.NopCloser(bytes.NewReader(body))})
		if !bytes.Equal(answer, w.body) && !bytes.Contains(body, []byte("Filter")) && !bytes.Contains(body, []byte("pheme")) {
			t.Fatalf("prepared: %s\nplain: %s", answer, w.body)
		}
	})
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
		r.s.serveStream(t.Context(), conn, r.s.public)
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
