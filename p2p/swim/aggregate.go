package swim

import (
	"fmt"
	"math"
	"math/bits"
	"time"
)

// Values are what a member contributes to the aggregates.
type Values struct {
	Head uint64 // number of its head
	Pool uint64 // transactions in its pool
	Load uint64 // bytes a second it sends and receives
}

// Aggregate is what the whole network looks like from one member: estimates that
// were computed by the network, not from the records.
type Aggregate struct {
	Epoch  uint64
	Rounds int     // exchanges it is made of, about two in each round
	Nodes  float64 // 0: not known yet
	Mean   Mean
	Max    Values
}

// Mean is the average of Values.
type Mean struct{ Head, Pool, Load float64 }

// The parts of a member's mass. Over all members each adds up to the same in
// every round: the average of a value is its sum over that of the weights, and
// the number of members that of the weights over that of the leads, of which one
// member holds 1 in the beginning.
const (
	partWeight = iota
	partLead
	partHead
	partPool
	partLoad
	numParts
)

// share is one message of a round: the mass of the one that asks, or what is to
// be added to it.
type share struct {
	Epoch uint64
	Mass  [numParts]uint64 // bits of float64
	Max   Values
}

// maxShare bounds its encoding.
const maxShare = 100

// maxMass bounds what one message may claim, and what a member has: far above any
// honest sum, far below what would lose the digits of others. Averaging keeps within
// it; an answer that leads beyond it is not taken.
const maxMass = 1e18

func (s *share) check() error {
	for _, b := range s.Mass {
		if f := math.Float64frombits(b); !(math.Abs(f) < maxMass) {
			return fmt.Errorf("%w: a share of %g", ErrInvalid, f)
		}
	}
	return nil
}

// reply is what the last round of a peer was answered with, in case it did not
// arrive.
type reply struct {
	seq uint64
	share
}

// aggregation computes sums over all members by averaging pairs: each round a
// member sends its mass to a random other, which takes half of the difference
// and answers with the other half (Jelasity, Montresor, Babaoglu: Gossip-based
// aggregation, 2005, whose error falls by 0.30 a round, where push-sum's falls by
// 0.5). A round whose message was lost is asked again, and answered again with
// the same, so that mass is never made or lost but by a crash. Each epoch begins
// anew, with those that were there when it began.
type aggregation struct {
	values Values
	epoch  uint64
	mass   [numParts]float64
	max    Values
	rounds int
	result Aggregate // of the last whole epoch

	pending *member // who has not answered, or nil
	seq     uint64
	asked   message
	tries   int
}

// maxTries is how often a round is asked before it is given up.
const maxTries = 6

func (n *Node) epochLength() time.Duration {
	return n.cfg.AggregateInterval * time.Duration(n.cfg.EpochRounds)
}

func (n *Node) epochAt(now time.Time) uint64 {
	return uint64(now.UnixMilli()) / uint64(n.epochLength().Milliseconds())
}

func (n *Node) startRounds(now time.Time) {
	n.round.epoch = n.epochAt(now) // in which we only help: we may not know the others yet
	n.every(n.cfg.AggregateInterval, func(*Node) time.Duration { return n.cfg.AggregateInterval }, n.exchange, now)
}

// SetValues says what we contribute from the next epoch on.
func (n *Node) SetValues(v Values) { n.round.values = v }

// Aggregate returns the estimates: of the present epoch if it is old enough, else
// of the last one.
func (n *Node) Aggregate() Aggregate {
	if r := &n.round; r.rounds >= 4*bits.Len(uint(n.size())) {
		return r.estimate()
	}
	return n.round.result
}

func (r *aggregation) estimate() Aggregate {
	a := Aggregate{Epoch: r.epoch, Rounds: r.rounds, Max: r.max}
	if w := r.mass[partWeight]; w > 0 {
		a.Mean = Mean{r.mass[partHead] / w, r.mass[partPool] / w, r.mass[partLoad] / w}
		if lead := r.mass[partLead]; lead > 0 {
			a.Nodes = w / lead
		}
	}
	return a
}

