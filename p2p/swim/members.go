package swim

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// member is what we know of another.
type member struct {
	tag       uint64
	record    *Record
	state     State
	since     time.Time     // of the state
	index     int           // in Node.alive or Node.dead
	rtt       time.Duration // smoothed, 0: never measured
	suspicion *suspicion    // of a Suspect
	spread    *news         // its record, while queued
	reply     reply         // to its last round of aggregation
}

// suspicion runs from the first accusation to the member's death or refutation.
type suspicion struct {
	first    accusation
	accusers []uint64 // distinct, the first one too
	sure     bool     // somebody holds it for dead: no confirmations are needed
	passed   bool     // an accusation of death was passed on
	began    time.Time
	min, max time.Duration
	ends     time.Time
	call     time.Time // when the suspect is asked a last time
	called   bool
	queued   []*news
}

// mergeRaw is merge for an encoded record, which is decoded only if it is not
// the very one that we have.
func (n *Node) mergeRaw(now time.Time, raw []byte, spread bool) error {
	if m := n.members[peekTag(raw)]; m != nil && string(m.record.raw) == string(raw) {
		return nil
	}
	if r := n.cfg.Cache.get(raw); r != nil {
		return n.merge(now, r, spread)
	}
	r, err := DecodeRecord(raw)
	if err != nil {
		return err
	}
	return n.merge(now, r, spread)
}

// merge takes a record if it is newer than what we have. spread: others are told.
// One that lies too far ahead is left, without an error: the clock of whoever passed
// it on may be ahead of ours.
func (n *Node) merge(now time.Time, r *Record, spread bool) error {
	if r.ahead(now) {
		n.count.BadRecords++
		return nil
	}
	tag := r.ID.Tag()
	known := n.members[tag]
	if tag == n.tag {
		return n.mergeSelf(now, r)
	}
	if known != nil && (known.record.ID != r.ID || r.compare(known.record) <= 0) {
		return nil
	}
	if err := n.trust(r); err != nil {
		return err
	}
	if known == nil {
		if !r.Left {
			n.welcome(now, tag, r, spread)
		}
		return nil
	}
	if known.state < Dead {
		n.bucket(tag, known.record)
		n.bucket(tag, r)
	}
	newer := r.Incarnation > known.record.Incarnation
	known.record = r
	switch {
	case r.Left:
		n.bury(now, known, Left)
	case newer && known.state >= Dead:
		n.rise(now, known)
	case newer && known.state == Suspect:
		n.clear(now, known)
	}
	if spread && known.state != Dead {
		n.spread(now, known)
	}
	return nil
}

// trust checks what only a new record is worth checking for.
func (n *Node) trust(r *Record) error {
	if n.cfg.Cache.get(r.raw) == r {
		return nil // checked by another
	}
	if !n.cfg.Verify(r.ID, r.unsigned(n.cfg.Network), r.Sig) {
		n.count.BadRecords++
		return fmt.Errorf("%w: record not signed by its member", ErrInvalid)
	}
	n.cfg.Cache.put(r)
	return nil
}

// mergeSelf meets a record of ours from a former life: we go on above it, and
// keep what an operator had written.
func (n *Node) mergeSelf(now time.Time, r *Record) error {
	if r.ID != n.cfg.ID || r.compare(n.self) <= 0 {
		return nil
	}
	if err := n.trust(r); err != nil {
		return err
	}
	return n.revise(now, func(own *Record) {
		own.Incarnation = r.Incarnation + 1
		own.Version = max(own.Version, r.Version+1)
		if m := own.Entries.Merge(r.Entries); m.check() == nil {
			own.Entries = m
		}
	})
}

// welcome adds a member nobody told us of before. A part of the table is only for those who tell of themselves: records are
// made at will, and a table full of them must not keep out who is there.
func (n *Node) welcome(now time.Time, tag uint64, r *Record, spread bool) {
	limit := n.cfg.MaxMembers
	if tag != n.speaker {
		limit -= limit / 8
	}
	for len(n.members) >= limit {
		if len(n.dead) == 0 {
			n.count.Full++
			return
		}
		n.forget(n.dead[0])
	}
	m := &member{tag: tag, record: r, since: now}
	n.members[tag] = m
	n.enlist(m)
	n.changes = append(n.changes, Change{ID: r.ID, State: Alive, New: true})
	if spread {
		n.spread(now, m)
	}
}

