package swim

import (
	"fmt"
	"math/bits"
	"time"

	"github.com/ethereum/go-ethereum/rlp"
)

// Push-pull, over a reliable stream. What two members know is compared from the
// coarse to the fine, and only differences travel:
//
//	A -> B  root      one hash of all (member, incarnation, version)
//	B -> A  buckets   64 hashes, unless the roots are equal
//	A -> B  vector    the versions of the members in the buckets that differ
//	B -> A  delta     records A has not or has older; what B wants; who is accused
//	A -> B  delta     what B wanted
//
// An answer depends on nothing but the frame before it.

// MaxFrame bounds one frame of push-pull.
const MaxFrame = 64 << 10

const (
	numBuckets   = 64
	maxVector    = 2048 // entries of 24 bytes
	maxSyncAcc   = 128
	maxDelta     = MaxFrame - 24<<10 // of records; maxVector wanted at 9 bytes, maxSyncAcc accusations at 29 and the rest take 22,200
	fewNews      = 8                 // records learned at once that are worth telling everybody
	syncRoot     = 1
	syncBuckets  = 2
	syncVector   = 3
	syncDelta    = 4
	syncFinished = 5
)

// version is what one side has of a member.
type version struct{ Subject, Incarnation, Version uint64 }

// syncFrame is one frame; most of it is empty.
type syncFrame struct {
	Kind        uint8
	Root        uint64
	Buckets     []uint32
	Which       uint64 // bit i: bucket i is compared
	Vector      []version
	Records     []rlp.RawValue
	Want        []uint64
	Accusations []accusation
	More        bool // there is more than fits: come again
}

func (f *syncFrame) encode() []byte { return append([]byte{wireVersion}, mustEncode(f)...) }

// DecodeSync reads a frame of push-pull. Errors wrap ErrInvalid.
func DecodeSync(b []byte) (*syncFrame, error) {
	if len(b) > MaxFrame {
		return nil, fmt.Errorf("%w: a frame of %d bytes, at most %d", ErrInvalid, len(b), MaxFrame)
	}
	f := new(syncFrame)
	if err := decode(b, f); err != nil {
		return nil, err
	}
	bad := f.Kind < syncRoot || f.Kind > syncFinished || len(f.Vector) > maxVector || len(f.Want) > maxVector || len(f.Accusations) > maxSyncAcc
	if bad || (f.Kind == syncBuckets) != (len(f.Buckets) == numBuckets) {
		return nil, fmt.Errorf("%w: push-pull frame of kind %d", ErrInvalid, f.Kind)
	}
	return f, nil
}

// bucket adds a record to its bucket's hash, or takes it out again.
func (n *Node) bucket(tag uint64, r *Record) {
	h := tag
	for _, v := range [...]uint64{r.Incarnation, r.Version} {
		hi, lo := bits.Mul64(h^v, 0x9e3779b97f4a7c15)
		h = hi ^ lo ^ bits.RotateLeft64(v, 29)
	}
	n.buckets[tag%numBuckets] ^= h
}

func (n *Node) root() (h uint64) {
	for i, b := range n.buckets {
		h ^= bits.RotateLeft64(b, i)
	}
	return h
}

// SyncOpen begins a push-pull.
func (n *Node) SyncOpen() []byte {
	n.quiet = min(n.quiet+1, 8)
	return (&syncFrame{Kind: syncRoot, Root: n.root()}).encode()
}

