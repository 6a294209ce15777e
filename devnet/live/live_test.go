package live

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/pheme-net/pheme/rpc"
)

// TestForeign: only this machine's names reach the page, and only its own requests change something.
func TestForeign(t *testing.T) {
	h := New(Config{}).handler()
	for _, c := range []struct {
		method, host, kind, origin string
		want                       int
	}{
		{"GET", "127.0.0.1:8080", "", "", 200},
		{"GET", "[::1]:8080", "", "", 200},
		{"GET", "localhost:8080", "", "", 200},
		{"GET", "evil.example:8080", "", "", 403},
		{"GET", "192.168.1.2:8080", "", "", 403},
		{"POST", "localhost:8080", "application/json", "", 400}, // reaches the handler, which finds no node
		{"POST", "localhost:8080", "application/json", "http://localhost:8080", 400},
		{"POST", "localhost:8080", "application/json", "http://evil.example", 403},
		{"POST", "localhost:8080", "application/json", "null", 403},
		{"POST", "localhost:8080", "text/plain", "", 403},
		{"PUT", "localhost:8080", "", "", 405},
	} {
		path := "/"
		if c.method != "GET" {
			path = "/cut"
		}
		r := httptest.NewRequest(c.method, path, strings.NewReader(`{"a":"n0","b":"n1","seconds":1}`))
		r.Host = c.host
		r.Header.Set("Content-Type", c.kind)
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s for %s as %q from %q = %d %s, want %d", c.method, c.host, c.kind, c.origin, w.Code, w.Body, c.want)
		}
	}
}

// TestRefusalsAreWords: what cannot be done is answered with words for a person.
func TestRefusalsAreWords(t *testing.T) {
	s := New(Config{Targets: []Target{{Name: "n0", Where: "/nowhere"}}})
	s.hub.node(&Node{Name: "n0", PeerID: "x", Up: true})
	for body, want := range map[string]string{
		`{"a":"n0","b":"n0","seconds":1}`:                 "not two running nodes",
		`{"a":"n1","b":"n0","seconds":1}`:                 `there is no node`,
		`{"a":"n1","b":"n0","seconds":-1}`:                "use 0 to 3600",
		`{"a":"n1","b":"n0","seconds":1e9}`:               "use 0 to 3600",
		`{"a":"n0","fanout":1}`:                           "unknown field",
		`{`:                                               "read the request",
		`{"a":"` + strings.Repeat("x", maxRequest) + `"}`: "too large",
	} {
		r := httptest.NewRequest("POST", "/cut", strings.NewReader(body))
		r.Host = "localhost"
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		s.handler().ServeHTTP(w, r)
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%.40s = %d %s, want 400 with %q", body, w.Code, w.Body, want)
		}
	}
}

// TestBlockMayBeHeardOfBackwards: what arrives before the proposer's event counts all the same.
func TestBlockMayBeHeardOfBackwards(t *testing.T) {
	h := newHub()
	id := common.Hash{1}
	h.accepted("n1", rpc.TraceEvent{Hash: id, Wall: 5_000_000})
	if ch, leave := h.join(); !strings.Contains(string(<-ch), `"blocks":[]`) {
		t.Error("a block nobody sealed is shown")
	} else {
		leave()
	}
	h.sealed("n0", rpc.TraceEvent{Hash: id, Wall: 2_000_000, Aux: 7, Size: 100})
	h.accepted("n2", rpc.TraceEvent{Hash: id, Wall: 6_500_000})
	got := h.blocks[id]
	if got.Number != 7 || got.Origin != "n0" || got.At["n0"] != 0 || got.At["n1"] != 3 || got.At["n2"] != 4.5 {
		t.Errorf("block = %+v, want n0 at 0, n1 at 3 and n2 at 4.5 ms", got)
	}
	for i := range 2 * maxBlocks {
		h.sealed("n0", rpc.TraceEvent{Hash: common.Hash{2, byte(i)}, Wall: int64(i + 1)})
	}
	if len(h.blocks) != maxBlocks || len(h.order) != maxBlocks {
		t.Errorf("%d blocks are kept, want %d", len(h.blocks), maxBlocks)
	}
}

// TestBlocksFromElsewhere: a node that is followed alone shows the blocks of proposers that are not; among several,
// a block waits for its proposer's event.
func TestBlocksFromElsewhere(t *testing.T) {
	for _, lone := range []bool{true, false} {
		h := newHub()
		h.lone = lone
		own, other := rpc.TraceEvent{Hash: common.Hash{1}, Wall: 1_000_000, Aux: 7, Size: 100}, rpc.TraceEvent{Hash: common.Hash{2}, Wall: 3_000_000, Aux: 8, Size: 200}
		h.sealed("n0", own)
		h.imported("n0", own)
		h.accepted("n0", other)
		h.imported("n0", other)
		ch, leave := h.join()
		defer leave()
		var got state
		_, data, _ := strings.Cut(string(<-ch), "data: ")
		if err := json.Unmarshal([]byte(data), &got); err != nil {
			t.Fatal(err)
		}
		want := []*Block{{ID: own.Hash, Number: 7, Size: 100, Origin: "n0", At: map[string]float64{"n0": 0}}}
		if lone {
			want = append(want, &Block{ID: other.Hash, Number: 8, Size: 200, Origin: elsewhere, At: map[string]float64{"n0": 0}})
		}
		if !reflect.DeepEqual(got.Blocks, want) || got.Lone != lone {
			t.Errorf("lone %v: the page begins with %s", lone, data)
		}
	}
}

// TestLaggingViewerIsCutOff: a viewer that does not read loses its place, and another does not notice.
func TestLaggingViewerIsCutOff(t *testing.T) {
	h := newHub()
	slow, leaveSlow := h.join()
	defer leaveSlow()
	for range maxWaits + 1 {
		h.node(&Node{Name: "n0"})
	}
	count := 0
	for range slow { // ends: it was closed
		count++
	}
	if count != maxWaits {
		t.Errorf("it got %d messages, want the %d that may wait", count, maxWaits)
	}
	fast, leave := h.join()
	h.node(&Node{Name: "n0"})
	if first, second := string(<-fast), string(<-fast); !strings.HasPrefix(first, "event: state\n") || !strings.HasPrefix(second, "event: node\n") {
		t.Errorf("a new viewer got %q, %q", first, second)
	}
	leave()
	leave() // may be called again
}

// TestServer: the page and its events are served until the end, and a node that is not there is shown
// as down.
func TestServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(Config{Targets: []Target{{Name: "n0", RPC: "http://x", Where: "/no/such.ipc"}}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l) }()
	url := "http://" + l.Addr().String()
	for path, want := range map[string]string{"/": "<title>pheme devnet</title>", "/app.js": "EventSource", "/graph.js": "class Graph", "/style.css": "prefers-color-scheme"} {
		resp, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		_, _ = bufio.NewReader(resp.Body).WriteTo(&text)
		resp.Body.Close()
		if !strings.Contains(text.String(), want) || !strings.Contains(resp.Header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("GET %s = %.80q with %v", path, text.String(), resp.Header)
		}
	}
	resp, err := http.Get(url + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for down := false; !down; {
		if !lines.Scan() {
			t.Fatalf("the events ended: %v", lines.Err())
		}
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		var n Node
		if ok && json.Unmarshal([]byte(data), &n) == nil && n.Name == "n0" {
			down = !n.Up && n.Why != ""
		}
		var begin state
		if ok && json.Unmarshal([]byte(data), &begin) == nil && len(begin.Nodes) == 1 {
			down = !begin.Nodes[0].Up && begin.Nodes[0].Why != ""
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v", err)
	}
}
