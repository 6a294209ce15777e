package p2p

import (
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/peer"
)

// held is a message of the block topic that cannot be judged yet.
type held struct {
	from    peer.ID
	payload []byte
	block   common.Hash // its id, to hold it once
	parent  common.Hash // what it waits for; zero: it waits for its slot
	due     time.Time   // when it is looked at again, or given up when it waits for a parent
}

// holdTime is how long a message waits for its parent: far longer than a fetch
// takes, short enough that the room is free again soon after an attack.
const holdTime = 30 * time.Second

// holder keeps messages that wait for a parent or for their slot: at most total,
// at most perPeer from one peer, at most bytes in all. A message that finds no
// room is refused; nobody's message is ever evicted by another's. It is a plain
// value: the caller guards it and owns the time.
type holder struct {
	total, perPeer, bytes int

	all  map[common.Hash]held // by block id
	peer map[peer.ID]int
	used int // bytes
}

func newHolder(total, perPeer, bytes int) *holder {
	return &holder{total: total, perPeer: perPeer, bytes: bytes, all: make(map[common.Hash]held), peer: make(map[peer.ID]int)}
}

// add keeps m; false means that there is no room. A block that is held already
// is not held twice and needs no room.
func (h *holder) add(m held) bool {
	if _, have := h.all[m.block]; have {
		return true
	}
	if len(h.all) >= h.total || h.peer[m.from] >= h.perPeer || h.used+len(m.payload) > h.bytes {
		return false
	}
	h.all[m.block] = m
	h.peer[m.from]++
	h.used += len(m.payload)
	return true
}

// children takes out what waits for parent.
func (h *holder) children(parent common.Hash) []held {
	return h.take(func(m held) bool { return m.parent == parent && parent != (common.Hash{}) })
}

// ready takes out what waits for its slot and is due.
func (h *holder) ready(now time.Time) []held {
	return h.take(func(m held) bool { return m.parent == (common.Hash{}) && !m.due.After(now) })
}

// expired takes out what has waited too long for its parent.
func (h *holder) expired(now time.Time) []held {
	return h.take(func(m held) bool { return m.parent != (common.Hash{}) && !m.due.After(now) })
}

// next is when ready or expired will have something; false: nothing is held.
func (h *holder) next() (when time.Time, ok bool) {
	for _, m := range h.all {
		if !ok || m.due.Before(when) {
			when, ok = m.due, true
		}
	}
	return when, ok
}

func (h *holder) len() int { return len(h.all) }

func (h *holder) take(which func(held) bool) (out []held) {
	for id, m := range h.all {
		if which(m) {
			out = append(out, m)
			delete(h.all, id)
			h.used -= len(m.payload)
			if h.peer[m.from]--; h.peer[m.from] == 0 {
				delete(h.peer, m.from)
			}
		}
	}
	return out
}
