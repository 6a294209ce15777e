package p2p

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"google.golang.org/protobuf/proto"

	"github.com/pheme-net/pheme/p2p/trace"
)

// tracer turns what the pubsub of a topic lets us see into events and counters. It is pubsub's
// RawTracer (queued, dropped, duplicate, mesh) and the handler of its RPC logger
// (written, read). pubsub calls it from its loop and from the peers' goroutines.
type tracer struct {
	topic  int
	name   string
	hook   trace.Hook
	clock  trace.Clock
	meter  *meter
	tap    *tap
	shared *Shared

	silence *silence
	moved   chan struct{} // one token: the mesh changed

	mu    sync.Mutex
	mesh  map[peer.ID]struct{}
	fresh recent[[32]byte] // blocks whose first byte was reported
	sent  recent[[32]byte] // blocks whose passing on was reported
}

func newTracer(topic int, name string, hook trace.Hook, m *meter, t *tap, shared *Shared, quiet *silence) *tracer {
	out := &tracer{
		topic: topic, name: name, silence: quiet, hook: hook, clock: t.clock, meter: m, tap: t, shared: shared,
		mesh: make(map[peer.ID]struct{}), moved: make(chan struct{}, 1),
	}
	t.broke = out.broke
	return out
}

// broke reports what had come of a message when its stream failed. What it was is not known here; its sender reports that it
// was dropped.
func (t *tracer) broke(from *tapped, bytes int) {
	c := trace.ClassBlock
	if t.topic == topicTx {
		c = trace.ClassTx
	}
	t.meter.in[c].Add(uint64(bytes))
	now := t.clock.Now()
	t.hook.Emit(trace.Event{At: now, Kind: trace.MsgRead, Class: c, Peer: from.tag, Size: uint32(bytes), Aux: now - from.first.Load()})
}

// about says what a gossip payload is and which block or batch it carries.
func (t *tracer) about(m *pb.Message) (trace.Class, [32]byte) {
	switch {
	case m.GetTopic() != t.name:
		return trace.ClassOther, [32]byte{}
	case t.topic == topicTx:
		return trace.ClassTx, batchTag(m.GetData())
	}
	return trace.ClassBlock, t.shared.blockID(m.GetData())
}

// parts calls f for every payload of an RPC, and once for what it carries beside
// them. The sizes add up to the RPC on the wire.
func (t *tracer) parts(rpc *pubsub.RPC, f func(c trace.Class, hash [32]byte, size int)) {
	rest := proto.Size(&rpc.RPC)
	rest += headVarint(rest)
	sizes := make([]int, 0, 4)
	for _, m := range rpc.GetPublish() {
		n := proto.Size(m)
		n += 1 + headVarint(n) // the field's tag and length
		rest -= n
		sizes = append(sizes, n)
	}
	if rpc.Control != nil || len(rpc.Subscriptions) > 0 || len(sizes) == 0 {
		f(trace.ClassControl, [32]byte{}, rest)
	} else {
		sizes[0] += rest // the length prefix
	}
	for i, m := range rpc.GetPublish() {
		c, hash := t.about(m)
		f(c, hash, sizes[i])
	}
}

// headVarint is the length of n as an unsigned varint.
func headVarint(n int) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

// Enabled, Handle, WithAttrs and WithGroup make the tracer pubsub's RPC logger.
// "sent" is logged after the stream took the last byte, "received" after the
// last byte was read and the RPC decoded.

