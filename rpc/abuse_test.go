package rpc

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
)

const chainIDCall = `{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}`

// request sends a request as described, on a connection of its own, and returns status, body and headers.
func (r *rig) request(method, path, body string, headers ...string) (int, string, http.Header) {
	r.tb.Helper()
	return r.requestOver(&http.Transport{DisableKeepAlives: true}, method, path, body, headers...)
}

func (r *rig) requestOver(tr *http.Transport, method, path, body string, headers ...string) (int, string, http.Header) {
	r.tb.Helper()
	req, err := http.NewRequestWithContext(r.tb.Context(), method, r.url()+path, strings.NewReader(body))
	must(r.tb, err)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
	}
	resp, err := tr.RoundTrip(req)
	must(r.tb, err)
	defer resp.Body.Close()
	raw, _ := io.ReadAll(resp.Body) // broken off when the server cuts what it has not read
	return resp.StatusCode, string(raw), resp.Header
}

// TestTooLarge is C1: what is too large is refused by its size, before it is all read, and costs at most
// 2 MiB of heap, the client's share included.
func TestTooLarge(t *testing.T) {
	r := startRig(t, Config{})
	max := r.s.cfg.MaxBody
	for _, c := range []struct {
		name   string
		body   string
		header []string
		status int
	}{
		{"body at the limit", chainIDCall + strings.Repeat(" ", max-len(chainIDCall)), nil, 200},
		{"body above the limit", chainIDCall + strings.Repeat(" ", max+1-len(chainIDCall)), nil, 413},
		{"gzip bomb", zipped(t, 100<<20), []string{"Content-Encoding", "gzip"}, 415},
		{"long headers", chainIDCall, []string{"X-Long", strings.Repeat("x", 17<<10)}, 431},
	} {
		took := heapTaken(func() {
			if status, text, _ := r.request("POST", "/", c.body, c.header...); status != c.status {
				t.Errorf("%s: %d %.100q, want %d", c.name, status, text, c.status)
			}
		})
		if c.status != 200 && took > 2<<20 {
			t.Errorf("%s: %d bytes of heap, want at most 2 MiB", c.name, took)
		}
	}
	took := heapTaken(func() {
		resp, err := http.Post(r.url(), "application/json", io.MultiReader(strings.NewReader(chainIDCall), endless{}))
		if err != nil {
			return // the server may cut the connection before the answer is read
		}
		resp.Body.Close()
		if resp.StatusCode != 413 {
			t.Errorf("chunks without end: %d, want 413", resp.StatusCode)
		}
	})
	if took > 2<<20 {
		t.Errorf("chunks without end: %d bytes of heap, want at most 2 MiB", took)
	}
	if status, _ := r.post(chainIDCall); status != 200 {
		t.Errorf("afterwards: %d, want 200", status)
	}
}

