package relay

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/klauspost/reedsolomon"
)

// A block's transaction list is cut into equal data chunks, to which a systematic
// Reed-Solomon code adds half as many parity chunks: any `data` of them give the
// list back. The proposer signs the hashes of all, so each is verified alone.
const (
	maxData   = 256     // data chunks of a block: 4 KiB each at 1 MiB, and 6 KiB of hashes
	minChunk  = 4 << 10 // bytes; smaller chunks cost more in frames and bitmaps than they save in time
	lineBytes = 64      // the code works on whole lines of a cache
	leafBytes = 16      // of a chunk's SHA-256: nobody finds a second chunk for it, and only its proposer could make two
)

// shape is how a list of size bytes is cut.
type shape struct {
	size, chunk  int // bytes
	data, parity int // chunks
}

// shapeOf derives the shape from the size alone: 32 chunks of 4 KiB at 128 KiB,
// 256 of 4 KiB at 1 MiB, 256 of 8 KiB at 2 MiB, and half as many of parity.
func shapeOf(size int) shape {
	data := min(max((size+minChunk-1)/minChunk, 1), maxData)
	chunk := (size + data - 1) / data
	chunk += (lineBytes - chunk%lineBytes) % lineBytes
	data = max((size+chunk-1)/chunk, 1)
	return shape{size: size, chunk: chunk, data: data, parity: (data + 1) / 2}
}

func (s shape) total() int { return s.data + s.parity }

// encode cuts a list and computes parity. Data chunks share list's memory but for
// the last, which is padded with zeros.
func (s shape) encode(list []byte) ([][]byte, error) {
	chunks := make([][]byte, s.total())
	for i := range s.data {
		chunks[i] = s.cut(list, i)
	}
	room := make([]byte, s.parity*s.chunk)
	for i := range s.parity {
		chunks[s.data+i] = room[i*s.chunk : (i+1)*s.chunk : (i+1)*s.chunk]
	}
	code, err := s.code()
	if err != nil {
		return nil, err
	}
	if err := code.Encode(chunks); err != nil {
		return nil, fmt.Errorf("relay: encode: %w", err)
	}
	return chunks, nil
}

// cut is data chunk i of a list.
func (s shape) cut(list []byte, i int) []byte {
	if end := (i + 1) * s.chunk; end <= len(list) {
		return list[i*s.chunk : end : end]
	}
	last := make([]byte, s.chunk)
	copy(last, list[min(i*s.chunk, len(list)):])
	return last
}

// errShort is too few chunks to decode.
var errShort = errors.New("relay: too few chunks")

// decode returns the list from at least data chunks; those missing are nil or
// empty. It fails only for too few: chunks that no list gives decode to bytes
// that are not the block's.
func (s shape) decode(chunks [][]byte) ([]byte, error) {
	n, gaps := 0, false
	for i, c := range chunks {
		if len(c) > 0 {
			n++
		} else if i < s.data {
			gaps = true
		}
	}
	if n < s.data {
		return nil, errShort
	}
	if gaps {
		work := make([][]byte, len(chunks)) // the code fills in what is missing
		copy(work, chunks)
		code, err := s.code()
		if err != nil {
			return nil, err
		}
		if err := code.ReconstructData(work); err != nil {
			return nil, fmt.Errorf("relay: decode: %w", err)
		}
		chunks = work
	}
	list := make([]byte, 0, s.data*s.chunk)
	for _, c := range chunks[:s.data] {
		list = append(list, c...)
	}
	return list[:s.size:s.size], nil
}

// code is O(n log n) on both ways; its tables are made once for the process.
func (s shape) code() (reedsolomon.Encoder, error) {
	field := reedsolomon.WithLeopardGF(true) // of 2^8
	if s.data > 128 {
		field = reedsolomon.WithLeopardGF16(true)
	}
	code, err := reedsolomon.New(s.data, s.parity, field, reedsolomon.WithMaxGoroutines(1))
	if err != nil {
		return nil, fmt.Errorf("relay: code of %d and %d chunks: %w", s.data, s.parity, err)
	}
	return code, nil
}

// leaf is the hash of a chunk as an announcement lists it.
func leaf(chunk []byte) [leafBytes]byte {
	sum := sha256.Sum256(chunk)
	return [leafBytes]byte(sum[:leafBytes])
}

// leavesOf are the hashes of all chunks, one behind the other.
func leavesOf(chunks [][]byte) []byte {
	out := make([]byte, 0, len(chunks)*leafBytes)
	for _, c := range chunks {
		l := leaf(c)
		out = append(out, l[:]...)
	}
	return out
}
