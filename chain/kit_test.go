package chain

import (
	"crypto/ecdsa"
	"fmt"
	"math/big"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/holiman/uint256"
)

// world is a network for tests: a genesis and every key in it.
type world struct {
	g         *Genesis
	proposers []*ecdsa.PrivateKey
	users     []*ecdsa.PrivateKey
	signer    types.Signer
}

// ether is 10^18 wei, what each user of a world starts with a thousand of.
var ether = uint256.NewInt(1_000_000_000_000_000_000)

func keyOf(name string) *ecdsa.PrivateKey {
	key, err := crypto.ToECDSA(crypto.Keccak256([]byte(name)))
	if err != nil {
		panic(err)
	}
	return key
}

func addrOf(key *ecdsa.PrivateKey) common.Address { return crypto.PubkeyToAddress(key.PublicKey) }

// newWorld makes a world whose genesis lies in the past, so no slot in it is early.
func newWorld(proposers, users int) *world {
	w := &world{g: &Genesis{
		ChainID: 1337, TimeMS: 1_700_000_000_123, SlotMS: 1000, Label: "test", Alloc: map[common.Address]*uint256.Int{},
	}}
	for i := range proposers {
		key := keyOf(fmt.Sprintf("proposer %d", i))
		w.proposers = append(w.proposers, key)
		w.g.Proposers = append(w.g.Proposers, addrOf(key))
	}
	for i := range users {
		key := keyOf(fmt.Sprintf("user %d", i))
		w.users = append(w.users, key)
		w.g.Alloc[addrOf(key)] = new(uint256.Int).Mul(ether, uint256.NewInt(1000))
	}
	w.g.setDefaults()
	w.signer = types.NewLondonSigner(new(big.Int).SetUint64(w.g.ChainID))
	return w
}

func (w *world) user(i int) common.Address { return addrOf(w.users[i]) }

// transfer is a signed EIP-1559 transfer with enough gas for its data.
func (w *world) transfer(from int, nonce uint64, to common.Address, wei uint64, data ...byte) *Tx {
	return w.sign(from, &types.DynamicFeeTx{
		ChainID: new(big.Int).SetUint64(w.g.ChainID), Nonce: nonce, To: &to, Value: new(big.Int).SetUint64(wei),
		Gas: gasTx + gasByte*uint64(len(data)), GasFeeCap: big.NewInt(3_000_000_000), GasTipCap: big.NewInt(1_000_000_000), Data: data,
	})
}

func (w *world) sign(from int, data types.TxData) *Tx {
	tx, err := NewTx(types.MustSignNewTx(w.users[from], w.signer, data))
	if err != nil {
		panic(err)
	}
	return tx
}

// tip is a block with the state after it, from which others are made, on any branch.
type tip struct {
	*Block
	state State
}

func (w *world) genesis() tip {
	sh, err := NewSignedHeader(w.g.Header(), [signatureBytes]byte{})
	if err != nil {
		panic(err)
	}
	return tip{assemble(sh, nil), w.g.state()}
}

// next makes a valid child of p in slot.
func (w *world) next(p tip, slot uint64, txs ...*Tx) tip {
	return w.bent(p, slot, txs, func(*types.Header) {})
}

// bent is next with a header that bend has changed before it is signed. A
// transaction that does not apply is put in all the same.
func (w *world) bent(p tip, slot uint64, txs []*Tx, bend func(*types.Header)) tip {
	h := newHeader(w.g, p.header, slot, nil)
	t := newTransition(w.g, p.state, h.Coinbase, len(txs))
	for _, tx := range txs {
		_ = t.apply(tx)
	}
	st := p.state.with(t.changes())
	h.GasUsed, h.TxHash, h.ReceiptHash, h.Root = t.gasUsed, txRoot(txs), t.receipts.root(), st.Root()
	bend(h)
	sh, err := SignHeader(h, w.proposers[slot%uint64(len(w.proposers))])
	if err != nil {
		panic(err)
	}
	return tip{assemble(sh, txs), st}
}

// run makes n blocks of txs transfers each on p, in the slots after p's, step apart.
func (w *world) run(p tip, n, txs int, step uint64) []tip {
	var out []tip
	for range n {
		var body []*Tx
		nonces := map[int]uint64{}
		for i := range txs {
			u := i % len(w.users)
			nonce := p.state.Nonce(w.user(u)) + nonces[u]
			nonces[u]++
			body = append(body, w.transfer(u, nonce, w.user((u+1)%len(w.users)), uint64(i)+p.Slot()))
		}
		p = w.next(p, p.Slot()+step, body...)
		out = append(out, p)
	}
	return out
}

func openChain(t testing.TB, w *world, cfg Config, dir string) *Chain {
	t.Helper()
	c, err := Open(cfg, w.g, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// fresh is b as it comes off the wire: nothing cached.
func fresh(t testing.TB, b *Block) *Block {
	t.Helper()
	out, err := DecodeBlock(b.Raw(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func add(t testing.TB, c *Chain, blocks ...tip) {
	t.Helper()
	for _, b := range blocks {
		if _, err := c.Add(b.Block); err != nil {
			t.Fatalf("Add(%d %s) = %v", b.Number(), b.ID(), err)
		}
	}
}

// supply adds up all balances.
func supply(s State) *uint256.Int {
	sum := new(uint256.Int)
	for _, a := range s.All() {
		sum.Add(sum, &a.Balance)
	}
	return sum
}
