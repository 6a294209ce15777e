package chain

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/iterator"
	"github.com/syndtr/goleveldb/leveldb/util"
	"golang.org/x/sync/errgroup"
)

// Verified counts what Verify has read.
type Verified struct {
	Commits, Blocks, Txs, Accounts uint64
	Bytes                          uint64 // keys and values
}

// Verify reads everything in the store and checks it against each other: the
// commit records from the first on, the marker, every header against its id and
// parent, every body against its transactions root, the lookup tables against
// the blocks (of transaction hashes one a block: hashing is what takes the time,
// and LevelDB's checksums cover the others), the accounts against the head's state
// root, and what the blocks of the undo window changed against each other, the
// accounts, and the state root at the bottom of the window.
// What it cannot see is a block that is wrong as a whole: Add executed it once.
// It reads a snapshot, so the chain may go on meanwhile. Errors wrap ErrCorrupt.
func (c *Chain) Verify(ctx context.Context) (Verified, error) {
	v, release, err := c.newVerifier()
	if err != nil {
		return Verified{}, err
	}
	defer release()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return v.state(ctx) }) // beside the hashing of bodies: it is one thread's work
	g.Go(func() error {
		for _, step := range []func(context.Context) error{v.commits, v.spans, v.blocks, v.lookups} {
			if err := step(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	err = g.Wait()
	v.done.Bytes = v.bytes.Load()
	return v.done, c.store.damage(err)
}

// verifier is one run of Verify over one snapshot.
type verifier struct {
	c      *Chain
	snap   leveldb.Reader
	view   *view
	newest record
	window []*SignedHeader // canonical blocks of the undo window, oldest first
	mark   []byte
	pruned uint64            // bodies of lower numbers need not be there
	units  map[uint64]uint64 // of transactions: first and last block
	last   uint64            // newest block in a unit
	done   Verified
	bytes  atomic.Uint64

	ids  fingerprint // of headers: id and number
	next share       // to be checked

	mu     sync.Mutex  // guards places and done.Txs
	places fingerprint // of canonical transactions in units: number, position, and hash of a block's first
}

func (c *Chain) newVerifier() (*verifier, func(), error) {
	c.turn <- struct{}{} // no commit between the snapshot and the view
	defer func() { <-c.turn }()
	h, err := c.store.handle()
	if err != nil {
		return nil, nil, err
	}
	snap, err := h.GetSnapshot()
	if err != nil {
		return nil, nil, c.store.damage(err)
	}
	v := &verifier{c: c, snap: snap, view: c.view.Load(), newest: c.store.last, pruned: c.store.pruned.Load(), units: map[uint64]uint64{}}
	c.mu.Lock()
	for e := c.index.byID[v.view.head.id]; e != nil; e = c.index.byID[e.Parent()] {
		v.window = append(v.window, e.SignedHeader)
	}
	c.mu.Unlock()
	slices.Reverse(v.window)
	v.mark, err = c.store.mark.read()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		snap.Release()
		return nil, nil, err
	}
	return v, snap.Release, nil
}

func (v *verifier) count(key, value []byte) { v.bytes.Add(uint64(len(key) + len(value))) }

// commits walks all commit records and compares the marker.
func (v *verifier) commits(context.Context) error {
	var prev record
	records := map[uint64]record{}
	mark, markErr := newestMark(v.mark)
	err := walk(v.snap, []byte{tableCommit}, nil, func(key, raw []byte) error {
		v.count(key, raw)
		r, err := decodeRecord(raw)
		if err != nil {
			return err
		}
		if r.Seq != v.done.Commits || r.Seq > 0 && r.Prev != prev.hash() {
			return fmt.Errorf("%w: commit %d does not follow commit %d", ErrCorrupt, r.Seq, prev.Seq)
		}
		if markErr == nil && r.Seq == mark.Seq {
			records[r.Seq] = r
		}
		prev = r
		v.done.Commits++
		return nil
	})
	if err != nil {
		return err
	}
	if prev != v.newest {
		return fmt.Errorf("%w: commit %d is missing", ErrCorrupt, v.newest.Seq)
	}
	if v.mark == nil && v.c.store.mark == marker(noMarker{}) {
		return nil
	}
	if markErr != nil {
		return markErr
	}
	return checkMark(mark, v.newest, func(seq uint64) (record, error) { return records[seq], nil })
}

// blocks reads headers, bodies and the canonical index side by side.
func (v *verifier) blocks(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0) + 1)
	err := v.walkBlocks(ctx, g)
	return errors.Join(err, g.Wait())
}

