package chain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/syndtr/goleveldb/leveldb"
)

// Accounts on disk. A block of transfers touches as many buckets as it has
// transactions, and each is an entry of the database. So a commit writes what its
// block changed as one value, the change record, which takes the block back in a
// reorg and does it again on opening; and of the table of buckets it writes one
// sixteenth, in turn: whatever differs in it from what is on disk. What many blocks
// touch is written once.
//
// On disk there is thus the state of no block. With the changes of the newest blocks
// put over it, oldest first, it is that of the head: an account that they touched is
// as the last of them left it, any other is as it is in its bucket. The head's state
// root tells whether that came out right.
const tableParts = treeFanout

// diskState is the table of buckets as it is on disk, and how old each part of it is.
// Owned by the writer. It is a value: write gives a new one.
type diskState struct {
	state State
	as    [tableParts]uint64 // of which block the part is
}

// redo is the lowest number whose changes the table may lack.
func (d diskState) redo() uint64 { return slices.Min(d.as[:]) + 1 }

// write brings one part of the table up to the state after a block.
func (d diskState) write(batch *leveldb.Batch, st State, number uint64) diskState {
	part := Subtree{1, uint16(number%tableParts) << 12}
	putBuckets(batch, part, d.state, st)
	d.state = State{d.state.root.graft(0, part, st.find(part))}
	d.as[number%tableParts] = number
	return d
}

// writeAll brings all of it up to the state after a block.
func (d diskState) writeAll(batch *leveldb.Batch, st State, number uint64) diskState {
	putBuckets(batch, Subtree{}, d.state, st)
	return diskStateOf(st, number)
}

// diskStateOf is a table that holds the state after a block.
func diskStateOf(st State, number uint64) diskState {
	d := diskState{state: st}
	for part := range d.as {
		d.as[part] = number
	}
	return d
}

// putBuckets stores the buckets of a subtree in which two states differ.
func putBuckets(batch *leveldb.Batch, t Subtree, from, to State) {
	var differ []uint16
	diffNodes(from.find(t), to.find(t), t.Depth, t.Index>>(16-4*t.Depth), &differ)
	for _, index := range differ {
		if bucket := to.Bucket(index); bucket != nil {
			batch.Put(bucketKey(index), bucket)
		} else {
			batch.Delete(bucketKey(index))
		}
	}
}

// putTable stores the state after the block that becomes the head.
func (c *Chain) putTable(batch *leveldb.Batch, st State, number uint64, reorg bool) diskState {
	d := c.disk
	// What was taken back is in no change record any more. And the records must be
	// there until their accounts are, while blocks leave the undo window.
	if reorg || c.cfg.UndoBlocks < tableParts {
		d = d.writeAll(batch, st, number)
	} else {
		d = d.write(batch, st, number)
	}
	batch.Put(partsKey(), d.parts())
	return d
}

// partsKey holds the numbers of the blocks that the parts of the table are of.
func partsKey() []byte { return []byte{tableMeta, 's'} }

// parts encodes the numbers of the parts, 8 bytes each.
func (d diskState) parts() (out []byte) {
	for _, number := range d.as {
		out = binary.BigEndian.AppendUint64(out, number)
	}
	return out
}

// decodeParts reads the numbers of the parts of a table that lies behind a head.
func decodeParts(raw []byte, head uint64) (as [tableParts]uint64, err error) {
	if len(raw) != 8*tableParts {
		return as, fmt.Errorf("%w: ages of the accounts have %d bytes", ErrCorrupt, len(raw))
	}
	for part := range as {
		as[part] = binary.BigEndian.Uint64(raw[8*part:])
		if as[part] > head {
			return as, fmt.Errorf("%w: accounts of block %d, the head is %d", ErrCorrupt, as[part], head)
		}
	}
	return as, nil
}

