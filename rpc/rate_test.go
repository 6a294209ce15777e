package rpc

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/core/types"
	"github.com/gorilla/websocket"
)

// TestGreedyClient is C6, in virtual time: of 5,000 transactions that one address submits within a second, the
// 2,000 that are its share are taken and the rest is refused with 429, to be sent again the second after. Other
// addresses, and this machine, are answered at once meanwhile, and each second's block has what was taken. What it
// costs another address in real time, BenchmarkHonestClient measures.
func TestGreedyClient(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, Config{})
		l := newPipeListener()
		r.run(l)
		greedy, other, here := l.clientAt("203.0.113.7:1"), l.clientAt("203.0.113.8:1"), l.clientAt("127.0.0.1:9")
		submit := func(c *http.Client, raw string) (taken bool) {
			before := time.Now()
			resp, err := c.Post("http://localhost/", "application/json", strings.NewReader(raw))
			must(t, err)
			defer resp.Body.Close()
			answer, err := io.ReadAll(resp.Body)
			must(t, err)
			switch {
			case resp.StatusCode == 200 && bytes.Contains(answer, []byte(`"result":"0x`)):
			case resp.StatusCode != 429 || !bytes.Contains(answer, []byte(`"code":-32005`)) || resp.Header.Get("Retry-After") != "1":
				t.Fatalf("%d %s, Retry-After %q, want the hash, or 429 with -32005", resp.StatusCode, answer, resp.Header.Get("Retry-After"))
			}
			if took := time.Since(before); took > 0 {
				t.Fatalf("an answer took %v, want none to wait", took)
			}
			return resp.StatusCode == 200
		}
		const share = 2000
		nonce := uint64(0) // of the others
		var wanted []string
		for i := range 5000 {
			wanted = append(wanted, sendCall(t, r.transfer(i%4, uint64(i/4), nil)))
		}
		for second := range 3 {
			var refused []string
			for i, raw := range wanted {
				if !submit(greedy, raw) {
					refused = append(refused, raw)
				}
				if i%1000 == 0 {
					if !submit(other, sendCall(t, r.transfer(5, nonce, nil))) || !submit(here, sendCall(t, r.transfer(6, nonce, nil))) {
						t.Fatal("a client that calls now and then is refused")
					}
					nonce++
				}
			}
			others := 2 * ((len(wanted) + 999) / 1000)
			if taken := len(wanted) - len(refused); taken != min(share, len(wanted)) {
				t.Errorf("second %d: %d of %d transactions taken, want %d", second, taken, len(wanted), share)
			}
			if b := r.seal(); len(b.Txs()) != len(wanted)-len(refused)+others {
				t.Errorf("second %d: the block has %d transactions, want the %d taken", second, len(b.Txs()), len(wanted)-len(refused)+others)
			}
			wanted = refused
			time.Sleep(time.Second)
		}
		r.stop()
	})
}

// TestRateCountsCalls: each call of a batch counts, and those of a WebSocket as those of HTTP.
func TestRateCountsCalls(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, Config{MaxRate: 100})
		l := newPipeListener()
		r.run(l)
		greedy := l.clientAt("203.0.113.7:1")
		batch := "[" + strings.Repeat(chainIDCall+",", 59) + chainIDCall + "]"
		for i, want := range []int{200, 429} {
			resp, err := greedy.Post("http://localhost/", "application/json", strings.NewReader(batch))
			must(t, err)
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("batch %d of 60 calls: %d, want %d", i, resp.StatusCode, want)
			}
		}
		l.from = "203.0.113.7:1"
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

// TestShares: one address takes a quarter of the connections and of the filters; other addresses and this machine
// have the rest, and what is given back is free again.
func TestShares(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, Config{MaxConns: 8, MaxFilters: 8})
		l := newPipeListener()
		r.run(l)
		var greedy []*websocket.Conn
		for i := range 2 {
			l.from = fmt.Sprintf("203.0.113.7:%d", i)
			greedy = append(greedy, l.dialWS(t))
		}
		if text, err := io.ReadAll(l.dial()); err != nil || !bytes.HasPrefix(text, []byte("HTTP/1.1 503 ")) {
			t.Errorf("a third connection of one address got %q, %v, want 503", text, err)
		}
		var ids []string
		for i := range 3 {
			result, fault := wsCall(t, greedy[0], "eth_newBlockFilter")
			if refused := fault != nil && strings.Contains(fault.Message, "your address has 2 filters already"); refused != (i == 2) {
				t.Errorf("filter %d of one address: %s, %+v", i, result, fault)
			}
			ids = append(ids, strings.Trim(string(result), `"`))
		}
		for _, from := range []string{"203.0.113.8:1", "", "", ""} {
			l.from = from
			conn := l.dialWS(t)
			if _, fault := wsCall(t, conn, "eth_newBlockFilter"); fault != nil {
				t.Errorf("a filter of %q: %+v", from, fault)
			}
			defer conn.Close()
		}
		if result, fault := wsCall(t, greedy[0], "eth_uninstallFilter", ids[0]); string(result) != "true" {
			t.Errorf("eth_uninstallFilter = %s, %+v, want true", result, fault)
		}
		if result, fault := wsCall(t, greedy[0], "eth_newBlockFilter"); fault != nil {
			t.Errorf("a filter in place of one that ended: %s, %+v", result, fault)
		}
		must(t, greedy[1].Close())
		synctest.Wait()
		l.from = "203.0.113.7:3"
		must(t, l.dialWS(t).Close())
		must(t, greedy[0].Close())
		synctest.Wait()
		r.stop()
	})
}

// sendCall is the request that submits a transaction.
func sendCall(tb testing.TB, tx *types.Transaction) string {
	return `{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction","params":["` + rawOf(tb, tx).String() + `"]}`
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
