package rpc

import (
	"bytes"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/gorilla/websocket"
)

// largeBlock makes a block whose JSON is well above small.
func largeBlock(r *rig) []byte {
	for i := range uint64(8) {
		r.ask("eth_sendRawTransaction", rawOf(r.tb, r.transfer(1, i, bytes.Repeat([]byte{7}, 30_000))))
	}
	r.seal()
	raw, err := r.s.encoded(r.tb.Context(), r.chain.HeadID(), formFull)
	must(r.tb, err)
	if len(raw) < 4*small {
		r.tb.Fatalf("the block has %d bytes of JSON", len(raw))
	}
	return raw
}

const latestBlock = `{"jsonrpc":"2.0","id":"x","method":"eth_getBlockByNumber","params":["latest",true]}`

// TestLargeResultsAreSpliced: over every transport, alone and in a batch, the bytes are
// those the dispatcher would have written.
func TestLargeResultsAreSpliced(t *testing.T) {
	r := startRig(t, Config{})
	block := string(largeBlock(r))
	one := `{"jsonrpc":"2.0","id":"x","result":` + block + `}`
	for body, want := range map[string]string{
		latestBlock:             one,
		" \n" + latestBlock:     one,
		"[" + latestBlock + "]": "[" + one + "]",
		"[" + latestBlock + "," + latestBlock + "]": "[" + one + "," + one + "]",
	} {
		status, answer, header := r.request("POST", "/", body)
		if status != 200 || answer != want || header.Get("Content-Type") != "application/json" {
			t.Errorf("HTTP %.20s: %d, %d bytes, want %d", body, status, len(answer), len(want))
		}
		conn := r.dialWS()
		must(t, conn.WriteMessage(websocket.TextMessage, []byte(body)))
		if _, answer, err := conn.ReadMessage(); err != nil || string(answer) != want {
			t.Errorf("WebSocket %.20s: %d bytes, %v, want %d", body, len(answer), err, len(want))
		}
	}
	var got json.RawMessage
	must(t, r.dial(r.ipc).Call(t.Context(), &got, "eth_getBlockByNumber", "latest", true))
	if string(got) != block {
		t.Errorf("socket: %d bytes, want %d", len(got), len(block))
	}
	if n := r.s.memory.leased(); n != 0 {
		t.Errorf("%d bytes are still leased", n)
	}
}

// TestKeptBlocksAreCounted: a kept block that slow clients read is leased once, however many they are, and goes
// on to be when the cache has forgotten it; what no longer fits is refused.
func TestKeptBlocksAreCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, Config{MaxMemory: 800_000, MaxCache: 600_000})
		l := newPipeListener()
		r.run(l)
		old := len(largeBlock(r))
		oldBlock := strings.Replace(latestBlock, "latest", "0x1", 1)
		for range 3 {
			must(t, l.dialWS(t).WriteMessage(websocket.TextMessage, []byte(oldBlock)))
		}
		synctest.Wait()
		if n := r.s.memory.leased(); n != old {
			t.Errorf("%d bytes are leased for three readers of one block of %d", n, old)
		}
		for i := range uint64(8) {
			r.ask("eth_sendRawTransaction", rawOf(t, r.transfer(2, i, bytes.Repeat([]byte{7}, 30_000))))
		}
		r.seal()
		if _, fault := r.try("eth_getBlockByNumber", "latest", true); fault == nil || fault.Code != codeBusy {
			t.Errorf("a second block: %+v, want -32005", fault)
		}
		if n := r.s.memory.leased(); n != old {
			t.Errorf("%d bytes are leased, want those of the block that the cache has forgotten", n)
		}
		time.Sleep(r.s.cfg.WriteTimeout)
		synctest.Wait()
		if n := r.s.memory.leased(); n != 0 {
			t.Errorf("%d bytes are still leased when the readers were cut off", n)
		}
		r.ask("eth_getBlockByNumber", "latest", true)
		r.stop()
	})
}

