package rpc

import (
	"encoding/json"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/gorilla/websocket"

	"github.com/pheme-net/pheme/chain"
)

type event struct {
	Method string
	Params struct {
		Subscription string
		Result       json.RawMessage
	}
}

func nextEvent(t *testing.T, conn *websocket.Conn) event {
	t.Helper()
	var e event
	must(t, conn.ReadJSON(&e))
	return e
}

// wsCall runs a call on a connection without subscriptions.
func wsCall(t *testing.T, conn *websocket.Conn, method string, params ...any) (json.RawMessage, *fault) {
	t.Helper()
	must(t, conn.WriteMessage(websocket.TextMessage, mustMarshal(t, map[string]any{"jsonrpc": "2.0", "id": 9, "method": method, "params": params})))
	var answer struct {
		Result json.RawMessage
		Error  *fault
	}
	must(t, conn.ReadJSON(&answer))
	return answer.Result, answer.Error
}

func TestSubscriptions(t *testing.T) {
	r := startRig(t, Config{})
	conn := r.dialWS()
	heads := subscribeTo(t, conn, "eth", "newHeads")
	tx := r.transfer(1, 0, nil)
	hashes := subscribeTo(t, conn, "eth", "newPendingTransactions")
	txs := subscribeTo(t, conn, "eth", "newPendingTransactions", true)
	subscribeTo(t, conn, "eth", "logs", map[string]any{"address": common.Address{}})
	subscribeTo(t, conn, "eth", "syncing")

	for _, err := range r.pool.SubmitTxs(t.Context(), []*chain.Tx{newTx(t, tx)}) {
		must(t, err)
	}
	got := map[string]json.RawMessage{}
	for range 2 {
		e := nextEvent(t, conn)
		got[e.Params.Subscription] = e.Params.Result
	}
	if want := string(mustMarshal(t, tx.Hash())); string(got[hashes]) != want {
		t.Errorf("pending hash = %s, want %s", got[hashes], want)
	}
	var whole types.Transaction
	must(t, json.Unmarshal(got[txs], &whole))
	if whole.Hash() != tx.Hash() {
		t.Errorf("pending transaction = %s, want %s", got[txs], tx.Hash())
	}
	b := r.seal()
	e := nextEvent(t, conn)
	var h types.Header
	must(t, json.Unmarshal(e.Params.Result, &h))
	if e.Method != "eth_subscription" || e.Params.Subscription != heads || h.Hash() != b.ID() {
		t.Errorf("event %s of %s with head %s, want eth_subscription of %s with %s", e.Method, e.Params.Subscription, h.Hash(), heads, b.ID())
	}

	for _, id := range []string{heads, hashes, txs} {
		if result, fault := wsCall(t, conn, "eth_unsubscribe", id); string(result) != "true" {
			t.Errorf("eth_unsubscribe = %s, %+v, want true", result, fault)
		}
	}
	if _, fault := wsCall(t, conn, "eth_unsubscribe", heads); fault == nil || fault.Code != -32000 {
		t.Errorf("eth_unsubscribe again: %+v, want -32000", fault)
	}
	r.seal()
	if result, fault := wsCall(t, conn, "eth_blockNumber"); string(result) != `"0x2"` {
		t.Errorf("after unsubscribing: %s, %+v, want the answer of the call", result, fault)
	}
	for _, bad := range [][]any{{}, {7}, {"nonsense"}, {"newPendingTransactions", "yes"}} {
		if _, fault := wsCall(t, conn, "eth_subscribe", bad...); fault == nil || fault.Code != -32602 && fault.Code != -32601 {
			t.Errorf("eth_subscribe%v: %+v, want -32602 or -32601", bad, fault)
		}
	}
	if _, fault := r.try("eth_subscribe", "newHeads"); fault == nil || fault.Code != -32601 {
		t.Errorf("eth_subscribe over HTTP: %+v, want -32601", fault)
	}
}

// TestEventForOneThatHasLeft: while the broker writes an event, one subscriber leaves and another ends its
// subscription. The event harms nobody, and none comes after the answer to eth_unsubscribe.
func TestEventForOneThatHasLeft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, Config{})
		l := newPipeListener()
		r.run(l)
		leaves, ends := l.dialWS(t), l.dialWS(t)
		subscribeTo(t, leaves, "eth", "newHeads")
		id := subscribeTo(t, ends, "eth", "newHeads")
		r.s.broker.publish(topicHeads, func() []byte {
			must(t, leaves.Close())
			if result, fault := wsCall(t, ends, "eth_unsubscribe", id); string(result) != "true" {
				t.Errorf("eth_unsubscribe = %s, %+v, want true", result, fault)
			}
			synctest.Wait()
			if n := r.s.broker.count(); n != 0 {
				t.Errorf("%d subscriptions are left while the event is written, want none", n)
			}
			return []byte("{}")
		})
		if result, fault := wsCall(t, ends, "eth_blockNumber"); string(result) != `"0x0"` {
			t.Errorf("after unsubscribing: %s, %+v, want the answer of the call", result, fault)
		}
		must(t, ends.Close())
		r.stop()
	})
}

