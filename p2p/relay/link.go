package relay

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
)

// maxLinks bounds the peers a relay talks to; package p2p keeps fewer connections.
const maxLinks = 1024

// link is the way to one peer: a stream of ours for what is short and urgent, and
// lanes for chunks, which would otherwise hold up the news that keeps others from
// sending the same. The engine's mutex guards it.
type link struct {
	id              peer.ID
	tag             uint64        // trace.PeerTag
	slot            int           // its number in swarms
	wake            chan struct{} // one token: there may be something urgent
	lanes           []*lane       // streams of chunks
	post            *lane         // chunks in datagrams; nil: not known where it takes them
	diverted        bool          // chunks go by post
	barred          time.Time     // they do not before
	asked, answered bool          // we asked where it takes datagrams, or told it where we do
	unread          chan []byte   // datagrams; nil: none came
	pace            pace
	flush           bool          // news may go now
	urgent          []piece       // questions and answers
	gone            bool          // a stream has ended
	done            chan struct{} // closed then
}

// lane is one stream of chunks to a peer, or its datagrams.
type lane struct {
	out   chan piece   // room for one: what it writes next
	busy  bool         // it has one, or is writing it
	send  func([]byte) // sends a datagram; nil: it is a stream
	acked time.Time    // when a chunk of it was last acknowledged
}

// job is what Run starts a goroutine for: a writer of a stream or of datagrams, a reader
// of datagrams. It ends with ctx, or with its link.
type job func(ctx context.Context)

// maxLanes is how many streams of chunks a peer gets. What is behind a lost packet
// on one stream waits until it has come again, what is on another does not. A second
// one is opened where a chunk has been under way for twice as long as the fastest.
const maxLanes = 4

// idle returns the idle lane to a peer with the least under way, nil if there is
// none. open: all lanes wait for something, and there may be another.
func (l *link) idle(now time.Time) (best *lane, open bool) {
	if l.diverted {
		if l.post.busy {
			return nil, false
		}
		return l.post, false
	}
	least, stuck := 0, 0
	for _, x := range l.lanes {
		n, late := l.pace.on(x, now)
		if late {
			stuck++
		}
		if !x.busy && (best == nil || n < least) {
			best, least = x, n
		}
	}
	return best, stuck == len(l.lanes) && stuck < maxLanes
}

// lane returns a lane for the next chunk, which it may open. The mutex is held.
func (e *engine) lane(l *link, now time.Time) *lane {
	best, open := l.idle(now)
	if !open {
		return best
	}
	x := &lane{out: make(chan piece, 1)}
	select {
	case e.start <- func(ctx context.Context) { e.writeLane(ctx, l, x) }:
		l.lanes = append(l.lanes, x)
		return x
	default:
		return best
	}
}

// piece is a frame on its way to a writer.
type piece struct {
	frame *frame
	id    common.Hash // of the block, if it is about one
	of    *transfer   // of a chunk
	news  bool        // the peer needs the announcement before it
}

// maxUrgent bounds what waits for a peer that does not read: six megabytes of answers.
const maxUrgent = 64

// say queues a frame that is short and urgent. The engine's mutex is held.
func (l *link) say(f *frame, id common.Hash) {
	if len(l.urgent) < maxUrgent {
		l.urgent = append(l.urgent, piece{frame: f, id: id})
		poke(l.wake)
	}
}

// receipt acknowledges a chunk of a block that is not followed here: what is not acknowledged takes its
// place from the next block. The engine's mutex is held.
func (l *link) receipt(f *frame) {
	if n := len(l.urgent); n > 0 {
		if last := l.urgent[n-1].frame; last.kind == frameHave && last.tag == f.tag && last.flags == 0 && len(last.acks) < maxData {
			last.acks = append(last.acks, f.chunk)
			return
		}
	}
	l.say(&frame{kind: frameHave, tag: f.tag, acks: []int{f.chunk}}, common.Hash{})
}

// link returns the link to a peer, which it makes if there is none. The mutex is
// held. nil: there are too many.
func (e *engine) link(p peer.ID) *link {
	l := e.links[p]
	if l != nil {
		return l
	}
	if len(e.links) >= maxLinks {
		return nil
	}
	l = &link{id: p, tag: trace.PeerTag(p.String()), pace: newPace(&e.cfg), wake: make(chan struct{}, 1), done: make(chan struct{})}
	select {
	case e.start <- func(ctx context.Context) { e.writeUrgent(ctx, l) }:
	default:
		return nil
	}
	l.slot = e.number(p)
	e.links[p] = l
	e.ring = append(e.ring, l)
	return l
}

