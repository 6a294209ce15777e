package p2p

import (
	"encoding/binary"
	"fmt"

	"github.com/pheme-net/pheme/p2p/recon"
)

// The repair protocol. One stream is one session, in frames:
//
//	client                          server
//	hello ------------------------>           key, head, digest and profile of its pool
//	      <------------------------ sketch    the same, later, or the first symbols
//	ask(more) -------------------->           as often as the symbols do not suffice
//	      <------------------------ sketch
//	ask(ids, offers) ------------->           once, and only if something is to move
//	      <------------------------ batches   of ids; an empty frame ends them
//	      <------------------------ wants     those of the offers it still lacks
//	batches ---------------------->           of them; an empty frame ends them
//
// A session that moves nothing ends after the sketch: 250 bytes when the pools
// are equal.

// Bounds of the repair protocol, the same for every node.
const (
	maxHelloBytes    = 512
	maxSketchBytes   = recon.MaxSymbolsBytes + 256
	maxRepairIDs     = 1 << 17 // asked for, and offered, in one session: as many of the smallest transactions fit in maxRepairBytes
	maxAskBytes      = 2*8*maxRepairIDs + 64
	maxRepairSymbols = 1 << 18 // in one session: what 190,000 differences need, more than a full pool
	maxRepairBytes   = 8 << 20 // batches in one session and direction; the next session brings the rest
)

// hello begins a session.
type hello struct {
	Key     recon.Key
	Mode    recon.Mode
	Insist  bool // reconcile although the heads differ
	Status  status
	Sum     uint64 // symbol 0: the digest of the pool under the key
	Check   uint64
	Profile []byte
}

func (h hello) encode() []byte { return mustEncode(h) }

// decodeHello reads a hello and the profile in it. Errors wrap ErrProtocol.
func decodeHello(b []byte) (h hello, p recon.Profile, err error) {
	if err := decodeRLP(b, maxHelloBytes, &h); err != nil {
		return h, p, err
	}
	if !h.Mode.Valid() || h.Status.Version != statusVersion || h.Check > 1<<32-1 {
		return h, p, fmt.Errorf("%w: hello of mode %d, version %d", ErrProtocol, h.Mode, h.Status.Version)
	}
	if p, err = recon.DecodeProfile(h.Profile); err != nil {
		return h, p, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return h, p, nil
}

// What a sketch says.
const (
	sketchSymbols = iota // the next symbols
	sketchSame           // the pools are equal
	sketchLater          // the heads differ: the pools will, too, until they do not
)

// sketch is a server's answer.
type sketch struct {
	Kind    uint64
	Status  status
	Items   uint64 // in its pool
	First   uint64 // number of the first symbol
	Symbols []byte
}

func (s sketch) encode() []byte { return mustEncode(s) }

// decodeSketch reads a sketch and the symbols in it. Errors wrap ErrProtocol.
func decodeSketch(b []byte) (s sketch, symbols []recon.Symbol, err error) {
	if err := decodeRLP(b, maxSketchBytes, &s); err != nil {
		return s, nil, err
	}
	if s.Kind > sketchLater || s.Status.Version != statusVersion || s.First > maxRepairSymbols || s.Items > 1<<24 {
		return s, nil, fmt.Errorf("%w: sketch of kind %d from symbol %d of %d items", ErrProtocol, s.Kind, s.First, s.Items)
	}
	if symbols, err = recon.DecodeSymbols(s.Symbols, int(s.First), int(s.Items)); err != nil {
		return s, nil, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if (s.Kind == sketchSymbols) != (len(symbols) > 0) {
		return s, nil, fmt.Errorf("%w: sketch of kind %d with %d symbols", ErrProtocol, s.Kind, len(symbols))
	}
	return s, symbols, nil
}

// ask is what a client says after a sketch: how many more symbols it needs, or
// what it wants and what it offers.
type ask struct {
	More        uint64
	IDs, Offers []byte // 8 bytes each
}

func (a ask) encode() []byte { return mustEncode(a) }

// decodeAsk reads an ask. Errors wrap ErrProtocol.
func decodeAsk(b []byte) (a ask, ids, offers []recon.ID, err error) {
	if err := decodeRLP(b, maxAskBytes, &a); err != nil {
		return a, nil, nil, err
	}
	if ids, err = decodeIDs(a.IDs); err == nil {
		offers, err = decodeIDs(a.Offers)
	}
	if err == nil && (a.More > 0) == (len(ids)+len(offers) > 0) || a.More > recon.MaxSymbols {
		err = fmt.Errorf("%w: ask for %d symbols, %d ids and %d offers", ErrProtocol, a.More, len(ids), len(offers))
	}
	return a, ids, offers, err
}

func encodeIDs(ids []recon.ID) []byte {
	out := make([]byte, 0, 8*len(ids))
	for _, id := range ids {
		out = binary.BigEndian.AppendUint64(out, uint64(id))
	}
	return out
}

// decodeIDs reads a list of ids. Errors wrap ErrProtocol.
func decodeIDs(b []byte) ([]recon.ID, error) {
	if len(b)%8 != 0 || len(b) > 8*maxRepairIDs {
		return nil, fmt.Errorf("%w: ids of %d bytes", ErrProtocol, len(b))
	}
	out := make([]recon.ID, len(b)/8)
	for i := range out {
		out[i] = recon.ID(binary.BigEndian.Uint64(b[8*i:]))
	}
	return out, nil
}
