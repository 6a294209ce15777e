package recon

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Symbols on the wire, one after the other:
//
//	sum (8, big-endian) | check (4) | count less the expected one (zig-zag varint)
//
// The expected count follows from the size of the set and the symbol's place, so
// that nearly all counts take one byte.
const (
	minSymbolBytes = 8 + 4 + 1
	// MaxSymbols is the most in one message: what 11,000 differences need.
	MaxSymbols = 16_384
	// MaxSymbolsBytes bounds the encoding of MaxSymbols.
	MaxSymbolsBytes = MaxSymbols * (8 + 4 + maxCountBytes)
	maxCountBytes   = 5
	// maxItems is the largest set that a count is believed for.
	maxItems = 1 << 24
)

// ErrEncoding is bytes that are no canonical encoding.
var ErrEncoding = errors.New("recon: not a canonical encoding")

// expected is about how many of n items are in symbol i.
func expected(n, i int) int64 { return int64(2 * n / (2 + i)) }

// AppendSymbols encodes the symbols from number first on of a set with n items.
func AppendSymbols(out []byte, symbols []Symbol, first, n int) []byte {
	for i, s := range symbols {
		out = binary.BigEndian.AppendUint64(out, s.Sum)
		out = binary.BigEndian.AppendUint32(out, s.Check)
		out = binary.AppendVarint(out, s.Count-expected(n, first+i))
	}
	return out
}

// DecodeSymbols decodes what AppendSymbols made, at most MaxSymbols. Errors wrap
// ErrEncoding.
func DecodeSymbols(raw []byte, first, n int) ([]Symbol, error) {
	if n < 0 || n > maxItems || first < 0 || first > maxItems {
		return nil, fmt.Errorf("%w: symbols from %d of %d items", ErrEncoding, first, n)
	}
	if len(raw) > MaxSymbolsBytes {
		return nil, fmt.Errorf("%w: %d bytes of symbols, at most %d", ErrEncoding, len(raw), MaxSymbolsBytes)
	}
	out := make([]Symbol, 0, min(len(raw)/minSymbolBytes, MaxSymbols))
	for len(raw) > 0 {
		if len(out) == MaxSymbols {
			return nil, fmt.Errorf("%w: more than %d symbols", ErrEncoding, MaxSymbols)
		}
		if len(raw) < minSymbolBytes {
			return nil, fmt.Errorf("%w: a symbol cut short", ErrEncoding)
		}
		s := Symbol{Sum: binary.BigEndian.Uint64(raw), Check: binary.BigEndian.Uint32(raw[8:])}
		delta, size := binary.Varint(raw[12:])
		if size <= 0 || size > maxCountBytes || size > 1 && raw[12+size-1] == 0 {
			return nil, fmt.Errorf("%w: count of a symbol", ErrEncoding)
		}
		s.Count = delta + expected(n, first+len(out))
		out, raw = append(out, s), raw[12+size:]
	}
	return out, nil
}

// MaxProfileBytes bounds an encoded Profile.
const MaxProfileBytes = (1 + profileBits) * 4

// AppendProfile encodes a profile: the number of items as a varint, and of every
// counter what it is more than half of it, zig-zag, two bytes for 10,000 items.
func AppendProfile(out []byte, p Profile) []byte {
	out = binary.AppendUvarint(out, uint64(p.Items))
	for _, b := range p.Bits {
		out = binary.AppendVarint(out, int64(b-p.Items/2))
	}
	return out
}

// DecodeProfile decodes what AppendProfile made. Errors wrap ErrEncoding.
func DecodeProfile(raw []byte) (Profile, error) {
	var p Profile
	bad := fmt.Errorf("%w: profile of %d bytes", ErrEncoding, len(raw))
	if len(raw) > MaxProfileBytes {
		return p, bad
	}
	n, size := binary.Uvarint(raw)
	if size <= 0 || n > maxItems || size > 1 && raw[size-1] == 0 {
		return p, bad
	}
	p.Items, raw = int(n), raw[size:]
	for i := range p.Bits {
		v, size := binary.Varint(raw)
		if size <= 0 || size > 1 && raw[size-1] == 0 {
			return Profile{}, bad
		}
		if p.Bits[i] = int(v) + p.Items/2; v < -maxItems || v > maxItems || p.Bits[i] < 0 || p.Bits[i] > p.Items {
			return Profile{}, bad
		}
		raw = raw[size:]
	}
	if len(raw) > 0 {
		return Profile{}, bad
	}
	return p, nil
}
