package chain

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/binary"
	"fmt"
	"math/big"
	"sync/atomic"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/holiman/uint256"
)

const (
	signatureBytes = 65 // R || S || V, V is 0 or 1, S in the lower half
	maxHeaderBytes = 1 << 10
)

// SignedHeader is a header with its proposer's signature over the header hash.
// The signature is outside the header, so the id is Ethereum's block hash. It is
// immutable; the header must not be changed.
type SignedHeader struct {
	header *types.Header
	id     common.Hash
	sig    [signatureBytes]byte
	raw    []byte // rlp(header)

	signer atomic.Pointer[common.Address] // recovered once, like a transaction's sender
}

// NewSignedHeader puts header and signature together. It checks neither.
func NewSignedHeader(h *types.Header, sig [signatureBytes]byte) (*SignedHeader, error) {
	raw, err := rlp.EncodeToBytes(h)
	if err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrInvalidBlock, err)
	}
	return decodeHeaderAndSig(raw, sig[:])
}

// SignHeader signs h as its proposer.
func SignHeader(h *types.Header, key *ecdsa.PrivateKey) (*SignedHeader, error) {
	sig, err := crypto.Sign(h.Hash().Bytes(), key)
	if err != nil {
		return nil, fmt.Errorf("sign header: %w", err)
	}
	return NewSignedHeader(h, [signatureBytes]byte(sig))
}

// DecodeSignedHeader reads rlp{header, signature}, at most about 1 KiB, the
// canonical encoding only. Errors wrap ErrInvalidBlock. It keeps raw.
func DecodeSignedHeader(raw []byte) (*SignedHeader, error) {
	body, rest, err := rlp.SplitList(raw)
	if err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("%w: signed header is not one RLP list", ErrInvalidBlock)
	}
	header, rest, err := splitHeader(body)
	if err != nil {
		return nil, err
	}
	sig, err := lastString(rest)
	if err != nil {
		return nil, err
	}
	return decodeHeaderAndSig(header, sig)
}

// splitHeader cuts one RLP list, of bounded size, off the front of raw.
func splitHeader(raw []byte) (header, rest []byte, err error) {
	_, _, rest, err = rlp.Split(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: header: %w", ErrInvalidBlock, err)
	}
	header = raw[:len(raw)-len(rest)]
	if len(header) > maxHeaderBytes {
		return nil, nil, fmt.Errorf("%w: header has %d bytes, at most %d", ErrInvalidBlock, len(header), maxHeaderBytes)
	}
	return header, rest, nil
}

// lastString reads an RLP string that must end raw.
func lastString(raw []byte) ([]byte, error) {
	s, rest, err := rlp.SplitString(raw)
	if err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("%w: signature is not one RLP string at the end", ErrInvalidBlock)
	}
	return s, nil
}

func decodeHeaderAndSig(raw, sig []byte) (*SignedHeader, error) {
	if len(sig) != signatureBytes {
		return nil, fmt.Errorf("%w: signature has %d bytes, want %d", ErrInvalidBlock, len(sig), signatureBytes)
	}
	h := new(types.Header)
	if err := rlp.DecodeBytes(raw, h); err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrInvalidBlock, err)
	}
	if !h.Number.IsUint64() || h.BaseFee == nil || h.WithdrawalsHash != nil {
		return nil, fmt.Errorf("%w: header: number above 2^64, or not of the London shape", ErrInvalidBlock)
	}
	return &SignedHeader{header: h, id: headerID(raw), sig: [signatureBytes]byte(sig), raw: raw}, nil
}

// headerID is the id of an encoded header.
func headerID(raw []byte) common.Hash { return crypto.Keccak256Hash(raw) }

// ID is keccak(rlp(header)), Ethereum's block hash.
func (s *SignedHeader) ID() common.Hash { return s.id }

// Header is the header. The caller must not change it.
func (s *SignedHeader) Header() *types.Header { return s.header }

// Signature is the proposer's signature: R || S || V.
func (s *SignedHeader) Signature() [signatureBytes]byte { return s.sig }

// Number is the distance from genesis in blocks, which is also the weight.
func (s *SignedHeader) Number() uint64 { return s.header.Number.Uint64() }

// Slot is the slot the block was proposed in: the header's nonce.
func (s *SignedHeader) Slot() uint64 { return SlotOf(s.header) }

// Parent is the id of the parent block.
func (s *SignedHeader) Parent() common.Hash { return s.header.ParentHash }

// Proposer is the address the header names as its proposer.
func (s *SignedHeader) Proposer() common.Address { return s.header.Coinbase }

// Encode is rlp{header, signature}.
func (s *SignedHeader) Encode() []byte {
	payload := len(s.raw) + signatureBytes + 2
	out := appendListHead(make([]byte, 0, payload+4), payload)
	out = append(out, s.raw...)
	return s.appendSig(out)
}

