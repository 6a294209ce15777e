package relay

import (
	"fmt"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
)

// handle takes one frame of a peer. An error wraps chain.ErrInvalid and is the
// peer's fault.
func (e *engine) handle(from peer.ID, f *frame) error {
	e.mu.Lock()
	t := e.live[f.tag]
	l := e.link(from)
	id, told := e.named(f.tag)
	kept := !told && l != nil && f.kind != frameRoute && e.early.add(from, f, time.Now())
	switch {
	case t != nil:
		t.informed(l)
	case l == nil:
	case f.kind == frameHave: // of a block that is over here
		for _, c := range f.acks {
			if e.arrived(l, f.tag, c, time.Now()) {
				poke(e.pumping)
			}
		}
	case f.kind == frameChunk && !told && !kept:
		l.receipt(f)
	}
	e.mu.Unlock()
	switch {
	case told:
		e.record(f, id)
		if t == nil && l != nil && f.kind == frameChunk {
			e.mu.Lock()
			l.say(&frame{kind: frameHave, tag: f.tag, flags: flagDone, acks: []int{f.chunk}}, id)
			e.mu.Unlock()
		}
	case kept:
		e.expire(time.Now())
		poke(e.stirred)
	default:
		e.record(f, common.Hash{})
	}
	if l != nil && f.kind == frameRoute {
		e.gotRoute(l, f)
	}
	if t == nil || l == nil {
		return nil
	}
	switch f.kind {
	case frameChunk:
		return e.gotChunk(l, t, f)
	case frameHave:
		return e.gotNews(l, t, f)
	case frameAsk:
		return e.gotAsk(l, t, f)
	case frameTxs:
		return e.gotTxs(l, t, f)
	}
	return nil
}

// decline tells those who sent chunks before their announcement, of which none are needed, that it is so: of a block
// that is here already, or comes by another announcement, or is one too many of its slot.
func (e *engine) decline(a *announcement) {
	e.mu.Lock()
	if _, told := e.named(a.tag); !told { // its proposer may have signed the same twice
		e.past.add(a.tag, a.header.ID())
	}
	waiting := e.early.take(a.tag)
	e.mu.Unlock()
	for _, w := range waiting {
		if err := e.handle(w.from, w.frame); err != nil {
			e.blame(w.from, err)
		}
	}
}

// expire gives up early frames whose announcement does not come. true: others wait for theirs.
func (e *engine) expire(now time.Time) bool {
	e.mu.Lock()
	off, rest := e.early.clear(now), len(e.early.order)
	for _, w := range off {
		if l := e.links[w.from]; l != nil && w.frame.kind == frameChunk {
			l.receipt(w.frame)
		}
	}
	e.mu.Unlock()
	for _, w := range off {
		e.record(w.frame, common.Hash{})
	}
	return rest > 0
}

// gotChunk verifies a chunk and passes it on.
func (e *engine) gotChunk(l *link, t *transfer, f *frame) error {
	if f.chunk >= t.ann.shape.total() {
		return fmt.Errorf("%w: chunk %d of %d", errFrame, f.chunk, t.ann.shape.total())
	}
	e.mu.Lock()
	fresh := t.block == nil && !t.swarm.have.get(f.chunk)
	if !fresh {
		e.credit(l, t, f.chunk)
		e.stats.ChunksDuplicate++
	}
	e.mu.Unlock()
	if !fresh {
		return nil
	}
	if !t.ann.holds(f.chunk, f.bytes) { // outside the lock: a hash takes its time
		return fmt.Errorf("%w: chunk %d of block %s is not what its proposer signed", errFrame, f.chunk, t.id)
	}
	e.node.Charge(len(f.bytes))
	e.mu.Lock()
	e.credit(l, t, f.chunk)
	if t.put(f.chunk, f.bytes, f.hops+min(1, 255-f.hops)) {
		t.gained, t.asks = time.Now(), 0
		t.used = t.gained
		e.gained(l, t, f.chunk)
		e.stats.ChunksReceived++
	} else {
		e.stats.ChunksDuplicate++ // while it was verified
	}
	open := t.begin(t.swarm.complete() && !t.failed)
	e.mu.Unlock()
	if open {
		e.open(l.id, t)
	}
	return nil
}

// credit notes that a peer holds a chunk it sent, and owes it the
// acknowledgement. The mutex is held.
func (e *engine) credit(l *link, t *transfer, chunk int) {
	t.swarm.heard(l.slot, chunk)
	if n := t.tell(l.slot); len(n.acks) < t.swarm.total { // a peer that repeats itself and does not listen gets no more
		n.acks = append(n.acks, chunk)
	}
	poke(e.teller)
}

