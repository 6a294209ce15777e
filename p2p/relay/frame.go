package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
)

// The relay protocol. Each side that has something to say opens one stream to the
// other and writes frames on it: a length as a minimal uvarint, a type byte, and
//
//	chunk  tag, number (2 bytes), hops (1), the chunk
//	have   tag, flags (1), how many acknowledgements (uvarint) and their chunk
//	       numbers (2 each), then numbers of chunks held (2 each)
//	ask    tag, numbers of transactions wanted (uvarint each)
//	txs    tag, hops (1), then number (uvarint), length (uvarint), raw bytes of each
//	route  tag (of any block), port at which the sender takes datagrams (2; 0: nowhere),
//	       whether it asks for the other's (1)
//
// Numbers are big endian.
const (
	frameChunk = iota
	frameHave
	frameAsk
	frameTxs
	frameRoute
	frameSlice // in datagrams alone: see slice
)

// Flags of a have frame.
const (
	flagDone    = 1 << iota // needs nothing more and can give everything
	flagWant                // push chunks
	flagStarved             // push what I lack, however often you sent it
	flagAll                 // the numbers are all the sender holds, not only what is new
	flagsEnd
)

// tag names an announcement within a frame: the first bytes of the hash that its
// proposer signed, so many that nobody makes two of one tag, whose followers would take
// each other's chunks for wrong. It is not the block that it names: of a block whose proposer
// signed two, who follows one must not take the pieces of the other for wrong.
type tag [16]byte

// Bounds of frames, the same for every node.
const (
	maxFrame = maxTxsBytes + 1<<10
	// maxTxsBytes is what one frame of transactions carries, but for the last
	// transaction in it.
	maxTxsBytes = 64<<10 + chain.MaxTxBytes
)

// frame is one decoded frame. Which fields count depends on its type.
type frame struct {
	kind  byte
	tag   tag
	hops  byte
	chunk int
	bytes []byte // of the chunk; shared with the frame
	flags byte
	acks  []int // chunks received from the one this is sent to
	held  []int // other chunks
	asked []int // transactions
	txs   []numbered
	port  uint16 // route
	query bool   // route

	read *trace.Event // that it was read, to be recorded with its block; nil: done, or it is ours
}

// numbered is a transaction's bytes with its place in the block.
type numbered struct {
	index int
	raw   []byte
}

// errFrame is a frame no honest peer sends.
var errFrame = fmt.Errorf("%w: relay frame", chain.ErrInvalid)

// encode encodes the frame with its length.
func (f *frame) encode() []byte {
	body := f.body()
	out := binary.AppendUvarint(make([]byte, 0, len(body)+binary.MaxVarintLen32), uint64(len(body)))
	return append(out, body...)
}

// body encodes the frame without its length.
func (f *frame) body() []byte {
	body := make([]byte, 0, 16+len(f.bytes)+2*len(f.acks)+2*len(f.held))
	body = append(body, f.kind)
	body = append(body, f.tag[:]...)
	switch f.kind {
	case frameChunk:
		body = binary.BigEndian.AppendUint16(body, uint16(f.chunk))
		body = append(append(body, f.hops), f.bytes...)
	case frameHave:
		body = binary.AppendUvarint(append(body, f.flags), uint64(len(f.acks)))
		for _, list := range [2][]int{f.acks, f.held} {
			for _, c := range list {
				body = binary.BigEndian.AppendUint16(body, uint16(c))
			}
		}
	case frameRoute:
		body = binary.BigEndian.AppendUint16(body, f.port)
		if f.query {
			return append(body, 1)
		}
		body = append(body, 0)
	case frameAsk:
		for _, i := range f.asked {
			body = binary.AppendUvarint(body, uint64(i))
		}
	case frameTxs:
		body = append(body, f.hops)
		for _, t := range f.txs {
			body = binary.AppendUvarint(body, uint64(t.index))
			body = binary.AppendUvarint(body, uint64(len(t.raw)))
			body = append(body, t.raw...)
		}
	}
	return body
}

