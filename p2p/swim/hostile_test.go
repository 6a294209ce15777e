package swim

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/rlp"
)

// say has a hostile member send a message to another; it may lie about all but
// who it is.
func (s *sim) say(from, to *simNode, m *message) error {
	err := to.Receive(s.now, from.id, m.encode())
	s.flush(to)
	return err
}

// TestForgedDeaths: a member that tells everybody, again and again and in the
// name of others, that a living one is dead, kills nobody; the accused refutes.
func TestForgedDeaths(t *testing.T) {
	s := newSim(t, 11, Config{}, newLinks(11, 0.05))
	s.settled(40)
	evil, victim := s.nodes[0], s.nodes[1]
	for range 40 {
		for _, n := range s.nodes[2:] { // everybody but the victim
			var lies []accusation
			for accuser := range 5 {
				lies = append(lies, accusation{Dead: true, Subject: victim.tag, Incarnation: n.members[victim.tag].record.Incarnation, Accuser: s.nodes[accuser+5].tag})
			}
			if err := s.say(evil, n, &message{Kind: kindGossip, Accusations: lies}); err != nil {
				t.Fatal(err)
			}
		}
		s.run(500 * time.Millisecond)
	}
	suspected := 0
	for _, n := range s.nodes {
		suspected += int(n.Counters().Suspicions)
	}
	if suspected == 0 || victim.Counters().Refutations == 0 {
		t.Fatalf("%d suspicions, %d refutations: nothing happened", suspected, victim.Counters().Refutations)
	}
	if n := s.falseDeaths(simStart, nil); n > 0 {
		t.Errorf("%d members were found dead on hearsay", n)
	}
	s.run(10 * time.Second)
	if !s.complete() {
		t.Error("not everybody knows everybody for alive")
	}
}

// TestIncarnationOverflow: an accusation with an incarnation near overflow is
// nothing, and so is a record with one; the accused lives on.
func TestIncarnationOverflow(t *testing.T) {
	s := newSim(t, 12, Config{}, newLinks(12, 0))
	s.settled(10)
	evil, victim, other := s.nodes[0], s.nodes[1], s.nodes[2]
	was := victim.self.Incarnation
	for _, inc := range []uint64{math.MaxUint64, uint64(s.now.Add(2 * maxAhead).UnixMilli())} {
		a := accusation{Dead: true, Subject: victim.tag, Incarnation: inc, Accuser: evil.tag}
		for _, n := range s.nodes[1:] {
			if err := s.say(evil, n, &message{Kind: kindGossip, Accusations: []accusation{a}}); err != nil {
				t.Fatal(err)
			}
		}
		if victim.self.Incarnation != was || other.members[victim.tag].state != Alive {
			t.Fatalf("incarnation %d moved the accused to %d", inc, victim.self.Incarnation)
		}
		r := signed(0, inc, 1, nil)
		if err := s.say(evil, other, &message{Kind: kindGossip, Records: []rlp.RawValue{r.raw}}); err != nil || other.members[evil.tag].record.Incarnation == inc {
			t.Fatalf("a record of incarnation %d: %v, held: %d", inc, err, other.members[evil.tag].record.Incarnation)
		}
	}
	// One that is only a little ahead is refuted, and leaves the next room.
	a := accusation{Subject: victim.tag, Incarnation: was + 1000, Accuser: evil.tag}
	if err := s.say(evil, victim, &message{Kind: kindGossip, Accusations: []accusation{a}}); err != nil {
		t.Fatal(err)
	}
	if victim.self.Incarnation != was+1001 {
		t.Fatalf("refuted with %d, want %d", victim.self.Incarnation, was+1001)
	}
}

