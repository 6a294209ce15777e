package relay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
)

// bent is what a proposer signs that does not keep to the rules: the announcement of
// a relay for a block, changed.
func bent(t testing.TB, payload []byte, change func(*announced)) []byte {
	t.Helper()
	a, err := decodeAnnouncement(payload, 4<<20)
	if err != nil {
		t.Fatal(err)
	}
	b := &announcement{kind: a.kind, body: a.body}
	b.body.Leaves, b.body.IDs, b.body.Sizes = bytes.Clone(a.body.Leaves), bytes.Clone(a.body.IDs), bytes.Clone(a.body.Sizes)
	change(&b.body)
	out, err := b.encode((&node{}).Sign)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// told is an engine with peers a and b that heard of a block from a.
func told(t *testing.T, b *chain.Block, payload []byte, pooled ...int) (*node, *engine, *transfer) {
	t.Helper()
	n := &node{mesh: []peer.ID{"a", "b"}, pool: make(map[common.Hash]*chain.Tx)}
	for _, i := range pooled {
		n.pool[b.Txs()[i].Hash()] = b.Txs()[i]
	}
	e := n.relay(t, "coded").(*coded).engine
	if err := e.Receive(Message{From: "a", Payload: payload}); err != nil {
		t.Fatal(err)
	}
	return n, e, e.byID(b.ID())
}

// toldAll is an engine that put a block of 40 transactions together from its pool, and the places of them all.
func toldAll(t *testing.T) (*engine, *transfer, []int) {
	t.Helper()
	b := sampleOf(t, 40, 10<<10)
	var all []int
	for i := range b.Txs() {
		all = append(all, i)
	}
	_, e, x := told(t, b, announceCompact(t, b), all...)
	if x.block == nil {
		t.Fatal("not complete")
	}
	return e, x, all
}

// sends writes what a lane of a peer would, and returns the chunks.
func (e *engine) sends(t *testing.T, p peer.ID) (out []*frame) {
	t.Helper()
	for range 4 * 512 {
		x, piece, _ := e.pick(time.Now().Add(time.Hour))
		if x == nil {
			return out
		}
		x.busy = false
		for _, l := range e.links {
			if slices.Contains(l.lanes, x) && e.genuine(l, piece) && l.id == p {
				out = append(out, piece.frame)
			}
			l.pace.acked(time.Now(), piece.of.tag, piece.frame.chunk)
		}
	}
	t.Fatal("it sends for ever")
	return nil
}

// TestTwoRootsOfOneBlock: a proposer tells one half of the network other chunks than
// the other. Who follows the first root gets no bytes of the second for its own, and
// no honest neighbour is blamed for passing on what it heard.
func TestTwoRootsOfOneBlock(t *testing.T) {
	b := sampleOf(t, 6, 8<<10)
	first := announce(t, "coded", b)
	second := bent(t, first, func(a *announced) { a.Leaves[0] ^= 1; a.Leaves[leafBytes+3] ^= 1 })
	n, e, x := told(t, b, first)
	_, _, y := told(t, b, second)
	if err := e.Receive(Message{From: "b", Payload: second}); !errors.Is(err, chain.ErrKnown) {
		t.Fatalf("the second root: %v, want that the block is known", err)
	}
	chunk := make([]byte, y.ann.shape.chunk) // of the second root, which only its proposer has
	for range 100 {
		if err := e.handle("b", y.frame(0, chunk, 0)); err != nil {
			t.Fatalf("a chunk of the other root: %v", err)
		}
		if err := e.handle("b", &frame{kind: frameHave, tag: y.tag, flags: flagDone | flagAll | flagWant}); err != nil {
			t.Fatalf("news of the other root: %v", err)
		}
	}
	if len(n.blamed) != 0 || x.swarm.count != 0 || e.early.bytes > earlyPerPeer {
		t.Errorf("%d blamed, %d chunks held, %d bytes kept", len(n.blamed), x.swarm.count, e.early.bytes)
	}
	chunks, err := x.ann.shape.encode(b.TxList())
	if err != nil {
		t.Fatal(err)
	}
	for i := range x.ann.shape.data {
		if err := e.handle("b", x.frame(i, chunks[i], 0)); err != nil {
			t.Fatal(err)
		}
	}
	if len(n.whole) != 1 {
		t.Errorf("%d blocks complete", len(n.whole))
	}
}

// TestWrongHashesOfARightBlock: a proposer signs hashes some of which are not those
// of the block's chunks. Who has the block gives no chunk that its peers would have
// to blame it for.
func TestWrongHashesOfARightBlock(t *testing.T) {
	b := sampleOf(t, 6, 8<<10)
	payload := bent(t, announce(t, "coded", b), func(a *announced) { a.Leaves[5*leafBytes] ^= 1 })
	for name, complete := range map[string]func(*engine, *transfer){
		"fetched": func(e *engine, _ *transfer) { e.Taken(b) },
		"decoded": func(e *engine, x *transfer) {
			chunks, err := x.ann.shape.encode(b.TxList())
			if err != nil {
				t.Fatal(err)
			}
			for i, c := range chunks {
				if i != 5 {
					if err := e.handle("a", x.frame(i, c, 0)); err != nil {
						t.Fatal(err)
					}
				}
			}
		},
	} {
		_, e, x := told(t, b, payload)
		complete(e, x)
		if x.block == nil {
			t.Fatalf("%s: not complete", name)
		}
		if err := e.handle("b", &frame{kind: frameHave, tag: x.tag, flags: flagWant | flagStarved | flagAll}); err != nil {
			t.Fatal(err)
		}
		sent := e.sends(t, "b")
		_, other, y := told(t, b, payload)
		for _, f := range sent {
			if err := other.handle("a", y.frame(f.chunk, f.bytes, 0)); err != nil {
				t.Errorf("%s: chunk %d: %v", name, f.chunk, err)
			}
		}
	}
}

// TestWrongIDsOfARightBlock: a proposer describes transactions that the block has
// not, more of them than there are. Who has the block answers no question with what
// the asker must blame it for, and asking does not bring it down.
func TestWrongIDsOfARightBlock(t *testing.T) {
	b := sampleOf(t, 6, 8<<10)
	good := announceCompact(t, b)
	for name, change := range map[string]func(*announced){
		"another id": func(a *announced) { a.IDs[2*shortBytes] ^= 1 },
		"more transactions than there are": func(a *announced) {
			a.IDs = append(a.IDs, 1, 2, 3, 4, 5, 6)
			sizes, last := []byte(nil), 0
			for s := a.Sizes; len(s) > 0; {
				v, used := binary.Uvarint(s)
				sizes, last, s = append(sizes, s[:used]...), int(v), s[used:]
				if len(s) == 0 { // the last in two, whose strings are as long as its one
					sizes = sizes[:len(sizes)-used]
				}
			}
			a.Sizes = binary.AppendUvarint(binary.AppendUvarint(sizes, 1000), uint64(last-1000-3))
		},
	} {
		payload := bent(t, good, change)
		n, e, x := told(t, b, payload)
		e.Taken(b)
		if x.block == nil {
			t.Fatalf("%s: not complete", name)
		}
		var all []int
		for i := range x.ann.parts {
			all = append(all, i)
		}
		if err := e.handle("b", &frame{kind: frameAsk, tag: x.tag, asked: all}); err != nil {
			t.Fatal(err)
		}
		_, other, y := told(t, b, payload)
		other.mu.Lock()
		other.ask(y, "a")
		other.mu.Unlock()
		answers := 0
		for f := e.next("b"); f != nil; f = e.next("b") {
			answers += len(f.txs)
			if f.kind == frameTxs {
				if err := other.handle("a", f); err != nil {
					t.Errorf("%s: the answer: %v", name, err)
				}
			}
		}
		if answers < 5 || len(n.blamed) != 0 {
			t.Errorf("%s: %d answers, %d blamed", name, answers, len(n.blamed))
		}
	}
}

// TestDuplicateIDs: a proposer gives two transactions one id. Its block comes in
// chunks, and nobody is blamed.
func TestDuplicateIDs(t *testing.T) {
	b := sampleOf(t, 6, 8<<10)
	payload := bent(t, announceCompact(t, b), func(a *announced) { copy(a.IDs[shortBytes:2*shortBytes], a.IDs) })
	n, e, x := told(t, b, payload, 0, 1, 2, 3, 4, 5)
	if x.block != nil || !x.wanted {
		t.Fatalf("complete %v, chunks asked for %v", x.block != nil, x.wanted)
	}
	chunks, err := x.ann.shape.encode(b.TxList())
	if err != nil {
		t.Fatal(err)
	}
	for i := len(chunks) - 1; i >= 0; i-- {
		if err := e.handle("b", x.frame(i, chunks[i], 0)); err != nil {
			t.Fatal(err)
		}
	}
	if len(n.whole) != 1 || n.whole[0].ID() != b.ID() || len(n.blamed) != 0 {
		t.Errorf("%d blocks, %d blamed", len(n.whole), len(n.blamed))
	}
}

// TestPrefillOverflow: who announces more bytes of transactions than belong there
// makes every node carry them before anything is checked: it is refused.
func TestPrefillOverflow(t *testing.T) {
	b := sampleOf(t, 20, 1<<10)
	payload := bent(t, announceCompact(t, b), func(a *announced) {
		for i, x := range b.Txs() {
			a.Prefilled = append(a.Prefilled, prefilled{uint64(i), x.Raw()})
		}
	})
	if _, err := decodeAnnouncement(payload, 4<<20); !errors.Is(err, ErrMessage) {
		t.Errorf("the whole block in its announcement: %v", err)
	}
}

// TestLyingBitmaps: a peer says that it has all and gives nothing, another that it has
// nothing and takes all. The others are asked as well, the block comes, and the node
// gives the taker no more than twice, and nothing to who has said that it needs no more.
func TestLyingBitmaps(t *testing.T) {
	b := sampleOf(t, 6, 8<<10)
	n, e, x := told(t, b, announce(t, "coded", b))
	for range 50 {
		if err := e.handle("a", &frame{kind: frameHave, tag: x.tag, flags: flagDone | flagAll, acks: []int{0, 1, 2, 3}, held: []int{4, 5}}); err != nil {
			t.Fatal(err)
		}
	}
	e.review(time.Now().Add(time.Second))
	asked := x.tell(e.links["b"].slot)
	if asked.flags&flagStarved == 0 {
		t.Errorf("only the liar is asked: b hears %b", asked.flags)
	}
	chunks, err := x.ann.shape.encode(b.TxList())
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range chunks {
		if err := e.handle("b", x.frame(i, c, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if len(n.whole) != 1 {
		t.Fatalf("%d blocks", len(n.whole))
	}
	given := map[peer.ID]int{}
	for range 20 {
		for _, p := range []peer.ID{"a", "c"} {
			if err := e.handle(p, &frame{kind: frameHave, tag: x.tag, flags: flagAll | flagWant | flagStarved}); err != nil {
				t.Fatal(err)
			}
			given[p] += len(e.sends(t, p))
		}
	}
	if given["a"] > 0 || given["c"] == 0 || given["c"] > maxGiven*x.swarm.total || len(n.blamed) != 0 {
		t.Errorf("%v chunks given of %d, %d blamed", given, x.swarm.total, len(n.blamed))
	}
}

// TestRequestsForEverything: who asks for all transactions over and over has each
// once, and what waits for it is no more than the block.
func TestRequestsForEverything(t *testing.T) {
	e, x, all := toldAll(t)
	for range 1000 {
		if err := e.handle("b", &frame{kind: frameAsk, tag: x.tag, asked: all}); err != nil {
			t.Fatal(err)
		}
	}
	times, waiting := map[int]int{}, 0
	for _, p := range e.links["b"].urgent {
		for _, a := range p.frame.txs {
			times[a.index]++
			waiting += len(a.raw)
		}
	}
	if len(times) != len(all) || waiting > x.block.Size() {
		t.Errorf("%d of %d transactions wait, %d bytes of %d", len(times), len(all), waiting, x.block.Size())
	}
	// A question that cannot be answered is parked once, however often it is put.
	_, e, x = told(t, x.block, announceCompact(t, x.block), all[:38]...)
	for range 1000 {
		if err := e.handle("b", &frame{kind: frameAsk, tag: x.tag, asked: []int{38, 39}}); err != nil {
			t.Fatal(err)
		}
	}
	if q := x.parked[e.links["b"].slot]; len(x.parked) != 1 || len(q.open) != 2 || len(e.links["b"].urgent) != 0 {
		t.Errorf("%d questions are parked, %v", len(x.parked), q)
	}
}

// script is a peer's stream: it says what it is given and then ends.
type script struct {
	*bytes.Reader
	from peer.ID
}

func (s script) Write(b []byte) (int, error) { return len(b), nil }
func (s script) Reset() error                { return nil }
func (s script) Peer() peer.ID               { return s.from }

// TestTheGuiltyIsBlamed: a stream that says what no honest peer does costs its peer
// score, and is not read on; one that breaks off costs nobody any.
func TestTheGuiltyIsBlamed(t *testing.T) {
	b := sampleOf(t, 6, 8<<10)
	for _, c := range []struct {
		name   string
		say    func(*transfer, [][]byte) []byte
		guilty bool
	}{
		{"nothing", func(*transfer, [][]byte) []byte { return nil }, false},
		{"half a frame", func(x *transfer, c [][]byte) []byte { return x.frame(0, c[0], 0).encode()[:100] }, false},
		{"a good chunk", func(x *transfer, c [][]byte) []byte { return x.frame(0, c[0], 0).encode() }, false},
		{"another chunk", func(x *transfer, c [][]byte) []byte { return x.frame(1, c[0], 0).encode() }, true},
		{"a frame too long", func(*transfer, [][]byte) []byte { return binary.AppendUvarint(nil, maxFrame+1) }, true},
		{"no frame", func(*transfer, [][]byte) []byte { return []byte{3, 9, 9, 9} }, true},
		{"asks of a block without ids", func(x *transfer, _ [][]byte) []byte {
			return (&frame{kind: frameAsk, tag: x.tag, asked: []int{0}}).encode()
		}, true},
		{"a bitmap beyond", func(x *transfer, _ [][]byte) []byte {
			return (&frame{kind: frameHave, tag: x.tag, held: []int{x.swarm.total}}).encode()
		}, true},
		{"chunks of a block nobody announced", func(_ *transfer, c [][]byte) []byte {
			return bytes.Repeat((&frame{kind: frameChunk, tag: tag{7}, bytes: c[0]}).encode(), 200)
		}, false},
	} {
		n, e, x := told(t, b, announce(t, "coded", b))
		chunks, err := x.ann.shape.encode(b.TxList())
		if err != nil {
			t.Fatal(err)
		}
		first := x.frame(2, chunks[2], 0).encode() // so that it is seen whether the stream is read
		last := x.frame(3, chunks[3], 0).encode()
		if c.name == "half a frame" {
			last = nil
		}
		e.read(script{bytes.NewReader(slices.Concat(first, c.say(x, chunks), last)), "b"})
		if c.guilty != (len(n.blamed) == 1 && n.blamed[0] == "b") || len(n.blamed) > 1 || !x.swarm.have.get(2) {
			t.Errorf("%s: blamed %q, read %v", c.name, n.blamed, x.swarm.have.get(2))
		}
		if last != nil && c.guilty == x.swarm.have.get(3) {
			t.Errorf("%s: read on: %v", c.name, x.swarm.have.get(3))
		}
		if e.early.bytes > earlyPerPeer {
			t.Errorf("%s: %d bytes are kept for it", c.name, e.early.bytes)
		}
	}
}

// TestSlowPeersAreServed: chunks of a complete block are given for as long as
// somebody takes them, and not for ever.
func TestSlowPeersAreServed(t *testing.T) {
	b := sampleOf(t, 6, 8<<10)
	_, e, x := told(t, b, announce(t, "coded", b))
	e.Taken(b)
	now := time.Now()
	for range 5 {
		lane, p, _ := e.pick(now)
		if lane == nil {
			t.Fatal("nothing to send")
		}
		lane.busy = false
		now = now.Add(e.cfg.Keep - time.Millisecond)
		if e.review(now); e.byID(b.ID()) != x {
			t.Fatalf("dropped %v after chunk %d was sent", e.cfg.Keep-time.Millisecond, p.frame.chunk)
		}
		e.mu.Lock()
		for _, l := range e.links {
			l.pace.acked(now, x.tag, p.frame.chunk)
		}
		e.mu.Unlock()
	}
	if e.review(now.Add(e.cfg.Keep)); e.byID(b.ID()) != nil {
		t.Error("kept though nobody takes anything")
	}
}

// TestWrongHashesTellNoPace: a chunk that is not written, since its proposer signed another hash, is not under way, and says
// nothing of the path to a peer.
func TestWrongHashesTellNoPace(t *testing.T) {
	b := sampleOf(t, 6, 8<<10)
	_, e, x := told(t, b, bent(t, announce(t, "coded", b), func(a *announced) {
		for i := range a.Leaves {
			a.Leaves[i] ^= 1
		}
	}))
	e.Taken(b)
	for lane, p, _ := e.pick(time.Now()); lane != nil; lane, p, _ = e.pick(time.Now()) {
		lane.busy = false
		for _, l := range e.links {
			if slices.Contains(l.lanes, lane) && e.genuine(l, p) {
				t.Fatalf("chunk %d is written", p.frame.chunk)
			}
		}
	}
	for id, l := range e.links {
		if q := &l.pace; e.stats.ChunksSent == 0 || q.flying != 0 || len(q.flight) != 0 || q.rtt() != 0 || q.delivered != 0 || q.limit() != float64(e.cfg.WindowStart) {
			t.Errorf("%s: %d bytes under way, a round trip of %v, %d arrived, a window of %.0f", id, q.flying, q.rtt(), q.delivered, q.limit())
		}
	}
	if x.block == nil {
		t.Error("not complete")
	}
}

// TestSureOfOtherBytes: that a chunk is what its proposer signed says nothing of the block's own bytes in its place.
func TestSureOfOtherBytes(t *testing.T) {
	b := sampleOf(t, 6, 8<<10)
	other := make([]byte, shapeOf(len(b.TxList())).chunk)
	hash := leaf(other)
	_, e, x := told(t, b, bent(t, announce(t, "coded", b), func(a *announced) { copy(a.Leaves[5*leafBytes:], hash[:]) }))
	if err := e.handle("a", x.frame(5, other, 0)); err != nil {
		t.Fatal(err)
	}
	lane, p, _ := e.pick(time.Now())
	if lane == nil || p.frame.chunk != 5 {
		t.Fatalf("picked %+v", p.frame)
	}
	e.Taken(b)
	if l := e.links["b"]; !e.genuine(l, p) {
		t.Error("what was signed is not written")
	}
	if x.sure.get(5) || bytes.Equal(x.chunks[5], other) {
		t.Error("what was not signed is taken for it")
	}
}

// TestSecondBlockOfASlot: one that is announced after the first came whole is followed and not passed on, as if the first had been
// announced; a third is not followed.
func TestSecondBlockOfASlot(t *testing.T) {
	n := &node{mesh: []peer.ID{"a", "b"}, header: chain.ErrSecondBlock} // the chain has one of the slot
	e := n.relay(t, "coded").(*coded).engine
	second, third := sampleOf(t, 6, 8<<10), sampleOf(t, 7, 8<<10)
	if err := e.Receive(Message{From: "a", Payload: announce(t, "coded", second)}); !errors.Is(err, chain.ErrSecondBlock) || e.byID(second.ID()) == nil {
		t.Errorf("the second: %v, followed %v", err, e.byID(second.ID()) != nil)
	}
	if err := e.Receive(Message{From: "a", Payload: announce(t, "coded", third)}); !errors.Is(err, chain.ErrEquivocation) || e.byID(third.ID()) != nil {
		t.Errorf("the third: %v, followed %v", err, e.byID(third.ID()) != nil)
	}
}
