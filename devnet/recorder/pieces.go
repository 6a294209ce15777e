package recorder

import (
	"math"
	"slices"

	"github.com/pheme-net/pheme/p2p/trace"
)

// Step is one hop of the way of a block that came in pieces: what From could pass on at Start and
// when Node could use it. Of the last step, when Node accepted the block.
type Step struct {
	From, Node int
	Start      float64 // ms since the block was sealed
	Parts      Stages
}

// announced is the number of the piece that says that a block exists: its message on the block topic.
const announced = -1

// pieceIn is a piece of a block that a node read.
type pieceIn struct {
	number, from int
	read         int64
}

// pieceOut is a piece that a node wrote to another.
type pieceOut struct {
	number, to             int
	queued, begun, written int64 // a zero time was not recorded
}

// pieces are what one node read and wrote of one block, in the order it was recorded.
type pieces struct {
	in   []pieceIn // of each piece the first copy; every answer
	out  []pieceOut
	held [8]uint64 // the numbers in it from announced to 510: no block has more chunks
}

// fresh says whether a piece is read for the first time, and notes it.
func (p *pieces) fresh(number int) bool {
	at := number - announced
	if at >= 64*len(p.held) {
		return true
	}
	had := p.held[at/64]>>(at%64)&1 != 0
	p.held[at/64] |= 1 << (at % 64)
	return !had
}

// piece notes a msg.* event that brings a part of a block, or announces it.
func (j *join) piece(node int, e trace.Event) {
	s, other := j.blocks[e.Hash], j.node(e.Peer)
	if s == nil || !s.counted || other < 0 {
		return
	}
	number, took := announced, e.Aux
	if e.Class == trace.ClassRelay {
		if took, number = trace.PieceOf(e.Aux); number == trace.PieceNone {
			return
		}
	}
	v := &s.seen[node]
	if v.pieces == nil {
		v.pieces = &pieces{}
	}
	switch e.Kind {
	case trace.MsgRead:
		if v.pieces.fresh(number) {
			v.pieces.in = append(v.pieces.in, pieceIn{number, other, e.At})
		}
	case trace.MsgQueued:
		v.pieces.out = append(v.pieces.out, pieceOut{number: number, to: other, queued: e.At})
	case trace.MsgWritten:
		v.pieces.wrote(number, other, e.At-took, e.At)
	}
}

// wrote notes the end of a write, of the oldest such piece in the queue if it was queued.
func (p *pieces) wrote(number, to int, begun, written int64) {
	for i := range p.out {
		if o := &p.out[i]; o.number == number && o.to == to && o.written == 0 {
			o.begun, o.written = begun, written
			return
		}
	}
	p.out = append(p.out, pieceOut{number: number, to: to, begun: begun, written: written})
}

// sent is the latest write of a piece to a node that began before it was read there, or nil.
func (p *pieces) sent(number, to int, read int64) (last *pieceOut) {
	if p == nil {
		return nil
	}
	for i := range p.out {
		if o := &p.out[i]; o.number == number && o.to == to && o.written != 0 && o.begun <= read && (last == nil || o.begun > last.begun) {
			last = o
		}
	}
	return last
}

// latest is the last piece read at or before a time among those that fit, or nil.
func (p *pieces) latest(until int64, fits func(*pieceIn) bool) (last *pieceIn) {
	if p == nil {
		return nil
	}
	for i := range p.in {
		if in := &p.in[i]; in.read <= until && fits(in) && (last == nil || in.read >= last.read) {
			last = in
		}
	}
	return last
}

// inPieces says whether a block came put together of pieces.
func inPieces(path int64) bool { return path == trace.PathChunks || path == trace.PathCompact }

// way follows the piece that completed a block at a node back to the origin: from whom it came, and
// how that node had it in turn. Where a record ends, what is left of the time was waiting at the
// origin. The steps stand in order of time, and their parts add up to the latency.
func (s *subject) way(node int) []Step {
	var back []Step
	at, until := node, s.seen[node].accepted
	in := s.completing(node, until)
	for in != nil && len(back) < len(s.seen) {
		from := in.from
		out := s.seen[from].pieces.sent(in.number, at, in.read)
		var before *pieceIn
		start := s.Born
		if from != s.Origin {
			ready := in.read
			if out != nil {
				ready = out.begun
			}
			if before = s.enabling(from, in.number, ready); before != nil {
				start = before.read
			}
		}
		marks := hopMarks{read: in.read}
		if out != nil {
			marks.queued, marks.begun, marks.written = out.queued, out.begun, out.written
		}
		step := Step{From: from, Node: at, Start: float64(start-s.Born) / 1e6}
		step.Parts = cut(start, sighting{received: in.read, accepted: until, hop: marks})
		back = append(back, step)
		at, until, in = from, start, before
	}
	if len(back) == 0 { // no piece of it is recorded here
		back = append(back, Step{From: s.Origin, Node: node, Parts: cut(s.Born, sighting{received: s.seen[node].received, accepted: until})})
	}
	slices.Reverse(back)
	return back
}

// completing is the piece with which a node had a block whole: the last one before it was received.
func (s *subject) completing(node int, until int64) *pieceIn {
	v := &s.seen[node]
	if v.received != 0 {
		until = min(until, v.received)
	}
	return v.pieces.latest(until, func(*pieceIn) bool { return true })
}

// enabling is the piece that let a node send another one when it did: a chunk, its own first copy of
// it, or what made the block whole; else the last answer to a question of its own, or the
// announcement.
func (s *subject) enabling(node, number int, began int64) *pieceIn {
	v := &s.seen[node]
	if number >= 0 && number != trace.PieceAnswers {
		if own := v.pieces.latest(began, func(in *pieceIn) bool { return in.number == number }); own != nil {
			return own
		}
		if v.received != 0 && v.received <= began {
			return s.completing(node, began)
		}
	}
	return v.pieces.latest(began, func(in *pieceIn) bool {
		return in.number == announced || number == trace.PieceAnswers && in.number == trace.PieceAnswers
	})
}

// along makes a delivery of pieces tell its way.
func (s *subject) along(d *Delivery) {
	d.Steps = s.way(d.Node)
	for i := range d.Steps {
		d.Hop.Add(d.Steps[i].Parts)
	}
	// Sums of fractions of a millisecond: what rounding took goes where the most is.
	if off := d.Latency - d.Hop.Total(); off != 0 && math.Abs(off) < 1e-6 {
		d.Hop[Wait] += off
	}
}
