package link

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// FrameBytes is what a mark in a stream (its beginning, its end, a reset) takes
// on the wire: a header of yamux.
const FrameBytes = 12

// maxBurst is the most a flow sends before the next has its turn: 48 packets.
// Slower uplinks have shorter turns, see Config.Turn.
const maxBurst = 48 * PacketBytes

// burst returns how many bytes a flow may send in its turn, in whole packets.
func (n *Net) burst(up Rate) int {
	if up <= 0 {
		return maxBurst
	}
	packets := int(float64(up) / 8 * n.cfg.Turn.Seconds() / PacketBytes)
	return min(max(packets, 1)*PacketBytes, maxBurst)
}

// Kind says what an Event tells.
type Kind uint8

// The kinds of events.
const (
	Opened   Kind = iota + 1 // Pipe has begun at its receiver
	Data                     // Data has arrived on Pipe, in order
	Finished                 // Pipe has ended at its receiver: everything came
	Aborted                  // Pipe was reset by its sender with Code
	Room                     // Pipe holds no more than the send buffer again; asked for by WantRoom
	Closed                   // Conn is closed at end Side, with Code, by the other end or by the network
	Packet                   // a datagram with Tag has arrived at node To
	Left                     // a datagram with Tag has left its sender's queue; only if asked for
	Changed                  // the change in Tag has taken effect
)

// Event tells the owner of a Net what has happened.
type Event struct {
	Kind Kind
	Pipe *Pipe
	Data []byte // shared with the writer and other receivers: read only
	Conn *Conn
	Side int
	Code uint32
	To   int
	Tag  any
}

// Count is what one node has sent and received, in bytes on the wire. The bytes
// of all nodes together obey Sent = Received + Lost + those in flight.
type Count struct {
	Sent     uint64 // has left the uplink, or begun to
	Received uint64 // has passed the downlink
	Lost     uint64 // of Sent: dropped by loss or a cut
	Resent   uint64 // of Sent: sent again after a loss
	Cut      uint64 // of Lost: dropped by a cut
}

// access is one node's two queues.
type access struct {
	ring     fifo[*flow] // flows with something to send, in turn
	current  *flow       // whose turn it is, if it is not over
	busy     bool
	waking   bool
	downFree int64       // when a first-in-first-out downlink is free
	downRing fifo[*flow] // flows with trains waiting for a fair downlink
	downBusy bool
	count    Count
	rng      *rand.Rand
	opened   map[int]uint64 // connections so far to each other node
	ports    map[int]*flow  // datagrams to each other node
}

// Net moves bytes: a discrete-event machine that holds every queue, window and
// packet under way. It has no clock and no goroutine: each call says when it is,
// never earlier than the call before, Next says when Advance is due, and Advance
// returns what came of it. One owner at a time.
type Net struct {
	cfg    Config
	links  *Links
	start  time.Time
	agenda agenda
	nodes  []access
	conns  []*Conn // with an open end
	out    []Event
	next   int // entry of the schedule
}

// New returns the network of cfg at the instant now, at which its schedule
// begins.
func New(cfg Config, now time.Time) (*Net, error) {
	links, err := NewLinks(cfg)
	if err != nil {
		return nil, err
	}
	cfg = links.Config()
	n := &Net{cfg: cfg, links: links, start: now, nodes: make([]access, len(cfg.Nodes))}
	for i := range n.nodes {
		n.nodes[i].rng = rand.New(rand.NewPCG(cfg.Seed, uint64(i)))
		n.nodes[i].opened, n.nodes[i].ports = map[int]uint64{}, map[int]*flow{}
	}
	n.schedule()
	return n, nil
}

func (n *Net) schedule() {
	if n.next < len(n.cfg.Schedule) {
		n.agenda.push(int64(n.cfg.Schedule[n.next].At), stepChange, 0, nil)
	}
}

// Extend adds changes to the end of the schedule. What is due already takes
// effect at the next Advance.
func (n *Net) Extend(more []Timed) error {
	all := append(slices.Clone(n.cfg.Schedule), more...)
	if err := checkSchedule(all, len(n.nodes)); err != nil {
		return err
	}
	waiting := n.next < len(n.cfg.Schedule)
	n.cfg.Schedule = all
	if !waiting {
		n.schedule()
	}
	return nil
}

