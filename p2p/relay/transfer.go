package relay

import (
	"bytes"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
)

// transfer is one announced block under way at this node. Its engine's mutex
// guards it.
//
// Stages: begun (by an announcement, or by publishing) -> complete (block is set:
// it only gives) -> dropped, after Config.Keep. From begun also failed: its chunks
// give no block, which is its proposer's doing, and it waits for the whole block.
type transfer struct {
	tag    tag
	id     common.Hash
	ann    *announcement
	from   peer.ID // who announced it first; empty: it is ours
	push   bool    // chunks go to peers that did not ask
	swarm  *swarm
	chunks [][]byte
	sure   bitmap // chunks that are what the proposer signed; others follow from the block, and it may have signed something else
	news   map[int]*news
	puzzle *puzzle      // compact: what is known of the transactions
	asked  map[int]bool // by link: we asked it for transactions
	// askedAt is when we asked the last one.
	askedAt time.Time
	parked  map[int]*question // by link: it asked us
	wanted  bool              // the mesh was asked for chunks

	payload []byte       // the announcement as it came
	knows   map[int]bool // by link: it has the announcement, or it is under way to it in datagrams
	posted  bool         // it came in datagrams, and the block topic has not had it yet
	doubt   error        // what the block topic is told of it

	block   *chain.Block // complete
	opening bool         // a goroutine puts it together
	failed  bool
	gained  time.Time // when it last got something, or asked
	used    time.Time // when a chunk of it last came, left or was acknowledged: on slow links that goes on for long after it is complete
	asks    int       // in a row without gain
}

// news is what one peer has not been told yet.
type news struct {
	acks, held []int
	flags      byte
}

func (n *news) empty() bool { return len(n.acks) == 0 && len(n.held) == 0 && n.flags == 0 }

func newTransfer(a *announcement, from peer.ID, budget int, seed uint64, now time.Time) *transfer {
	id := a.header.ID()
	t := &transfer{
		tag: a.tag, id: id, ann: a, from: from, push: a.body.Push,
		swarm: newSwarm(a.shape.data, a.shape.total(), budget, seed), chunks: make([][]byte, a.shape.total()), sure: newBitmap(a.shape.total()),
		news: make(map[int]*news), asked: make(map[int]bool), knows: make(map[int]bool), parked: make(map[int]*question), gained: now, used: now,
	}
	return t
}

// tell returns the news for a peer.
func (t *transfer) tell(slot int) *news {
	n := t.news[slot]
	if n == nil {
		n = &news{}
		t.news[slot] = n
	}
	return n
}

// informed notes that a peer has the announcement. nil: no link to it.
func (t *transfer) informed(l *link) {
	if l != nil {
		t.knows[l.slot] = true
	}
}

// put takes in a verified chunk that came over hops nodes; false: it is here.
func (t *transfer) put(chunk int, bytes []byte, hops uint8) bool {
	if t.block != nil || !t.swarm.add(chunk, hops) {
		return false
	}
	t.chunks[chunk] = bytes
	t.sure.set(chunk)
	return true
}

// begin says whether the block may be put together now that something suffices for it: one does so at a time.
func (t *transfer) begin(suffices bool) bool {
	may := suffices && t.block == nil && !t.opening
	t.opening = t.opening || may
	return may
}

// finish makes it complete: data chunks are the block's own bytes from now on,
// parity chunks are kept as far as they came.
func (t *transfer) finish(b *chain.Block, hops uint8) {
	t.block = b
	list := b.TxList()
	for i := range t.ann.shape.data {
		c := t.ann.shape.cut(list, i)
		if !bytes.Equal(t.chunks[i], c) {
			t.sure.clear(i)
		}
		t.chunks[i] = c
		t.swarm.add(i, hops)
	}
}

// reveal is what a starved node tells: all it holds.
func (t *transfer) reveal(n *news, flags byte) {
	n.flags |= flags | flagAll
	n.held = n.held[:0]
	for i := range t.chunks {
		if t.swarm.have.get(i) {
			n.held = append(n.held, i)
		}
	}
}
