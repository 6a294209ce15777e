package virtual

import (
	"context"
	"fmt"
	"math"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/pheme-net/pheme/p2p/link"
)

// Network is the wire between all hosts of one bubble: it drives a link.Net by
// package time and hands what arrives to streams, connections and listeners.
// Its mutex guards the link.Net and is never held while anything is called.
type Network struct {
	cfg   link.Config // filled
	stack Stack
	wake  chan struct{}
	pool  *interner         // nil: none
	told  func(link.Change) // nil: nobody asked

	// packets opens a node's packet socket: over this network, or over another model that this one
	// is compared with.
	packets func(node int, at *net.UDPAddr) (net.PacketConn, error)

	mu      sync.Mutex
	net     *link.Net
	planned time.Time // when Run will look again
	nodes   []node
	byAddr  map[string]int // by multiaddr, as bytes
	byIP    map[string]int // by four bytes
}

// node is one place in the network, with the host that is there now, if any.
type node struct {
	addr     ma.Multiaddr
	id       peer.ID
	key      crypto.PubKey
	ip       net.IP // four bytes
	listener *listener
	socket   *socket
	tr       *Transport

	take  func(from peer.ID, b []byte) // what arrives for taker
	taker *Host
}

// Stack says what lies between the wire and a host's streams.
type Stack uint8

const (
	// Direct gives each stream a pipe of its own, as QUIC does: no encryption, no
	// framing, a sixth of the work.
	Direct Stack = iota
	// Secured puts Noise and Yamux on one byte stream a connection, as over TCP.
	Secured
	// QUIC runs go-libp2p's whole QUIC over packets: its own windows and
	// retransmissions instead of the model's, at thirty times the work.
	QUIC
)

// New returns the network of cfg, whose schedule begins now. A zero field of
// cfg is its default. All hosts use the same stack.
func New(cfg link.Config, stack Stack) (*Network, error) { return NewAt(cfg, stack, time.Now()) }

// NewAt is New with a schedule that began at start, not in the future: several
// processes that share a start share the schedule.
func NewAt(cfg link.Config, stack Stack, start time.Time) (*Network, error) {
	if time.Until(start) > 0 {
		return nil, fmt.Errorf("virtual: the schedule would begin at %s: that is in the future", start)
	}
	model, err := link.New(cfg, start)
	if err != nil {
		return nil, err
	}
	cfg = model.Links().Config()
	n := &Network{
		cfg: cfg, stack: stack, wake: make(chan struct{}, 1), net: model,
		nodes: make([]node, len(cfg.Nodes)), byAddr: make(map[string]int, len(cfg.Nodes)), byIP: make(map[string]int, len(cfg.Nodes)),
	}
	n.packets = n.listenPacket
	if stack == Direct { // under encryption no two writes are equal
		n.pool = newInterner()
	}
	for i := range n.nodes {
		n.nodes[i].ip = ip(i)
		n.byIP[string(ip(i))] = i
		n.nodes[i].addr = ma.StringCast(fmt.Sprintf("/ip4/%s/tcp/%d", ip(i), port))
		if stack == QUIC {
			n.nodes[i].addr = ma.StringCast(fmt.Sprintf("/ip4/%s/udp/%d/quic-v1", ip(i), port))
		}
		n.byAddr[string(n.nodes[i].addr.Bytes())] = i
	}
	return n, nil
}

// ip gives every node a public address in a /16 of its own for the first 20,480
// nodes, so that no limit or score that goes by subnet takes them for one.
func ip(i int) net.IP { return net.IPv4(byte(20+i%80), byte(i/80), byte(i/(80*256)), 1).To4() }

// Addr returns the listening address of node i.
func (n *Network) Addr(i int) ma.Multiaddr { return n.nodes[i].addr }