// heapTaken is how many bytes were allocated while f ran, those that are free again included.
func heapTaken(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func zipped(t *testing.T, size int64) string {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := io.CopyN(w, endless{}, size)
	must(t, err)
	must(t, w.Close())
	return buf.String()
}

// slowKinds are the ways of C2 to hold a connection, and what ends each.
var slowKinds = []struct {
	name  string
	sends string
	drips bool // a byte a second after that
	reads bool
	limit func(Config) time.Duration
}{
	{"headers a byte a second", "POST / HTTP/1.1\r\nHost: localhost\r\nX-Long: ", true, true, func(c Config) time.Duration { return c.HeaderTimeout }},
	{"a body a byte a second", requestOf(strings.Repeat(" ", 5000))[:200], true, true, func(c Config) time.Duration { return c.ReadTimeout }},
	{"never reads", requestOf(chainIDCall), false, false, func(c Config) time.Duration { return c.WriteTimeout }},
	{"silent after a call", requestOf(chainIDCall), false, true, func(c Config) time.Duration { return c.IdleTimeout }},
}

// TestSlowClients is C2, in virtual time: of 500 connections that send a byte now and then, never read or are
// silent, each is cut off by its timeout (headers 5 s, idle 60 s), and a good client beside them is answered at
// once. What they cost one in real time, BenchmarkHonestClient measures.
func TestSlowClients(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, Config{})
		l := newPipeListener()
		r.run(l)
		if c := r.s.cfg; c.HeaderTimeout != 5*time.Second || c.IdleTimeout != time.Minute {
			t.Errorf("headers may take %v and a connection idle for %v, want 5 s and 60 s", c.HeaderTimeout, c.IdleTimeout)
		}
		start := time.Now()
		ended := make([]time.Duration, 500)
		var slow sync.WaitGroup
		for i := range ended {
			kind, conn := slowKinds[i%len(slowKinds)], l.dial()
			slow.Go(func() {
				defer conn.Close()
				defer time.AfterFunc(5*time.Minute, func() { conn.Close() }).Stop() // of one that is not cut off
				cut := make(chan struct{})
				go func() {
					defer close(cut)
					if kind.reads {
						io.Copy(io.Discard, conn)
					}
				}()
				_, err := io.WriteString(conn, kind.sends)
				for kind.drips && err == nil {
					time.Sleep(time.Second)
					_, err = io.WriteString(conn, "x")
				}
				if <-cut; !kind.reads {
					io.WriteString(conn, "x") // waits until the connection is cut: the server reads no more
				}
				ended[i] = time.Since(start)
			})
		}
		good := l.client()
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			before := time.Now()
			resp, err := good.Post("http://localhost/", "application/json", strings.NewReader(chainIDCall))
			must(t, err)
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if took := time.Since(before); resp.StatusCode != 200 || took > 0 {
				t.Errorf("a good client got %d after %v, want 200 at once", resp.StatusCode, took)
			}
		}
		slow.Wait()
		for i, d := range ended {
			kind := slowKinds[i%len(slowKinds)]
			if limit := kind.limit(r.s.cfg); d < limit || d > limit+2*time.Second {
				t.Errorf("%s: connection %d was cut off after %v, want %v", kind.name, i, d, limit)
			}
		}
		r.stop()
	})
}

// TestLargeBatch is C3, of which TestJSONRPC has the rest: a batch above the limit is refused as one, be it of
// 101 calls, of 10,000, or of 100,000 elements that are none.
func TestLargeBatch(t *testing.T) {
	r := startRig(t, Config{})
	batch := func(n int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(chainIDCall+",", n), ",") + "]"
	}
	if _, answer := r.post(batch(100)); strings.Count(answer, "0x539") != 100 {
		t.Errorf("batch of 100: %.200s, want 100 answers", answer)
	}
	for _, body := range []string{batch(101), batch(10_000), "[" + strings.Repeat("1,", 99_999) + "1]"} {
		status, answer := r.post(body)
		if status != 200 || !strings.Contains(answer, `"code":-32600,"message":"batch too large"`) || len(answer) > 200 {
			t.Errorf("batch of %d bytes: %d %.300s, want one -32600", len(body), status, answer)
		}
	}
}

// TestLargeBatchIsNotStored: of a batch above the limit no more is kept than the limit, and the first call that it
// has is still the one that is answered.
func TestLargeBatchIsNotStored(t *testing.T) {
	r := newRig(t, Config{})
	body := []byte("[" + strings.Repeat("1,", 500_000) + `{"jsonrpc":"2.0","id":"first","method":"eth_chainId"},{"jsonrpc":"2.0","id":"second","method":"eth_chainId"}]`)
	took := heapTaken(func() {
		want := `[{"jsonrpc":"2.0","id":"first","error":{"code":-32600,"message":"batch too large"}}]`
		if answer := string(r.direct(body)); answer != want {
			t.Errorf("answer = %.200s, want %s", answer, want)
		}
	})
	if took > 1<<20 {
		t.Errorf("%d bytes of heap for a batch that is refused, want at most 1 MiB", took)
	}
}