// enlist puts a member among the living, and at a random place of the ring.
func (n *Node) enlist(m *member) {
	m.index = len(n.alive)
	n.alive = append(n.alive, m)
	at := n.rng.IntN(len(n.ring) + 1)
	n.ring = slices.Insert(n.ring, at, m)
	if at < n.next {
		n.next++
	}
	n.bucket(m.tag, m.record)
}

// spread queues a member's record, in place of an older one.
func (n *Node) spread(now time.Time, m *member) {
	if m.spread != nil {
		m.spread.stale = true
	}
	m.spread = &news{record: m.record}
	n.tell(now, m.spread)
}

// unlist takes a member out of the list it is in.
func unlist(list []*member, m *member) []*member {
	last := len(list) - 1
	list[m.index] = list[last]
	list[m.index].index = m.index
	list[last] = nil
	return list[:last]
}

// bury moves a member to the dead or those that left.
func (n *Node) bury(now time.Time, m *member, s State) {
	if m.state >= Dead {
		m.state = s
		return
	}
	n.drop(m)
	n.alive = unlist(n.alive, m)
	n.bucket(m.tag, m.record)
	m.state, m.since, m.index = s, now, len(n.dead)
	n.dead = append(n.dead, m)
	at := slices.Index(n.ring, m)
	n.ring = slices.Delete(n.ring, at, at+1)
	if at < n.next {
		n.next--
	}
	n.changes = append(n.changes, Change{ID: m.record.ID, State: s})
}

// rise brings a member back from the dead.
func (n *Node) rise(now time.Time, m *member) {
	n.dead = unlist(n.dead, m)
	m.state, m.since = Alive, now
	n.enlist(m)
	n.changes = append(n.changes, Change{ID: m.record.ID, State: Alive})
}

// forget loses all memory of a dead member.
func (n *Node) forget(m *member) {
	n.dead = unlist(n.dead, m)
	delete(n.members, m.tag)
	n.changes = append(n.changes, Change{ID: m.record.ID, State: m.state, Forgotten: true})
}

// revive tries a dead member again, which refutes if it lives, and forgets those
// dead for long.
func (n *Node) revive(now time.Time) {
	for i := len(n.dead) - 1; i >= 0; i-- {
		if now.Sub(n.dead[i].since) > n.cfg.DeadKeep {
			n.forget(n.dead[i])
		}
	}
	if len(n.dead) == 0 {
		return
	}
	if m := n.dead[n.rng.IntN(len(n.dead))]; m.state == Dead {
		n.seq++
		n.send(m, &message{Kind: kindPing, Seq: n.seq})
	}
}

// accused hears that somebody is suspect or dead.
func (n *Node) accused(now time.Time, a accusation) {
	if a.Subject == n.tag {
		n.defend(now, a)
		return
	}
	m := n.members[a.Subject]
	if m == nil || m.state >= Dead || m.record.Incarnation != a.Incarnation || n.members[a.Accuser] == nil || a.Accuser == a.Subject {
		return
	}
	if m.suspicion != nil {
		n.confirm(now, m, a)
		return
	}
	n.suspect(now, m, a)
	if n.rng.Float64()*float64(len(n.alive)) < float64(n.cfg.Verifiers) {
		n.probe(now, m)
	}
}

// suspect begins a suspicion.
func (n *Node) suspect(now time.Time, m *member, a accusation) {
	n.count.Suspicions++
	low := n.cfg.suspicionMin(n.size()) * time.Duration(1+n.awareness/4)
	m.suspicion = &suspicion{first: a, accusers: []uint64{a.Accuser}, sure: a.Dead, passed: a.Dead, began: now, min: low, max: time.Duration(n.cfg.SuspicionMax) * low}
	m.state, m.since = Suspect, now
	n.changes = append(n.changes, Change{ID: m.record.ID, State: Suspect})
	n.tellOf(now, m, a)
	n.arm(now, m)
}

