package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/pheme-net/pheme/p2p/link"
	"github.com/pheme-net/pheme/p2p/link/virtual"
)

// ErrStopped is the error of connections after Run has ended.
var ErrStopped = errors.New("live: the shaper has stopped")

// slots is how many flows QUIC's packets are dealt to on the uplink, by their
// destination: destinations in different slots have equal shares.
const slots = 64

// startQueue is how many connections may wait for Run to take them up.
const startQueue = 256

// Shaper shapes the connections of one node. The mutex guards conns and stopped.
type Shaper struct {
	node  int
	nodes int
	up    *virtual.Network // node 0 is this one with its uplink, the others are the kernel
	down  *virtual.Network // every node, with this one's downlink
	start chan func()
	ended chan struct{}
	heals chan struct{} // one token: a partition has healed

	mu      sync.Mutex
	conns   map[io.Closer]struct{}
	stopped bool
}

// New returns the shaper of one node of the network that cfg describes. All
// processes of the network are given the same cfg and the same start, at which
// the schedule began.
func New(cfg link.Config, node int, start time.Time) (*Shaper, error) {
	if node < 0 || node >= len(cfg.Nodes) {
		return nil, fmt.Errorf("live: node %d: there are %d", node, len(cfg.Nodes))
	}
	if len(cfg.Nodes) > maxNodes {
		return nil, fmt.Errorf("live: %d nodes: at most %d", len(cfg.Nodes), maxNodes)
	}
	if _, err := link.NewLinks(cfg); err != nil {
		return nil, err
	}
	s := &Shaper{node: node, nodes: len(cfg.Nodes), start: make(chan func(), startQueue), ended: make(chan struct{}), heals: make(chan struct{}, 1), conns: map[io.Closer]struct{}{}}
	here, err := link.ParseLatency("uniform:0s:0s")
	if err != nil {
		return nil, err
	}
	if cfg.Turn == 0 {
		cfg.Turn = turn
	}
	up := link.Config{Nodes: make([]link.Node, 1+slots), Table: here, Window: link.NoWindow, SendBuffer: cfg.SendBuffer, RecvWindow: kernelWindow, Turn: cfg.Turn}
	up.Nodes[0].Up = cfg.Nodes[node].Up
	down := cfg
	down.Nodes = make([]link.Node, len(cfg.Nodes))
	for i, n := range cfg.Nodes {
		down.Nodes[i].Region = n.Region // the others have shaped their uplinks themselves
	}
	down.Nodes[node].Down = cfg.Nodes[node].Down
	up.Schedule, down.Schedule = s.deal(cfg.Schedule)
	if s.up, err = virtual.NewAt(up, virtual.Secured, start); err != nil {
		return nil, err
	}
	if s.down, err = virtual.NewAt(down, virtual.Secured, start); err != nil {
		return nil, err
	}
	s.down.Tell(func(c link.Change) {
		if _, ok := c.(link.Heal); ok {
			select {
			case s.heals <- struct{}{}:
			default:
			}
		}
	})
	return s, nil
}

// deal hands a schedule to the two networks.
func (s *Shaper) deal(all []link.Timed) (up, down []link.Timed) {
	for _, t := range all {
		u, d := split(t.Do, s.node)
		if u != nil {
			up = append(up, link.Timed{At: t.At, Do: u})
		}
		if d != nil {
			down = append(down, link.Timed{At: t.At, Do: d})
		}
	}
	return up, down
}

// maxNodes is what the header of a packet can tell apart.
const maxNodes = 1 << 16

// turn is shorter than the model's own: what leaves in a turn reaches the kernel
// when its last byte has left.
const turn = 800 * time.Microsecond

// kernelWindow is how much of a connection may wait for the kernel to take it.
const kernelWindow = 128 << 10

// split says what a change means for the uplink and for what arrives; nil is
// nothing.
func split(c link.Change, node int) (up, down link.Change) {
	r, ok := c.(link.Rates)
	if !ok {
		return nil, c
	}
	concerned := r.Nodes == nil
	for _, i := range r.Nodes {
		concerned = concerned || i == node
	}
	if !concerned {
		return nil, nil
	}
	return link.Rates{Nodes: []int{0}, Up: r.Up}, link.Rates{Nodes: []int{node}, Down: r.Down}
}

// Apply makes a change take effect now, at this node: apply it at every node.
func (s *Shaper) Apply(c link.Change) error {
	up, down := split(c, s.node)
	var err error
	if up != nil {
		err = s.up.Apply(up)
	}
	if down != nil {
		err = errors.Join(err, s.down.Apply(down))
	}
	return err
}

// Extend adds changes to the end of the schedule, at this node: give every node
// the same. One that is due already takes effect at once.
func (s *Shaper) Extend(more []link.Timed) error {
	up, down := s.deal(more)
	return errors.Join(s.up.Extend(up), s.down.Extend(down))
}

// Heals gets a token when a partition has healed, so that whoever dials may give
// up its patience. There is room for one.
func (s *Shaper) Heals() <-chan struct{} { return s.heals }

// Count returns the bytes this node has sent and received, as its own links saw
// them: Lost and Resent are of what was sent to it.
func (s *Shaper) Count() link.Count {
	sum, _ := s.down.Total()
	sum.Sent, sum.Received = s.up.Count(0).Sent, s.down.Count(s.node).Received
	return sum
}

// Run moves the bytes of all connections until ctx ends, then breaks those that
// are left.
func (s *Shaper) Run(ctx context.Context) error {
	var pumps, nets sync.WaitGroup
	running, stop := context.WithCancel(context.Background())
	var errs [2]error
	nets.Go(func() { errs[0] = s.up.Run(running) })
	nets.Go(func() { errs[1] = s.down.Run(running) })
	for ctx.Err() == nil {
		select {
		case f := <-s.start:
			pumps.Go(f)
		case <-ctx.Done():
		}
	}
	s.mu.Lock()
	s.stopped = true
	left := s.conns
	s.conns = nil
	s.mu.Unlock()
	close(s.ended)
	for c := range left {
		_ = c.Close()
	}
	pumps.Wait()
	stop()
	nets.Wait()
	return errors.Join(errs[:]...)
}

// add registers a connection to be broken when Run ends, and has Run start its
// pumps.
func (s *Shaper) add(c io.Closer, pumps ...func()) error {
	s.mu.Lock()
	stopped := s.stopped
	if !stopped {
		s.conns[c] = struct{}{}
	}
	s.mu.Unlock()
	if stopped {
		return ErrStopped
	}
	for _, f := range pumps {
		select {
		case s.start <- f:
		case <-s.ended:
			return ErrStopped
		}
	}
	return nil
}

func (s *Shaper) remove(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// deadlinePassed reports whether a deadline is set and over.
func deadlinePassed(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }
