package mempool

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"math/big"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/holiman/uint256"

	"github.com/pheme-net/pheme/chain"
)

const (
	baseFee  = 1000
	transfer = 21_000 // gas of a transfer without data
)

// fakeState is a state that tests set at will.
type fakeState struct {
	nonce   map[common.Address]uint64
	balance map[common.Address]uint64
}

func newState() *fakeState {
	return &fakeState{nonce: make(map[common.Address]uint64), balance: make(map[common.Address]uint64)}
}

func (s *fakeState) Nonce(a common.Address) uint64         { return s.nonce[a] }
func (s *fakeState) Balance(a common.Address) *uint256.Int { return uint256.NewInt(s.balance[a]) }

func (s *fakeState) clone() *fakeState {
	c := newState()
	for a, n := range s.nonce {
		c.nonce[a] = n
	}
	for a, b := range s.balance {
		c.balance[a] = b
	}
	return c
}

// who is an address by number.
func who(i int) common.Address { return common.BigToAddress(big.NewInt(int64(i) + 1)) }

// spec is a transaction in few words. Its zero fields mean: a transfer of nothing,
// fee cap just enough for the tip.
type spec struct {
	from  int
	nonce uint64
	tip   uint64
	value uint64
	cap   uint64 // fee cap above the base fee; 0 means tip
	data  int    // zero bytes
}

func (s spec) inner() *types.DynamicFeeTx {
	to := who(s.from + 1000) // so that equal transactions of two senders differ
	over := max(s.cap, s.tip)
	return &types.DynamicFeeTx{
		ChainID: big.NewInt(1337), Nonce: s.nonce, To: &to, Value: new(big.Int).SetUint64(s.value),
		Gas: transfer + 4*uint64(s.data), GasTipCap: new(big.Int).SetUint64(s.tip),
		GasFeeCap: new(big.Int).SetUint64(baseFee + over), Data: make([]byte, s.data),
	}
}

// tx is unsigned: the core never looks at signatures.
func (s spec) tx() *chain.Tx {
	tx, err := chain.NewTx(types.NewTx(s.inner()))
	if err != nil {
		panic(err)
	}
	return tx
}

// testCore is a core with senders who all have the same balance.
func testCore(cfg Config, senders int, balance uint64) (*core, *fakeState) {
	st := newState()
	for i := range senders {
		st.balance[who(i)] = balance
	}
	cfg.fill()
	return newCore(cfg, uint256.NewInt(baseFee), st), st
}

// put adds transactions that must be admitted.
func put(t testing.TB, c *core, specs ...spec) {
	t.Helper()
	for _, s := range specs {
		if err := c.add(s.tx(), who(s.from), 0); err != nil {
			t.Fatalf("add(%+v) = %v, want it admitted", s, err)
		}
	}
}

// refused adds a transaction that must be refused with want.
func refused(t testing.TB, c *core, s spec, want error) {
	t.Helper()
	if err := c.add(s.tx(), who(s.from), 0); !errors.Is(err, want) {
		t.Fatalf("add(%+v) = %v, want %v", s, err, want)
	}
}

// shape writes the queues of a sender as nonces: "0 1 2 | 4 5".
func (c *core) shape(i int) string {
	a := c.accounts[who(i)]
	if a == nil {
		return "|"
	}
	out := ""
	for _, e := range a.queue[executable] {
		out += fmt.Sprintf("%d ", e.nonce())
	}
	out += "|"
	for _, e := range a.queue[future] {
		out += fmt.Sprintf(" %d", e.nonce())
	}
	return out
}

func wantShape(t testing.TB, c *core, i int, want string) {
	t.Helper()
	if got := c.shape(i); got != want {
		t.Fatalf("queues of sender %d are %q, want %q", i, got, want)
	}
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
}

