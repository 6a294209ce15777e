package p2p

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
)

// errUnwanted is a batch of which the pool took less than half.
var errUnwanted = errors.New("p2p: less than half of the batch is new here")

// errBudget is a batch of a peer that has offered too many transactions.
var errBudget = errors.New("p2p: peer is over its budget of transactions")

// validateBatch is the validator of the transaction topic.
func (n *Net) validateBatch(_ context.Context, from peer.ID, m *pubsub.Message) pubsub.ValidationResult {
	if n.ours(from) {
		return pubsub.ValidationAccept
	}
	v := verdict(n.takeBatch(from, m.GetData()))
	n.meter.verdicts[topicTx][v].Add(1)
	return n.passOn(v)
}

// takeBatch offers a batch to the pool. nil: at least half of its bytes are new
// here, or were brought by repair and not passed on so far; it goes on. An error that wraps chain.ErrInvalid: a member
// breaks a stateless rule, and none was admitted.
func (n *Net) takeBatch(from peer.ID, payload []byte) error {
	txs, err := n.decodeTxs(from, payload)
	if err != nil {
		return err
	}
	total := 0
	for _, t := range txs {
		total += t.Size()
	}
	news, now := 0, time.Now()
	for i, err := range n.backend.AddTxs(from, txs) {
		if err == nil || n.mended.drop(txs[i].Hash(), now) {
			news += txs[i].Size()
		}
	}
	if 2*news < total {
		return errUnwanted
	}
	return nil
}

// decodeTxs reads a batch and checks every stateless rule of its members. errBudget:
// no signature of it was checked.
func (n *Net) decodeTxs(from peer.ID, payload []byte) ([]*chain.Tx, error) {
	decoded, err := n.cfg.Shared.decodeTxs(payload)
	if err != nil {
		return nil, err
	}
	txs := make([]*chain.Tx, len(decoded))
	unknown := 0
	for i, t := range decoded {
		if known := n.backend.Tx(t.Hash()); known != nil {
			t = known // its sender is recovered already
		} else {
			unknown++
		}
		txs[i] = t
	}
	if !n.backend.AllowTxs(from, unknown) {
		return nil, errBudget
	}
	chain.RecoverSenders(txs, n.genesis)
	n.charge(chain.Work{Signatures: unknown, HashedBytes: len(payload)})
	for i, t := range txs {
		if err := chain.CheckTx(t, n.genesis); err != nil {
			return nil, fmt.Errorf("%w: member %d: %w", ErrBatch, i, err)
		}
	}
	return txs, nil
}

// decodeTxs reads the transactions of a batch; of none, if one cannot be decoded.
func decodeTxs(payload []byte) ([]*chain.Tx, error) {
	_, raws, err := decodeBatch(payload)
	if err != nil {
		return nil, err
	}
	txs := make([]*chain.Tx, len(raws))
	for i, raw := range raws {
		if txs[i], err = chain.DecodeTx(raw); err != nil {
			return nil, fmt.Errorf("%w: member %d: %w", ErrBatch, i, err)
		}
	}
	return txs, nil
}

// outbox collects transactions of our own clients for the batcher, in the order
// they came, which keeps every sender's order.
type outbox struct {
	limit int
	wake  chan struct{} // one token: there is something

	mu    sync.Mutex
	queue []*chain.Tx
	alone bool // nobody is there to send to: the oldest make room instead of the newest being refused
}

func newOutbox(limit int) *outbox { return &outbox{limit: limit, wake: make(chan struct{}, 1)} }

