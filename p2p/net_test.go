package p2p

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/ethereum/go-ethereum/common"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
)

// TestLine sends a block and transactions down a line of three and looks at
// every event a joiner uses.
func TestLine(t *testing.T) {
	w := newWorld(t, "line")
	a, b, c := w.node("a"), w.node("b"), w.node("c")
	link(a, b)
	link(b, c)

	txs := []*chain.Tx{w.tx(0, 100), w.tx(0, 100), w.tx(1, 3000)}
	if err := a.net.PublishTx(txs); err != nil {
		t.Fatal(err)
	}
	for _, x := range txs {
		c.rec.wait(t, "transaction at c", kind(trace.TxAdmitted, x.Hash()))
	}
	blk := w.block(txs...)
	a.propose(blk)
	c.rec.wait(t, "block imported at c", kind(trace.BlockImported, blk.ID()))
	b.rec.wait(t, "block imported at b", kind(trace.BlockImported, blk.ID()))

	id := blk.ID()
	one := func(n *testNode, k trace.Kind, from *testNode) trace.Event {
		t.Helper()
		e := n.rec.wait(t, k.String(), kind(k, id))
		if from != nil && e.Peer != from.tag() {
			t.Errorf("%v: peer %x, want %x", k, e.Peer, from.tag())
		}
		return e
	}
	// The chain of instants from the publisher to the end of the line.
	chain := []trace.Event{
		one(a, trace.BlockPublished, nil),
		one(a, trace.BlockRelayed, b), one(a, trace.MsgWritten, b),
		one(b, trace.BlockFirstByte, a), one(b, trace.MsgRead, a), one(b, trace.BlockReceived, a), one(b, trace.BlockAccepted, a),
		one(b, trace.MsgQueued, c), one(b, trace.MsgWritten, c),
		one(c, trace.BlockFirstByte, b), one(c, trace.MsgRead, b), one(c, trace.BlockReceived, b), one(c, trace.BlockAccepted, b),
	}
	order := []int{0, 1, 3, 4, 5, 6, 9, 10, 11, 12} // queued and written are stamped by another goroutine than what follows
	for i := 1; i < len(order); i++ {
		if x, y := chain[order[i-1]], chain[order[i]]; y.At < x.At {
			t.Errorf("%v at %d is before %v at %d", y.Kind, y.At, x.Kind, x.At)
		}
	}
	for _, e := range chain {
		if e.Kind == trace.MsgRead || e.Kind == trace.MsgWritten {
			if e.Class != trace.ClassBlock || int(e.Size) < blk.Size() || int(e.Size) > blk.Size()+messageOverhead || e.Aux < 0 {
				t.Errorf("%+v, block has %d bytes", e, blk.Size())
			}
		}
	}
	if got := a.rec.all(kind(trace.BlockRelayed, id)); len(got) != 1 {
		t.Errorf("%d block.relayed, want one", len(got))
	}
	// Each transaction's batch is named by tx.published, in the sender's order.
	pub := a.rec.all(kind(trace.TxPublished, common.Hash{}))
	if len(pub) != len(txs) {
		t.Fatalf("%d tx.published, want %d", len(pub), len(txs))
	}
	for i, e := range pub {
		if e.Hash != txs[i].Hash() {
			t.Errorf("tx.published %d is out of order", i)
		}
		c.rec.wait(t, "the batch at c", func(r trace.Event) bool {
			return r.Kind == trace.MsgRead && r.Class == trace.ClassTx && trace.BatchAux(r.Hash) == e.Aux
		})
	}
	c.until("the verdict is counted", func() bool { return c.net.Stats().Verdicts["block"]["accept"] == 1 })
	s := c.net.Stats()
	if s.In[trace.ClassBlock] < uint64(blk.Size()) || s.In[trace.ClassTx] == 0 || s.In[trace.ClassControl] == 0 || s.In[trace.ClassSync] == 0 {
		t.Errorf("bytes by class: %v", s.In)
	}
	sum := uint64(0)
	for _, n := range s.In {
		sum += n
	}
	if sum != s.WireIn || s.WireIn == 0 {
		t.Errorf("classes add up to %d, wire has %d", sum, s.WireIn)
	}
	if s.Verdicts["block"]["accept"] != 1 || s.Verdicts["block"]["reject"] != 0 || s.Peers != 1 || s.MeshBlock != 1 || s.MeshTx != 1 {
		t.Errorf("stats %+v", s)
	}
	if p := b.net.Peers(); len(p) != 2 || p[0].Agent != "pheme" || p[0].Addr == "" || !p[0].BlockMesh || !p[0].Inbound || p[1].Inbound || !p[1].Static {
		t.Errorf("peers of b: %+v", p)
	}
}