// Enabled implements slog.Handler.
func (t *tracer) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (t *tracer) Handle(_ context.Context, r slog.Record) error {
	var p peer.ID
	var rpc *pubsub.RPC
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "peer", "from":
			p, _ = a.Value.Any().(peer.ID)
		case "rpc":
			rpc, _ = a.Value.Any().(*pubsub.RPC)
		}
		return true
	})
	if rpc == nil {
		if r.Level >= slog.LevelWarn {
			log.Infow("gossip stream closed", "peer", p, "reason", r.Message) // control too large or not an RPC
		}
		return nil
	}
	switch r.Message {
	case "sent":
		t.written(p, rpc)
	case "received":
		for _, m := range rpc.GetPublish() {
			m.Data = t.shared.keep(m.Data) // nobody has looked at it yet
		}
		t.read(p, rpc)
	case "failed to send message":
		t.lost(p, rpc, trace.DropWriteFailed)
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (t *tracer) WithAttrs([]slog.Attr) slog.Handler { return t }

// WithGroup implements slog.Handler.
func (t *tracer) WithGroup(string) slog.Handler { return t }

// written reports an RPC that was handed to the stream, when the stream has taken the last of it.
func (t *tracer) written(p peer.ID, rpc *pubsub.RPC) {
	d := t.tap.of(p)
	d.write.Load().then(func(w *write) {
		if w.err != nil {
			t.lost(p, rpc, trace.DropWriteFailed)
			return
		}
		t.parts(rpc, func(c trace.Class, hash [32]byte, size int) {
			t.meter.out[c].Add(uint64(size))
			t.hook.Emit(trace.Event{At: w.at, Kind: trace.MsgWritten, Class: c, Hash: hash, Peer: d.tag, Size: uint32(size), Aux: w.at - w.begun})
			if c == trace.ClassBlock && t.first(&t.sent, hash) {
				t.hook.Emit(trace.Event{At: w.begun, Kind: trace.BlockRelayed, Hash: hash, Peer: d.tag, Size: uint32(size)})
			}
		})
	})
}

func (t *tracer) read(p peer.ID, rpc *pubsub.RPC) {
	d := t.tap.of(p)
	begin, end := d.first.Load(), d.read.Load()
	t.parts(rpc, func(c trace.Class, hash [32]byte, size int) {
		t.meter.in[c].Add(uint64(size))
		e := trace.Event{At: end, Kind: trace.MsgRead, Class: c, Hash: hash, Peer: d.tag, Size: uint32(size), Aux: end - begin}
		t.hook.Emit(e)
		if c == trace.ClassBlock {
			t.begun(e, e.Aux)
		}
	})
}

// begun reports the first byte of a block if e, a message that took so long to read, is the first of it.
func (t *tracer) begun(e trace.Event, took int64) {
	if t.first(&t.fresh, e.Hash) {
		t.hook.Emit(trace.Event{At: e.At - took, Kind: trace.BlockFirstByte, Hash: e.Hash, Peer: e.Peer, Size: e.Size})
	}
}

// first says whether a block is met for the first time in a list of recent ones.
func (t *tracer) first(list *recent[[32]byte], hash [32]byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return list.add(hash)
}

// lost reports an RPC to p that will not arrive.
func (t *tracer) lost(p peer.ID, rpc *pubsub.RPC, reason int64) {
	now, tag := t.clock.Now(), t.tap.of(p).tag
	t.parts(rpc, func(c trace.Class, hash [32]byte, size int) {
		t.meter.dropped[reason].Add(1)
		t.hook.Emit(trace.Event{At: now, Kind: trace.MsgDropped, Class: c, Hash: hash, Peer: tag, Size: uint32(size), Aux: reason})
	})
}

// dropped reports a message that came in and was not judged.
func (t *tracer) dropped(m *pubsub.Message, reason int64) {
	c, hash := t.about(m.Message)
	t.meter.dropped[reason].Add(1)
	t.hook.Emit(trace.Event{At: t.clock.Now(), Kind: trace.MsgDropped, Class: c, Hash: hash, Peer: t.tap.of(m.ReceivedFrom).tag, Size: uint32(len(m.Data)), Aux: reason})
}

// SendRPC implements pubsub.RawTracer: the RPC is on p's queue.
func (t *tracer) SendRPC(rpc *pubsub.RPC, p peer.ID) {
	now, tag := t.clock.Now(), t.tap.of(p).tag
	t.parts(rpc, func(c trace.Class, hash [32]byte, size int) {
		t.hook.Emit(trace.Event{At: now, Kind: trace.MsgQueued, Class: c, Hash: hash, Peer: tag, Size: uint32(size)})
	})
}

// DropRPC implements pubsub.RawTracer: p's queue is full, or it has none.
func (t *tracer) DropRPC(rpc *pubsub.RPC, p peer.ID) { t.lost(p, rpc, trace.DropQueueFull) }

// DuplicateMessage implements pubsub.RawTracer.
func (t *tracer) DuplicateMessage(m *pubsub.Message) {
	if m.GetTopic() == t.name {
		t.silence.brought(m.ReceivedFrom, t.topic, false, time.Now())
	}
	c, hash := t.about(m.Message)
	t.meter.dup[c].Add(uint64(len(m.Data)))
	t.hook.Emit(trace.Event{At: t.clock.Now(), Kind: trace.CopyDuplicate, Class: c, Hash: hash, Peer: t.tap.of(m.ReceivedFrom).tag, Size: uint32(len(m.Data))})
}

// RejectMessage implements pubsub.RawTracer. Verdicts of ours are counted where
// they are made; here only what pubsub refused before asking us.
func (t *tracer) RejectMessage(m *pubsub.Message, reason string) {
	switch reason {
	case pubsub.RejectValidationQueueFull:
		t.dropped(m, trace.DropValidateFull)
	case pubsub.RejectValidationThrottled:
		t.dropped(m, trace.DropThrottled)
	case pubsub.RejectUnexpectedSignature, pubsub.RejectUnexpectedAuthInfo, pubsub.RejectSelfOrigin, pubsub.RejectMissingSignature, pubsub.RejectInvalidSignature:
		if m.GetTopic() == t.name {
			t.meter.verdicts[t.topic][Reject].Add(1) // a message with an author or a signature
		}
	}
}

// UndeliverableMessage implements pubsub.RawTracer.
func (t *tracer) UndeliverableMessage(m *pubsub.Message) { t.dropped(m, trace.DropUndelivered) }

// Graft implements pubsub.RawTracer.
func (t *tracer) Graft(p peer.ID, topic string) {
	if topic == t.name {
		t.mu.Lock()
		t.mesh[p] = struct{}{}
		t.mu.Unlock()
		t.move()
		t.silence.graft(p, t.topic, time.Now())
	}
}

// Prune implements pubsub.RawTracer.
func (t *tracer) Prune(p peer.ID, topic string) {
	if topic == t.name {
		t.OnClosedOutboundStream(p)
	}
}

// OnClosedOutboundStream implements pubsub.RawTracer: p leaves every mesh
// without a Prune.
func (t *tracer) OnClosedOutboundStream(p peer.ID) {
	t.mu.Lock()
	delete(t.mesh, p)
	t.mu.Unlock()
	t.move()
	t.silence.prune(p, t.topic)
}

// move tells whoever waits for it that the mesh changed.
func (t *tracer) move() {
	select {
	case t.moved <- struct{}{}:
	default:
	}
}

// members are the peers of our mesh, in order.
func (t *tracer) members() []peer.ID {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Sorted(maps.Keys(t.mesh))
}

// inMesh tells whether p is in our mesh.
func (t *tracer) inMesh(p peer.ID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, in := t.mesh[p]
	return in
}

// size is how many peers are in our mesh.
func (t *tracer) size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.mesh)
}

// The rest of pubsub.RawTracer is not needed.

// OnNewOutboundStream implements pubsub.RawTracer.
func (t *tracer) OnNewOutboundStream(peer.ID, protocol.ID) {}

// DeliverMessage implements pubsub.RawTracer: a message was new and accepted.
func (t *tracer) DeliverMessage(m *pubsub.Message) {
	if m.GetTopic() == t.name {
		t.silence.brought(m.ReceivedFrom, t.topic, true, time.Now())
	}
}

// Join implements pubsub.RawTracer.
func (t *tracer) Join(string) {}

// Leave implements pubsub.RawTracer.
func (t *tracer) Leave(string) {}

// ValidateMessage implements pubsub.RawTracer.
func (t *tracer) ValidateMessage(*pubsub.Message) {}

// ThrottlePeer implements pubsub.RawTracer.
func (t *tracer) ThrottlePeer(peer.ID) {}

// RecvRPC implements pubsub.RawTracer.
func (t *tracer) RecvRPC(*pubsub.RPC) {}
