package chain

import (
	"encoding/binary"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/rlp"
)

// Tables of the database. A key is the table's byte, then big-endian numbers,
// then hashes.
//
//	b number id   -> encoded transaction list
//	c sequence    -> commit record
//	h number id   -> signed header
//	i id          -> number
//	m             -> format version and genesis id
//	n number      -> id of the canonical block
//	s bucket      -> accounts of the bucket (state at the head)
//	t bucket      -> accounts of the bucket in a state that is being fetched
//	u number id   -> accounts before the block
//	v number id   -> signed header and reason, of an invalid block
//	x tx hash     -> number, position (canonical blocks only)
const (
	tableBody      = 'b'
	tableCommit    = 'c'
	tableHeader    = 'h'
	tableNumber    = 'i'
	tableMeta      = 'm'
	tableCanonical = 'n'
	tableBucket    = 's'
	tableStaged    = 't'
	tableUndo      = 'u'
	tableInvalid   = 'v'
	tableTx        = 'x'
)

// formatVersion is the version of everything below the data dir. A store with a
// higher one is refused.
const formatVersion = 1

func blockKey(table byte, number uint64, id common.Hash) []byte {
	return append(numberKey(table, number), id[:]...)
}

func numberKey(table byte, number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{table}, number)
}

func hashKey(table byte, id common.Hash) []byte { return append([]byte{table}, id[:]...) }

func bucketKey(index uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{tableBucket}, index)
}

// splitBlockKey takes number and id out of a block key.
func splitBlockKey(key []byte) (uint64, common.Hash, error) {
	if len(key) != 1+8+common.HashLength {
		return 0, common.Hash{}, fmt.Errorf("%w: key %x has %d bytes", ErrCorrupt, key, len(key))
	}
	return binary.BigEndian.Uint64(key[1:]), common.Hash(key[9:]), nil
}

// place is the value of the transaction table.
func encodePlace(number uint64, index int) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, number), uint32(index))
}

func decodePlace(raw []byte) (number uint64, index int, err error) {
	if len(raw) != 12 {
		return 0, 0, fmt.Errorf("%w: transaction entry has %d bytes", ErrCorrupt, len(raw))
	}
	return binary.BigEndian.Uint64(raw), int(binary.BigEndian.Uint32(raw[8:])), nil
}

// meta is the value of the meta table.
type meta struct {
	Version uint64
	Genesis common.Hash
	Network string
}

// invalidRecord is the value of the invalid table.
type invalidRecord struct {
	Header []byte // signed header
	Reason string
}

// decodeRLP decodes a value of ours from disk.
func decodeRLP(what string, raw []byte, to any) error {
	if err := rlp.DecodeBytes(raw, to); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrCorrupt, what, err)
	}
	return nil
}

// encodeRLP encodes a value of ours, whose fields all have an encoding.
func encodeRLP(v any) []byte {
	raw, err := rlp.EncodeToBytes(v)
	if err != nil {
		panic(err)
	}
	return raw
}
