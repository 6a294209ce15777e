package relay

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
)

// receiver is an engine that was told of a block by peer "a".
func receiver(t *testing.T, b *chain.Block) (*node, *engine, *transfer, [][]byte) {
	t.Helper()
	n := &node{mesh: []peer.ID{"a", "b"}}
	e := n.relay(t, "coded").(*coded).engine
	if err := e.Receive(Message{From: "a", Payload: announce(t, "coded", b)}); err != nil {
		t.Fatal(err)
	}
	chunks, err := shapeOf(len(b.TxList())).encode(b.TxList())
	if err != nil {
		t.Fatal(err)
	}
	return n, e, e.byID(b.ID()), chunks
}

func (t *transfer) frame(i int, bytes []byte, hops byte) *frame {
	return &frame{kind: frameChunk, tag: t.tag, chunk: i, hops: hops, bytes: bytes}
}

// TestChunksCompleteABlock: any chunks that suffice, in any order, with repeats.
func TestChunksCompleteABlock(t *testing.T) {
	b := sampleOf(t, 6, 8<<10)
	n, e, x, chunks := receiver(t, b)
	for i := len(chunks) - 1; i >= 0; i-- {
		for range 2 {
			if err := e.handle("b", x.frame(i, chunks[i], byte(i%5))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(n.whole) != 1 || n.whole[0].ID() != b.ID() || n.ways[0].Hops != 5 {
		t.Fatalf("completed %d blocks, %+v", len(n.whole), n.ways)
	}
	if s := e.Stats(); s.Received.Coded != 1 || s.FromChunks != 1 || s.ChunksReceived < 6 || s.ChunksReceived+s.ChunksDuplicate != uint64(2*len(chunks)) {
		t.Errorf("Stats() = %+v of %d chunks, each twice", s, len(chunks))
	}
	if v := x.tell(e.links["a"].slot); v.flags&flagDone == 0 {
		t.Error("the mesh is not told")
	}
	if c, ok := x.swarm.next(e.links["a"].slot); !ok || len(x.chunks[c]) != x.ann.shape.chunk {
		t.Errorf("a complete node gives chunk %d, %v", c, ok)
	}
}

// TestChunksBeforeTheirAnnouncement are kept, within bounds, and used.
func TestChunksBeforeTheirAnnouncement(t *testing.T) {
	b := sampleOf(t, 6, 8<<10)
	_, _, x, chunks := receiver(t, b)
	n := &node{mesh: []peer.ID{"a"}}
	e := n.relay(t, "gossip").(*gossip).engine // every relay understands every other
	read := make(map[common.Hash]int)          // by block: bytes recorded
	e.hook = func(ev trace.Event) {
		if ev.Kind == trace.MsgRead && ev.Peer == 5 {
			read[ev.Hash] += int(ev.Size)
		}
	}
	for i := range x.ann.shape.data {
		f := x.frame(i, chunks[i], 0)
		e.wasRead(5, f, 0, 1000)
		if err := e.handle("b", f); err != nil || len(read) > 0 {
			t.Fatal(err, read)
		}
	}
	if err := e.Receive(Message{From: "a", Payload: announce(t, "coded", b)}); err != nil || len(n.whole) != 1 {
		t.Fatalf("Receive() = %v, %d blocks", err, len(n.whole))
	}
	if len(read) != 1 || read[x.id] != 1000*x.ann.shape.data {
		t.Errorf("%v bytes recorded of %d early chunks of block %s", read, x.ann.shape.data, x.id)
	}
	for i := range 10_000 {
		f := &frame{kind: frameChunk, tag: tag{9, byte(i)}, bytes: make([]byte, 4<<10)}
		e.wasRead(5, f, 0, 1)
		if err := e.handle("c", f); err != nil {
			t.Fatal(err)
		}
	}
	if e.early.bytes > earlyPerPeer || e.early.bytes == 0 {
		t.Errorf("%d bytes are kept for one peer", e.early.bytes)
	}
	if wait := len(e.early.order); read[common.Hash{}] != 10_000-wait || !e.expire(time.Now()) {
		t.Errorf("%d recorded as of no block, %d wait", read[common.Hash{}], wait)
	}
	if e.expire(time.Now().Add(2*earlyTime)) || read[common.Hash{}] != 10_000 || e.early.bytes != 0 || len(e.early.by) != 0 {
		t.Errorf("%d recorded in the end, %d bytes are kept", read[common.Hash{}], e.early.bytes)
	}
}

// TestBadChunks: what cannot be is the sender's fault, and nothing else is.
func TestBadChunks(t *testing.T) {
	_, e, x, chunks := receiver(t, sampleOf(t, 6, 8<<10))
	for name, f := range map[string]*frame{
		"another chunk":             x.frame(1, chunks[0], 0),
		"a short one":               x.frame(0, chunks[0][:64], 0),
		"a number beyond":           x.frame(len(chunks), chunks[0], 0),
		"news of one beyond":        {kind: frameHave, tag: x.tag, held: []int{len(chunks)}},
		"an acknowledgement beyond": {kind: frameHave, tag: x.tag, acks: []int{1 << 15}},
	} {
		if err := e.handle("b", f); !errors.Is(err, chain.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, f := range map[string]*frame{
		"a good one":                              x.frame(0, chunks[0], 0),
		"the same again":                          x.frame(0, chunks[0], 0),
		"news of what it cannot have, perhaps":    {kind: frameHave, tag: x.tag, held: []int{len(chunks) - 1}},
		"an acknowledgement of what was not sent": {kind: frameHave, tag: x.tag, acks: []int{2}},
		"asking for all":                          {kind: frameHave, tag: x.tag, flags: flagAll | flagWant | flagStarved},
	} {
		if err := e.handle("b", f); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTwoRoots: of two announcements of one block the first counts, and nobody is
// blamed for the second; of the blocks of one slot the first is relayed, the second
// followed.
func TestTwoRoots(t *testing.T) {
	b := sampleOf(t, 6, 8<<10)
	_, e, x, _ := receiver(t, b)
	a := &announcement{kind: kindCoded, body: x.ann.body}
	a.body.Leaves = make([]byte, len(x.ann.body.Leaves))
	second, err := a.encode((&node{}).Sign)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Receive(Message{From: "b", Payload: second}); !errors.Is(err, chain.ErrKnown) {
		t.Errorf("another root of the same block: %v", err)
	}
	if err := e.Receive(Message{From: "b", Payload: announce(t, "coded", sampleOf(t, 7, 8<<10))}); !errors.Is(err, chain.ErrSecondBlock) {
		t.Errorf("another block of the slot: %v", err)
	}
	if err := e.Receive(Message{From: "b", Payload: announce(t, "coded", sampleOf(t, 8, 8<<10))}); !errors.Is(err, chain.ErrEquivocation) || len(e.live) != 2 {
		t.Errorf("a third block of the slot: %v, %d live", err, len(e.live))
	}
}

// TestChunksThatAreNotTheBlock: a proposer that signs chunks of something else
// gets its block fetched whole, and no forwarder is blamed.
func TestChunksThatAreNotTheBlock(t *testing.T) {
	b, other := sampleOf(t, 6, 8<<10), sampleOf(t, 6, 8<<10)
	list := append([]byte(nil), other.TxList()...)
	list[len(list)-1] ^= 1
	n := &node{mesh: []peer.ID{"a", "b"}}
	e := n.relay(t, "coded").(*coded).engine
	shape := shapeOf(len(list))
	chunks, err := shape.encode(list)
	if err != nil {
		t.Fatal(err)
	}
	a := &announcement{kind: kindCoded, body: announced{Header: b.SignedHeader.Encode(), Push: true, Size: uint64(len(list)), Leaves: leavesOf(chunks)}}
	payload, err := a.encode(n.Sign)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Receive(Message{From: "a", Payload: payload}); err != nil {
		t.Fatal(err)
	}
	x := e.byID(b.ID())
	for i := range shape.data {
		if err := e.handle("b", x.frame(i, chunks[i], 0)); err != nil {
			t.Fatalf("chunk %d: %v", i, err)
		}
	}
	if len(n.whole) != 0 || !x.failed {
		t.Fatalf("%d blocks, failed %v", len(n.whole), x.failed)
	}
	if fetch, _ := e.review(time.Now().Add(time.Second)); len(fetch) != 1 || fetch[0] != x {
		t.Errorf("review() = %v, want the block to be fetched", fetch)
	}
	e.Taken(b)
	if x.block != nil {
		t.Error("chunks of another block are given to others")
	}
}

// TestWithheldChunks: where nothing comes, peers are asked, others each time, and
// in the end the whole block is fetched from one that has it.
func TestWithheldChunks(t *testing.T) {
	_, e, x, _ := receiver(t, sampleOf(t, 6, 8<<10))
	if err := e.handle("b", &frame{kind: frameHave, tag: x.tag, flags: flagDone}); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for range maxAsks {
		now = now.Add(time.Second)
		if fetch, _ := e.review(now); len(fetch) != 0 {
			t.Fatal("fetched at once")
		}
		n := x.tell(e.links["b"].slot)
		if n.flags != flagWant|flagStarved|flagAll {
			t.Fatalf("flags %b", n.flags)
		}
		*n = news{}
	}
	if fetch, _ := e.review(now.Add(time.Second)); len(fetch) != 1 || e.giver(x) != "b" {
		t.Fatalf("review() = %v, from %q", fetch, e.giver(x))
	}
	if _, busy := e.review(now.Add(time.Hour)); busy {
		t.Error("the transfer lives for ever")
	}
}

// TestGreedyPeers: who asks for everything again and again gets it twice, who
// repeats itself and does not listen fills nothing.
func TestGreedyPeers(t *testing.T) {
	_, e, x, chunks := receiver(t, sampleOf(t, 6, 8<<10))
	for i, c := range chunks {
		if err := e.handle("a", x.frame(i, c, 0)); err != nil {
			t.Fatal(err)
		}
	}
	slot, sent := e.links["b"].slot, 0
	for range 10 {
		if err := e.handle("b", &frame{kind: frameHave, tag: x.tag, flags: flagAll | flagWant | flagStarved}); err != nil {
			t.Fatal(err)
		}
		for _, ok := x.swarm.next(slot); ok; _, ok = x.swarm.next(slot) {
			sent++
		}
	}
	if sent != maxGiven*x.swarm.total {
		t.Errorf("%d chunks sent of %d", sent, x.swarm.total)
	}
	for range 5000 {
		if err := e.handle("b", x.frame(0, chunks[0], 0)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(x.tell(slot).acks); n > x.swarm.total {
		t.Errorf("%d acknowledgements wait", n)
	}
}

// TestEarlyFramesOfManyPeers: each within its share, together they exceed what is kept of all: the oldest go, and are
// recorded as of no block.
func TestEarlyFramesOfManyPeers(t *testing.T) {
	const peers = 17
	e := (&node{}).relay(t, "coded").(*coded).engine
	lost := 0
	e.hook = func(ev trace.Event) { lost++ }
	body := make([]byte, 4<<10)
	cost := (&frame{bytes: body}).cost()
	for p := range peers {
		for i := range earlyPerPeer / cost {
			f := &frame{kind: frameChunk, tag: tag{9, byte(p)}, chunk: i, bytes: body}
			f.read = &trace.Event{}
			if err := e.handle(peer.ID(rune('a'+p)), f); err != nil {
				t.Fatal(err)
			}
			if e.early.bytes > earlyBytes || e.early.bytes != len(e.early.order)*cost {
				t.Fatalf("%d bytes of %d early frames are kept, want at most %d", e.early.bytes, len(e.early.order), earlyBytes)
			}
		}
	}
	kept := earlyBytes / cost
	if given := peers * (earlyPerPeer / cost); len(e.early.order) != kept || lost != given-kept || lost == 0 {
		t.Errorf("%d frames kept and %d lost of %d, want %d kept", len(e.early.order), lost, given, kept)
	}
	share := earlyPerPeer / cost
	if first, last := e.early.by["a"], e.early.by[peer.ID(rune('a'+peers-1))]; first != (share-lost)*cost || last != share*cost {
		t.Errorf("%d bytes of the first peer and %d of the last are kept, want the first to have lost all %d frames", first, last, lost)
	}
}

// TestLinksAreBounded: no more than maxLinks peers are talked to. What others send is nothing and nobody's fault, and who
// goes makes room.
func TestLinksAreBounded(t *testing.T) {
	b := sampleOf(t, 6, 8<<10)
	n, e, x, chunks := receiver(t, b)
	who := func(i int) peer.ID { return peer.ID(fmt.Sprint("peer ", i)) }
	say := func(i int) {
		t.Helper()
		for _, f := range []*frame{
			x.frame(0, chunks[0], 0), x.frame(1, chunks[0], 0), {kind: frameHave, tag: x.tag, flags: flagWant},
			{kind: frameRoute, port: 7, query: true}, {kind: frameChunk, tag: tag{9}, bytes: chunks[0]},
		} {
			_ = e.handle(who(i), f) // the second chunk is wrong
		}
		e.take(who(i), []byte{frameHave})
		for len(e.start) > 0 { // as Run does
			<-e.start
		}
	}
	for i := range maxLinks + 5 {
		say(i)
	}
	if len(e.links) != maxLinks || len(e.ring) != maxLinks || len(x.swarm.views) > maxLinks || len(e.early.by) > maxLinks {
		t.Fatalf("%d links, %d in turn, %d views; want at most %d", len(e.links), len(e.ring), len(x.swarm.views), maxLinks)
	}
	if e.links[who(maxLinks)] != nil || e.early.by[who(maxLinks)] != 0 || len(n.blamed) != 0 {
		t.Errorf("one too many has a link, or frames are kept for it, or is blamed: %q", n.blamed)
	}
	e.unlink(e.links[who(0)])
	if say(maxLinks); e.links[who(maxLinks)] == nil || len(e.links) != maxLinks || len(e.ring) != maxLinks {
		t.Errorf("%d links after one went and one came, %d in turn", len(e.links), len(e.ring))
	}
}

// TestManyBlocksAreBounded: no more than maxLive are followed.
func TestManyBlocksAreBounded(t *testing.T) {
	n := &node{mesh: []peer.ID{"a"}}
	e := n.relay(t, "coded").(*coded).engine
	for i := range 3 * maxLive {
		a := &announcement{header: sample(t, 1).SignedHeader, shape: shapeOf(1000)}
		x := newTransfer(a, "a", 3, 1, time.Now())
		x.tag = tag{byte(i)}
		e.mu.Lock()
		e.enter(x)
		e.mu.Unlock()
	}
	if len(e.live) != maxLive || len(e.order) != maxLive {
		t.Fatalf("%d and %d live", len(e.live), len(e.order))
	}
	var s = newSlotCount()
	for i := range uint64(3 * maxSlots) {
		s.add(i, [32]byte{1})
	}
	if len(s.by) > maxSlots || len(s.slots) > maxSlots {
		t.Fatalf("%d slots remembered", len(s.by))
	}
}
