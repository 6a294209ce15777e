package p2p

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/relay"
)

// TestShared: equal payloads become one, and what is computed of it is what is computed without.
func TestShared(t *testing.T) {
	w := newWorld(t, "shared")
	txs := []*chain.Tx{w.tx(0, 200), w.tx(1, 300)}
	raw := encodeBatch(nonce{7}, [][]byte{txs[0].Raw(), txs[1].Raw()})
	s := NewShared()
	first := s.keep(bytes.Clone(raw))
	again := s.keep(bytes.Clone(raw))
	if &first[0] != &again[0] || !bytes.Equal(first, raw) {
		t.Fatal("two copies of one payload are kept")
	}
	for _, topic := range []string{"a", "b"} {
		if got, want := s.messageID(message(topic, first)), messageID(message(topic, raw)); got != want {
			t.Errorf("id on topic %s: %x, want %x", topic, got, want)
		}
	}
	a, err := s.decodeTxs(first)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.decodeTxs(again)
	if err != nil || len(a) != 2 || a[0] != b[0] || a[1].Hash() != txs[1].Hash() {
		t.Errorf("decoded twice: %v and %v, %v", a, b, err)
	}
	block := w.block(txs...)
	payload := s.keep(relay.EncodeGossip(block))
	for range 2 {
		if id := s.blockID(payload); id != block.ID() {
			t.Errorf("block id %s, want %s", id, block.ID())
		}
	}
	bad := s.keep([]byte{1, 2, 3})
	for range 2 {
		if _, err := s.decodeTxs(bad); !errors.Is(err, ErrBatch) {
			t.Errorf("a batch that is none: %v", err)
		}
	}
	var none *Shared
	if got := none.keep(raw); &got[0] != &raw[0] || none.messageID(message("a", raw)) != messageID(message("a", raw)) {
		t.Error("without a Shared, a payload is not itself")
	}
}

// TestSharedIsBounded: the oldest payloads make room, and a copy that outlives its entry is a payload like any other.
func TestSharedIsBounded(t *testing.T) {
	s := NewShared()
	const size = 1 << 10
	s.limit = 8 * size
	var first []byte
	for i := range 20 {
		p := s.keep(append(make([]byte, size), fmt.Sprint(i)...))
		if i == 0 {
			first = p
		}
	}
	if s.bytes > s.limit || len(s.order) < 7 || len(s.byHash) != len(s.order) || len(s.byPlace) != len(s.order) {
		t.Errorf("%d bytes in %d, %d and %d entries, want at most %d bytes", s.bytes, len(s.order), len(s.byHash), len(s.byPlace), s.limit)
	}
	if s.of(first) != nil || s.messageID(message("a", first)) != messageID(message("a", first)) {
		t.Error("the oldest payload is still there")
	}
}