// TestLargeAnswers: the answers of a batch have a limit together; the calls after it
// get an error each.
func TestLargeAnswers(t *testing.T) {
	r := newRig(t, Config{MaxResponse: 20_000})
	everyKind(r, 12)
	block := `{"jsonrpc":"2.0","id":1,"method":"eth_getBlockByNumber","params":["latest",true]}`
	answer := string(r.direct([]byte("[" + strings.TrimSuffix(strings.Repeat(block+",", 10), ",") + "]")))
	if n := strings.Count(answer, `"code":-32003,"message":"response too large"`); n < 5 || strings.Count(answer, `"id":1`) != 10 {
		t.Errorf("%d of 10 answers refused, want most: %.300s", n, answer)
	}
}

// TestSlowMessage: a WebSocket message has a time to come as a request has, and signs of life do not extend it.
func TestSlowMessage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, Config{ReadTimeout: 20 * time.Second}) // neither a ping nor a pong is due then
		l := newPipeListener()
		r.run(l)
		conn := l.dialWS(t)
		start := time.Now()
		defer time.AfterFunc(3*time.Minute, func() { conn.Close() }).Stop() // of one that is not cut
		var client sync.WaitGroup
		client.Go(func() { // the first half, and then that it lives, again and again
			w, err := conn.NextWriter(websocket.TextMessage)
			must(t, err)
			io.WriteString(w, strings.Repeat(" ", 2*small))
			for range 12 {
				time.Sleep(7 * time.Second)
				conn.WriteControl(websocket.PongMessage, nil, time.Now().Add(time.Second)) // fails when it was cut
			}
		})
		time.Sleep(time.Second)
		if n := r.s.memory.leased(); n < small {
			t.Errorf("%d bytes are leased for half a message, want those of a large one", n)
		}
		_, _, err := conn.ReadMessage()
		if took := time.Since(start); err == nil || took != r.s.cfg.ReadTimeout {
			t.Errorf("half a message: %v after %v, want the connection cut after %v", err, took, r.s.cfg.ReadTimeout)
		}
		client.Wait()
		if n := r.s.memory.leased(); n != 0 {
			t.Errorf("%d bytes are still leased", n)
		}
		r.stop()
	})
}