// TestMemoryIsBounded: large requests and batches of large answers that are on their
// way count until the client has read; others are told to try again, small calls and
// kept blocks that somebody reads go on, and all is given back.
func TestMemoryIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, Config{MaxMemory: 5_500_000})
		l := newPipeListener()
		r.run(l)
		largeBlock(r)
		post := func(body string) (int, string) {
			resp, err := l.client().Post("http://localhost/", "application/json", strings.NewReader(body))
			must(t, err)
			defer resp.Body.Close()
			raw, err := io.ReadAll(resp.Body)
			must(t, err)
			return resp.StatusCode, string(raw)
		}
		for range 4 { // four slow bodies
			head := "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 900000\r\n\r\n"
			_, err := io.WriteString(l.dial(), head+strings.Repeat(" ", small+1))
			must(t, err)
		}
		for _, body := range []string{"[" + latestBlock + "]", latestBlock} { // each read by nobody
			must(t, l.dialWS(t).WriteMessage(websocket.TextMessage, []byte(body)))
		}
		synctest.Wait()
		if n := r.s.memory.leased(); n < 5_200_000 || n > 5_500_000 {
			t.Errorf("%d bytes are leased, want that of four bodies and two answers", n)
		}
		padding := strings.Repeat(" ", 2*small)
		if status, text := post(chainIDCall + padding); status != http.StatusServiceUnavailable || !strings.Contains(text, "try again") {
			t.Errorf("a large request: %d %s, want 503", status, text)
		}
		if _, answer := post("[" + latestBlock + "]"); !strings.Contains(answer, `"code":-32005`) {
			t.Errorf("a large answer in a batch: %.200s, want -32005", answer)
		}
		conn := l.dialWS(t)
		var writer sync.WaitGroup
		writer.Go(func() { conn.WriteMessage(websocket.TextMessage, []byte(chainIDCall+padding)) }) // cut off
		if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseTryAgainLater) {
			t.Errorf("a large frame: %v, want close 1013", err)
		}
		writer.Wait()
		if _, answer := post(chainIDCall); !strings.Contains(answer, "0x539") {
			t.Errorf("a small call: %s", answer)
		}
		if _, answer := post(latestBlock); !strings.Contains(answer, `"transactions"`) {
			t.Errorf("a kept block: %.200s", answer)
		}
		time.Sleep(r.s.cfg.ReadTimeout + r.s.cfg.WriteTimeout)
		if n := r.s.memory.leased(); n != 0 {
			t.Errorf("%d bytes are still leased after the timeouts", n)
		}
		r.stop()
	})
}

// TestBatchesAreCounted: many small answers of a batch are one large one, over every transport. When there is no memory
// for more, the calls that are left are told to try again.
func TestBatchesAreCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, Config{MaxMemory: 24_000_000})
		l, socket := newPipeListener(), newPipeListener()
		r.run(l)
		ended := make(chan error)
		go func() { ended <- r.s.serveSocket(t.Context(), socket) }()
		tx := r.transfer(1, 0, bytes.Repeat([]byte{7}, 30_000))
		r.ask("eth_sendRawTransaction", rawOf(t, tx))
		one := `{"jsonrpc":"2.0","id":"x","method":"eth_getTransactionByHash","params":["` + tx.Hash().Hex() + `"]}`
		size := len(r.direct([]byte(one)))
		batch := "[" + strings.Repeat(one+",", 99) + one + "]"
		const all = 100
		send := []func(){
			func() { io.WriteString(l.dial(), requestOf(batch)) },
			func() { must(t, l.dialWS(t).WriteMessage(websocket.TextMessage, []byte(batch))) },
			func() { io.WriteString(socket.dial(), batch) },
		}
		for i, transport := range []string{"HTTP", "WebSocket", "socket"} {
			before := r.s.memory.leased()
			send[i]()
			synctest.Wait()
			if n := r.s.memory.leased() - before; n < all*size || n > all*size*5/4 {
				t.Errorf("%s: %d bytes are leased for %d answers of %d that nobody reads", transport, n, all, size)
			}
		}
		free := r.s.cfg.MaxMemory - r.s.memory.leased()
		resp, err := l.client().Post("http://localhost/", "application/json", strings.NewReader(batch))
		must(t, err)
		answer, err := io.ReadAll(resp.Body)
		must(t, err)
		given, refused := strings.Count(string(answer), `"result":{`), strings.Count(string(answer), `"code":-32005`)
		if given < 2 || given+refused != all || (given-1)*size > free+small {
			t.Errorf("%d answers of %d and %d to try again for %d calls, when %d bytes are free", given, size, refused, all, free)
		}
		time.Sleep(r.s.cfg.WriteTimeout)
		synctest.Wait()
		if n := r.s.memory.leased(); n != 0 {
			t.Errorf("%d bytes are still leased after the timeouts", n)
		}
		must(t, socket.Close())
		<-ended
		r.stop()
	})
}