// Sync answers a frame of push-pull with another, nil at the end. again: the
// other side has more than fitted, and some of what did was new. An error wraps
// ErrInvalid.
func (n *Node) Sync(now time.Time, b []byte) (answer []byte, again bool, err error) {
	f, err := DecodeSync(b)
	if err != nil {
		return nil, false, err
	}
	n.agenda.run(now)
	out := syncFrame{Kind: syncFinished}
	switch f.Kind {
	case syncRoot:
		if f.Root != n.root() {
			out.Kind = syncBuckets
			for _, h := range n.buckets {
				out.Buckets = append(out.Buckets, uint32(h^h>>32))
			}
		}
	case syncBuckets:
		out.Kind = syncVector
		for i, h := range n.buckets {
			if f.Buckets[i] != uint32(h^h>>32) {
				out.Which |= 1 << i
			}
		}
		out.Vector = n.vector(out.Which)
	case syncVector:
		out = n.delta(f)
	case syncDelta:
		before := n.root()
		if err := n.takeDelta(now, f); err != nil {
			return nil, false, err
		}
		again = f.More && n.root() != before // a full table takes nothing, however often it is told
		for _, tag := range f.Want {
			n.addRecord(&out, tag)
		}
		if len(out.Records) > 0 {
			out.Kind = syncDelta
		}
		if len(f.Records) == 0 && len(f.Want) == 0 && out.Kind == syncFinished {
			return nil, again, nil // the answer to an answer
		}
	case syncFinished:
		return nil, false, nil
	}
	return out.encode(), again, nil
}

// vector lists what we have in some buckets.
func (n *Node) vector(which uint64) (out []version) {
	if which>>(n.tag%numBuckets)&1 == 1 {
		out = append(out, version{n.tag, n.self.Incarnation, n.self.Version})
	}
	for _, m := range n.alive {
		if which>>(m.tag%numBuckets)&1 == 1 && len(out) < maxVector {
			out = append(out, version{m.tag, m.record.Incarnation, m.record.Version})
		}
	}
	return out
}

// delta compares a vector with what we have.
func (n *Node) delta(f *syncFrame) (out syncFrame) {
	out.Kind = syncDelta
	theirs := make(map[uint64]version, len(f.Vector))
	for _, v := range f.Vector {
		theirs[v.Subject] = v
		m := n.members[v.Subject]
		switch {
		case m == nil && v.Subject != n.tag:
			out.Want = append(out.Want, v.Subject)
		case m == nil: // ourselves: told below
		case newer(v, m.record):
			out.Want = append(out.Want, v.Subject)
		case m.state == Dead && v.Incarnation == m.record.Incarnation && len(out.Accusations) < maxSyncAcc:
			out.Accusations = append(out.Accusations, accusation{true, m.tag, v.Incarnation, n.tag})
		case m.state == Left:
			n.addRecord(&out, m.tag)
		}
	}
	for _, v := range n.vector(f.Which) {
		if t, ok := theirs[v.Subject]; !ok || t.Incarnation < v.Incarnation || t.Incarnation == v.Incarnation && t.Version < v.Version {
			n.addRecord(&out, v.Subject)
		}
	}
	return out
}

func newer(v version, r *Record) bool {
	return v.Incarnation > r.Incarnation || v.Incarnation == r.Incarnation && v.Version > r.Version
}

// addRecord puts a member's record into a frame while there is room.
func (n *Node) addRecord(f *syncFrame, tag uint64) {
	r := n.self
	if m := n.members[tag]; m != nil {
		r = m.record
	} else if tag != n.tag {
		return
	}
	size := len(r.raw)
	for _, raw := range f.Records {
		size += len(raw)
	}
	if size > maxDelta {
		f.More = true
		return
	}
	f.Records = append(f.Records, r.raw)
}

// SyncAfter returns how long to wait before the next push-pull: little while the
// last ones brought members, more and more when they did not.
func (n *Node) SyncAfter() time.Duration { return min(syncMin<<n.quiet, syncMax) }

const (
	syncMin = time.Second
	syncMax = 30 * time.Second // memberlist's; by then gossip has told all but one in a million
)

// takeDelta merges what the other side had newer. Of many records at once others
// are not told: we have joined, or they have; they know, or learn as we do.
func (n *Node) takeDelta(now time.Time, f *syncFrame) error {
	spread := len(f.Records) <= max(fewNews, n.size()/2)
	before := len(n.members)
	defer func() {
		if len(n.members) > before {
			n.quiet = 0
		}
	}()
	for _, raw := range f.Records {
		if err := n.mergeRaw(now, raw, spread); err != nil {
			return err
		}
	}
	for _, a := range f.Accusations {
		n.accused(now, a)
	}
	return nil
}
