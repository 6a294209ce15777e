package relay

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
)

// mail is Packets that keeps what is sent.
type mail struct{ sent [][]byte }

func (m *mail) Port() uint16                      { return 7 }
func (m *mail) Take(func(from peer.ID, b []byte)) {}
func (m *mail) Overhead() int                     { return 26 }
func (m *mail) To(_ peer.ID, port uint16) func([]byte) {
	if port == 0 {
		return nil
	}
	return func(b []byte) { m.sent = append(m.sent, b) }
}

// posted is an engine that heard of a block from a, and has datagrams.
func posted(t *testing.T) (*node, *engine, *transfer, [][]byte, *mail) {
	t.Helper()
	b := sampleOf(t, 6, 8<<10)
	n, e, x := told(t, b, announce(t, "coded", b))
	m := &mail{}
	e.packets = m
	chunks, err := x.ann.shape.encode(b.TxList())
	if err != nil {
		t.Fatal(err)
	}
	return n, e, x, chunks, m
}

// TestRoute: a peer is told once where datagrams are taken, however often it asks, and
// gets its chunks in them when it has told the same.
func TestRoute(t *testing.T) {
	_, e, x, chunks, _ := posted(t)
	for range 100 {
		if err := e.handle("b", &frame{kind: frameRoute, tag: tag{9}, port: 8, query: true}); err != nil {
			t.Fatal(err)
		}
	}
	l := e.links["b"]
	if len(l.urgent) != 1 || l.urgent[0].frame.kind != frameRoute || l.urgent[0].frame.port != 7 || l.urgent[0].frame.query {
		t.Fatalf("answered %d times", len(l.urgent))
	}
	if !l.diverted || l.post == nil || e.early.bytes > 0 {
		t.Fatal("datagrams are not used, or what they are for is kept as if of a block")
	}
	if err := e.handle("a", x.frame(0, chunks[0], 0)); err != nil {
		t.Fatal(err)
	}
	for range 100 { // to a, who brought it, it does not go
		if lane, p, _ := e.pick(time.Now().Add(time.Hour)); lane != nil && (lane != l.post || p.frame.chunk != 0) {
			t.Fatalf("chunk %d goes by %v", p.frame.chunk, lane)
		}
	}
	if e.stats.ChunksPosted != 1 || e.stats.ChunksSent != 1 {
		t.Errorf("%d of %d chunks in datagrams", e.stats.ChunksPosted, e.stats.ChunksSent)
	}
	if err := e.handle("a", &frame{kind: frameRoute, port: 0}); err != nil || e.links["a"].diverted {
		t.Errorf("datagrams to one that takes none: %v", err)
	}
}

// TestDivert: a chunk held up on a stream has its peer asked once where it takes
// datagrams; where they lose nothing for long, or all, chunks go over streams again.
func TestDivert(t *testing.T) {
	_, e, x, _, _ := posted(t)
	now := time.Now()
	l := e.links["b"]
	at := func(d time.Duration) time.Time { return now.Add(d) }
	stream := &lane{}
	l.pace.sent(flying{tag: x.tag, chunk: 1, bytes: 1, lane: stream, at: now})
	l.pace.acked(at(100*time.Millisecond), x.tag, 1)
	l.pace.sent(flying{tag: x.tag, chunk: 2, bytes: 1, lane: stream, at: now})
	for range 3 {
		e.steer(l, at(150*time.Millisecond))
	}
	if len(l.urgent) > 0 {
		t.Fatal("asked before anything was late")
	}
	for range 3 {
		e.steer(l, at(250*time.Millisecond))
	}
	if len(l.urgent) != 1 || !l.urgent[0].frame.query || l.diverted {
		t.Fatalf("asked %d times", len(l.urgent))
	}
	if err := e.handle("b", &frame{kind: frameRoute, port: 8}); err != nil || !l.diverted {
		t.Fatalf("datagrams are not used: %v", err)
	}
	for i := range maxClean {
		if !l.diverted {
			t.Fatalf("streams again after %d chunks", i)
		}
		l.pace.drops.arrived(now)
		e.steer(l, at(200*time.Millisecond))
	}
	if l.diverted {
		t.Fatal("datagrams though nothing is lost")
	}
	if e.steer(l, at(300*time.Millisecond)); !l.diverted || len(l.urgent) != 1 {
		t.Fatal("the way that is known is not taken, or asked for again")
	}
	for c := range maxVain {
		x.swarm.give(l.slot, c)
		l.pace.sent(flying{tag: x.tag, chunk: c, bytes: 1, lane: l.post, datagram: true, at: now})
	}
	if e.steer(l, at(time.Minute)); l.diverted || e.stats.ChunksLost != maxVain {
		t.Fatalf("datagrams though none arrives: %d given up", e.stats.ChunksLost)
	}
	if x.swarm.view(l.slot).has.get(0) || x.swarm.sent[0] != 0 {
		t.Error("a lost chunk counts as sent")
	}
	if e.steer(l, at(time.Minute+barred/2)); l.diverted {
		t.Error("a way that was closed is tried again at once")
	}
	if e.steer(l, at(time.Minute+2*barred)); !l.diverted {
		t.Error("a way that was closed is never tried again")
	}
}

