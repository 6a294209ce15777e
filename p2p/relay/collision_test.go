package relay

import (
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
)

// These tests are of short ids that stand for more than one transaction, or for another than the block's. They cost time and nobody's
// score.

// shortID is the id that an announcement gives a transaction.
func (a *announcement) shortID(tx common.Hash) shortID {
	return newShortKey(a.header.ID(), a.body.Nonce).id(tx)
}

// pooled is the argument of newPuzzle for a pool of these transactions.
func pooled(txs ...*chain.Tx) func(func(*chain.Tx)) {
	return func(f func(*chain.Tx)) {
		for _, x := range txs {
			f(x)
		}
	}
}

// doubles are transactions that a block of sampleOf has not, each as long as its first.
func doubles(t testing.TB, b *chain.Block, data int) (out []*chain.Tx) {
	t.Helper()
	for _, x := range sampleOf(t, len(b.Txs())+12, data).Txs()[len(b.Txs()):] {
		if len(x.Raw()) == len(b.Txs()[0].Raw()) {
			out = append(out, x)
		}
	}
	if len(out) < 2 {
		t.Fatal("no transactions as long as the first")
	}
	return out
}

// puzzled is an engine with peers a and b that heard from a of a block, which its pool makes a puzzle of.
func puzzled(a *announcement, p *puzzle, e *engine) *transfer {
	x := newTransfer(a, "a", 3, 1, time.Now())
	x.puzzle = p
	e.mu.Lock()
	e.enter(x)
	e.mu.Unlock()
	e.solve(x, p)
	return x
}

// completes gives an engine all chunks of a block from peer b and wants it whole, once, with nobody blamed.
func completes(t *testing.T, n *node, e *engine, x *transfer, b *chain.Block) {
	t.Helper()
	chunks, err := x.ann.shape.encode(b.TxList())
	if err != nil {
		t.Fatal(err)
	}
	for i := range chunks {
		if err := e.handle("b", x.frame(i, chunks[i], 0)); err != nil {
			t.Fatal(err)
		}
	}
	if len(n.whole) != 1 || n.whole[0].ID() != b.ID() || len(n.blamed) != 0 {
		t.Fatalf("%d blocks of chunks, %d blamed; want one and nobody", len(n.whole), len(n.blamed))
	}
}