func (n *Net) instant(now time.Time) int64 { return int64(now.Sub(n.start)) }

// Links returns the present parameters, to be read only.
func (n *Net) Links() *Links { return n.links }

// Count returns what node i has sent and received.
func (n *Net) Count(i int) Count { return n.nodes[i].count }

// InFlight returns how many bytes have been sent and neither arrived nor been
// lost, found by looking for them.
func (n *Net) InFlight() (bytes uint64) {
	for _, s := range n.agenda.steps {
		if s.kind == stepArrive || s.kind == stepDeliver {
			bytes += uint64(s.what.(*train).passing())
		}
	}
	for i := range n.nodes {
		ring := &n.nodes[i].downRing
		for _, f := range ring.items[ring.head:] {
			for _, t := range f.arrived.items[f.arrived.head:] {
				bytes += uint64(t.passing())
			}
		}
	}
	return bytes
}

// Next returns when Advance is due, and false when nothing is under way.
func (n *Net) Next() (time.Time, bool) {
	if len(n.out) > 0 {
		return n.start, true // overdue
	}
	if len(n.agenda.steps) == 0 {
		return time.Time{}, false
	}
	return n.start.Add(time.Duration(n.agenda.steps[0].at)), true
}

// Advance lets everything happen that is due by now and returns the events in
// order, appended to buf.
func (n *Net) Advance(now time.Time, buf []Event) []Event {
	for at := n.instant(now); len(n.agenda.steps) > 0 && n.agenda.steps[0].at <= at; {
		n.handle(n.agenda.pop())
	}
	buf = append(buf, n.out...)
	clear(n.out)
	n.out = n.out[:0]
	return buf
}

func (n *Net) handle(s step) {
	switch s.kind {
	case stepUplink:
		n.uplinkFree(s.at, int(s.node))
	case stepWake:
		n.nodes[s.node].waking = false
		n.pump(s.at, int(s.node))
	case stepArrive:
		n.arrive(s.at, s.what.(*train))
	case stepDown:
		n.nodes[s.node].downBusy = false
		n.serveDown(s.at, int(s.node))
	case stepDeliver:
		n.deliver(s.at, s.what.(*train))
	case stepAck:
		n.acked(s.at, s.what.(*train))
	case stepLoss:
		n.noticeLoss(s.at, s.what.(*train))
	case stepTimeout:
		n.timedOut(s.at, s.what.(*train))
	case stepProbe:
		n.probe(s.at, s.what.(*flow))
	case stepCredit:
		n.credit(s.at, s.what.(*Pipe))
	case stepClose:
		n.closeArrives(s.at, s.what.(*Conn))
	case stepDead:
		n.checkDead(s.at, s.what.(*Conn))
	case stepChange:
		n.change(s.at, n.cfg.Schedule[n.next].Do)
		n.next++
		n.schedule()
	}
}

// Apply makes a change take effect now.
func (n *Net) Apply(now time.Time, c Change) error {
	if err := c.check(len(n.nodes)); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	n.change(n.instant(now), c)
	return nil
}

func (n *Net) change(at int64, c Change) {
	n.links.age++
	c.apply(n.links)
	for _, conn := range n.conns {
		n.watchCut(at, conn)
	}
	n.out = append(n.out, Event{Kind: Changed, Tag: c})
}

// maxDatagram is the largest datagram: UDP's.
const maxDatagram = 1 << 16

// Datagram sends one packet from one node to another, of any size up to UDP's.
// It arrives once or not at all, as a Packet event with the tag. All datagrams
// between two nodes are one flow; nothing holds it back but the rates. With tell
// there is a Left event too.
func (n *Net) Datagram(now time.Time, from, to, bytes int, tag any, tell bool) {
	f := n.nodes[from].ports[to]
	if f == nil {
		f = &flow{net: n, from: from, to: to, rng: n.nodes[from].rng, window: NewWindow(NoWindow, None), datagram: true, age: -1, key: uint64(to) | 1<<62}
		n.nodes[from].ports[to] = f
	}
	p := &Pipe{Tag: tag, flow: f, id: f.pipes, queued: min(max(bytes, 1), maxDatagram), credit: maxDatagram, wantRoom: tell}
	f.pipes++
	n.offerPipe(n.instant(now), p)
}
