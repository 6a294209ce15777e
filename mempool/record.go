package mempool

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/ethereum/go-ethereum/common"

	"github.com/pheme-net/pheme/chain"
)

// The journal file, format 2:
//
//	line     "pheme journal 2 " | salt | " " | salt | " " | salt | "\n", the salt as 16 hex digits
//	records  mark (4) | kind (1) | length (4, big endian) | CRC-32C of salt, kind, length and payload (4) | payload
//
// The mark lets a reader find the next record behind a damaged one. Anybody can put
// bytes that look like a record into a transaction, and damage may end just before
// them; but the salt is random, new with every file and known to nobody, so their
// CRC does not fit. It stands there thrice, so that no single byte costs the file.
//
// Format 1 had no salt and the line "pheme journal 1\n". It is read, and rewritten.
const (
	journalName  = "pheme journal "
	journalLine1 = journalName + "1\n"
	journalLine2 = journalName + "2 " // and the salts
	saltSize     = 8
	lineSize     = len(journalLine2) + 3*(2*saltSize+1)

	recordMark = "\xf0pmj"
	recordHead = 13
	maxPayload = chain.MaxTxBytes
)

// Kinds of record.
const (
	recordAdd  = 1 // payload: a raw transaction
	recordDrop = 2 // payload: the hash of one that left the pool without a block
)

// record is one line of the journal's story. Replaying them in order gives what
// was pooled, and some that are in blocks by now.
type record struct {
	kind    byte
	payload []byte
}

// newSalt makes the salt of a new file.
func newSalt() []byte {
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails: see crypto/rand
	return salt
}

// journalLine is the first line of a file with this salt.
func journalLine(salt []byte) []byte {
	s := hex.EncodeToString(salt)
	return []byte(journalLine2 + s + " " + s + " " + s + "\n")
}

// readSalt reads the salt out of a first line, each digit as most copies have it; nil
// if there is none.
func readSalt(line []byte) []byte {
	if len(line) < lineSize {
		return nil
	}
	var digits [2 * saltSize]byte
	for i := range digits {
		at := len(journalLine2) + i
		a, b, c := line[at], line[at+len(digits)+1], line[at+2*len(digits)+2]
		if digits[i] = a; b == c {
			digits[i] = b
		}
	}
	salt := make([]byte, saltSize)
	if _, err := hex.Decode(salt, digits[:]); err != nil {
		return nil
	}
	return salt
}

func addRecord(tx *chain.Tx) record      { return record{recordAdd, tx.Raw()} }
func dropRecord(hash common.Hash) record { return record{recordDrop, hash[:]} }

// appendRecord appends a record to a file with this salt; nil makes one of format 1.
func appendRecord(o, salt []byte, r record) []byte {
	o = append(o, recordMark...)
	o = append(o, r.kind)
	o = binary.BigEndian.AppendUint32(o, uint32(len(r.payload)))
	o = binary.BigEndian.AppendUint32(o, recordSum(salt, r.kind, uint32(len(r.payload)), r.payload))
	return append(o, r.payload...)
}

func recordSum(salt []byte, kind byte, length uint32, payload []byte) uint32 {
	var head [5]byte
	head[0] = kind
	binary.BigEndian.PutUint32(head[1:], length)
	table := crc32.MakeTable(crc32.Castagnoli) // the library keeps it
	sum := crc32.Update(crc32.Checksum(salt, table), table, head[:])
	return crc32.Update(sum, table, payload)
}

var (
	errShort  = errors.New("record ends early")
	errDamage = errors.New("damaged record")
)

// decodeRecord reads the record that raw begins with, and how long it is. The
// payload is a part of raw. errShort means that more bytes could make it whole.
func decodeRecord(raw, salt []byte) (record, int, error) {
	n := min(len(raw), len(recordMark))
	switch {
	case string(raw[:n]) != recordMark[:n]:
		return record{}, 0, errDamage
	case len(raw) < recordHead:
		return record{}, 0, errShort
	}
	kind, length := raw[4], binary.BigEndian.Uint32(raw[5:])
	switch {
	case length > maxPayload:
		return record{}, 0, errDamage
	case len(raw) < recordHead+int(length):
		return record{}, 0, errShort
	}
	payload := raw[recordHead : recordHead+int(length)]
	if recordSum(salt, kind, length, payload) != binary.BigEndian.Uint32(raw[9:]) {
		return record{}, 0, errDamage
	}
	return record{kind, payload}, recordHead + int(length), nil
}

// scan is what reading a journal gave.
type scan struct {
	records int   // whole ones
	foreign int   // whole ones of a kind or content that is not ours
	skipped int64 // damaged bytes in between
	end     int64 // offset behind the last whole record
	torn    int64 // bytes behind it
}

// readRecords reads the records of a journal from behind its first line, which is at
// the offset from, and calls each with every whole one; each reports whether it
// understood it. Damage is skipped and counted. It holds one record in memory.
func readRecords(r io.Reader, from int, salt []byte, each func(record) bool) (scan, error) {
	var s scan
	br := bufio.NewReaderSize(r, 2*(recordHead+maxPayload))
	s.end = int64(from)
	var loose int64 // bytes since the last whole record
	for {
		head, err := br.Peek(recordHead + maxPayload)
		if err != nil && !errors.Is(err, io.EOF) {
			return s, fmt.Errorf("read journal: %w", err)
		}
		if len(head) == 0 {
			s.torn = loose
			return s, nil
		}
		rec, n, err := decodeRecord(head, salt)
		if err != nil { // to the next place where a record may begin
			if n = 1 + bytes.IndexByte(head[1:], recordMark[0]); n == 0 {
				n = len(head)
			}
			loose += int64(n)
		} else {
			s.records++
			if !each(rec) {
				s.foreign++
			}
			s.skipped += loose
			s.end += loose + int64(n)
			loose = 0
		}
		if _, err := br.Discard(n); err != nil {
			return s, fmt.Errorf("read journal: %w", err)
		}
	}
}
