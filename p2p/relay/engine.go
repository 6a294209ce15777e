package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
)

// engine is what all relays share: it understands every kind of message, and
// moves chunks and transactions over streams of its own. A relay differs from
// another only in how it publishes.
type engine struct {
	cfg     Config
	node    Node
	net     Network
	packets Packets
	hook    trace.Hook
	clock   trace.Clock
	seed    uint64
	limit   int // bytes of a block's transactions

	start   chan job      // to be started
	running atomic.Bool   // Run is there to start it
	teller  chan struct{} // one token: there is news
	stirred chan struct{} // one token: there is a transfer to look after
	pumping chan struct{} // one token: there may be a chunk to send

	mu      sync.Mutex
	uplink  uplink
	queue   queue
	links   map[peer.ID]*link
	ring    []*link // in turn
	turn    int
	numbers numbers
	live    map[tag]*transfer
	order   []*transfer // oldest first
	early   early
	past    past
	seen    slotCount
	share   share // of recent blocks, that was pooled
	stats   Stats
}

// maxWide is with how many peers a node exchanges chunks of its own accord, those of
// the mesh first: where packets are lost each connection carries little, and more of
// them carry more.
const maxWide = 20

// maxLive bounds the blocks under way and those still given to others.
const maxLive = 16

func newEngine(cfg Config, d Deps) *engine {
	if d.Packets == nil {
		d.Packets = noPackets{}
	}
	return &engine{
		cfg: cfg, node: d.Node, net: d.Network, packets: d.Packets, hook: d.Hook, clock: d.Clock, seed: trace.PeerTag(string(d.Self)), limit: d.MaxList,
		start: make(chan job, maxLinks), teller: make(chan struct{}, 1), stirred: make(chan struct{}, 1), pumping: make(chan struct{}, 1),
		links: make(map[peer.ID]*link), live: make(map[tag]*transfer), numbers: newNumbers(), early: newEarly(), seen: newSlotCount(),
	}
}

// Receive implements Relay.
func (e *engine) Receive(m Message) error {
	if len(m.Payload) == 0 {
		return fmt.Errorf("%w: empty", ErrMessage)
	}
	switch m.Payload[0] {
	case kindCompact, kindCoded:
		return e.announced(m, false)
	}
	b, err := DecodeGossip(m.Payload, e.node.DecodeBlock)
	if err != nil {
		return err
	}
	if err := e.node.Take(m, b); err != nil {
		return err
	}
	e.count(func(s *Stats) { s.Received.add(kindGossip) })
	return nil
}

// announced judges an announcement and begins the transfer of its block. posted: it
// came in datagrams, beside the block topic.
func (e *engine) announced(m Message, posted bool) error {
	known := func(id common.Hash) (bool, error) {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.again(m.Payload, id, posted)
	}
	if again, err := known(common.Hash{}); again { // its signatures have been judged, which takes its time
		return err
	}
	a, err := decodeAnnouncement(m.Payload, e.limit)
	if err != nil {
		return err
	}
	id := a.header.ID()
	if again, err := known(id); again {
		e.decline(a)
		return err
	}
	err = e.node.CheckHeader(a.header)
	second := errors.Is(err, chain.ErrSecondBlock)
	if err != nil && !second {
		if errors.Is(err, chain.ErrKnown) {
			e.decline(a)
		}
		return err
	}
	t := newTransfer(a, m.From, e.cfg.Budget, e.seed, time.Now())
	t.payload, t.posted = m.Payload, posted
	if a.kind == kindCompact {
		if t.puzzle, err = newPuzzle(a, newShortKey(id, a.body.Nonce).id, e.node.EachTx); err != nil {
			return err
		}
	}
	e.mu.Lock()
	if again, err := e.again(m.Payload, id, posted); again { // while the header was checked
		e.mu.Unlock()
		e.decline(a)
		return err
	}
	nth := e.seen.add(a.header.Slot(), id)
	if nth > perSlot {
		e.mu.Unlock()
		e.decline(a)
		return fmt.Errorf("%w %d", chain.ErrEquivocation, a.header.Slot())
	}
	if second && nth == 1 { // the first came whole, unannounced
		nth = e.seen.add(a.header.Slot(), common.Hash{})
	}
	if nth > 1 {
		t.doubt = fmt.Errorf("%w %d", chain.ErrSecondBlock, a.header.Slot())
	}
	e.enter(t)
	t.informed(e.links[m.From])
	e.stats.Received.add(a.kind)
	if t.puzzle != nil {
		e.compared(t.puzzle.pooled, a.shape.size)
	}
	waiting := e.early.take(t.tag)
	e.mu.Unlock()
	if t.puzzle != nil || len(waiting) > 0 {
		e.beside(func() {
			if t.puzzle != nil {
				e.solve(t, t.puzzle)
			}
			for _, w := range waiting {
				if err := e.handle(w.from, w.frame); err != nil {
					e.blame(w.from, err)
				}
			}
		})
	}
	return t.doubt
}

