package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
)

// maxUnread is how many datagrams of one peer wait to be read: at 50 Mbit/s 45 ms of
// its link, and 300 KB. What does not fit is lost, as any may be.
const maxUnread = 256

// divert has the chunks for a peer go in datagrams, once it has said where it takes
// them. The mutex is held.
func (e *engine) divert(l *link, now time.Time) {
	switch {
	case l.diverted || now.Before(l.barred):
	case l.post != nil:
		l.diverted = true
		l.pace.restart()
	case !l.asked && e.packets.Port() != 0:
		l.asked = true
		l.say(&frame{kind: frameRoute, port: e.packets.Port(), query: true}, common.Hash{})
	}
}

// gotRoute takes where a peer takes datagrams. Who asks for ours sees loss on the path
// from us to it or back, and gets datagrams as well.
func (e *engine) gotRoute(l *link, f *frame) {
	send := e.packets.To(l.id, f.port)
	e.mu.Lock()
	defer e.mu.Unlock()
	if f.query && !l.answered {
		l.answered = true
		l.say(&frame{kind: frameRoute, port: e.packets.Port()}, common.Hash{})
	}
	if send == nil || l.post != nil {
		return
	}
	x := &lane{out: make(chan piece, 1), send: send}
	select {
	case e.start <- func(ctx context.Context) { e.writePost(ctx, l, x) }:
		l.post = x
		e.divert(l, time.Now())
		poke(e.pumping)
	default: // asked again by nobody: the streams stay
	}
}

// steer looks for what the datagrams to a peer have lost, and whether its chunks go
// the right way. The mutex is held.
func (e *engine) steer(l *link, now time.Time) {
	for _, f := range l.pace.lose(now) {
		e.stats.ChunksLost++
		if t := e.live[f.tag]; t != nil {
			if t.swarm.retract(l.slot, f.chunk) && t.swarm.view(l.slot).told.none() {
				delete(t.knows, l.slot) // it may lack the announcement
			}
		}
		poke(e.pumping)
	}
	d := &l.pace.drops
	switch {
	case !l.diverted:
		if l.pace.held(now, e.queue.wait()) {
			e.divert(l, now)
		}
	case l.pace.closed(now):
		l.diverted, l.barred = false, now.Add(barred)
		*d = drops{}
	case d.clean >= maxClean:
		l.diverted = false
		*d = drops{}
	}
}

// writePost writes what pump gives it in datagrams.
func (e *engine) writePost(ctx context.Context, l *link, x *lane) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.done:
			return
		case p := <-x.out:
			if p.news {
				e.postNotice(l, x.send, p.of)
			}
			if e.genuine(l, p) {
				e.mail(l, x.send, p, p.frame.slices()...)
			}
			e.mu.Lock()
			x.busy = false
			e.mu.Unlock()
			poke(e.pumping)
		}
	}
}

// postNotice sends an announcement: over its own streams, the block topic's may stand
// behind lost packets for hundreds of milliseconds. One too long for that goes by the
// topic alone.
func (e *engine) postNotice(l *link, send func([]byte), t *transfer) {
	if len(t.payload) > maxSlices*maxSlice {
		return
	}
	begin, size := e.clock.Now(), 0
	for _, b := range (&frame{tag: t.tag, chunk: notice, bytes: t.payload}).slices() {
		send(b)
		size += len(b) + e.packets.Overhead()
	}
	end := e.clock.Now()
	e.hook.Emit(trace.Event{At: end, Kind: trace.MsgWritten, Class: trace.ClassBlock, Hash: t.id, Peer: l.tag, Size: uint32(size), Aux: end - begin})
}

