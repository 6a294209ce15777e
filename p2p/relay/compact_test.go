package relay

import (
	"errors"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
)

// TestSipHash: the vectors of the paper's reference implementation.
func TestSipHash(t *testing.T) {
	m := make([]byte, 64)
	for i := range m {
		m[i] = byte(i)
	}
	k0, k1 := uint64(0x0706050403020100), uint64(0x0f0e0d0c0b0a0908)
	for n, want := range map[int]uint64{0: 0x726fdb47dd0e0e31, 8: 0x93f5f5799a932462, 16: 0x3f2acc7f57c29bdb} {
		if got := sipHash(k0, k1, m[:n]); got != want {
			t.Errorf("sipHash of %d bytes = %x, want %x", n, got, want)
		}
	}
}

// solver is an engine whose pool has some of a block's transactions, and which
// was told of it by peer "a".
func solver(t *testing.T, b *chain.Block, pooled ...int) (*node, *engine, *transfer) {
	t.Helper()
	n := &node{mesh: []peer.ID{"a", "b"}, pool: make(map[common.Hash]*chain.Tx)}
	for _, i := range pooled {
		n.pool[b.Txs()[i].Hash()] = b.Txs()[i]
	}
	e := n.relay(t, "coded").(*coded).engine
	if err := e.Receive(Message{From: "a", Payload: announceCompact(t, b)}); err != nil {
		t.Fatal(err)
	}
	return n, e, e.byID(b.ID())
}

// announceCompact is a compact message without prefilled transactions.
func announceCompact(t testing.TB, b *chain.Block) []byte {
	t.Helper()
	n := &node{pool: make(map[common.Hash]*chain.Tx)}
	for _, x := range b.Txs() {
		n.pool[x.Hash()] = x
	}
	if err := n.relay(t, "compact").Publish(b); err != nil || len(n.sent) != 1 {
		t.Fatalf("Publish() = %v, %d messages", err, len(n.sent))
	}
	return n.sent[0]
}

func (e *engine) next(p peer.ID) *frame {
	l := e.links[p]
	l.flush = true
	x, _, _ := e.pickUrgent(l)
	return x.frame
}

func TestCompactFromThePool(t *testing.T) {
	b := sampleOf(t, 20, 2<<10)
	var all []int
	for i := range b.Txs() {
		all = append(all, i)
	}
	n, e, x := solver(t, b, all...)
	if len(n.whole) != 1 || n.whole[0].ID() != b.ID() || !n.ways[0].Pool || x.block == nil {
		t.Fatalf("%d blocks, %+v", len(n.whole), n.ways)
	}
	if f := e.next("b"); f == nil || f.flags&flagDone == 0 {
		t.Errorf("the mesh hears %+v", f)
	}
	if s := e.Stats(); s.Received.Compact != 1 || s.FromPool != 1 || s.WithAnswers != 0 || s.HitRate() < 0.95 || s.HitRate() > 1 {
		t.Errorf("Stats() = %+v", s)
	}
	if size := len(announceCompact(t, b)); size > 3000 {
		t.Errorf("the announcement of %d bytes has %d", b.Size(), size)
	}
}

// TestVerdictDoesNotWait: an announcement is passed on before the block that the pool holds is put together.
func TestVerdictDoesNotWait(t *testing.T) {
	b := sampleOf(t, 20, 2<<10)
	n := &node{mesh: []peer.ID{"a"}, pool: make(map[common.Hash]*chain.Tx)}
	for _, x := range b.Txs() {
		n.pool[x.Hash()] = x
	}
	e := n.relay(t, "coded").(*coded).engine
	e.running.Store(true) // as in Run, but what it would start stays where it is
	if err := e.Receive(Message{From: "a", Payload: announceCompact(t, b)}); err != nil || len(n.whole) != 0 {
		t.Fatalf("Receive() = %v, and %d blocks are whole", err, len(n.whole))
	}
	for len(e.start) > 1 {
		<-e.start // the link's
	}
	if (<-e.start)(t.Context()); len(n.whole) != 1 || n.whole[0].ID() != b.ID() {
		t.Fatalf("%d blocks are whole", len(n.whole))
	}
}

