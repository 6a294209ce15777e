package p2p

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/core/types"
	ethcrypto "github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/relay"
)

// announcer is a node whose relay publishes nothing: it keeps the message.
type announcer struct {
	relayNode
	message []byte
}

func (a *announcer) Gossip(payload []byte) error {
	a.message = payload
	return nil
}

// announces is the message that a relay publishes of a block at n, however small it is.
func (n *testNode) announces(name string, b *chain.Block) []byte {
	n.t.Helper()
	a := &announcer{relayNode: relayNode{n.net}}
	r, err := relay.New(relay.Config{Name: name, Whole: 1}, relay.Deps{Node: a, Network: a, Clock: n.net.clock, MaxList: 1 << 20})
	if err != nil {
		n.t.Fatal(err)
	}
	if err := r.Publish(b); err != nil {
		n.t.Fatal(err)
	}
	return a.message
}

// announced is what stands between the first byte of an announcement and its signature.
type announced struct {
	Header     rlp.RawValue
	Push       bool
	Size       uint64
	Leaves     []byte
	Nonce      uint64
	IDs, Sizes []byte
	Prefilled  []prefilled
}

type prefilled struct {
	Index uint64
	Raw   []byte
}

// announcementHash is what the signature at the end of an announcement is of; pieces of the block name its first bytes.
func announcementHash(payload []byte) []byte {
	return ethcrypto.Keccak256([]byte("pheme relay announcement 1\x00"), payload[:len(payload)-65])
}

// bentAnnouncement is an announcement changed and signed by a key.
func (w *world) bentAnnouncement(payload []byte, key *ecdsa.PrivateKey, bend func(*announced)) []byte {
	w.t.Helper()
	var a announced
	if err := rlp.DecodeBytes(payload[1:len(payload)-65], &a); err != nil {
		w.t.Fatal(err)
	}
	a.Leaves = bytes.Clone(a.Leaves)
	bend(&a)
	body, err := rlp.EncodeToBytes(&a)
	if err != nil {
		w.t.Fatal(err)
	}
	out := slices.Concat(payload[:1], body, make([]byte, 65))
	sig, err := ethcrypto.Sign(announcementHash(out), key)
	if err != nil {
		w.t.Fatal(err)
	}
	copy(out[len(out)-65:], sig)
	return out
}

// next is a block of a slot that follows w's last one; w's chain does not take it.
func (w *world) next(slot uint64, txs ...*chain.Tx) *chain.Block {
	w.t.Helper()
	b, left, err := w.builder.Build(slot, w.key, txs, 0)
	if err != nil || len(left) > 0 {
		w.t.Fatalf("Build: %v, %d left out", err, len(left))
	}
	return b
}

// TestAnnouncementVerdicts sends everything that can be wrong with an announcement to the block topic.
func TestAnnouncementVerdicts(t *testing.T) {
	w := newWorld(t, "hostile announcements")
	n := w.node("n")
	n.net.grace = time.Hour // no catch-up
	known := w.block(w.tx(0, 10))
	n.give(known)
	txs := []*chain.Tx{w.tx(1, 6<<10), w.tx(2, 6<<10), w.tx(3, 6<<10)}
	one, two, three := w.next(w.slot+1, txs...), w.next(w.slot+2, txs...), w.next(w.slot+3, txs...)
	again, third := w.next(w.slot+1, txs[:2]...), w.next(w.slot+1, txs[:1]...)
	orphan := w.blocks(2, 10)[1]
	same, none := func(*announced) {}, func(*types.Header) {}
	coded, compact, unused := n.announces("coded", one), n.announces("compact", two), n.announces("compact", three)
	forged := bytes.Clone(unused)
	forged[len(forged)-2] ^= 1
	cases := []struct {
		name    string
		payload []byte
		want    Verdict
	}{
		{"nothing but a kind", []byte{2}, Reject},
		{"garbage", append([]byte{1}, "garbage"...), Reject},
		{"cut", unused[:len(unused)-1], Reject},
		{"of another kind", append([]byte{2}, unused[1:]...), Reject},
		{"broken signature", forged, Reject},
		{"another's key", w.bentAnnouncement(unused, w.users[0], same), Reject},
		{"another's header", n.announces("coded", w.bentBy(w.users[0], three, three.Txs(), none)), Reject},
		{"a hash too few", w.bentAnnouncement(unused, w.key, func(a *announced) { a.Leaves = a.Leaves[16:] }), Reject},
		{"larger than a block", w.bentAnnouncement(unused, w.key, func(a *announced) { a.Size = 2 << 20 }), Reject},
		{"an id too few", w.bentAnnouncement(unused, w.key, func(a *announced) { a.IDs = a.IDs[6:] }), Reject},
		{"overfull", w.bentAnnouncement(unused, w.key, func(a *announced) {
			a.Prefilled = nil
			for i, x := range three.Txs() {
				a.Prefilled = append(a.Prefilled, prefilled{uint64(i), x.Raw()})
			}
		}), Reject},
		{"known", n.announces("coded", known), Ignore},
		{"unknown parent", n.announces("coded", orphan), Ignore},
		{"good and coded", coded, Accept},
		{"good and compact", compact, Accept},
		{"a second root", w.bentAnnouncement(coded, w.key, func(a *announced) { a.Leaves[0] ^= 1 }), Ignore},
		{"another form", n.announces("compact", one), Ignore},
		{"second block of its slot", n.announces("coded", again), Ignore},
		{"third block of its slot", n.announces("coded", third), Ignore},
	}
	w.verdicts(n, topicBlock, len(cases), func(i int) (string, []byte, Verdict) { return cases[i].name, cases[i].payload, cases[i].want })
	w.stillServes(n)
}

