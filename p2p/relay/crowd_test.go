package relay

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/libp2p/go-libp2p/core/peer"
	"pgregory.net/rapid"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
)

// crowd is three nodes that keep to the rules, a, b and c, whose relays are real, and evil, a peer of each that says anything. a has
// published two blocks of one slot. What they say takes its time and comes in any order; datagrams get lost.
type crowd struct {
	*stock
	nodes  []*member
	said   [][]byte // the announcements of a
	named  []tag    // theirs
	flight []parcel
	calm   bool // nothing gets lost or is pushed off, so that no block need be fetched whole
}

// stock is what all crowds have: it is made once.
type stock struct {
	blocks []*chain.Block
	chunks [][][]byte // by block
	lies   [][]byte   // announcements that a has not made
	tags   []tag      // of these, then one of none
}

// lies is how many of them are of a's blocks.
const lies = 4

type member struct {
	*node
	id    peer.ID
	e     *engine
	has   map[common.Hash]bool // blocks
	desks map[peer.ID]*desk
}

func (m *member) String() string { return string(m.id) }

func (m *member) CheckHeader(sh *chain.SignedHeader) error {
	if m.has[sh.ID()] {
		return chain.ErrKnown
	}
	return nil
}

func (m *member) Complete(from peer.ID, b *chain.Block, w Way) error {
	m.has[b.ID()] = true
	return m.node.Complete(from, b, w)
}

// parcel is a frame with its length, or a datagram, on its way.
type parcel struct {
	from, to peer.ID
	bytes    []byte
	datagram bool
}

// office is the Packets of one member.
type office struct {
	c    *crowd
	from peer.ID
}

func (o office) Port() uint16               { return 7 }
func (o office) Take(func(peer.ID, []byte)) {}
func (o office) Overhead() int              { return 26 }
func (o office) To(p peer.ID, port uint16) func([]byte) {
	if port == 0 {
		return nil
	}
	return func(b []byte) { o.c.put(parcel{o.from, p, b, true}) }
}

const evil = peer.ID("evil")

// newStock makes two blocks, one to go coded and one compact, and announcements of evil: other chunks and other ids of these
// blocks, chunks of the other block, and more blocks than are followed, of slots of their own.
func newStock(tb testing.TB) *stock {
	s := &stock{blocks: []*chain.Block{sampleOf(tb, 6, 8<<10), sampleOf(tb, 24, 1<<10)}}
	for _, b := range s.blocks {
		chunks, err := shapeOf(len(b.TxList())).encode(b.TxList())
		if err != nil {
			tb.Fatal(err)
		}
		s.chunks = append(s.chunks, chunks)
	}
	said := [][]byte{announce(tb, "coded", s.blocks[0]), announceCompact(tb, s.blocks[1])}
	s.lies = [][]byte{
		bent(tb, said[0], func(a *announced) { a.Leaves[0] ^= 1 }), bent(tb, said[1], func(a *announced) { a.IDs[0] ^= 1 }),
		bent(tb, said[1], func(a *announced) { a.Nonce++ }),
		bent(tb, said[0], func(a *announced) { a.Size, a.Leaves = uint64(len(s.blocks[1].TxList())), leavesOf(s.chunks[1]) }),
	}
	for i := range maxLive + 4 {
		s.lies = append(s.lies, bent(tb, said[0], func(a *announced) {
			h := types.CopyHeader(s.blocks[0].Header())
			h.Nonce = types.EncodeNonce(uint64(i + 1))
			sh, err := chain.SignHeader(h, testKey())
			if err != nil {
				tb.Fatal(err)
			}
			a.Header = sh.Encode()
		}))
	}
	for _, p := range s.lies {
		a, err := decodeAnnouncement(p, 4<<20)
		if err != nil {
			tb.Fatal(err)
		}
		s.tags = append(s.tags, a.tag)
	}
	s.tags = append(s.tags, tag{9})
	s.lies = append(s.lies, said[0][:len(said[0])-1], append(bytes.Clone(said[1]), 0)) // and what is none
	return s
}

