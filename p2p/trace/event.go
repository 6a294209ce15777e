package trace

import (
	"fmt"
	"hash/fnv"
)

// Kind says what happened. The numbers are written to disk: new kinds are added
// at the end and none is ever renumbered.
type Kind uint8

// The kinds of events. Beside each: what Hash, Peer, Size and Aux hold. Fields
// not named are zero. Peer is always the tag of the other side, never of the
// node itself. Hash of msg.* and copy.duplicate is the block id for payloads that
// bring a block (ClassBlock, ClassSync), the batch's tag for ClassTx, and zero for
// the rest; their Size is bytes on the wire with framing, but copy.duplicate's and
// that of an incoming msg.dropped is the payload's alone.
const (
	KindNone       Kind = iota
	TxSubmitted         // RPC bytes read. Hash: transaction. Size: raw bytes.
	TxAdmitted          // the pool took it. Hash: transaction. Peer: who sent it (0: RPC). Size: raw bytes.
	TxPublished         // its batch is handed to gossip. Hash: transaction. Size: raw bytes. Aux: BatchAux of the batch's msg.* events.
	BlockSealed         // the proposer signed it. Hash: block id. Size: envelope bytes. Aux: block number.
	BlockPublished      // handed to the relay. Hash: block id. Size: envelope bytes. Aux: block number.
	BlockFirstByte      // first byte of the message that first told of it. Hash: block id. Peer: sender. Size: message bytes.
	BlockReceived       // every byte of every transaction in hand and the root matches. Hash, Peer: sender. Size: envelope bytes. Aux: Path.
	BlockAccepted       // received and the cheap check passed. Hash, Peer, Size, Aux as BlockReceived.
	BlockRelayed        // first byte passed on. Hash: block id. Peer: to whom. Size: message bytes.
	BlockImported       // stored, head moved or not. Hash: block id. Size: envelope bytes. Aux: block number.
	TxPlaced            // in a block of the canonical chain. Hash: transaction. Aux: block number.
	CopyDuplicate       // a payload came again and was not needed. Class. Hash: as msg.*. Peer: sender. Size: payload bytes.
	MsgQueued           // put on a peer's outbound queue. Class. Hash. Peer: to whom. Size.
	MsgWritten          // the transport took the last byte. Class. Hash. Peer: to whom. Size. Aux: ns since the write began; ClassRelay: PieceAux of it.
	MsgRead             // the last byte was read from the transport. Class. Hash. Peer: sender. Size. Aux: ns since its first byte; ClassRelay: PieceAux of it.
	MsgDropped          // given up before it was written or judged. Class. Hash. Peer. Size. Aux: Drop reason.
	PeerUp              // connected and the status handshake agreed. Peer.
	PeerDown            // not connected any more. Peer.
	MemberSuspect       // Peer: the member.
	MemberDead          // Peer: the member.
	MemberAlive         // Peer: the member.
	RepairBegin         // Peer: the partner.
	RepairEnd           // Peer: the partner. Size: bytes moved. Aux: items gained.
	HeadChanged         // Hash: the new head. Size: blocks that are canonical no longer. Aux: its number.
	kindEnd             // number of kinds
)

// kindNames are the names of events as documents and subscribers see them.
var kindNames = [kindEnd]string{
	"none", "tx.submitted", "tx.admitted", "tx.published", "block.sealed", "block.published", "block.firstbyte",
	"block.received", "block.accepted", "block.relayed", "block.imported", "tx.placed", "copy.duplicate",
	"msg.queued", "msg.written", "msg.read", "msg.dropped", "peer.up", "peer.down",
	"member.suspect", "member.dead", "member.alive", "repair.begin", "repair.end", "head.changed",
}

