package rpc

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"sync"
)

// subscription is one stream's wish for one kind of events.
type subscription struct {
	st    *stream
	id    string
	head  []byte // of every notification, up to its result
	topic topic
	end   func() // forgets it; called once, by the stream's reader

	mu    sync.Mutex
	known bool     // the client has been told the id
	early [][]byte // events from before it was, at most MaxQueue
}

var (
	nullID           = json.RawMessage("null")
	notificationTail = []byte("}}")
)

// offer queues a notification. A stream that has no room for it is closed: a client
// that missed an event and does not know it would be worse off.
func (sub *subscription) offer(result []byte) {
	sub.mu.Lock()
	defer sub.mu.Unlock() // the stream's offer never waits
	if !sub.known && len(sub.early) < sub.st.s.cfg.MaxQueue {
		sub.early = append(sub.early, result)
		return
	}
	sub.pass(result)
}

// release lets events through, those first that came before the client knew the id.
func (sub *subscription) release() {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	for _, result := range sub.early {
		sub.pass(result)
	}
	sub.known, sub.early = true, nil
}

func (sub *subscription) pass(result []byte) {
	if !sub.st.offer(message{parts: [3][]byte{sub.head, result, notificationTail}}) {
		sub.st.end(closeLagging)
	}
}

// envelope is a request, its names taken exactly as written.
type envelope map[string]json.RawMessage

func (e envelope) text(key string) string {
	var s string
	if json.Unmarshal(e[key], &s) != nil {
		return ""
	}
	return s
}

// callID returns the id of a well-formed call, or nil for a notification and for what
// is no call.
func (e envelope) callID() json.RawMessage {
	id := e["id"]
	if e.text("jsonrpc") != "2.0" || len(id) == 0 || id[0] == '{' || id[0] == '[' {
		return nil
	}
	return id
}

// subscription answers a *_subscribe or *_unsubscribe call and reports whether body
// was one. Batches are left to the dispatcher, which refuses subscriptions in them.
func (st *stream) subscription(ctx context.Context, body []byte) bool {
	if !bytes.Contains(body, []byte("subscribe")) {
		return false
	}
	var call envelope
	if json.Unmarshal(body, &call) != nil {
		return false
	}
	namespace, name, _ := strings.Cut(call.text("method"), "_")
	id := call.callID()
	if id == nil || name != "subscribe" && name != "unsubscribe" {
		return false
	}
	var params []json.RawMessage
	var first string
	if json.Unmarshal(call["params"], &params) != nil || len(params) == 0 || json.Unmarshal(params[0], &first) != nil {
		st.out <- answer(id, invalidParams("%s needs the name or id of a subscription as its first parameter", call.text("method")))
		return true
	}
	if name == "unsubscribe" {
		st.out <- answer(id, st.unsubscribe(first))
		return true
	}
	sub, begin, err := st.subscribe(ctx, namespace, first, params[1:])
	if err != nil {
		st.out <- answer(id, err)
		return true
	}
	st.subs[sub.id] = sub
	begin() // before the answer: whoever has it misses nothing from then on
	st.out <- answer(id, sub.id)
	sub.release() // after it: the client must know the id before the first event
	return true
}

// subscribe prepares a subscription; begin starts its events.
func (st *stream) subscribe(ctx context.Context, namespace, name string, params []json.RawMessage) (sub *subscription, begin func(), err error) {
	if len(st.subs) >= st.s.cfg.MaxSubs {
		return nil, nil, fmt.Errorf("this connection has %d subscriptions already: end one, or open another connection", len(st.subs))
	}
	sub = newSubscription(st, namespace)
	sub.end = func() { st.s.broker.remove(sub) }
	begin = func() { st.s.broker.add(sub) }
	switch namespace + "_" + name {
	case "eth_newHeads":
		sub.topic = topicHeads
	case "eth_newPendingTransactions":
		sub.topic = topicHashes
		var full bool
		if len(params) > 0 && string(params[0]) != "null" && json.Unmarshal(params[0], &full) != nil {
			return nil, nil, invalidParams("invalid argument 1: true for whole transactions, false for hashes")
		}
		if full {
			sub.topic = topicTxs
		}
	case "eth_logs", "eth_syncing":
		sub.topic = topicNever // there are no logs, and a node that serves is never said to be syncing
	case "pheme_trace":
		if st.s.deps.Trace == nil {
			return nil, nil, notServed("pheme_subscribe trace")
		}
		begin = func() { st.trace(ctx, sub) }
	default:
		return nil, nil, &codeError{codeNoMethod, fmt.Sprintf("no %q subscription in %s namespace", name, namespace)}
	}
	return sub, begin, nil
}

func (st *stream) unsubscribe(id string) any {
	sub := st.subs[id]
	if sub == nil {
		return fmt.Errorf("subscription not found")
	}
	delete(st.subs, id)
	sub.end()
	return true
}

// newID returns a fresh id nobody can guess, for a subscription or filter: a quantity
// without leading zeros.
func newID() string {
	var random [16]byte
	rand.Read(random[:]) // never fails
	return "0x" + new(big.Int).SetBytes(random[:]).Text(16)
}

func newSubscription(st *stream, namespace string) *subscription {
	id := newID()
	head := fmt.Appendf(nil, `{"jsonrpc":"2.0","method":"%s_subscription","params":{"subscription":"%s","result":`, namespace, id)
	return &subscription{st: st, id: id, head: head}
}

// maxTraceBatch is how many events go into one notification when they come faster than
// the client reads.
const maxTraceBatch = 256

// trace sends the node's events until the subscription ends. It waits for the client:
// what the source drops meanwhile, the source counts.
func (st *stream) trace(ctx context.Context, sub *subscription) {
	ctx, cancel := context.WithCancel(ctx)
	events, release := st.s.deps.Trace.SubscribeTrace(4 * maxTraceBatch)
	sub.end = cancel
	st.workers.Go(func() {
		defer release()
		for {
			select {
			case <-ctx.Done():
				return
			case e, ok := <-events:
				if !ok {
					return
				}
				batch := gather(e, events)
				payload, err := json.Marshal(batch)
				if err != nil {
					return
				}
				select {
				case st.out <- message{parts: [3][]byte{sub.head, payload, notificationTail}}:
				case <-ctx.Done():
					return
				}
			}
		}
	})
}

// gather returns e and what else is there already, up to maxTraceBatch events.
func gather(e TraceEvent, more <-chan TraceEvent) []TraceEvent {
	batch := []TraceEvent{e}
	for len(batch) < maxTraceBatch {
		select {
		case e, ok := <-more:
			if !ok {
				return batch
			}
			batch = append(batch, e)
		default:
			return batch
		}
	}
	return batch
}

// answer is the response to the call with id: an error or a result.
func answer(id json.RawMessage, result any) message {
	response := struct {
		Version string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Result  any             `json:"result,omitempty"`
		Error   any             `json:"error,omitempty"`
	}{Version: "2.0", ID: id, Result: result}
	if err, ok := result.(error); ok {
		code := -32000
		if c, ok := err.(interface{ ErrorCode() int }); ok {
			code = c.ErrorCode()
		}
		response.Result = nil
		response.Error = map[string]any{"code": code, "message": err.Error()}
	}
	raw, err := json.Marshal(response)
	if err != nil {
		panic(err) // an id that was parsed, and strings
	}
	return message{parts: [3][]byte{raw}}
}
