package rpc

import (
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

// appendBig writes a quantity; v is not negative, and nil is zero.
func appendBig(b []byte, v *big.Int) []byte {
	if v == nil {
		return append(b, `"0x0"`...)
	}
	b = append(b, `"0x`...)
	return append(v.Append(b, 16), '"')
}

func appendUint256(b []byte, v *uint256.Int) []byte {
	if v.IsUint64() {
		return appendQuantity(b, v.Uint64())
	}
	b = append(b, '"')
	return append(append(b, v.Hex()...), '"')
}

func appendBytes(b, v []byte) []byte {
	b = append(b, `"0x`...)
	return append(hex.AppendEncode(b, v), '"')
}

func appendHash(b []byte, v common.Hash) []byte { return appendBytes(b, v[:]) }

func appendAddress(b []byte, v common.Address) []byte { return appendBytes(b, v[:]) }
