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
//	m p           -> lowest number whose body is kept
//	m s           -> of which blocks the parts of table s are
//	m u           -> lowest number of the undo window
//	n number      -> id of the canonical block
//	s bucket      -> accounts of the bucket, as of one of the newest commits
//	t bucket      -> accounts of the bucket in a state that is being fetched
//	u number id   -> accounts that the block changed, before and after it
//	v number id   -> signed header and reason, of an invalid block
//	x group first -> entries of a group of transactions in a unit (canonical blocks only)
//	y first       -> number of the last block of a unit
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
	tableUnit      = 'y'
)

// formatVersion is the version of everything below the data dir. A store with a
// higher or a lower one is refused. Until version 1 every transaction had an entry of
// its own and every commit wrote all accounts it changed; until version 2 the head
// marker was one, in a file that was replaced.
const formatVersion = 3

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

func groupKey(group uint16, first uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint16([]byte{tableTx}, group), first)
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