// readState reads every account. It gives the table, the state after the block with
// the number head, and the bytes of keys and values in the table.
func readState(r leveldb.Reader, head uint64) (disk diskState, st State, size uint64, err error) {
	var buckets []indexed
	err = walk(r, []byte{tableBucket}, nil, func(key, value []byte) error {
		if len(key) != 3 {
			return fmt.Errorf("%w: bucket key %x", ErrCorrupt, key)
		}
		index := binary.BigEndian.Uint16(key[1:])
		if len(value) == 0 {
			return fmt.Errorf("%w: bucket %04x is empty", ErrCorrupt, index)
		}
		if err := checkBucket(index, value); err != nil {
			return fmt.Errorf("%w: %s", ErrCorrupt, err)
		}
		size += uint64(len(key) + len(value))
		buckets = append(buckets, indexed{index, append([]byte{kindBucket}, value...)})
		return nil
	})
	if err != nil {
		return diskState{}, State{}, size, err
	}
	raw, err := r.Get(partsKey(), nil)
	if err != nil && !errors.Is(err, leveldb.ErrNotFound) {
		return diskState{}, State{}, size, err
	}
	disk.state = stateOf(buckets)
	if disk.as, err = decodeParts(raw, head); err != nil {
		return diskState{}, State{}, size, err
	}
	changes, err := redoChanges(r, disk.redo(), head)
	return disk, disk.state.With(changes), size, err
}

// redoChanges is what the blocks with the numbers from one to another have changed
// altogether.
func redoChanges(r leveldb.Reader, from, to uint64) (out []Change, err error) {
	seen := map[common.Address]bool{}
	for n := to; n >= from; n-- {
		id, err := r.Get(numberKey(tableCanonical, n), nil)
		if errors.Is(err, leveldb.ErrNotFound) {
			return nil, fmt.Errorf("%w: canonical entry %d is missing", ErrCorrupt, n)
		}
		if err != nil {
			return nil, err
		}
		changes, err := readChanges(r, n, common.BytesToHash(id))
		if err != nil {
			return nil, err
		}
		for _, c := range changes {
			if !seen[c.addr] {
				seen[c.addr] = true
				out = append(out, Change{c.addr, c.now})
			}
		}
	}
	return out, nil
}

// readChanges is the change record of a canonical block.
func readChanges(r leveldb.Reader, number uint64, id common.Hash) ([]touched, error) {
	raw, err := r.Get(blockKey(tableUndo, number, id), nil)
	if errors.Is(err, leveldb.ErrNotFound) {
		return nil, fmt.Errorf("%w: change record of block %d %s is missing", ErrCorrupt, number, id)
	}
	if err != nil {
		return nil, err
	}
	return decodeChanges(raw)
}

// A change record is the accounts that a block changed, in any order:
//
//	address (20) | nonce and balance before | nonce and balance after
//
// each nonce and balance as in a bucket. The zero account stands for none.

func encodeChanges(changes []touched) []byte {
	out := make([]byte, 0, 48*len(changes))
	for _, c := range changes {
		out = append(out, c.addr[:]...)
		out = appendAccount(appendAccount(out, c.old), c.now)
	}
	return out
}

func decodeChanges(raw []byte) ([]touched, error) {
	out := make([]touched, 0, len(raw)/(common.AddressLength+4))
	err := eachChange(raw, func(c *touched) error {
		out = append(out, *c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// eachChange calls f with each entry of a change record, which is good until f returns.
func eachChange(raw []byte, f func(*touched) error) error {
	var c touched
	for n := 0; len(raw) > 0; n++ {
		ok := len(raw) >= common.AddressLength
		if ok {
			raw = raw[copy(c.addr[:], raw):]
			for _, a := range []*Account{&c.old, &c.now} {
				size, _, whole := accountSize(raw)
				if ok = ok && whole; !ok {
					break
				}
				*a, raw = nextAccount(raw), raw[size:]
			}
		}
		if !ok {
			return fmt.Errorf("%w: change record: entry %d", ErrCorrupt, n)
		}
		if err := f(&c); err != nil {
			return err
		}
	}
	return nil
}

// undo is what takes a block back that made changes.
func undo(changes []touched) []Change {
	out := make([]Change, len(changes))
	for i, c := range changes {
		out[i] = Change{c.addr, c.old}
	}
	return out
}
