package swim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Packet is a datagram to send: once, without retry.
type Packet struct {
	To *Record // whom, with its addresses
	B  []byte
	// Introduce: To may not know us yet, so the carrier says in full who we are.
	Introduce bool
}

// State is what a member is held for.
type State uint8

// The states of a member. They only move alive -> suspect -> dead, and back to
// alive by word of the member itself.
const (
	Alive State = iota
	Suspect
	Dead
	Left // said goodbye
)

var stateNames = [...]string{"alive", "suspect", "dead", "left"}

// String returns "alive", "suspect", "dead" or "left".
func (s State) String() string { return stateNames[s] }

// Change is a member that is held for something else than before.
type Change struct {
	ID        ID
	State     State
	New       bool // it was not known before
	Forgotten bool // it is known no more; State is the last
}

// Counters count what a Node met since it was made.
type Counters struct {
	Probes, ProbesFailed uint64 // ours
	Suspicions           uint64 // begun, by us or on hearsay
	Refutations          uint64 // of accusations of ourselves
	Cleared              uint64 // suspicions ended by an answer of the suspect to us
	Deaths               uint64 // confirmed
	BadRecords           uint64 // refused: signature, bounds, incarnation
	Full                 uint64 // members not taken for lack of room
}

// Node is one member's view of all. It is not safe for concurrent use: its owner
// calls Step when Next is due and Receive when a datagram has come, and after
// either sends what Packets returns and tells what Changes returns.
type Node struct {
	cfg  Config
	rng  *rand.Rand
	self *Record
	tag  uint64

	members map[uint64]*member // all but ourselves
	alive   []*member          // those not dead
	dead    []*member
	ring    []*member // in the order to probe; the dead are skipped
	next    int       // of the ring
	buckets [numBuckets]uint64
	quiet   int    // push-pulls since one brought a member
	speaker uint64 // the sender of the datagram that is being read; 0: none is

	agenda    agenda
	queue     queue
	probes    map[uint64]*probe
	relays    map[uint64]relay
	seq       uint64
	awareness int           // Lifeguard's local health: 0 is well
	rtt       time.Duration // of all members, smoothed
	rttDev    time.Duration
	gossiping bool
	young     bool
	born      uint64    // Unix milliseconds
	refuted   time.Time // last
	refuting  bool      // a refutation waits for RefuteGap

	round aggregation

	out     []Packet
	changes []Change
	count   Counters
}

// New returns a member that knows nobody. port and addrs say where it is
// reached: the port of its datagrams, and multiaddrs.
func New(cfg Config, port uint16, addrs [][]byte, rng *rand.Rand, now time.Time) (*Node, error) {
	cfg, err := cfg.fill()
	if err != nil {
		return nil, err
	}
	ms := uint64(now.UnixMilli())
	n := &Node{
		cfg: cfg, rng: rng, born: ms, tag: cfg.ID.Tag(), seq: rng.Uint64N(1 << 20),
		self:    &Record{ID: cfg.ID, Incarnation: ms, Version: ms, Port: port, Addrs: addrs},
		members: make(map[uint64]*member), probes: make(map[uint64]*probe), relays: make(map[uint64]relay),
	}
	if err := n.self.sign(&n.cfg); err != nil {
		return nil, err
	}
	n.bucket(n.tag, n.self)
	n.young = true
	n.agenda.add(now.Add(youth), func(time.Time) { n.young = false })
	n.every(cfg.ProbeInterval, n.cfg.probePause, n.probeNext, now)
	n.every(cfg.ReviveInterval, n.revivePause, n.revive, now)
	n.startRounds(now)
	return n, nil
}

// youth is how long after its start a member introduces itself in each message:
// several times what news takes to reach everybody.
const youth = 5 * time.Second

// every does something again and again, first after a random part of the interval.
func (n *Node) every(interval time.Duration, pause func(*Node) time.Duration, do func(now time.Time), now time.Time) {
	var again func(now time.Time)
	again = func(now time.Time) {
		do(now)
		n.agenda.add(now.Add(pause(n)), again)
	}
	n.agenda.add(now.Add(time.Duration(n.rng.Int64N(int64(interval)))), again)
}

