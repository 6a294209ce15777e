package rpc

import (
	"context"
	"sync"

	"github.com/ethereum/go-ethereum/common"

	"github.com/pheme-net/pheme/chain"
)

// topic is a kind of events that the broker hands out.
type topic int

const (
	topicNever  topic = iota // nothing ever happens
	topicHeads               // headers of blocks that became canonical
	topicHashes              // hashes of transactions that became executable
	topicTxs                 // the same transactions, whole
	topicCount
)

const (
	watchBlocks = 64   // a burst of imports after a gap; the broker falls behind only while it encodes
	watchTxs    = 4096 // two full batches of a hundred clients
)

// broker hands new heads and new transactions to subscriptions, filters and waiting
// calls. Each event is encoded once, whoever wants it. It never waits for a reader. It
// listens to the pool only while somebody wants transactions: to be woken for each costs
// a busy node more than the rest of the broker.
type broker struct {
	chain   *chain.Chain
	pool    Pool
	filters *filters
	recent  *recent
	kick    chan struct{} // one token: txs is another one

	poolMu sync.Mutex       // held over calls of Pool.Subscribe, which wait for nothing
	txs    <-chan *chain.Tx // nil while nobody wants them
	leave  func()

	mu      sync.Mutex
	subs    [topicCount][]*subscription // replaced, never changed in place
	changed chan struct{}               // closed and replaced when the head changes
}

func newBroker(c *chain.Chain, p Pool, f *filters, r *recent) *broker {
	return &broker{chain: c, pool: p, filters: f, recent: r, kick: make(chan struct{}, 1), changed: make(chan struct{})}
}

// watch begins to listen to the chain and returns what hands on its news and the pool's
// until its context ends. Whoever subscribes after watch has returned misses nothing.
func (b *broker) watch() (run func(ctx context.Context) error) {
	updates, leave := b.chain.Watch(watchBlocks)
	return func(ctx context.Context) error {
		defer leave()
		return b.run(ctx, updates)
	}
}

// listen begins to listen to the pool if somebody wants transactions, and ceases if
// nobody does. Call it after a wish was noted. It returns what comes from the pool.
func (b *broker) listen() <-chan *chain.Tx {
	b.poolMu.Lock()
	defer b.poolMu.Unlock()
	switch wanted := b.wantsTxs(); {
	case wanted && b.txs == nil:
		b.txs, b.leave = b.pool.Subscribe(watchTxs)
		select {
		case b.kick <- struct{}{}:
		default:
		}
	case !wanted && b.txs != nil:
		b.leave()
		b.txs = nil
	}
	return b.txs
}

// hush ceases to listen to the pool.
func (b *broker) hush() {
	b.poolMu.Lock()
	defer b.poolMu.Unlock()
	if b.txs != nil {
		b.leave()
		b.txs = nil
	}
}

func (b *broker) wantsTxs() bool {
	if b.filters.wantTxs() {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.subs[topicHashes])+len(b.subs[topicTxs]) > 0
}

func (b *broker) run(ctx context.Context, updates <-chan chain.Update) error {
	txs := b.listen()
	defer b.hush()
	for {
		select {
		case <-b.kick:
			txs = b.listen()
		case u, ok := <-updates:
			if !ok {
				return nil
			}
			b.head(u)
		case t, ok := <-txs:
			if !ok {
				return nil
			}
			b.tx(t)
			txs = b.listen()
		case <-ctx.Done():
			return nil
		}
	}
}

func (b *broker) head(u chain.Update) {
	if !u.Moved {
		return
	}
	b.recent.apply(u)
	b.mu.Lock()
	close(b.changed)
	b.changed = make(chan struct{})
	b.mu.Unlock()
	ids := make([]common.Hash, 0, len(u.Applied))
	for _, block := range u.Applied {
		ids = append(ids, block.ID())
	}
	b.filters.blocks(ids)
	for _, block := range u.Applied {
		b.publish(topicHeads, func() []byte { return appendHeader(nil, block.Header(), block.ID()) })
	}
}

func (b *broker) tx(t *chain.Tx) {
	b.filters.tx(t.Hash())
	b.publish(topicHashes, func() []byte { return appendHash(nil, t.Hash()) })
	b.publish(topicTxs, func() []byte { return appendPooledTx(nil, t, b.chain.Genesis()) })
}

// publish gives one event to every subscription of a topic.
func (b *broker) publish(on topic, encode func() []byte) {
	b.mu.Lock()
	subs := b.subs[on]
	b.mu.Unlock()
	if len(subs) == 0 {
		return
	}
	result := encode()
	for _, sub := range subs {
		sub.offer(result)
	}
}

func (b *broker) add(sub *subscription) {
	b.mu.Lock()
	old := b.subs[sub.topic]
	b.subs[sub.topic] = append(old[:len(old):len(old)], sub)
	b.mu.Unlock()
	b.listen()
}

func (b *broker) remove(sub *subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var kept []*subscription
	for _, other := range b.subs[sub.topic] {
		if other != sub {
			kept = append(kept, other)
		}
	}
	b.subs[sub.topic] = kept
}

// count returns the number of subscriptions.
func (b *broker) count() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, subs := range b.subs {
		n += len(subs)
	}
	return n
}

// next returns a channel that is closed at the next change of the head. Take it before
// looking at the chain, so that no change falls between.
func (b *broker) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}
