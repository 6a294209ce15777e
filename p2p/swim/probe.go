package swim

import (
	"slices"
	"time"
)

// probe is a question whether a member lives, and who was asked to ask it.
type probe struct {
	target *member
	sent   time.Time
	relays []*member
	first  int // of the relays: those asked in time for a nack
	nacks  int
	due    bool       // its failure is judged; a last call's is not
	failed bool       // it was; an answer may still come
	cause  *suspicion // that began with its failure
}

// relay is a probe we make for another.
type relay struct {
	asker  *member
	seq    uint64 // theirs
	target *member
}

const (
	maxRelays  = 256                    // at once; more are not answered
	minTimeout = 100 * time.Millisecond // below it a busy machine looks like a dead one
	maxTimeout = time.Second
	lateAfter  = 5 * time.Second // answers later than this are not recognised
	deadlineBy = 5               // halves of the timeout: a probe fails after 2.5 times it
)

// timeout is how long a direct answer of m may take: twice its usual time, or
// what is usual for others, and more while we are not well ourselves.
func (n *Node) timeout(m *member) time.Duration {
	t := n.cfg.ProbeTimeout
	switch {
	case m.rtt > 0:
		t = min(max(2*m.rtt+10*time.Millisecond, minTimeout), maxTimeout)
	case n.rtt > 0:
		t = min(max(2*(n.rtt+4*n.rttDev), minTimeout), t)
	}
	return t * time.Duration(n.awareness+1)
}

// took notes a round trip (RFC 6298's estimator).
func (n *Node) took(m *member, d time.Duration) {
	d = max(d, 1)
	if m.rtt == 0 {
		m.rtt = d
	}
	m.rtt += (d - m.rtt) / 8
	if n.rtt == 0 {
		n.rtt, n.rttDev = d, d/2
	}
	n.rttDev += ((d - n.rtt).Abs() - n.rttDev) / 4
	n.rtt += (d - n.rtt) / 8
}

func (c *Config) probePause(n *Node) time.Duration {
	return c.ProbeInterval * time.Duration(n.awareness+1)
}

// probeNext probes the next member of the ring, in an order that is shuffled
// again after each round.
func (n *Node) probeNext(now time.Time) {
	if len(n.ring) == 0 {
		return
	}
	if n.next >= len(n.ring) {
		n.next = 0
		n.rng.Shuffle(len(n.ring), func(i, j int) { n.ring[i], n.ring[j] = n.ring[j], n.ring[i] })
	}
	m := n.ring[n.next]
	n.next++
	n.probe(now, m)
}

// Hint has a member probed at once: its connection broke, say.
func (n *Node) Hint(now time.Time, id ID) {
	if m := n.members[id.Tag()]; m != nil && m.state == Alive {
		n.probe(now, m)
	}
}

// ping asks a member and returns the question, which nothing judges yet.
func (n *Node) ping(now time.Time, m *member) *probe {
	n.seq++
	seq := n.seq
	p := &probe{target: m, sent: now}
	n.probes[seq] = p
	n.send(m, &message{Kind: kindPing, Seq: seq})
	n.agenda.add(now.Add(n.timeout(m)*deadlineBy/2), func(now time.Time) {
		if n.probes[seq] == p {
			n.failed(now, p)
		}
	})
	n.agenda.add(now.Add(lateAfter), func(time.Time) { delete(n.probes, seq) })
	return p
}

// probe asks a member whether it lives, directly, and when it is late twice
// more, each time by others as well. At 10 % loss 1 of 30,000 probes of a living
// member fails.
func (n *Node) probe(now time.Time, m *member) {
	n.count.Probes++
	p := n.ping(now, m)
	p.due = true
	seq, timeout := n.seq, n.timeout(m)
	again := func(time.Time) {
		if n.probes[seq] != p || p.failed || m.state >= Dead {
			return
		}
		n.send(m, &message{Kind: kindPing, Seq: seq})
		for _, r := range n.some(n.cfg.IndirectProbes, m) {
			if r.state == Alive && !slices.Contains(p.relays, r) {
				p.relays = append(p.relays, r)
				n.send(r, &message{Kind: kindPingReq, Seq: seq, Target: m.tag})
			}
		}
	}
	n.agenda.add(now.Add(timeout), func(now time.Time) {
		again(now)
		p.first = len(p.relays)
	})
	n.agenda.add(now.Add(timeout*7/4), again)
}

// failed judges a probe nobody answered. When most of those who were asked did
// not even send a nack, we doubt ourselves; a few of them may have crashed, too.
func (n *Node) failed(now time.Time, p *probe) {
	if p.failed = true; !p.due || p.target.state >= Dead {
		return
	}
	n.count.ProbesFailed++
	m := p.target
	switch {
	case m.suspicion != nil: // others have trouble with it too: it is not us
	case 2*p.nacks <= p.first:
		n.feel(1)
	}
	a := accusation{Subject: m.tag, Incarnation: m.record.Incarnation, Accuser: n.tag}
	if m.suspicion == nil {
		n.suspect(now, m, a)
		p.cause = m.suspicion
	} else {
		n.confirm(now, m, a)
	}
}

// probeFor pings a member for another, and tells it when that takes long, so
// that it knows at least us to be alive.
func (n *Node) probeFor(now time.Time, asker *member, m *message) {
	if m.Target == n.tag {
		n.send(asker, &message{Kind: kindAck, Seq: m.Seq})
		return
	}
	target := n.members[m.Target]
	if target == nil || target.state >= Dead || len(n.relays) >= maxRelays {
		return
	}
	n.seq++
	seq := n.seq
	n.relays[seq] = relay{asker, m.Seq, target}
	n.send(target, &message{Kind: kindPing, Seq: seq})
	wait := n.timeout(target)
	n.agenda.add(now.Add(wait/2), func(time.Time) {
		if _, open := n.relays[seq]; open {
			n.send(asker, &message{Kind: kindNack, Seq: m.Seq})
		}
	})
	n.agenda.add(now.Add(2*wait), func(time.Time) { delete(n.relays, seq) })
}

// answered takes an ack or a nack, of the target itself or of a relay.
func (n *Node) answered(now time.Time, peer *member, m *message) {
	if r, ok := n.relays[m.Seq]; ok && r.target == peer && m.Kind == kindAck {
		delete(n.relays, m.Seq)
		n.send(r.asker, &message{Kind: kindAck, Seq: r.seq})
		return
	}
	p := n.probes[m.Seq]
	if p == nil || p.target != peer && !slices.Contains(p.relays, peer) {
		return
	}
	if m.Kind == kindNack {
		p.nacks++
		return
	}
	if p.target == peer || !p.failed {
		delete(n.probes, m.Seq)
	}
	if p.due && !p.failed {
		n.feel(-1)
	}
	if p.target != peer {
		return
	}
	n.took(peer, now.Sub(p.sent))
	if s := peer.suspicion; s != nil && (s == p.cause || !p.sent.Before(s.began)) {
		n.count.Cleared++
		n.clear(now, peer)
	}
}