// confirm counts another accuser. The first few of them are passed on, so that
// all may count them.
func (n *Node) confirm(now time.Time, m *member, a accusation) {
	s := m.suspicion
	counts := len(s.accusers) <= n.cfg.Confirmations && !slices.Contains(s.accusers, a.Accuser)
	if counts {
		s.accusers = append(s.accusers, a.Accuser)
	}
	news := a.Dead && !s.passed
	if a.Dead {
		s.sure, s.passed = true, true
	}
	if counts || news {
		n.tellOf(now, m, a)
		n.arm(now, m)
	}
}

func (n *Node) tellOf(now time.Time, m *member, a accusation) {
	x := &news{accuse: a}
	m.suspicion.queued = append(m.suspicion.queued, x)
	n.tell(now, x)
}

// arm sets when the suspicion ends: after max unconfirmed, after min when enough
// have confirmed it, falling with the logarithm of their number (Lifeguard,
// section IV-B). A little before, the suspect is called a last time.
func (n *Node) arm(now time.Time, m *member) {
	s := m.suspicion
	if s.called {
		return
	}
	wanted := min(n.cfg.Confirmations, n.size()-2)
	lasts := s.min
	if confirmed := len(s.accusers) - 1; !s.sure && confirmed < wanted {
		share := math.Log(float64(confirmed+1)) / math.Log(float64(wanted+1))
		lasts = s.max - time.Duration(share*float64(s.max-s.min))
	}
	s.ends = s.began.Add(lasts)
	lead := min(n.timeout(m), s.min/2)
	if s.call = s.ends.Add(-lead); s.call.Before(now) {
		s.call, s.ends = now, now.Add(lead)
	}
	n.agenda.add(s.call, func(now time.Time) { n.lastCall(now, m, s) })
}

// lastCall asks the suspect itself: nobody is held for dead on hearsay alone.
func (n *Node) lastCall(now time.Time, m *member, s *suspicion) {
	if m.suspicion != s || s.called || now.Before(s.call) {
		return // it is over, or lasts longer
	}
	s.called = true
	n.ping(now, m)
	n.agenda.add(now.Add(s.ends.Sub(s.call)), func(now time.Time) {
		if m.suspicion != s {
			return
		}
		if !s.passed {
			s.passed = true
			n.tell(now, &news{accuse: accusation{Dead: true, Subject: m.tag, Incarnation: m.record.Incarnation, Accuser: n.tag}})
		}
		n.count.Deaths++
		n.bury(now, m, Dead)
	})
}

// clear ends a suspicion: its subject lives.
func (n *Node) clear(now time.Time, m *member) {
	n.drop(m)
	m.state, m.since = Alive, now
	n.changes = append(n.changes, Change{ID: m.record.ID, State: Alive})
}

// drop forgets a suspicion and does not pass on what was said.
func (n *Node) drop(m *member) {
	if m.suspicion == nil {
		return
	}
	for _, x := range m.suspicion.queued {
		x.stale = true
	}
	m.suspicion = nil
}

// defend answers an accusation of ourselves with a higher incarnation. It also
// tells that we may be the slow one.
func (n *Node) defend(now time.Time, a accusation) {
	if a.Incarnation < n.self.Incarnation || a.Incarnation >= uint64(now.Add(maxAhead).UnixMilli()) || n.self.Left {
		return
	}
	if n.refuting {
		return
	}
	if wait := n.cfg.RefuteGap - now.Sub(n.refuted); wait > 0 {
		n.refuting = true
		n.agenda.add(now.Add(wait), func(now time.Time) { n.refute(now, a.Incarnation) })
		return
	}
	n.refute(now, a.Incarnation)
}

func (n *Node) refute(now time.Time, above uint64) {
	n.refuting, n.refuted = false, now
	n.count.Refutations++
	n.feel(1)
	old := n.self
	if err := n.revise(now, func(r *Record) { r.Incarnation = max(r.Incarnation, above) + 1 }); err != nil {
		n.self = old // the key cannot sign now: the next accusation tries again
	}
}

// feel changes the local health: 0 is well, each step slows our judgement down
// (Lifeguard, section IV-A).
func (n *Node) feel(delta int) { n.awareness = min(max(n.awareness+delta, 0), maxAwareness) }

const maxAwareness = 8