// decodeFrame reads the body of a frame, which it keeps. Errors wrap
// chain.ErrInvalid.
func decodeFrame(b []byte) (*frame, error) {
	if len(b) < 1+len(tag{}) {
		return nil, fmt.Errorf("%w: %d bytes", errFrame, len(b))
	}
	f := &frame{kind: b[0], tag: tag(b[1:])}
	b = b[1+len(f.tag):]
	var ok bool
	switch f.kind {
	case frameChunk:
		if ok = len(b) > 3; ok {
			f.chunk, f.hops, f.bytes = int(binary.BigEndian.Uint16(b)), b[2], b[3:]
		}
	case frameHave:
		ok = f.decodeHave(b)
	case frameRoute:
		if ok = len(b) == 3 && b[2] <= 1; ok {
			f.port, f.query = binary.BigEndian.Uint16(b), b[2] == 1
		}
	case frameAsk:
		ok = f.decodeAsk(b)
	case frameTxs:
		ok = f.decodeTxs(b)
	}
	if !ok {
		return nil, fmt.Errorf("%w: type %d with %d bytes", errFrame, f.kind, len(b))
	}
	return f, nil
}

func (f *frame) decodeHave(b []byte) bool {
	if len(b) < 2 || b[0] >= flagsEnd {
		return false
	}
	f.flags = b[0]
	n, used := uvarint(b[1:])
	if used <= 0 {
		return false
	}
	b = b[1+used:]
	if len(b)%2 != 0 || n > uint64(len(b)/2) || len(b) > 4*2*maxData {
		return false
	}
	for i := 0; i < len(b); i += 2 {
		c := int(binary.BigEndian.Uint16(b[i:]))
		if i/2 < int(n) {
			f.acks = append(f.acks, c)
		} else {
			f.held = append(f.held, c)
		}
	}
	return true
}

func (f *frame) decodeAsk(b []byte) bool {
	last := -1
	for len(b) > 0 {
		i, used := uvarint(b)
		if used <= 0 || int(i) <= last || i > chain.MaxBlockBytes/minTxBytes {
			return false
		}
		last = int(i)
		f.asked = append(f.asked, last)
		b = b[used:]
	}
	return len(f.asked) > 0
}

func (f *frame) decodeTxs(b []byte) bool {
	if len(b) < 1 {
		return false
	}
	f.hops = b[0]
	b = b[1:]
	for len(b) > 0 {
		i, used := uvarint(b)
		if used <= 0 || i > chain.MaxBlockBytes/minTxBytes {
			return false
		}
		b = b[used:]
		n, used := uvarint(b)
		if used <= 0 || n == 0 || n > uint64(len(b)-used) {
			return false
		}
		f.txs = append(f.txs, numbered{int(i), b[used : used+int(n) : used+int(n)]})
		b = b[used+int(n):]
	}
	return len(f.txs) > 0
}

// readFrame reads one frame's body. Nothing is allocated for one that claims to
// be longer than any can be.
func readFrame(r io.ByteReader, full io.Reader) ([]byte, error) {
	n := uint64(0)
	for shift := 0; ; shift += 7 {
		c, err := r.ReadByte()
		if err != nil {
			if shift > 0 && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if shift > 21 || c == 0 && shift > 0 {
			return nil, fmt.Errorf("%w: length", errFrame)
		}
		n |= uint64(c&0x7f) << shift
		if c < 0x80 {
			break
		}
	}
	if n > maxFrame {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", errFrame, n, maxFrame)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(full, b); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return b, nil
}

// uvarint reads a minimally encoded uvarint of at most 32 bits; used is 0 for
// anything else.
func uvarint(b []byte) (v uint64, used int) {
	v, used = binary.Uvarint(b)
	if used <= 0 || v > 1<<32-1 || used > 1 && b[used-1] == 0 {
		return 0, 0
	}
	return v, used
}
