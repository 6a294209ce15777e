package relay

import (
	"encoding/binary"
	"fmt"
	"time"
)

// slice is what one datagram brings of a chunk: all slices of it, one behind the
// other, are the chunk. On the wire, behind the type byte of a frame that goes in
// datagrams alone:
//
//	slice  tag, number of the chunk (2 bytes), hops (1), which slice (1), of how many (1), bytes
type slice struct {
	tag    tag
	chunk  int
	hops   byte
	no, of int
	bytes  []byte // shared with the datagram
}

// notice is the chunk number of an announcement: no block has so many.
const notice = 1<<16 - 1

const (
	sliceHeader = 1 + len(tag{}) + 2 + 1 + 1 + 1
	maxSlice    = 1120                   // bytes
	maxDatagram = sliceHeader + maxSlice // sealed and with the headers of UDP and IPv6 below 1,280, which every path carries (RFC 8200, 5)
	maxSlices   = 16                     // a chunk of 16 KiB, as in a block of 4 MiB
)

// slices cuts a frame with a chunk into datagrams.
func (f *frame) slices() [][]byte {
	of := (len(f.bytes) + maxSlice - 1) / maxSlice
	size := (len(f.bytes) + of - 1) / of
	out := make([][]byte, of)
	for i := range out {
		part := f.bytes[i*size : min((i+1)*size, len(f.bytes))]
		b := append(make([]byte, 0, sliceHeader+len(part)), frameSlice)
		b = binary.BigEndian.AppendUint16(append(b, f.tag[:]...), uint16(f.chunk))
		out[i] = append(append(b, f.hops, byte(i), byte(of)), part...)
	}
	return out
}

// decodeSlice reads a datagram that brings a slice, and keeps it. Errors wrap
// chain.ErrInvalid.
func decodeSlice(b []byte) (*slice, error) {
	if len(b) <= sliceHeader || len(b) > maxDatagram || b[0] != frameSlice {
		return nil, fmt.Errorf("%w: datagram of %d bytes", errFrame, len(b))
	}
	s := &slice{tag: tag(b[1:])}
	b = b[1+len(s.tag):]
	s.chunk, s.hops, s.no, s.of, s.bytes = int(binary.BigEndian.Uint16(b)), b[2], int(b[3]), int(b[4]), b[5:]
	if s.no >= s.of || s.of > maxSlices {
		return nil, fmt.Errorf("%w: slice %d of %d", errFrame, s.no, s.of)
	}
	return s, nil
}

// desk is where the slices of one peer's chunks are put together. A chunk of which
// one is lost stays until deskBytes or deskTime push it off, since it may be sent
// again. A pure state machine.
type desk struct {
	open  []*cut // oldest first
	bytes int
}

// cut is a chunk of which slices are missing.
type cut struct {
	tag   tag
	chunk int
	hops  byte
	parts [][]byte
	got   int // of the parts
	bytes int // of the datagrams that came for it, those with what was here included
	begun time.Time
}

const (
	deskBytes = 128 << 10       // eight of the largest chunks, thirty of those of 1 MiB
	cutCost   = 512             // bytes of bookkeeping of one
	deskTime  = 2 * time.Second // longer than it takes to notice the loss and send the chunk again
)

// add takes in a slice that took size bytes on the wire. whole is its chunk if none is
// missing; c is what it was added to.
func (d *desk) add(now time.Time, s *slice, size int) (whole *frame, c *cut) {
	at := 0
	for at < len(d.open) && (d.open[at].tag != s.tag || d.open[at].chunk != s.chunk || len(d.open[at].parts) != s.of) {
		at++
	}
	if at == len(d.open) {
		d.open = append(d.open, &cut{tag: s.tag, chunk: s.chunk, parts: make([][]byte, s.of), begun: now})
		d.bytes += cutCost
	}
	c = d.open[at]
	c.bytes += size
	d.bytes += size
	c.hops = max(c.hops, s.hops)
	if c.parts[s.no] == nil {
		c.parts[s.no] = s.bytes
		c.got++
	}
	if c.got < s.of {
		return nil, c
	}
	d.take(at)
	whole = &frame{kind: frameChunk, tag: c.tag, hops: c.hops, chunk: c.chunk}
	for _, p := range c.parts {
		whole.bytes = append(whole.bytes, p...)
	}
	return whole, c
}

// clear takes off what is too old or too much.
func (d *desk) clear(now time.Time) (off []*cut) {
	for len(d.open) > 0 && (d.bytes > deskBytes || now.Sub(d.open[0].begun) >= deskTime) {
		off = append(off, d.take(0))
	}
	return off
}

func (d *desk) take(at int) *cut {
	c := d.open[at]
	d.open = append(d.open[:at], d.open[at+1:]...)
	d.bytes -= c.bytes + cutCost
	return c
}
