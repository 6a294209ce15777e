package chain

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/ethereum/go-ethereum/common"
)

// status is how far a block has come.
type status uint8

const (
	checked status = iota // passed Check, not yet added
	adding                // in the writer's hands: not to be forgotten
	stored                // on disk, canonical or on a side branch
	invalid               // on the invalid list, for ever
)

const (
	maxChecked = 1024 // blocks between Check and Add; an import queue is far shorter
	maxInvalid = 1024 // each took a proposer's signature and one of two places in a slot
	perSlot    = 2    // blocks kept of one slot: one more than honest, as evidence
	maxWanted  = 256  // missing parents that another proposer has built on
)

// entry is what memory holds of one block of the undo window.
type entry struct {
	*SignedHeader
	status status
	reason string // of an invalid block
}

// index is the tree of the blocks in the undo window, and the fork choice over
// it. It is pure: no lock, clock or I/O. Invariants:
//   - of number low there is the canonical block only: every entry descends from
//     it, so the head can be taken back to where any stored branch begins;
//   - the parent of every stored entry above low is a stored entry;
//   - an invalid entry has no stored or checked descendant;
//   - head is stored, and no stored entry is better than it.
type index struct {
	window   uint64
	byID     map[common.Hash]*entry
	byNumber map[uint64][]*entry
	bySlot   map[uint64][]*entry
	head     *entry
	low      uint64        // lowest number in the index; it never goes down
	checked  []common.Hash // oldest first; may name blocks that have moved on
	invalid  []common.Hash // oldest first
	wanted   []wanted      // oldest first
}

// wanted is a block that is missing and that a proposer has built on.
type wanted struct {
	id common.Hash
	by common.Address
}

func newIndex(window uint64) *index {
	return &index{
		window: window,
		byID:   map[common.Hash]*entry{}, byNumber: map[uint64][]*entry{}, bySlot: map[uint64][]*entry{},
	}
}

// better is the fork choice: more blocks from genesis, then the lower slot, then
// the lower id.
func better(a, b *SignedHeader) bool {
	if a.Number() != b.Number() {
		return a.Number() > b.Number()
	}
	if a.Slot() != b.Slot() {
		return a.Slot() < b.Slot()
	}
	return bytes.Compare(a.id[:], b.id[:]) < 0
}

// known refuses a block that needs no look at all.
func (x *index) known(id common.Hash) error {
	e := x.byID[id]
	switch {
	case e == nil:
		return nil
	case e.status == invalid:
		return fmt.Errorf("%w: %s: %s", ErrInvalidAncestor, id, e.reason)
	}
	return fmt.Errorf("%w: %s", ErrKnown, id)
}

// place remembers a header that passed the rules of its own, if its parent, age
// and slot allow. ErrSecondBlock comes with a header that is remembered.
func (x *index) place(sh *SignedHeader) error {
	parent, err := x.fits(sh)
	if err != nil {
		return err
	}
	same := len(x.bySlot[sh.Slot()])
	e := &entry{SignedHeader: sh}
	if parent.status == invalid {
		x.put(e)
		x.mark(e, "descends from "+parent.id.Hex())
		return fmt.Errorf("%w: parent %s: %s", ErrInvalidAncestor, parent.id, parent.reason)
	}
	x.put(e)
	x.checked = append(x.checked, sh.id)
	x.trimChecked()
	if same > 0 {
		return fmt.Errorf("%w %d", ErrSecondBlock, sh.Slot())
	}
	return nil
}

// fits tells whether a header that passed the rules of its own can be placed, and
// on which parent, which may be invalid.
func (x *index) fits(sh *SignedHeader) (parent *entry, err error) {
	if err := x.known(sh.id); err != nil {
		return nil, err
	}
	if sh.Number() <= x.low || sh.Number()+x.window <= x.head.Number() {
		return nil, fmt.Errorf("%w: number %d, head %d", ErrTooOld, sh.Number(), x.head.Number())
	}
	if parent = x.byID[sh.Parent()]; parent == nil {
		x.want(wanted{sh.Parent(), sh.Proposer()})
		return nil, fmt.Errorf("%w: %s", ErrUnknownParent, sh.Parent())
	}
	if err := checkParent(sh.header, parent.header, sh.id); err != nil {
		return nil, err
	}
	if len(x.bySlot[sh.Slot()]) >= perSlot && !x.needed(sh) {
		return nil, fmt.Errorf("%w %d", ErrEquivocation, sh.Slot())
	}
	return parent, nil
}

// announced is what place would say, but nothing is remembered.
func (x *index) announced(sh *SignedHeader) error {
	parent, err := x.fits(sh)
	switch {
	case err != nil:
		return err
	case parent.status == invalid:
		return fmt.Errorf("%w: parent %s: %s", ErrInvalidAncestor, parent.id, parent.reason)
	case len(x.bySlot[sh.Slot()]) > 0:
		return fmt.Errorf("%w %d", ErrSecondBlock, sh.Slot())
	}
	return nil
}

// want remembers that a proposer has built on a missing block.
func (x *index) want(w wanted) {
	if !slices.Contains(x.wanted, w) {
		x.wanted = append(x.wanted, w)
	}
	if len(x.wanted) > maxWanted {
		x.wanted = slices.Delete(x.wanted, 0, 1)
	}
}

// needed tells whether another proposer has built on a block. Then it is kept
// even as the third of its slot: a proposer that gives three blocks to three
// parts of the network must not part them for ever.
func (x *index) needed(sh *SignedHeader) bool {
	return slices.ContainsFunc(x.wanted, func(w wanted) bool { return w.id == sh.id && w.by != sh.Proposer() })
}