// TestForeignPages is C4: neither a page of another site nor a name that was pointed
// here gets through a browser. The first call of a connection that goes on, the next ones and
// that of one that does not are answered alike.
func TestForeignPages(t *testing.T) {
	r := startRig(t, Config{Hosts: []string{"Node.example.org"}, Origins: []string{"https://app.example.org", "http://localhost:3000/"}})
	for _, c := range []struct {
		method string
		header []string
		status int
		allow  string // Access-Control-Allow-Origin
	}{
		{"POST", []string{"Host", "127.0.0.1"}, 200, ""},
		{"POST", []string{"Host", "[::1]"}, 200, ""},
		{"POST", []string{"Host", "[::1]:8545"}, 200, ""},
		{"POST", []string{"Host", "localhost"}, 200, ""},
		{"POST", []string{"Host", "LOCALHOST:80"}, 200, ""},
		{"POST", []string{"Host", "node.example.org:8545"}, 200, ""},
		{"POST", []string{"Host", "evil.com"}, 403, ""},
		{"POST", []string{"Host", "localhost.evil.com"}, 403, ""},
		{"POST", []string{"Host", "127.0.0.1.evil.com:80"}, 403, ""},
		{"POST", []string{"Origin", "http://evil"}, 403, ""},
		{"POST", []string{"Origin", "null"}, 403, ""},
		{"POST", []string{"Origin", "https://app.example.org.evil.com"}, 403, ""},
		{"POST", []string{"Origin", "http://app.example.org"}, 403, ""},
		{"POST", []string{"Origin", "https://app.example.org"}, 200, "https://app.example.org"},
		{"POST", []string{"Origin", "http://localhost:3000"}, 200, "http://localhost:3000"},
		{"POST", []string{"Origin", "http://localhost:3001"}, 403, ""},
		{"POST", []string{"Origin", "http://localhost:8545", "Host", "localhost:8545"}, 200, "http://localhost:8545"},
		{"POST", []string{"Origin", "chrome-extension://nkbihfbeogaeaoehlefnkodbefgpgknn"}, 200, "chrome-extension://nkbihfbeogaeaoehlefnkodbefgpgknn"},
		{"OPTIONS", []string{"Origin", "https://app.example.org"}, 204, "https://app.example.org"},
		{"OPTIONS", []string{"Origin", "http://evil"}, 403, ""},
		{"OPTIONS", nil, 405, ""},
		{"GET", nil, 405, ""},
		{"PUT", nil, 405, ""},
		{"DELETE", nil, 405, ""},
		{"POST", []string{"Content-Type", "text/plain"}, 415, ""},
		{"POST", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, ""},
		{"POST", []string{"Content-Type", ""}, 415, ""},
		{"POST", []string{"Content-Type", "application/json; charset=utf-8"}, 200, ""},
	} {
		kept := &http.Transport{MaxConnsPerHost: 1}
		for i, tr := range []*http.Transport{{DisableKeepAlives: true}, kept, kept} {
			status, text, header := r.requestOver(tr, c.method, "/", chainIDCall, c.header...)
			allow, vary := header.Get("Access-Control-Allow-Origin"), header.Get("Vary") == "Origin"
			if status != c.status || allow != c.allow || vary != (c.allow != "") {
				t.Errorf("%s %v, %d: %d, allowed origin %q, Vary %v, want %d and %q", c.method, c.header, i, status, allow, vary, c.status, c.allow)
			}
			if status >= 400 && len(text) < 30 {
				t.Errorf("%s %v: %q says too little", c.method, c.header, text)
			}
		}
		if _, _, header := r.requestOver(kept, "POST", "/", chainIDCall); header["Access-Control-Allow-Origin"] != nil || header["Vary"] != nil {
			t.Errorf("%s %v: a call without an origin that follows has the headers of one: %v", c.method, c.header, header)
		}
		kept.CloseIdleConnections()
	}
	for want, header := range map[string][]string{"to hosts in [rpc]": {"Host", "evil.com"}, "to origins in [rpc]": {"Origin", "http://evil"}} {
		if _, text, _ := r.request("POST", "/", chainIDCall, header...); !strings.Contains(text, want+" of the node's --config file") {
			t.Errorf("a foreign %v: %q, want the name of the setting", header, text)
		}
	}
	if status, text, header := r.request("GET", "/", ""); status != 405 || header.Get("Allow") != "POST" || !strings.Contains(text, "curl") {
		t.Errorf("GET: %d, Allow %q, %q, want 405, POST and an example", status, header.Get("Allow"), text)
	}
	if status, _, _ := r.request("POST", "/admin", chainIDCall); status != 404 {
		t.Errorf("another path: %d, want 404", status)
	}
	if _, err := newGuard(nil, []string{"app.example.org"}); err == nil {
		t.Error("an origin without a scheme is accepted")
	}
}

// TestWebSocketAbuse is C5: a foreign origin, a frame of a byte above 1 MiB, 10,000 subscriptions on one connection.
func TestWebSocketAbuse(t *testing.T) {
	r := startRig(t, Config{})
	_, resp, err := websocket.DefaultDialer.Dial(r.ws(), http.Header{"Origin": {"http://evil"}})
	if err == nil || resp.StatusCode != 403 {
		t.Errorf("foreign origin: %v, want 403", err)
	}

	conn := r.dialWS()
	must(t, conn.WriteMessage(websocket.TextMessage, bytes.Repeat([]byte(" "), 1<<20+1)))
	if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseMessageTooBig) {
		t.Errorf("a frame too large: %v, want close 1009", err)
	}

	conn = r.dialWS()
	for i := range 10_000 {
		must(t, conn.WriteMessage(websocket.TextMessage, []byte(`{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}`)))
		_, answer, err := conn.ReadMessage()
		must(t, err)
		if refused := bytes.Contains(answer, []byte("subscriptions already")); refused != (i >= 16) {
			t.Fatalf("subscription %d: %s, want it refused from the 17th", i, answer)
		}
	}
	if n := r.s.broker.count(); n != 16 {
		t.Errorf("%d subscriptions, want 16", n)
	}
}

