package chain

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/ethereum/go-ethereum/common"
)

// checkMeta refuses a store of another network or of a newer or older pheme.
func (c *Chain) checkMeta() error {
	raw, err := c.store.get([]byte{tableMeta})
	if err != nil {
		return err
	}
	var m meta
	if err := decodeRLP("meta", raw, &m); err != nil {
		return err
	}
	if m.Version < formatVersion {
		return fmt.Errorf("%w: format %d, this pheme reads %d: move the data dir away and let the node fetch the chain from its peers, or use the pheme that wrote it",
			ErrOlderFormat, m.Version, formatVersion)
	}
	if m.Version > formatVersion {
		return fmt.Errorf("%w: format %d, this pheme reads up to %d: use a newer pheme or another --data-dir",
			ErrNewerFormat, m.Version, formatVersion)
	}
	if id := c.g.Hash(); m.Genesis != id {
		return fmt.Errorf("%w: the data dir holds network %s (block 0 is %s), the genesis file makes network %s (block 0 is %s): "+
			"pass the genesis it was made with, or another --data-dir", ErrWrongNetwork, m.Network, m.Genesis, c.g.Network(), id)
	}
	c.genesisID = m.Genesis
	return nil
}

// logCommits bounds how many commits can lie in LevelDB's log, and so be lost
// by damage to it: two write buffers of commits of at least 512 bytes.
func (s *store) logCommits() uint64 { return uint64(2 * s.opts.WriteBuffer / 512) }

// verifyOpen checks the chain of commit records since the last checkpoint that
// all of the log follows, and the marker against it.
func (c *Chain) verifyOpen(newest record, rawMark []byte, markErr error) error {
	s := c.store
	from := uint64(0)
	if n := s.logCommits(); newest.Seq > n {
		from = (newest.Seq - n) / checkpointEvery * checkpointEvery
	}
	if err := s.verifyCommits(from, newest); err != nil {
		return err
	}
	switch {
	case s.mark == marker(noMarker{}):
		return nil
	case errors.Is(markErr, fs.ErrNotExist) && newest.Seq == 0:
		return nil // the process ended between the first batch and the first marker
	case errors.Is(markErr, fs.ErrNotExist):
		return fmt.Errorf("%w: the head marker is missing", ErrCorrupt)
	case markErr != nil:
		return fmt.Errorf("read head marker: %w", markErr)
	}
	mark, err := newestMark(rawMark)
	if err != nil {
		return err
	}
	return checkMark(mark, newest, s.recordAt)
}

// loadHead reads the state and the undo window below the head.
func (c *Chain) loadHead(newest record) error {
	h, err := c.store.handle()
	if err != nil {
		return err
	}
	disk, st, _, err := readState(h, newest.Number)
	if err != nil {
		return c.store.damage(err)
	}
	if err := c.loadIndex(newest); err != nil {
		return err
	}
	head := c.index.byID[newest.Head]
	if head == nil || head.status != stored {
		return fmt.Errorf("%w: header of the head %s is missing", ErrCorrupt, newest.Head)
	}
	if root := st.Root(); root != head.header.Root {
		return fmt.Errorf("%w: the accounts hash to %s, block %d has %s", ErrCorrupt, root, head.Number(), head.header.Root)
	}
	c.index.head = head
	if err := c.checkCanonical(); err != nil {
		return err
	}
	if err := c.loadBodies(); err != nil {
		return err
	}
	if err := c.loadUnit(newest.Number); err != nil {
		return err
	}
	c.told = head.SignedHeader
	c.disk = disk
	c.view.Store(&view{head.SignedHeader, st})
	return nil
}

// loadIndex enters the headers of the undo window, and the invalid list.
func (c *Chain) loadIndex(newest record) error {
	x := c.index
	var err error
	// The window may have been another one before: what is on disk counts.
	if x.low, err = c.store.mark64(lowKey()); err != nil {
		return err
	}
	if x.low > newest.Number {
		return fmt.Errorf("%w: the undo window begins at block %d, the head is %d", ErrCorrupt, x.low, newest.Number)
	}
	err = c.store.iterate([]byte{tableHeader}, numberKey(tableHeader, x.low), func(key, value []byte) error {
		sh, err := readSignedHeader(key, value)
		if err != nil {
			return err
		}
		x.put(&entry{SignedHeader: sh, status: stored})
		return nil
	})
	if err != nil {
		return err
	}
	return c.store.iterate([]byte{tableInvalid}, nil, func(key, value []byte) error {
		var r invalidRecord
		if err := decodeRLP("invalid list", value, &r); err != nil {
			return err
		}
		sh, err := readSignedHeader(key, r.Header)
		if err != nil {
			return err
		}
		e := &entry{SignedHeader: sh}
		x.put(e)
		x.mark(e, r.Reason)
		return nil
	})
}

// readSignedHeader decodes a header from disk and compares it with its key.
func readSignedHeader(key, value []byte) (*SignedHeader, error) {
	number, id, err := splitBlockKey(key)
	if err != nil {
		return nil, err
	}
	sh, err := DecodeSignedHeader(append([]byte(nil), value...))
	if err != nil {
		return nil, fmt.Errorf("%w: header %d %s: %s", ErrCorrupt, number, id, err)
	}
	if sh.id != id || sh.Number() != number {
		return nil, fmt.Errorf("%w: header %d %s is stored under %d %s", ErrCorrupt, sh.Number(), sh.id, number, id)
	}
	return sh, nil
}

// checkCanonical walks from the head to the bottom of the window and compares
// with the canonical index; nothing may lie above the head.
func (c *Chain) checkCanonical() error {
	x := c.index
	byNumber := map[uint64]common.Hash{}
	err := c.store.iterate([]byte{tableCanonical}, numberKey(tableCanonical, x.low), func(key, value []byte) error {
		if len(key) != 9 || len(value) != common.HashLength {
			return fmt.Errorf("%w: canonical entry %x", ErrCorrupt, key)
		}
		n := uint64(0)
		for _, b := range key[1:] {
			n = n<<8 | uint64(b)
		}
		byNumber[n] = common.Hash(value)
		return nil
	})
	if err != nil {
		return err
	}
	if n := uint64(len(byNumber)); n != x.head.Number()-x.low+1 {
		return fmt.Errorf("%w: canonical index has %d blocks from %d, head is %d", ErrCorrupt, n, x.low, x.head.Number())
	}
	for e := x.head; ; {
		if byNumber[e.Number()] != e.id {
			return fmt.Errorf("%w: canonical index has %s for block %d, the head descends from %s",
				ErrCorrupt, byNumber[e.Number()], e.Number(), e.id)
		}
		if e.Number() == x.low {
			return nil
		}
		parent := x.byID[e.Parent()]
		if parent == nil || parent.status != stored {
			return fmt.Errorf("%w: block %d %s is missing", ErrCorrupt, e.Number()-1, e.Parent())
		}
		e = parent
	}
}
