package relay

import (
	"fmt"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/pheme-net/pheme/chain"
)

// gossip sends the whole block on the mesh: stock GossipSub, the baseline the
// other relays are measured against.
type gossip struct{ *engine }

// Name implements Relay.
func (g *gossip) Name() string { return "gossip" }

// Publish implements Relay.
func (g *gossip) Publish(b *chain.Block) error { return g.publishWhole(b) }

// EncodeGossip is the gossip relay's message for b: the kind byte, the envelope.
func EncodeGossip(b *chain.Block) []byte {
	out := make([]byte, 0, 1+b.Size())
	return append(append(out, kindGossip), b.Raw()...)
}

// DecodeGossip reads a message of the gossip relay. The block keeps payload.
// decode reads its envelope. Errors wrap chain.ErrInvalid.
func DecodeGossip(payload []byte, decode func(raw []byte) (*chain.Block, error)) (*chain.Block, error) {
	if len(payload) == 0 || payload[0] != kindGossip {
		return nil, fmt.Errorf("%w: not of a known kind", ErrMessage)
	}
	return decode(payload[1:])
}

// envelopeHeader is the first element of an envelope: the encoded header, if
// this is a block at all.
func envelopeHeader(raw []byte) ([]byte, bool) {
	content, _, err := rlp.SplitList(raw)
	if err != nil {
		return nil, false
	}
	kind, _, rest, err := rlp.Split(content)
	header := content[:len(content)-len(rest)]
	if err != nil || kind != rlp.List || len(header) > maxHeaderBytes {
		return nil, false
	}
	return header, true
}

// maxHeaderBytes keeps BlockID cheap on garbage; chain accepts no longer header.
const maxHeaderBytes = 1 << 10
