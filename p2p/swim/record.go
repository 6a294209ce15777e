package swim

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/rlp"
)

// Bounds of what a member may say of itself.
const (
	maxID      = 64
	maxAddrs   = 8
	maxAddr    = 128
	maxSig     = 128
	maxKey     = 32
	MaxEntries = 256 // bytes of all keys and values of a record
	maxRecord  = 1000
)

// maxAhead is how far an incarnation, which begins as the time of the start in
// milliseconds, may be ahead of our clock: a year. An incarnation near overflow
// could never be refuted, so it is refused.
const maxAhead = 365 * 24 * time.Hour

// Errors of the codec, decided with errors.Is.
var (
	ErrInvalid = errors.New("swim: invalid message")
	ErrTooBig  = errors.New("swim: metadata is too large")
)

// ID names a member: the bytes of its peer id.
type ID string

// Tag shortens an id to what stands in messages that say little: the first 8
// bytes of its SHA-256.
func (id ID) Tag() uint64 {
	sum := sha256.Sum256([]byte(id))
	return binary.BigEndian.Uint64(sum[:8])
}

// Entry is one register of a member's metadata: the last write wins. Version is
// the time of the write in Unix milliseconds, but always above the one before.
type Entry struct {
	Key     string
	Version uint64
	Value   string
}

// Map is a member's metadata: entries by key, ascending, each key once.
type Map []Entry

// Merge returns for every key the entry of the higher version; between equal
// versions the greater value wins. It is commutative, associative and idempotent.
func (m Map) Merge(o Map) Map {
	out := make(Map, 0, max(len(m), len(o)))
	i, j := 0, 0
	for i < len(m) || j < len(o) {
		switch {
		case j == len(o) || i < len(m) && m[i].Key < o[j].Key:
			out = append(out, m[i])
			i++
		case i == len(m) || o[j].Key < m[i].Key:
			out = append(out, o[j])
			j++
		default:
			e := m[i]
			if cmp.Or(cmp.Compare(o[j].Version, e.Version), cmp.Compare(o[j].Value, e.Value)) > 0 {
				e = o[j]
			}
			out = append(out, e)
			i, j = i+1, j+1
		}
	}
	return out
}

// Get returns the value of a key, "" if there is none.
func (m Map) Get(key string) string {
	for _, e := range m {
		if e.Key == key {
			return e.Value
		}
	}
	return ""
}

// set returns m with a value written at now.
func (m Map) set(key, value string, now time.Time) Map {
	v := uint64(now.UnixMilli())
	for _, e := range m {
		if e.Key == key {
			v = max(v, e.Version+1)
		}
	}
	return m.Merge(Map{{key, v, value}})
}

// size is what counts against MaxEntries.
func (m Map) size() (n int) {
	for _, e := range m {
		n += len(e.Key) + len(e.Value)
	}
	return n
}

func (m Map) check() error {
	if m.size() > MaxEntries {
		return fmt.Errorf("%w: %d bytes of keys and values, at most %d: remove some", ErrTooBig, m.size(), MaxEntries)
	}
	for i, e := range m {
		if e.Key == "" || len(e.Key) > maxKey {
			return fmt.Errorf("%w: a key has 1 to %d bytes", ErrTooBig, maxKey)
		}
		if i > 0 && m[i-1].Key >= e.Key {
			return fmt.Errorf("%w: keys are not ascending", ErrInvalid)
		}
	}
	return nil
}

// Record is what a member says of itself, signed by it. Nobody else can change a
// byte of it. A Record is never modified once made.
//
// Records of one member are ordered by incarnation, then version, then bytes;
// merging two is taking the greater one.
type Record struct {
	ID          ID
	Incarnation uint64 // raised by a restart and to refute an accusation
	Version     uint64 // raised by every other change
	Left        bool   // it has said goodbye
	Port        uint16 // of its datagrams, on the hosts of Addrs; 0: it takes none
	Addrs       [][]byte
	Entries     Map
	Sig         []byte

	raw []byte
}

// ahead tells whether an incarnation is one that no clock near ours has given.
func (r *Record) ahead(now time.Time) bool {
	return r.Incarnation > uint64(now.Add(maxAhead).UnixMilli())
}

// Raw is the record's encoding; the caller does not change it.
func (r *Record) Raw() []byte { return r.raw }

// compare orders the records of one member.
func (r *Record) compare(o *Record) int {
	return cmp.Or(cmp.Compare(r.Incarnation, o.Incarnation), cmp.Compare(r.Version, o.Version), slices.Compare(r.raw, o.raw))
}

// unsigned is what the signature is over, with the network and the purpose.
func (r *Record) unsigned(network string) []byte {
	return mustEncode([]any{"pheme swim record 1", network, []byte(r.ID), r.Incarnation, r.Version, r.Left, r.Port, r.Addrs, r.Entries})
}

// sign completes a record.
func (r *Record) sign(cfg *Config) (err error) {
	if r.Sig, err = cfg.Sign(r.unsigned(cfg.Network)); err != nil {
		return fmt.Errorf("swim: sign record: %w", err)
	}
	r.raw = mustEncode(r)
	return r.check()
}

// DecodeRecord reads a record and checks everything but its signature. Errors
// wrap ErrInvalid.
func DecodeRecord(b []byte) (*Record, error) {
	if len(b) > maxRecord {
		return nil, fmt.Errorf("%w: a record of %d bytes, at most %d", ErrInvalid, len(b), maxRecord)
	}
	r := new(Record)
	if err := rlp.DecodeBytes(b, r); err != nil {
		return nil, fmt.Errorf("%w: record: %w", ErrInvalid, err)
	}
	r.raw = slices.Clone(b)
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return r, nil
}

// peekTag is the tag of the member an encoded record is of; anything for what is
// no record.
func peekTag(raw []byte) uint64 {
	list, _, err := rlp.SplitList(raw)
	if err != nil {
		return 0
	}
	id, _, err := rlp.SplitString(list)
	if err != nil {
		return 0
	}
	return ID(id).Tag()
}

func (r *Record) check() error {
	switch {
	case len(r.ID) == 0 || len(r.ID) > maxID:
		return fmt.Errorf("%w: an id of %d bytes", ErrInvalid, len(r.ID))
	case len(r.Sig) == 0 || len(r.Sig) > maxSig:
		return fmt.Errorf("%w: a signature of %d bytes", ErrInvalid, len(r.Sig))
	case len(r.Addrs) > maxAddrs:
		return fmt.Errorf("%w: %d addresses, at most %d", ErrInvalid, len(r.Addrs), maxAddrs)
	case len(r.raw) > maxRecord:
		return fmt.Errorf("%w: a record of %d bytes, at most %d", ErrInvalid, len(r.raw), maxRecord)
	}
	for _, a := range r.Addrs {
		if len(a) == 0 || len(a) > maxAddr {
			return fmt.Errorf("%w: an address of %d bytes", ErrInvalid, len(a))
		}
	}
	return r.Entries.check()
}

// mustEncode encodes a value whose type always encodes.
func mustEncode(v any) []byte {
	b, err := rlp.EncodeToBytes(v)
	if err != nil {
		panic(err)
	}
	return b
}