// put enters e under its id, number and slot.
func (x *index) put(e *entry) {
	x.byID[e.id] = e
	x.byNumber[e.Number()] = append(x.byNumber[e.Number()], e)
	x.bySlot[e.Slot()] = append(x.bySlot[e.Slot()], e)
}

// drop takes e out.
func (x *index) drop(e *entry) {
	delete(x.byID, e.id)
	cut(x.byNumber, e.Number(), e)
	cut(x.bySlot, e.Slot(), e)
}

func cut(m map[uint64][]*entry, key uint64, e *entry) {
	rest := slices.DeleteFunc(m[key], func(o *entry) bool { return o == e })
	if len(rest) == 0 {
		delete(m, key)
		return
	}
	m[key] = rest
}

// forget drops a block that is only checked.
func (x *index) forget(id common.Hash) {
	if e := x.byID[id]; e != nil && e.status == checked {
		x.drop(e)
	}
}

// giveBack ends adding without success: the block is as it was after Check.
func (x *index) giveBack(e *entry) {
	if e.status == adding {
		e.status = checked
		x.checked = append(x.checked, e.id)
	}
}

// store makes e a stored entry. If Check has entered the block once more since
// it was given back, that entry goes.
func (x *index) store(e *entry) {
	if o := x.byID[e.id]; o != e {
		if o != nil {
			x.drop(o)
		}
		x.put(e)
	}
	e.status = stored
}

// trimChecked forgets the oldest checked blocks above the limit.
func (x *index) trimChecked() {
	if len(x.checked) <= maxChecked {
		return
	}
	live := x.checked[:0]
	for _, id := range x.checked {
		if e := x.byID[id]; e != nil && e.status == checked {
			live = append(live, id)
		}
	}
	x.checked = live
	for len(x.checked) > maxChecked {
		x.forget(x.checked[0])
		x.checked = x.checked[1:]
	}
}

// mark puts e on the invalid list and returns the entries below the limit that
// had to leave it.
func (x *index) mark(e *entry, reason string) (left []*entry) {
	if e.status == invalid {
		return nil
	}
	e.status, e.reason = invalid, reason
	x.invalid = append(x.invalid, e.id)
	for len(x.invalid) > maxInvalid {
		if old := x.byID[x.invalid[0]]; old != nil {
			x.drop(old)
			left = append(left, old)
		}
		x.invalid = x.invalid[1:]
	}
	return left
}

// descendants lists e and all entries above it, lowest first.
func (x *index) descendants(e *entry) []*entry {
	out := []*entry{e}
	in := map[common.Hash]bool{e.id: true}
	for n := e.Number() + 1; len(x.byNumber[n]) > 0; n++ {
		for _, o := range x.byNumber[n] {
			if in[o.Parent()] {
				in[o.id] = true
				out = append(out, o)
			}
		}
	}
	return out
}

// fork finds the way from the head to the stored block to: the canonical blocks
// to revert, newest first, and those to apply, oldest first.
func (x *index) fork(from, to *entry) (revert, apply []*entry) {
	for from != nil && to != nil && from.id != to.id {
		if from.Number() >= to.Number() {
			revert = append(revert, from)
			from = x.byID[from.Parent()]
		} else {
			apply = append(apply, to)
			to = x.byID[to.Parent()]
		}
	}
	slices.Reverse(apply)
	return revert, apply
}

// down lists the blocks from head down to the one with a number; nil if that has left.
func (x *index) down(head common.Hash, number uint64) (out []*SignedHeader) {
	for e := x.byID[head]; e != nil; e = x.byID[e.Parent()] {
		out = append(out, e.SignedHeader)
		if e.Number() == number {
			return out
		}
	}
	return nil
}

// leaving lists what falls out of the window when head becomes the head: the
// canonical blocks, the others, and the lowest number that is left.
func (x *index) leaving(head *entry) (canonical, others []*entry, low uint64) {
	if head.Number() <= x.low+x.window {
		return nil, nil, x.low
	}
	low = head.Number() - x.window
	keep := x.ancestor(head, low)
	on := map[*entry]bool{}
	for e := keep; e != nil; e = x.byID[e.Parent()] {
		on[e] = true
	}
	for n := x.low; n < low; n++ {
		for _, e := range x.byNumber[n] {
			if on[e] {
				canonical = append(canonical, e)
			} else {
				others = append(others, e)
			}
		}
	}
	for _, e := range x.byNumber[low] {
		if e != keep { // and the branches on it: they begin below the window
			others = append(others, x.descendants(e)...)
		}
	}
	return canonical, others, low
}

// ancestor is the block with number n on the way down from head.
func (x *index) ancestor(head *entry, n uint64) *entry {
	if here := x.byNumber[n]; len(here) == 1 {
		return here[0] // as nearly always
	}
	for head.Number() > n {
		head = x.byID[head.Parent()]
	}
	return head
}

// trim drops what has left the window.
func (x *index) trim() {
	canonical, others, low := x.leaving(x.head)
	for _, e := range append(canonical, others...) {
		x.drop(e)
	}
	x.low = low
}

// evidence lists the slots with two blocks, by slot.
func (x *index) evidence() []Evidence {
	var out []Evidence
	for slot, es := range x.bySlot {
		if len(es) > 1 {
			out = append(out, Evidence{slot, es[0].Proposer(), es[0].SignedHeader, es[1].SignedHeader})
		}
	}
	slices.SortFunc(out, func(a, b Evidence) int {
		if a.Slot < b.Slot {
			return -1
		}
		return 1
	})
	return out
}
