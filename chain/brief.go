package chain

import (
	"fmt"

	"github.com/ethereum/go-ethereum/common"
)

// Brief is what of a signed header does not follow from its parent and the genesis:
// about 180 of 650 bytes.
type Brief struct {
	Slot, GasUsed             uint64
	Root, TxHash, ReceiptHash common.Hash
	Extra                     []byte
	Sig                       [signatureBytes]byte
}

// Brief is the brief of a header that keeps the rules.
func (s *SignedHeader) Brief() Brief {
	h := s.header
	return Brief{s.Slot(), h.GasUsed, h.Root, h.TxHash, h.ReceiptHash, h.Extra, s.sig}
}

// Headers makes headers that follow one another and the first of which follows parent
// out of their briefs. A header that kept the rules comes out as it was, any other as
// one that its proposer did not sign: see CheckHeaders. Errors wrap ErrInvalidBlock.
func (c *Chain) Headers(parent *SignedHeader, list []Brief) ([]*SignedHeader, error) {
	out := make([]*SignedHeader, 0, len(list))
	for _, b := range list {
		if b.Slot > c.g.maxSlot() || len(b.Extra) > MaxExtraBytes {
			return nil, fmt.Errorf("%w: brief of slot %d with %d bytes of extraData", ErrInvalidBlock, b.Slot, len(b.Extra))
		}
		h := newHeader(c.g, parent.header, b.Slot, b.Extra)
		h.GasUsed, h.Root, h.TxHash, h.ReceiptHash = b.GasUsed, b.Root, b.TxHash, b.ReceiptHash
		sh, err := NewSignedHeader(h, b.Sig)
		if err != nil {
			return nil, err
		}
		out = append(out, sh)
		parent = sh
	}
	return out, nil
}