// unlink forgets a peer one of whose streams has ended, and ends the other.
func (e *engine) unlink(l *link) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l.gone {
		return
	}
	l.gone = true
	delete(e.links, l.id)
	e.ring = slices.DeleteFunc(e.ring, func(o *link) bool { return o == l })
	for _, t := range e.order {
		t.leave(l.slot)
	}
	poke(l.wake)
	close(l.done)
}

// Left implements Relay.
func (e *engine) Left(p peer.ID) {
	e.mu.Lock()
	l := e.links[p]
	e.mu.Unlock()
	if l != nil {
		e.unlink(l)
	}
}

// writeUrgent writes news and questions until a stream fails or ctx ends.
func (e *engine) writeUrgent(ctx context.Context, l *link) {
	defer e.unlink(l)
	var streams []Stream
	defer func() {
		for _, s := range streams {
			_ = s.Reset()
		}
	}()
	for turn := 0; ; {
		p, want, gone := e.pickUrgent(l)
		if gone {
			return
		}
		if len(streams) < want {
			s, err := e.net.Open(ctx, l.id)
			if err != nil {
				return
			}
			streams = append(streams, s)
		}
		if p.frame != nil {
			e.mailNews(l, p)
			turn = (turn + 1) % len(streams)
			if err := e.send(streams[turn], l, p); err != nil {
				return
			}
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
	}
}

// writeLane writes what pump gives it.
func (e *engine) writeLane(ctx context.Context, l *link, x *lane) {
	defer e.unlink(l)
	s, err := e.net.Open(ctx, l.id)
	if err != nil {
		return
	}
	defer s.Reset()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.done:
			return
		case p := <-x.out:
			if e.genuine(l, p) {
				if err := e.send(s, l, p); err != nil {
					return
				}
			}
			e.mu.Lock()
			x.busy = false
			e.mu.Unlock()
			poke(e.pumping)
		}
	}
}

// genuine says whether a chunk that is about to be written is what the proposer
// signed: who gets another one takes it for our fault. One that came to us was
// looked at then.
func (e *engine) genuine(l *link, p piece) bool {
	t, c := p.of, p.frame.chunk
	e.mu.Lock()
	sure := t.sure.get(c)
	e.mu.Unlock()
	if sure {
		return true
	}
	good := t.ann.holds(c, p.frame.bytes)
	e.node.Charge(len(p.frame.bytes))
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case !good:
		l.pace.cancel(t.tag, c)
	case bytes.Equal(t.chunks[c], p.frame.bytes): // and not the block's own meanwhile
		t.sure.set(c)
	}
	return good
}

// send writes one frame.
func (e *engine) send(s Stream, l *link, p piece) error {
	raw := p.frame.encode()
	begin := e.clock.Now()
	if _, err := s.Write(raw); err != nil {
		return fmt.Errorf("relay: write: %w", err)
	}
	e.wrote(l, p, begin, len(raw))
	return nil
}

// wrote records a frame that was written.
func (e *engine) wrote(l *link, p piece, begin int64, size int) {
	end := e.clock.Now()
	ev := trace.Event{At: end, Kind: trace.MsgWritten, Class: trace.ClassRelay, Peer: l.tag, Size: uint32(size), Aux: trace.PieceAux(end-begin, p.frame.piece())}
	if p.frame.carries() {
		ev.Hash = p.id
	}
	e.hook.Emit(ev)
}

// carries says whether a frame brings a part of a block.
func (f *frame) carries() bool { return f.kind == frameChunk || f.kind == frameTxs }

// piece is what a frame brings, as traces name it.
func (f *frame) piece() int {
	switch f.kind {
	case frameChunk:
		return min(f.chunk, trace.PieceAnswers-1) // no block has so many
	case frameTxs:
		return trace.PieceAnswers
	}
	return trace.PieceNone
}

// pickUrgent takes the next news or question for a peer. streams is on how many
// streams they go in turn.
func (e *engine) pickUrgent(l *link) (p piece, streams int, gone bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	streams = max(1, len(l.lanes))
	if l.flush {
		for _, t := range e.order {
			n := t.news[l.slot]
			if n != nil && n.flags&flagAll == 0 && e.withholds(t) {
				n.held = nil // what it holds it tells only to get the rest
			}
			if n != nil && !n.empty() {
				f := &frame{kind: frameHave, tag: t.tag, flags: n.flags, acks: n.acks, held: n.held}
				*n = news{}
				return piece{frame: f, id: t.id}, streams, false
			}
		}
		l.flush = false
	}
	if len(l.urgent) > 0 && !l.gone {
		p, l.urgent = l.urgent[0], l.urgent[1:]
	}
	return p, streams, l.gone
}

// pump gives the writers chunks, one after the other as fast as the uplink takes
// them, each chosen as late as that.
func (e *engine) pump(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		x, p, wait := e.pick(time.Now())
		if x != nil {
			select {
			case x.out <- p: // it is not busy: there is room
				continue
			case <-ctx.Done():
				return nil
			}
		}
		if wait > 0 {
			timer.Reset(wait)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-e.pumping:
		}
	}
}

