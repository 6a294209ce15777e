package p2p

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/p2p/swim"
	"github.com/pheme-net/pheme/p2p/trace"
)

// packetHost is a host with datagrams. Those of other hosts take no part in
// membership, and send chunks in streams alone.
type packetHost interface {
	// OpenPackets has take called with each datagram and who sent it for certain;
	// it returns the port they go to. known finds the member behind a tag.
	OpenPackets(known func(tag uint64) (peer.ID, bool), take func(from peer.ID, b []byte)) (port uint16, err error)
	// SendPacket sends a datagram once; it may wait for the uplink. introduce: the receiver may not know our tag.
	SendPacket(to peer.ID, at netip.AddrPort, b []byte, introduce bool)
	ClosePackets() error
}

// pooler is a backend that knows how many transactions it has.
type pooler interface{ PoolSize() int }

// members is this node's membership: the shell around a swim.Node, which only
// Run's goroutine touches. Others ask it to.
type members struct {
	net     *Net
	packets chan packet // bound: a tenth of a second of a storm; what does not fit is lost, as datagrams are
	calls   chan call
	ended   chan struct{}       // Run is over
	met     *inbox[peer.ID]     // dialled peers that came up: to push-pull with
	broken  *inbox[peer.ID]     // peers whose connection ended: to probe
	tags    sync.Map            // uint64 to peer.ID, for the host's goroutine
	moved   uint64              // Run's: bytes until the last look
	looked  time.Time           // Run's: when that was
	toldAt  time.Time           // Run's: when its bytes were last told
	toldIn  uint64              // Run's: bytes told by then
	toldOut uint64              // Run's
	where   map[swim.ID]located // Run's
	allowed map[peer.ID]*bucket // Run's
	running atomic.Bool
}

type packet struct {
	from peer.ID
	b    []byte
}

// call is something to be done with the swim.Node.
type call struct {
	do   func(s *swim.Node, now time.Time)
	done chan struct{}
}

// located is where a record's datagrams go.
type located struct {
	record *swim.Record
	at     netip.AddrPort
}

const (
	sealed      = 1 + 8 + sealLen // what a datagram has around its payload, but for introductions
	packetQueue = 256
	packetBurst = 1000 // datagrams one member may send in ten seconds; an honest one sends some tens
)

func newMembers(n *Net) *members {
	return &members{
		net: n, packets: make(chan packet, packetQueue), calls: make(chan call), ended: make(chan struct{}),
		met: newInbox[peer.ID](), broken: newInbox[peer.ID](),
		where: make(map[swim.ID]located), allowed: make(map[peer.ID]*bucket),
	}
}

// take is called by the host with each datagram. It must not block.
func (m *members) take(from peer.ID, b []byte) {
	if !m.running.Load() {
		return // nobody would take them out
	}
	m.net.meter.in[trace.ClassMember].Add(uint64(len(b) + sealed))
	select {
	case m.packets <- packet{from, b}:
	default:
		m.net.meter.dropped[trace.DropMembersFull].Add(1)
	}
}

func (m *members) known(tag uint64) (peer.ID, bool) {
	id, ok := m.tags.Load(tag)
	if !ok {
		return m.net.peers.tagged(tag)
	}
	return id.(peer.ID), true
}

// do runs f with the swim.Node on its goroutine and waits. It fails when
// membership does not run.
func (m *members) do(ctx context.Context, f func(s *swim.Node, now time.Time)) error {
	if !m.running.Load() {
		return ErrNotRunning
	}
	c := call{f, make(chan struct{})}
	select {
	case m.calls <- c:
	case <-m.ended:
		return ErrNotRunning
	case <-ctx.Done():
		return ctx.Err()
	}
	<-c.done // f waits for nothing
	return nil
}

// swimConfig is what the membership is told.
func (n *Net) swimConfig(key crypto.PrivKey) swim.Config {
	return swim.Config{
		ID: swim.ID(n.host.ID()), Network: n.network, Sign: key.Sign, Verify: verifyMember, Cache: n.cfg.Shared.members(),
		ProbeInterval: n.cfg.ProbeInterval, GossipInterval: n.cfg.NewsInterval, AggregateInterval: n.cfg.AggregateInterval,
	}
}

// verifyMember checks a signature by the member of a peer id, which is its key.
func verifyMember(id swim.ID, msg, sig []byte) bool {
	p := peer.ID(id)
	if p.Validate() != nil {
		return false
	}
	key, err := p.ExtractPublicKey()
	if err != nil {
		return false
	}
	ok, err := key.Verify(msg, sig)
	return ok && err == nil
}

