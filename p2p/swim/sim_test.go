package swim

import (
	"container/heap"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// links are unreliable datagram links, the same for everything that is measured
// on them: each packet alone is lost or takes a delay with an exponential tail.
type links struct {
	rng    *rand.Rand
	least  time.Duration
	jitter time.Duration // mean of what is added
	loss   float64
}

func newLinks(seed uint64, loss float64) *links {
	return &links{rand.New(rand.NewPCG(seed, 99)), 10 * time.Millisecond, 5 * time.Millisecond, loss}
}

func (l *links) draw() (delay time.Duration, lost bool) {
	return l.least + time.Duration(l.rng.ExpFloat64()*float64(l.jitter)), l.rng.Float64() < l.loss
}

// What package p2p adds to a datagram counts as ours: a mark, the sender's tag,
// or its key when it introduces itself, and a seal of 16 bytes.
func sealBytes(p Packet) int {
	if p.Introduce {
		return 1 + 32 + 16
	}
	return 1 + 8 + 16
}

// simNode is a member in the simulation.
type simNode struct {
	*Node
	index  int
	id     ID
	up     bool
	slow   time.Duration // added to everything it does
	wake   time.Time     // when a step is scheduled
	sent   uint64        // bytes of datagrams
	pulled uint64        // bytes of push-pull
	events []simEvent
}

type simEvent struct {
	at time.Time
	Change
}

// sim runs members on links, single-threaded and repeatable.
type sim struct {
	t     testing.TB
	rng   *rand.Rand
	links *links
	cfg   Config
	now   time.Time
	start time.Time
	nodes []*simNode
	byID  map[ID]*simNode
	steps simSteps
	seq   uint64
	cut   func(from, to int) bool
	drop  int // datagrams lost
	log   func(from, to *simNode, b []byte, lost bool)
}

type simStep struct {
	at  time.Time
	seq uint64
	do  func()
}

type simSteps []simStep

func (s simSteps) Len() int { return len(s) }
func (s simSteps) Less(i, j int) bool {
	return s[i].at.Before(s[j].at) || s[i].at.Equal(s[j].at) && s[i].seq < s[j].seq
}
func (s simSteps) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s *simSteps) Push(v any)   { *s = append(*s, v.(simStep)) }
func (s *simSteps) Pop() any {
	last := len(*s) - 1
	v := (*s)[last]
	*s = (*s)[:last]
	return v
}

var simStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newSim(t testing.TB, seed uint64, cfg Config, l *links) *sim {
	return &sim{t: t, rng: rand.New(rand.NewPCG(seed, 1)), links: l, cfg: cfg, now: simStart, start: simStart, byID: map[ID]*simNode{}}
}

// simID is as long as the peer id of an Ed25519 key.
func simID(i int) ID {
	sum := sha256.Sum256(fmt.Appendf(nil, "member %d", i))
	return ID("\x00\x24\x08\x01\x12\x20" + string(sum[:]))
}

// fakeSign stands for Ed25519 in length and in that it depends on every byte.
func fakeSign(id ID, msg []byte) []byte {
	sum := sha256.Sum256(append([]byte(id), msg...))
	return append(sum[:], sum[:]...)
}

func fakeVerify(id ID, msg, sig []byte) bool { return string(fakeSign(id, msg)) == string(sig) }

func (s *sim) after(d time.Duration, do func()) {
	s.seq++
	heap.Push(&s.steps, simStep{s.now.Add(d), s.seq, do})
}

// add starts a member that knows nobody.
func (s *sim) add() *simNode {
	n := &simNode{index: len(s.nodes), id: simID(len(s.nodes))}
	s.nodes = append(s.nodes, n)
	s.byID[n.id] = n
	s.boot(n)
	return n
}

// boot starts a member, again if it ran before.
func (s *sim) boot(n *simNode) {
	cfg := s.cfg
	cfg.ID, cfg.Network = n.id, "test"
	cfg.Sign = func(msg []byte) ([]byte, error) { return fakeSign(n.id, msg), nil }
	cfg.Verify = fakeVerify
	addr := []byte{4, 10, byte(n.index >> 8), byte(n.index), 1, 6, 15, 161}
	node, err := New(cfg, 4001, [][]byte{addr}, rand.New(rand.NewPCG(s.rng.Uint64(), uint64(n.index))), s.now)
	if err != nil {
		s.t.Fatal(err)
	}
	n.Node, n.up, n.wake = node, true, time.Time{}
	s.flush(n)
	s.after(time.Duration(s.rng.Int64N(int64(node.SyncAfter()))), func() { s.pulls(n, node) })
}