// pick chooses a peer and a chunk for it: of the oldest block that somebody lacks
// something of, the peer that is known to hold least; those that hold as much take
// turns. Without any, wait is how long to pause, 0 for until woken.
func (e *engine) pick(now time.Time) (*lane, piece, time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if w := e.uplink.wait(now); w > 0 {
		return nil, piece{}, w
	}
	e.turn++
	for _, t := range e.order {
		if e.withholds(t) {
			continue
		}
		l, c := e.neediest(t, now)
		if l == nil {
			continue
		}
		x := e.lane(l, now)
		if x == nil {
			continue
		}
		again := t.swarm.give(l.slot, c)
		t.used = now
		x.busy = true
		e.stats.ChunksSent++
		p := piece{frame: &frame{kind: frameChunk, tag: t.tag, hops: t.swarm.hops[c], chunk: c, bytes: t.chunks[c]}, id: t.id, of: t}
		if x.send != nil {
			e.stats.ChunksPosted++
			p.news = !t.knows[l.slot]
			t.knows[l.slot] = true
		}
		l.pace.sent(flying{tag: t.tag, chunk: c, bytes: t.ann.shape.chunk, lane: x, datagram: x.send != nil, again: again, at: now})
		e.uplink.sent(now, t.ann.shape.chunk)
		return x, p, 0
	}
	return nil, piece{}, 0
}

// withholds says whether a silent node gives nothing of a block: it is another's.
func (e *engine) withholds(t *transfer) bool { return t.from != "" && e.net.Silent() }

// neediest returns the peer that holds least of a block, of those that can be sent
// a chunk now, and the chunk. The mutex is held.
func (e *engine) neediest(t *transfer, now time.Time) (to *link, chunk int) {
	least := 0
	for i := range e.ring {
		l := e.ring[(e.turn+i)%len(e.ring)]
		v := t.swarm.view(l.slot)
		if l.gone || !t.push && !v.wants || to != nil && v.count >= least {
			continue
		}
		c, ok := t.swarm.choose(l.slot)
		if !ok || !l.pace.room() {
			continue
		}
		if x, open := l.idle(now); x != nil || open {
			to, chunk, least = l, c, v.count
		}
	}
	return to, chunk
}

// byUse lists the links by how many of the chunks missing here their peers hold,
// most first. The mutex is held.
func (e *engine) byUse(t *transfer) []*link {
	use := func(l *link) int {
		v := t.swarm.view(l.slot)
		if v.done {
			return t.swarm.total + 1
		}
		return v.has.countWithout(t.swarm.have)
	}
	out := make([]*link, 0, len(e.links))
	for _, l := range e.links {
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b *link) int { return cmp.Or(cmp.Compare(use(b), use(a)), cmp.Compare(a.slot, b.slot)) })
	return out
}

// read takes a peer's frames until its stream ends.
func (e *engine) read(s Stream) {
	defer s.Reset()
	from := s.Peer()
	r := bufio.NewReaderSize(s, 4<<10)
	who := trace.PeerTag(from.String())
	for {
		if _, err := r.Peek(1); err != nil {
			return
		}
		begin := e.clock.Now()
		raw, err := readFrame(r, r)
		var f *frame
		if err == nil {
			f, err = decodeFrame(raw)
		}
		if err != nil {
			e.blame(from, err)
			return
		}
		e.wasRead(who, f, time.Duration(e.clock.Now()-begin), len(raw)+uvarintLen(len(raw)))
		if err := e.handle(from, f); err != nil {
			e.blame(from, err)
			return
		}
	}
}

// wasRead records a frame that took so long from its first byte to its last: now, or if it
// brings a part of a block as soon as handle knows of which.
func (e *engine) wasRead(from uint64, f *frame, took time.Duration, size int) {
	f.read = &trace.Event{At: e.clock.Now(), Kind: trace.MsgRead, Class: trace.ClassRelay, Peer: from, Size: uint32(size), Aux: trace.PieceAux(int64(took), f.piece())}
	if !f.carries() {
		e.record(f, common.Hash{})
	}
}

// record records that a frame of a block was read, unless it has been. An id of zeros: of none
// that was announced in time.
func (e *engine) record(f *frame, id common.Hash) {
	if f.read == nil {
		return
	}
	f.read.Hash = id
	e.hook.Emit(*f.read)
	f.read = nil
}

// blame reports a peer for bytes no honest one sends; that a stream ends is no
// offence.
func (e *engine) blame(p peer.ID, err error) {
	if errors.Is(err, chain.ErrInvalid) {
		e.net.Blame(p, err)
	}
}

func uvarintLen(n int) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}
