package relay

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
)

// compact announces a block with short ids, from which peers put it together out
// of their pools. They ask for what little they lack, and for chunks if it is much.
type compact struct{ *engine }

// Name implements Relay.
func (c *compact) Name() string { return "compact" }

// Publish implements Relay.
func (c *compact) Publish(b *chain.Block) error {
	if b.BodySize() <= c.cfg.Whole {
		return c.publishWhole(b)
	}
	return c.publish(b, kindCompact, false)
}

// describe writes the short ids of a block's transactions into an announcement,
// under the first key that keeps them apart, and the transactions whole that
// absent says peers do not hold, as far as there is room.
func (a *announcement) describe(b *chain.Block, absent func(*chain.Tx) bool) error {
	txs := b.Txs()
	for nonce := uint64(0); ; nonce++ {
		key := newShortKey(b.ID(), nonce)
		ids := make([]byte, 0, len(txs)*shortBytes)
		seen := make(map[shortID]bool, len(txs))
		for _, x := range txs {
			id := key.id(x.Hash())
			seen[id] = true
			ids = append(ids, id[:]...)
		}
		if len(seen) == len(txs) || nonce == maxNonce {
			a.body.IDs, a.body.Nonce = ids, nonce
			break
		}
	}
	room := maxPrefill
	for i, x := range txs {
		a.body.Sizes = binary.AppendUvarint(a.body.Sizes, uint64(len(x.Raw())))
		if len(x.Raw()) <= room && absent(x) {
			room -= len(x.Raw())
			a.body.Prefilled = append(a.body.Prefilled, prefilled{uint64(i), x.Raw()})
		}
	}
	return a.layout()
}

const (
	maxNonce   = 16       // keys tried; ten thousand ids collide under one in 5,600,000
	maxPrefill = 10 << 10 // bytes, as BIP 152 recommends: they go to every peer
	// lackShare is the share of a block's bytes up to which a node asks for single
	// transactions. They cost a round trip each hop and come from one peer; above it
	// chunks from all peers are sooner here.
	lackShare = 0.1
	// parkTime is how long a question for transactions that are not here yet waits.
	parkTime = 500 * time.Millisecond
)

// puzzle is a block that is put together of a pool and answers. It is a pure state
// machine.
type puzzle struct {
	parts  []part
	txs    []*chain.Tx
	lack   int // transactions
	bytes  int // of them
	pooled int // bytes that the pool gave
	bad    bool
}

// newPuzzle solves what it can: prefilled are decoded here, each calls its
// argument for every pooled transaction, id gives the short id of one. A short id
// that two transactions of the pool have, or that stands twice in the block, is
// left open: nobody is to blame for it. Errors wrap chain.ErrInvalid.
func newPuzzle(a *announcement, id func(common.Hash) shortID, each func(func(*chain.Tx))) (*puzzle, error) {
	p := &puzzle{parts: a.parts, txs: make([]*chain.Tx, len(a.parts)), lack: len(a.parts)}
	for _, x := range a.parts {
		p.bytes += x.size
	}
	for _, f := range a.body.Prefilled {
		x, err := chain.DecodeTx(f.Raw)
		if err != nil {
			return nil, err
		}
		if id(x.Hash()) != a.parts[f.Index].id {
			return nil, fmt.Errorf("%w: announcement: prefilled transaction %d has another id", ErrMessage, f.Index)
		}
		p.set(int(f.Index), x)
	}
	at := make(map[shortID]int, len(a.parts))
	for i, x := range a.parts {
		if _, twice := at[x.id]; twice {
			i = -1
		}
		at[x.id] = i
	}
	found := make(map[int]*chain.Tx)
	each(func(x *chain.Tx) {
		i, ok := at[id(x.Hash())]
		if !ok || i < 0 || len(x.Raw()) != a.parts[i].size {
			return
		}
		if other, twice := found[i]; twice && (other == nil || other.Hash() != x.Hash()) {
			x = nil
		}
		found[i] = x
	})
	for i, x := range found {
		if x != nil && p.set(i, x) {
			p.pooled += len(x.Raw())
		}
	}
	return p, nil
}

// set puts a transaction in its place; false: there is one.
func (p *puzzle) set(i int, x *chain.Tx) bool {
	if p.txs[i] != nil {
		return false
	}
	p.txs[i] = x
	p.lack--
	p.bytes -= p.parts[i].size
	return true
}

// clear takes all transactions out again: one of them was not the block's.
func (p *puzzle) clear() {
	clear(p.txs)
	p.lack, p.bytes, p.bad = len(p.txs), 0, true
	for _, x := range p.parts {
		p.bytes += x.size
	}
}