func newCrowd(t *rapid.T, s *stock) *crowd {
	c := &crowd{stock: s, calm: rapid.Bool().Draw(t, "calm")}
	ids := []peer.ID{"a", "b", "c"}
	for i, id := range ids {
		m := &member{node: &node{pool: make(map[common.Hash]*chain.Tx)}, id: id}
		m.has, m.desks = make(map[common.Hash]bool), make(map[peer.ID]*desk)
		m.mesh = append(slices.Delete(slices.Clone(ids), i, i+1), evil)
		r, err := New(Config{Name: "coded"}, Deps{Node: m, Network: m, Packets: office{c, id}, Clock: trace.NewClock(), Self: id, MaxList: 4 << 20})
		if err != nil {
			t.Fatal(err)
		}
		m.e = r.(*coded).engine
		for _, p := range m.mesh {
			m.desks[p] = &desk{}
		}
		for _, x := range s.blocks[1].Txs()[oneOf(t, "transactions not pooled", 2, 1, 0, 8, 24):] {
			m.pool[x.Hash()] = x
		}
		c.nodes = append(c.nodes, m)
	}
	a := c.nodes[0]
	for i, kind := range []byte{kindCoded, kindCompact} {
		a.has[s.blocks[i].ID()] = true
		if err := a.e.publish(s.blocks[i], kind, rapid.Bool().Draw(t, "push")); err != nil {
			t.Fatal(err)
		}
		c.named = append(c.named, a.e.order[i].tag)
	}
	c.said = a.sent
	return c
}

// put sends a parcel off. evil does not read.
func (c *crowd) put(p parcel) {
	if p.to != evil {
		c.flight = append(c.flight, p)
	}
}

func (c *crowd) someone(t *rapid.T) (*member, peer.ID) {
	m := oneOf(t, "node", c.nodes...)
	return m, oneOf(t, "peer", m.mesh...)
}

// oneOf draws the place of a value, which may be long to print.
func oneOf[T any](t *rapid.T, label string, of ...T) T {
	return of[rapid.IntRange(0, len(of)-1).Draw(t, label)]
}

// hear gives an announcement of a to a node.
func (c *crowd) hear(t *rapid.T) {
	m, from := c.someone(t)
	c.receive(t, m, from, oneOf(t, "announcement", c.said...))
}

func (c *crowd) receive(t *rapid.T, m *member, from peer.ID, payload []byte) {
	if err := m.e.Receive(Message{From: from, Payload: payload}); errors.Is(err, chain.ErrInvalid) {
		t.Fatalf("%s refuses an announcement: %v", m, err)
	}
}

// tell writes the next news, question or answer of a node to a peer; false: there is none.
func (c *crowd) tell(m *member, p peer.ID) bool {
	l := m.e.links[p]
	if l == nil {
		return false
	}
	l.flush = true
	x, _, _ := m.e.pickUrgent(l)
	if x.frame == nil {
		return false
	}
	m.e.mailNews(l, x)
	c.put(parcel{m.id, p, x.frame.encode(), false})
	return true
}

// give writes a node's next chunk; false: there is none.
func (c *crowd) give(t *rapid.T, m *member) bool {
	x, p, _ := m.e.pick(time.Now())
	if x == nil {
		return false
	}
	x.busy = false
	for _, l := range m.e.ring {
		if l.post != x && !slices.Contains(l.lanes, x) {
			continue
		}
		if x.send != nil && p.news {
			m.e.postNotice(l, x.send, p.of)
		}
		switch {
		case !m.e.genuine(l, p):
			return true
		case x.send != nil:
			m.e.mail(l, x.send, p, p.frame.slices()...)
		default:
			c.put(parcel{m.id, l.id, p.frame.encode(), false})
		}
		if !p.of.ann.holds(p.frame.chunk, p.frame.bytes) {
			t.Fatalf("%s sends %s a chunk %d that was not signed", m, string(l.id), p.frame.chunk)
		}
	}
	return true
}