// Run moves the bytes until ctx ends. Close the hosts first: nothing arrives
// any more after that.
func (n *Network) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer func() { timer.Stop() }()
	var events []link.Event
	for {
		var next time.Duration
		if events, next = n.step(events); next != never {
			// A new timer each time: one that is pending and is reset has the runtime look through all timers
			// of the bubble when it is due.
			timer.Stop()
			timer = time.NewTimer(next)
		}
		for i := range events {
			n.dispatch(&events[i])
		}
		clear(events)
		select {
		case <-n.wake:
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// never is the time until the next step when there is none.
const never = time.Duration(math.MaxInt64)

// step advances the model to the present and returns what came of it and how long it is to the next step.
func (n *Network) step(events []link.Event) ([]link.Event, time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	events = n.net.Advance(now, events[:0])
	next, ok := n.net.Next()
	if !ok {
		n.planned = time.Time{}
		return events, never
	}
	n.planned = next
	return events, next.Sub(now)
}

// do runs f on the link.Net and makes sure that Run looks at what came of it.
func (n *Network) do(f func(net *link.Net, now time.Time)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(n.net, time.Now())
	if next, ok := n.net.Next(); ok && (n.planned.IsZero() || next.Before(n.planned)) {
		n.planned = next
		select {
		case n.wake <- struct{}{}:
		default: // one is enough
		}
	}
}

// dispatch hands an event to whom it concerns.
func (n *Network) dispatch(e *link.Event) {
	switch e.Kind {
	case link.Packet:
		e.Tag.(packet).arrive(n, e.To)
	case link.Left:
		e.Tag.(*letter).left()
	case link.Closed:
		ends(e.Conn)[e.Side].closedByNetwork(e.Code)
	case link.Opened:
		s := duct(e.Pipe).reader
		s.conn.accept(s)
	case link.Data:
		duct(e.Pipe).reader.receive(e.Data)
	case link.Finished:
		duct(e.Pipe).reader.finished()
	case link.Aborted:
		duct(e.Pipe).reader.aborted(e.Code)
	case link.Room:
		duct(e.Pipe).writer.room()
	case link.Changed:
		if n.told != nil {
			n.told(e.Tag.(link.Change))
		}
	}
}

// packet is what a datagram carries.
type packet interface{ arrive(n *Network, at int) }

// letter is a packet of somebody else's.
type letter struct{ left, arrived func() }

func (l *letter) arrive(*Network, int) { l.arrived() }

// Datagram sends a packet. It calls left, unless nil, when the uplink takes it,
// and arrived when it arrives, which it does once or not at all. Neither may
// block.
func (n *Network) Datagram(from, to, bytes int, left, arrived func()) {
	n.do(func(net *link.Net, now time.Time) {
		net.Datagram(now, from, to, bytes, &letter{left, arrived}, left != nil)
	})
}

// Apply makes a change take effect now; see package link for the changes.
func (n *Network) Apply(c link.Change) (err error) {
	n.do(func(net *link.Net, now time.Time) { err = net.Apply(now, c) })
	return err
}

// Extend adds changes to the end of the schedule; one that is due already takes
// effect at once.
func (n *Network) Extend(more []link.Timed) (err error) {
	n.do(func(net *link.Net, _ time.Time) { err = net.Extend(more) })
	return err
}

// Tell has f called, by Run, with each change that has taken effect. f must not
// block. Call it before Run.
func (n *Network) Tell(f func(link.Change)) { n.told = f }

// Path returns what the way from one node to another is like now.
func (n *Network) Path(from, to int) link.Path {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.net.Links().Path(from, to)
}

// Rates returns what node i can send and receive now.
func (n *Network) Rates(i int) (up, down link.Rate) {
	n.mu.Lock()
	defer n.mu.Unlock()
	nd := n.net.Links().Node(i)
	return nd.Up, nd.Down
}

// Count returns the bytes node i has sent and received.
func (n *Network) Count(i int) link.Count {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.net.Count(i)
}

// Total returns the bytes of all nodes and those in flight, which together obey
// Sent = Received + Lost + in flight.
func (n *Network) Total() (sum link.Count, inFlight uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.nodes {
		c := n.net.Count(i)
		sum.Sent += c.Sent
		sum.Received += c.Received
		sum.Lost += c.Lost
		sum.Resent += c.Resent
		sum.Cut += c.Cut
	}
	return sum, n.net.InFlight()
}

// Nodes returns the indices of the nodes in the named regions, in order; an
// unknown name is an error.
func (n *Network) Nodes(regions ...string) ([]int, error) {
	var nodes []int
	for _, name := range regions {
		r := slices.Index(n.cfg.Table.Regions, name)
		if r < 0 {
			return nil, fmt.Errorf("virtual: no region %q in %s: the regions are %q", name, n.cfg.Table.Name, n.cfg.Table.Regions)
		}
		for i, nd := range n.cfg.Nodes {
			if nd.Region == r {
				nodes = append(nodes, i)
			}
		}
	}
	slices.Sort(nodes)
	return slices.Compact(nodes), nil
}
