package chain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"sync/atomic"
)

// SlotGuard keeps a proposer from signing two blocks for one slot, even after
// kill -9: the last signed slot is durable before the block may be published.
// Its file holds "pheme slot 1\n", the slot and a CRC-32 of both.
type SlotGuard struct {
	path string
	turn chan struct{} // holds one token: claims are serial
	last atomic.Uint64
}

const slotMagic = "pheme slot 1\n"

// OpenSlotGuard reads the file at path; a file that does not exist means that
// nothing was signed yet. The path "" keeps the slot in memory only.
func OpenSlotGuard(path string) (*SlotGuard, error) {
	g := &SlotGuard{path: path, turn: make(chan struct{}, 1)}
	if path == "" {
		return g, nil
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return g, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read last signed slot: %w", err)
	}
	last, err := decodeSlot(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: restore it from a backup, or remove it once you are sure that "+
			"no block of this proposer is newer than the head of the network", err, path)
	}
	g.last.Store(last)
	return g, nil
}

// Last is the last claimed slot.
func (g *SlotGuard) Last() uint64 { return g.last.Load() }

// Claim makes slot durable as signed. It returns nil once and for ever: for the
// same slot or a lower one it returns ErrSlotUsed. Publish only after it. An
// error leaves the slot as good as signed, since the file may hold it.
func (g *SlotGuard) Claim(slot uint64) error {
	g.turn <- struct{}{}
	defer func() { <-g.turn }()
	if last := g.last.Load(); slot <= last {
		return fmt.Errorf("%w: slot %d, last signed %d", ErrSlotUsed, slot, last)
	}
	g.last.Store(slot)
	if g.path == "" {
		return nil
	}
	if err := ReplaceFile(g.path, encodeSlot(slot)); err != nil {
		return fmt.Errorf("write last signed slot: %w", err)
	}
	return nil
}

func encodeSlot(slot uint64) []byte {
	raw := binary.BigEndian.AppendUint64([]byte(slotMagic), slot)
	return binary.BigEndian.AppendUint32(raw, crc32.ChecksumIEEE(raw))
}

func decodeSlot(raw []byte) (uint64, error) {
	n := len(slotMagic)
	if len(raw) != n+12 || string(raw[:n]) != slotMagic || binary.BigEndian.Uint32(raw[n+8:]) != crc32.ChecksumIEEE(raw[:n+8]) {
		return 0, fmt.Errorf("%w: last signed slot is not readable", ErrCorrupt)
	}
	return binary.BigEndian.Uint64(raw[n:]), nil
}
