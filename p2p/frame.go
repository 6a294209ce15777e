package p2p

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/rlp"

	"github.com/pheme-net/pheme/chain"
)

// ErrProtocol is something an honest peer never sends on a stream of ours. It
// wraps chain.ErrInvalid.
var ErrProtocol = fmt.Errorf("%w: peer protocol", chain.ErrInvalid)

// Bounds of the request protocols, the same for every node.
const (
	maxStatusBytes  = 256
	maxRequestBytes = 8 << 10
	maxHeaders      = 1024                // headers in one answer
	maxHeadersBytes = maxHeaders*240 + 64 // encoded
	maxFrames       = 16                  // frames of headers on one stream: no delay of the link between them
	maxAsked        = 64                  // blocks in one request
	maxLocator      = 128                 // ids in a locator: twice log2 of any chain's length
	maxAnswerBytes  = 8 << 20             // blocks in one answer, but always at least one
)

// writeFrame writes a length as an unsigned varint, then b, in one write.
func writeFrame(w io.Writer, b []byte) error {
	out := binary.AppendUvarint(make([]byte, 0, len(b)+binary.MaxVarintLen32), uint64(len(b)))
	_, err := w.Write(append(out, b...))
	return err
}

// readFrame reads one frame of at most limit bytes. Nothing is allocated for a
// frame that claims more. A stream that ends between frames gives io.EOF.
func readFrame(r io.Reader, limit int) ([]byte, error) {
	n, err := readUvarint(r)
	if err != nil {
		return nil, err
	}
	if n > uint64(limit) {
		return nil, fmt.Errorf("%w: frame of %d bytes, at most %d", ErrProtocol, n, limit)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return b, nil
}

// readUvarint reads a minimally encoded length of at most 32 bits.
func readUvarint(r io.Reader) (n uint64, err error) {
	var b [1]byte
	for shift := 0; shift < 32; shift += 7 {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			if shift > 0 && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		n |= uint64(b[0]&0x7f) << shift
		if b[0] < 0x80 {
			if b[0] == 0 && shift > 0 {
				return 0, fmt.Errorf("%w: length is not minimal", ErrProtocol)
			}
			return n, nil
		}
	}
	return 0, fmt.Errorf("%w: length above 32 bits", ErrProtocol)
}

// status opens the status stream in both directions and is sent again on every
// change of head: about 80 bytes.
type status struct {
	Version uint64
	Genesis common.Hash
	Number  uint64 // of the head: its weight
	Slot    uint64
	Head    common.Hash
}

const statusVersion = 1

func (s status) encode() []byte { return mustEncode(s) }

// decodeStatus reads a status message. Errors wrap ErrProtocol.
func decodeStatus(b []byte) (status, error) {
	var s status
	if err := decodeRLP(b, maxStatusBytes, &s); err != nil {
		return status{}, err
	}
	if s.Version != statusVersion {
		return status{}, fmt.Errorf("%w: status version %d, want %d", ErrProtocol, s.Version, statusVersion)
	}
	return s, nil
}

// better tells whether a chain that ends at s wins over one that ends at o:
// more blocks, then the lower slot, then the lower hash (package chain).
func (s status) better(o status) bool {
	switch {
	case s.Number != o.Number:
		return s.Number > o.Number
	case s.Slot != o.Slot:
		return s.Slot < o.Slot
	}
	return s.Head.Cmp(o.Head) < 0
}

// What a request on the blocks protocol asks for.
const (
	askBlocks = 0 // the blocks with these ids: one frame each, in order, up to the first that is missing
	askAfter  = 1 // the headers that follow the first of these that is on the canonical chain: one frame
	askPath   = 2 // the same, but frame after frame up to the head, at most maxFrames
)

// request is the one frame a client writes on a blocks stream.
type request struct {
	Kind uint64
	IDs  []common.Hash
}

func (r request) encode() []byte { return mustEncode(r) }

// decodeRequest reads a request. Errors wrap ErrProtocol.
func decodeRequest(b []byte) (request, error) {
	var r request
	if err := decodeRLP(b, maxRequestBytes, &r); err != nil {
		return request{}, err
	}
	limit := map[uint64]int{askBlocks: maxAsked, askAfter: maxLocator, askPath: maxLocator}[r.Kind]
	if len(r.IDs) == 0 || len(r.IDs) > limit {
		return request{}, fmt.Errorf("%w: request of kind %d with %d ids", ErrProtocol, r.Kind, len(r.IDs))
	}
	return r, nil
}

// answer is a frame of what askAfter and askPath give: consecutive canonical headers. Without any, After
// says nothing.
type answer struct {
	After   common.Hash // parent of the first one
	Headers []chain.Brief
}

func newAnswer(headers []*chain.SignedHeader) (a answer) {
	for i, h := range headers {
		if i == 0 {
			a.After = h.Parent()
		}
		a.Headers = append(a.Headers, h.Brief())
	}
	return a
}

func (a answer) encode() []byte { return mustEncode(a) }

// decodeAnswer reads an answer and checks it no further. Errors wrap ErrProtocol.
func decodeAnswer(b []byte) (a answer, err error) {
	if err := decodeRLP(b, maxHeadersBytes, &a); err != nil {
		return a, err
	}
	if len(a.Headers) > maxHeaders {
		return a, fmt.Errorf("%w: answer with %d headers", ErrProtocol, len(a.Headers))
	}
	return a, nil
}

func decodeRLP(b []byte, limit int, v any) error {
	if len(b) > limit {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrProtocol, len(b), limit)
	}
	if err := rlp.DecodeBytes(b, v); err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return nil
}

// mustEncode encodes a value whose type always encodes.
func mustEncode(v any) []byte {
	b, err := rlp.EncodeToBytes(v)
	if err != nil {
		panic(err)
	}
	return b
}
