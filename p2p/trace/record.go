package trace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Version is the version byte of the file format. HeaderSize and RecordSize are
// fixed for it.
const (
	Version    = 1
	HeaderSize = 96
	RecordSize = 64
)

// maxName is the room for the node's name in the header.
const maxName = 62

// maxFile bounds what ReadFile takes into memory: 2^25 records.
const maxFile = HeaderSize + RecordSize<<25

var magic = [4]byte{'p', 'h', 't', 'r'}

// Record types that are not events. They share the byte of Kind.
const (
	recordEnd  = 254 // Aux: events lost in all; the ring was closed in order
	recordLost = 255 // Aux: events lost in all up to here
)

// Errors of the reader, decided with errors.Is.
var (
	ErrFormat  = errors.New("trace: not a pheme trace")
	ErrVersion = errors.New("trace: version of the format not known")
	ErrRecord  = errors.New("trace: malformed record")
)

// Header stands once at the start of a file.
type Header struct {
	Name     string // the node's name, at most 62 bytes
	PeerTag  uint64 // PeerTag of the node's peer id
	MonoBase int64  // Clock value when the file was opened, ns
	WallBase int64  // wall time of the same instant, ns since 1970

	// Ended is set by the reader: the writer closed the file in order, so
	// nothing that was emitted is missing beyond the lost count. A killed
	// process leaves false.
	Ended bool
}

// AppendHeader appends the 96 bytes of h to b:
//
//	magic "phtr" | version | record size | name length | 0 | peer tag 8 | mono 8 | wall 8 | name 62 | 0 0
//
// all numbers big-endian. A longer name is cut.
func AppendHeader(b []byte, h Header) []byte {
	name := h.Name
	if len(name) > maxName {
		name = name[:maxName]
	}
	b = append(b, magic[:]...)
	b = append(b, Version, RecordSize, byte(len(name)), 0)
	b = binary.BigEndian.AppendUint64(b, h.PeerTag)
	b = binary.BigEndian.AppendUint64(b, uint64(h.MonoBase))
	b = binary.BigEndian.AppendUint64(b, uint64(h.WallBase))
	var room [maxName + 2]byte
	copy(room[:], name)
	return append(b, room[:]...)
}

// DecodeHeader reads the header from the first HeaderSize bytes of b.
func DecodeHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize || !bytes.Equal(b[:4], magic[:]) {
		return Header{}, ErrFormat
	}
	if b[4] != Version || b[5] != RecordSize {
		return Header{}, fmt.Errorf("%w: version %d with records of %d bytes", ErrVersion, b[4], b[5])
	}
	n := int(b[6])
	if n > maxName || b[7] != 0 {
		return Header{}, ErrFormat
	}
	for _, c := range b[32+n : HeaderSize] {
		if c != 0 {
			return Header{}, ErrFormat
		}
	}
	return Header{
		PeerTag:  binary.BigEndian.Uint64(b[8:]),
		MonoBase: int64(binary.BigEndian.Uint64(b[16:])),
		WallBase: int64(binary.BigEndian.Uint64(b[24:])),
		Name:     string(b[32 : 32+n]),
	}, nil
}

// AppendRecord appends the 64 bytes of e to b:
//
//	at 8 | kind | class | 0 0 | size 4 | peer 8 | aux 8 | hash 32
//
// all numbers big-endian.
func AppendRecord(b []byte, e Event) []byte { return appendRecord(b, byte(e.Kind), e) }

func appendRecord(b []byte, kind byte, e Event) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(e.At))
	b = append(b, kind, byte(e.Class), 0, 0)
	b = binary.BigEndian.AppendUint32(b, e.Size)
	b = binary.BigEndian.AppendUint64(b, e.Peer)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Aux))
	return append(b, e.Hash[:]...)
}

// DecodeRecord reads one event from the first RecordSize bytes of b.
func DecodeRecord(b []byte) (Event, error) {
	if len(b) < RecordSize {
		return Event{}, fmt.Errorf("%w: %d bytes", ErrRecord, len(b))
	}
	e := rawRecord(b)
	if e.Kind == KindNone || e.Kind >= kindEnd || e.Class >= NumClasses || b[10] != 0 || b[11] != 0 {
		return Event{}, fmt.Errorf("%w: kind %d, class %d", ErrRecord, b[8], b[9])
	}
	return e, nil
}

func rawRecord(b []byte) Event {
	return Event{
		At:    int64(binary.BigEndian.Uint64(b)),
		Kind:  Kind(b[8]),
		Class: Class(b[9]),
		Size:  binary.BigEndian.Uint32(b[12:]),
		Peer:  binary.BigEndian.Uint64(b[16:]),
		Aux:   int64(binary.BigEndian.Uint64(b[24:])),
		Hash:  [32]byte(b[32:64]),
	}
}

// Read reads a whole trace from r, at most max bytes: header, events in the
// order they were written (stamps of different goroutines may be out of order
// by a little) and how many events were lost. A file cut inside its last record,
// as kill -9 may leave it, is read up to there and has Ended false.
func Read(r io.Reader, max int64) (h Header, events []Event, lost uint64, err error) {
	b, err := io.ReadAll(io.LimitReader(r, max))
	if err != nil {
		return Header{}, nil, 0, err
	}
	return Decode(b)
}

// Decode is Read on bytes in memory.
func Decode(b []byte) (h Header, events []Event, lost uint64, err error) {
	h, err = DecodeHeader(b)
	if err != nil {
		return Header{}, nil, 0, err
	}
	b = b[HeaderSize:]
	events = make([]Event, 0, len(b)/RecordSize)
	for ; len(b) >= RecordSize; b = b[RecordSize:] {
		switch b[8] {
		case recordLost:
			lost = uint64(rawRecord(b).Aux)
		case recordEnd:
			lost = uint64(rawRecord(b).Aux)
			h.Ended = true
			return h, events, lost, nil
		default:
			e, err := DecodeRecord(b)
			if err != nil {
				return Header{}, nil, 0, fmt.Errorf("record %d: %w", len(events), err)
			}
			events = append(events, e)
		}
	}
	return h, events, lost, nil
}

// ReadFile reads the trace a node left in its data directory.
func ReadFile(path string) (h Header, events []Event, lost uint64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return Header{}, nil, 0, err
	}
	defer f.Close()
	h, events, lost, err = Read(f, maxFile)
	if err != nil {
		return Header{}, nil, 0, fmt.Errorf("read trace %s: %w", path, err)
	}
	return h, events, lost, nil
}