func TestPublishAboveTheLimitIsRefused(t *testing.T) {
	w := newWorld(t, "limit")
	a, b := w.node("a"), w.node("b")
	link(a, b)
	max := a.net.maxMessage
	if max != 1<<20+64<<10 {
		t.Fatalf("max message %d", max)
	}
	if err := a.net.publish(t.Context(), topicBlock, make([]byte, max)); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("publish of %d bytes: %v", max, err)
	}
	if got := a.net.Stats().Dropped["oversized"]; got != 1 {
		t.Errorf("oversized counted %d times", got)
	}
	// What is just allowed arrives, and is judged.
	if err := a.net.publish(t.Context(), topicBlock, make([]byte, max-messageOverhead)); err != nil {
		t.Fatal(err)
	}
	b.until("the largest message judged", func() bool { return b.net.Stats().Verdicts["block"]["reject"] == 1 })
}

func TestTwoNetworksNeverMix(t *testing.T) {
	w, foreign := newWorld(t, "one"), newWorld(t, "two")
	a, b, x := w.node("a"), w.node("b"), foreign.node("x")
	link(a, b)
	if err := a.net.AddPeer(x.addr()); err != nil {
		t.Fatal(err)
	}
	if err := x.net.AddPeer(b.addr()); err != nil {
		t.Fatal(err)
	}
	refused := func(n *testNode, p *testNode) bool {
		n.net.dialer.mu.Lock()
		defer n.net.dialer.mu.Unlock()
		tgt := n.net.dialer.targets[p.host.ID()]
		return tgt != nil && tgt.wait == n.net.cfg.RedialMax // foreign was called
	}
	a.until("a refuses x", func() bool { return refused(a, x) })
	x.until("x refuses b", func() bool { return refused(x, b) })
	for i := range 3 {
		a.propose(w.block(w.tx(0, 100)))
		x.propose(foreign.block(foreign.tx(0, 100+i)))
	}
	b.until("b follows a", func() bool { return b.chain.HeadID() == a.chain.HeadID() })
	if got := x.rec.all(kind(trace.MsgRead, common.Hash{})); len(got) != 0 {
		t.Errorf("the other network's node read %d gossip messages", len(got))
	}
	if x.net.Stats().Peers != 0 || a.net.Stats().Peers != 1 {
		t.Errorf("peers: x %d, a %d", x.net.Stats().Peers, a.net.Stats().Peers)
	}
}

func TestDuplicatesAreCounted(t *testing.T) {
	w := newWorld(t, "triangle")
	// Without IDONTWANT a triangle carries at least one copy too many.
	slow := func(c *Config) { c.IDontWantBytes = 1 << 30 }
	nodes := []*testNode{w.node("a", slow), w.node("b", slow), w.node("c", slow)}
	link(nodes[0], nodes[1])
	link(nodes[1], nodes[2])
	link(nodes[2], nodes[0])
	const size = 5000
	for range 5 {
		blk := w.block(w.tx(0, size))
		nodes[0].propose(blk)
		nodes[0].until("a second copy somewhere", func() bool {
			n := 0
			for _, x := range nodes {
				n += len(x.rec.all(kind(trace.CopyDuplicate, blk.ID())))
			}
			return n > 0
		})
		nodes[1].reaches(blk)
		nodes[2].reaches(blk)
	}
	total := uint64(0)
	for _, n := range nodes {
		n.stop() // nothing more comes in
		bytes := uint64(0)
		for _, e := range n.rec.all(kind(trace.CopyDuplicate, common.Hash{})) {
			if e.Class == trace.ClassBlock {
				bytes += uint64(e.Size)
			}
		}
		if s := n.net.Stats(); s.Duplicate[trace.ClassBlock] != bytes {
			t.Errorf("duplicates: %d in Stats, %d in events", s.Duplicate[trace.ClassBlock], bytes)
		}
		total += bytes
	}
	if total < 5*size {
		t.Errorf("%d duplicate bytes", total)
	}
}

func TestBlocksFillABatchInOrder(t *testing.T) {
	w := newWorld(t, "batches")
	a, b := w.node("a"), w.node("b")
	link(a, b)
	var txs []*chain.Tx
	for i := range 40 {
		txs = append(txs, w.tx(i%4, 8000))
	}
	if err := a.net.PublishTx(txs); err != nil {
		t.Fatal(err)
	}
	for _, x := range txs {
		b.rec.wait(t, "transaction", kind(trace.TxAdmitted, x.Hash()))
	}
	sizes := map[int64]int{}
	for i, e := range a.rec.all(kind(trace.TxPublished, common.Hash{})) {
		if e.Hash != txs[i].Hash() {
			t.Fatalf("transaction %d left out of order", i)
		}
		sizes[e.Aux] += int(e.Size)
	}
	if len(sizes) < 5 { // 320 kB
		t.Errorf("%d batches", len(sizes))
	}
	for name, n := range sizes {
		if n > maxBatchBytes {
			t.Errorf("batch %x has %d bytes", name, n)
		}
	}
}