// TestClocksDifferAtTheBound: a record that one member's clock just allows, and another's does not, is passed on by the
// one and not taken by the other, who takes what else the message says and blames nobody.
func TestClocksDifferAtTheBound(t *testing.T) {
	s := newSim(t, 18, Config{}, newLinks(18, 0))
	s.settled(3)
	ahead, behind := s.nodes[1], s.nodes[2]
	r := signed(90, uint64(s.now.Add(maxAhead).UnixMilli()), 1, nil)
	next := signed(91, uint64(s.now.UnixMilli()), 1, nil)
	if err := s.say(s.nodes[0], ahead, &message{Kind: kindGossip, Records: []rlp.RawValue{r.raw}}); err != nil || ahead.members[r.ID.Tag()] == nil {
		t.Fatalf("not taken at the bound: %v", err)
	}
	early := s.now.Add(-time.Second) // behind's clock
	m := message{Kind: kindGossip, Records: []rlp.RawValue{r.raw, next.raw}}
	if err := behind.Receive(early, ahead.id, m.encode()); err != nil {
		t.Errorf("the one that passed it on is blamed: %v", err)
	}
	if err := behind.takeDelta(early, &syncFrame{Records: m.Records}); err != nil {
		t.Errorf("the one that passed it on by push-pull is blamed: %v", err)
	}
	if behind.members[r.ID.Tag()] != nil || behind.members[next.ID.Tag()] == nil || behind.Counters().BadRecords == 0 {
		t.Errorf("beyond the bound: %v, the other: %v, refused: %d", behind.members[r.ID.Tag()], behind.members[next.ID.Tag()], behind.Counters().BadRecords)
	}
}

