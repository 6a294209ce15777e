package chain

import (
	"bytes"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
)

// Part is one subtree on its way between nodes: its accounts, by bucket and in it by
// address, one after the other:
//
//	address (20) | length of balance (1), plus 64 if there is a nonce | length of nonce (1), if there is one | nonce | balance
//
// Numbers are as in a bucket. An address tells its bucket, so nothing stands between
// buckets, and an account that never sent anything costs its address, its balance and
// a byte.
type Part struct {
	Subtree
	Raw []byte
}

// hasNonce is the bit of an account in a Part that has a nonce.
const hasNonce = 64

// CheckedPart is a Part that hashes to what it must. It shares no memory with it.
type CheckedPart struct {
	Subtree
	node *node
}

// Part encodes a subtree of a state. Nil if it would be longer than limit.
func (s State) Part(t Subtree, limit int) []byte {
	out := []byte{}
	whole := s.find(t).walk(t.Index>>(16-4*t.Depth), t.Depth, func(_ uint16, bucket []byte) bool {
		for len(bucket) > 0 {
			rest := skipEntry(bucket)
			out = appendPartEntry(out, bucket[:len(bucket)-len(rest)])
			bucket = rest
		}
		return len(out) <= limit
	})
	if !whole {
		return nil
	}
	return out
}

// appendPartEntry appends an entry of a checked bucket as it stands in a Part.
func appendPartEntry(out, entry []byte) []byte {
	out = append(out, entry[:common.AddressLength]...)
	entry = entry[common.AddressLength:]
	nonce := entry[1 : 1+entry[0]]
	balance := entry[1+len(nonce):]
	if len(nonce) == 0 {
		return append(out, balance...)
	}
	out = append(out, balance[0]|hasNonce, byte(len(nonce)))
	return append(append(out, nonce...), balance[1:]...)
}

// nextPartEntry appends the first entry of a Part as it stands in a bucket. The address
// is its first bytes. What is not canonical gives false, as does what is cut short.
func nextPartEntry(out, raw []byte) (entry, rest []byte, ok bool) {
	const head = common.AddressLength
	if len(raw) <= head {
		return out, nil, false
	}
	out = append(out, raw[:head]...)
	balance, nonce := int(raw[head]&^hasNonce), 0
	rest = raw[head+1:]
	if raw[head]&hasNonce != 0 {
		if len(rest) == 0 || rest[0] == 0 {
			return out, nil, false
		}
		nonce, rest = int(rest[0]), rest[1:]
	}
	if len(rest) < nonce+balance {
		return out, nil, false
	}
	out = append(append(out, byte(nonce)), rest[:nonce]...)
	out = append(append(out, byte(balance)), rest[nonce:nonce+balance]...)
	return out, rest[nonce+balance:], true
}

// CheckPart checks a part against the digest of its subtree. Errors wrap ErrInvalidProof.
func CheckPart(p Part, digest common.Hash) (*CheckedPart, error) {
	buckets, err := decodePart(p)
	if err != nil {
		return nil, err
	}
	n := buildNode(p.Depth, buckets)
	if n.hash() != digest {
		return nil, p.bad(fmt.Sprintf("it hashes to %s, want %s", n.hash(), digest))
	}
	return &CheckedPart{p.Subtree, n}, nil
}

// decodePart reads the buckets of a part, whose encoding is canonical. What they hold
// is at most a 21st longer than it.
func decodePart(p Part) (buckets []indexed, err error) {
	if !p.Valid() {
		return nil, p.bad("no subtree")
	}
	var bucket, last []byte // the open bucket as newBucket takes it, and its last address
	var open uint16
	end := func() {
		if len(bucket) > 0 {
			buckets = append(buckets, indexed{open, bytes.Clone(bucket)})
		}
	}
	for raw := p.Raw; len(raw) > 0; {
		addr := raw[:min(len(raw), common.AddressLength)]
		index := BucketOf(common.BytesToAddress(addr))
		switch {
		case (index^p.Index)&^uint16(0xffff>>(4*p.Depth)) != 0:
			return nil, p.bad(fmt.Sprintf("%x belongs elsewhere", addr))
		case len(bucket) == 0 || index > open:
			end()
			bucket, open, last = append(bucket[:0], kindBucket), index, nil
		case index < open || bytes.Compare(last, addr) >= 0:
			return nil, p.bad("accounts do not ascend")
		}
		at := len(bucket)
		var ok bool
		if bucket, raw, ok = nextPartEntry(bucket, raw); ok {
			_, ok = entrySize(bucket[at:])
		}
		if !ok {
			return nil, p.bad(fmt.Sprintf("the account %x is cut short or not canonical", addr))
		}
		last = addr
	}
	end()
	return buckets, nil
}

func (p Part) bad(what string) error {
	return fmt.Errorf("%w: part %04x at depth %d: %s", ErrInvalidProof, p.Index, p.Depth, what)
}