// check verifies every invariant of the core from what it holds.
func (c *core) check() error {
	hashes := 0
	var used [pools]usage
	for addr, a := range c.accounts {
		if a.addr != addr || a.empty() || a.nonce != c.state.Nonce(addr) {
			return fmt.Errorf("account %s is filed wrongly, empty, or has nonce %d while the state has %d", addr, a.nonce, c.state.Nonce(addr))
		}
		var cost uint256.Int
		executableBytes := 0
		for _, e := range a.queue[executable] {
			executableBytes += e.tx.Size()
		}
		if executableBytes != a.bytes {
			return fmt.Errorf("account %s has %d executable bytes, books say %d", addr, executableBytes, a.bytes)
		}
		for pool, q := range a.queue {
			if (len(q) > 0) != (a.place[pool] >= 0) || len(q) > 0 && c.tails[pool].list[a.place[pool]] != a {
				return fmt.Errorf("account %s is not where its tail belongs", addr)
			}
			for i, e := range q {
				switch {
				case e.from != a || c.byHash[e.tx.Hash()] != e:
					return fmt.Errorf("entry %d of %s is not indexed", e.nonce(), addr)
				case pool == executable && e.nonce() != a.nonce+uint64(i):
					return fmt.Errorf("executable nonces of %s have a gap at %d", addr, i)
				case pool == future && i > 0 && e.nonce() <= q[i-1].nonce():
					return fmt.Errorf("future nonces of %s are out of order", addr)
				}
				cost.Add(&cost, e.tx.Cost())
				used[pool].count++
				used[pool].bytes += e.tx.Size()
				hashes++
			}
		}
		if !cost.Eq(&a.cost) || cost.Gt(c.state.Balance(addr)) {
			return fmt.Errorf("account %s owes %s, books say %s, balance is %s", addr, cost.Dec(), a.cost.Dec(), c.state.Balance(addr).Dec())
		}
		_, waits := c.waiting[a]
		if next := len(a.queue[future]) > 0 && a.queue[future][0].nonce() == a.next(); next != waits {
			return fmt.Errorf("account %s waits for room: %v, is listed so: %v", addr, next, waits)
		}
	}
	if hashes != len(c.byHash) || used != c.used {
		return fmt.Errorf("%d entries and %v used, books say %d and %v", hashes, used, len(c.byHash), c.used)
	}
	for pool := range used {
		if limit := c.limit(pool); used[pool].count > limit.count || used[pool].bytes > limit.bytes {
			return fmt.Errorf("pool %d holds %v, cap is %v", pool, used[pool], limit)
		}
		t := c.tails[pool]
		for i, a := range t.list {
			if a.place[pool] != i || c.accounts[a.addr] != a || i > 0 && t.Less(i, (i-1)/2) {
				return fmt.Errorf("heap of pool %d is broken at %d", pool, i)
			}
		}
	}
	for a := range c.waiting {
		if c.accounts[a.addr] != a {
			return fmt.Errorf("forgotten account %s waits", a.addr)
		}
	}
	return nil
}

// world is a network with keys, for tests of the whole pool.
type world struct {
	g    *chain.Genesis
	keys []*ecdsa.PrivateKey
	st   *fakeState
}

func newWorld(senders int) *world {
	w := &world{st: newState(), g: &chain.Genesis{ChainID: 1337, BaseFee: uint256.NewInt(baseFee), GasLimit: 1_000_000_000}}
	for i := range senders {
		key, err := crypto.ToECDSA(crypto.Keccak256(fmt.Appendf(nil, "sender %d", i)))
		if err != nil {
			panic(err)
		}
		w.keys = append(w.keys, key)
		w.st.balance[w.addr(i)] = 1 << 62
	}
	return w
}

func (w *world) addr(i int) common.Address { return crypto.PubkeyToAddress(w.keys[i].PublicKey) }

func (w *world) sign(s spec) *chain.Tx {
	inner := s.inner()
	inner.ChainID = new(big.Int).SetUint64(w.g.ChainID)
	tx, err := chain.NewTx(types.MustSignNewTx(w.keys[s.from], types.NewLondonSigner(inner.ChainID), inner))
	if err != nil {
		panic(err)
	}
	return tx
}

// cold is the same transaction as it comes from the wire: without its sender.
func cold(tx *chain.Tx) *chain.Tx {
	again, err := chain.DecodeTx(tx.Raw())
	if err != nil {
		panic(err)
	}
	return again
}

func (w *world) open(t testing.TB, cfg Config, d disk) *Pool {
	t.Helper()
	p, err := open(cfg, w.g, w.st, d)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return p
}

// add offers transactions that must all be admitted.
func add(t testing.TB, p *Pool, txs ...*chain.Tx) {
	t.Helper()
	for i, err := range p.Add(txs) {
		if err != nil {
			t.Fatalf("Add: transaction %d: %v", i, err)
		}
	}
}