// missing lists the places that are open.
func (p *puzzle) missing() (out []int) {
	for i, x := range p.txs {
		if x == nil {
			out = append(out, i)
		}
	}
	return out
}

// chunk returns data chunk i of the block if all transactions in it are here.
func (p *puzzle) chunk(s shape, i int) []byte {
	begin, end := i*s.chunk, min((i+1)*s.chunk, s.size)
	out := make([]byte, 0, s.chunk)
	for k, x := range p.parts {
		if x.end <= begin || x.offset >= end {
			continue
		}
		if p.txs[k] == nil {
			return nil
		}
		str := appendRLPString(nil, p.txs[k].Raw())
		out = append(out, str[max(begin, x.offset)-x.offset:min(end, x.end)-x.offset]...)
	}
	return append(out, make([]byte, s.chunk-len(out))...)
}

// appendRLPString appends the RLP string of a transaction, which is longer than
// one byte.
func appendRLPString(out, raw []byte) []byte {
	switch n := len(raw); {
	case n < 56:
		out = append(out, 0x80+byte(n))
	case n < 1<<8:
		out = append(out, 0xb8, byte(n))
	case n < 1<<16:
		out = append(out, 0xb9, byte(n>>8), byte(n))
	default:
		out = append(out, 0xba, byte(n>>16), byte(n>>8), byte(n))
	}
	return append(out, raw...)
}

