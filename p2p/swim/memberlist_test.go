package swim

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"
)

// theirs runs hashicorp/memberlist on the links of a sim, inside a bubble.
type theirs struct {
	t     testing.TB
	links *links
	rng   *rand.Rand
	mu    sync.Mutex // guards links, rng, and the counters and events of the nodes
	nodes []*theirNode
	by    map[string]*theirNode
}

// theirNode is one memberlist and its transport.
type theirNode struct {
	net     *theirs
	index   int
	addr    string
	list    *memberlist.Memberlist
	up      bool
	slow    time.Duration
	sent    uint64
	packets chan *memberlist.Packet
	streams chan net.Conn
	events  []theirEvent
}

type theirEvent struct {
	at   time.Time
	name string
	left bool
}

func (n *theirNode) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return net.IPv4(10, 0, byte(n.index>>8), byte(n.index)), 7946, nil
}

func (n *theirNode) WriteTo(b []byte, addr string) (time.Time, error) {
	v := n.net
	v.mu.Lock()
	defer v.mu.Unlock()
	to := v.by[addr]
	if to == nil || !n.up {
		return time.Now(), nil
	}
	n.sent += uint64(len(b))
	delay, lost := v.links.draw()
	if lost {
		return time.Now(), nil
	}
	p := &memberlist.Packet{Buf: append([]byte(nil), b...), From: &net.UDPAddr{IP: net.IPv4(10, 0, byte(n.index>>8), byte(n.index)), Port: 7946}}
	time.AfterFunc(n.slow+delay+to.slow, func() {
		v.mu.Lock()
		up := to.up
		v.mu.Unlock()
		if !up {
			return
		}
		p.Timestamp = time.Now()
		select {
		case to.packets <- p:
		default: // its socket buffer is full
		}
	})
	return time.Now(), nil
}

func (n *theirNode) PacketCh() <-chan *memberlist.Packet { return n.packets }
func (n *theirNode) StreamCh() <-chan net.Conn           { return n.streams }
func (n *theirNode) Shutdown() error                     { return nil }

var errNoAnswer = errors.New("no answer")

// DialTimeout opens a reliable stream; a crashed host does not answer.
func (n *theirNode) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	v := n.net
	v.mu.Lock()
	to := v.by[addr]
	reachable := to != nil && to.up && n.up
	v.mu.Unlock()
	if !reachable {
		time.Sleep(timeout)
		return nil, errNoAnswer
	}
	a, b := net.Pipe()
	select {
	case to.streams <- &countedConn{b, to}:
		return &countedConn{a, n}, nil
	case <-time.After(timeout):
		return nil, errNoAnswer
	}
}

// countedConn counts what its owner writes.
type countedConn struct {
	net.Conn
	owner *theirNode
}

func (c *countedConn) Write(b []byte) (int, error) {
	c.owner.net.mu.Lock()
	c.owner.sent += uint64(len(b))
	c.owner.net.mu.Unlock()
	return c.Conn.Write(b)
}

func (n *theirNode) note(name string, left bool) {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	n.events = append(n.events, theirEvent{time.Now(), name, left})
}

func (n *theirNode) NotifyJoin(m *memberlist.Node)   { n.note(m.Name, false) }
func (n *theirNode) NotifyLeave(m *memberlist.Node)  { n.note(m.Name, true) }
func (n *theirNode) NotifyUpdate(m *memberlist.Node) {}

func newTheirs(t testing.TB, seed uint64, l *links) *theirs {
	return &theirs{t: t, links: l, rng: rand.New(rand.NewPCG(seed, 1)), by: map[string]*theirNode{}}
}

// add starts a memberlist; bend changes its LAN defaults.
func (v *theirs) add(bend func(*memberlist.Config)) *theirNode {
	n := &theirNode{net: v, index: len(v.nodes)}
	n.addr = fmt.Sprintf("10.0.%d.%d:7946", n.index>>8, n.index&255)
	v.mu.Lock()
	v.nodes = append(v.nodes, n)
	v.by[n.addr] = n
	v.mu.Unlock()
	v.start(n, bend)
	return n
}

// restart starts a member anew and has it join at another.
func (v *theirs) restart(n *theirNode, bend func(*memberlist.Config)) {
	v.start(n, bend)
	for _, o := range v.nodes {
		if o != n && o.up {
			if _, err := n.list.Join([]string{o.addr}); err != nil {
				v.t.Errorf("join: %v", err)
			}
			return
		}
	}
}

func (v *theirs) start(n *theirNode, bend func(*memberlist.Config)) {
	v.mu.Lock()
	n.up, n.packets, n.streams = true, make(chan *memberlist.Packet, 1024), make(chan net.Conn)
	v.mu.Unlock()
	cfg := memberlist.DefaultLANConfig()
	cfg.Name, cfg.Transport, cfg.Events, cfg.LogOutput = theirName(n.index), n, n, io.Discard
	bend(cfg)
	list, err := memberlist.Create(cfg)
	if err != nil {
		v.t.Fatal(err)
	}
	n.list = list
}

func (n *theirNode) slowBy(d time.Duration) {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	n.slow = d
}

// deaths lists when members that are up found one of down dead, or without down
// anybody, since a time; counted from it.
func (v *theirs) deaths(since time.Time, down map[string]bool) (out []time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, n := range v.nodes {
		for _, e := range n.events {
			if n.up && e.left && e.at.After(since) && (down == nil || down[e.name]) {
				out = append(out, e.at.Sub(since))
			}
		}
	}
	return out
}

func theirName(i int) string { return fmt.Sprintf("n%d", i) }

// form starts n members that all join at the first, and waits until all know all.
func (v *theirs) form(n int, bend func(*memberlist.Config)) time.Duration {
	began := time.Now()
	for i := range n {
		m := v.add(bend)
		if i > 0 {
			if _, err := m.list.Join([]string{v.nodes[0].addr}); err != nil {
				v.t.Fatal(err)
			}
		}
	}
	v.await()
	return time.Since(began)
}

// await waits until all know all.
func (v *theirs) await() {
	for range 6000 {
		if v.complete() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	v.t.Error("memberlist: not all know all after 10 minutes")
}

func (v *theirs) complete() bool {
	up := 0
	for _, n := range v.nodes {
		if n.up {
			up++
		}
	}
	for _, n := range v.nodes {
		if n.up && n.list.NumMembers() != up {
			return false
		}
	}
	return true
}

func (v *theirs) crash(i int) {
	v.mu.Lock()
	v.nodes[i].up = false
	v.mu.Unlock()
	_ = v.nodes[i].list.Shutdown()
}

func (v *theirs) sum() (sum uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, n := range v.nodes {
		sum += n.sent
	}
	return sum
}

// stop ends everything that lives in the bubble.
func (v *theirs) stop() {
	for i, n := range v.nodes {
		if n.up {
			v.crash(i)
		}
	}
	time.Sleep(time.Minute) // timers of suspicions, streams' deadlines
}

// inBubble runs f in virtual time, in a benchmark as well: the zero T has no
// runner behind it, and f does not touch it.
func inBubble(f func()) { synctest.Test(&testing.T{}, func(*testing.T) { f() }) }