// TestCompactLacksLittle: what is missing is asked for from the announcer; its
// answer completes the block, a second one is nothing, a foreign one a fault.
func TestCompactLacksLittle(t *testing.T) {
	b := sampleOf(t, 20, 2<<10)
	var most []int
	for i := 1; i < 20; i++ {
		most = append(most, i)
	}
	n, e, x := solver(t, b, most...)
	ask := e.next("a")
	if ask == nil || ask.kind != frameAsk || len(ask.asked) != 1 || ask.asked[0] != 0 {
		t.Fatalf("asks %+v", ask)
	}
	answer := &frame{kind: frameTxs, tag: x.tag, txs: []numbered{{0, b.Txs()[0].Raw()}}}
	if err := e.handle("b", answer); err != nil || x.block != nil {
		t.Fatalf("an answer of one who was not asked: %v", err)
	}
	foreign := &frame{kind: frameTxs, tag: x.tag, txs: []numbered{{0, b.Txs()[1].Raw()}}}
	if err := e.handle("a", foreign); !errors.Is(err, chain.ErrInvalid) {
		t.Fatalf("a foreign transaction: %v", err)
	}
	if err := e.handle("a", &frame{kind: frameTxs, tag: x.tag, txs: []numbered{{900, b.Txs()[1].Raw()}}}); !errors.Is(err, chain.ErrInvalid) {
		t.Fatalf("a place beyond: %v", err)
	}
	for range 2 {
		if err := e.handle("a", answer); err != nil || len(n.whole) != 1 {
			t.Fatalf("the answer: %v, %d blocks", err, len(n.whole))
		}
	}
	if s := e.Stats(); s.FromPool != 0 || s.WithAnswers != 1 || s.TxsFetched != 1 {
		t.Errorf("Stats() = %+v", s)
	}
}

// TestOthersAreAsked: who was asked and has not answered is not waited for alone,
// once a peer says that it has the block.
func TestOthersAreAsked(t *testing.T) {
	b := sampleOf(t, 20, 2<<10)
	var most []int
	for i := 1; i < 20; i++ {
		most = append(most, i)
	}
	n, e, x := solver(t, b, most...)
	if f := e.next("a"); f == nil || f.kind != frameAsk {
		t.Fatalf("the announcer is told %+v, want a question", f)
	}
	x.swarm.view(e.links["b"].slot).done = true
	e.askElsewhere(x, x.askedAt.Add(100*time.Millisecond))
	if f := e.next("b"); f != nil {
		t.Fatalf("asked within the time of an answer: %+v", f)
	}
	e.askElsewhere(x, x.askedAt.Add(160*time.Millisecond))
	if f := e.next("b"); f == nil || f.kind != frameAsk || len(f.asked) != 1 {
		t.Fatalf("the other hears %+v, want a question", f)
	}
	if err := e.handle("b", &frame{kind: frameTxs, tag: x.tag, txs: []numbered{{0, b.Txs()[0].Raw()}}}); err != nil || len(n.whole) != 1 {
		t.Fatalf("the other's answer: %v, %d blocks", err, len(n.whole))
	}
	e.askElsewhere(x, x.askedAt.Add(time.Hour))
	if f := e.next("a"); f != nil && f.kind == frameAsk {
		t.Error("asks for a block that is complete")
	}
}