// TestLaggingSubscriber is the rest of C5: for a client that stops reading MaxQueue events are kept, beside the
// one that is being written; the next ends its connection with a reason, and others get every event.
func TestLaggingSubscriber(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, Config{MaxQueue: 256})
		l := newPipeListener()
		r.run(l)
		good, idle, late := l.dialWS(t), l.dialWS(t), l.dialWS(t)
		for _, conn := range []*websocket.Conn{good, idle, late} {
			subscribeTo(t, conn, "eth", "newHeads")
		}
		seal := func(n int) {
			for i := range n {
				b := r.seal()
				_, event, err := good.ReadMessage()
				if err != nil || !bytes.Contains(event, []byte(b.ID().Hex())) {
					t.Fatalf("event %d = %s, %v, want block %s", i, event, err, b.ID())
				}
			}
			synctest.Wait()
		}
		seal(1 + 256)
		if n := r.s.broker.count(); n != 3 {
			t.Errorf("%d subscriptions, want all 3: 256 events may wait", n)
		}
		seal(1)
		var got int
		var err error
		for ; err == nil; got++ { // begins to read while there is time to say why
			_, _, err = late.ReadMessage()
		}
		if !websocket.IsCloseError(err, websocket.ClosePolicyViolation) || !strings.Contains(err.Error(), "lagging") || got > 257 {
			t.Errorf("a client that lagged read %d events and then %v, want at most 257 and close 1008 with the reason", got, err)
		}
		time.Sleep(2 * closeWait)
		if n := r.s.broker.count(); n != 1 {
			t.Errorf("%d subscriptions are left, want the good client's", n)
		}
		seal(40)
		must(t, good.Close())
		r.stop()
	})
}

// TestBurst: a burst of transactions that a subscriber is slow to read is not lagging; it is when the events are
// more bytes than there is memory for, and these are free again when it has gone.
func TestBurst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, Config{MaxMemory: 1 << 20})
		l := newPipeListener()
		r.run(l)
		conn := l.dialWS(t)
		subscribeTo(t, conn, "eth", "newPendingTransactions")
		hash := mustMarshal(t, r.transfer(1, 0, nil).Hash())
		for range 4096 {
			r.s.broker.publish(topicHashes, func() []byte { return hash })
		}
		if n := r.s.memory.leased(); n < 4096*len(hash) {
			t.Errorf("%d bytes are leased for 4,096 events that wait", n)
		}
		for i := range 4096 {
			if e := nextEvent(t, conn); string(e.Params.Result) != string(hash) {
				t.Fatalf("event %d is %s", i, e.Params.Result)
			}
		}
		synctest.Wait()
		if n := r.s.memory.leased(); n != 0 {
			t.Errorf("%d bytes are still leased when all events were read", n)
		}
		large := append(append([]byte{'"'}, bytes.Repeat([]byte{'x'}, 400_000)...), '"')
		for range 4 { // one is being written, and two fit
			r.s.broker.publish(topicHashes, func() []byte { return large })
			synctest.Wait()
		}
		var err error
		for err == nil {
			_, _, err = conn.ReadMessage()
		}
		if !websocket.IsCloseError(err, websocket.ClosePolicyViolation) {
			t.Errorf("a client that lags by megabytes: %v, want close 1008", err)
		}
		synctest.Wait()
		if n := r.s.memory.leased(); n != 0 {
			t.Errorf("%d bytes are still leased when it has gone", n)
		}
		r.stop()
	})
}

