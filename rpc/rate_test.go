package rpc

import (
	"bytes"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// TestOneAddressCannotTakeAll is C6: an address that calls too often is told so, over HTTP and WebSocket, and
// gets a second's worth of calls each second; others, and this machine, do not notice, and a block is made meanwhile.
func TestOneAddressCannotTakeAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, Config{MaxRate: 100})
		l := newPipeListener()
		r.run(l)
		post := func(from, body string) int {
			l.from = from
			resp, err := l.client().Post("http://localhost/", "application/json", strings.NewReader(body))
			must(t, err)
			defer resp.Body.Close()
			raw, err := io.ReadAll(resp.Body)
			must(t, err)
			if resp.StatusCode == 429 && (!strings.Contains(string(raw), `"code":-32005`) || resp.Header.Get("Retry-After") != "1") {
				t.Fatalf("refused with %s, Retry-After %q", raw, resp.Header.Get("Retry-After"))
			}
			return resp.StatusCode
		}
		const greedy, other = "203.0.113.7:1", "203.0.113.8:1"
		for second := range 3 {
			answered := 0
			for i := range 250 {
				if post(greedy, chainIDCall) == 200 {
					answered++
				}
				if i%10 == 0 && (post(other, chainIDCall) != 200 || post("127.0.0.1:9", chainIDCall) != 200) {
					t.Fatal("a client that calls now and then is refused")
				}
			}
			if answered != 100 {
				t.Errorf("second %d: %d of 250 calls answered, want 100", second, answered)
			}
			r.seal()
			time.Sleep(time.Second)
		}
		if post(greedy, "["+strings.Repeat(chainIDCall+",", 59)+chainIDCall+"]") != 200 || post(greedy, "["+strings.Repeat(chainIDCall+",", 59)+chainIDCall+"]") != 429 {
			t.Error("the calls of a batch do not count one by one")
		}
		l.from = greedy
		conn := l.dialWS(t)
		for i := range 50 {
			must(t, conn.WriteMessage(websocket.TextMessage, []byte(`{"jsonrpc":"2.0","id":1,"method":"eth_unsubscribe","params":["0x1"]}`)))
			_, answer, err := conn.ReadMessage()
			must(t, err)
			if refused := bytes.Contains(answer, []byte("too many calls")); refused != (i >= 40) {
				t.Fatalf("WebSocket call %d: %s", i, answer)
			}
		}
		must(t, conn.Close())
		r.stop()
	})
}

// TestRatesAreBounded: addresses without number take no memory without bound, and one
// client cannot be many by the addresses of its network.
func TestRatesAreBounded(t *testing.T) {
	r, now := newRates(1), time.Unix(0, 0)
	for i := range 3 * maxAddresses {
		r.take(now, netip.AddrFrom4([4]byte{9, byte(i >> 16), byte(i >> 8), byte(i)}), 1)
	}
	if len(r.by) > maxAddresses {
		t.Errorf("%d addresses are known, want at most %d", len(r.by), maxAddresses)
	}
	if !r.take(now, netip.MustParseAddr("2001:db8::1"), 1) || r.take(now, netip.MustParseAddr("2001:db8::2"), 1) || !r.take(now, netip.MustParseAddr("2001:db8:0:1::1"), 1) {
		t.Error("IPv6 clients are not told apart by their /64")
	}
	for range 9 {
		if !r.take(now, netip.MustParseAddr("::ffff:127.0.0.1"), 1) || !r.take(now, netip.Addr{}, 1) {
			t.Fatal("this machine is limited")
		}
	}
}
