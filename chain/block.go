package chain

import (
	"fmt"
	"sync/atomic"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rlp"
)

// MaxEnvelopeBytes bounds an encoded block: the transactions, the header, the
// signature and the list heads.
const MaxEnvelopeBytes = MaxBlockBytes + maxHeaderBytes + signatureBytes + 16

// minTxBytes is below the size of any transaction; it bounds what a decoder
// allocates for a list of them.
const minTxBytes = 64

// Block is a signed header with its transactions, beside the bytes it came in:
// rlp{header, [transactions as byte strings], signature}. It is immutable.
type Block struct {
	*SignedHeader
	raw    []byte
	body   []byte // within raw: the encoded transaction list, list head included
	txs    []*Tx
	rootOK atomic.Bool // the transactions are known to hash to TxHash
}

// DecodeBlock reads one canonical envelope of at most MaxEnvelopeBytes and keeps
// raw, which the caller must not change. known, which may be nil, finds
// transactions the caller has already decoded, so that block and pool share
// them and their senders. Errors wrap ErrInvalid.
func DecodeBlock(raw []byte, known func(common.Hash) *Tx) (*Block, error) {
	if len(raw) > MaxEnvelopeBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrInvalidBlock, len(raw), MaxEnvelopeBytes)
	}
	content, rest, err := rlp.SplitList(raw)
	if err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("%w: envelope is not one RLP list", ErrInvalidBlock)
	}
	header, rest, err := splitHeader(content)
	if err != nil {
		return nil, err
	}
	list, tail, err := rlp.SplitList(rest)
	if err != nil {
		return nil, fmt.Errorf("%w: transactions: %w", ErrInvalidBlock, err)
	}
	sig, err := lastString(tail)
	if err != nil {
		return nil, err
	}
	sh, err := decodeHeaderAndSig(header, sig)
	if err != nil {
		return nil, err
	}
	b := &Block{SignedHeader: sh, raw: raw, body: rest[:len(rest)-len(tail)]}
	b.txs, err = decodeTxList(list, known)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// DecodeTxList reads the content of an encoded transaction list, as TxList gives
// it; known as for DecodeBlock. The transactions keep list. Errors wrap
// ErrInvalid.
func DecodeTxList(list []byte, known func(common.Hash) *Tx) ([]*Tx, error) {
	if len(list) > MaxBlockBytes {
		return nil, fmt.Errorf("%w: %d bytes of transactions, at most %d", ErrInvalidBlock, len(list), MaxBlockBytes)
	}
	return decodeTxList(list, known)
}

// decodeTxList reads the content of a list of transactions as byte strings.
func decodeTxList(list []byte, known func(common.Hash) *Tx) ([]*Tx, error) {
	txs := make([]*Tx, 0, min(len(list)/minTxBytes, 256))
	for len(list) > 0 {
		raw, rest, err := rlp.SplitString(list)
		if err != nil {
			return nil, fmt.Errorf("%w: transaction %d: %w", ErrInvalidBlock, len(txs), err)
		}
		list = rest
		var t *Tx
		if known != nil && len(raw) <= MaxTxBytes {
			t = known(crypto.Keccak256Hash(raw))
		}
		if t == nil {
			if t, err = decodeTx(raw); err != nil {
				return nil, fmt.Errorf("%w: transaction %d: %w", ErrInvalidBlock, len(txs), err)
			}
		}
		txs = append(txs, t)
	}
	return txs, nil
}

// NewBlock puts a header and the transactions it commits to together, such as
// after a relay has collected them. Other transactions give ErrBodyMismatch.
func NewBlock(sh *SignedHeader, txs []*Tx) (*Block, error) {
	b := assemble(sh, txs)
	if err := b.checkBody(); err != nil {
		return nil, err
	}
	return b, nil
}

// assemble encodes the envelope by appending the raw bytes.
func assemble(sh *SignedHeader, txs []*Tx) *Block {
	payload := 0
	for _, t := range txs {
		payload += stringSize(t.raw)
	}
	bodySize := listHeadSize(payload) + payload
	content := len(sh.raw) + bodySize + signatureBytes + 2
	raw := appendListHead(make([]byte, 0, content+9), content)
	raw = append(raw, sh.raw...)
	start := len(raw)
	raw = appendListHead(raw, payload)
	for _, t := range txs {
		raw = appendString(raw, t.raw)
	}
	end := len(raw)
	raw = sh.appendSig(raw)
	return &Block{SignedHeader: sh, raw: raw, body: raw[start:end], txs: txs}
}

// Txs are the transactions in block order. The caller must not change the slice.
func (b *Block) Txs() []*Tx { return b.txs }

// Raw is the encoded envelope. The caller must not change it.
func (b *Block) Raw() []byte { return b.raw }

// Size is the length of Raw in bytes.
func (b *Block) Size() int { return len(b.raw) }

// TxList is the content of the encoded transaction list: each transaction's raw
// bytes as an RLP string, in block order. The caller must not change it.
func (b *Block) TxList() []byte {
	list, _, err := rlp.SplitList(b.body)
	if err != nil {
		panic(err) // the decoder or assemble made it
	}
	return list
}

// BodySize is the length of the encoded transaction list in bytes, which the
// genesis limits.
func (b *Block) BodySize() int { return len(b.body) }

// checkBody wants the transactions to hash to the header's TxHash.
func (b *Block) checkBody() error {
	if b.rootOK.Load() {
		return nil
	}
	if root := txRoot(b.txs); root != b.header.TxHash {
		return fmt.Errorf("%w: transactions hash to %s, header %s has %s", ErrBodyMismatch, root, b.id, b.header.TxHash)
	}
	b.rootOK.Store(true)
	return nil
}

// txRoot is Ethereum's transactions root.
func txRoot(txs []*Tx) common.Hash {
	return deriveRoot(len(txs), func(i int) []byte { return txs[i].raw })
}

// appendListHead appends the RLP head of a list with a payload of n bytes.
func appendListHead(out []byte, n int) []byte { return appendHead(out, 0xc0, n) }

// appendString appends an RLP string that is longer than one byte.
func appendString(out, s []byte) []byte { return append(appendHead(out, 0x80, len(s)), s...) }

func appendHead(out []byte, base byte, n int) []byte {
	if n < 56 {
		return append(out, base+byte(n))
	}
	size := listHeadSize(n) - 1
	out = append(out, base+55+byte(size))
	for i := size - 1; i >= 0; i-- {
		out = append(out, byte(n>>(8*i)))
	}
	return out
}

// listHeadSize is the length of the RLP head of a payload of n bytes.
func listHeadSize(n int) int {
	if n < 56 {
		return 1
	}
	size := 1
	for ; n > 0; n >>= 8 {
		size++
	}
	return size
}

// stringSize is the encoded length of an RLP string longer than one byte.
func stringSize(s []byte) int { return listHeadSize(len(s)) + len(s) }