// TestAnnounceGetsPastTheSeenCache sends the same transactions twice in a row,
// as a reorganisation does: the second time they must arrive again.
func TestAnnounceGetsPastTheSeenCache(t *testing.T) {
	w := newWorld(t, "announce")
	a, b := w.node("a"), w.node("b")
	link(a, b)
	x := w.tx(0, 100)
	if err := a.net.PublishTx([]*chain.Tx{x}); err != nil {
		t.Fatal(err)
	}
	b.rec.wait(t, "transaction", kind(trace.TxAdmitted, x.Hash()))
	b.back.mu.Lock()
	delete(b.back.pool, x.Hash()) // b lost it
	b.back.mu.Unlock()
	a.net.Announce([]*chain.Tx{x})
	b.until("it came again", func() bool { return b.back.Tx(x.Hash()) != nil })
	if v := b.net.Stats().Verdicts["tx"]; v["accept"] != 2 {
		t.Errorf("verdicts %v", v)
	}
	batches := b.net.batches.Load()
	y := w.tx(1, 100)
	b.net.Announce([]*chain.Tx{x}) // a's to announce, not b's
	if err := b.net.PublishTx([]*chain.Tx{y}); err != nil {
		t.Fatal(err)
	}
	a.rec.wait(t, "b's own", kind(trace.TxAdmitted, y.Hash()))
	if sent := b.rec.all(kind(trace.TxPublished, common.Hash{})); b.net.batches.Load() != batches+1 || len(sent) != 1 {
		t.Errorf("b published %d transactions, want its own alone", len(sent))
	}
}

func TestOutbox(t *testing.T) {
	w := newWorld(t, "outbox")
	o := newOutbox(2)
	x, y, z := w.tx(0, 1), w.tx(0, 1), w.tx(0, 1)
	if !o.put([]*chain.Tx{x, y}) || o.put([]*chain.Tx{z}) {
		t.Fatal("limit not kept")
	}
	if got := fmt.Sprint(o.take(false)); got != fmt.Sprint([]*chain.Tx{x, y}) {
		t.Fatal("order lost")
	}
	if o.take(true) != nil || !o.put([]*chain.Tx{x, y}) || !o.put([]*chain.Tx{z}) {
		t.Fatal("refused although nobody is there to send to")
	}
	if got := fmt.Sprint(o.take(false)); got != fmt.Sprint([]*chain.Tx{y, z}) {
		t.Fatal("the newest were not kept")
	}
}

// TestTransactionsWaitForAPeer: what is published before there is anybody to
// publish to is not lost.
func TestTransactionsWaitForAPeer(t *testing.T) {
	w := newWorld(t, "alone")
	a := w.node("a")
	x, gone := w.tx(0, 100), w.tx(1, 100)
	a.back.AddTxs("", []*chain.Tx{x})
	if err := a.net.PublishTx([]*chain.Tx{x, gone}); err != nil {
		t.Fatal(err)
	}
	b := w.node("b")
	link(a, b)
	b.rec.wait(t, "the transaction", kind(trace.TxAdmitted, x.Hash()))
	if len(a.rec.all(kind(trace.TxPublished, gone.Hash()))) != 0 {
		t.Error("a transaction that left the pool was sent")
	}
}

// TestChosenIsProtectedWhileConnected: a connection to a member that the node chose is kept from being trimmed, and the
// mark goes with the connection.
func TestChosenIsProtectedWhileConnected(t *testing.T) {
	w := newWorld(t, "chosen")
	a, b := w.node("a"), w.node("b")
	protected := func() bool { return a.host.ConnManager().IsProtected(b.host.ID(), outboundTag) }
	if !a.net.dialMember(t.Context(), addrInfo(b)) || !protected() {
		t.Fatal("not dialled, or not protected")
	}
	b.stop()
	a.until("the mark is gone", func() bool { return !protected() })
}

// TestBatchesAtTheEnd: the batcher of a node that is alone, and that leaves gossip while it looks for a mesh, ends with
// its transactions unsent.
func TestBatchesAtTheEnd(t *testing.T) {
	w := newWorld(t, "end")
	synctest.Test(t, func(t *testing.T) {
		n := &Net{cfg: Config{}.fill(), outbox: newOutbox(2)} // gossip is nil, as Run leaves it
		n.tracers[topicTx] = newTracer(topicTx, "", nil, &n.meter, &tap{}, nil, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 5*n.cfg.Heartbeat) // it looks for gossip after two
		defer cancel()
		n.outbox.put([]*chain.Tx{w.tx(0, 1)})
		if err := n.runBatches(ctx); err != nil || !n.outbox.alone || len(n.outbox.queue) != 1 {
			t.Errorf("%v; alone: %v, %d transactions wait", err, n.outbox.alone, len(n.outbox.queue))
		}
	})
}
