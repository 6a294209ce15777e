package recorder

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"slices"
)

// Fingerprint names everything that was delivered when: the SHA-256 over one record for each
// delivery of a counted message, sorted: the message's id, the node's number (4 bytes) and the
// latency in nanoseconds (8 bytes, big-endian both; -1 for not delivered). Two runs with one
// fingerprint took the same course. It is 64 hex digits.
func (r *Run) Fingerprint() string {
	const size = 32 + 4 + 8
	var records [][size]byte
	for _, messages := range [][]*Message{r.Blocks, r.Txs} {
		for _, m := range messages {
			for i := range m.Deliveries {
				d, ns := &m.Deliveries[i], int64(-1)
				if d.Delivered() {
					ns = int64(math.Round(d.Latency * 1e6))
				}
				var rec [size]byte
				copy(rec[:], m.ID[:])
				binary.BigEndian.PutUint32(rec[32:], uint32(d.Node))
				binary.BigEndian.PutUint64(rec[36:], uint64(ns))
				records = append(records, rec)
			}
		}
	}
	slices.SortFunc(records, func(a, b [size]byte) int { return bytes.Compare(a[:], b[:]) })
	h := sha256.New()
	for i := range records {
		h.Write(records[i][:])
	}
	return hex.EncodeToString(h.Sum(nil))
}
