package rpc

import (
	"bytes"
	"encoding/hex"
	"math/big"
	"strconv"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"
)

// The append functions write Ethereum's JSON: quantities are "0x" and hex digits
// without leading zeros ("0x0" for zero), bytes are "0x" and two digits each.

func appendQuantity(b []byte, v uint64) []byte {
	b = append(b, `"0x`...)
	return append(strconv.AppendUint(b, v, 16), '"')
}

// appendBig writes a quantity of at most 256 bits; v is not negative, and nil is zero.
func appendBig(b []byte, v *big.Int) []byte {
	if v == nil || v.IsUint64() {
		return appendQuantity(b, bigUint64(v))
	}
	var word [32]byte
	return appendWord(b, v.FillBytes(word[:]))
}

func bigUint64(v *big.Int) uint64 {
	if v == nil {
		return 0
	}
	return v.Uint64()
}

// appendWord writes the quantity in a big-endian word, which is not zero.
func appendWord(b, word []byte) []byte {
	word = bytes.TrimLeft(word, "\x00")
	b = append(b, `"0x`...)
	if word[0] < 16 { // a single digit
		b = strconv.AppendUint(b, uint64(word[0]), 16)
		word = word[1:]
	}
	return append(hex.AppendEncode(b, word), '"')
}

func appendUint256(b []byte, v *uint256.Int) []byte {
	if v.IsUint64() {
		return appendQuantity(b, v.Uint64())
	}
	word := v.Bytes32()
	return appendWord(b, word[:])
}

func appendBytes(b, v []byte) []byte {
	b = append(b, `"0x`...)
	return append(hex.AppendEncode(b, v), '"')
}

func appendHash(b []byte, v common.Hash) []byte { return appendBytes(b, v[:]) }

func appendAddress(b []byte, v common.Address) []byte { return appendBytes(b, v[:]) }
