package link

import (
	"math"
	"math/rand/v2"
	"time"
)

// CodeTimeout is the code of a connection that ended because it was cut for too
// long.
const CodeTimeout = math.MaxUint32

// Conn is a connection between two nodes: a flow each way. Side 0 opened it.
type Conn struct {
	Tag   any // for its owner
	flows [2]*flow
	open  [2]bool
	code  uint32 // told to the end that is still open
	// cutAt is when the path was cut, -1 while it is not.
	cutAt   int64
	backoff int
	closeAt int64
	index   int // in Net.conns
}

// Node returns the node at one end.
func (c *Conn) Node(side int) int { return c.flows[side].from }

// Connect makes a connection; the handshake is the owner's, by datagrams.
func (n *Net) Connect(now time.Time, from, to int) *Conn {
	c := &Conn{open: [2]bool{true, true}, cutAt: -1}
	nth := n.nodes[from].opened[to]
	n.nodes[from].opened[to]++
	for side := range 2 {
		seed := uint64(from)<<40 | uint64(to)<<16 | nth<<1&0xffff | uint64(side)
		c.flows[side] = &flow{
			net: n, conn: c, from: from, to: to, age: -1, key: uint64(to) | nth<<32 | uint64(side)<<63,
			rng:    rand.New(rand.NewPCG(n.cfg.Seed, seed^0x9e3779b97f4a7c15)),
			window: NewWindow(n.cfg.Window, n.cfg.LossCC),
		}
		from, to = to, from
	}
	c.index = len(n.conns)
	n.conns = append(n.conns, c)
	n.watchCut(n.instant(now), c)
	return c
}

// Open begins a stream: a pipe that the given side writes and the other reads.
// The receiver hears of it by an Opened event if announce is set; a stream's
// second pipe, back, needs none.
func (n *Net) Open(now time.Time, c *Conn, side int, announce bool) *Pipe {
	f := c.flows[side]
	p := &Pipe{flow: f, id: f.pipes, credit: n.cfg.RecvWindow, opening: announce}
	f.pipes++
	n.offerPipe(n.instant(now), p)
	return p
}

// Close closes a connection at one end: what was not yet sent is dropped, as
// QUIC does, and the other end hears of it after the path's delay.
func (n *Net) Close(now time.Time, c *Conn, side int, code uint32) {
	if !c.open[side] {
		return
	}
	at := n.instant(now)
	n.shut(c, side)
	if !c.open[1-side] {
		return
	}
	c.code, c.closeAt = code, at
	n.agenda.push(at+int64(c.flows[side].travel()), stepClose, 0, c)
}

func (n *Net) shut(c *Conn, side int) {
	c.open[side] = false
	f := c.flows[side]
	f.dead = true
	f.ready.clear()
	f.again.clear()
	if !c.open[1-side] {
		last := len(n.conns) - 1
		n.conns[c.index] = n.conns[last]
		n.conns[c.index].index = c.index
		n.conns[last] = nil
		n.conns = n.conns[:last]
	}
}

// closeArrives tells the open end. While the path is cut it cannot be told, and
// gives up by itself in the end.
func (n *Net) closeArrives(at int64, c *Conn) {
	side := 0
	if !c.open[0] {
		side = 1
	}
	if !c.open[side] {
		return
	}
	f := c.flows[side]
	if f.currentPath().Cut && at-c.closeAt < int64(n.cfg.DeadAfter) {
		c.backoff++
		n.agenda.push(at+f.timeout(c.backoff), stepClose, 0, c)
		return
	}
	n.end(c, side, c.code)
}

func (n *Net) end(c *Conn, side int, code uint32) {
	n.shut(c, side)
	n.out = append(n.out, Event{Kind: Closed, Conn: c, Side: side, Code: code})
}

// watchCut keeps since when a connection is cut. Both ends give up when that has
// lasted: keep-alives of the real stacks notice a cut even where nothing is sent.
func (n *Net) watchCut(at int64, c *Conn) {
	cut := c.flows[0].currentPath().Cut
	switch {
	case !cut:
		c.cutAt = -1
	case c.cutAt < 0:
		c.cutAt = at
		n.agenda.push(at+int64(n.cfg.DeadAfter), stepDead, 0, c)
	}
}

func (n *Net) checkDead(at int64, c *Conn) {
	if c.cutAt < 0 || at-c.cutAt < int64(n.cfg.DeadAfter) {
		return
	}
	for side := range 2 {
		if c.open[side] {
			n.end(c, side, CodeTimeout)
		}
	}
}
