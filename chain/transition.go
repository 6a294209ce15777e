package chain

import (
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/holiman/uint256"
)

// Why a transaction does not apply to a state.
var (
	errNonceLow  = errors.New("nonce too low")
	errNonceHigh = errors.New("nonce too high")
	errFunds     = errors.New("insufficient funds for gas * price + value")
)

// touched is one account of a running transition: as it was and as it is.
type touched struct {
	addr     common.Address
	old, now Account
}

// transition runs transactions over a State without changing it. It is the whole
// state machine and does no I/O.
type transition struct {
	g        *Genesis
	base     State
	baseFee  *uint256.Int
	coinbase common.Address
	accounts map[common.Address]*touched
	order    []*touched
	slab     []touched // accounts are cut from here: one allocation for many
	gasUsed  uint64
	receipts receiptList
}

func newTransition(g *Genesis, base State, coinbase common.Address, txs int) *transition {
	return &transition{
		g: g, base: base, baseFee: g.BaseFee, coinbase: coinbase,
		accounts: make(map[common.Address]*touched, 2*txs+1), receipts: make(receiptList, 0, txs),
	}
}

// account is the account of addr in the running transition.
func (t *transition) account(addr common.Address) *touched {
	if a := t.accounts[addr]; a != nil {
		return a
	}
	if len(t.slab) == 0 {
		t.slab = make([]touched, 64)
	}
	a := &t.slab[0]
	t.slab = t.slab[1:]
	a.addr, a.old = addr, t.base.Account(addr)
	a.now = a.old
	t.accounts[addr] = a
	t.order = append(t.order, a)
	return a
}

// apply runs one transaction that has passed CheckTx: the sender pays gas x
// price, the base fee is burned, the tip goes to the proposer, the value to the
// recipient. An error leaves everything as it was.
func (t *transition) apply(tx *Tx) error {
	addr, err := tx.Sender(t.g.ChainID)
	if err != nil {
		return err
	}
	if t.gasUsed+tx.gas > t.g.GasLimit {
		return ErrGasLimit
	}
	from := t.account(addr)
	switch nonce := tx.inner.Nonce(); {
	case nonce < from.now.Nonce:
		return errNonceLow
	case nonce > from.now.Nonce:
		return errNonceHigh
	case from.now.Balance.Lt(&tx.cost):
		return errFunds
	}
	gas := uint256.NewInt(tx.gas)
	tip := tx.EffectiveTip(t.baseFee)
	tip.Mul(&tip, gas)
	var paid uint256.Int
	paid.Mul(t.baseFee, gas)
	paid.Add(&paid, &tip).Add(&paid, &tx.value)
	from.now.Nonce++
	from.now.Balance.Sub(&from.now.Balance, &paid)
	t.credit(tx.to, &tx.value)
	t.credit(t.coinbase, &tip)
	t.gasUsed += tx.gas
	t.receipts = append(t.receipts, receipt{tx.inner.Type(), t.gasUsed})
	return nil
}

// credit cannot overflow: all balances together never exceed the genesis alloc.
func (t *transition) credit(addr common.Address, amount *uint256.Int) {
	if !amount.IsZero() {
		a := t.account(addr)
		a.now.Balance.Add(&a.now.Balance, amount)
	}
}

// changes lists the accounts that differ from the base.
func (t *transition) changes() []touched {
	out := make([]touched, 0, len(t.order))
	for _, a := range t.order {
		if a.now != a.old {
			out = append(out, *a)
		}
	}
	return out
}

// with is the state after changes.
func (s State) with(changes []touched) State {
	now := make([]Change, len(changes))
	for i, c := range changes {
		now[i] = Change{c.addr, c.now}
	}
	return s.With(now)
}

// execute applies a block's body to the state of its parent and compares what
// comes out with the header. Errors wrap ErrBadBlock.
func execute(g *Genesis, base State, b *Block) (next State, changes []touched, err error) {
	bad := func(format string, args ...any) (State, []touched, error) {
		return State{}, nil, fmt.Errorf("%w %s: %s", ErrBadBlock, b.id, fmt.Sprintf(format, args...))
	}
	t := newTransition(g, base, b.header.Coinbase, len(b.txs))
	for i, tx := range b.txs {
		if err := t.apply(tx); err != nil {
			return bad("transaction %d %s: %s", i, tx.hash, err)
		}
	}
	if t.gasUsed != b.header.GasUsed {
		return bad("gas used is %d, header has %d", t.gasUsed, b.header.GasUsed)
	}
	if root := t.receipts.root(); root != b.header.ReceiptHash {
		return bad("receipts hash to %s, header has %s", root, b.header.ReceiptHash)
	}
	changes = t.changes()
	next = base.with(changes)
	if root := next.Root(); root != b.header.Root {
		return bad("state root is %s, header has %s", root, b.header.Root)
	}
	return next, changes, nil
}

// receipt is what of a receipt is not the same in all of them.
type receipt struct {
	kind       byte
	cumulative uint64
}

// receiptList derives Ethereum's receipts root without building receipts.
type receiptList []receipt

// appendReceipt appends the consensus encoding of a successful receipt without logs.
func appendReceipt(out []byte, r receipt) []byte {
	if r.kind != types.LegacyTxType {
		out = append(out, r.kind)
	}
	var empty [types.BloomByteLength]byte
	payload := 1 + rlp.IntSize(r.cumulative) + 3 + len(empty) + 1
	out = append(appendListHead(out, payload), 1)
	out = rlp.AppendUint64(out, r.cumulative)
	return append(appendString(out, empty[:]), 0xc0)
}

func (l receiptList) root() common.Hash {
	var buf []byte
	return deriveRoot(len(l), func(i int) []byte {
		buf = appendReceipt(buf[:0], l[i])
		return buf
	})
}

// deriveReceipts makes the receipts of a valid block.
func deriveReceipts(b *Block) types.Receipts {
	out := make(types.Receipts, len(b.txs))
	cumulative := uint64(0)
	for i, tx := range b.txs {
		cumulative += tx.gas
		baseFee, _ := uint256.FromBig(b.header.BaseFee)
		price := tx.EffectiveTip(baseFee)
		price.Add(&price, baseFee)
		out[i] = &types.Receipt{
			Type: tx.inner.Type(), Status: types.ReceiptStatusSuccessful, CumulativeGasUsed: cumulative, Logs: []*types.Log{},
			TxHash: tx.hash, GasUsed: tx.gas, EffectiveGasPrice: price.ToBig(),
			BlockHash: b.id, BlockNumber: b.header.Number, TransactionIndex: uint(i),
		}
	}
	return out
}