func (s *SignedHeader) appendSig(out []byte) []byte {
	out = append(out, 0xb8, signatureBytes) // RLP head of a 65-byte string
	return append(out, s.sig[:]...)
}

// SlotOf is the slot in a header's nonce.
func SlotOf(h *types.Header) uint64 { return binary.BigEndian.Uint64(h.Nonce[:]) }

// checkRules applies the rules that need neither the parent nor a clock, and
// last the signature, which costs the most.
func (s *SignedHeader) checkRules(g *Genesis) error {
	h := s.header
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w %s: %s", ErrInvalidBlock, s.id, fmt.Sprintf(format, args...))
	}
	slot := s.Slot()
	switch {
	case h.Number.Sign() == 0:
		return bad("number 0 is the genesis block's")
	case slot == 0 || slot > g.maxSlot():
		return bad("slot %d is out of range", slot)
	case h.Coinbase != g.Proposer(slot):
		return bad("slot %d belongs to %s, not to %s", slot, g.Proposer(slot), h.Coinbase)
	case h.Time != g.slotMilli(slot)/1000:
		return bad("timestamp %d does not belong to slot %d, want %d", h.Time, slot, g.slotMilli(slot)/1000)
	case h.Difficulty.Sign() != 0:
		return bad("difficulty is not 0")
	case h.UncleHash != types.EmptyUncleHash:
		return bad("uncles are not supported")
	case h.Bloom != types.Bloom{}:
		return bad("bloom is not empty")
	case h.MixDigest != common.Hash{}:
		return bad("mixHash is not 0")
	case len(h.Extra) > MaxExtraBytes:
		return bad("extraData has %d bytes, at most %d", len(h.Extra), MaxExtraBytes)
	case h.GasLimit != g.GasLimit:
		return bad("gas limit %d is not the network's %d", h.GasLimit, g.GasLimit)
	case h.GasUsed > h.GasLimit:
		return bad("gas used %d above the limit %d", h.GasUsed, h.GasLimit)
	case h.BaseFee.Cmp(g.BaseFee.ToBig()) != 0:
		return bad("base fee %s is not the network's %s", h.BaseFee, g.BaseFee.Dec())
	}
	return s.checkSignature()
}

// checkSignature wants the one signature form there is: 65 bytes, s in the lower
// half, V 0 or 1, recovering to the header's proposer.
func (s *SignedHeader) checkSignature() error {
	if a := s.signer.Load(); a != nil && *a == s.header.Coinbase {
		return nil
	}
	r, sv := new(big.Int).SetBytes(s.sig[:32]), new(big.Int).SetBytes(s.sig[32:64])
	if !crypto.ValidateSignatureValues(s.sig[64], r, sv, true) {
		return fmt.Errorf("%w %s: signature is not in low-s canonical form", ErrInvalidBlock, s.id)
	}
	pub, err := crypto.SigToPub(s.id[:], s.sig[:])
	if err != nil || crypto.PubkeyToAddress(*pub) != s.header.Coinbase {
		return fmt.Errorf("%w %s: not signed by its proposer %s", ErrInvalidBlock, s.id, s.header.Coinbase)
	}
	s.signer.Store(&s.header.Coinbase)
	return nil
}

// checkParent applies the rules between a header and its parent.
func checkParent(h, parent *types.Header, id common.Hash) error {
	switch {
	case h.Number.Uint64() != parent.Number.Uint64()+1:
		return fmt.Errorf("%w %s: number %d is not its parent's %d + 1", ErrInvalidBlock, id, h.Number, parent.Number)
	case SlotOf(h) <= SlotOf(parent):
		return fmt.Errorf("%w %s: slot %d is not above its parent's %d", ErrInvalidBlock, id, SlotOf(h), SlotOf(parent))
	}
	return nil
}

// newHeader is a header with everything set that does not depend on the body.
func newHeader(g *Genesis, parent *types.Header, slot uint64, extra []byte) *types.Header {
	h := &types.Header{
		ParentHash: parent.Hash(),
		UncleHash:  types.EmptyUncleHash,
		Coinbase:   g.Proposer(slot),
		Difficulty: new(big.Int),
		Number:     new(big.Int).Add(parent.Number, common.Big1),
		GasLimit:   g.GasLimit,
		Time:       g.slotMilli(slot) / 1000,
		Extra:      bytes.Clone(extra),
		BaseFee:    g.BaseFee.ToBig(),
	}
	binary.BigEndian.PutUint64(h.Nonce[:], slot)
	return h
}

// burned is the base fee that a block takes out of the world, in wei.
func burned(h *types.Header) *uint256.Int {
	fee, _ := uint256.FromBig(h.BaseFee)
	return fee.Mul(fee, uint256.NewInt(h.GasUsed))
}