// TestReorgHeads: after a reorg every newly canonical head is told, oldest first, and
// answers follow the new branch.
func TestReorgHeads(t *testing.T) {
	r, other := startRig(t, Config{}), newRig(t, Config{})
	conn := r.dialWS()
	subscribeTo(t, conn, "eth", "newHeads")
	tx := r.transfer(1, 0, nil)
	r.ask("eth_sendRawTransaction", rawOf(t, tx))
	left := r.seal()
	branch := []*chain.Block{other.sealAt(2), other.sealAt(3), other.sealAt(4)}
	for _, b := range branch {
		_, err := r.chain.Add(b)
		must(t, err)
	}
	for i, b := range append([]*chain.Block{left}, branch...) {
		var h types.Header
		must(t, json.Unmarshal(nextEvent(t, conn).Params.Result, &h))
		if h.Hash() != b.ID() {
			t.Errorf("head %d = %s, want %s", i, h.Hash(), b.ID())
		}
	}
	if got := r.ask("eth_getTransactionReceipt", tx.Hash()); string(got) != "null" {
		t.Errorf("receipt of a transaction whose block was left = %s, want null", got)
	}
	if got := r.ask("eth_getBlockByHash", left.ID(), false); string(got) == "null" {
		t.Error("the block that was left is not found by its hash")
	}
}

// TestTrace: trace events come in batches and wait for a slow client; what
// the source dropped meanwhile is in Lost.
func TestTrace(t *testing.T) {
	r := startRig(t, Config{})
	c := r.dial(r.ws())
	ch := make(chan []TraceEvent, 64)
	sub, err := c.SubscribeTrace(t.Context(), ch)
	must(t, err)
	for i := range 600 {
		r.trace.emit(TraceEvent{At: int64(i), Kind: "block.sealed", Class: "block", Hash: common.Hash{1}, Lost: 1})
	}
	for next := int64(0); next < 600; {
		for _, e := range <-ch {
			if e.At != next || e.Kind != "block.sealed" || e.Lost != 1 {
				t.Fatalf("event %+v, want number %d", e, next)
			}
			next++
		}
	}
	sub.Unsubscribe()
	r.stop()
	if r.trace.left != 1 {
		t.Errorf("%d trace subscriptions ended, want 1", r.trace.left)
	}
}

// TestTracesAreBounded: there are so many for all clients and no more, and of one whose client does not read a
// single notification waits, until it ends; then its place is free.
func TestTracesAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, Config{MaxSubs: maxTraces})
		l := newPipeListener()
		r.run(l)
		reads, waits := l.dialWS(t), l.dialWS(t)
		subscribeTo(t, waits, "pheme", "trace")
		var ids []string
		for range maxTraces - 1 {
			ids = append(ids, subscribeTo(t, reads, "pheme", "trace"))
		}
		if _, fault := wsCall(t, waits, "pheme_subscribe", "trace"); fault == nil || fault.Code != codeBusy {
			t.Errorf("one trace more: %+v, want -32005", fault)
		}
		for _, id := range ids[1:] {
			wsCall(t, reads, "pheme_unsubscribe", id)
		}
		synctest.Wait() // their places are free
		r.trace.mu.Lock()
		r.trace.subs = r.trace.subs[:2]
		r.trace.mu.Unlock()
		const events = 700
		for i := range events {
			r.trace.emit(TraceEvent{At: int64(i)})
			synctest.Wait()
		}
		batches := 0
		for got := 0; got < events; batches++ {
			var batch []TraceEvent
			must(t, json.Unmarshal(nextEvent(t, waits).Params.Result, &batch))
			got += len(batch)
		}
		if want := 1 + 3; batches != want {
			t.Errorf("%d notifications, want the first event's and %d of those that came while it was written", batches, want-1)
		}
		must(t, waits.Close())
		must(t, reads.Close())
		r.stop()
		if n := r.s.traces.Load(); n != 0 {
			t.Errorf("%d trace subscriptions are left", n)
		}
	})
}