// runMembers takes part in the membership until ctx ends, and says goodbye.
func (n *Net) runMembers(ctx context.Context, g *errgroup.Group) error {
	m := n.members
	defer close(m.ended)
	h, port := n.datagrams.host, n.datagrams.port
	key := n.host.Peerstore().PrivKey(n.host.ID())
	if port == 0 || n.cfg.NoMembers || key == nil {
		return nil
	}
	seed := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	s, err := swim.New(n.swimConfig(key), port, n.reachedAt(), seed, time.Now())
	if err != nil {
		return err
	}
	m.describe(s, time.Now())
	m.running.Store(true)
	defer m.running.Store(false)
	n.host.SetStreamHandler(swimProtocol, n.serveMembers)
	defer n.host.RemoveStreamHandler(swimProtocol)
	g.Go(func() error { return n.runPushPull(ctx) })
	m.loop(ctx, s, h, port)
	if err := s.Leave(time.Now()); err == nil {
		m.flush(s, h)
	}
	return nil
}

// loop is the owner of the swim.Node.
func (m *members) loop(ctx context.Context, s *swim.Node, h packetHost, port uint16) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	refresh := time.NewTimer(refreshMin)
	defer refresh.Stop()
	phased := false
	for {
		m.flush(s, h)
		m.tell(time.Now())
		timer.Reset(time.Until(s.Next()))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			s.Step(time.Now())
		case p := <-m.packets:
			m.receive(s, p, time.Now())
		case c := <-m.calls:
			c.do(s, time.Now())
			close(c.done)
		case <-m.broken.wake:
			for _, p := range m.broken.take() {
				s.Hint(time.Now(), swim.ID(p))
			}
		case now := <-refresh.C:
			if err := s.Move(now, port, m.net.reachedAt()); err != nil {
				log.Warnw("membership: our addresses cannot be told", "err", err)
			}
			if phased {
				m.describe(s, now)
			}
			after := refreshAfter(s.Size())
			if !phased { // nodes that start together must not all have news together
				after, phased = rand.N(after), true
			}
			refresh.Reset(after)
		}
	}
}

// receive hands a datagram to the swim.Node, unless far too many come of its sender
// or that is an outcast. It is not blamed for their number: whoever overhears a
// datagram can send it again.
func (m *members) receive(s *swim.Node, p packet, now time.Time) {
	b := m.allowed[p.from]
	if b == nil {
		if len(m.allowed) >= maxPairs {
			clear(m.allowed)
		}
		fresh := newBucket(packetBurst, 0, now)
		b = &fresh
		m.allowed[p.from] = b
	}
	if m.net.peers.penalty(p.from) <= graylist {
		return
	}
	if !b.take(1, 0, now) {
		m.net.meter.dropped[trace.DropMembersFull].Add(1)
		return
	}
	if err := s.Receive(now, swim.ID(p.from), p.b); errors.Is(err, swim.ErrInvalid) {
		m.net.punish(p.from, offenceProtocol, err)
	}
}

// flush sends what the swim.Node wants sent and tells what has changed.
func (m *members) flush(s *swim.Node, h packetHost) {
	for _, p := range s.Packets() {
		if at := m.locate(p.To); at.IsValid() {
			m.net.meter.out[trace.ClassMember].Add(uint64(len(p.B) + sealed))
			h.SendPacket(peer.ID(p.To.ID), at, p.B, p.Introduce)
		}
	}
	for _, c := range s.Changes() {
		id := peer.ID(c.ID)
		kind := trace.MemberAlive
		switch {
		case c.New:
			m.tags.Store(c.ID.Tag(), id)
			continue // no event: nothing had been said of it
		case c.Forgotten:
			m.tags.Delete(c.ID.Tag())
			delete(m.where, c.ID)
			continue
		case c.State == swim.Suspect:
			kind = trace.MemberSuspect
		case c.State >= swim.Dead:
			kind = trace.MemberDead
		}
		m.net.hook.Emit(trace.Event{At: m.net.clock.Now(), Kind: kind, Peer: trace.PeerTag(id.String())})
	}
}

// tellEvery is how often the bytes of membership are told: as one event each way, not one for each of some fifty small
// datagrams a second.
const tellEvery = time.Second

