package link

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Reaction says how a sender answers loss.
type Reaction uint8

const (
	// Reno halves the window once per loss event and waits max(200 ms, 2 x RTT)
	// where nothing sent later shows the loss (RFC 9002 7, RFC 6582).
	Reno Reaction = iota
	// None sends each lost packet again after one round trip, and nothing else
	// happens: an idealised transport, to be printed as such.
	None
)

// String returns the reaction's name in experiment files: "reno" or "none".
func (r Reaction) String() string {
	if r == None {
		return "none"
	}
	return "reno"
}

// ParseReaction reads "reno" or "none".
func ParseReaction(s string) (Reaction, error) {
	for _, r := range []Reaction{Reno, None} {
		if s == r.String() {
			return r, nil
		}
	}
	return 0, fmt.Errorf(`link: loss reaction %q: want "reno" or "none"`, s)
}

// Node is one node's place and access rates, shared by all its links.
type Node struct {
	Region   int // index into the table's Regions
	Up, Down Rate
}

// NoWindow switches the congestion window off: a sender is held back by its
// rates alone.
const NoWindow = -1

// Config describes the network. The zero value of a field is its default.
type Config struct {
	Nodes []Node
	Table *Table // nil: "lan"
	Seed  uint64 // of everything drawn: the same seed gives a link the same draws

	Loss      float64  // share of packets lost on every link that the table gives no loss of its own
	LossCC    Reaction // what senders do about it
	Reorder   float64  // share of packets that are overtaken
	ReorderBy time.Duration

	// Window is the congestion window a connection starts with, in bytes;
	// NoWindow lets it send at its rates from the start.
	Window int
	// SendBuffer is how many bytes of a stream wait unsent before Write blocks.
	SendBuffer int
	// RecvWindow is how many bytes of a stream may be under way or unread.
	RecvWindow int
	// Turn is how long a connection may have the uplink before the next is served,
	// but at most 48 packets.
	Turn time.Duration
	// FairDown serves a node's downlink round robin over its connections instead
	// of first in, first out.
	FairDown bool
	// DeadAfter is how long a connection may be cut before both its ends give up.
	DeadAfter time.Duration
	// Schedule holds the changes to come, oldest first.
	Schedule []Timed
}

// maxLoss keeps a link passable: nothing at all passing is a cut.
const maxLoss = 0.9

// ErrConfig is wrapped by every complaint about a Config or a Change.
var ErrConfig = errors.New("link: bad network")

func (c Config) fill() (Config, error) {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	if c.Table == nil {
		t, err := ParseLatency("lan")
		if err != nil {
			return c, err
		}
		c.Table = t
	}
	def(&c.Window, 32*PacketBytes) // what quic-go starts with; RFC 9002 recommends 10 packets, Linux TCP does that
	def(&c.SendBuffer, 64<<10)     // a small socket buffer: what is queued beyond it can still be reordered or given up above
	def(&c.RecvWindow, 6<<20)      // QUIC's default for one stream
	if c.Turn == 0 {
		c.Turn = 2500 * time.Microsecond // 12 packets at 50 Mbit/s: finer turns change no figure, only cost
	}
	if c.ReorderBy == 0 {
		c.ReorderBy = 5 * time.Millisecond
	}
	if c.DeadAfter == 0 {
		c.DeadAfter = 30 * time.Second // QUIC's idle timeout in go-libp2p; yamux gives up about as late
	}
	return c, c.validate()
}