// TestPooledCollision: of pooled transactions with one short id none is taken, whichever comes first, while one that is found twice
// collides with nothing. What stays open is asked for if it is little, else chunks are.
func TestPooledCollision(t *testing.T) {
	for _, c := range []struct{ txs, data int }{{20, 2 << 10}, {4, 8 << 10}} {
		b := sampleOf(t, c.txs, c.data)
		others := doubles(t, b, c.data)
		a, err := decodeAnnouncement(announceCompact(t, b), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		id := func(tx common.Hash) shortID { // all others have that of the first
			for _, o := range others {
				if tx == o.Hash() {
					return a.parts[0].id
				}
			}
			return a.shortID(tx)
		}
		first, rest := b.Txs()[0], b.Txs()[1:]
		for name, pool := range map[string][]*chain.Tx{
			"the block's first":  {first, others[0]},
			"the block's last":   {others[0], first},
			"three":              {others[0], others[1], first},
			"three and one more": {others[0], first, others[1], first},
		} {
			n := &node{mesh: []peer.ID{"a", "b"}}
			e := n.relay(t, "coded").(*coded).engine
			p, err := newPuzzle(a, id, pooled(append(pool, rest...)...))
			if err != nil || p.txs[0] != nil || p.lack != 1 || p.bytes != a.parts[0].size {
				t.Fatalf("%s: %v, %d missing of %d bytes; want the first alone", name, err, p.lack, p.bytes)
			}
			x := puzzled(a, p, e)
			if x.block != nil {
				t.Fatalf("%s: complete without the first transaction", name)
			}
			if c.txs == 4 { // a quarter is missing
				if !x.wanted {
					t.Fatalf("%s: no chunks are asked for", name)
				}
				completes(t, n, e, x, b)
				continue
			}
			if f := e.next("a"); f == nil || f.kind != frameAsk || len(f.asked) != 1 || f.asked[0] != 0 {
				t.Fatalf("%s: the announcer hears %+v, want a question for the first", name, f)
			}
			if err := e.handle("a", &frame{kind: frameTxs, tag: x.tag, txs: []numbered{{0, first.Raw()}}}); err != nil {
				t.Fatalf("%s: the answer: %v", name, err)
			}
			if len(n.whole) != 1 || n.whole[0].ID() != b.ID() || len(n.blamed) != 0 {
				t.Fatalf("%s: %d blocks, %d blamed; want one and nobody", name, len(n.whole), len(n.blamed))
			}
		}
		p, err := newPuzzle(a, id, pooled(append(rest, first, first)...))
		if err != nil || p.lack != 0 {
			t.Fatalf("found twice: %v, %d missing; want none", err, p.lack)
		}
	}
}

// TestCollisions: an id that stands twice in a block is left open, and one that stands for another transaction is found out by the
// root: all is open again, and chunks are asked for.
func TestCollisions(t *testing.T) {
	b := sampleOf(t, 4, 8<<10)
	a, err := decodeAnnouncement(announceCompact(t, b), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	txs := b.Txs()
	bent := *a
	bent.parts = append([]part(nil), a.parts...)
	bent.parts[1].id = bent.parts[0].id // the same id twice in a block
	p, err := newPuzzle(&bent, a.shortID, pooled(txs...))
	if err != nil || p.txs[0] != nil || p.txs[1] != nil || p.lack != 2 {
		t.Fatalf("duplicate ids: %v, %d missing", err, p.lack)
	}
	other := doubles(t, b, 8<<10)[0]
	bent.parts = append([]part(nil), a.parts...)
	bent.parts[0].id = a.shortID(other.Hash()) // stands for another
	if p, err = newPuzzle(&bent, a.shortID, pooled(append([]*chain.Tx{other}, txs...)...)); err != nil || p.lack != 0 || p.txs[0] != other {
		t.Fatalf("a foreign id: %v, %d missing", err, p.lack)
	}
	n := &node{mesh: []peer.ID{"a", "b"}}
	e := n.relay(t, "coded").(*coded).engine
	x := puzzled(&bent, p, e)
	if len(n.whole) != 0 || len(n.blamed) != 0 || x.block != nil || !x.wanted {
		t.Fatalf("%d blocks, %d blamed, wanted %v", len(n.whole), len(n.blamed), x.wanted)
	}
	completes(t, n, e, x, b)
}

// TestLateCollision: that an id stands for another transaction is found out after an answer. What answers come then, of the same peer
// and of another, the same again or all transactions, brings nobody down and is nobody's fault, and the block comes in chunks.
func TestLateCollision(t *testing.T) {
	b := sampleOf(t, 20, 2<<10)
	other := doubles(t, b, 2<<10)[0]
	payload := bent(t, announceCompact(t, b), func(a *announced) {
		id := newShortKey(b.ID(), a.Nonce).id(other.Hash())
		copy(a.IDs, id[:])
	})
	n := &node{mesh: []peer.ID{"a", "b"}, pool: map[common.Hash]*chain.Tx{other.Hash(): other}}
	for _, x := range b.Txs()[2:] {
		n.pool[x.Hash()] = x
	}
	e := n.relay(t, "coded").(*coded).engine
	if err := e.Receive(Message{From: "a", Payload: payload}); err != nil {
		t.Fatal(err)
	}
	x := e.byID(b.ID())
	x.swarm.view(e.links["b"].slot).done = true
	e.askElsewhere(x, x.askedAt.Add(time.Second))
	if len(x.asked) != 2 || x.puzzle.lack != 1 {
		t.Fatalf("%d peers asked, %d missing; want both asked for one", len(x.asked), x.puzzle.lack)
	}
	answer := &frame{kind: frameTxs, tag: x.tag, txs: []numbered{{1, b.Txs()[1].Raw()}}}
	all := &frame{kind: frameTxs, tag: x.tag, txs: []numbered{{0, other.Raw()}}}
	for i, tx := range b.Txs()[1:] {
		all.txs = append(all.txs, numbered{i + 1, tx.Raw()})
	}
	for i, c := range []struct {
		from peer.ID
		say  *frame
		lack int
	}{
		{"a", answer, 20}, // it completes a block that is none
		{"b", answer, 19}, {"a", answer, 19},
		{"a", all, 20}, // so does this
		{"b", all, 20}, {"b", answer, 19},
	} {
		if err := e.handle(c.from, c.say); err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		if x.block != nil || x.opening || !x.wanted || x.puzzle.lack != c.lack {
			t.Fatalf("answer %d: complete %v, opening %v, chunks wanted %v, %d missing; want only chunks wanted, and %d missing",
				i, x.block != nil, x.opening, x.wanted, x.puzzle.lack, c.lack)
		}
	}
	for _, p := range n.mesh {
		asked := 0
		for f := e.next(p); f != nil; f = e.next(p) {
			if f.kind == frameHave && f.flags&flagWant != 0 {
				asked++
			}
		}
		if asked != 1 {
			t.Errorf("%s is asked for chunks %d times, want once", p, asked)
		}
	}
	completes(t, n, e, x, b)
	if err := e.handle("a", answer); err != nil || len(n.whole) != 1 {
		t.Errorf("an answer after all: %v, %d blocks", err, len(n.whole))
	}
}

// TestRepeatedAnswer: an answer that comes again while others are missing fills no second gap.
func TestRepeatedAnswer(t *testing.T) {
	b := sampleOf(t, 20, 2<<10)
	var most []int
	for i := 2; i < 20; i++ {
		most = append(most, i)
	}
	n, e, x := solver(t, b, most...)
	first := numbered{0, b.Txs()[0].Raw()}
	for range 3 {
		if err := e.handle("a", &frame{kind: frameTxs, tag: x.tag, txs: []numbered{first, first}}); err != nil {
			t.Fatal(err)
		}
		if x.puzzle.lack != 1 || len(x.puzzle.missing()) != 1 || x.opening || len(n.whole) != 0 {
			t.Fatalf("%d missing, opening %v, %d blocks; want one missing", x.puzzle.lack, x.opening, len(n.whole))
		}
	}
	for range 2 {
		if err := e.handle("a", &frame{kind: frameTxs, tag: x.tag, txs: []numbered{first, {1, b.Txs()[1].Raw()}}}); err != nil {
			t.Fatal(err)
		}
	}
	if s := e.Stats(); len(n.whole) != 1 || n.whole[0].ID() != b.ID() || len(n.blamed) != 0 || s.TxsFetched != 2 {
		t.Errorf("%d blocks, %d blamed, %d transactions fetched; want 1, 0 and 2", len(n.whole), len(n.blamed), s.TxsFetched)
	}
}
