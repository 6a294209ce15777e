package relay

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
)

// Kinds of messages on the block topic: their first byte.
const (
	kindGossip = iota
	kindCompact
	kindCoded
)

// ErrMessage is a message of the block topic that no relay can have made. It
// wraps chain.ErrInvalid, so the peer that sent it is rejected.
var ErrMessage = fmt.Errorf("%w: block topic message", chain.ErrInvalid)

// ErrUnknown is the name of a relay that does not exist.
var ErrUnknown = errors.New("relay: unknown relay")

// Message is one message of the block topic.
type Message struct {
	From    peer.ID // who sent us this copy
	Payload []byte  // as received; the relay must not change it and may keep it
	Held    bool    // it was refused for its parent or its slot before, and is given again
}

// Relay moves blocks between nodes. Its methods are called from any goroutine
// and must not wait for peers; what has to wait runs inside Run.
type Relay interface {
	// Name is what Config calls the relay.
	Name() string
	// Publish sends a block of our own.
	Publish(b *chain.Block) error
	// Receive judges a message of the block topic. nil: valid so far, pass it on
	// now. Errors are those of chain.Check and of Node.Take, and ErrMessage. A
	// message refused with chain.ErrUnknownParent or chain.ErrEarly is given
	// again later, so those two leave no trace in the relay.
	Receive(m Message) error
	// Taken tells of a block that the node has whole, whoever brought it.
	Taken(b *chain.Block)
	// Left tells of a peer that is connected no more: its streams have ended.
	Left(p peer.ID)
	// Stats returns the counters.
	Stats() Stats
	// Run owns the relay's goroutines and stream protocols until ctx ends.
	Run(ctx context.Context) error
}

// Node is what a relay needs of the node it runs in.
type Node interface {
	// Gossip publishes a message on the block topic.
	Gossip(payload []byte) error
	// Take judges a complete block by chain.Check and queues it for import. Its
	// error is the verdict on whoever sent the message m that completed it.
	Take(m Message, b *chain.Block) error
	// DecodeBlock is chain.DecodeBlock, which may find a block that is decoded already.
	DecodeBlock(raw []byte) (*chain.Block, error)
	// Complete is Take for a block put together of pieces, the last of which came
	// from a peer.
	Complete(from peer.ID, b *chain.Block, w Way) error
	// CheckHeader is the cheap check of a block whose transactions are not here.
	CheckHeader(sh *chain.SignedHeader) error
	// Fetch gets a whole block from a peer, or from others if that one fails.
	Fetch(from peer.ID, id common.Hash, number uint64)
	// Tx is a pooled transaction or nil.
	Tx(hash common.Hash) *chain.Tx
	// EachTx calls f for every pooled transaction.
	EachTx(f func(*chain.Tx))
	// Charge waits for as long as a modelled processor hashes bytes; on a real one
	// the time has passed.
	Charge(bytes int)
	// Sign signs a digest with the proposer's key.
	Sign(digest common.Hash) ([signatureBytes]byte, error)
}

// Way says how a block put together of pieces came.
type Way struct {
	Hops int  // the largest hop count among the pieces
	Pool bool // some of its transactions were pooled
}

// Network is the relay's way to the peers.
type Network interface {
	// Peers lists the connected peers, those of the mesh of the block topic first.
	Peers() []peer.ID
	// Silent says that the node plays one that takes what it is sent and gives
	// nothing of others' blocks.
	Silent() bool
	// Open opens a stream of the relay protocol. It ends with ctx.
	Open(ctx context.Context, p peer.ID) (Stream, error)
	// Handle registers who takes the streams that peers open; each is called on a
	// goroutine of its own, which the network waits for.
	Handle(func(Stream))
	// Blame takes score from a peer that sent what no honest one does.
	Blame(p peer.ID, why error)
}

// Packets are datagrams to and from connected peers: sealed by their sender, each
// arrives whole or not at all, and may arrive again.
type Packets interface {
	// Port is where they are taken; 0: nowhere.
	Port() uint16
	// To returns how one is sent to a peer that takes them at a port, nil if there is
	// no way. send may wait for the uplink, and for nothing else.
	To(p peer.ID, port uint16) (send func(b []byte))
	// Take registers who takes them; it must not wait, and may keep b.
	Take(func(from peer.ID, b []byte))
	// Overhead is how many bytes are put around each.
	Overhead() int
}

// noPackets are the datagrams of a host that has none.
type noPackets struct{}

func (noPackets) Port() uint16                      { return 0 }
func (noPackets) To(peer.ID, uint16) func([]byte)   { return nil }
func (noPackets) Take(func(from peer.ID, b []byte)) {}
func (noPackets) Overhead() int                     { return 0 }

// Stream is a stream of the relay protocol.
type Stream interface {
	io.ReadWriter
	Reset() error
	Peer() peer.ID
}

// Deps is what a relay stands on.
type Deps struct {
	Node    Node
	Network Network
	Packets Packets // nil: there are none
	Hook    trace.Hook
	Clock   trace.Clock
	Self    peer.ID
	MaxList int // bytes of the transactions of a block
}

// New makes the relay that cfg names.
func New(cfg Config, d Deps) (Relay, error) {
	cfg = cfg.fill()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	e := newEngine(cfg, d)
	switch cfg.Name {
	case "gossip":
		return &gossip{e}, nil
	case "compact":
		return &compact{e}, nil
	case "coded":
		return &coded{e}, nil
	case "auto":
		return &auto{e}, nil
	}
	return nil, fmt.Errorf("%w %q: there are gossip, compact, coded and auto", ErrUnknown, cfg.Name)
}

// BlockID is the id of the block that a message of the block topic is about,
// for whichever relay made it: a few microseconds, nothing is judged. It tells a
// trace which block a copy belongs to; ok is false for bytes of no relay.
func BlockID(payload []byte) (id common.Hash, ok bool) {
	raw, ok := rawHeader(payload)
	if !ok {
		return common.Hash{}, false
	}
	return crypto.Keccak256Hash(raw), true
}

// Header reads the header a message of the block topic is about, for whichever
// relay made it; nothing is judged, its signature least of all. ok is false for
// bytes of no relay.
func Header(payload []byte) (h *types.Header, ok bool) {
	raw, ok := rawHeader(payload)
	if !ok {
		return nil, false
	}
	h = new(types.Header)
	if rlp.DecodeBytes(raw, h) != nil || !h.Number.IsUint64() {
		return nil, false
	}
	return h, true
}

// rawHeader is the encoded header in a message of any kind.
func rawHeader(payload []byte) ([]byte, bool) {
	if len(payload) == 0 {
		return nil, false
	}
	switch payload[0] {
	case kindGossip:
		return envelopeHeader(payload[1:])
	case kindCompact, kindCoded: // a list whose first element is the signed header
		content, err := firstList(payload[1:])
		if err != nil {
			return nil, false
		}
		return envelopeHeader(content)
	}
	return nil, false
}

// firstList is the first element of a list at the start of raw, whatever follows.
func firstList(raw []byte) ([]byte, error) {
	content, _, err := rlp.SplitList(raw)
	if err != nil {
		return nil, err
	}
	_, _, rest, err := rlp.Split(content)
	return content[:len(content)-len(rest)], err
}