func (n *Node) revivePause(*Node) time.Duration { return n.cfg.ReviveInterval }

// Next returns when Step is due.
func (n *Node) Next() time.Time { return n.agenda.items[0].at }

// Step does what is due by now.
func (n *Node) Step(now time.Time) { n.agenda.run(now) }

// Receive takes a datagram. The carrier vouches for from. An error wraps
// ErrInvalid and means that no honest member sends this.
func (n *Node) Receive(now time.Time, from ID, b []byte) error {
	m, err := DecodeMessage(b)
	if err != nil {
		return err
	}
	n.agenda.run(now)
	tag := from.Tag()
	if tag == n.tag {
		return nil // our own, from a former life or another place
	}
	n.speaker = tag
	err = n.learn(now, m)
	n.speaker = 0
	if err != nil {
		return err
	}
	peer := n.members[tag]
	if peer == nil {
		peer = n.guest(now, from, m)
	}
	if peer == nil || peer.state >= Dead && m.Kind != kindPing {
		return nil // to be answered, it must be known; its record comes with its first messages
	}
	switch m.Kind {
	case kindPing:
		n.send(peer, &message{Kind: kindAck, Seq: m.Seq})
	case kindPingReq:
		n.probeFor(now, peer, m)
	case kindAck, kindNack:
		n.answered(now, peer, m)
	case kindShare:
		n.share(now, peer, m)
	case kindShared:
		n.shared(now, peer, m)
	}
	return nil
}

// guest is the sender of a ping that says who it is and for whom there is no room: nil, if it is no such ping. Were it not
// answered, it would hold us for dead, and with others like us everybody.
func (n *Node) guest(now time.Time, from ID, m *message) *member {
	for _, raw := range m.Records {
		if r, err := DecodeRecord(raw); m.Kind == kindPing && err == nil && r.ID == from && !r.Left && !r.ahead(now) {
			return &member{tag: from.Tag(), record: r} // learn has checked the signature
		}
	}
	return nil
}

// learn takes the news in a message.
func (n *Node) learn(now time.Time, m *message) error {
	for _, raw := range m.Records {
		if err := n.mergeRaw(now, raw, true); err != nil {
			return err
		}
	}
	for _, a := range m.Accusations {
		n.accused(now, a)
	}
	return nil
}

// send fills a message up with news and sends it. A suspect is first of all told
// of its suspicion (Lifeguard's buddy system), and one that may not know us is
// told who we are.
func (n *Node) send(to *member, m *message) {
	room := MaxPacket - 48 - len(m.Shares)*maxShare // the largest fixed part
	if to.suspicion != nil {
		m.add(&news{accuse: to.suspicion.first})
		room -= minNews
	}
	if to.state >= Dead {
		m.add(&news{accuse: accusation{Dead: true, Subject: to.tag, Incarnation: to.record.Incarnation, Accuser: n.tag}})
		room -= minNews
	}
	if n.young {
		m.add(&news{record: n.self})
		room -= len(n.self.raw)
	}
	n.queue.take(m, room, n.cfg.transmits(n.size()))
	if m.Kind == kindGossip && len(m.Records)+len(m.Accusations) == 0 {
		return // all of it is stale
	}
	n.out = append(n.out, Packet{to.record, m.encode(), n.young})
}

// Member returns the id behind a tag, of a member that is known.
func (n *Node) Member(tag uint64) (ID, bool) {
	m := n.members[tag]
	if m == nil {
		return "", false
	}
	return m.record.ID, true
}

// Packets returns what is to be sent, once.
func (n *Node) Packets() []Packet {
	out := n.out
	n.out = nil
	return out
}

// Changes returns who has changed, in order, once.
func (n *Node) Changes() []Change {
	out := n.changes
	n.changes = nil
	return out
}

