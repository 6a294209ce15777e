package mempool

import (
	"crypto/ecdsa"
	"crypto/sha256"
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
	gwei     = 1_000_000_000
	transfer = 21_000
)

// ledger is a State to write to.
type ledger map[common.Address]*chain.Account

func (l ledger) Nonce(addr common.Address) uint64 {
	if a := l[addr]; a != nil {
		return a.Nonce
	}
	return 0
}

func (l ledger) Balance(addr common.Address) *uint256.Int {
	if a := l[addr]; a != nil {
		return &a.Balance
	}
	return new(uint256.Int)
}

func (l ledger) fund(addr common.Address, wei uint64) {
	l[addr] = &chain.Account{Balance: *uint256.NewInt(wei)}
}

// user is a key with its address.
type user struct {
	key  *ecdsa.PrivateKey
	addr common.Address
}

// users derives n users that are always the same.
func users(t testing.TB, n int) []user {
	t.Helper()
	out := make([]user, n)
	for i := range out {
		seed := sha256.Sum256(fmt.Appendf(nil, "user %d", i))
		key, err := crypto.ToECDSA(seed[:])
		if err != nil {
			t.Fatal(err)
		}
		out[i] = user{key, crypto.PubkeyToAddress(key.PublicKey)}
	}
	return out
}

func testGenesis() *chain.Genesis {
	return &chain.Genesis{ChainID: 1337, BaseFee: uint256.NewInt(gwei), GasLimit: 1_000_000_000}
}

// order describes a transaction to sign; tip is in wei above the base fee.
type order struct {
	nonce, tip, value uint64
	data              int
}

func (u user) sign(t testing.TB, o order) *chain.Tx {
	t.Helper()
	gas := uint64(transfer + 16*o.data)
	data := make([]byte, o.data)
	for i := range data {
		data[i] = 1
	}
	inner, err := types.SignNewTx(u.key, types.LatestSignerForChainID(big.NewInt(1337)), &types.DynamicFeeTx{
		ChainID: big.NewInt(1337), Nonce: o.nonce, To: &common.Address{19: 1}, Value: new(big.Int).SetUint64(o.value), Gas: gas, Data: data,
		GasTipCap: new(big.Int).SetUint64(o.tip), GasFeeCap: new(big.Int).SetUint64(gwei + o.tip),
	})
	if err != nil {
		t.Fatal(err)
	}
	tx, err := chain.NewTx(inner)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Sender(1337); err != nil {
		t.Fatal(err)
	}
	return tx
}

// cost is what an order without data reserves of its sender's balance.
func (o order) cost() uint64 { return o.value + transfer*(gwei+o.tip) }

// check reports the first broken invariant of the core: caps, gaps, costs and the agreement of its
// indexes.
func (c *core) check() error {
	execs, bytes, futures, ahead, entries := 0, 0, 0, 0, 0
	for addr, a := range c.accounts {
		if len(a.txs) == 0 {
			return fmt.Errorf("%s is kept with nothing queued", addr)
		}
		if a.addr != addr || a.nonce != c.state.Nonce(addr) {
			return fmt.Errorf("%s stands at nonce %d, the state at %d", addr, a.nonce, c.state.Nonce(addr))
		}
		if (a.heap >= 0) != (a.exec > 0) || a.heap >= 0 && c.tails[a.heap] != a {
			return fmt.Errorf("%s has %d executable and place %d among the tails", addr, a.exec, a.heap)
		}
		cost := new(uint256.Int)
		for i, e := range a.txs {
			entries++
			cost.Add(cost, e.tx.Cost())
			if c.byHash[e.tx.Hash()] != e || e.sender != a {
				return fmt.Errorf("nonce %d of %s is not indexed", e.tx.Nonce(), addr)
			}
			if i > 0 && a.txs[i-1].tx.Nonce() >= e.tx.Nonce() || e.tx.Nonce() < a.nonce {
				return fmt.Errorf("nonces of %s are out of order", addr)
			}
			if i < a.exec {
				execs, bytes = execs+1, bytes+e.tx.Size()
				if e.tx.Nonce() != a.nonce+uint64(i) || e.heap >= 0 {
					return fmt.Errorf("%s has a gap before nonce %d", addr, e.tx.Nonce())
				}
			} else {
				futures, ahead = futures+1, ahead+e.tx.Size()
				if e.heap < 0 || c.futures[e.heap] != e {
					return fmt.Errorf("nonce %d of %s is not among the future ones", e.tx.Nonce(), addr)
				}
			}
		}
		if !cost.Eq(&a.cost) {
			return fmt.Errorf("cost of %s is %s, counted %s", addr, cost, &a.cost)
		}
		if cost.Gt(c.state.Balance(addr)) {
			return fmt.Errorf("%s queued %s and owns %s", addr, cost, c.state.Balance(addr))
		}
		if a.exec > c.cfg.PerSender {
			return fmt.Errorf("%s has %d executable", addr, a.exec)
		}
	}
	if execs != c.execs || bytes != c.bytes || futures != len(c.futures) || ahead != c.ahead || entries != len(c.byHash) {
		return fmt.Errorf("books say %d/%d and %d/%d of %d, counted %d/%d and %d/%d of %d",
			c.execs, c.bytes, len(c.futures), c.ahead, len(c.byHash), execs, bytes, futures, ahead, entries)
	}
	if execs > c.cfg.MaxCount || bytes > c.cfg.MaxBytes || futures > c.cfg.MaxFuture || ahead > c.cfg.MaxFutureBytes {
		return fmt.Errorf("over a cap: %d/%d executable, %d/%d future", execs, bytes, futures, ahead)
	}
	return nil
}
