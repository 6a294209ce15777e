package relay

import (
	"bytes"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rlp"

	"github.com/pheme-net/pheme/chain"
)

// announcement says that a block exists and how its transactions can be had: as
// chunks, whose hashes it lists, and, when compact, from a pool by short ids. On
// the wire: the kind byte, the RLP of announced, the proposer's signature over
// both. It is signed whole, so that nobody between can change any of it.
type announcement struct {
	header *chain.SignedHeader
	tag    tag // what it is called in frames: of what its proposer signed
	body   announced
	kind   byte
	shape  shape
	parts  []part // compact: the transactions in order
}

// announced is what stands in an announcement.
type announced struct {
	Header    rlp.RawValue // the signed header
	Push      bool         // chunks are pushed to peers that did not ask
	Size      uint64       // bytes of the transaction list
	Leaves    []byte       // leafBytes for each chunk, data before parity
	Nonce     uint64       // of the key of the short ids
	IDs       []byte       // shortBytes a transaction, in order; empty unless compact
	Sizes     []byte       // a minimal uvarint a transaction: its raw bytes
	Prefilled []prefilled  // transactions that peers are not expected to hold, by place
}

// prefilled is a transaction that comes with the announcement.
type prefilled struct {
	Index uint64
	Raw   []byte
}

// part is one transaction as an announcement describes it.
type part struct {
	id     shortID
	size   int // raw bytes
	offset int // of its RLP string in the list
	end    int
}

const (
	announceDomain = "pheme relay announcement 1\x00"
	signatureBytes = 65
	minTxBytes     = 64 // below any transaction; bounds how many a size can mean
)

// encode signs an announcement and returns the message.
func (a *announcement) encode(sign func(common.Hash) ([signatureBytes]byte, error)) ([]byte, error) {
	body, err := rlp.EncodeToBytes(&a.body)
	if err != nil {
		return nil, fmt.Errorf("relay: announcement: %w", err)
	}
	out := append(make([]byte, 0, 1+len(body)+signatureBytes), a.kind)
	out = append(out, body...)
	hash := announceHash(out)
	sig, err := sign(hash)
	if err != nil {
		return nil, fmt.Errorf("relay: sign announcement: %w", err)
	}
	a.tag = tag(hash[:])
	return append(out, sig[:]...), nil
}

// announceHash is what the proposer signs; an id of a header is never one, since
// no header's encoding begins like the domain.
func announceHash(unsigned []byte) common.Hash {
	return crypto.Keccak256Hash([]byte(announceDomain), unsigned)
}

// decodeAnnouncement reads a message of the compact or the coded relay about a
// block of at most maxList bytes of transactions. Everything in it is consistent
// afterwards; the signature of the header is not looked at. Errors wrap
// chain.ErrInvalid.
func decodeAnnouncement(payload []byte, maxList int) (*announcement, error) {
	bad := func(format string, args ...any) (*announcement, error) {
		return nil, fmt.Errorf("%w: announcement: %s", ErrMessage, fmt.Sprintf(format, args...))
	}
	if len(payload) < 2+signatureBytes || payload[0] != kindCompact && payload[0] != kindCoded {
		return bad("not of a known kind")
	}
	unsigned, sig := payload[:len(payload)-signatureBytes], payload[len(payload)-signatureBytes:]
	hash := announceHash(unsigned)
	a := &announcement{kind: payload[0], tag: tag(hash[:])}
	if err := rlp.DecodeBytes(unsigned[1:], &a.body); err != nil {
		return bad("%v", err)
	}
	b := &a.body
	var err error
	if a.header, err = chain.DecodeSignedHeader(b.Header); err != nil {
		return nil, err
	}
	if b.Size == 0 || b.Size > uint64(maxList) {
		return bad("%d bytes of transactions, at most %d", b.Size, maxList)
	}
	if a.shape = shapeOf(int(b.Size)); len(b.Leaves) != a.shape.total()*leafBytes {
		return bad("%d bytes of hashes for %d chunks", len(b.Leaves), a.shape.total())
	}
	if a.kind == kindCoded && (len(b.IDs) > 0 || len(b.Sizes) > 0 || len(b.Prefilled) > 0 || b.Nonce != 0) {
		return bad("ids in one that is not compact")
	}
	if a.kind == kindCompact {
		if err := a.layout(); err != nil {
			return nil, err
		}
	}
	if !signedBy(a.header.Proposer(), hash, sig) {
		return bad("not signed by the proposer")
	}
	return a, nil
}

// signedBy wants the one form of a signature that chain accepts of headers, too:
// with a second form anybody could make a second message of one.
func signedBy(who common.Address, hash common.Hash, sig []byte) bool {
	r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:64])
	if !crypto.ValidateSignatureValues(sig[64], r, s, true) {
		return false
	}
	pub, err := crypto.SigToPub(hash[:], sig)
	return err == nil && crypto.PubkeyToAddress(*pub) == who
}

// layout finds where each transaction lies in the list.
func (a *announcement) layout() error {
	b := &a.body
	n := len(b.IDs) / shortBytes
	if n == 0 || n*shortBytes != len(b.IDs) || uint64(n) > b.Size/minTxBytes+1 {
		return fmt.Errorf("%w: announcement: %d bytes of ids for a list of %d", ErrMessage, len(b.IDs), b.Size)
	}
	a.parts = make([]part, n)
	sizes, at := b.Sizes, 0
	for i := range a.parts {
		size, used := uvarint(sizes)
		if used <= 0 || size < 1 || size > chain.MaxTxBytes {
			return fmt.Errorf("%w: announcement: size of transaction %d", ErrMessage, i)
		}
		sizes = sizes[used:]
		end := at + stringBytes(int(size))
		a.parts[i] = part{id: shortID(b.IDs[i*shortBytes:]), size: int(size), offset: at, end: end}
		at = end
	}
	if len(sizes) > 0 || uint64(at) != b.Size {
		return fmt.Errorf("%w: announcement: transactions of %d bytes in a list of %d", ErrMessage, at, b.Size)
	}
	last, room := -1, maxPrefill
	for _, p := range b.Prefilled {
		if p.Index >= uint64(n) || int(p.Index) <= last || len(p.Raw) != a.parts[p.Index].size {
			return fmt.Errorf("%w: announcement: prefilled transaction %d", ErrMessage, p.Index)
		}
		if room -= len(p.Raw); room < 0 {
			return fmt.Errorf("%w: announcement: more than %d bytes of prefilled transactions", ErrMessage, maxPrefill)
		}
		last = int(p.Index)
	}
	return nil
}

// leaf is the hash of chunk i.
func (a *announcement) leaf(i int) []byte { return a.body.Leaves[i*leafBytes : (i+1)*leafBytes] }

// holds tells whether bytes are chunk i.
func (a *announcement) holds(i int, chunk []byte) bool {
	l := leaf(chunk)
	return len(chunk) == a.shape.chunk && bytes.Equal(l[:], a.leaf(i))
}

// stringBytes is the length of the RLP string of a transaction of n raw bytes,
// which is more than one byte.
func stringBytes(n int) int {
	switch {
	case n < 56:
		return 1 + n
	case n < 1<<8:
		return 2 + n
	case n < 1<<16:
		return 3 + n
	}
	return 4 + n
}