// TestLargeResultsAreCounted: of every method. A filter keeps what it has no memory to tell.
func TestLargeResultsAreCounted(t *testing.T) {
	r := newRig(t, Config{MaxMemory: 700_000})
	tx := r.sign(1, &types.DynamicFeeTx{
		ChainID: big.NewInt(1337), Gas: 4_000_000, To: &common.Address{}, GasFeeCap: big.NewInt(2_000_000_000),
		AccessList: make(types.AccessList, 1400), // the form whose JSON is largest
	})
	r.ask("eth_sendRawTransaction", rawOf(t, tx))
	filter := idOf(t, r.ask("eth_newPendingTransactionFilter"))
	for range maxFilterItems {
		r.s.filters.tx(tx.Hash())
	}
	if _, fault := r.try("eth_getFilterChanges", filter); fault != nil {
		t.Errorf("%d hashes: %+v", maxFilterItems, fault)
	}
	for range maxFilterItems {
		r.s.filters.tx(tx.Hash())
	}
	if !r.s.memory.take(netip.Addr{}, 0, 680_000) {
		t.Fatal("memory is leased that nobody uses")
	}
	for method, param := range map[string]any{"eth_getTransactionByHash": tx.Hash(), "eth_getFilterChanges": filter} {
		if _, fault := r.try(method, param); fault == nil || fault.Code != codeBusy {
			t.Errorf("%s: %+v, want -32005", method, fault)
		}
	}
	r.ask("eth_getTransactionReceipt", tx.Hash()) // a small one
	r.s.memory.give(netip.Addr{}, 0, 680_000)
	r.ask("eth_getTransactionByHash", tx.Hash())
	var got []common.Hash
	if must(t, json.Unmarshal(r.ask("eth_getFilterChanges", filter), &got)); len(got) != maxFilterItems {
		t.Errorf("%d hashes after there was no memory for them, want all %d", len(got), maxFilterItems)
	}
	if n := r.s.memory.leased(); n != 0 {
		t.Errorf("%d bytes are still leased", n)
	}
}