// TestPanic is C8: a crash answers its own call and no other.
func TestPanic(t *testing.T) {
	r := newRig(t, Config{})
	r.net.set(func(n *smallNet) { n.crash = true })
	answer := r.direct([]byte(`[` + chainIDCall + `,{"jsonrpc":"2.0","id":2,"method":"net_peerCount"},` + chainIDCall + `]`))
	want := `[{"id":1,"jsonrpc":"2.0","result":"0x539"},{"id":2,"code":-32603},{"id":1,"jsonrpc":"2.0","result":"0x539"}]`
	if got := outline(t, string(answer)); got != want {
		t.Errorf("answer = %s, want %s", got, want)
	}
	r.net.set(func(n *smallNet) { n.crash = false })
	var s Status
	must(t, json.Unmarshal(r.ask("pheme_status"), &s))
	if s.Panics != 1 {
		t.Errorf("%d crashes counted, want 1", s.Panics)
	}
}

// TestStopAnswersCallsInFlight is C9: a hundred calls that are running when the server
// stops, over HTTP, WebSocket and the socket, are answered; new ones are refused.
func TestStopAnswersCallsInFlight(t *testing.T) {
	r := startRig(t, Config{MaxInFlight: 50})
	const calls = 102
	r.pool.hold, r.pool.entered = make(chan struct{}), make(chan struct{})
	clients := []*Client{r.dial(r.url()), r.dial(r.ws()), r.dial(r.ipc)}
	var wg sync.WaitGroup
	errs := make([]error, calls)
	for i := range calls {
		raw := rawOf(t, r.transfer(i%rigAccounts, uint64(i/rigAccounts), nil))
		wg.Go(func() { _, errs[i] = clients[i%3].SendRaw(context.Background(), raw) })
	}
	for range calls {
		<-r.pool.entered
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		r.stop()
	}()
	<-r.s.stop.Done()
	close(r.pool.hold)
	wg.Wait()
	<-stopped
	for i, err := range errs {
		if err != nil {
			t.Errorf("call %d: %v, want it answered", i, err)
		}
	}
	if _, err := net.Dial("tcp", r.addr); err == nil {
		t.Error("the port still accepts")
	}
	if _, err := net.Dial("unix", r.ipc); err == nil {
		t.Error("the socket still accepts")
	}
}

// TestStopCutsOffCalls: a call that does not end is cut off after StopTimeout, and one
// that waits for a block is told that the node stops, with the hash of what it has sent.
func TestStopCutsOffCalls(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, Config{})
		l := newPipeListener()
		r.run(l)
		conn := l.dialWS(t)
		tx := r.transfer(1, 0, nil)
		must(t, conn.WriteMessage(websocket.TextMessage, mustMarshal(t, map[string]any{
			"jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransactionSync", "params": []any{rawOf(t, tx)}})))
		stuck := l.dial() // half a request
		_, err := io.WriteString(stuck, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{")
		must(t, err)
		synctest.Wait()
		start := time.Now()
		go r.stop()
		_, answer, err := conn.ReadMessage()
		if err != nil || !bytes.Contains(answer, []byte("the node is stopping")) ||
			!bytes.Contains(answer, []byte(`"code":4,`)) || !bytes.Contains(answer, []byte(`"data":"`+tx.Hash().Hex()+`"`)) {
			t.Errorf("the waiting call got %s, %v, want code 4, that the node is stopping and %s", answer, err, tx.Hash())
		}
		if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
			t.Errorf("then %v, want close 1001", err)
		}
		io.Copy(io.Discard, stuck)
		if took := time.Since(start); took > r.s.cfg.StopTimeout {
			t.Errorf("stopping took %v, want at most %v", took, r.s.cfg.StopTimeout)
		}
		r.stop()
	})
}