func (c Config) validate() error {
	for _, f := range []struct {
		ok   bool
		name string
		want string
	}{
		{len(c.Nodes) > 0, "Nodes", "at least one"},
		{c.Loss >= 0 && c.Loss <= maxLoss, "Loss", fmt.Sprintf("a share from 0 to %g", maxLoss)},
		{c.Reorder >= 0 && c.Reorder <= 1, "Reorder", "a share from 0 to 1"},
		{c.ReorderBy >= 0, "ReorderBy", "0 or more"},
		{c.LossCC <= None, "LossCC", "Reno or None"},
		{c.Window == NoWindow || c.Window >= 2*PacketBytes, "Window", "NoWindow or at least two packets"},
		{c.SendBuffer > 0, "SendBuffer", "above 0"},
		{c.RecvWindow >= 2*maxBurst, "RecvWindow", fmt.Sprintf("at least %d", 2*maxBurst)},
		{c.Turn > 0, "Turn", "above 0"},
		{c.DeadAfter > 0, "DeadAfter", "above 0"},
	} {
		if !f.ok {
			return fmt.Errorf("%w: %s: want %s", ErrConfig, f.name, f.want)
		}
	}
	for i, n := range c.Nodes {
		if n.Region < 0 || n.Region >= len(c.Table.Regions) || n.Up < 0 || n.Down < 0 || n.Up > maxRate || n.Down > maxRate {
			return fmt.Errorf("%w: node %d: region %d of %d, rates %d and %d bit/s", ErrConfig, i, n.Region, len(c.Table.Regions), n.Up, n.Down)
		}
	}
	return checkSchedule(c.Schedule, len(c.Nodes))
}

func checkSchedule(s []Timed, nodes int) error {
	for i, t := range s {
		if t.At < 0 || i > 0 && t.At < s[i-1].At || t.Do == nil {
			return fmt.Errorf("%w: schedule entry %d: entries must be in the order of their times", ErrConfig, i)
		}
		if err := t.Do.check(nodes); err != nil {
			return fmt.Errorf("%w: schedule entry %d: %w", ErrConfig, i, err)
		}
	}
	return nil
}

// Uniform returns n nodes with the same rates, dealt over the table's regions.
func Uniform(n int, t *Table, up, down Rate, rng *rand.Rand) []Node {
	nodes := make([]Node, n)
	for i, region := range t.Assign(n, rng) {
		nodes[i] = Node{Region: region, Up: up, Down: down}
	}
	return nodes
}

// Links holds what every node and path is like at present. It is a plain value
// machine: Apply changes it, Path and Node read it. One owner at a time.
type Links struct {
	cfg    Config
	nodes  []Node
	groups []int // partition group of each node; nil: none
	rules  []rule
	age    int // counts the changes, so that what was read can be kept until the next
}

// NewLinks returns the network as cfg describes it, before its schedule. A zero
// field of cfg is its default.
func NewLinks(cfg Config) (*Links, error) {
	cfg, err := cfg.fill()
	if err != nil {
		return nil, err
	}
	return &Links{cfg: cfg, nodes: slices.Clone(cfg.Nodes)}, nil
}

// Node returns what node i has now.
func (l *Links) Node(i int) Node { return l.nodes[i] }

// Config returns the configuration with its defaults filled in.
func (l *Links) Config() Config { return l.cfg }

// Path returns what the way from one node to another is like now.
func (l *Links) Path(from, to int) Path {
	p := l.cfg.Table.Path(l.cfg.Seed, from, l.nodes[from].Region, to, l.nodes[to].Region)
	if p.Loss == 0 {
		p.Loss = l.cfg.Loss
	}
	p.Reorder, p.ReorderBy = l.cfg.Reorder, l.cfg.ReorderBy
	own := p.Loss
	var add time.Duration
	for _, r := range l.rules { // the last one that speaks of this link wins
		if !r.covers(from, to) {
			continue
		}
		if r.restore {
			add, p.Loss = 0, own
		}
		if r.add != nil {
			add = *r.add
		}
		if r.loss != nil {
			p.Loss = *r.loss
		}
	}
	p.Min += add
	p.Cut = l.groups != nil && l.groups[from] != l.groups[to]
	return p
}

// Apply makes a change take effect.
func (l *Links) Apply(c Change) error {
	if err := c.check(len(l.nodes)); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	l.age++
	c.apply(l)
	return nil
}
