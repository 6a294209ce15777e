package p2p

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/relay"
	"github.com/pheme-net/pheme/p2p/trace"
)

// validateBlock is the validator of the block topic.
func (n *Net) validateBlock(_ context.Context, from peer.ID, m *pubsub.Message) pubsub.ValidationResult {
	if n.ours(from) {
		return pubsub.ValidationAccept
	}
	msg := relay.Message{From: from, Payload: m.GetData()}
	err := n.relay.Receive(msg)
	n.wait(msg, err)
	v := verdict(err)
	n.meter.verdicts[topicBlock][v].Add(1)
	return n.passOn(v)
}

// take judges a complete block by the cheap check and, if it passes, queues it
// for import.
func (n *Net) take(from peer.ID, b *chain.Block, path int64) error {
	b = n.chain.Shared(b)
	err := n.judge(from, b, path)
	if err != nil && !errors.Is(err, chain.ErrSecondBlock) {
		return err
	}
	if busy := n.backend.QueueBlock(from, b); busy != nil {
		// It is valid, so it goes on to others. We must get it again: catch-up will.
		n.chain.Forget(b.ID())
		n.drop(trace.ClassBlock, b.ID(), from, b.Size(), trace.DropImportFull)
		n.peers.hurry(from)
		n.sync.kick()
		return err
	}
	n.relay.Taken(b)
	n.arrived.put(b.ID())
	return err
}

// judge runs the cheap check and reports a block that passes.
func (n *Net) judge(from peer.ID, b *chain.Block, path int64) error {
	err := n.chain.Check(b, time.Now())
	if err != nil && !errors.Is(err, chain.ErrSecondBlock) {
		return err
	}
	n.fresh.add(b)
	e := trace.Event{At: n.clock.Now(), Kind: trace.BlockReceived, Hash: b.ID(), Peer: trace.PeerTag(from.String()), Size: uint32(b.Size()), Aux: path}
	n.hook.Emit(e)
	n.charge(chain.Work{Signatures: 1, HashedBytes: b.Size()})
	e.At, e.Kind = n.clock.Now(), trace.BlockAccepted
	n.hook.Emit(e)
	return err
}

// charge is Config.Charge.
func (n *Net) charge(w chain.Work) {
	if n.cfg.Charge != nil {
		n.cfg.Charge(w)
	}
}

func (n *Net) drop(c trace.Class, hash common.Hash, from peer.ID, size int, reason int64) {
	n.meter.dropped[reason].Add(1)
	n.hook.Emit(trace.Event{At: n.clock.Now(), Kind: trace.MsgDropped, Class: c, Hash: hash, Peer: trace.PeerTag(from.String()), Size: uint32(size), Aux: reason})
}

// wait holds a message that could not be judged for its parent or its slot, and
// has the parent fetched at once.
func (n *Net) wait(m relay.Message, err error) {
	var early chain.ErrEarly
	isEarly := errors.As(err, &early) && early.Hold
	if !isEarly && !errors.Is(err, chain.ErrUnknownParent) {
		return
	}
	h, ok := relay.Header(m.Payload)
	if !ok {
		return
	}
	e := held{from: m.From, payload: m.Payload, block: h.Hash(), due: early.When}
	if !isEarly {
		e.parent, e.due = h.ParentHash, time.Now().Add(holdTime)
	}
	n.holdMu.Lock()
	ok = n.holder.add(e)
	n.holdMu.Unlock()
	if !ok {
		n.drop(trace.ClassBlock, e.block, m.From, len(m.Payload), trace.DropHoldFull)
	}
	if isEarly {
		n.arrived.put(common.Hash{}) // wakes runHeld, which sets its timer
		return
	}
	if n.chain.Has(e.parent) { // it came in between
		n.arrived.put(e.parent)
		return
	}
	n.wanted.put(want{id: e.parent, from: m.From, number: h.Number.Uint64() - 1})
}

// runHeld gives held messages to the relay again when what they wait for has
// come, and publishes those that are good now, byte for byte as they came.
func (n *Net) runHeld(ctx context.Context) error {
	timer := newAlarm(time.Hour)
	defer func() { timer.Stop() }()
	for {
		var again []held
		select {
		case <-ctx.Done():
			return nil
		case <-n.arrived.wake:
		case <-timer.C:
		}
		now := time.Now()
		parents := n.arrived.take()
		n.holdMu.Lock()
		for _, id := range parents {
			again = append(again, n.holder.children(id)...)
		}
		again = append(again, n.holder.ready(now)...)
		n.holder.expired(now)
		next, ok := n.holder.next()
		n.holdMu.Unlock()
		if ok {
			timer.set(next.Sub(now))
		}
		for _, m := range again {
			n.again(ctx, m)
		}
	}
}

// again judges a held message once more.
func (n *Net) again(ctx context.Context, m held) {
	msg := relay.Message{From: m.from, Payload: m.payload, Held: true}
	err := n.relay.Receive(msg)
	n.wait(msg, err)
	if err != nil && !errors.Is(err, chain.ErrKnown) { // known: catch-up brought it, but our mesh has not seen it
		if verdict(err) == Reject {
			n.punish(m.from, offenceLie, err)
		}
		return
	}
	if n.silent.Load() {
		n.meter.withheld.Add(1)
		return
	}
	if err := n.publish(ctx, topicBlock, m.payload); err != nil && ctx.Err() == nil {
		log.Debugw("held block not passed on", "id", m.block, "err", err)
	}
}

// PublishBlock sends a block of our own. It returns when the block is on its
// way; ErrTooLarge if the network's message limit forbids it.
func (n *Net) PublishBlock(b *chain.Block) error {
	n.fresh.add(b)
	n.hook.Emit(trace.Event{At: n.clock.Now(), Kind: trace.BlockPublished, Hash: b.ID(), Size: uint32(b.Size()), Aux: int64(b.Number())})
	return n.relay.Publish(b)
}

// Imported tells what an import changed: what was held for it goes on, and the
// peers hear of a new head. It does not wait.
func (n *Net) Imported(u chain.Update) {
	for _, b := range u.Applied {
		n.arrived.put(b.ID())
	}
	n.settled.blocks(u, time.Now())
	if u.Moved {
		n.peers.wake()
		n.sync.kick()
	}
}

// freshBlocks are the newest blocks in their encoding, so that a peer that lacks
// one can have it before our import is done.
type freshBlocks struct {
	mu     sync.Mutex
	blocks []*chain.Block
	bytes  int
}

const (
	freshCount = 16
	freshBytes = 16 << 20
)

func (f *freshBlocks) add(b *chain.Block) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blocks = append(f.blocks, b)
	f.bytes += b.Size()
	for len(f.blocks) > freshCount || f.bytes > freshBytes {
		f.bytes -= f.blocks[0].Size()
		f.blocks[0] = nil
		f.blocks = f.blocks[1:]
	}
}

// raw is the encoding of a fresh block or nil.
func (f *freshBlocks) raw(id common.Hash) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.blocks, func(b *chain.Block) bool { return b.ID() == id })
	if i < 0 {
		return nil
	}
	return f.blocks[i].Raw()
}
