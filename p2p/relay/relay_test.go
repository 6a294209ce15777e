package relay

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/trie"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
)

var update = flag.Bool("update", false, "rewrite the golden file")

// sample is a block nobody has checked: signed, with n transactions.
func sample(t testing.TB, n int) *chain.Block { return sampleOf(t, n, 0) }

// sampleOf is sample with so many bytes of data in each transaction.
func sampleOf(t testing.TB, n, data int) *chain.Block {
	t.Helper()
	return sampleBy(t, n, func(int) int { return data })
}

// sampleBy is sample with as many bytes of data in each transaction as data says.
func sampleBy(t testing.TB, n int, data func(i int) int) *chain.Block {
	t.Helper()
	key := testKey()
	to := common.Address{1}
	var txs []*chain.Tx
	var inner types.Transactions
	for i := range n {
		x, err := chain.NewTx(types.MustSignNewTx(key, types.NewLondonSigner(big.NewInt(1337)), &types.DynamicFeeTx{
			ChainID: big.NewInt(1337), Nonce: uint64(i), To: &to, Gas: 21000, GasFeeCap: big.NewInt(2), GasTipCap: big.NewInt(1), Value: big.NewInt(1),
			Data: filler(i, data(i)),
		}))
		if err != nil {
			t.Fatal(err)
		}
		txs, inner = append(txs, x), append(inner, x.Inner())
	}
	sh, err := chain.SignHeader(&types.Header{
		ParentHash: common.Hash{9}, UncleHash: types.EmptyUncleHash, Coinbase: crypto.PubkeyToAddress(key.PublicKey), Difficulty: new(big.Int),
		Number: big.NewInt(7), GasLimit: 1e9, Time: 1_700_000_000, BaseFee: big.NewInt(1), TxHash: types.DeriveSha(inner, trie.NewStackTrie(nil)),
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	b, err := chain.NewBlock(sh, txs)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// filler is data that no other transaction has.
func filler(i, n int) []byte {
	out := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(i), byte(i >> 8), 1}).Read(out)
	return out
}

// node is a Node that remembers what it is given.
type node struct {
	sent    [][]byte
	taken   []*chain.Block
	from    []Message
	whole   []*chain.Block // completed from pieces
	ways    []Way
	fetched []common.Hash
	pool    map[common.Hash]*chain.Tx
	err     error // of Gossip and Take
	header  error // of CheckHeader
	checked int   // headers
	mesh    []peer.ID
	silent  bool
	blamed  []peer.ID
}

func (n *node) Gossip(payload []byte) error {
	n.sent = append(n.sent, payload)
	return n.err
}

func (n *node) Take(m Message, b *chain.Block) error {
	n.taken, n.from = append(n.taken, b), append(n.from, m)
	return n.err
}

func (n *node) DecodeBlock(raw []byte) (*chain.Block, error) { return chain.DecodeBlock(raw, n.Tx) }
func (n *node) Complete(_ peer.ID, b *chain.Block, w Way) error {
	n.whole, n.ways = append(n.whole, b), append(n.ways, w)
	return nil
}

func (n *node) CheckHeader(*chain.SignedHeader) error {
	n.checked++
	return n.header
}

func (n *node) Fetch(_ peer.ID, id common.Hash, _ uint64) { n.fetched = append(n.fetched, id) }

func (n *node) Tx(hash common.Hash) *chain.Tx { return n.pool[hash] }

func (n *node) EachTx(f func(*chain.Tx)) {
	for _, x := range n.pool {
		f(x)
	}
}

func (n *node) Charge(int) {}

func (n *node) Sign(digest common.Hash) (sig [65]byte, err error) {
	out, err := crypto.Sign(digest[:], testKey())
	copy(sig[:], out)
	return sig, err
}

func (n *node) Peers() []peer.ID { return n.mesh }
func (n *node) Silent() bool     { return n.silent }

func (n *node) Open(context.Context, peer.ID) (Stream, error) { return nil, errors.New("no network") }

func (n *node) Handle(func(Stream)) {}

func (n *node) Blame(p peer.ID, _ error) { n.blamed = append(n.blamed, p) }

func testKey() *ecdsa.PrivateKey {
	seed := sha256.Sum256([]byte("relay"))
	key, err := crypto.ToECDSA(seed[:])
	if err != nil {
		panic(err)
	}
	return key
}

// relay makes a relay on the node.
func (n *node) relay(t testing.TB, name string) Relay {
	t.Helper()
	r, err := New(Config{Name: name}, Deps{Node: n, Network: n, Clock: trace.NewClock(), Self: "self", MaxList: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestGossip(t *testing.T) {
	b := sample(t, 3)
	pooled := b.Txs()[1]
	n := &node{pool: map[common.Hash]*chain.Tx{pooled.Hash(): pooled}}
	r := n.relay(t, "gossip")
	if r.Name() != "gossip" {
		t.Fatal(r.Name())
	}
	if err := r.Publish(b); err != nil || len(n.sent) != 1 {
		t.Fatalf("Publish: %v, %d messages", err, len(n.sent))
	}
	m := Message{From: peer.ID("someone"), Payload: n.sent[0], Held: true}
	if err := r.Receive(m); err != nil {
		t.Fatal(err)
	}
	got := n.taken[0]
	if got.ID() != b.ID() || !bytes.Equal(got.Raw(), b.Raw()) || got.Txs()[1] != pooled || n.from[0].From != m.From || !n.from[0].Held {
		t.Errorf("took %v from %v", got.ID(), n.from[0])
	}
	n.err = chain.ErrUnknownParent
	if err := r.Receive(m); !errors.Is(err, chain.ErrUnknownParent) {
		t.Errorf("the node's verdict became %v", err)
	}
	for name, p := range map[string][]byte{"nothing": nil, "another kind": {7}, "garbage": {0, 1, 2, 3}, "cut": m.Payload[:50], "tail": append(bytes.Clone(m.Payload), 1)} {
		if err := r.Receive(Message{Payload: p}); !errors.Is(err, chain.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(n.taken) != 2 {
		t.Errorf("%d blocks taken", len(n.taken))
	}
}

func TestUnknownRelay(t *testing.T) {
	if _, err := New(Config{Name: "pigeon"}, Deps{Node: &node{}}); !errors.Is(err, ErrUnknown) {
		t.Errorf("New: %v", err)
	}
}

func TestBlockIDAndHeader(t *testing.T) {
	b := sample(t, 1)
	p := EncodeGossip(b)
	if id, ok := BlockID(p); !ok || id != b.ID() {
		t.Errorf("BlockID %v %v", id, ok)
	}
	if h, ok := Header(p); !ok || h.Hash() != b.ID() || h.ParentHash != b.Parent() {
		t.Errorf("Header %v %v", h, ok)
	}
	for name, p := range map[string][]byte{
		"nothing": nil, "kind only": {0}, "another kind": append([]byte{1}, p[1:]...), "no list": {0, 0x80}, "empty list": {0, 0xc0}, "string header": {0, 0xc1, 0x01},
	} {
		if _, ok := BlockID(p); ok {
			t.Errorf("%s has an id", name)
		}
		if _, ok := Header(p); ok {
			t.Errorf("%s has a header", name)
		}
	}
}

// TestGolden pins the message. A change needs a new kind.
func TestGolden(t *testing.T) {
	pinned(t, "gossip", EncodeGossip(sample(t, 2)))
}

// pinned compares a message with the one of its name in testdata.
func pinned(t *testing.T, name string, payload []byte) {
	t.Helper()
	got := hex.EncodeToString(payload)
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != strings.TrimSpace(string(want)) {
		t.Errorf("the %s message changed: %s", name, got)
	}
}

func FuzzDecodeGossip(f *testing.F) {
	f.Add(EncodeGossip(sample(f, 2)))
	f.Add([]byte{0, 0xc0})
	f.Fuzz(func(t *testing.T, p []byte) {
		b, err := DecodeGossip(p, (&node{}).DecodeBlock)
		id, ok := BlockID(p)
		if err != nil {
			if !errors.Is(err, chain.ErrInvalid) {
				t.Fatalf("%v is not the sender's fault", err)
			}
			return
		}
		h, hok := Header(p)
		if !ok || id != b.ID() || !hok || h.ParentHash != b.Parent() || !bytes.Equal(EncodeGossip(b), p) {
			t.Fatalf("decoded %v, BlockID %v %v", b.ID(), id, ok)
		}
	})
}

func BenchmarkBlockID(b *testing.B) {
	p := EncodeGossip(sample(b, 500))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := BlockID(p); !ok {
			b.Fatal("no id")
		}
	}
}
