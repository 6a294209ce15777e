package chain

import (
	"errors"
	"fmt"
	"math/big"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/holiman/uint256"
)

// Gas of a transfer: Ethereum's intrinsic gas (yellow paper, EIP-2028, EIP-2930).
const (
	gasTx         = 21_000
	gasZeroByte   = 4
	gasByte       = 16
	gasAccessAddr = 2400
	gasAccessKey  = 1900
)

// Tx is a decoded transaction beside the bytes it came in, which are its one
// encoding on wire and disk. It is immutable but for the sender, which is
// recovered once and cached, so gossip, pool and block share one Tx.
type Tx struct {
	raw   []byte
	inner *types.Transaction
	hash  common.Hash

	to                          common.Address
	value, feeCap, tipCap, cost uint256.Int
	gas                         uint64 // intrinsic gas, which is all the gas there is without an EVM

	sender atomic.Pointer[common.Address]
}

// DecodeTx reads one canonical transaction of at most MaxTxBytes: legacy,
// EIP-2930 or EIP-1559. Other types are refused by name. It copies raw, so a
// pooled transaction never pins the message it came in. Every error wraps
// ErrInvalidTx. The signature is not checked: see CheckTx.
func DecodeTx(raw []byte) (*Tx, error) {
	return decodeTx(append([]byte(nil), raw...))
}

// decodeTx is DecodeTx for bytes that the Tx may keep.
func decodeTx(raw []byte) (*Tx, error) {
	switch {
	case len(raw) > MaxTxBytes:
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrOversizedTx, len(raw), MaxTxBytes)
	case len(raw) == 0:
		return nil, fmt.Errorf("%w: empty", ErrInvalidTx)
	case raw[0] == types.BlobTxType:
		return nil, ErrBlobTx
	case raw[0] == types.SetCodeTxType:
		return nil, ErrSetCodeTx
	}
	inner := new(types.Transaction)
	if err := inner.UnmarshalBinary(raw); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidTx, err)
	}
	t := &Tx{raw: raw, inner: inner, hash: crypto.Keccak256Hash(raw)}
	return t, t.load()
}

// NewTx wraps a transaction made in this process, such as by a test or a tool.
func NewTx(inner *types.Transaction) (*Tx, error) {
	raw, err := inner.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidTx, err)
	}
	return decodeTx(raw)
}

// load fills the fields that execution uses, so that it allocates nothing, and
// refuses amounts that no account can hold.
func (t *Tx) load() error {
	to := t.inner.To()
	if to == nil {
		return ErrContractCreation
	}
	t.to = *to
	over := t.value.SetFromBig(t.inner.Value())
	over = t.feeCap.SetFromBig(t.inner.GasFeeCap()) || over
	over = t.tipCap.SetFromBig(t.inner.GasTipCap()) || over
	if over {
		return fmt.Errorf("%w: amount above 2^256", ErrInvalidTx)
	}
	_, over = t.cost.MulOverflow(&t.feeCap, uint256.NewInt(t.inner.Gas()))
	if !over {
		_, over = t.cost.AddOverflow(&t.cost, &t.value)
	}
	if over {
		return fmt.Errorf("%w: gas * price + value above 2^256", ErrInvalidTx)
	}
	t.gas = intrinsicGas(t.inner)
	return nil
}

func intrinsicGas(inner *types.Transaction) uint64 {
	gas := uint64(gasTx)
	for _, b := range inner.Data() {
		if b == 0 {
			gas += gasZeroByte
		} else {
			gas += gasByte
		}
	}
	for _, a := range inner.AccessList() {
		gas += gasAccessAddr + gasAccessKey*uint64(len(a.StorageKeys))
	}
	return gas
}

// Raw is the canonical encoding. The caller must not change it.
func (t *Tx) Raw() []byte { return t.raw }

// Hash is keccak(Raw).
func (t *Tx) Hash() common.Hash { return t.hash }

// Size is the length of Raw in bytes.
func (t *Tx) Size() int { return len(t.raw) }

// Inner is the decoded transaction, for callers that need its other fields.
func (t *Tx) Inner() *types.Transaction { return t.inner }

// Nonce is the sender's sequence number for this transaction.
func (t *Tx) Nonce() uint64 { return t.inner.Nonce() }

