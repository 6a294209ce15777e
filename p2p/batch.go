package p2p

import (
	"encoding/hex"
	"fmt"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/pheme-net/pheme/chain"
)

// A batch of transactions on the wire is
//
//	rlp[nonce (8 bytes), [raw transaction (byte string), ...]]
//
// at most maxBatchBytes long and never empty. The nonce is the origin's: it
// makes a batch that is announced again a new message, which the seen caches
// would otherwise swallow for two minutes, and it names the batch in traces.
const maxBatchBytes = 64 << 10

// maxBatchTxs bounds what a decoder allocates; a transaction is never shorter
// than 64 bytes.
const maxBatchTxs = maxBatchBytes / 64

// ErrBatch is a batch that no honest node sends. It wraps chain.ErrInvalid.
var ErrBatch = fmt.Errorf("%w: transaction batch", chain.ErrInvalid)

// nonce names a batch.
type nonce [8]byte

func (n nonce) String() string { return hex.EncodeToString(n[:]) }

// tag is the batch's name in the Hash of trace events.
func (n nonce) tag() (h [32]byte) {
	copy(h[:], n[:])
	return h
}

// encodeBatch makes the message for raw transactions, without judging its size.
func encodeBatch(n nonce, raws [][]byte) []byte {
	body := 0
	for _, r := range raws {
		body += stringSize(r)
	}
	out := make([]byte, 0, batchSize(body))
	out = appendHead(out, 0xc0, 9+headSize(body)+body)
	out = append(out, 0x80+8)
	out = append(out, n[:]...)
	out = appendHead(out, 0xc0, body)
	for _, r := range raws {
		if len(r) == 1 && r[0] < 0x80 {
			out = append(out, r[0])
			continue
		}
		out = append(appendHead(out, 0x80, len(r)), r...)
	}
	return out
}

// decodeBatch splits a batch into its nonce and raw transactions, which share
// the payload's memory. Only the canonical encoding is taken. Errors wrap ErrBatch.
func decodeBatch(payload []byte) (nonce, [][]byte, error) {
	if len(payload) > maxBatchBytes {
		return nonce{}, nil, fmt.Errorf("%w: %d bytes, at most %d", ErrBatch, len(payload), maxBatchBytes)
	}
	content, rest, err := rlp.SplitList(payload)
	if err != nil || len(rest) > 0 {
		return nonce{}, nil, fmt.Errorf("%w: not one list", ErrBatch)
	}
	n, rest, err := rlp.SplitString(content)
	if err != nil || len(n) != len(nonce{}) {
		return nonce{}, nil, fmt.Errorf("%w: nonce is not 8 bytes", ErrBatch)
	}
	body, rest, err := rlp.SplitList(rest)
	if err != nil || len(rest) > 0 || len(body) == 0 {
		return nonce{}, nil, fmt.Errorf("%w: no list of transactions", ErrBatch)
	}
	raws := make([][]byte, 0, 1+len(body)/256)
	for len(body) > 0 {
		var raw []byte
		if raw, body, err = rlp.SplitString(body); err != nil {
			return nonce{}, nil, fmt.Errorf("%w: transaction %d: %w", ErrBatch, len(raws), err)
		}
		if len(raws) == maxBatchTxs {
			return nonce{}, nil, fmt.Errorf("%w: more than %d transactions", ErrBatch, maxBatchTxs)
		}
		raws = append(raws, raw)
	}
	return nonce(n), raws, nil
}

// batchTag reads the name of a batch from its first bytes, without judging it.
// It is zero for what is no batch.
func batchTag(payload []byte) [32]byte {
	content, _, err := rlp.SplitList(payload)
	if err != nil || len(content) < 9 || content[0] != 0x80+8 {
		return [32]byte{}
	}
	return nonce(content[1:9]).tag()
}

// batchSize is the length of a batch whose transactions take body bytes with
// their heads.
func batchSize(body int) int {
	content := 9 + headSize(body) + body
	return headSize(content) + content
}

// stringSize is the encoded length of a byte string.
func stringSize(b []byte) int {
	if len(b) == 1 && b[0] < 0x80 {
		return 1
	}
	return headSize(len(b)) + len(b)
}

// headSize is the length of the RLP head of n bytes of content.
func headSize(n int) int {
	size := 1
	if n >= 56 {
		for ; n > 0; n >>= 8 {
			size++
		}
	}
	return size
}

func appendHead(out []byte, base byte, n int) []byte {
	size := headSize(n) - 1
	if size == 0 {
		return append(out, base+byte(n))
	}
	out = append(out, base+55+byte(size))
	for i := size - 1; i >= 0; i-- {
		out = append(out, byte(n>>(8*i)))
	}
	return out
}
