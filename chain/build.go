package chain

import (
	"crypto/ecdsa"
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/crypto"
)

// Build makes a block on the head for slot and signs it. It takes from txs, in
// order, what fits into maxBytes of encoded transactions (0 or more than the
// genesis allows: that limit) and applies. The block is not added. The second
// result are transactions that do not apply on this head and cannot later, as
// they stand: nonce too low, overdrawn or invalid. Claim the slot in a SlotGuard
// before publishing.
func (c *Chain) Build(slot uint64, key *ecdsa.PrivateKey, txs []*Tx, maxBytes int) (*Block, []*Tx, error) {
	v := c.view.Load()
	if addr := crypto.PubkeyToAddress(key.PublicKey); c.g.Proposer(slot) != addr {
		return nil, nil, fmt.Errorf("%w: slot %d belongs to %s, the key is of %s", ErrNotProposer, slot, c.g.Proposer(slot), addr)
	}
	if slot <= v.head.Slot() {
		return nil, nil, fmt.Errorf("%w: slot %d, head has %d", ErrSlotUsed, slot, v.head.Slot())
	}
	limit := int(c.g.MaxBlockBytes)
	if maxBytes > 0 {
		limit = min(limit, maxBytes)
	}
	h := newHeader(c.g, v.head.header, slot, []byte(c.cfg.Extra))
	t := newTransition(c.g, v.state, h.Coinbase, min(len(txs), limit/minTxBytes))
	took, left := c.fill(t, txs, limit)
	h.GasUsed = t.gasUsed
	h.TxHash = txRoot(took)
	h.ReceiptHash = t.receipts.root()
	h.Root = v.state.with(t.changes()).Root()
	sh, err := SignHeader(h, key)
	if err != nil {
		return nil, nil, err
	}
	b := assemble(sh, took)
	b.rootOK.Store(true)
	return b, left, nil
}

// fill runs transactions until the block is full. limit includes the list head.
func (c *Chain) fill(t *transition, txs []*Tx, limit int) (took, left []*Tx) {
	const head = 4 // longest list head below 16 MiB
	size := head
	for _, tx := range txs {
		if size+stringSize(tx.raw) > limit || t.gasUsed+tx.gas > c.g.GasLimit {
			continue
		}
		err := CheckTx(tx, c.g)
		if err == nil {
			err = t.apply(tx)
		}
		switch {
		case err == nil:
			took = append(took, tx)
			size += stringSize(tx.raw)
		case errors.Is(err, errNonceHigh): // a predecessor did not fit or is missing: it may apply later
		default:
			left = append(left, tx)
		}
	}
	return took, left
}