// gained spreads the news of a chunk and wakes the writers that can use it. The
// mutex is held.
func (e *engine) gained(from *link, t *transfer, chunk int) {
	for _, l := range e.links {
		if l == from {
			continue
		}
		v := t.swarm.view(l.slot)
		if v.done || v.has.get(chunk) {
			continue
		}
		n := t.tell(l.slot)
		n.held = append(n.held, chunk)
	}
	poke(e.pumping)
}

// gotNews takes what a peer tells of its chunks.
func (e *engine) gotNews(l *link, t *transfer, f *frame) error {
	for _, list := range [2][]int{f.acks, f.held} {
		for _, c := range list {
			if c >= t.ann.shape.total() {
				return fmt.Errorf("%w: news of chunk %d of %d", errFrame, c, t.ann.shape.total())
			}
		}
	}
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	v := t.swarm.view(l.slot)
	v.over = v.over || f.flags&flagDone != 0
	if f.flags&flagAll != 0 && !v.over { // on another stream it may be older
		t.swarm.forget(l.slot)
	}
	for _, c := range f.acks {
		if e.arrived(l, t.tag, c, now) {
			t.used = now
		}
		t.swarm.heard(l.slot, c)
	}
	for _, c := range f.held {
		t.swarm.heard(l.slot, c)
	}
	e.steer(l, now)
	v.done = v.done || v.over
	v.wants = v.wants || f.flags&flagWant != 0
	v.hungry = v.hungry || f.flags&flagStarved != 0
	e.askElsewhere(t, now)
	poke(e.pumping)
	return nil
}

// arrived takes in the acknowledgement of a chunk; false: it is not under way to that peer. The mutex is held.
func (e *engine) arrived(l *link, t tag, chunk int, now time.Time) bool {
	n, over := l.pace.acked(now, t, chunk)
	if n == 0 {
		return false
	}
	e.queue.note(over)
	e.uplink.acked(now, n)
	return true
}

// open decodes a block whose chunks suffice. from brought the last one.
func (e *engine) open(from peer.ID, t *transfer) {
	e.mu.Lock()
	chunks, hops := append([][]byte(nil), t.chunks...), t.swarm.farthest()
	e.mu.Unlock()
	var b *chain.Block
	list, err := t.ann.shape.decode(chunks)
	if err == nil {
		b, err = e.assemble(t, list)
	}
	if err == nil {
		e.pieced(t, true)
		_ = e.node.Complete(from, b, Way{Hops: int(hops)}) // what it thinks of the block is no business of ours
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	t.opening = false
	if b == nil { // its proposer signed chunks that are not the block
		t.failed = true
		return
	}
	e.completed(t, b, hops)
}

// completed makes a transfer complete, unless it is. The mutex is held.
func (e *engine) completed(t *transfer, b *chain.Block, hops uint8) {
	if t.block != nil || t.failed {
		return
	}
	t.finish(b, hops)
	t.gained = time.Now()
	e.answerAll(t)
	e.proclaim(t)
}

// assemble makes a block of its transaction list, and notes how much of it was
// pooled.
func (e *engine) assemble(t *transfer, list []byte) (*chain.Block, error) {
	found := 0
	txs, err := chain.DecodeTxList(list, counted(e.node.Tx, &found))
	if err != nil {
		return nil, err
	}
	if t.ann.kind != kindCompact { // its puzzle has told
		e.mu.Lock()
		e.compared(found, len(list))
		e.mu.Unlock()
	}
	return chain.NewBlock(t.ann.header, txs)
}

// named is the id of the block that was announced under a tag. The mutex is held.
func (e *engine) named(t tag) (common.Hash, bool) {
	if x := e.live[t]; x != nil {
		return x.id, true
	}
	return e.past.id(t)
}

// past are the names of blocks that are over, of which something may still come.
type past struct {
	names [8 * maxLive]struct {
		tag tag
		id  common.Hash
	}
	next int
}

func (p *past) add(t tag, id common.Hash) {
	p.names[p.next].tag, p.names[p.next].id = t, id
	p.next = (p.next + 1) % len(p.names)
}

func (p *past) id(t tag) (common.Hash, bool) {
	for i := range p.names {
		if n := &p.names[i]; n.tag == t && n.id != (common.Hash{}) {
			return n.id, true
		}
	}
	return common.Hash{}, false
}
