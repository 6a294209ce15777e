package swim

import (
	"fmt"

	"github.com/ethereum/go-ethereum/rlp"
)

// wireVersion is the first byte of every message.
const wireVersion = 1

// Bounds of one datagram.
const (
	MaxPacket      = 1150 // fits, with the carrier's seal and UDP over IPv6, the 1,280 bytes every path takes
	maxAccusations = 48
	maxRecords     = 16
)

// kind says what a datagram wants.
type kind uint8

const (
	kindPing    kind = iota + 1 // answer with an ack of the same number
	kindPingReq                 // ping Target for me; pass its ack on, or send a nack when it is late
	kindAck
	kindNack
	kindGossip
	kindShare  // a round of aggregation: answer with shareAck
	kindShared // the answer to it
	kindEnd
)

var kindNames = [kindEnd]string{"", "ping", "ping-req", "ack", "nack", "gossip", "share", "shared"}

func (k kind) String() string {
	if k >= kindEnd {
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
	return kindNames[k]
}

// accusation says that Accuser holds Subject, at that incarnation, for suspect
// or dead. It is not signed: it is cheap to refute and decides nothing alone.
type accusation struct {
	Dead        bool
	Subject     uint64
	Incarnation uint64
	Accuser     uint64
}

// message is one datagram.
type message struct {
	Kind        kind
	Seq         uint64
	Target      uint64 // the subject of a ping-req: a tag
	Accusations []accusation
	Records     []rlp.RawValue
	Shares      []share // none or one
}

func (m *message) encode() []byte { return append([]byte{wireVersion}, mustEncode(m)...) }

// DecodeMessage reads a datagram. Records in it are decoded only when they are
// news. Errors wrap ErrInvalid.
func DecodeMessage(b []byte) (*message, error) {
	if len(b) > MaxPacket {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrInvalid, len(b), MaxPacket)
	}
	m := new(message)
	if err := decode(b, m); err != nil {
		return nil, err
	}
	switch {
	case m.Kind == 0 || m.Kind >= kindEnd:
		return nil, fmt.Errorf("%w: %v", ErrInvalid, m.Kind)
	case len(m.Accusations) > maxAccusations || len(m.Records) > maxRecords:
		return nil, fmt.Errorf("%w: %d accusations and %d records", ErrInvalid, len(m.Accusations), len(m.Records))
	case (m.Kind == kindPingReq) != (m.Target != 0):
		return nil, fmt.Errorf("%w: %v of target %d", ErrInvalid, m.Kind, m.Target)
	case (m.Kind == kindShare || m.Kind == kindShared) != (len(m.Shares) == 1) || len(m.Shares) > 1:
		return nil, fmt.Errorf("%w: %v with %d shares", ErrInvalid, m.Kind, len(m.Shares))
	}
	for i := range m.Shares {
		if err := m.Shares[i].check(); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// decode reads the version and the value after it.
func decode(b []byte, v any) error {
	if len(b) == 0 || b[0] != wireVersion {
		return fmt.Errorf("%w: not of version %d", ErrInvalid, wireVersion)
	}
	if err := rlp.DecodeBytes(b[1:], v); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}
