package relay

import (
	"bytes"
	"errors"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rlp"

	"github.com/pheme-net/pheme/chain"
)

// announced returns the message a relay publishes of a block.
func announce(t testing.TB, name string, b *chain.Block) []byte {
	t.Helper()
	n := &node{}
	if err := n.relay(t, name).Publish(b); err != nil || len(n.sent) != 1 {
		t.Fatalf("Publish() = %v, %d messages", err, len(n.sent))
	}
	return n.sent[0]
}

// TestAnnouncementGolden pins both announcements. The compact one brings a transaction.
func TestAnnouncementGolden(t *testing.T) {
	b := sampleBy(t, 4, func(i int) int { return []int{8 << 10, 100, 8 << 10, 1 << 10}[i] })
	n := &node{pool: make(map[common.Hash]*chain.Tx)}
	for i, x := range b.Txs() {
		if i != 1 {
			n.pool[x.Hash()] = x
		}
	}
	if err := n.relay(t, "compact").Publish(b); err != nil || len(n.sent) != 1 {
		t.Fatalf("Publish() = %v, %d messages", err, len(n.sent))
	}
	for name, payload := range map[string][]byte{"coded": announce(t, "coded", sampleOf(t, 3, 8<<10)), "compact": n.sent[0]} {
		pinned(t, name, payload)
	}
	a, err := decodeAnnouncement(n.sent[0], 1<<20)
	if err != nil || len(a.parts) != 4 || len(a.body.Prefilled) != 1 || a.body.Prefilled[0].Index != 1 || a.body.Push {
		t.Errorf("decodeAnnouncement() = %+v, %v", a, err)
	}
}

func TestAnnouncement(t *testing.T) {
	b := sampleOf(t, 3, 8<<10)
	p := announce(t, "coded", b)
	a, err := decodeAnnouncement(p, 1<<20)
	if err != nil || a.header.ID() != b.ID() || a.shape.size != len(b.TxList()) || !a.body.Push {
		t.Fatalf("decodeAnnouncement() = %+v, %v", a, err)
	}
	if id, ok := BlockID(p); !ok || id != b.ID() {
		t.Errorf("BlockID() = %v, %v", id, ok)
	}
	if h, ok := Header(p); !ok || h.ParentHash != b.Parent() {
		t.Errorf("Header() = %v, %v", h, ok)
	}
	// Whoever changes a bit of it is found out.
	for i := 0; i < len(p); i += 7 {
		bad := bytes.Clone(p)
		bad[i] ^= 1
		if _, err := decodeAnnouncement(bad, 1<<20); !errors.Is(err, chain.ErrInvalid) {
			t.Fatalf("bit %d flipped: %v", 8*i, err)
		}
	}
	for name, bend := range map[string]func(*announcement){
		"no transactions":        func(a *announcement) { a.body.Size = 0 },
		"too large":              func(a *announcement) { a.body.Size = 2 << 20 },
		"a hash too few":         func(a *announcement) { a.body.Leaves = a.body.Leaves[leafBytes:] },
		"hashes for more":        func(a *announcement) { a.body.Leaves = append(a.body.Leaves, make([]byte, leafBytes)...) },
		"ids though not compact": func(a *announcement) { a.body.IDs = make([]byte, shortBytes) },
	} {
		bent := &announcement{kind: a.kind, body: a.body}
		bent.body.Leaves = bytes.Clone(a.body.Leaves)
		bend(bent)
		bad, err := bent.encode((&node{}).Sign)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeAnnouncement(bad, 1<<20); !errors.Is(err, ErrMessage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	other, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := (&announcement{kind: a.kind, body: a.body}).encode(func(h common.Hash) (sig [65]byte, err error) {
		out, err := crypto.Sign(h[:], other)
		copy(sig[:], out)
		return sig, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decodeAnnouncement(foreign, 1<<20); !errors.Is(err, ErrMessage) {
		t.Errorf("signed by another: %v", err)
	}
}

func FuzzDecodeAnnouncement(f *testing.F) {
	f.Add(announce(f, "coded", sampleOf(f, 3, 8<<10)))
	f.Add(announceCompact(f, sampleOf(f, 3, 8<<10)))
	f.Add([]byte{kindCompact, 0xc0})
	f.Fuzz(func(t *testing.T, p []byte) {
		a, err := decodeAnnouncement(p, 1<<20)
		if err != nil {
			if !errors.Is(err, chain.ErrInvalid) {
				t.Fatalf("%v is not the sender's fault", err)
			}
		} else if again, err := rlp.EncodeToBytes(&a.body); err != nil || !bytes.Equal(again, p[1:len(p)-signatureBytes]) {
			t.Fatalf("%x encodes to %x", p, again)
		}
		if len(p) < 2 { // and without the signature, which a fuzzer does not find
			return
		}
		b := &announcement{kind: kindCompact}
		if rlp.DecodeBytes(p[1:], &b.body) != nil || b.layout() != nil {
			return
		}
		if last := b.parts[len(b.parts)-1]; uint64(last.end) != b.body.Size {
			t.Fatalf("the last transaction ends at %d of %d", last.end, b.body.Size)
		}
	})
}

func TestFrames(t *testing.T) {
	for _, f := range []*frame{
		{kind: frameChunk, tag: tag{1}, chunk: 300, hops: 4, bytes: []byte{1, 2, 3}},
		{kind: frameHave, tag: tag{2}, flags: flagDone | flagAll, acks: []int{1, 2, 191}, held: []int{0, 77}},
		{kind: frameHave, tag: tag{2}},
		{kind: frameAsk, tag: tag{3}, asked: []int{0, 5, 700}},
		{kind: frameTxs, tag: tag{4}, hops: 2, txs: []numbered{{3, []byte("abc")}, {0, []byte("d")}}},
		{kind: frameRoute, tag: tag{5}, port: 4001},
		{kind: frameRoute, port: 65535, query: true},
	} {
		raw := f.encode()
		body, err := readFrame(bytes.NewReader(raw), bytes.NewReader(raw[uvarintLen(len(raw)-1):]))
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeFrame(body)
		if err != nil || !bytes.Equal(got.encode(), raw) {
			t.Errorf("%+v comes back as %+v, %v", f, got, err)
		}
	}
}

func FuzzDecodeFrame(f *testing.F) {
	f.Add((&frame{kind: frameChunk, chunk: 3, bytes: []byte{1}}).encode()[1:])
	f.Add((&frame{kind: frameHave, acks: []int{1}, held: []int{2}}).encode()[1:])
	f.Add((&frame{kind: frameAsk, asked: []int{1, 2}}).encode()[1:])
	f.Add((&frame{kind: frameTxs, txs: []numbered{{1, []byte{1}}}}).encode()[1:])
	f.Add((&frame{kind: frameRoute, port: 4001, query: true}).encode()[1:])
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := decodeFrame(b)
		if err != nil {
			if !errors.Is(err, chain.ErrInvalid) {
				t.Fatalf("%v is not the sender's fault", err)
			}
			return
		}
		if raw := g.encode(); !bytes.Equal(raw[uvarintLen(len(b)):], b) {
			t.Fatalf("%x encodes to %x", b, raw)
		}
	})
}
