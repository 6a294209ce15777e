package chain

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sort"

	"github.com/ethereum/go-ethereum/common"
)

// A bucket is its accounts by ascending address, one after the other:
//
//	address (20) | length of nonce (1) | nonce | length of balance (1) | balance
//
// Numbers are big-endian without leading zeros, so there is one encoding.

const minEntryBytes = common.AddressLength + 2

// A bucket may be of any length: whoever grinds addresses fills one. A lookup in one
// of more than wideBytes goes by marks, one at every wideBytes of entries, so that it
// walks over some 90 accounts at most.
const wideBytes = 2 << 10

// DecodeBucket reads a bucket that came from a peer or a disk: canonical, and
// every address in the bucket it belongs to. What it allocates is at most three
// times raw, whose length is the caller's to bound. Errors wrap ErrInvalidProof.
func DecodeBucket(index uint16, raw []byte) ([]Change, error) {
	if err := checkBucket(index, raw); err != nil {
		return nil, err
	}
	out := make([]Change, 0, len(raw)/minEntryBytes)
	for len(raw) > 0 {
		var c Change
		c, raw = nextEntry(raw)
		out = append(out, c)
	}
	return out, nil
}

// checkBucket tells whether raw is the canonical encoding of accounts that
// belong to the bucket.
func checkBucket(index uint16, raw []byte) error {
	var last []byte
	for n := 0; len(raw) > 0; n++ {
		size, ok := entrySize(raw)
		if !ok {
			return fmt.Errorf("%w: bucket %04x: entry %d is cut short or not canonical", ErrInvalidProof, index, n)
		}
		addr := raw[:common.AddressLength]
		if BucketOf(common.Address(addr)) != index {
			return fmt.Errorf("%w: bucket %04x: %x belongs elsewhere", ErrInvalidProof, index, addr)
		}
		if last != nil && bytes.Compare(last, addr) >= 0 {
			return fmt.Errorf("%w: bucket %04x: addresses do not ascend", ErrInvalidProof, index)
		}
		last, raw = addr, raw[size:]
	}
	return nil
}

// entrySize is the length of the first entry of raw, if it is whole, canonical
// and not the zero account.
func entrySize(raw []byte) (int, bool) {
	if len(raw) < common.AddressLength {
		return 0, false
	}
	size, empty, ok := accountSize(raw[common.AddressLength:])
	return common.AddressLength + size, ok && !empty
}

// accountSize is the length of the nonce and the balance at the start of raw, if they
// are whole and canonical, and whether both are zero.
func accountSize(raw []byte) (size int, empty, ok bool) {
	at := 0
	empty = true
	for _, most := range [2]int{8, 32} {
		if at >= len(raw) {
			return 0, false, false
		}
		n := int(raw[at])
		at++
		if n > most || at+n > len(raw) || n > 0 && raw[at] == 0 {
			return 0, false, false
		}
		empty = empty && n == 0
		at += n
	}
	return at, empty, true
}

// nextEntry decodes the first entry of a checked bucket.
func nextEntry(raw []byte) (Change, []byte) {
	var c Change
	raw = raw[copy(c.Addr[:], raw):]
	size, _, _ := accountSize(raw)
	c.Account = nextAccount(raw)
	return c, raw[size:]
}

// nextAccount decodes a nonce and a balance that accountSize has seen.
func nextAccount(raw []byte) (a Account) {
	n := 1 + int(raw[0])
	for _, digit := range raw[1:n] {
		a.Nonce = a.Nonce<<8 | uint64(digit)
	}
	a.Balance.SetBytes(raw[n+1 : n+1+int(raw[n])])
	return a
}

// skipEntry is the rest of a checked bucket after its first entry.
func skipEntry(raw []byte) []byte {
	at := common.AddressLength
	at += 1 + int(raw[at])
	at += 1 + int(raw[at])
	return raw[at:]
}

// appendEntry appends an account; the zero Account appends nothing.
func appendEntry(out []byte, c Change) []byte {
	if c.Account == (Account{}) {
		return out
	}
	return appendAccount(append(out, c.Addr[:]...), c.Account)
}

// appendAccount appends a nonce and a balance, each after its length.
func appendAccount(out []byte, a Account) []byte {
	var nonce [8]byte
	binary.BigEndian.PutUint64(nonce[:], a.Nonce)
	digits := bytes.TrimLeft(nonce[:], "\x00")
	out = append(append(out, byte(len(digits))), digits...)
	balance := a.Balance.Bytes32()
	n := a.Balance.ByteLen()
	return append(append(out, byte(n)), balance[32-n:]...)
}

// bucketMarks are where entries of a checked bucket begin, the first one of every
// wideBytes.
func bucketMarks(bucket []byte) []uint32 {
	marks := make([]uint32, 0, 1+len(bucket)/wideBytes)
	for rest := bucket; len(rest) > 0; rest = skipEntry(rest) {
		if at := len(bucket) - len(rest); at >= len(marks)*wideBytes {
			marks = append(marks, uint32(at))
		}
	}
	return marks
}

// bucketGet finds an address in a checked bucket, which has marks if it is wide.
func bucketGet(bucket []byte, marks []uint32, addr common.Address) Account {
	above := sort.Search(len(marks), func(i int) bool {
		return bytes.Compare(bucket[marks[i]:][:common.AddressLength], addr[:]) > 0
	})
	if above > 0 {
		bucket = bucket[marks[above-1]:]
	}
	for len(bucket) > 0 {
		switch bytes.Compare(bucket[:common.AddressLength], addr[:]) {
		case 0:
			c, _ := nextEntry(bucket)
			return c.Account
		case 1:
			return Account{}
		}
		bucket = skipEntry(bucket)
	}
	return Account{}
}

// mergeBucket is a checked bucket after changes, which are sorted by address, in
// the form that newBucket takes.
func mergeBucket(old []byte, changes []bucketChange) []byte {
	out := append(make([]byte, 0, 1+len(old)+40*len(changes)), kindBucket)
	for _, c := range changes {
		for len(old) > 0 && bytes.Compare(old[:common.AddressLength], c.Addr[:]) < 0 {
			rest := skipEntry(old)
			out = append(out, old[:len(old)-len(rest)]...)
			old = rest
		}
		if len(old) > 0 && bytes.Equal(old[:common.AddressLength], c.Addr[:]) {
			old = skipEntry(old)
		}
		out = appendEntry(out, c.Change)
	}
	return append(out, old...)
}