// String returns the event's name, for example "block.sealed".
func (k Kind) String() string {
	if k >= kindEnd {
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
	return kindNames[k]
}

// MarshalText writes the name, so that JSON shows "block.sealed".
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a name written by MarshalText.
func (k *Kind) UnmarshalText(text []byte) error {
	for i, name := range kindNames {
		if name == string(text) {
			*k = Kind(i)
			return nil
		}
	}
	return fmt.Errorf("trace: unknown event kind %q", text)
}

// Class says what kind of bytes a msg.*, copy.duplicate or byte counter is about.
type Class uint8

// The classes of bytes. The numbers are written to disk.
const (
	ClassNone    Class = iota
	ClassBlock         // block payload on the block topic
	ClassTx            // transaction batches on the transaction topic
	ClassControl       // GossipSub control (IHAVE, IWANT, IDONTWANT, GRAFT, PRUNE), subscriptions and RPC framing
	ClassRelay         // relay protocols of ours: chunks, fetches, bitmaps
	ClassSync          // status, head notices, block fetch and catch-up
	ClassRepair        // anti-entropy
	ClassMember        // membership
	ClassOther         // everything else: identify, handshakes, muxer and transport overhead
	NumClasses         // how many classes there are, for arrays
)

var classNames = [NumClasses]string{"none", "block", "tx", "control", "relay", "sync", "repair", "member", "other"}

// String returns the class's name, for example "block".
func (c Class) String() string {
	if c >= NumClasses {
		return fmt.Sprintf("class(%d)", uint8(c))
	}
	return classNames[c]
}

// MarshalText writes the name.
func (c Class) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads a name written by MarshalText.
func (c *Class) UnmarshalText(text []byte) error {
	for i, name := range classNames {
		if name == string(text) {
			*c = Class(i)
			return nil
		}
	}
	return fmt.Errorf("trace: unknown class %q", text)
}

// The lower eight bits of Aux on block.received and block.accepted: how the block
// came. Above them stands the number of hops where the pieces carried it, else 0;
// see PathAux.
const (
	PathGossip  int64 = iota // a copy on the block topic
	PathHeld                 // on the block topic, but held until its parent or its slot came
	PathFetch                // asked for by id from a peer
	PathSync                 // asked for by range while catching up
	PathChunks               // in chunks that the relay carried
	PathCompact              // put together of pooled transactions and what they lacked
)

// PathAux is the value of Aux for a path and the hops its pieces took.
func PathAux(path int64, hops int) int64 { return path | int64(hops)<<8 }

// PathOf is the path and the hops in Aux of block.received and block.accepted.
func PathOf(aux int64) (path int64, hops int) { return aux & 0xff, int(aux >> 8) }

// A piece of a block as Aux of relay messages names it: the chunk with a number
// from 0, or one of these.
const (
	PieceNone    = -1      // no part of a block
	PieceAnswers = 1 << 14 // transactions that were asked for
)

// pieceShift leaves 78 hours to the duration below the piece.
const pieceShift = 48

// PieceAux is the value of Aux for a relay message that took ns and brings a piece.
func PieceAux(ns int64, piece int) int64 { return ns | int64(piece+1)<<pieceShift }

// PieceOf is the duration and the piece in Aux of a relay message.
func PieceOf(aux int64) (ns int64, piece int) {
	return aux & (1<<pieceShift - 1), int(aux>>pieceShift) - 1
}

// The values of Aux on msg.dropped: where it was lost.
const (
	DropQueueFull    int64 = iota + 1 // the peer's outbound queue was full
	DropValidateFull                  // the validation queue was full
	DropThrottled                     // too many validations at once
	DropUndelivered                   // the subscription's buffer was full
	DropOversized                     // larger than the network's maximum message
	DropHoldFull                      // unknown parent or early, and no room to hold it
	DropImportFull                    // the import queue was full
	DropWriteFailed                   // the stream failed while it was written
	DropMembersFull                   // more datagrams of membership at once than are looked at
)

// Event is one thing that happened at one node. It is a plain value of fixed
// size; see the constants of Kind for what the fields hold.
type Event struct {
	At    int64    // nanoseconds of Clock
	Kind  Kind     // what happened
	Class Class    // for msg.* and copy.duplicate
	Hash  [32]byte // block id, transaction hash or batch tag
	Peer  uint64   // PeerTag of the other side, 0: none
	Size  uint32   // bytes
	Aux   int64    // kind-specific
}

// Hook takes events. It returns at once and may be called from any goroutine.
// The nil Hook discards.
type Hook func(Event)

// Emit calls the hook unless it is nil.
func (h Hook) Emit(e Event) {
	if h != nil {
		h(e)
	}
}

// Tee returns a hook that passes each event to every non-nil hook of hs in
// order; it is nil when there is none.
func Tee(hs ...Hook) Hook {
	var live []Hook
	for _, h := range hs {
		if h != nil {
			live = append(live, h)
		}
	}
	switch len(live) {
	case 0:
		return nil
	case 1:
		return live[0]
	}
	return func(e Event) {
		for _, h := range live {
			h(e)
		}
	}
}

// PeerTag shortens a peer id in its text form (as `pheme status` prints it) to
// the 8 bytes that stand in events: 64-bit FNV-1a. Ten thousand nodes share a
// tag with probability 3e-12.
func PeerTag(id string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(id))
	return h.Sum64()
}

// BatchAux is the value of Aux on tx.published: the first eight bytes of the
// batch tag that stands in Hash of the batch's msg.* events.
func BatchAux(tag [32]byte) int64 {
	var v uint64
	for _, b := range tag[:8] {
		v = v<<8 | uint64(b)
	}
	return int64(v)
}