// beside does what a verdict must not wait for: the announcement goes on meanwhile.
func (e *engine) beside(do func()) {
	if e.running.Load() {
		select {
		case e.start <- func(context.Context) { do() }:
			return
		default:
		}
	}
	do()
}

// again says whether an announcement, or the block it is of, has been announced already, and
// what its sender is told then: the first one counts, which the block topic passes on once
// even if it came in datagrams. An id of zeros is not known yet. The mutex is held.
func (e *engine) again(payload []byte, id common.Hash, posted bool) (bool, error) {
	for _, t := range e.order {
		same := bytes.Equal(t.payload, payload)
		if !same && t.id != id {
			continue
		}
		if same && t.posted && !posted {
			t.posted = false
			return true, t.doubt
		}
		return true, fmt.Errorf("%w: %s is announced already", chain.ErrKnown, t.id)
	}
	return false, nil
}

// enter puts a transfer among the live ones, in place of the oldest if there are
// too many, and joins the peers to it. The mutex is held.
func (e *engine) enter(t *transfer) {
	if len(e.order) >= maxLive {
		e.drop(e.order[max(0, slices.IndexFunc(e.order, func(t *transfer) bool { return t.block != nil }))])
	}
	e.live[t.tag] = t
	e.order = append(e.order, t)
	for i, p := range e.net.Peers() {
		if i == maxWide {
			break
		}
		e.link(p)
	}
	poke(e.stirred)
}

// byID is the transfer of a block, nil without one. The mutex is held.
func (e *engine) byID(id common.Hash) *transfer {
	for _, t := range e.order {
		if t.id == id {
			return t
		}
	}
	return nil
}

func (e *engine) drop(t *transfer) {
	delete(e.live, t.tag)
	e.past.add(t.tag, t.id)
	for i, o := range e.order {
		if o == t {
			e.order = append(e.order[:i], e.order[i+1:]...)
			break
		}
	}
}

// originBudget is how often the origin of a block sends one chunk: its neighbours
// can pass on what it has sent once, and its uplink is what all wait for.
const originBudget = 2

// publish announces a block of ours.
func (e *engine) publish(b *chain.Block, kind byte, push bool) error {
	list := b.TxList()
	shape := shapeOf(len(list))
	chunks, err := shape.encode(list)
	if err != nil {
		return err
	}
	leaves := leavesOf(chunks)
	e.node.Charge(shape.total() * shape.chunk)
	a := &announcement{kind: kind, header: b.SignedHeader, shape: shape}
	a.body = announced{Header: b.SignedHeader.Encode(), Push: push, Size: uint64(len(list)), Leaves: leaves}
	if kind == kindCompact {
		if err := a.describe(b, func(x *chain.Tx) bool { return e.node.Tx(x.Hash()) == nil }); err != nil {
			return err
		}
	}
	payload, err := a.encode(e.node.Sign)
	if err != nil {
		return err
	}
	t := newTransfer(a, "", min(e.cfg.Budget, originBudget), e.seed, time.Now())
	t.payload, t.chunks = payload, chunks
	for i, c := range chunks {
		t.put(i, c, 0)
	}
	t.finish(b, 0)
	e.mu.Lock()
	e.seen.add(a.header.Slot(), t.id)
	e.enter(t)
	e.stats.Published.add(kind)
	e.mu.Unlock()
	if err := e.node.Gossip(payload); err != nil { // before the first chunk is on its way
		return err
	}
	e.mu.Lock()
	e.proclaim(t) // so that who is short of chunks knows whom to ask
	e.mu.Unlock()
	poke(e.pumping)
	return nil
}