func TestFilters(t *testing.T) {
	r := startRig(t, Config{MaxFilters: 4})
	id := func(method string, params ...any) (s string) {
		must(t, json.Unmarshal(r.ask(method, params...), &s))
		return s
	}
	// An event reaches the filters before the subscriptions.
	conn := r.dialWS()
	blocks, txs, logs := id("eth_newBlockFilter"), id("eth_newPendingTransactionFilter"), id("eth_newFilter", map[string]any{})
	subscribeTo(t, conn, "eth", "newHeads")
	tx := r.transfer(1, 0, nil)
	r.ask("eth_sendRawTransaction", rawOf(t, tx))
	want := []common.Hash{r.seal().ID(), r.seal().ID(), r.seal().ID()}
	for range want {
		nextEvent(t, conn)
	}
	if _, fault := r.try("eth_getFilterLogs", blocks); fault == nil || fault.Message != "filter not found" {
		t.Errorf("logs of a filter for blocks: %+v, want filter not found, as geth", fault)
	}
	if got := r.ask("eth_getFilterChanges", blocks); string(got) != string(mustMarshal(t, want)) {
		t.Errorf("blocks = %s, want %s", got, want)
	}
	if got := r.ask("eth_getFilterChanges", blocks); string(got) != "[]" {
		t.Errorf("then %s, want []", got)
	}
	if got := r.ask("eth_getFilterChanges", txs); string(got) != string(mustMarshal(t, []common.Hash{tx.Hash()})) {
		t.Errorf("transactions = %s, want %s", got, tx.Hash())
	}
	if got := r.ask("eth_getFilterLogs", logs); string(got) != "[]" {
		t.Errorf("logs = %s, want []", got)
	}
	id("eth_newBlockFilter")
	if _, fault := r.try("eth_newBlockFilter"); fault == nil || !strings.Contains(fault.Message, "all 4 filters are in use") {
		t.Errorf("a fifth filter: %+v, want it refused", fault)
	}
	if got := r.ask("eth_uninstallFilter", blocks); string(got) != "true" {
		t.Errorf("uninstall = %s, want true", got)
	}
	if _, fault := r.try("eth_getFilterChanges", blocks); fault == nil || fault.Message != "filter not found" {
		t.Errorf("an ended filter: %+v, want filter not found", fault)
	}
	if got := r.ask("eth_uninstallFilter", blocks); string(got) != "false" {
		t.Errorf("uninstall again = %s, want false", got)
	}
}

// TestFiltersAreForgotten: unpolled ones after a while, and those that overflow.
func TestFiltersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFilters(10, time.Minute)
		a, err := f.add(filterTxs, netip.Addr{})
		must(t, err)
		b, err := f.add(filterBlocks, netip.Addr{})
		must(t, err)
		time.Sleep(40 * time.Second)
		if _, err := f.poll(b, maxFilterItems, filterBlocks); err != nil {
			t.Errorf("poll in time: %v", err)
		}
		time.Sleep(40 * time.Second)
		if _, err := f.poll(a, maxFilterItems, filterTxs); err == nil {
			t.Error("a filter nobody polled is still there")
		}
		for range maxFilterItems {
			f.blocks([]common.Hash{{}})
		}
		if got, err := f.poll(b, maxFilterItems, filterBlocks); len(got) != maxFilterItems || err != nil {
			t.Errorf("poll = %d items, %v, want all", len(got), err)
		}
		for range maxFilterItems + 1 {
			f.blocks([]common.Hash{{}})
		}
		if _, err := f.poll(b, maxFilterItems, filterBlocks); err == nil {
			t.Error("a filter that overflowed is still there")
		}
		if f.wantTxs() || len(f.byID) != 0 {
			t.Errorf("%d filters left", len(f.byID))
		}
	})
}

