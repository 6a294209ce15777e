package chain

import (
	"encoding/binary"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/syndtr/goleveldb/leveldb"
)

// pruneStep bounds the bodies that one commit prunes, so that turning pruning on
// over a long chain does not make one huge batch.
const pruneStep = 64

// prunedKey holds the lowest number whose body is kept.
func prunedKey() []byte { return []byte{tableMeta, 'p'} }

// sweptKey holds the number below which pruning has deleted every body, while it is
// below that under prunedKey: taking a state over leaves bodies behind.
func sweptKey() []byte { return []byte{tableMeta, 'w'} }

// lowKey holds the lowest number of the undo window, from which on there are
// side blocks and undo records.
func lowKey() []byte { return []byte{tableMeta, 'u'} }

// putBlock stores a block whatever branch it is on. A shared body is not stored.
func (s *store) putBlock(batch *leveldb.Batch, b *Block) {
	batch.Put(blockKey(tableHeader, b.Number(), b.id), b.Encode())
	if s.shared == nil {
		batch.Put(blockKey(tableBody, b.Number(), b.id), b.body)
	}
	batch.Put(hashKey(tableNumber, b.id), binary.BigEndian.AppendUint64(nil, b.Number()))
}

// dropBlock takes back what putBlock did.
func dropBlock(batch *leveldb.Batch, e *entry) {
	batch.Delete(blockKey(tableHeader, e.Number(), e.id))
	batch.Delete(blockKey(tableBody, e.Number(), e.id))
	batch.Delete(hashKey(tableNumber, e.id))
}

// putCanonical makes a stored block canonical. Its transactions are the open unit's.
func putCanonical(batch *leveldb.Batch, b *Block, changes []touched) {
	batch.Put(numberKey(tableCanonical, b.Number()), b.id[:])
	batch.Put(blockKey(tableUndo, b.Number(), b.id), encodeChanges(changes))
}

// dropCanonical takes back what putCanonical did.
func dropCanonical(batch *leveldb.Batch, sh *SignedHeader) {
	batch.Delete(numberKey(tableCanonical, sh.Number()))
	batch.Delete(blockKey(tableUndo, sh.Number(), sh.id))
}

// evict deletes what blocks that leave the undo window have no more use for: of
// a canonical block its change record, of any other block everything.
func evict(batch *leveldb.Batch, canonical, others []*entry, low uint64) {
	for _, e := range canonical {
		batch.Delete(blockKey(tableUndo, e.Number(), e.id))
	}
	for _, e := range others {
		switch e.status {
		case invalid:
			batch.Delete(blockKey(tableInvalid, e.Number(), e.id))
		case stored:
			dropBlock(batch, e)
		}
	}
	batch.Put(lowKey(), binary.BigEndian.AppendUint64(nil, low))
}

// bodiesFrom is from where on there are bodies. Owned by the writer. It is a value:
// prune gives a new one.
type bodiesFrom struct {
	pruned uint64 // all are kept from here on
	swept  uint64 // none is kept below; at most pruned
}

// prune deletes old bodies, oldest first, and the units of which no body is left.
func (c *Chain) prune(batch *leveldb.Batch, head uint64) (bodiesFrom, error) {
	from := c.bodies
	if c.cfg.PruneBodies == 0 || head < c.cfg.PruneBodies {
		return from, nil
	}
	n := max(from.swept, 1)
	for end := min(head-c.cfg.PruneBodies, n+pruneStep); n < end; n++ {
		id, err := c.store.canonical(n)
		if err != nil {
			return from, err
		}
		batch.Delete(blockKey(tableBody, n, id))
	}
	if n == max(from.swept, 1) {
		return from, nil
	}
	units, err := c.store.units()
	if err != nil {
		return from, err
	}
	for _, u := range units {
		if u.last < n {
			dropUnit(batch, u.first)
		}
	}
	to := bodiesFrom{max(from.pruned, n), n}
	to.write(batch)
	return to, nil
}

func (b bodiesFrom) write(batch *leveldb.Batch) {
	batch.Put(prunedKey(), binary.BigEndian.AppendUint64(nil, b.pruned))
	if b.swept < b.pruned {
		batch.Put(sweptKey(), binary.BigEndian.AppendUint64(nil, b.swept))
	} else {
		batch.Delete(sweptKey())
	}
}