// solve does with a compact announcement what the pool allows: completes the
// block, or asks for what it lacks.
func (e *engine) solve(t *transfer, p *puzzle) {
	if p.lack == 0 {
		e.mu.Lock()
		may := t.begin(true)
		e.mu.Unlock()
		if !may || e.solved(t.from, t, p) {
			return
		}
	}
	few := !p.bad && float64(p.bytes) <= lackShare*float64(t.ann.shape.size)
	var known [][]byte
	if !few {
		known = make([][]byte, t.ann.shape.data)
		for i := range known {
			if c := p.chunk(t.ann.shape, i); c != nil && t.ann.holds(i, c) {
				known[i] = c
			}
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if t.block != nil {
		return
	}
	if few {
		e.ask(t, t.from)
		return
	}
	for i, c := range known {
		if c != nil && t.put(i, c, 0) {
			e.gained(nil, t, i)
		}
	}
	poke(e.teller)
	e.want(t)
}

// want asks the whole mesh to push chunks. The mutex is held.
func (e *engine) want(t *transfer) {
	if t.wanted {
		return
	}
	t.wanted = true
	for _, l := range e.links {
		t.tell(l.slot).flags |= flagWant
		l.flush = true
		poke(l.wake)
	}
}

// ask asks a peer for the transactions that a puzzle lacks. The mutex is held.
func (e *engine) ask(t *transfer, p peer.ID) {
	l := e.link(p)
	lack := t.puzzle.missing()
	if l == nil || len(lack) == 0 { // who asks for nothing is no honest peer
		return
	}
	t.asked[l.slot], t.askedAt = true, time.Now()
	l.say(&frame{kind: frameAsk, tag: t.tag, asked: lack}, t.id)
}

// maxAskees is how many peers are asked for one block's transactions, one after the
// other: each may answer with all of them.
const maxAskees = 3

// askElsewhere asks a peer that has the block for the transactions that another was
// asked for and has not given: it waits for them itself. The mutex is held.
func (e *engine) askElsewhere(t *transfer, now time.Time) {
	if t.block != nil || t.opening || t.wanted || len(t.asked) == 0 || len(t.asked) >= maxAskees || now.Sub(t.askedAt) < e.patience()*3/4 {
		return
	}
	for _, l := range e.byUse(t) {
		if t.swarm.view(l.slot).done && !t.asked[l.slot] {
			e.ask(t, l.id)
			return
		}
	}
}

// solved makes the block of a puzzle without gaps, which begin has allowed. false: a short id
// stood for another transaction, and all is open again.
func (e *engine) solved(from peer.ID, t *transfer, p *puzzle) bool {
	b, err := chain.NewBlock(t.ann.header, p.txs)
	if err != nil {
		e.mu.Lock()
		p.clear()
		t.opening = false
		open := t.begin(t.swarm.complete() && !t.failed) // by chunks that came meanwhile
		e.mu.Unlock()
		if open {
			e.open(from, t)
		}
		return false
	}
	e.pieced(t, false)
	_ = e.node.Complete(from, b, Way{Pool: true}) // what it thinks of the block is no business of ours
	e.mu.Lock()
	defer e.mu.Unlock()
	t.opening = false
	e.completed(t, b, 0)
	return true
}

// gotAsk answers what can be answered, and parks the rest until it can.
func (e *engine) gotAsk(l *link, t *transfer, f *frame) error {
	if t.ann.kind != kindCompact || f.asked[len(f.asked)-1] >= len(t.ann.parts) {
		return fmt.Errorf("%w: asks for transaction %d", errFrame, f.asked[len(f.asked)-1])
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	q := t.parked[l.slot]
	if q == nil {
		q = &question{served: newBitmap(len(t.ann.parts))}
		t.parked[l.slot] = q
	}
	if e.withholds(t) {
		return nil
	}
	q.open, q.until = f.asked, time.Now().Add(parkTime)
	e.answer(l, t, q, time.Now())
	return nil
}

// question is what one peer wants to know of a block.
type question struct {
	open   []int
	until  time.Time
	served bitmap // told once: not told again
}

// answer tells a peer the transactions it asked for and that are here. The mutex
// is held.
func (e *engine) answer(l *link, t *transfer, q *question, now time.Time) {
	if now.After(q.until) {
		q.open = nil
		return
	}
	key := newShortKey(t.id, t.ann.body.Nonce)
	var later []int
	f := &frame{kind: frameTxs, tag: t.tag}
	size := 0
	for _, i := range q.open {
		if q.served.get(i) {
			continue
		}
		raw := t.raw(i, key)
		if raw == nil {
			later = append(later, i)
			continue
		}
		if len(l.urgent) >= maxUrgent {
			break
		}
		q.served.set(i)
		f.txs = append(f.txs, numbered{i, slices.Clone(raw)}) // of its own, so that a peer that does not read holds no block
		e.stats.TxsServed++
		if size += len(raw) + 2*binary.MaxVarintLen32; size > maxTxsBytes-chain.MaxTxBytes {
			l.say(f, t.id)
			f, size = &frame{kind: frameTxs, tag: t.tag}, 0
		}
	}
	if len(f.txs) > 0 {
		l.say(f, t.id)
	}
	q.open = later
}

// answerAll looks at the parked questions again. The mutex is held.
func (e *engine) answerAll(t *transfer) {
	for _, l := range e.links {
		if q := t.parked[l.slot]; q != nil && len(q.open) > 0 {
			e.answer(l, t, q, time.Now())
		}
	}
}

// raw is transaction i of a block as far as it is here, else nil. It is also nil
// where the proposer has described another than the block has, since who asks
// would take ours for wrong.
func (t *transfer) raw(i int, key shortKey) []byte {
	var x *chain.Tx
	switch {
	case t.block != nil && i < len(t.block.Txs()):
		x = t.block.Txs()[i]
	case t.puzzle != nil:
		x = t.puzzle.txs[i]
	}
	if p := t.ann.parts[i]; x == nil || len(x.Raw()) != p.size || key.id(x.Hash()) != p.id {
		return nil
	}
	return x.Raw()
}

// gotTxs puts answers into their places. What was not asked for, or came before,
// is nothing.
func (e *engine) gotTxs(l *link, t *transfer, f *frame) error {
	e.mu.Lock()
	idle := t.block != nil || t.puzzle == nil || !t.asked[l.slot]
	e.mu.Unlock()
	if idle {
		return nil
	}
	key := newShortKey(t.id, t.ann.body.Nonce)
	txs := make([]*chain.Tx, len(f.txs))
	for k, n := range f.txs {
		x, err := chain.DecodeTx(n.raw)
		if err != nil {
			return err
		}
		if n.index >= len(t.ann.parts) || key.id(x.Hash()) != t.ann.parts[n.index].id || len(n.raw) != t.ann.parts[n.index].size {
			return fmt.Errorf("%w: transaction %d of block %s is another", errFrame, n.index, t.id)
		}
		txs[k] = x
	}
	e.mu.Lock()
	p := t.puzzle
	for k, n := range f.txs {
		if t.block == nil && p.set(n.index, txs[k]) {
			t.gained = time.Now()
			e.stats.TxsFetched++
		}
	}
	whole := t.begin(p.lack == 0)
	e.answerAll(t)
	e.mu.Unlock()
	if !whole || e.solved(l.id, t, p) {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if t.block == nil { // a collision: chunks know none
		e.want(t)
	}
	return nil
}

// share is how much of recent blocks this node had pooled beforehand.
type share struct {
	value float64
	known bool
}

// note takes a block's share in; the last few blocks count.
func (s *share) note(v float64) {
	if !s.known {
		s.value, s.known = v, true
		return
	}
	s.value += (v - s.value) / 2
}

// counted is node.Tx that counts the bytes it finds.
func counted(tx func(common.Hash) *chain.Tx, found *int) func(common.Hash) *chain.Tx {
	return func(h common.Hash) *chain.Tx {
		x := tx(h)
		if x != nil {
			*found += len(x.Raw())
		}
		return x
	}
}