// begin closes the present epoch and starts another.
func (n *Node) begin(epoch uint64) {
	r := &n.round
	if r.rounds > 0 {
		r.result = r.estimate()
	}
	r.epoch, r.rounds, r.pending = epoch, 0, nil
	v := r.values
	r.mass = [numParts]float64{1, 0, float64(v.Head), float64(v.Pool), float64(v.Load)}
	r.max = v
	if n.leads(epoch) {
		r.mass[partLead] = 1
	}
	if len(n.alive) == 0 {
		r.result = r.estimate()
	}
}

// leads tells whether we are the one that all who know the same members choose.
func (n *Node) leads(epoch uint64) bool {
	rank := func(tag uint64) uint64 {
		hi, lo := bits.Mul64(tag^epoch, 0x9e3779b97f4a7c15)
		return hi ^ lo
	}
	own := rank(n.tag)
	for _, m := range n.alive {
		if rank(m.tag) < own {
			return false
		}
	}
	return true
}

// exchange begins a round, or asks again for one that was not answered.
func (n *Node) exchange(now time.Time) {
	r := &n.round
	if e := n.epochAt(now); e > r.epoch {
		n.begin(e)
	}
	if r.pending != nil && r.pending.state < Dead && r.tries < maxTries {
		r.tries++
		again := r.asked
		n.send(r.pending, &again)
		return
	}
	r.pending = nil
	for _, m := range n.some(1, nil) {
		n.seq++
		r.pending, r.seq, r.tries = m, n.seq, 0
		r.asked = message{Kind: kindShare, Seq: r.seq, Shares: []share{r.give(r.mass)}}
		first := r.asked
		n.send(m, &first)
	}
}

func (r *aggregation) give(mass [numParts]float64) share {
	s := share{Epoch: r.epoch, Max: r.max}
	for i, f := range mass {
		s.Mass[i] = math.Float64bits(f)
	}
	return s
}

// share answers a round that another began.
func (n *Node) share(now time.Time, peer *member, m *message) {
	r, s := &n.round, &m.Shares[0]
	if s.Epoch > r.epoch && s.Epoch <= n.epochAt(now)+1 {
		n.begin(s.Epoch)
	}
	if s.Epoch > r.epoch {
		return // its clock is far ahead, or it lies
	}
	if s.Epoch == r.epoch && (peer.reply.Epoch != s.Epoch || peer.reply.seq != m.Seq) {
		var back [numParts]float64
		for i, b := range s.Mass {
			half := (math.Float64frombits(b) - r.mass[i]) / 2
			r.mass[i] += half
			back[i] = -half
		}
		r.highest(s.Max)
		r.rounds++
		peer.reply = reply{m.Seq, r.give(back)}
	}
	answer := peer.reply.share
	if s.Epoch < r.epoch {
		answer = r.give([numParts]float64{}) // it is late: it begins the new epoch
	}
	n.send(peer, &message{Kind: kindShared, Seq: m.Seq, Shares: []share{answer}})
}

// shared takes the answer to our round.
func (n *Node) shared(now time.Time, peer *member, m *message) {
	r, s := &n.round, &m.Shares[0]
	if r.pending != peer || r.seq != m.Seq {
		return
	}
	r.pending = nil
	if s.Epoch != r.epoch {
		if s.Epoch > r.epoch && s.Epoch <= n.epochAt(now)+1 {
			n.begin(s.Epoch)
		}
		return
	}
	mass := r.mass
	for i, b := range s.Mass {
		if mass[i] += math.Float64frombits(b); !(math.Abs(mass[i]) < maxMass) {
			return // others would refuse what we send
		}
	}
	r.mass = mass
	r.highest(s.Max)
	r.rounds++
}

func (r *aggregation) highest(v Values) {
	r.max = Values{max(r.max.Head, v.Head), max(r.max.Pool, v.Pool), max(r.max.Load, v.Load)}
}