// loadBodies reads what pruning has left.
func (c *Chain) loadBodies() error {
	if err := c.store.loadPruned(); err != nil {
		return err
	}
	c.bodies.pruned = c.store.pruned.Load()
	raw, err := c.store.get(sweptKey())
	if raw == nil {
		c.bodies.swept = c.bodies.pruned
		return err
	}
	c.bodies.swept, err = c.store.mark64(sweptKey())
	return err
}

// loadPruned reads the lowest number whose body is kept.
func (s *store) loadPruned() error {
	n, err := s.mark64(prunedKey())
	s.pruned.Store(n)
	return err
}

// mark64 is a number of the meta table; 0 without it.
func (s *store) mark64(key []byte) (uint64, error) {
	raw, err := s.get(key)
	if err != nil || raw == nil {
		return 0, err
	}
	if len(raw) != 8 {
		return 0, fmt.Errorf("%w: number under %x has %d bytes", ErrCorrupt, key, len(raw))
	}
	return binary.BigEndian.Uint64(raw), nil
}

// canonical is the id of the canonical block with a number; zero without one.
func (s *store) canonical(number uint64) (common.Hash, error) {
	raw, err := s.get(numberKey(tableCanonical, number))
	if err != nil || raw == nil {
		return common.Hash{}, err
	}
	if len(raw) != common.HashLength {
		return common.Hash{}, fmt.Errorf("%w: canonical entry %d has %d bytes", ErrCorrupt, number, len(raw))
	}
	return common.Hash(raw), nil
}

// header is a stored header; nil without it.
func (s *store) header(number uint64, id common.Hash) (*SignedHeader, error) {
	key := blockKey(tableHeader, number, id)
	raw, err := s.get(key)
	if err != nil || raw == nil {
		return nil, err
	}
	return readSignedHeader(key, raw)
}

// number is the number of a stored block.
func (s *store) number(id common.Hash) (n uint64, ok bool, err error) {
	raw, err := s.get(hashKey(tableNumber, id))
	if err != nil || raw == nil {
		return 0, false, err
	}
	if len(raw) != 8 {
		return 0, false, fmt.Errorf("%w: number of %s has %d bytes", ErrCorrupt, id, len(raw))
	}
	return binary.BigEndian.Uint64(raw), true, nil
}

// body is the encoded transaction list of a stored block.
func (s *store) body(number uint64, id common.Hash) ([]byte, error) {
	raw, err := s.get(blockKey(tableBody, number, id))
	if err != nil || raw != nil {
		return raw, err
	}
	if number > 0 && (number < s.pruned.Load() || s.shared != nil) {
		return nil, fmt.Errorf("%w: body of block %d", ErrPruned, number)
	}
	return nil, fmt.Errorf("%w: body of block %d %s is missing", ErrCorrupt, number, id)
}

// sharedBlock is the block of a header where it is shared, nil otherwise.
func (s *store) sharedBlock(sh *SignedHeader) *Block {
	if s.shared == nil {
		return nil
	}
	return s.shared.find(sh.id)
}

// envelope puts header and stored body together again.
func (s *store) envelope(sh *SignedHeader) (raw, body []byte, err error) {
	if b := s.sharedBlock(sh); b != nil {
		return b.raw, b.body, nil
	}
	stored, err := s.body(sh.Number(), sh.id)
	if err != nil {
		return nil, nil, err
	}
	content := len(sh.raw) + len(stored) + signatureBytes + 2
	raw = appendListHead(make([]byte, 0, content+9), content)
	raw = append(raw, sh.raw...)
	start := len(raw)
	raw = append(raw, stored...)
	end := len(raw)
	return sh.appendSig(raw), raw[start:end:end], nil
}

// block is the stored block of a header.
func (s *store) block(sh *SignedHeader) (*Block, error) {
	if b := s.sharedBlock(sh); b != nil {
		return b, nil
	}
	raw, body, err := s.envelope(sh)
	if err != nil {
		return nil, err
	}
	list, rest, err := rlp.SplitList(body)
	if err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("%w: body of block %d %s is not a list", ErrCorrupt, sh.Number(), sh.id)
	}
	txs, err := decodeTxList(list, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: body of block %d %s: %s", ErrCorrupt, sh.Number(), sh.id, err)
	}
	return &Block{SignedHeader: sh, raw: raw, body: body, txs: txs}, nil
}

// changes is the change record of a canonical block.
func (s *store) changes(e *entry) ([]touched, error) {
	h, err := s.handle()
	if err != nil {
		return nil, err
	}
	changes, err := readChanges(h, e.Number(), e.id)
	return changes, s.damage(err)
}