// TestGarbageOnRelayStreams: who says on a stream of the relay what no honest peer does is scored, and who only breaks off,
// comes early or brings what is good is not; nor is who announced the block.
func TestGarbageOnRelayStreams(t *testing.T) {
	w := newWorld(t, "relay streams")
	n := w.node("n")
	n.net.grace = time.Hour // no catch-up
	b := w.block(w.tx(0, 300))
	payload := n.announces("coded", b) // of one chunk and one of parity: the list of transactions, up to a multiple of 64 bytes
	first, topic := w.hostileGossip(t.Context(), n, "announcer", topicBlock)
	if err := topic.Publish(t.Context(), payload); err != nil {
		t.Fatal(err)
	}
	n.until("announced", func() bool { return n.net.Stats().Relay.Received.Coded == 1 })
	frame := func(parts ...[]byte) []byte {
		body := slices.Concat(parts...)
		return append(binary.AppendUvarint(nil, uint64(len(body))), body...)
	}
	tag := announcementHash(payload)[:16]
	good := slices.Concat(b.TxList(), make([]byte, 63-(len(b.TxList())-1)%64))
	bad := bytes.Clone(good)
	bad[0] ^= 1
	chunk := func(tag []byte, number byte, bytes []byte) []byte {
		return frame([]byte{0}, tag, []byte{0, number, 0}, bytes)
	}
	for _, c := range []struct {
		name   string
		bytes  []byte
		guilty bool
	}{
		{"nothing", nil, false},
		{"half a frame", chunk(tag, 0, good)[:100], false},
		{"a chunk of no block", chunk(make([]byte, 16), 0, bad), false},
		{"garbage", frame([]byte("garbage garbage garbage")), true},
		{"a frame too long", binary.AppendUvarint(nil, 1<<20), true},
		{"an endless length", []byte{0xff, 0xff, 0xff, 0xff, 0x7f}, true},
		{"a bad chunk", chunk(tag, 0, bad), true},
		{"a chunk beyond the last", chunk(tag, 2, good), true},
		{"news of a chunk beyond the last", frame([]byte{1}, tag, []byte{0, 0, 0, 2}), true},
		{"a question that a coded block has no answer to", frame([]byte{2}, tag, []byte{0}), true},
		{"a good chunk", chunk(tag, 0, good), false},
	} {
		e := w.evil(c.name, w.claim(0, b.Parent()), func(s network.Stream) { _ = s.Reset() })
		if err := n.net.AddPeer(e.addr()); err != nil {
			t.Fatal(err)
		}
		n.until("up", func() bool { return n.net.peers.isUp(e.host.ID()) })
		s, err := e.host.NewStream(t.Context(), n.host.ID(), relayProtocol)
		if err != nil {
			t.Fatal(err)
		}
		_ = s.SetDeadline(time.Now().Add(patience))
		_, _ = s.Write(c.bytes) // a stream may be over before all is written
		_ = s.CloseWrite()
		if _, err := s.Read(make([]byte, 1)); err == nil { // it ends when all is judged
			t.Errorf("%s is answered", c.name)
		}
		if p := n.net.peers.penalty(e.host.ID()); p < 0 != c.guilty {
			t.Errorf("%s: penalty %g", c.name, p)
		}
	}
	n.reaches(b)
	if p := n.net.peers.penalty(first.host.ID()); p != 0 {
		t.Errorf("who announced the block: penalty %g", p)
	}
	w.stillServes(n)
}
