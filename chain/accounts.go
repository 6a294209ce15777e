package chain

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
	"github.com/syndtr/goleveldb/leveldb"
)

// Accounts on disk. A block of transfers touches as many buckets as it has
// transactions, and each is an entry of the database. So a commit writes what its
// block changed as one value, the change record, which takes the block back in a
// reorg and does it again on opening; and of the table of buckets it writes one
// part, in turn: whatever differs in it from what is on disk. What many blocks touch is
// written once.
//
// On disk there is thus the state of no block. With the changes of the newest blocks
// put over it, oldest first, it is that of the head: an account that they touched is
// as the last of them left it, any other is as it is in its bucket. The head's state
// root tells whether that came out right.

// tableParts is how many turns write the whole table. More save more of what blocks
// have in common, and more blocks are put over the table on opening: 64 of a megabyte
// of bare transfers take a third of a second.
const tableParts = 64

// diskState is the table of buckets as it is on disk. A part that is written in the
// turn of its number is as old as that turn, or the last writing of all of it. Owned by
// the writer. It is a value: write gives a new one.
type diskState struct {
	state State
	whole uint64 // block after which all of it was written
	last  uint64 // block after which a part of it was written
}

// redo is the lowest number whose changes the table may lack.
func (d diskState) redo() uint64 {
	return max(d.whole, d.last-min(d.last, tableParts-1)) + 1
}

// write brings one part of the table up to the state after the next block.
func (d diskState) write(batch *leveldb.Batch, st State, number uint64) diskState {
	const each = 256 / tableParts
	for i := range uint64(each) {
		t := Subtree{2, uint16(number%tableParts*each+i) << 8}
		if theirs := st.find(t); d.state.find(t).hash() != theirs.hash() {
			putBuckets(batch, t, d.state, st)
			d.state = State{d.state.root.graft(0, t, theirs)}
		}
	}
	d.last = number
	return d
}

// writeAll brings all of it up to the state after a block.
func (d diskState) writeAll(batch *leveldb.Batch, st State, number uint64) diskState {
	putBuckets(batch, Subtree{}, d.state, st)
	return diskState{st, number, number}
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

// putTable stores the state after the block that becomes the head. next tells that the
// block is the child of the head there was.
func (c *Chain) putTable(batch *leveldb.Batch, st State, number uint64, next bool) diskState {
	// What a reorg took back is in no change record any more. And the records must be
	// there until their accounts are, while blocks leave the undo window.
	if next && c.cfg.UndoBlocks >= tableParts {
		return c.disk.write(batch, st, number)
	}
	batch.Put(wholeKey(), binary.BigEndian.AppendUint64(nil, number))
	return c.disk.writeAll(batch, st, number)
}

// wholeKey holds the number of the block after which all of the table was written.
func wholeKey() []byte { return []byte{tableMeta, 's'} }

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
	raw, err := r.Get(wholeKey(), nil)
	if err != nil && !errors.Is(err, leveldb.ErrNotFound) {
		return diskState{}, State{}, size, err
	}
	disk = diskState{state: stateOf(buckets), last: head}
	if len(raw) == 8 {
		disk.whole = binary.BigEndian.Uint64(raw)
	}
	if len(raw) != 8 || disk.whole > head {
		return diskState{}, State{}, size, fmt.Errorf("%w: all accounts were written at block %x, the head is %d", ErrCorrupt, raw, head)
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