// TestNotice: the first chunk in datagrams has the announcement before it, where the peer
// has shown nothing that says it has it; there it begins the transfer as the block topic
// would, which passes it on when its own copy comes, once.
func TestNotice(t *testing.T) {
	b := sampleOf(t, 6, 8<<10)
	fresh := func() (*node, *engine, *mail) {
		n, m := &node{mesh: []peer.ID{"b"}}, &mail{}
		e := n.relay(t, "coded").(*coded).engine
		e.packets = m
		if err := e.handle("b", &frame{kind: frameRoute, port: 8}); err != nil {
			t.Fatal(err)
		}
		return n, e, m
	}
	n, e, m := fresh()
	if err := (&coded{e}).Publish(b); err != nil {
		t.Fatal(err)
	}
	l := e.links["b"]
	lane, p, _ := e.pick(time.Now())
	if lane != l.post || !p.news {
		t.Fatalf("the first chunk goes by %v, with the announcement: %v", lane, p.news)
	}
	e.postNotice(l, lane.send, p.of)
	e.mail(l, lane.send, p, p.frame.slices()...)
	lane.busy = false
	if lane, p, _ := e.pick(time.Now().Add(time.Hour)); lane != l.post || p.news {
		t.Fatal("the second chunk has the announcement before it, too")
	}
	e.steer(l, time.Now().Add(time.Hour)) // all are lost, and b has said nothing
	lane.busy = false
	if _, p, _ := e.pick(time.Now().Add(2 * time.Hour)); !p.news {
		t.Error("the announcement does not go again")
	}

	far, other, _ := fresh()
	var d desk
	feed := func() {
		for _, raw := range m.sent {
			if err := other.readDatagram(other.links["b"], &d, raw); err != nil {
				t.Fatal(err)
			}
		}
	}
	feed()
	x := other.byID(b.ID())
	if x == nil || x.swarm.count != 1 || x.from != "b" {
		t.Fatalf("the transfer is %+v", x)
	}
	feed()
	msg := Message{From: "a", Payload: n.sent[0]}
	if err := other.Receive(msg); err != nil {
		t.Errorf("the block topic does not pass it on: %v", err)
	}
	if err := other.Receive(msg); !errors.Is(err, chain.ErrKnown) {
		t.Errorf("the block topic passes it on twice: %v", err)
	}
	if len(far.blamed) > 0 || len(far.sent) > 0 || far.checked != 1 {
		t.Errorf("blamed %q, published %d messages, checked its header %d times", far.blamed, len(far.sent), far.checked)
	}
}