// publishWhole sends a block of ours in one message.
func (e *engine) publishWhole(b *chain.Block) error {
	e.count(func(s *Stats) { s.Published.add(kindGossip) })
	return e.node.Gossip(EncodeGossip(b))
}

// Taken implements Relay.
func (e *engine) Taken(b *chain.Block) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.byID(b.ID())
	switch {
	case t == nil || t.block != nil:
	case t.failed || len(b.TxList()) != t.ann.shape.size: // its proposer signed something else, which is of no use to anybody
		e.drop(t)
	default:
		e.completed(t, b, t.swarm.farthest())
	}
}

// proclaim tells the mesh that a block is complete here. The mutex is held.
func (e *engine) proclaim(t *transfer) {
	for _, l := range e.links {
		n := t.tell(l.slot)
		n.flags |= flagDone
		n.held = nil
		l.flush = true
		poke(l.wake)
	}
}

// Run implements Relay.
func (e *engine) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	e.running.Store(true)
	g.Go(func() error { return e.tell(ctx) })
	g.Go(func() error { return e.care(ctx) })
	g.Go(func() error { return e.pump(ctx) })
	e.net.Handle(func(s Stream) { e.read(s) })
	e.packets.Take(e.take)
	for {
		select {
		case <-ctx.Done():
			return g.Wait()
		case do := <-e.start:
			g.Go(func() error { do(ctx); return nil })
		}
	}
}

// tell gathers news for Config.Tell and then has all of it told.
func (e *engine) tell(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.teller:
		}
		timer.Reset(e.cfg.Tell)
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		e.mu.Lock()
		for _, l := range e.links {
			l.flush = true
			poke(l.wake)
		}
		e.mu.Unlock()
	}
}

// care looks after the live transfers and the early frames: it asks where nothing comes,
// and drops what is over.
func (e *engine) care(ctx context.Context) error {
	tick := time.NewTicker(e.cfg.Stall / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.stirred:
		}
		for busy := true; busy; {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			var fetch []*transfer
			fetch, busy = e.review(time.Now())
			busy = e.expire(time.Now()) || busy
			for _, t := range fetch {
				e.node.Fetch(e.giver(t), t.id, t.ann.header.Number())
			}
		}
	}
}

// maxAsks is how often a block's peers are asked for chunks before the whole
// block is fetched.
const maxAsks = 3

// review returns the blocks to be fetched whole; busy: there are live transfers.
func (e *engine) review(now time.Time) (fetch []*transfer, busy bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.links {
		l.pace.expire(now)
		e.steer(l, now)
	}
	for i := 0; i < len(e.order); i++ {
		t := e.order[i]
		e.askElsewhere(t, now)
		switch {
		case t.block != nil && now.Sub(t.used) > e.cfg.Keep, now.Sub(t.used) > 10*e.cfg.Keep:
			e.drop(t)
			i--
		case t.block != nil || t.opening || now.Sub(t.gained) < e.patience():
		case t.failed || t.asks >= maxAsks:
			fetch = append(fetch, t)
			e.stats.FetchedWhole++
			t.gained, t.asks = now, 0
		default:
			e.want(t)
			e.plead(t)
			t.gained = now
			t.asks++
		}
	}
	return fetch, len(e.order) > 0
}

// patience is how long a block may gain nothing.
func (e *engine) patience() time.Duration {
	rtt := time.Duration(0)
	for _, l := range e.links {
		rtt = max(rtt, l.pace.rtt())
	}
	return max(e.cfg.Stall, 2*min(rtt, slowest))
}

// slowest is the longest round trip that others wait for: what a peer acknowledges late must not
// hold up all.
const slowest = time.Second

// plead asks two peers that hold most of what is missing for all of it, the
// following two the next time. The mutex is held.
func (e *engine) plead(t *transfer) {
	best := e.byUse(t)
	for i := range min(2, len(best)) {
		l := best[(2*t.asks+i)%len(best)]
		t.reveal(t.tell(l.slot), flagWant|flagStarved)
		l.flush = true
		poke(l.wake)
	}
}

// giver is whom to ask for a whole block: a peer that has it, else who announced
// it.
func (e *engine) giver(t *transfer) peer.ID {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.byUse(t) {
		if t.swarm.view(l.slot).done {
			return l.id
		}
	}
	return t.from
}

// poke puts the one token into a channel that wakes somebody.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
