package p2p

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
)

// TestRefusedByFullMeshes: what a node publishes whom its only peer refuses, since it
// has enough, reaches all by the ids it tells.
func TestRefusedByFullMeshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newBubble(t, "refused", 7, func(c *Config) { c.NoRepair = true })
		defer v.burst()
		for i := range 6 {
			v.cut(i, i+1)
		}
		time.Sleep(time.Second)
		const hub, last = 0, 6
		for leaf := 1; leaf < last; leaf++ {
			v.join(leaf, hub)
		}
		time.Sleep(2 * time.Minute) // they were cut off: nobody grafts them sooner
		full := v.nodes[hub].net.Stats().MeshTx
		v.join(last, hub)
		time.Sleep(5 * time.Second)
		if s := v.nodes[last].net.Stats(); s.MeshTx != 0 || s.Peers != 1 {
			t.Fatalf("the last of %d peers has %d in its mesh, want none: the test shows nothing (the hub's mesh had %d)", s.Peers, s.MeshTx, full)
		}
		x := v.tx(0, 100)
		v.nodes[last].back.hold(x)
		if err := v.nodes[last].net.PublishTx([]*chain.Tx{x}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * v.nodes[last].net.cfg.Heartbeat) // two until it knows, one to tell
		for i, n := range v.nodes[:last] {
			if n.back.Tx(x.Hash()) == nil {
				t.Errorf("node %d has not got it", i)
			}
		}
	})
}

// TestSentToTheLost: what went only to peers that were lost before it came to them
// goes again to those that take their place.
func TestSentToTheLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newBubble(t, "lost", 4, func(c *Config) { c.NoRepair = true })
		defer v.burst()
		x := v.tx(0, 100)
		v.nodes[0].back.hold(x)
		if err := v.nodes[0].net.PublishTx([]*chain.Tx{x}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(v.nodes[0].net.cfg.BatchDelay + delay/2)
		if len(v.nodes[0].rec.all(kind(trace.TxPublished, x.Hash()))) != 1 {
			t.Fatal("not on its way yet")
		}
		v.cut(0, 1)
		v.cut(1, 2)
		time.Sleep(delay)
		if v.nodes[1].back.Tx(x.Hash()) != nil {
			t.Fatal("it came to the lost peer: the test shows nothing")
		}
		v.join(0, 2)
		time.Sleep(3 * time.Second)
		for _, i := range []int{2, 3} {
			if v.nodes[i].back.Tx(x.Hash()) == nil {
				t.Errorf("node %d has not got it", i)
			}
		}
		if again := len(v.nodes[0].rec.all(kind(trace.TxPublished, x.Hash()))); again != 2 {
			t.Errorf("published %d times, want 2", again)
		}
	})
}

// TestRepairDoesNotStopGossip: a batch whose transactions repair brought first is
// passed on, once.
func TestRepairDoesNotStopGossip(t *testing.T) {
	w := newWorld(t, "mended")
	n := w.node("n")
	x, y := w.tx(0, 100), w.tx(1, 100)
	for _, tx := range []*chain.Tx{x, y} {
		n.back.AddTxs("repair", []*chain.Tx{tx})
	}
	n.net.mended.put(x.Hash(), time.Now().Add(mendedTime))
	for name, c := range map[string]struct {
		tx    *chain.Tx
		first Verdict
	}{"by repair": {x, Accept}, "by gossip": {y, Ignore}} {
		if got := verdict(n.net.takeBatch("peer", encodeBatch(nonce{1}, [][]byte{c.tx.Raw()}))); got != c.first {
			t.Errorf("known %s: %v, want %v", name, got, c.first)
		}
		if got := verdict(n.net.takeBatch("peer", encodeBatch(nonce{2}, [][]byte{c.tx.Raw()}))); got != Ignore {
			t.Errorf("known %s, again: %v, want it ignored", name, got)
		}
	}
}

// TestBudgetBeforeSignatures: of a batch from a peer over its budget no signature is checked, be it good, bad or shared by
// the nodes of the process; what is pooled already costs no budget.
func TestBudgetBeforeSignatures(t *testing.T) {
	w := newWorld(t, "budget")
	for name, shared := range map[string]*Shared{"alone": nil, "shared": NewShared()} {
		checked := 0
		n := &Net{cfg: Config{Shared: shared, Charge: func(w chain.Work) { checked += w.Signatures }}, genesis: w.genesis}
		back := &testBackend{rec: newRecorder(), pool: make(map[common.Hash]*chain.Tx)}
		n.backend = back
		known, x, bad := w.tx(0, 100), w.tx(1, 100), w.unsigned(1)[0]
		back.hold(known)
		batch := func(txs ...*chain.Tx) []byte {
			var raws [][]byte
			for _, x := range txs {
				raws = append(raws, x.Raw())
			}
			return shared.keep(encodeBatch(nonce{}, raws))
		}
		back.overBudget(true)
		for what, err := range map[string]error{
			"good": n.takeBatch("peer", batch(known, x)), "bad": n.takeBatch("peer", batch(bad)), "pooled": n.takeBatch("peer", batch(known)),
		} {
			if verdict(err) != Ignore || errors.Is(err, errBudget) == (what == "pooled") {
				t.Errorf("%s: a %s batch over the budget: %v", name, what, err)
			}
		}
		if checked != 0 || back.Tx(x.Hash()) != nil {
			t.Errorf("%s: %d signatures checked over the budget, admitted: %v", name, checked, back.Tx(x.Hash()) != nil)
		}
		back.overBudget(false)
		if err := n.takeBatch("peer", batch(known, x)); err != nil || checked != 1 {
			t.Errorf("%s: within the budget: %v, %d signatures checked, want 1", name, err, checked)
		}
		if err := n.takeBatch("peer", batch(bad)); verdict(err) != Reject {
			t.Errorf("%s: a bad batch within the budget: %v", name, err)
		}
	}
}