// tell emits what membership has received and sent since it was last told.
func (m *members) tell(now time.Time) {
	if now.Sub(m.toldAt) < tellEvery {
		return
	}
	m.toldAt = now
	at := m.net.clock.Now()
	for _, way := range []struct {
		kind trace.Kind
		sum  uint64
		told *uint64
	}{
		{trace.MsgRead, m.net.meter.in[trace.ClassMember].Load(), &m.toldIn},
		{trace.MsgWritten, m.net.meter.out[trace.ClassMember].Load(), &m.toldOut},
	} {
		if n := way.sum - *way.told; n > 0 {
			m.net.hook.Emit(trace.Event{At: at, Kind: way.kind, Class: trace.ClassMember, Size: uint32(n)})
			*way.told = way.sum
		}
	}
}

// Our record tells head, pool and version; it is refreshed every refreshMin, or
// less often among more than 20 members, so that all of them together make no
// more than two new records a second: each costs every member some 1,800 bytes.
const (
	refreshMin  = 10 * time.Second
	refreshEach = 500 * time.Millisecond
)

func refreshAfter(n int) time.Duration { return max(refreshMin, time.Duration(n)*refreshEach) }

// Keys of our record that are not an operator's.
const (
	keyHead    = "head"
	keyPool    = "pool"
	keyVersion = "version"
	maxVersion = 32 // bytes of it
)

// load is how many bytes a second the node has sent and received since the last look.
func (m *members) load(now time.Time) (rate uint64) {
	var sum uint64
	for c := range trace.NumClasses {
		sum += m.net.meter.in[c].Load() + m.net.meter.out[c].Load()
	}
	if took := now.Sub(m.looked).Seconds(); !m.looked.IsZero() && took > 0 {
		rate = uint64(float64(sum-m.moved) / took)
	}
	m.moved, m.looked = sum, now
	return rate
}

// describe writes what we are at present.
func (m *members) describe(s *swim.Node, now time.Time) {
	v := swim.Values{Head: m.net.chain.Head().Number.Uint64(), Load: m.load(now)}
	if p, ok := m.net.backend.(pooler); ok {
		v.Pool = uint64(p.PoolSize())
	}
	s.SetValues(v)
	version := m.net.cfg.UserAgent
	err := s.Set(now, map[string]string{
		keyHead: strconv.FormatUint(v.Head, 10), keyPool: strconv.FormatUint(v.Pool, 10), keyVersion: version[:min(len(version), maxVersion)],
	})
	if err != nil {
		log.Warnw("membership: our state cannot be told", "err", err)
	}
}

// MemberInfo describes a member of the network, as this node holds it.
type MemberInfo struct {
	ID          peer.ID
	State       string // "alive", "suspect", "dead" or "left"
	Since       time.Time
	Self        bool
	Incarnation uint64
	Addrs       []string
	Metadata    map[string]string
	RTT         time.Duration // 0: not measured
}

// Members lists all members known, ourselves first, then by id; nothing when
// membership does not run.
func (n *Net) Members(ctx context.Context) (out []MemberInfo) {
	var all []swim.Member
	if n.members.do(ctx, func(s *swim.Node, _ time.Time) { all = s.Members() }) != nil {
		return nil
	}
	for _, m := range all {
		info := MemberInfo{
			ID: peer.ID(m.Record.ID), State: m.State.String(), Since: m.Since, Self: m.Record.ID == swim.ID(n.host.ID()),
			Incarnation: m.Record.Incarnation, Metadata: map[string]string{}, RTT: m.RTT,
		}
		for _, e := range m.Record.Entries {
			info.Metadata[e.Key] = e.Value
		}
		for _, a := range addrsOf(m.Record) {
			info.Addrs = append(info.Addrs, a.String())
		}
		out = append(out, info)
	}
	return out
}

// Aggregate is what the network computed of itself; zero when membership does not
// run or is young.
func (n *Net) Aggregate(ctx context.Context) (a swim.Aggregate) {
	_ = n.members.do(ctx, func(s *swim.Node, _ time.Time) { a = s.Aggregate() })
	return a
}

// errReserved is an operator's key that the node writes itself.
var errReserved = errors.New("p2p: key is the node's own")

// SetMetadata writes entries of our record; an empty value removes the key. It
// fails for the node's own keys and where all would not fit.
func (n *Net) SetMetadata(ctx context.Context, entries map[string]string) error {
	for k := range entries {
		if slices.Contains([]string{keyHead, keyPool, keyVersion}, k) {
			return fmt.Errorf("%w: %q: choose another", errReserved, k)
		}
	}
	var err error
	if e := n.members.do(ctx, func(s *swim.Node, now time.Time) { err = s.Set(now, entries) }); e != nil {
		return e
	}
	return err
}