// pulls push-pulls with a random member now and then.
func (s *sim) pulls(n *simNode, node *Node) {
	if !n.up || n.Node != node {
		return
	}
	if ms := n.some(1, nil); len(ms) > 0 {
		s.sync(n, s.byID[ms[0].record.ID])
	}
	s.after(node.SyncAfter()/2+time.Duration(s.rng.Int64N(int64(node.SyncAfter()))), func() { s.pulls(n, node) })
}

// sync runs one push-pull to its end at once; the way there is reliable.
func (s *sim) sync(a, b *simNode) bool {
	if !a.up || !b.up || s.cut != nil && s.cut(a.index, b.index) {
		return false
	}
	for range 16 {
		frame, more := a.SyncOpen(), false
		for from, to := a, b; frame != nil; from, to = to, from {
			from.pulled += uint64(len(frame))
			answer, again, err := to.Sync(s.now, frame)
			if err != nil {
				s.t.Fatalf("push-pull: %v", err)
			}
			frame, more = answer, more || again
		}
		s.flush(a)
		s.flush(b)
		if !more {
			return true
		}
	}
	s.t.Fatal("push-pull does not end")
	return false
}

// flush sends what a member wants sent and schedules its next step.
func (s *sim) flush(n *simNode) {
	for _, p := range n.Packets() {
		n.sent += uint64(len(p.B) + sealBytes(p))
		to := s.byID[p.To.ID]
		delay, lost := s.links.draw()
		lost = lost || s.cut != nil && s.cut(n.index, to.index)
		if s.log != nil {
			s.log(n, to, p.B, lost)
		}
		if lost {
			s.drop++
			continue
		}
		b := p.B
		s.after(n.slow+delay+to.slow, func() {
			if !to.up {
				return
			}
			if err := to.Receive(s.now, n.id, b); err != nil {
				s.t.Fatalf("member %d refuses %d: %v", to.index, n.index, err)
			}
			s.flush(to)
		})
	}
	for _, c := range n.Changes() {
		if c.Forgotten {
			continue // it is held for nothing else than before
		}
		n.events = append(n.events, simEvent{s.now, c})
	}
	if next := n.Next(); n.wake.IsZero() || next.Before(n.wake) {
		n.wake = next
		node := n.Node
		s.after(next.Sub(s.now), func() {
			if !n.up || n.Node != node || !n.wake.Equal(next) {
				return
			}
			n.wake = time.Time{}
			n.Step(s.now)
			s.flush(n)
		})
	}
}

// run lets time pass.
func (s *sim) run(d time.Duration) {
	end := s.now.Add(d)
	for len(s.steps) > 0 && !s.steps[0].at.After(end) {
		step := heap.Pop(&s.steps).(simStep)
		s.now = step.at
		step.do()
	}
	s.now = end
}

// until lets time pass until cond holds, looking every 100 ms.
func (s *sim) until(limit time.Duration, cond func() bool) time.Duration {
	began := s.now
	for !cond() {
		if s.now.Sub(began) > limit {
			s.t.Fatalf("not after %v", limit)
		}
		s.run(100 * time.Millisecond)
	}
	return s.now.Sub(began)
}

// form starts n members that all join at the first, and waits until all know all.
func (s *sim) form(n int) time.Duration {
	for i := range n {
		m := s.add()
		if i > 0 {
			s.sync(m, s.nodes[0])
		}
	}
	return s.until(time.Minute, s.complete)
}

// settled starts n members that know each other already.
func (s *sim) settled(n int) {
	for range n {
		s.add()
	}
	for _, a := range s.nodes {
		a.young = false
		for _, b := range s.nodes {
			if a != b {
				a.welcome(s.now, b.tag, b.self, false)
			}
		}
		a.Changes()
	}
}

// complete tells whether everybody up knows everybody up, and nobody else, as alive.
func (s *sim) complete() bool {
	up := 0
	for _, n := range s.nodes {
		if n.up {
			up++
		}
	}
	for _, n := range s.nodes {
		if !n.up {
			continue
		}
		if n.size() != up {
			return false
		}
		for _, m := range n.alive {
			if !s.byID[m.record.ID].up {
				return false
			}
		}
	}
	return true
}

func (s *sim) crash(i int) { s.nodes[i].up = false }

// bytes is what a member sends a second, on average over those up, since mark.
func (s *sim) mark() (sum uint64, at time.Time) {
	for _, n := range s.nodes {
		sum += n.sent + n.pulled
	}
	return sum, s.now
}

func (s *sim) rate(sum uint64, at time.Time) float64 {
	now, _ := s.mark()
	return float64(now-sum) / s.now.Sub(at).Seconds() / float64(len(s.nodes))
}

// falseDeaths counts members found dead while they were up, since a time.
func (s *sim) falseDeaths(since time.Time, down map[ID]bool) (n int) {
	for _, m := range s.nodes {
		for _, e := range m.events {
			if e.State == Dead && !e.at.Before(since) && !down[e.ID] {
				n++
			}
		}
	}
	return n
}