// Counters returns what was counted.
func (n *Node) Counters() Counters { return n.count }

// Self returns our own record.
func (n *Node) Self() *Record { return n.self }

// size is the number of members alive, with ourselves.
func (n *Node) size() int { return len(n.alive) + 1 }

// Set writes entries of our metadata; an empty value removes the key. Either all
// are written or none: ErrTooBig if they would not fit.
func (n *Node) Set(now time.Time, entries map[string]string) error {
	m := n.self.Entries
	for k, v := range entries {
		if m.Get(k) != v {
			m = m.set(k, v, now)
		}
	}
	m = slices.DeleteFunc(slices.Clone(m), func(e Entry) bool { return e.Value == "" })
	if err := m.check(); err != nil {
		return err
	}
	if slices.Equal(m, n.self.Entries) {
		return nil
	}
	return n.revise(now, func(r *Record) { r.Entries = m })
}

// Move writes where we are reached.
func (n *Node) Move(now time.Time, port uint16, addrs [][]byte) error {
	if port == n.self.Port && slices.EqualFunc(addrs, n.self.Addrs, func(a, b []byte) bool { return string(a) == string(b) }) {
		return nil
	}
	return n.revise(now, func(r *Record) { r.Port, r.Addrs = port, addrs })
}

// Leave says goodbye: the packets that follow tell a few members, who tell the rest.
func (n *Node) Leave(now time.Time) error {
	if err := n.revise(now, func(r *Record) { r.Left = true }); err != nil {
		return err
	}
	for _, m := range n.some(2*n.cfg.GossipNodes, nil) {
		n.send(m, &message{Kind: kindGossip})
	}
	return nil
}

// revise changes our record and tells everybody.
func (n *Node) revise(now time.Time, change func(*Record)) error {
	r := *n.self
	r.Version = max(r.Version+1, uint64(now.UnixMilli()))
	change(&r)
	if err := r.sign(&n.cfg); err != nil {
		return fmt.Errorf("swim: own record: %w", err)
	}
	n.bucket(n.tag, n.self) // out
	n.bucket(n.tag, &r)     // in
	n.self = &r
	n.tell(now, &news{record: n.self})
	return nil
}

// some returns up to k random members that are not dead, but for one.
func (n *Node) some(k int, not *member) (out []*member) {
	for tries := 0; len(out) < k && tries < 4*k && len(n.alive) > 0; tries++ {
		m := n.alive[n.rng.IntN(len(n.alive))]
		if m != not && !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	return out
}

// tell queues news and makes sure that it goes out.
func (n *Node) tell(now time.Time, x *news) {
	n.queue.add(x)
	if !n.gossiping {
		n.gossiping = true
		n.agenda.add(now.Add(time.Duration(n.rng.Int64N(int64(n.cfg.GossipInterval)))), n.gossip)
	}
}

// gossip tells a few members what is new, while anything is.
func (n *Node) gossip(now time.Time) {
	if n.queue.empty() {
		n.gossiping = false
		return
	}
	for _, m := range n.some(n.cfg.GossipNodes, nil) {
		if !n.queue.empty() {
			n.send(m, &message{Kind: kindGossip})
		}
	}
	n.agenda.add(now.Add(n.cfg.GossipInterval), n.gossip)
}

// Member is a member as it is held.
type Member struct {
	Record *Record
	State  State
	Since  time.Time
	RTT    time.Duration // of probes, 0: not measured
}

// Members lists ourselves, then all others known by their ids.
func (n *Node) Members() []Member {
	out := make([]Member, 0, 1+len(n.members))
	for _, m := range n.members {
		out = append(out, Member{m.record, m.state, m.since, m.rtt})
	}
	slices.SortFunc(out, func(a, b Member) int { return cmp.Compare(a.Record.ID, b.Record.ID) })
	return slices.Insert(out, 0, Member{Record: n.self, Since: time.UnixMilli(int64(n.born))})
}

// Size is the number of members alive, with ourselves.
func (n *Node) Size() int { return n.size() }
