package rpc

import (
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/pheme-net/pheme/chain"
)

// sameAsChain checks that recent holds exactly blocks of the canonical chain, newest
// included, and finds every transaction where the chain does.
func sameAsChain(t *testing.T, r *rig, rec *recent) {
	t.Helper()
	txs, bytes := 0, 0
	next := r.chain.Head().Number.Uint64()
	for i := len(rec.order) - 1; i >= 0; i-- {
		b := rec.order[i]
		if want := r.chain.SignedHeaderByNumber(next); b.ID() != want.ID() || rec.block(b.ID()) != b {
			t.Fatalf("block %d = %s, want %s", next, b.ID(), want.ID())
		}
		for k, tx := range b.Txs() {
			if got, index := rec.tx(tx.Hash()); got != b || index != k {
				t.Fatalf("transaction %s is not found in its block", tx.Hash())
			}
		}
		txs, bytes, next = txs+len(b.Txs()), bytes+b.Size(), next-1
	}
	if len(rec.order) == 0 && r.chain.Head().Number.Uint64() > 0 {
		t.Fatal("nothing is kept")
	}
	if txs != rec.txs || bytes != rec.bytes || len(rec.byTx) != txs || len(rec.byID) != len(rec.order) {
		t.Fatalf("counts are %d transactions %d bytes, want %d and %d", rec.txs, rec.bytes, txs, bytes)
	}
}

// TestRecentFollowsTheChain through growth, a reorg and a missed update.
func TestRecentFollowsTheChain(t *testing.T) {
	r, other := newRig(t, Config{}), newRig(t, Config{})
	rec := newRecent(r.chain.HeadID())
	updates, leave := r.chain.Watch(64)
	defer leave()
	follow := func() {
		for len(updates) > 0 {
			rec.apply(<-updates)
		}
		sameAsChain(t, r, rec)
	}
	left := r.transfer(1, 0, nil)
	r.ask("eth_sendRawTransaction", rawOf(t, left))
	r.seal()
	r.seal()
	follow()
	kept := other.transfer(2, 0, nil)
	other.ask("eth_sendRawTransaction", rawOf(t, kept))
	for slot := uint64(5); slot < 9; slot++ {
		_, err := r.chain.Add(other.sealAt(slot))
		must(t, err)
	}
	follow()
	if b, _ := rec.tx(left.Hash()); b != nil {
		t.Error("a transaction whose block was left is still found")
	}
	if b, _ := rec.tx(kept.Hash()); b == nil {
		t.Error("a transaction of the new branch is not found")
	}
	r.seal()
	<-updates // missed
	r.seal()
	follow()
	if len(rec.order) != 1 {
		t.Errorf("%d blocks are kept after a missed update, want the last only", len(rec.order))
	}
	for range recentBlocks + 5 {
		r.seal()
		rec.apply(<-updates)
	}
	follow()
	if len(rec.order) != recentBlocks {
		t.Errorf("%d blocks are kept, want %d", len(rec.order), recentBlocks)
	}
}

// TestCacheIsBounded: by bytes, least recently asked first, and one encoding for all
// who ask at once.
func TestCacheIsBounded(t *testing.T) {
	c := newBlockCache(100)
	made := map[byte]int{}
	get := func(i byte, size int) {
		_, raw, err := c.get(blockForm{id: common.Hash{i}}, func() ([]byte, error) {
			made[i]++
			return make([]byte, size), nil
		})
		if err != nil || len(raw) != size {
			t.Fatalf("get %d = %d bytes, %v, want %d", i, len(raw), err, size)
		}
	}
	get(1, 40)
	get(2, 40)
	get(1, 40)
	get(3, 40) // pushes out 2
	get(1, 40)
	get(2, 40) // made again, pushes out 3
	get(4, 500)
	if made[1] != 1 || made[2] != 2 || c.size > 100 {
		t.Errorf("encoded %v times, %d bytes kept", made, c.size)
	}
	for range 2 {
		if _, raw, err := c.get(blockForm{id: common.Hash{9}}, func() ([]byte, error) { made[9]++; return nil, nil }); raw != nil || err != nil {
			t.Errorf("nothing = %v, %v", raw, err)
		}
		if _, _, err := c.get(blockForm{id: common.Hash{8}}, func() ([]byte, error) { made[8]++; return nil, errNoFilter }); err == nil {
			t.Error("the error is lost")
		}
	}
	if made[9] != 2 || made[8] != 2 || c.order.Len() != len(c.byKey) {
		t.Errorf("what is absent was made %d times and what failed %d times, want twice", made[9], made[8])
	}
}

// TestPrunedBlocks: a block whose body is gone is told from one that never was.
func TestPrunedBlocks(t *testing.T) {
	r := newRigOver(t, Config{}, chain.Config{PruneBodies: 4, UndoBlocks: 4})
	first := r.seal().ID()
	for range 40 {
		r.seal()
	}
	if r.chain.BlockByID(first) != nil {
		t.Skip("the chain keeps more bodies than it was told to")
	}
	for _, ref := range []any{first, "0x1"} {
		if _, fault := r.try("eth_getBlockReceipts", ref); fault == nil || fault.Code != 4444 {
			t.Errorf("receipts of %v: %+v, want 4444", ref, fault)
		}
	}
	if _, fault := r.try("eth_getBlockByNumber", "0x1", false); fault == nil || fault.Code != 4444 {
		t.Errorf("the block: %+v, want 4444", fault)
	}
	if got := r.ask("eth_getBlockByHash", common.Hash{1}, false); string(got) != "null" {
		t.Errorf("a block that never was: %s, want null", got)
	}
}