// gotNotice takes an announcement that came in datagrams. Its peer has found it valid,
// so only what can never be is its fault.
func (e *engine) gotNotice(l *link, f *frame, took time.Duration, size int) error {
	payload := f.bytes
	if id, ok := BlockID(payload); ok {
		e.hook.Emit(trace.Event{At: e.clock.Now(), Kind: trace.MsgRead, Class: trace.ClassBlock, Hash: id, Peer: l.tag, Size: uint32(size), Aux: int64(took)})
	}
	if unsigned := len(payload) - signatureBytes; unsigned < 0 || tag(announceHash(payload[:unsigned]).Bytes()) != f.tag {
		return fmt.Errorf("%w: announcement under another name", errFrame)
	}
	e.mu.Lock()
	t := e.live[f.tag]
	if t != nil {
		t.informed(l)
	}
	e.mu.Unlock()
	if t != nil { // looked at before: signatures take their time
		return nil
	}
	err := e.announced(Message{From: l.id, Payload: payload}, true)
	if errors.Is(err, chain.ErrInvalid) {
		return err
	}
	return nil // unknown parents and clocks are the block topic's to judge
}

// mail sends a frame in datagrams.
func (e *engine) mail(l *link, send func([]byte), p piece, datagrams ...[]byte) {
	begin, size := e.clock.Now(), 0
	for _, b := range datagrams {
		send(b)
		size += len(b) + e.packets.Overhead()
	}
	e.wrote(l, p, begin, size)
}

// mailNews sends news in a datagram, too, where chunks go so: on its stream it may
// stand behind a lost packet. It may come twice, and late, and then changes nothing;
// all but a list of all that is held, which stays on the stream.
func (e *engine) mailNews(l *link, p piece) {
	e.mu.Lock()
	post := l.post
	if !l.diverted || p.frame.kind != frameHave || p.frame.flags&flagAll != 0 {
		post = nil
	}
	e.mu.Unlock()
	if post == nil {
		return
	}
	if b := p.frame.body(); len(b) <= maxDatagram {
		e.mail(l, post.send, p, b)
	}
}

// take queues a datagram for its reader, which it starts with the first.
func (e *engine) take(from peer.ID, b []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.link(from)
	if l == nil {
		return
	}
	if l.unread == nil {
		unread := make(chan []byte, maxUnread)
		select {
		case e.start <- func(ctx context.Context) { e.readPost(ctx, l, unread) }:
			l.unread = unread
		default:
			return
		}
	}
	select {
	case l.unread <- b:
	default:
		e.stats.DatagramsDropped++
	}
}

// readPost takes a peer's datagrams until its link is gone or ctx ends.
func (e *engine) readPost(ctx context.Context, l *link, unread chan []byte) {
	var d desk
	timer := time.NewTimer(deskTime)
	defer timer.Stop()
	for {
		due := len(d.open) == 0 // nothing has set the timer
		select {
		case <-ctx.Done():
			return
		case <-l.done:
			return
		case b := <-unread:
			if err := e.readDatagram(l, &d, b); err != nil {
				e.blame(l.id, err)
			}
		case <-timer.C:
			due = true
		}
		for _, c := range d.clear(time.Now()) {
			e.readPart(l, c)
		}
		if due && len(d.open) > 0 {
			timer.Reset(time.Until(d.open[0].begun.Add(deskTime)))
		}
	}
}

// readDatagram takes one datagram.
func (e *engine) readDatagram(l *link, d *desk, b []byte) error {
	size := len(b) + e.packets.Overhead()
	if len(b) > 0 && b[0] == frameHave {
		f, err := decodeFrame(b)
		if err != nil {
			return err
		}
		e.wasRead(l.tag, f, 0, size)
		return e.handle(l.id, f)
	}
	s, err := decodeSlice(b)
	if err != nil {
		return err
	}
	now := time.Now()
	whole, c := d.add(now, s, size)
	if whole == nil {
		return nil
	}
	if s.chunk == notice {
		return e.gotNotice(l, whole, now.Sub(c.begun), c.bytes)
	}
	e.wasRead(l.tag, whole, now.Sub(c.begun), c.bytes)
	return e.handle(l.id, whole)
}

// readPart records the bytes of a chunk that never was whole.
func (e *engine) readPart(l *link, c *cut) {
	ev := trace.Event{At: e.clock.Now(), Kind: trace.MsgRead, Class: trace.ClassRelay, Peer: l.tag, Size: uint32(c.bytes), Aux: trace.PieceAux(0, trace.PieceNone)}
	e.mu.Lock()
	ev.Hash, _ = e.named(c.tag)
	e.mu.Unlock()
	e.hook.Emit(ev)
}
