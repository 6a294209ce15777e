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
	"time"
)

// subscription is one stream's wish for one kind of events.
type subscription struct {
	st    *stream
	id    string
	head  []byte // of every notification, up to its result
	topic topic
	end   func()        // forgets it; called once, by stop
	told  chan struct{} // closed when the client has been told the id; of a trace

	mu    sync.Mutex
	ended bool     // nothing is queued for it any more
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
	defer sub.mu.Unlock() // the queue's offer never waits
	if sub.ended {
		return // the broker has it from before
	}
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
	if sub.told != nil {
		close(sub.told)
	}
}

// put queues a notification that the stream need not bound.
func (sub *subscription) put(m message) {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	if !sub.ended {
		sub.st.out.put(m)
	}
}

// stop ends it: once it has returned, no event is queued. The stream's reader calls it, once.
func (sub *subscription) stop() {
	sub.mu.Lock()
	sub.ended = true
	sub.mu.Unlock()
	sub.end()
}

func (sub *subscription) pass(result []byte) {
	if !sub.st.out.offer(message{parts: answer{sub.head, result, notificationTail}}) {
		sub.st.end(closeLagging)
	}
}

// subscription answers a *_subscribe or *_unsubscribe call and reports whether body
// was one. Batches are left to the dispatcher, which refuses subscriptions in them.
func (st *stream) subscription(ctx context.Context, body []byte) bool {
	if !bytes.Contains(body, []byte("subscribe")) {
		return false
	}
	calls, many, err := parse(body, 0)
	if err != nil || many >= 0 {
		return false
	}
	call := &calls[0]
	namespace, name, _ := strings.Cut(call.method, "_")
	if !call.isCall() || name != "subscribe" && name != "unsubscribe" {
		return false
	}
	st.s.calls.Add(1)
	if !st.s.rates.take(time.Now(), st.from, 1) {
		st.reply(call.id, nil, st.s.tooHasty())
		return true
	}
	var params []json.RawMessage
	var first string
	if json.Unmarshal(call.params, &params) != nil || len(params) == 0 || json.Unmarshal(params[0], &first) != nil {
		st.reply(call.id, nil, invalidParams("%s needs the name or id of a subscription as its first parameter", call.method))
		return true
	}
	if name == "unsubscribe" {
		st.reply(call.id, true, st.unsubscribe(first))
		return true
	}
	sub, begin, err := st.subscribe(ctx, namespace, first, params[1:])
	if err != nil {
		st.reply(call.id, nil, err)
		return true
	}
	st.subs[sub.id] = sub
	begin() // before the answer: whoever has it misses nothing from then on
	st.reply(call.id, sub.id, nil)
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
		if st.s.traces.Add(1) > maxTraces {
			st.s.traces.Add(-1)
			return nil, nil, &codeError{codeBusy, fmt.Sprintf("all %d trace subscriptions of this node are in use: try again later", maxTraces)}
		}
		begin = func() { st.trace(ctx, sub) }
	default:
		return nil, nil, &codeError{codeNoMethod, fmt.Sprintf("no %q subscription in %s namespace", name, namespace)}
	}
	return sub, begin, nil
}

func (st *stream) unsubscribe(id string) error {
	sub := st.subs[id]
	if sub == nil {
		return errNoSubscription
	}
	delete(st.subs, id)
	sub.stop()
	return nil
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

// maxTraces bounds the trace subscriptions of all clients together: each has every event of the node
// copied to it, and 115 KB of them waiting when it does not read.
const maxTraces = 64

// trace sends the node's events until the subscription ends. It waits until the client was
// written the last ones: what the source drops meanwhile, the source counts.
func (st *stream) trace(ctx context.Context, sub *subscription) {
	ctx, cancel := context.WithCancel(ctx)
	events, release := st.s.deps.Trace.SubscribeTrace(4 * maxTraceBatch)
	sub.end = cancel
	told, written := make(chan struct{}), make(chan struct{}, 1)
	sub.told = told
	st.workers.Go(func() {
		defer st.s.traces.Add(-1)
		defer release()
		select {
		case <-told:
		case <-ctx.Done():
			return
		}
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
				sub.put(message{parts: answer{sub.head, payload, notificationTail}, written: written})
				select {
				case <-written:
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

// reply queues the answer to the call with id, whose slot it gives back: a result, or an error.
func (st *stream) reply(id json.RawMessage, result any, err error) {
	raw, failed := marshal(result)
	if err == nil {
		err = failed
	}
	if err != nil {
		st.out.put(message{parts: answer{appendFault(nil, id, err)}, slot: true})
		return
	}
	st.out.put(message{parts: answer{appendHead(nil, id), raw, closing}, slot: true})
}