// TestHostileDatagrams: what cannot be is its sender's fault, what is merely too much is
// dropped, and what comes again changes nothing.
func TestHostileDatagrams(t *testing.T) {
	slicesOf := func(x *transfer, i int, bytes []byte) [][]byte { return x.frame(i, bytes, 0).slices() }
	for _, c := range []struct {
		name   string
		say    func(x *transfer, c [][]byte) [][]byte
		guilty bool
	}{
		{"nothing", func(*transfer, [][]byte) [][]byte { return [][]byte{{}} }, true},
		{"a stream's frame", func(x *transfer, c [][]byte) [][]byte { return [][]byte{x.frame(0, c[0], 0).body()} }, true},
		{"a slice beyond", func(x *transfer, c [][]byte) [][]byte {
			b := slicesOf(x, 0, c[0])[0]
			b[sliceHeader-2] = b[sliceHeader-1]
			return [][]byte{b}
		}, true},
		{"more slices than a chunk has", func(x *transfer, c [][]byte) [][]byte {
			b := slicesOf(x, 0, c[0])[0]
			b[sliceHeader-1] = maxSlices + 1
			return [][]byte{b}
		}, true},
		{"a slice too long", func(x *transfer, c [][]byte) [][]byte {
			return [][]byte{append(slicesOf(x, 0, c[0])[0], make([]byte, maxSlice)...)}
		}, true},
		{"another chunk", func(x *transfer, c [][]byte) [][]byte { return slicesOf(x, 0, c[1]) }, true},
		{"a chunk too short", func(x *transfer, c [][]byte) [][]byte { return slicesOf(x, 0, c[0][:100]) }, true},
		{"a chunk beyond", func(x *transfer, c [][]byte) [][]byte { return slicesOf(x, x.swarm.total, c[0]) }, true},
		{"news beyond", func(x *transfer, _ [][]byte) [][]byte {
			return [][]byte{(&frame{kind: frameHave, tag: x.tag, held: []int{x.swarm.total}}).body()}
		}, true},
		{"another block's announcement", func(x *transfer, _ [][]byte) [][]byte {
			return (&frame{tag: x.tag, chunk: notice, bytes: announce(t, "coded", sampleOf(t, 5, 8<<10))}).slices()
		}, true},
		{"an announcement nobody signed", func(_ *transfer, _ [][]byte) [][]byte {
			p := announce(t, "coded", sampleOf(t, 5, 8<<10))
			p[len(p)-2] ^= 1
			return (&frame{tag: tag(announceHash(p[:len(p)-signatureBytes]).Bytes()), chunk: notice, bytes: p}).slices()
		}, true},
		{"less than an announcement", func(x *transfer, _ [][]byte) [][]byte {
			return (&frame{tag: x.tag, chunk: notice, bytes: []byte{1}}).slices()
		}, true},
		{"the announcement that is known", func(x *transfer, _ [][]byte) [][]byte {
			return slices.Repeat((&frame{tag: x.tag, chunk: notice, bytes: x.payload}).slices(), 100)
		}, false},
		{"the same for ever", func(x *transfer, c [][]byte) [][]byte {
			return slices.Repeat(slicesOf(x, 0, c[0]), 100)
		}, false},
		{"the first slices of a block nobody announced", func(_ *transfer, c [][]byte) (out [][]byte) {
			for i := range 1 << 12 {
				out = append(out, (&frame{kind: frameChunk, tag: tag{7, byte(i >> 8)}, chunk: i, bytes: c[0]}).slices()[0])
			}
			return out
		}, false},
		{"chunks of a block nobody announced", func(_ *transfer, c [][]byte) (out [][]byte) {
			for i := range 256 {
				out = append(out, (&frame{kind: frameChunk, tag: tag{7}, chunk: i, bytes: c[0]}).slices()...)
			}
			return out
		}, false},
	} {
		n, e, x, chunks, _ := posted(t)
		read := 0
		e.hook = func(ev trace.Event) {
			if ev.Kind == trace.MsgRead {
				read += int(ev.Size)
			}
		}
		l, sum := e.links["b"], 0
		var d desk
		for _, b := range slices.Concat(slicesOf(x, 2, chunks[2]), c.say(x, chunks)) {
			if err := e.readDatagram(l, &d, bytes.Clone(b)); err != nil {
				e.blame("b", err)
			} else {
				sum += len(b) + 26
			}
			for _, off := range d.clear(time.Now()) {
				e.readPart(l, off)
			}
			if d.bytes > deskBytes {
				t.Fatalf("%s: %d bytes on the desk", c.name, d.bytes)
			}
		}
		if c.guilty != (len(n.blamed) == 1 && n.blamed[0] == "b") || len(n.blamed) > 1 || !x.swarm.have.get(2) {
			t.Errorf("%s: blamed %q, read %v", c.name, n.blamed, x.swarm.have.get(2))
		}
		if e.early.bytes > earlyPerPeer || len(x.tell(l.slot).acks) > x.swarm.total {
			t.Errorf("%s: %d bytes are kept for it and %d acknowledgements", c.name, e.early.bytes, len(x.tell(l.slot).acks))
		}
		e.expire(time.Now().Add(2 * earlyTime))
		if wait := d.bytes - cutCost*len(d.open); !c.guilty && read+wait != sum {
			t.Errorf("%s: %d bytes came, %d recorded and %d wait", c.name, sum, read, wait)
		}
	}
}

// TestLoneSlice: a slice is recorded when its time is over, though nothing comes after it and
// nothing came for long before; so is a chunk of a block that is over.
func TestLoneSlice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, e, x, chunks, _ := posted(t)
		read := make(chan trace.Event, 1)
		e.hook = func(ev trace.Event) { read <- ev }
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		unread := make(chan []byte)
		go e.readPost(ctx, e.links["b"], unread)
		time.Sleep(10 * deskTime)
		unread <- x.frame(0, chunks[0], 0).slices()[0]
		start := time.Now()
		if ev := <-read; ev.Hash != x.id || ev.Size < maxSlice/2 || time.Since(start) != deskTime {
			t.Errorf("%+v after %v", ev, time.Since(start))
		}
		e.mu.Lock()
		e.drop(x)
		e.mu.Unlock()
		for _, b := range x.frame(1, chunks[1], 0).slices() {
			unread <- b
		}
		if ev := <-read; ev.Hash != x.id || int(ev.Size) < len(chunks[1]) {
			t.Errorf("%+v of a block that is over", ev)
		}
	})
}

// TestUnreadDatagrams: a peer's datagrams wait up to a bound, and are counted beyond it.
func TestUnreadDatagrams(t *testing.T) {
	_, e, _, _, _ := posted(t) // nobody runs its readers
	for range maxUnread + 5 {
		e.take("b", []byte{frameSlice})
	}
	e.take("a", []byte{frameSlice})
	if n := len(e.links["b"].unread); n != maxUnread || e.stats.DatagramsDropped != 5 || len(e.links["a"].unread) != 1 {
		t.Errorf("%d wait, %d were dropped", n, e.stats.DatagramsDropped)
	}
}
