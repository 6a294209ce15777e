package recon

import (
	"errors"
	"fmt"
)

// ErrSketch is symbols that no set of items makes. By chance it comes once in
// some ten million sessions.
var ErrSketch = errors.New("recon: symbols that no set makes")

// stepsPerSymbol bounds the work of peeling. m symbols hold at most m items, each
// in 2 ln(m)+1 of them on average, 23 for 65,536.
const stepsPerSymbol = 64

// Decoder peels the difference out of the symbols of another set.
//
// Invariants: every symbol it holds is theirs less ours less the items found;
// found items are in none of them any more.
type Decoder struct {
	ours   *Set
	diff   []Symbol
	found  []coded
	signs  []int64         // of found: 1 theirs, -1 ours
	known  map[ID]struct{} // of found
	queue  []uint32        // symbols with one item, perhaps
	steps  int
	failed error
}

// NewDecoder makes a decoder for what another set has against ours. It may go on
// to use ours; nobody else may meanwhile.
func NewDecoder(ours *Set) *Decoder { return &Decoder{ours: ours, known: make(map[ID]struct{})} }

// Add takes the next symbols of the other set, in order. The error is ErrSketch,
// and stays.
func (d *Decoder) Add(theirs []Symbol) error {
	if d.failed != nil || len(theirs) == 0 {
		return d.failed
	}
	first := len(d.diff)
	ours := d.ours.Symbols(first + len(theirs))
	for i, s := range theirs {
		o := ours[first+i]
		d.diff = append(d.diff, Symbol{s.Sum ^ o.Sum, s.Check ^ o.Check, s.Count - o.Count})
	}
	for i := range d.found {
		d.remove(&d.found[i], d.signs[i])
	}
	for i := first; i < len(d.diff); i++ {
		d.look(uint32(i))
	}
	d.failed = d.peel()
	return d.failed
}

// Len is how many symbols it has.
func (d *Decoder) Len() int { return len(d.diff) }

// Done tells whether all of the difference is found: every item is in symbol 0.
func (d *Decoder) Done() bool { return d.failed == nil && len(d.diff) > 0 && d.diff[0] == Symbol{} }

// Difference is what has been found: the items only they have and those only we have.
func (d *Decoder) Difference() (theirs, ours []ID) {
	for i := range d.found {
		if d.signs[i] > 0 {
			theirs = append(theirs, d.found[i].id)
		} else {
			ours = append(ours, d.found[i].id)
		}
	}
	return theirs, ours
}

// look queues a symbol that may hold one item.
func (d *Decoder) look(i uint32) {
	if c := d.diff[i].Count; c == 1 || c == -1 {
		d.queue = append(d.queue, i)
	}
}

// remove takes an item out of the symbols it has not been taken out of yet.
func (d *Decoder) remove(c *coded, sign int64) {
	for ; c.next < uint32(len(d.diff)); c.step() {
		d.diff[c.next].add(c, -sign)
		d.look(c.next)
		d.steps++
	}
}

// peel takes items out until no symbol holds just one.
func (d *Decoder) peel() error {
	for len(d.queue) > 0 {
		i := d.queue[len(d.queue)-1]
		d.queue = d.queue[:len(d.queue)-1]
		s := d.diff[i]
		if s.Count != 1 && s.Count != -1 {
			continue
		}
		c := d.ours.hash.code(ID(s.Sum))
		if c.check != s.Check {
			continue
		}
		if _, again := d.known[c.id]; again {
			return fmt.Errorf("%w: an item twice", ErrSketch)
		}
		if _, have := d.ours.Find(c.id); have != (s.Count < 0) {
			return fmt.Errorf("%w: an item on the wrong side", ErrSketch)
		}
		if len(d.found) == len(d.diff) {
			return fmt.Errorf("%w: more items than symbols", ErrSketch)
		}
		d.known[c.id] = struct{}{}
		d.remove(&c, s.Count)
		d.found, d.signs = append(d.found, c), append(d.signs, s.Count)
		if d.diff[i] != (Symbol{}) {
			return fmt.Errorf("%w: an item in a symbol that is not its own", ErrSketch)
		}
		if d.steps > stepsPerSymbol*len(d.diff) {
			return fmt.Errorf("%w: too many steps", ErrSketch)
		}
	}
	return nil
}