// TestSilentNodeGivesNothing: neither chunks nor transactions nor news of others'
// blocks.
func TestSilentNodeGivesNothing(t *testing.T) {
	b := sampleOf(t, 20, 2<<10)
	n, e, x := solver(t, b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
	for _, silent := range []bool{true, false} {
		n.silent = silent
		if err := e.handle("b", &frame{kind: frameHave, tag: x.tag, flags: flagWant}); err != nil {
			t.Fatal(err)
		}
		if lane, _, _ := e.pick(time.Now()); (lane == nil) != silent {
			t.Errorf("silent %v: a chunk for a peer that wants some: %v", silent, lane != nil)
		}
		if err := e.handle("b", &frame{kind: frameAsk, tag: x.tag, asked: []int{3}}); err != nil {
			t.Fatal(err)
		}
		var gave, told bool
		for f := e.next("b"); f != nil; f = e.next("b") {
			gave, told = gave || f.kind == frameTxs, told || len(f.held) > 0
		}
		if gave == silent || told && silent {
			t.Errorf("silent %v: gives transactions %v, tells of chunks %v", silent, gave, told)
		}
	}
}

// TestQuestionsAreParked: who lacks a transaction itself answers when it comes, each
// at most once, and not after parkTime.
func TestQuestionsAreParked(t *testing.T) {
	b := sampleOf(t, 20, 2<<10)
	var most []int
	for i := 1; i < 20; i++ {
		most = append(most, i)
	}
	_, e, x := solver(t, b, most...)
	ask := &frame{kind: frameAsk, tag: x.tag, asked: []int{0, 1}}
	for range 3 {
		if err := e.handle("b", ask); err != nil {
			t.Fatal(err)
		}
	}
	if f := e.next("b"); f == nil || len(f.txs) != 1 || f.txs[0].index != 1 {
		t.Fatalf("answers %+v", f)
	}
	if f := e.next("b"); f != nil {
		t.Fatalf("answers again: %+v", f)
	}
	if err := e.handle("a", &frame{kind: frameTxs, tag: x.tag, txs: []numbered{{0, b.Txs()[0].Raw()}}}); err != nil {
		t.Fatal(err)
	}
	var told []int
	for f := e.next("b"); f != nil; f = e.next("b") {
		for _, n := range f.txs {
			told = append(told, n.index)
		}
	}
	if len(told) != 1 || told[0] != 0 {
		t.Errorf("the parked question is answered by %v", told)
	}
	if err := e.handle("b", &frame{kind: frameAsk, tag: x.tag, asked: []int{20}}); !errors.Is(err, chain.ErrInvalid) {
		t.Errorf("a question beyond: %v", err)
	}
	q := &question{open: []int{3}, until: time.Now(), served: newBitmap(20)}
	e.answer(e.links["b"], x, q, time.Now().Add(time.Second))
	if f := e.next("b"); f != nil || q.open != nil {
		t.Errorf("answered too late: %+v", f)
	}
}

// TestCompactLacksMuch: chunks are asked for from all, those known whole are not.
func TestCompactLacksMuch(t *testing.T) {
	b := sampleOf(t, 40, 10<<10)
	var half []int
	for i := range 20 {
		half = append(half, i)
	}
	n, e, x := solver(t, b, half...)
	if x.swarm.count < 40 || x.swarm.complete() {
		t.Fatalf("%d of %d chunks follow from half the transactions", x.swarm.count, x.swarm.data)
	}
	for _, p := range n.mesh {
		if f := e.next(p); f == nil || f.kind != frameHave || f.flags&flagWant == 0 || len(f.held) != x.swarm.count {
			t.Fatalf("%s hears %+v", p, f)
		}
	}
	chunks, err := x.ann.shape.encode(b.TxList())
	if err != nil {
		t.Fatal(err)
	}
	for i := range chunks {
		if err := e.handle("b", x.frame(len(chunks)-1-i, chunks[len(chunks)-1-i], 0)); err != nil {
			t.Fatal(err)
		}
	}
	if len(n.whole) != 1 || n.whole[0].ID() != b.ID() {
		t.Fatalf("%d blocks", len(n.whole))
	}
}

// TestPrefill: transactions that our own pool has not are sent along; one that is
// not the block's makes the message invalid.
func TestPrefill(t *testing.T) {
	b := sampleOf(t, 20, 1<<10)
	payload := announce(t, "compact", b) // of a node with an empty pool
	a, err := decodeAnnouncement(payload, 1<<20)
	if err != nil || len(a.body.Prefilled) == 0 {
		t.Fatalf("%v, %d prefilled", err, len(a.body.Prefilled))
	}
	p, err := newPuzzle(a, a.shortID, func(func(*chain.Tx)) {})
	if err != nil || p.lack != 20-len(a.body.Prefilled) {
		t.Fatalf("%v, %d missing", err, p.lack)
	}
	for name, bend := range map[string]func(*announced){
		"an index beyond":     func(b *announced) { b.Prefilled[0].Index = 20 },
		"an index that wraps": func(b *announced) { b.Prefilled[0].Index = 1<<64 - 1 },
		"out of order":        func(b *announced) { b.Prefilled[0], b.Prefilled[1] = b.Prefilled[1], b.Prefilled[0] },
		"another's bytes":     func(b *announced) { b.Prefilled[0].Raw = b.Prefilled[1].Raw },
		"not a transaction":   func(b *announced) { b.Prefilled[0].Raw = make([]byte, len(b.Prefilled[0].Raw)) },
		"a size too few":      func(b *announced) { b.Sizes = b.Sizes[:len(b.Sizes)-2] },
		"an id too many":      func(b *announced) { b.IDs = append(b.IDs, 1, 2, 3, 4, 5, 6) },
		"sizes of more":       func(b *announced) { b.Size++ },
	} {
		bent := &announcement{kind: kindCompact, body: a.body}
		bent.body.Prefilled = append([]prefilled(nil), a.body.Prefilled...)
		bend(&bent.body)
		raw, err := bent.encode((&node{}).Sign)
		if err != nil {
			t.Fatal(err)
		}
		e := (&node{}).relay(t, "coded")
		if err := e.Receive(Message{From: "a", Payload: raw}); !errors.Is(err, chain.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzPuzzle: whatever a pool holds, a puzzle without gaps is the block or is
// found out by its root.
func FuzzPuzzle(f *testing.F) {
	b := sampleOf(f, 8, 3<<10)
	a, err := decodeAnnouncement(announceCompact(f, b), 1<<20)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{0xff}, byte(0))
	f.Add([]byte{0x0f}, byte(3))
	f.Fuzz(func(t *testing.T, held []byte, swap byte) {
		bent := *a
		bent.parts = append([]part(nil), a.parts...)
		i, j := int(swap)%8, int(swap>>4)%8
		bent.parts[i].id = bent.parts[j].id
		p, err := newPuzzle(&bent, bent.shortID, func(f func(*chain.Tx)) {
			for k, h := range held {
				for bit := range 8 {
					if h>>bit&1 != 0 {
						f(b.Txs()[(k+bit)%8])
					}
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(p.missing()) != p.lack {
			t.Fatalf("%d missing, lack %d", len(p.missing()), p.lack)
		}
		for c := range a.shape.data {
			if bytes := p.chunk(a.shape, c); i == j && bytes != nil && !a.holds(c, bytes) {
				t.Fatalf("chunk %d of true transactions is another", c)
			}
		}
		if p.lack == 0 {
			if got, err := chain.NewBlock(a.header, p.txs); (err == nil) != (i == j) || err == nil && got.ID() != b.ID() {
				t.Fatalf("NewBlock() = %v", err)
			}
		}
	})
}

func TestAutoChooses(t *testing.T) {
	large, small := sampleOf(t, 10, 20<<10), sampleOf(t, 3, 10<<10)
	for _, c := range []struct {
		block *chain.Block
		share share
		kind  byte
		push  bool
	}{
		{small, share{}, kindGossip, false}, {small, share{0.5, true}, kindGossip, false}, {small, share{1, true}, kindCompact, false},
		{large, share{}, kindCompact, true}, {large, share{0.5, true}, kindCompact, true}, {large, share{1, true}, kindCompact, false}, {large, share{0, true}, kindCoded, true},
	} {
		n := &node{}
		r := n.relay(t, "auto").(*auto)
		r.share = c.share
		if err := r.Publish(c.block); err != nil {
			t.Fatal(err)
		}
		kind, push := n.sent[0][0], false
		if kind != kindGossip {
			a, err := decodeAnnouncement(n.sent[0], 4<<20)
			if err != nil {
				t.Fatal(err)
			}
			push = a.body.Push
		}
		if kind != c.kind || push != c.push {
			t.Errorf("%d bytes, share %v: kind %d, push %v; want %d, %v", c.block.Size(), c.share, kind, push, c.kind, c.push)
		}
	}
	var s share
	for _, v := range []float64{1, 0, 0, 0} {
		s.note(v)
	}
	if s.value != 0.125 {
		t.Errorf("share %v", s.value)
	}
}

// besides is a node to which chunks come while it takes a block.
type besides struct {
	*node
	chunks func()
}

func (n *besides) Complete(from peer.ID, b *chain.Block, w Way) error {
	if come := n.chunks; come != nil {
		n.chunks = nil
		come()
	}
	return n.node.Complete(from, b, w)
}

// TestPutTogetherOnce: chunks that suffice while the block is made of the pool do not make it again.
func TestPutTogetherOnce(t *testing.T) {
	b := sampleOf(t, 20, 2<<10)
	n := &besides{node: &node{mesh: []peer.ID{"a", "b"}, pool: make(map[common.Hash]*chain.Tx)}}
	for _, x := range b.Txs() {
		n.pool[x.Hash()] = x
	}
	r, err := New(Config{Name: "coded"}, Deps{Node: n, Network: n.node, Clock: trace.NewClock(), Self: "self", MaxList: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	e := r.(*coded).engine
	n.chunks = func() { e.gives(t, e.byID(b.ID()), b) }
	if err := e.Receive(Message{From: "a", Payload: announceCompact(t, b)}); err != nil {
		t.Fatal(err)
	}
	if s, x := e.Stats(), e.byID(b.ID()); len(n.whole) != 1 || s.FromPool != 1 || s.FromChunks != 0 || x.block == nil || x.opening {
		t.Errorf("completed %d times, Stats() = %+v, complete %v, opening %v", len(n.whole), s, x.block != nil, x.opening)
	}
}

// TestChunksWhileAPuzzleFails: chunks that suffice while a puzzle turns out to be none make the block afterwards.
func TestChunksWhileAPuzzleFails(t *testing.T) {
	b := sampleOf(t, 20, 2<<10)
	var most []int
	for i := 1; i < 20; i++ {
		most = append(most, i)
	}
	n, e, x := solver(t, b, most...)
	x.puzzle.set(0, b.Txs()[1])
	x.opening = true
	if e.gives(t, x, b); len(n.whole) != 0 {
		t.Fatal("it is put together twice at a time")
	}
	if e.solved("a", x, x.puzzle) || len(n.whole) != 1 || x.block == nil || x.opening {
		t.Errorf("completed %d times, complete %v, opening %v", len(n.whole), x.block != nil, x.opening)
	}
}

// gives has a peer send all chunks of a block.
func (e *engine) gives(t *testing.T, x *transfer, b *chain.Block) {
	t.Helper()
	chunks, err := x.ann.shape.encode(b.TxList())
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range chunks {
		if err := e.handle("b", x.frame(i, c, 0)); err != nil {
			t.Fatal(err)
		}
	}
}