// put queues txs; false: there is no room for all of them, and none is taken.
func (o *outbox) put(txs []*chain.Tx) bool {
	o.mu.Lock()
	if len(o.queue)+len(txs) > o.limit && !o.alone {
		o.mu.Unlock()
		return false
	}
	o.queue = append(o.queue, txs...)
	o.queue = o.queue[max(0, len(o.queue)-o.limit):]
	alone := o.alone
	o.mu.Unlock()
	if alone {
		return true // the batcher looks by itself whether that has changed
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
	return true
}

// take empties the queue, unless nobody is there to send to.
func (o *outbox) take(alone bool) []*chain.Tx {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.alone = alone; alone {
		return nil
	}
	txs := o.queue
	o.queue = nil
	return txs
}

// ownTime is how long a node knows that a transaction is its own to announce.
const ownTime = time.Hour

// PublishTx sends transactions that our own clients gave us and the pool took.
// They leave in batches, in the order given. ErrBusy: more are waiting than
// Config.TxQueue allows; they are in the pool and were not sent.
func (n *Net) PublishTx(txs []*chain.Tx) error {
	until := time.Now().Add(ownTime)
	for _, t := range txs {
		n.own.put(t.Hash(), until)
	}
	if !n.outbox.put(txs) {
		return fmt.Errorf("%w: %d transactions wait to be sent", ErrBusy, n.cfg.TxQueue)
	}
	return nil
}

// Announce sends transactions again that a reorganisation brought back into the
// pool, or whose first announcement was lost, those of them that our own clients gave us: every node of the losing branch
// takes them back, and would they all announce all of them, each would cross the
// network as often as there are nodes. Repair brings those whose origin is gone.
// Every batch has a nonce of its own, so that this is a new message to peers who
// saw the transactions less than two minutes ago. There is no promise: without room
// they stay in the pool.
func (n *Net) Announce(txs []*chain.Tx) {
	now := time.Now()
	ours := slices.DeleteFunc(slices.Clone(txs), func(t *chain.Tx) bool { return !n.own.has(t.Hash(), now) })
	if !n.outbox.put(ours) {
		log.Infow("transactions not announced again: too many wait to be sent", "count", len(ours))
	}
}

// runBatches forms and publishes batches: when one is full, or BatchDelay after
// its first transaction. While no peer is in the mesh the transactions wait, for
// gossip tells a batch's id to nobody whom it takes into the mesh later. Two
// heartbeats without one are a node that all its peers refuse since they are full:
// they are told the id at the next heartbeat and ask for the batch. What went only
// to peers that were lost soon after goes again to those that take their place.
func (n *Net) runBatches(ctx context.Context) error {
	timer := newAlarm(n.cfg.BatchDelay)
	timer.Stop()
	look := newAlarm(n.cfg.Heartbeat) // while they wait, as often as a mesh changes
	look.Stop()
	var (
		mesh    = n.tracers[topicTx]
		refused time.Time // when there will have been no mesh for two heartbeats
		waited  bool
		sent    sentBatches
	)
	b := batcher{limit: min(n.cfg.BatchBytes, maxBatchBytes)}
	send := func(txs []*chain.Tx) {
		if len(txs) > 0 {
			sent.add(txs, mesh.members(), time.Now())
			n.sendBatch(ctx, txs)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			send(b.take())
			continue
		case <-mesh.moved:
			if mesh.size() > 0 {
				n.Announce(sent.lost(n.connected, time.Now()))
			}
			continue
		case <-look.C:
		case <-n.outbox.wake:
		}
		alone := mesh.size() == 0
		switch now := time.Now(); {
		case !alone:
			refused = time.Time{}
		case refused.IsZero():
			refused = now.Add(2 * n.cfg.Heartbeat)
		case !now.Before(refused):
			g := n.gossip.Load()
			alone = g == nil || len(g[topicTx].ListPeers()) == 0 // nil: Run ends
		}
		for _, t := range n.outbox.take(alone) {
			if waited && n.backend.Tx(t.Hash()) == nil {
				continue // placed or gone meanwhile
			}
			if full := b.add(t); full != nil {
				send(full)
			}
		}
		if waited = alone; alone {
			look.set(n.cfg.Heartbeat)
		}
		if b.started {
			timer.set(n.cfg.BatchDelay)
			b.started = false
		}
	}
}

// sentBatches are the batches of the last few seconds and who was sent them,
// oldest first.
type sentBatches []sentBatch

type sentBatch struct {
	txs []*chain.Tx
	to  []peer.ID
	at  time.Time
}

// A peer that is lost sooner after a batch was sent to it may not have passed it on.
const (
	lostTime    = 2 * time.Second
	maxRecently = 64 // batches; with more than that on their way a loss is left to repair
)

func (s *sentBatches) add(txs []*chain.Tx, to []peer.ID, now time.Time) {
	*s = slices.DeleteFunc(*s, func(b sentBatch) bool { return now.Sub(b.at) > lostTime })
	if len(*s) < maxRecently {
		*s = append(*s, sentBatch{txs, to, now})
	}
}

// lost takes out the transactions that went to nobody who is still there.
func (s *sentBatches) lost(there func(peer.ID) bool, now time.Time) (txs []*chain.Tx) {
	*s = slices.DeleteFunc(*s, func(b sentBatch) bool {
		gone := now.Sub(b.at) <= lostTime && !slices.ContainsFunc(b.to, there)
		if gone {
			txs = append(txs, b.txs...)
		}
		return gone
	})
	return txs
}

// batcher is the batch being filled.
type batcher struct {
	limit   int // bytes of the encoded batch
	txs     []*chain.Tx
	body    int  // encoded transactions
	started bool // the batch got its first transaction since the last look
}

// add puts t into the batch and returns the batch before it, if t did not fit.
func (b *batcher) add(t *chain.Tx) (full []*chain.Tx) {
	size := stringSize(t.Raw())
	if len(b.txs) > 0 && batchSize(b.body+size) > b.limit {
		full = b.take()
	}
	if len(b.txs) == 0 {
		b.started = true
	}
	b.txs = append(b.txs, t)
	b.body += size
	return full
}

func (b *batcher) take() []*chain.Tx {
	txs := b.txs
	b.txs, b.body = nil, 0
	return txs
}

// sendBatch publishes one batch.
func (n *Net) sendBatch(ctx context.Context, txs []*chain.Tx) {
	raws := make([][]byte, len(txs))
	for i, t := range txs {
		raws[i] = t.Raw()
	}
	name := n.nextNonce()
	payload := encodeBatch(name, raws)
	now, aux := n.clock.Now(), trace.BatchAux(name.tag())
	for _, t := range txs {
		n.hook.Emit(trace.Event{At: now, Kind: trace.TxPublished, Hash: t.Hash(), Size: uint32(t.Size()), Aux: aux})
	}
	if err := n.publish(ctx, topicTx, payload); err != nil && ctx.Err() == nil {
		log.Warnw("batch not published", "count", len(txs), "err", err)
	}
}

// nextNonce names the next batch: a hash of the identity, the start and a
// counter, so that no two nodes and no two lives of a node share one.
func (n *Net) nextNonce() nonce {
	h := sha256.New()
	h.Write([]byte(n.host.ID()))
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(n.started.UnixNano()))
	binary.BigEndian.PutUint64(b[8:], n.batches.Add(1))
	h.Write(b[:])
	return nonce(h.Sum(nil)[:8])
}