func (v *verifier) walkBlocks(ctx context.Context, g *errgroup.Group) error {
	bodies := newCursor(v, tableBody)
	defer bodies.release()
	canonical := newCursor(v, tableCanonical)
	defer canonical.release()
	var parent *SignedHeader
	err := walk(v.snap, []byte{tableHeader}, nil, func(key, value []byte) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		v.count(key, value)
		sh, err := readSignedHeader(key, value)
		if err != nil {
			return err
		}
		v.done.Blocks++
		v.ids.addHash(sh.id, sh.Number())
		isCanonical := canonical.is(numberKey(tableCanonical, sh.Number()), sh.id)
		if isCanonical {
			if parent == nil && sh.Number() != 0 || parent != nil && (sh.Parent() != parent.id || sh.Number() != parent.Number()+1) {
				return fmt.Errorf("%w: canonical block %d %s does not follow", ErrCorrupt, sh.Number(), sh.id)
			}
			parent = sh
			canonical.next()
		}
		if b := v.c.store.sharedBlock(sh); b != nil {
			v.check(g, storedBlock{sh, b.body, isCanonical})
			return nil
		}
		if !bytes.Equal(bodies.key(), blockKey(tableBody, sh.Number(), sh.id)) {
			if isCanonical && sh.Number() > 0 && sh.Number() < v.pruned {
				return nil
			}
			return fmt.Errorf("%w: body of block %d %s is missing", ErrCorrupt, sh.Number(), sh.id)
		}
		v.check(g, storedBlock{sh, bodies.take(), isCanonical})
		return nil
	})
	v.checkNext(g)
	switch {
	case err != nil:
		return err
	case bodies.key() != nil || canonical.key() != nil:
		return fmt.Errorf("%w: a body or a canonical entry without its header: %x %x", ErrCorrupt, bodies.key(), canonical.key())
	case parent == nil || parent.id != v.view.head.id:
		return fmt.Errorf("%w: the canonical index does not end at the head", ErrCorrupt)
	}
	return errors.Join(bodies.it.Error(), canonical.it.Error())
}

// share is some stored blocks that are checked beside others.
type share struct {
	blocks []storedBlock
	bytes  int
}

type storedBlock struct {
	*SignedHeader
	body      []byte
	canonical bool
}

// shareBytes is enough work for a goroutine, and little memory for a few of them.
const shareBytes = 256 << 10

// check compares a body with its header when there is enough to do.
func (v *verifier) check(g *errgroup.Group, b storedBlock) {
	v.next.blocks = append(v.next.blocks, b)
	v.next.bytes += len(b.body) + len(b.raw)
	if v.next.bytes >= shareBytes {
		v.checkNext(g)
	}
}

// checkNext compares the bodies that wait with their headers, beside others.
func (v *verifier) checkNext(g *errgroup.Group) {
	blocks := v.next.blocks
	v.next = share{}
	g.Go(func() error {
		var places fingerprint
		txs := uint64(0)
		check := bodyCheck{root: newListRoot()}
		for _, b := range blocks {
			here, n, err := check.body(b.SignedHeader, b.body)
			if err != nil {
				return err
			}
			if !b.canonical {
				continue
			}
			txs += n
			if b.Number() <= v.last && b.Number() >= v.pruned {
				places.merge(here)
			}
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		v.places.merge(places)
		v.done.Txs += txs
		return nil
	})
}

// bodyCheck is the buffers of a check, which serve body after body.
type bodyCheck struct {
	root *listRoot
	raws [][]byte
}

// body compares a body with its header.
func (c *bodyCheck) body(sh *SignedHeader, body []byte) (places fingerprint, n uint64, err error) {
	list, rest, err := rlp.SplitList(body)
	if err != nil || len(rest) > 0 {
		return places, 0, fmt.Errorf("%w: body of block %d %s is not a list", ErrCorrupt, sh.Number(), sh.id)
	}
	raws := c.raws[:0]
	for len(list) > 0 {
		raw, rest, err := rlp.SplitString(list)
		if err != nil {
			return places, 0, fmt.Errorf("%w: body of block %d %s: %w", ErrCorrupt, sh.Number(), sh.id, err)
		}
		known := uint64(0)
		if n == 0 {
			known = knownOf(lead(crypto.Keccak256Hash(raw)))
		}
		places.add(known, 0, sh.Number()<<32|n)
		raws = append(raws, raw)
		list = rest
		n++
	}
	c.raws = raws
	if got := c.root.of(len(raws), func(i int) []byte { return raws[i] }); got != sh.header.TxHash {
		return places, n, fmt.Errorf("%w: body of block %d %s hashes to %s, header has %s", ErrCorrupt, sh.Number(), sh.id, got, sh.header.TxHash)
	}
	return places, n, nil
}

// spans reads the table of units.
func (v *verifier) spans(context.Context) error {
	return walk(v.snap, []byte{tableUnit}, nil, func(key, value []byte) error {
		v.count(key, value)
		u, err := decodeSpan(key, value)
		if err == nil && (u.first <= v.last || u.last > v.view.head.Number()) {
			err = fmt.Errorf("%w: a unit of transactions from block %d to %d", ErrCorrupt, u.first, u.last)
		}
		v.last = u.last
		v.units[u.first] = u.last
		return err
	})
}

// lookups compares both lookup tables with what the blocks say.
func (v *verifier) lookups(context.Context) error {
	var ids, places fingerprint
	err := walk(v.snap, []byte{tableNumber}, nil, func(key, value []byte) error {
		v.count(key, value)
		if len(key) != 33 || len(value) != 8 {
			return fmt.Errorf("%w: number entry %x", ErrCorrupt, key)
		}
		ids.addHash(common.Hash(key[1:]), binary.BigEndian.Uint64(value))
		return nil
	})
	if err != nil {
		return err
	}
	if ids != v.ids {
		return fmt.Errorf("%w: the number table does not match the headers", ErrCorrupt)
	}
	err = walk(v.snap, []byte{tableTx}, nil, func(key, value []byte) error {
		v.count(key, value)
		outside := false
		first, err := decodeGroup(key, value, func(lead uint64, p place) {
			outside = outside || p.number > v.last
			if p.index > 0 {
				lead = 0
			}
			if p.number >= v.pruned {
				places.add(lead, 0, p.number<<32|uint64(p.index))
			}
		})
		if err == nil && (outside || v.units[first] == 0) {
			err = fmt.Errorf("%w: transaction entries %x of no unit", ErrCorrupt, key)
		}
		return err
	})
	if err != nil {
		return err
	}
	if places != v.places {
		return fmt.Errorf("%w: the transaction table does not match the canonical blocks", ErrCorrupt)
	}
	return nil
}

// state compares the accounts with the head's root and with the change records.
func (v *verifier) state(ctx context.Context) error {
	_, st, bytes, err := readState(v.snap, v.view.head.Number())
	if err != nil {
		return err
	}
	v.bytes.Add(bytes)
	for range st.All() {
		v.done.Accounts++
	}
	if root := st.Root(); root != v.view.head.header.Root {
		return fmt.Errorf("%w: the accounts hash to %s, block %d has %s", ErrCorrupt, root, v.view.head.Number(), v.view.head.header.Root)
	}
	return v.changes(ctx, st)
}

// changes reads the change records of the undo window. An account must be in each as
// the one before has left it, in the end as it is in the state, and the accounts as
// they were in the beginning must hash to the root there. A record that is wrong
// anywhere contradicts one of these.
func (v *verifier) changes(ctx context.Context, st State) error {
	low, above := v.window[0], v.window[1:]
	all := map[common.Address]*touched{}
	err := walk(v.snap, []byte{tableUndo}, numberKey(tableUndo, low.Number()+1), func(key, raw []byte) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		v.count(key, raw)
		if len(above) == 0 || !bytes.Equal(key, blockKey(tableUndo, above[0].Number(), above[0].id)) {
			return fmt.Errorf("%w: change record %x is not the next block's", ErrCorrupt, key)
		}
		sh := above[0]
		above = above[1:]
		return eachChange(raw, func(c *touched) error {
			switch before := all[c.addr]; {
			case before == nil:
				first := *c
				all[c.addr] = &first
			case before.now != c.old:
				return fmt.Errorf("%w: block %d changes account %s, which was not as its change record has it", ErrCorrupt, sh.Number(), c.addr)
			default:
				before.now = c.now
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	if len(above) > 0 {
		return fmt.Errorf("%w: change record of block %d is missing", ErrCorrupt, above[0].Number())
	}
	first := make([]Change, 0, len(all))
	for addr, c := range all {
		if st.Account(addr) != c.now {
			return fmt.Errorf("%w: account %s is not as the change records have it", ErrCorrupt, addr)
		}
		first = append(first, Change{addr, c.old})
	}
	if root := st.With(first).Root(); root != low.header.Root {
		return fmt.Errorf("%w: the change records lead to %s, block %d has %s", ErrCorrupt, root, low.Number(), low.header.Root)
	}
	return nil
}

// cursor walks a table beside another one.
type cursor struct {
	v  *verifier
	it iterator.Iterator
	ok bool
}

func newCursor(v *verifier, table byte) *cursor {
	it := v.snap.NewIterator(util.BytesPrefix([]byte{table}), nil)
	return &cursor{v, it, it.Next()}
}

func (c *cursor) release() { c.it.Release() }

// key is the current key, nil at the end.
func (c *cursor) key() []byte {
	if !c.ok {
		return nil
	}
	return c.it.Key()
}

func (c *cursor) next() {
	c.v.count(c.it.Key(), c.it.Value())
	c.ok = c.it.Next()
}

// take copies the value and moves on.
func (c *cursor) take() []byte {
	value := bytes.Clone(c.it.Value())
	c.next()
	return value
}

// is tells whether the current entry is key with the value id.
func (c *cursor) is(key []byte, id common.Hash) bool {
	return c.ok && bytes.Equal(c.it.Key(), key) && bytes.Equal(c.it.Value(), id[:])
}

// fingerprint sums up a set of hashes, or what is known of them, with a number each, in any order, so that
// two large tables compare without looking one up in the other. It is no defence
// against an adversary, who would have to write to the disk.
type fingerprint struct{ n, a, b uint64 }

func (f *fingerprint) add(lead, next, number uint64) {
	x := lead ^ number*0x9e3779b97f4a7c15
	x = (x ^ x>>31) * 0xbf58476d1ce4e5b9
	f.n++
	f.a += x ^ x>>29
	f.b += next ^ x*0x94d049bb133111eb
}

func (f *fingerprint) addHash(h common.Hash, number uint64) {
	f.add(lead(h), binary.BigEndian.Uint64(h[8:16]), number)
}

func (f *fingerprint) merge(o fingerprint) {
	f.n += o.n
	f.a += o.a
	f.b += o.b
}