// arrive has a parcel arrive, or if it is a datagram perhaps get lost.
func (c *crowd) arrive(t *rapid.T) {
	if len(c.flight) == 0 {
		return
	}
	i := rapid.IntRange(0, len(c.flight)-1).Draw(t, "parcel")
	p := c.flight[i]
	c.flight = slices.Delete(c.flight, i, i+1)
	if c.calm || !p.datagram || rapid.IntRange(0, 3).Draw(t, "luck") > 0 {
		c.deliver(p)
	}
}

func (c *crowd) deliver(p parcel) {
	time.Sleep(time.Millisecond)
	for _, m := range c.nodes {
		switch {
		case m.id != p.to:
		case p.datagram:
			m.datagram(p.from, p.bytes)
		default:
			m.e.read(script{bytes.NewReader(p.bytes), p.from})
		}
	}
}

func (m *member) datagram(from peer.ID, b []byte) {
	if err := m.e.readDatagram(m.e.link(from), m.desks[from], b); err != nil {
		m.e.blame(from, err)
	}
	m.desks[from].clear(time.Now())
}

// review has a node look after its blocks. What it gives up in pieces comes whole, if it is one of a's.
func (c *crowd) review(m *member, whole func() bool) {
	before := len(m.e.order)
	fetch, _ := m.e.review(time.Now())
	m.e.expire(time.Now())
	c.calm = c.calm && len(m.e.order) == before
	for _, x := range fetch {
		for _, b := range c.blocks {
			if b.ID() == x.id && whole() {
				m.has[x.id] = true
				m.e.Taken(b)
			}
		}
	}
}

// part ends the connection of two nodes, which have another at once.
func (c *crowd) part(t *rapid.T) {
	if c.calm {
		return
	}
	i := rapid.IntRange(0, 2).Draw(t, "apart")
	m, o := c.nodes[i], c.nodes[(i+1)%3]
	for _, x := range [][2]*member{{m, o}, {o, m}} {
		if l := x[0].e.links[x[1].id]; l != nil {
			x[0].e.unlink(l)
		}
		c.flight = slices.DeleteFunc(c.flight, func(p parcel) bool { return p.from == x[0].id && p.to == x[1].id })
	}
}

// tag is one of a's, or more seldom another.
func (c *crowd) tag(t *rapid.T) tag {
	return oneOf(t, "tag", oneOf(t, "tag of a", c.named...), oneOf(t, "tag of a lie", c.tags[:lies]...), oneOf(t, "any tag", c.tags...))
}

// frame is any that evil may say.
func (c *crowd) frame(t *rapid.T) *frame {
	f := &frame{kind: rapid.ByteRange(frameChunk, frameRoute).Draw(t, "kind"), tag: c.tag(t), hops: rapid.Byte().Draw(t, "hops")}
	numbers := rapid.SliceOfN(rapid.IntRange(0, 25), 0, 30)
	block := rapid.IntRange(0, 1).Draw(t, "block")
	switch f.kind {
	case frameChunk:
		f.chunk = rapid.OneOf(rapid.IntRange(0, 22), rapid.Just(1<<16-1)).Draw(t, "chunk")
		chunks := c.chunks[block]
		f.bytes = oneOf(t, "bytes", chunks[f.chunk%len(chunks)], chunks[0], make([]byte, len(chunks[0])), []byte{1})
	case frameHave:
		f.flags = rapid.ByteRange(0, flagsEnd-1).Draw(t, "flags")
		f.acks, f.held = numbers.Draw(t, "acks"), numbers.Draw(t, "held")
	case frameAsk:
		f.asked = slices.Compact(slices.Sorted(slices.Values(numbers.Draw(t, "asked"))))
		if rapid.Bool().Draw(t, "within") {
			f.asked = slices.DeleteFunc(f.asked, func(i int) bool { return i >= len(c.blocks[1].Txs()) })
		}
	case frameTxs:
		txs := c.blocks[1].Txs()
		for _, i := range rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 23, 24}), 1, 4).Draw(t, "places") {
			f.txs = append(f.txs, numbered{i, oneOf(t, "raw", txs[i%len(txs)].Raw(), txs[0].Raw(), []byte{1, 2, 3})})
		}
	case frameRoute:
		f.port, f.query = rapid.Uint16Range(0, 1).Draw(t, "port"), rapid.Bool().Draw(t, "query")
	}
	return f
}