// TestTooManyConnections: those above the limit are told so, and places come free.
func TestTooManyConnections(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, Config{MaxConns: 2})
		l := newPipeListener()
		r.run(l)
		a, b := l.dialWS(t), l.dialWS(t)
		text, err := io.ReadAll(l.dial())
		if err != nil || !bytes.HasPrefix(text, []byte("HTTP/1.1 503 ")) || !bytes.HasSuffix(text, []byte("too many connections: try again or use another node")) {
			t.Errorf("the third connection got %q, %v, want 503", text, err)
		}
		must(t, a.Close())
		must(t, b.Close())
		synctest.Wait()
		must(t, l.dialWS(t).Close())
		r.stop()
	})
}

// TestSocketSaysWhy: on the unix socket, what is no JSON or too large is answered before the connection ends, and
// behind the answers to what came before.
func TestSocketSaysWhy(t *testing.T) {
	r := startRig(t, Config{MaxBody: 10_000})
	for sent, want := range map[string]string{
		"{]":                                   `"code":-32700,"message":"parse error"`,
		`{"a":"` + strings.Repeat("x", 30_000): `"code":-32600,"message":"message too large: send at most 10000 bytes"`,
	} {
		for range 20 { // it was a race
			conn, err := net.Dial("unix", r.ipc)
			must(t, err)
			io.WriteString(conn, chainIDCall+sent) // the end of what is too large is not read
			answers, err := io.ReadAll(conn)
			if !bytes.Contains(answers, []byte(want)) || !bytes.Contains(answers, []byte("0x539")) {
				t.Fatalf("%.10s: answers %s, %v, want that of a call and %s", sent, answers, err, want)
			}
			must(t, conn.Close())
		}
	}
}

// exhausted is a listener that has no files left for its first connections.
type exhausted struct {
	*pipeListener
	left int
}

func (l *exhausted) Accept() (net.Conn, error) {
	if l.left > 0 {
		l.left--
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return l.pipeListener.Accept()
}

// TestNoFilesLeft: the socket outlives a time without files, and serves afterwards.
func TestNoFilesLeft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, Config{})
		l := &exhausted{newPipeListener(), 3}
		ended := make(chan error)
		start := time.Now()
		go func() { ended <- r.s.serveSocket(t.Context(), l) }()
		conn := l.dial()
		if took := time.Since(start); l.left != 0 || took != 3*acceptAgain {
			t.Errorf("taken after %v with %d failures to come, want after 3 of %v", took, l.left, acceptAgain)
		}
		io.WriteString(conn, chainIDCall)
		var answer json.RawMessage
		if err := json.NewDecoder(conn).Decode(&answer); err != nil || !bytes.Contains(answer, []byte("0x539")) {
			t.Errorf("answer = %s, %v", answer, err)
		}
		must(t, conn.Close())
		must(t, l.Close())
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("serveSocket() = %v, want that it was closed", err)
		}
	})
}

func (r *rig) dialWS() *websocket.Conn {
	r.tb.Helper()
	conn, _, err := websocket.DefaultDialer.Dial(r.ws(), nil)
	must(r.tb, err)
	r.tb.Cleanup(func() { conn.Close() })
	return conn
}

// subscribeTo subscribes and returns the id.
func subscribeTo(t testing.TB, conn *websocket.Conn, namespace string, params ...any) string {
	t.Helper()
	must(t, conn.WriteMessage(websocket.TextMessage, mustMarshal(t, map[string]any{
		"jsonrpc": "2.0", "id": 7, "method": namespace + "_subscribe", "params": params})))
	var answer struct {
		Result string
		Error  *fault
	}
	must(t, conn.ReadJSON(&answer))
	if answer.Result == "" {
		t.Fatalf("subscribe %v: %+v", params, answer.Error)
	}
	return answer.Result
}

// bubble runs f in virtual time. The database of its chain lives on for a second after
// it was closed.
func bubble(t *testing.T, f func(t *testing.T)) {
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(2 * time.Second) }) // the last cleanup to run
		f(t)
	})
}
