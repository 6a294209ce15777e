package relay

import (
	"context"
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
)

// Kinds of messages on the block topic: their first byte.
const kindGossip = 0

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
	// Tx is a pooled transaction or nil.
	Tx(hash common.Hash) *chain.Tx
	// Host is for stream protocols of the relay's own.
	Host() host.Host
}

// New makes the relay that Config names.
func New(name string, n Node) (Relay, error) {
	switch name {
	case "gossip":
		return &gossip{node: n}, nil
	}
	return nil, fmt.Errorf("%w %q: there is \"gossip\"", ErrUnknown, name)
}

// BlockID is the id of the block that a message of the block topic is about,
// for whichever relay made it: a few microseconds, nothing is judged. It tells a
// trace which block a copy belongs to; ok is false for bytes of no relay.
func BlockID(payload []byte) (id common.Hash, ok bool) {
	if len(payload) == 0 || payload[0] != kindGossip {
		return common.Hash{}, false
	}
	raw, ok := envelopeHeader(payload[1:])
	if !ok {
		return common.Hash{}, false
	}
	return crypto.Keccak256Hash(raw), true
}

// Header reads the header a message of the block topic is about, for whichever
// relay made it; nothing is judged, its signature least of all. ok is false for
// bytes of no relay.
func Header(payload []byte) (h *types.Header, ok bool) {
	if len(payload) == 0 || payload[0] != kindGossip {
		return nil, false
	}
	raw, ok := envelopeHeader(payload[1:])
	if !ok {
		return nil, false
	}
	h = new(types.Header)
	if rlp.DecodeBytes(raw, h) != nil || !h.Number.IsUint64() {
		return nil, false
	}
	return h, true
}
