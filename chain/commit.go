package chain

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/ethereum/go-ethereum/common"
)

// checkpointEvery is how many commits are between two places at which
// verify-on-open may begin.
const checkpointEvery = 1024

// record is the commit record that every batch carries. Each holds the hash of
// the one before, so a batch that is missing anywhere breaks the chain.
type record struct {
	Seq    uint64
	Head   common.Hash // head after the batch
	Number uint64      // its number
	Prev   common.Hash // hash of the record before, zero in the first
}

func (r record) hash() common.Hash { return sha256.Sum256(encodeRLP(r)) }

func decodeRecord(raw []byte) (record, error) {
	var r record
	return r, decodeRLP("commit record", raw, &r)
}

// headMark is the head marker, which lies outside the database so that a
// database that lost commits, or all of them, is noticed. It is written after
// the batch it names is durable: a database ahead of it is legal, behind it is
// damage.
type headMark struct {
	Seq    uint64
	Head   common.Hash
	Record common.Hash // hash of the commit record
}

const (
	markMagic = "pheme head 2\n"
	markBytes = len(markMagic) + 8 + 32 + 32 + 4
	markSlot  = 4096 // a page, so that no write of one slot touches the other
)

// at is where the marker stands in the file.
func (m headMark) at() int64 { return int64(m.Seq%2) * markSlot }

// markFile is a file with m alone.
func markFile(m headMark) []byte {
	raw := make([]byte, 2*markSlot)
	copy(raw[m.at():], m.encode())
	return raw
}

// newestMark reads a file of markers. A slot that holds none was never written or
// torn by a crash, and then the other one holds the commit before it.
func newestMark(raw []byte) (headMark, error) {
	if len(raw) != 2*markSlot {
		return headMark{}, fmt.Errorf("%w: head marker is not readable: %d bytes", ErrCorrupt, len(raw))
	}
	a, errA := decodeHeadMark(raw[:markBytes])
	b, errB := decodeHeadMark(raw[markSlot:][:markBytes])
	switch {
	case errA != nil && errB != nil:
		return headMark{}, errA
	case errA != nil, errB == nil && b.Seq > a.Seq:
		return b, nil
	}
	return a, nil
}

func (m headMark) encode() []byte {
	raw := binary.BigEndian.AppendUint64([]byte(markMagic), m.Seq)
	raw = append(append(raw, m.Head[:]...), m.Record[:]...)
	return binary.BigEndian.AppendUint32(raw, crc32.ChecksumIEEE(raw))
}

func decodeHeadMark(raw []byte) (headMark, error) {
	if len(raw) != markBytes || string(raw[:len(markMagic)]) != markMagic {
		return headMark{}, fmt.Errorf("%w: head marker is not readable", ErrCorrupt)
	}
	body, sum := raw[:markBytes-4], raw[markBytes-4:]
	if binary.BigEndian.Uint32(sum) != crc32.ChecksumIEEE(body) {
		return headMark{}, fmt.Errorf("%w: head marker has a wrong checksum", ErrCorrupt)
	}
	body = body[len(markMagic):]
	return headMark{binary.BigEndian.Uint64(body), common.Hash(body[8:40]), common.Hash(body[40:72])}, nil
}

// checkMark compares the marker with the newest commit record. find gives the
// record of a sequence number.
func checkMark(m headMark, newest record, find func(seq uint64) (record, error)) error {
	if m.Seq > newest.Seq {
		return fmt.Errorf("%w: the database ends at commit %d, but commit %d was made durable: %d commits are lost",
			ErrCorrupt, newest.Seq, m.Seq, m.Seq-newest.Seq)
	}
	r, err := find(m.Seq)
	if err != nil {
		return err
	}
	if r.hash() != m.Record || r.Head != m.Head {
		return fmt.Errorf("%w: commit %d of the database is not the one the head marker names", ErrCorrupt, m.Seq)
	}
	return nil
}
