package chain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// SlotGuard keeps a proposer from signing two blocks for one slot, even after
// kill -9: the last signed slot is durable before the block may be published.
// Its file holds "pheme slot 1\n", the slot and a CRC-32 of both.
type SlotGuard struct {
	path string

	mu   sync.Mutex // guards last; held across the fsync on purpose: claims are serial, and nothing else takes it
	last uint64
}

const slotMagic = "pheme slot 1\n"

// OpenSlotGuard reads the file at path; a file that does not exist means that
// nothing was signed yet.
func OpenSlotGuard(path string) (*SlotGuard, error) {
	g := &SlotGuard{path: path}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return g, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read last signed slot: %w", err)
	}
	g.last, err = decodeSlot(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: restore it from a backup, or remove it once you are sure that "+
			"no block of this proposer is newer than the head of the network", err, path)
	}
	return g, nil
}

// Last is the last claimed slot.
func (g *SlotGuard) Last() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}

// Claim makes slot durable as signed. It returns nil once and for ever: for the
// same slot or a lower one it returns ErrSlotUsed. Publish only after it.
func (g *SlotGuard) Claim(slot uint64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if slot <= g.last {
		return fmt.Errorf("%w: slot %d, last signed %d", ErrSlotUsed, slot, g.last)
	}
	if err := writeFileDurably(g.path, encodeSlot(slot)); err != nil {
		return fmt.Errorf("write last signed slot: %w", err)
	}
	g.last = slot
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

// writeFileDurably replaces a file so that after any crash it holds the old or
// the new bytes: write beside it, fsync, rename, fsync the folder.
func writeFileDurably(path string, raw []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