// TestForgedRecords: metadata, addresses and goodbyes in another's name, or of
// another network, or altered, are refused; the sender is told of.
func TestForgedRecords(t *testing.T) {
	s := newSim(t, 13, Config{}, newLinks(13, 0))
	s.settled(10)
	evil, victim, target := s.nodes[0], s.nodes[1], s.nodes[2]
	was := target.members[victim.tag].record
	forge := func(bend func(*Record), sign func(msg []byte) []byte) []byte {
		r := *was
		r.Version += 5
		bend(&r)
		r.Sig = sign(r.unsigned("test"))
		return mustEncode(&r)
	}
	byEvil := func(msg []byte) []byte { return fakeSign(evil.id, msg) }
	for name, raw := range map[string][]byte{
		"metadata":        forge(func(r *Record) { r.Entries = Map{{"zone", 1, "here"}} }, byEvil),
		"addresses":       forge(func(r *Record) { r.Addrs = [][]byte{{1, 2, 3}} }, byEvil),
		"goodbye":         forge(func(r *Record) { r.Left = true }, byEvil),
		"incarnation":     forge(func(r *Record) { r.Incarnation++ }, byEvil),
		"another network": forge(func(r *Record) {}, func([]byte) []byte { r := *was; r.Version += 5; return fakeSign(victim.id, r.unsigned("other")) }),
		"altered": func() []byte {
			b := slices.Clone(signed(1, was.Incarnation+9, was.Version+9, Map{{"zone", 1, "aaaa"}}).raw)
			b[strings.Index(string(b), "aaaa")] = 'b'
			return b
		}(),
	} {
		if err := s.say(evil, target, &message{Kind: kindGossip, Records: []rlp.RawValue{raw}}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if m := target.members[victim.tag]; m.record != was || m.state != Alive {
			t.Errorf("%s: was taken", name)
		}
	}
	if n := target.Counters().BadRecords; n != 6 {
		t.Errorf("%d bad records counted, want 6", n)
	}
}

// TestReplays: an old record or an old accusation changes nothing.
func TestReplays(t *testing.T) {
	s := newSim(t, 14, Config{}, newLinks(14, 0))
	s.settled(10)
	victim, target := s.nodes[1], s.nodes[2]
	old := victim.self
	if err := victim.Set(s.now, map[string]string{"zone": "new"}); err != nil {
		t.Fatal(err)
	}
	s.flush(victim)
	s.run(2 * time.Second)
	victim.defend(s.now, accusation{Subject: victim.tag, Incarnation: old.Incarnation})
	s.flush(victim)
	s.run(2 * time.Second)
	now := target.members[victim.tag].record
	if now.Entries.Get("zone") != "new" || now.Incarnation == old.Incarnation {
		t.Fatal("the news did not arrive")
	}
	lie := accusation{Dead: true, Subject: victim.tag, Incarnation: old.Incarnation, Accuser: s.nodes[3].tag}
	if err := s.say(s.nodes[0], target, &message{Kind: kindGossip, Records: []rlp.RawValue{old.raw}, Accusations: []accusation{lie}}); err != nil {
		t.Fatal(err)
	}
	if m := target.members[victim.tag]; m.record != now || m.state != Alive {
		t.Fatal("a replay was taken")
	}
}

// TestFloods: whatever one member sends, what another holds and does stays
// bounded, and the honest are unharmed.
func TestFloods(t *testing.T) {
	s := newSim(t, 15, Config{MaxMembers: 200}, newLinks(15, 0))
	s.settled(10)
	evil, target := s.nodes[0], s.nodes[1]
	for i := range 1000 { // members that do not exist, and probes for others
		r := signed(1000+i, uint64(s.now.UnixMilli()), 1, nil)
		if err := target.Receive(s.now, evil.id, (&message{Kind: kindPingReq, Seq: uint64(i), Target: s.nodes[2+i%8].tag, Records: []rlp.RawValue{r.raw}}).encode()); err != nil {
			t.Fatal(err)
		}
		target.Packets()
	}
	if len(target.members) > 200 || target.Counters().Full == 0 {
		t.Errorf("%d members, %d refused", len(target.members), target.Counters().Full)
	}
	if len(target.relays) > maxRelays {
		t.Errorf("%d relays", len(target.relays))
	}
	signs := target.Counters().Refutations
	for range 1000 {
		lie := accusation{Dead: true, Subject: target.tag, Incarnation: target.self.Incarnation, Accuser: evil.tag}
		if err := target.Receive(s.now, evil.id, (&message{Kind: kindGossip, Accusations: []accusation{lie}}).encode()); err != nil {
			t.Fatal(err)
		}
	}
	if n := target.Counters().Refutations - signs; n > 1 {
		t.Errorf("%d signatures for 1,000 accusations at one instant", n)
	}
	accusers := len(target.members)
	for i := range 1000 {
		lie := accusation{Subject: s.nodes[4].tag, Incarnation: s.nodes[4].self.Incarnation, Accuser: s.nodes[i%10].tag}
		_ = target.Receive(s.now, evil.id, (&message{Kind: kindGossip, Accusations: []accusation{lie}}).encode())
	}
	if sus := target.members[s.nodes[4].tag].suspicion; sus == nil || len(sus.accusers) > target.cfg.Confirmations+1 || accusers == 0 {
		t.Errorf("suspicion %+v", sus)
	}
	target.Packets()
}

// TestNewcomerOfAFullTable: members that are made up do not keep out one that is there: part of the table is for those who
// speak for themselves. Beyond that it is answered as long as it says who it is, and nothing is kept of it.
func TestNewcomerOfAFullTable(t *testing.T) {
	n := lone(t, func(c *Config) { c.MaxMembers = 16 })
	for i := 1000; i < 1100; i++ {
		if err := n.merge(simStart, signed(i, uint64(simStart.UnixMilli()), 1, nil), true); err != nil {
			t.Fatal(err)
		}
	}
	if len(n.members) != 14 || n.Counters().Full != 86 {
		t.Fatalf("%d of 100 members are taken on hearsay, %d refused", len(n.members), n.Counters().Full)
	}
	for i := 1; i <= 4; i++ {
		j := lone(t, func(c *Config) {
			id := simID(i)
			c.ID, c.Sign = id, func(b []byte) ([]byte, error) { return fakeSign(id, b), nil }
		})
		if err := j.merge(simStart, n.self, false); err != nil {
			t.Fatal(err)
		}
		// ping tells whether a ping of the newcomer, bent, is answered to it.
		ping := func(bend func(m *message)) bool {
			m := &message{Kind: kindPing, Seq: 7, Records: []rlp.RawValue{j.self.raw}}
			bend(m)
			n.Packets()
			if err := n.Receive(simStart, j.cfg.ID, m.encode()); err != nil {
				t.Fatal(err)
			}
			for _, p := range n.Packets() {
				if a, err := DecodeMessage(p.B); err == nil && a.Kind == kindAck && a.Seq == 7 && p.To.ID == j.cfg.ID {
					return true
				}
			}
			return false
		}
		if !ping(func(*message) {}) {
			t.Errorf("newcomer %d is not answered", i)
		}
		_, member := n.members[j.tag]
		if member != (i <= 2) || ping(func(m *message) { m.Records = nil }) != member {
			t.Errorf("newcomer %d is a member: %v", i, member)
		}
		if !member && (ping(func(m *message) { m.Kind, m.Target = kindPingReq, n.alive[0].tag }) || ping(func(m *message) { m.Records[0] = n.alive[0].record.raw })) {
			t.Errorf("newcomer %d gets more than an answer, or gets it in another's name", i)
		}
	}
	if len(n.members) != 16 || len(n.relays) != 0 {
		t.Errorf("%d members, %d relays", len(n.members), len(n.relays))
	}
}

// TestLyingAggregates: a share that is no number, far too large, or of a far
// epoch moves nobody.
func TestLyingAggregates(t *testing.T) {
	s := newSim(t, 16, Config{}, newLinks(16, 0))
	s.settled(5)
	evil, target := s.nodes[0], s.nodes[1]
	was := target.round.mass
	for name, x := range map[string]share{
		"not a number": {Epoch: target.round.epoch, Mass: [numParts]uint64{math.Float64bits(math.NaN())}},
		"huge":         {Epoch: target.round.epoch, Mass: [numParts]uint64{math.Float64bits(1e300)}},
	} {
		if err := s.say(evil, target, &message{Kind: kindShare, Seq: 1, Shares: []share{x}}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.say(evil, target, &message{Kind: kindShare, Seq: 2, Shares: []share{{Epoch: math.MaxUint64}}}); err != nil || target.round.epoch == math.MaxUint64 {
		t.Errorf("far epoch: %v, now %d", err, target.round.epoch)
	}
	if target.round.mass != was {
		t.Error("its mass moved")
	}
}

// TestMassStaysWithinBounds: a member that gives another as much mass as a message may claim, again and again, does not
// make it send what others must refuse.
func TestMassStaysWithinBounds(t *testing.T) {
	s := newSim(t, 17, Config{}, newLinks(17, 0))
	s.settled(3)
	evil, target, other := s.nodes[0], s.nodes[1], s.nodes[2]
	much := share{Epoch: target.round.epoch, Mass: [numParts]uint64{math.Float64bits(0.99 * maxMass)}}
	ask := func(whom *simNode) { // the target begins a round with whom
		for r := &target.round; r.pending == nil || r.pending.tag != whom.tag; target.exchange(s.now) {
			r.pending = nil
		}
	}
	for i := range 10 {
		if err := s.say(evil, target, &message{Kind: kindShare, Seq: uint64(i), Shares: []share{much}}); err != nil {
			t.Fatal(err)
		}
	}
	ask(evil)
	rounds := target.round.rounds
	if err := s.say(evil, target, &message{Kind: kindShared, Seq: target.round.seq, Shares: []share{much}}); err != nil {
		t.Fatal(err)
	}
	if m := target.round.mass[partWeight]; m < 0.9*maxMass || target.round.pending != nil || target.round.rounds != rounds {
		t.Errorf("its mass is %g after an answer that would double it, %d rounds counted", m, target.round.rounds-rounds)
	}
	ask(other)
	packets := target.Packets()
	if err := other.Receive(s.now, target.id, packets[len(packets)-1].B); err != nil {
		t.Errorf("another refuses its share: %v", err)
	}
}