// To is the recipient; there always is one.
func (t *Tx) To() common.Address { return t.to }

// Value is the amount moved, in wei. The caller must not change it.
func (t *Tx) Value() *uint256.Int { return &t.value }

// FeeCap is the highest price per gas the sender pays, in wei. The caller must not change it.
func (t *Tx) FeeCap() *uint256.Int { return &t.feeCap }

// TipCap is the highest tip per gas the sender pays, in wei. The caller must not change it.
func (t *Tx) TipCap() *uint256.Int { return &t.tipCap }

// Cost is gas limit x fee cap + value, in wei: what the sender must hold. The caller must not change it.
func (t *Tx) Cost() *uint256.Int { return &t.cost }

// GasUsed is the gas the transaction uses: its intrinsic gas.
func (t *Tx) GasUsed() uint64 { return t.gas }

// EffectiveTip is min(tip cap, fee cap - base fee) in wei per gas; zero when the
// fee cap is below the base fee.
func (t *Tx) EffectiveTip(baseFee *uint256.Int) uint256.Int {
	var tip uint256.Int
	if _, under := tip.SubOverflow(&t.feeCap, baseFee); under {
		return uint256.Int{}
	}
	if tip.Gt(&t.tipCap) {
		return t.tipCap
	}
	return tip
}

// Sender recovers the signer, at most a few times in the life of t when several
// goroutines ask at once, else once. The signature must be in low-s form and for
// chainID. It takes no lock.
func (t *Tx) Sender(chainID uint64) (common.Address, error) {
	if s := t.sender.Load(); s != nil {
		return *s, nil
	}
	if !t.inner.Protected() {
		return common.Address{}, ErrUnprotectedTx
	}
	addr, err := types.NewLondonSigner(new(big.Int).SetUint64(chainID)).Sender(t.inner)
	if errors.Is(err, types.ErrInvalidChainId) {
		return common.Address{}, fmt.Errorf("%w: have %d, want %d", ErrChainID, t.inner.ChainId(), chainID)
	}
	if err != nil {
		return common.Address{}, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	t.sender.Store(&addr)
	return addr, nil
}

// CheckTx applies every rule that needs no state: size, type, chain id, gas,
// fees, signature. Every error wraps ErrInvalidTx.
func CheckTx(t *Tx, g *Genesis) error {
	switch {
	case !t.inner.Protected():
		return ErrUnprotectedTx
	case t.inner.ChainId().Cmp(new(big.Int).SetUint64(g.ChainID)) != 0:
		return fmt.Errorf("%w: have %d, want %d", ErrChainID, t.inner.ChainId(), g.ChainID)
	case t.inner.Gas() < t.gas:
		return fmt.Errorf("%w: have %d, want %d", ErrIntrinsicGas, t.inner.Gas(), t.gas)
	case t.inner.Gas() > g.GasLimit:
		return fmt.Errorf("%w: have %d, limit %d", ErrGasLimit, t.inner.Gas(), g.GasLimit)
	case t.tipCap.Gt(&t.feeCap):
		return ErrTipAboveFeeCap
	case t.feeCap.Lt(g.BaseFee):
		return fmt.Errorf("%w: have %s, base fee %s", ErrFeeCapTooLow, t.feeCap.Dec(), g.BaseFee.Dec())
	case t.inner.Nonce() == ^uint64(0):
		return fmt.Errorf("%w: nonce has max value", ErrInvalidTx)
	}
	_, err := t.Sender(g.ChainID)
	return err
}

// RecoverSenders recovers the senders of txs on all cores and caches them. A
// transaction whose signature is bad is left for CheckTx to name.
func RecoverSenders(txs []*Tx, g *Genesis) {
	var todo []*Tx
	for _, t := range txs {
		if t.sender.Load() == nil {
			todo = append(todo, t)
		}
	}
	workers := min(runtime.GOMAXPROCS(0), (len(todo)+15)/16) // a recovery takes some 30 us: 16 pay for a goroutine
	if workers <= 1 {
		for _, t := range todo {
			_, _ = t.Sender(g.ChainID)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(todo)); i = next.Add(1) - 1 {
				_, _ = todo[i].Sender(g.ChainID)
			}
		})
	}
	wg.Wait()
}