// TestFiltersShareWhatTheyCollect: each gets in order what came since its last poll, however often the newest have
// replaced the oldest, and a hundred that nobody polls take the memory of one.
func TestFiltersShareWhatTheyCollect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFilters(1000, time.Minute)
		add := func() string {
			id, err := f.add(filterTxs, netip.Addr{})
			must(t, err)
			return id
		}
		came := 0
		tell := func(n int) {
			for range n {
				f.tx(common.BigToHash(big.NewInt(int64(came))))
				came++
			}
		}
		poll := func(id string, want int) {
			t.Helper()
			got, err := f.poll(id, maxFilterItems, filterTxs)
			if must(t, err); len(got) != want {
				t.Fatalf("poll = %d hashes, want %d", len(got), want)
			}
			for i, hash := range got {
				if hash != common.BigToHash(big.NewInt(int64(came-want+i))) {
					t.Fatalf("hash %d of %d is %s, want number %d", i, want, hash, came-want+i)
				}
			}
		}
		tell(10) // before anybody asked
		a := add()
		for range 7 {
			tell(maxFilterItems*3/5 + 1)
			b := add()
			poll(a, maxFilterItems*3/5+1)
			tell(maxFilterItems * 2 / 5)
			poll(a, maxFilterItems*2/5)
			poll(b, maxFilterItems*2/5)
			poll(b, 0)
			f.remove(b)
		}
		took := heapTaken(func() {
			for range 100 {
				add()
			}
			tell(maxFilterItems)
		})
		if took > 1<<20 {
			t.Errorf("%d bytes of heap for a hundred filters, want the hashes once", took)
		}
		poll(a, maxFilterItems)
		tell(maxFilterItems + 1) // the next one told or polled ends those that lag
		if _, err := f.poll(a, maxFilterItems, filterTxs); err == nil || len(f.byID) != 0 || f.wantTxs() {
			t.Errorf("poll = %v, and %d filters are left of those that overflowed", err, len(f.byID))
		}
		for range 100 {
			add()
		}
		tell(2 * maxFilterItems)
		if f.wantTxs() {
			t.Error("transactions are collected for filters that overflowed")
		}
	})
}

// TestCallsAreCounted: one by one, those of a batch and of subscriptions too.
func TestCallsAreCounted(t *testing.T) {
	r := startRig(t, Config{MaxBatch: 3})
	conn := r.dialWS()
	for _, c := range []struct {
		body string
		want uint64
	}{
		{chainIDCall, 1},
		{"[" + chainIDCall + "," + chainIDCall + "," + chainIDCall + "]", 3},
		{"[" + strings.Repeat(chainIDCall+",", 3) + chainIDCall + "]", 1}, // refused as one
		{`{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}`, 1},
		{`{"jsonrpc":"2.0","id":1,"method":"eth_unsubscribe","params":["0x1"]}`, 1},
	} {
		before, _ := r.s.Counts()
		must(t, conn.WriteMessage(websocket.TextMessage, []byte(c.body)))
		_, _, err := conn.ReadMessage()
		must(t, err)
		if after, _ := r.s.Counts(); after-before != c.want {
			t.Errorf("%.100s: %d calls counted, want %d", c.body, after-before, c.want)
		}
	}
}

// TestSendSync waits in one call from the submission to the receipt, and gives up in
// time with the hash in the error.
func TestSendSync(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, Config{})
		l := newPipeListener()
		r.run(l)
		conn := l.dialWS(t)
		tx := r.transfer(1, 0, nil)
		done := make(chan json.RawMessage)
		go func() {
			receipt, fault := wsCall(t, conn, "eth_sendRawTransactionSync", rawOf(t, tx), 5000)
			if fault != nil {
				t.Errorf("eth_sendRawTransactionSync: %+v", fault)
			}
			done <- receipt
		}()
		synctest.Wait()
		r.seal()
		var receipt types.Receipt
		must(t, json.Unmarshal(<-done, &receipt))
		if receipt.TxHash != tx.Hash() || receipt.BlockNumber.Uint64() != 1 {
			t.Errorf("receipt of %s in block %d, want %s in 1", receipt.TxHash, receipt.BlockNumber, tx.Hash())
		}
		second, start := r.transfer(1, 1, nil), time.Now()
		_, fault := wsCall(t, conn, "eth_sendRawTransactionSync", rawOf(t, second), hexutil.Uint64(3000))
		if fault == nil || fault.Code != 4 || fault.Data != second.Hash().Hex() || time.Since(start) != 3*time.Second {
			t.Errorf("without a block: %+v after %v, want code 4 with the hash after 3 s", fault, time.Since(start))
		}
		if result, fault := wsCall(t, conn, "pheme_waitReceipt", second.Hash(), 1000); string(result) != "null" {
			t.Errorf("pheme_waitReceipt = %s, %+v, want null", result, fault)
		}
		must(t, conn.Close())
		r.stop()
	})
}

// TestDeadClientIsCutOff: a WebSocket client that no longer answers pings is forgotten.
func TestDeadClientIsCutOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, Config{})
		l := newPipeListener()
		r.run(l)
		dead, alive := l.dialWS(t), l.dialWS(t)
		subscribeTo(t, dead, "eth", "newHeads")
		subscribeTo(t, alive, "eth", "newHeads")
		go alive.ReadMessage() // which answers pings
		time.Sleep(10 * pingEvery)
		if n := r.s.broker.count(); n != 1 {
			t.Errorf("%d subscriptions are left, want the living client's", n)
		}
		r.stop()
	})
}
