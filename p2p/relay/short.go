package relay

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"

	"github.com/ethereum/go-ethereum/common"
)

// shortBytes is the length of a short id, as in BIP 152: in a block of 10,000
// transactions and a pool of 100,000, one block in 280,000 has a collision.
const shortBytes = 6

// shortID stands for a transaction in a compact announcement: the lower six bytes
// of SipHash-2-4 of its hash under the block's key.
type shortID [shortBytes]byte

// shortKey is the key of the short ids of a block. Nobody knows it before the
// block is sealed, so nobody can make transactions that collide in it.
type shortKey struct{ k0, k1 uint64 }

func newShortKey(block common.Hash, nonce uint64) shortKey {
	var seed [len(block) + 8]byte
	copy(seed[:], block[:])
	binary.LittleEndian.PutUint64(seed[len(block):], nonce)
	sum := sha256.Sum256(seed[:])
	return shortKey{binary.LittleEndian.Uint64(sum[:]), binary.LittleEndian.Uint64(sum[8:])}
}

func (k shortKey) id(tx common.Hash) (out shortID) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], sipHash(k.k0, k.k1, tx[:]))
	copy(out[:], b[:])
	return out
}

// sipHash is SipHash-2-4 (Aumasson and Bernstein, 2012) of a message whose length
// is a multiple of eight.
func sipHash(k0, k1 uint64, m []byte) uint64 {
	v0, v1, v2, v3 := k0^0x736f6d6570736575, k1^0x646f72616e646f6d, k0^0x6c7967656e657261, k1^0x7465646279746573
	round := func() {
		v0 += v1
		v1 = bits.RotateLeft64(v1, 13) ^ v0
		v0 = bits.RotateLeft64(v0, 32)
		v2 += v3
		v3 = bits.RotateLeft64(v3, 16) ^ v2
		v0 += v3
		v3 = bits.RotateLeft64(v3, 21) ^ v0
		v2 += v1
		v1 = bits.RotateLeft64(v1, 17) ^ v2
		v2 = bits.RotateLeft64(v2, 32)
	}
	mix := func(w uint64) {
		v3 ^= w
		round()
		round()
		v0 ^= w
	}
	for i := 0; i < len(m); i += 8 {
		mix(binary.LittleEndian.Uint64(m[i:]))
	}
	mix(uint64(len(m)) << 56)
	v2 ^= 0xff
	for range 4 {
		round()
	}
	return v0 ^ v1 ^ v2 ^ v3
}