// TestMemoryShares: one address takes a quarter of the memory, by slow bodies, by answers and by events that wait;
// others, and this machine, have the rest, and what is given back is free again. A kept block counts once for all, and
// once in the share of each address that reads it.
func TestMemoryShares(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, Config{MaxMemory: 8 << 20})
		l := newPipeListener()
		r.run(l)
		block := len(largeBlock(r))
		large := chainIDCall + strings.Repeat(" ", 2*small)
		const greedy, other, here = "203.0.113.7:1", "203.0.113.8:1", "127.0.0.1:1"
		want := func(from string, status int) {
			t.Helper()
			resp, err := l.clientAt(from).Post("http://localhost/", "application/json", strings.NewReader(large))
			must(t, err)
			defer resp.Body.Close()
			if text, err := io.ReadAll(resp.Body); resp.StatusCode != status {
				t.Errorf("a large request of %s: %d %s, %v, want %d", from, resp.StatusCode, text, err, status)
			}
		}
		l.from = greedy
		slow := l.dialWS(t)
		subscribeTo(t, slow, "eth", "newPendingTransactions")
		for range 2 {
			_, err := io.WriteString(l.dial(), requestOf(strings.Repeat(" ", 900_000))[:2*small])
			must(t, err)
		}
		l.from = other
		good := l.dialWS(t)
		subscribeTo(t, good, "eth", "newPendingTransactions")
		synctest.Wait()
		if n := r.s.memory.leased(); n != 2<<20 {
			t.Errorf("%d bytes are leased for two slow bodies, want 2 MiB", n)
		}
		want(greedy, http.StatusServiceUnavailable)
		want(other, http.StatusOK)
		want(here, http.StatusOK)
		event := append(append([]byte{'"'}, bytes.Repeat([]byte{'x'}, small)...), '"')
		for range 3 { // one is being written
			r.s.broker.publish(topicHashes, func() []byte { return event })
			synctest.Wait()
		}
		for range 3 {
			nextEvent(t, good)
		}
		time.Sleep(2 * closeWait)
		if n := r.s.broker.count(); n != 1 {
			t.Errorf("%d subscribers are left, want the one whose address has a share left", n)
		}
		time.Sleep(r.s.cfg.ReadTimeout)
		synctest.Wait()
		want(greedy, http.StatusOK)
		var readers []*websocket.Conn
		for _, from := range []string{greedy, greedy, greedy, greedy, greedy, other, here} {
			l.from = from
			readers = append(readers, l.dialWS(t))
			must(t, readers[len(readers)-1].WriteMessage(websocket.TextMessage, []byte(latestBlock)))
		}
		synctest.Wait()
		for i, conn := range readers {
			if n, own := r.s.memory.leased(), r.s.memory.held.by[addressOf(greedy)]; n != block || (own == block) != (i < 5) {
				t.Errorf("%d bytes are leased, %d by one address of which %d read a block of %d", n, own, max(0, 5-i), block)
			}
			_, _, err := conn.ReadMessage()
			must(t, err)
			must(t, conn.Close())
			synctest.Wait()
		}
		must(t, good.Close())
		synctest.Wait()
		if n := r.s.memory.leased(); n != 0 || len(r.s.memory.held.by) != 0 {
			t.Errorf("%d bytes are still leased, %d addresses have a share", n, len(r.s.memory.held.by))
		}
		r.stop()
	})
}

// TestMemoryOfOneThing: what is larger than a share is leased to an address that has nothing else, up to half of all.
func TestMemoryOfOneThing(t *testing.T) {
	m := newMemory(400)
	one, other, here := netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("203.0.113.8"), netip.MustParseAddr("127.0.0.1")
	for i, c := range []struct {
		from netip.Addr
		take int // below zero: give
		want bool
	}{
		{one, 201, false}, {one, 200, true}, {one, 1, false}, {other, 100, true}, {here, 101, false}, {here, 100, true},
		{one, -200, true}, {one, 1, true}, {one, 100, false}, {one, 99, true}, {other, 1, false}, {here, 101, false}, {here, 100, true},
		{one, -100, true}, {other, -100, true}, {here, -200, true}, {here, 400, true}, {here, -400, true},
	} {
		if c.take < 0 {
			m.give(c.from, -c.take, -c.take)
		} else if got := m.take(c.from, c.take, c.take); got != c.want {
			t.Errorf("%d: %s takes %d = %v, want %v", i, c.from, c.take, got, c.want)
		}
	}
	if n := m.leased(); n != 0 || len(m.held.by) != 0 {
		t.Errorf("%d bytes are still leased, %d addresses have a share", n, len(m.held.by))
	}
}

// TestPoolContentIsBounded: what the pool holds is not written out when there is no memory for it.
func TestPoolContentIsBounded(t *testing.T) {
	r := newRig(t, Config{MaxMemory: 100_000})
	r.ask("eth_sendRawTransaction", rawOf(t, r.transfer(1, 0, bytes.Repeat([]byte{7}, 30_000))))
	r.ask("txpool_contentFrom", r.addressOf(2))
	if _, fault := r.try("txpool_contentFrom", r.addressOf(1)); fault == nil || fault.Code != codeBusy {
		t.Errorf("txpool_contentFrom: %+v, want -32005", fault)
	}
}
