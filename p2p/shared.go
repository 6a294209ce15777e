package p2p

import (
	"bytes"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/ethereum/go-ethereum/common"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/relay"
	"github.com/pheme-net/pheme/p2p/swim"
)

// sharedBytes bounds the payloads a Shared holds: some seconds of a busy network,
// which the message caches of a thousand nodes hold anyway.
const sharedBytes = 256 << 20

// Shared lets the networks of one process keep one copy of each gossip payload
// between them, and what was computed of it: its message id, what it is about, and
// the transactions of a batch with their senders. A thousand nodes in virtual
// time need it, a node on its own does not. The oldest payloads make room. Any
// goroutine may use it.
type Shared struct {
	seed    maphash.Seed
	limit   int // bytes
	records *swim.Cache

	mu      sync.Mutex
	byHash  map[uint64]*payload
	byPlace map[*byte]*payload // by the place in memory of its first byte
	order   []*payload         // oldest first
	bytes   int
}

// payload is one gossip payload. Its data is never changed.
type payload struct {
	key  uint64
	data []byte

	// Computed when first asked for.
	id    atomic.Pointer[named]
	block atomic.Pointer[common.Hash]
	batch atomic.Pointer[batchTxs]
}

// named is a message id, which depends on the topic.
type named struct{ topic, id string }

// batchTxs is a decoded batch, or why it is none.
type batchTxs struct {
	txs []*chain.Tx
	err error
}

// NewShared makes an empty Shared.
func NewShared() *Shared {
	return &Shared{seed: maphash.MakeSeed(), limit: sharedBytes, records: swim.NewCache(), byHash: map[uint64]*payload{}, byPlace: map[*byte]*payload{}}
}

// members is where the members' records are shared; nil for a node on its own.
func (s *Shared) members() *swim.Cache {
	if s == nil {
		return nil
	}
	return s.records
}

// keep is the one copy of data, which becomes it when there is none yet. The
// caller must not change data again.
func (s *Shared) keep(data []byte) []byte {
	if s == nil || len(data) == 0 {
		return data
	}
	key := maphash.Bytes(s.seed, data)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.byHash[key]; p != nil && bytes.Equal(p.data, data) {
		return p.data
	}
	p := &payload{key: key, data: data}
	s.byHash[key], s.byPlace[&data[0]] = p, p
	s.order = append(s.order, p)
	s.bytes += len(data)
	for s.bytes > s.limit {
		s.forget()
	}
	return data
}

// forget drops the oldest payload.
func (s *Shared) forget() {
	p := s.order[0]
	s.order[0] = nil
	s.order = s.order[1:]
	s.bytes -= len(p.data)
	delete(s.byPlace, &p.data[0])
	if s.byHash[p.key] == p {
		delete(s.byHash, p.key)
	}
}

// of is the payload that data is a copy of, as keep returned it; nil without one.
func (s *Shared) of(data []byte) *payload {
	if s == nil || len(data) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.byPlace[&data[0]]; p != nil && len(p.data) == len(data) {
		return p
	}
	return nil
}

// messageID is the function messageID, computed once for a payload on a topic.
func (s *Shared) messageID(m *pb.Message) string {
	p := s.of(m.GetData())
	if p == nil {
		return messageID(m)
	}
	return remember(&p.id, func() named { return named{m.GetTopic(), messageID(m)} }, func(n named) bool { return n.topic == m.GetTopic() }).id
}

// blockID is relay.BlockID, computed once.
func (s *Shared) blockID(data []byte) common.Hash {
	compute := func() common.Hash {
		id, _ := relay.BlockID(data)
		return id
	}
	p := s.of(data)
	if p == nil {
		return compute()
	}
	return remember(&p.block, compute, nil)
}

// decodeTxs are the transactions of a batch; a sender that was recovered once stays. The caller must not change the slice.
func (s *Shared) decodeTxs(data []byte) ([]*chain.Tx, error) {
	p := s.of(data)
	if p == nil {
		return decodeTxs(data)
	}
	b := remember(&p.batch, func() batchTxs {
		txs, err := decodeTxs(data)
		return batchTxs{txs, err}
	}, nil)
	return b.txs, b.err
}

// remember is the value in slot, computed when there is none or it does not fit.
func remember[T any](slot *atomic.Pointer[T], compute func() T, fits func(T) bool) T {
	if v := slot.Load(); v != nil && (fits == nil || fits(*v)) {
		return *v
	}
	v := compute()
	slot.Store(&v)
	return v
}