// lie has evil announce something, perhaps to several, or all that it can make up.
func (c *crowd) lie(t *rapid.T) {
	if c.calm {
		return
	}
	tell := oneOf(t, "whom", c.nodes[1:2], c.nodes[2:], c.nodes[1:], c.nodes)
	lies := [][]byte{oneOf(t, "lie", oneOf(t, "of a's blocks", c.lies[:lies]...), oneOf(t, "of any", c.lies...))}
	if rapid.IntRange(0, 3).Draw(t, "how many") == 0 {
		lies = c.lies
	}
	for _, m := range tell {
		for _, payload := range lies {
			_ = m.e.Receive(Message{From: evil, Payload: payload})
		}
	}
}

// say has evil write a frame, or what is none.
func (c *crowd) say(t *rapid.T) {
	m, _ := c.someone(t)
	raw := c.frame(t).encode()
	if rapid.IntRange(0, 7).Draw(t, "garbled") == 0 {
		raw = rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "garbage")
	}
	m.e.read(script{bytes.NewReader(raw), evil})
}

// answer has evil answer what it was asked for, rightly or not.
func (c *crowd) answer(t *rapid.T) {
	m, _ := c.someone(t)
	l := m.e.links[evil]
	for _, x := range m.e.order {
		if l == nil || !x.asked[l.slot] || x.block != nil {
			continue
		}
		f := &frame{kind: frameTxs, tag: x.tag}
		txs := c.blocks[1].Txs()
		for _, i := range append(x.puzzle.missing(), oneOf(t, "another place", 0, 1, 23)) {
			f.txs = append(f.txs, numbered{i, oneOf(t, "raw", txs[i].Raw(), txs[i].Raw(), txs[(i+1)%len(txs)].Raw(), []byte{1, 2, 3})})
		}
		f.txs = f.txs[rapid.IntRange(0, 1).Draw(t, "left out"):]
		m.e.read(script{bytes.NewReader(f.encode()), evil})
	}
}

// post has evil send datagrams: of a frame, of an announcement, or of nothing.
func (c *crowd) post(t *rapid.T) {
	m, _ := c.someone(t)
	f := c.frame(t)
	switch rapid.IntRange(0, 3).Draw(t, "what") {
	case 0:
		f.kind, f.chunk, f.bytes = frameChunk, notice, c.said[0]
		if !c.calm {
			f.bytes = oneOf(t, "notice", slices.Concat(c.said, c.lies)...)
		}
		if rapid.Bool().Draw(t, "its tag") {
			hash := announceHash(f.bytes[:len(f.bytes)-signatureBytes])
			f.tag = tag(hash[:])
		}
	case 1:
		m.datagram(evil, rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "garbage"))
		return
	}
	if f.kind != frameChunk {
		m.datagram(evil, f.body())
		return
	}
	for _, b := range f.slices() {
		m.datagram(evil, b)
	}
}

// flood has evil send all chunks of a block under some tag, over and over: more than is kept of what nobody announced.
func (c *crowd) flood(t *rapid.T) {
	m, _ := c.someone(t)
	tag := c.tag(t)
	var raw []byte
	for i, b := range oneOf(t, "block", c.chunks...) {
		raw = append(raw, (&frame{kind: frameChunk, tag: tag, chunk: i, bytes: b}).encode()...)
	}
	m.e.read(script{bytes.NewReader(bytes.Repeat(raw, 1+earlyPerPeer/len(raw))), evil})
}
