package swim

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

// TestPushPullMovesOnlyDifferences: members that agree compare 20 bytes; one
// difference among 200 costs about one record and one bucket.
func TestPushPullMovesOnlyDifferences(t *testing.T) {
	s := newSim(t, 21, Config{}, newLinks(21, 0))
	s.settled(200)
	a, b := s.nodes[0], s.nodes[1]
	cost := func() uint64 {
		before := a.pulled + b.pulled
		if !s.sync(a, b) {
			t.Fatal("no push-pull")
		}
		return a.pulled + b.pulled - before
	}
	if got := cost(); got > 60 {
		t.Errorf("two that agree exchange %d bytes", got)
	}
	if err := b.Set(s.now, map[string]string{"zone": "eu"}); err != nil {
		t.Fatal(err)
	}
	if got := cost(); got > 1200 || a.members[b.tag].record != b.self && string(a.members[b.tag].record.raw) != string(b.self.raw) {
		t.Errorf("one difference costs %d bytes, or is not taken", got)
	}
	if got := cost(); got > 60 {
		t.Errorf("afterwards %d bytes", got)
	}
}

// TestJoin: from one address, everybody knows everybody within seconds.
func TestJoin(t *testing.T) {
	for _, loss := range []float64{0, 0.1} {
		s := newSim(t, 22, Config{}, newLinks(22, loss))
		if took := s.form(60); took > 15*time.Second {
			t.Errorf("loss %g: formed after %v", loss, took)
		}
		if n := s.falseDeaths(simStart, nil); n > 0 {
			t.Errorf("loss %g: %d false deaths", loss, n)
		}
	}
}

// TestPartitionHeals: two halves find each other dead, and after the cut ends
// everybody knows everybody again, without anybody's help.
func TestPartitionHeals(t *testing.T) {
	s := newSim(t, 23, Config{}, newLinks(23, 0))
	s.settled(20)
	s.cut = func(a, b int) bool { return a%2 != b%2 }
	s.run(20 * time.Second)
	for _, n := range s.nodes {
		if n.size() != 10 {
			t.Fatalf("a member of a half knows %d, want 10", n.size())
		}
	}
	s.cut = nil
	if took := s.until(time.Minute, s.complete); took > 20*time.Second {
		t.Errorf("healed after %v", took)
	}
}

// TestRestart: a member that crashed and starts anew is alive at once everywhere,
// also when its clock went back.
func TestRestart(t *testing.T) {
	s := newSim(t, 24, Config{}, newLinks(24, 0))
	s.settled(20)
	n := s.nodes[3]
	s.run(2 * time.Second)
	s.crash(3)
	s.run(8 * time.Second)
	if s.nodes[0].members[n.tag].state != Dead {
		t.Fatal("it was not found dead")
	}
	s.boot(n)
	s.sync(n, s.nodes[5])
	s.until(5*time.Second, s.complete)
	// A clock that went back does not keep it out.
	s.crash(3)
	s.run(8 * time.Second)
	now := s.now
	s.now = now.Add(-time.Hour)
	s.boot(n)
	s.now = now
	s.sync(n, s.nodes[5])
	s.until(10*time.Second, s.complete)
	if n.self.Incarnation < uint64(now.Add(-time.Minute).UnixMilli()) {
		t.Errorf("its incarnation lies %v back", time.Duration(now.UnixMilli()-int64(n.self.Incarnation))*time.Millisecond)
	}
}

// TestLeave: who says goodbye is nobody's suspect.
func TestLeave(t *testing.T) {
	s := newSim(t, 25, Config{}, newLinks(25, 0.05))
	s.settled(30)
	s.run(time.Second)
	if err := s.nodes[4].Leave(s.now); err != nil {
		t.Fatal(err)
	}
	s.flush(s.nodes[4])
	s.crash(4)
	s.run(4 * time.Second)
	for _, n := range s.nodes {
		for _, e := range n.events {
			if e.ID == s.nodes[4].id && e.State != Left {
				t.Fatalf("member %d found the one that left %v", n.index, e.State)
			}
		}
		if n.up && n.members[s.nodes[4].tag].state != Left {
			t.Fatalf("member %d does not know that it left", n.index)
		}
	}
}

// TestRepeats: the same seed gives the same bytes.
func TestRepeats(t *testing.T) {
	var want string
	for i := range 2 {
		s := newSim(t, 26, Config{}, newLinks(26, 0.1))
		s.form(20)
		s.crash(3)
		s.run(10 * time.Second)
		sum, _ := s.mark()
		if got := fmt.Sprint(sum, s.drop, s.seq, s.nodes[0].events); i == 0 {
			want = got
		} else if got != want {
			t.Errorf("two runs differ:\n%s\n%s", want, got)
		}
	}
}

// TestEntriesAreBounded: what does not fit is refused whole.
func TestEntriesAreBounded(t *testing.T) {
	n := lone(t)
	if err := n.Set(simStart, map[string]string{"a": "1", "b": string(make([]byte, MaxEntries))}); err == nil {
		t.Error("257 bytes were taken")
	}
	if len(n.self.Entries) != 0 {
		t.Errorf("some were written: %v", n.self.Entries)
	}
	if err := n.Set(simStart, map[string]string{"a": "1"}); err != nil {
		t.Fatal(err)
	}
	version := n.self.Version
	if err := n.Set(simStart, map[string]string{"a": "1"}); err != nil || n.self.Version != version {
		t.Errorf("the same again: %v, version %d after %d", err, n.self.Version, version)
	}
	if err := n.Set(simStart, map[string]string{"a": ""}); err != nil || len(n.self.Entries) != 0 {
		t.Errorf("removed: %v, %v", err, n.self.Entries)
	}
}

// TestFullDeltaFitsAFrame: the answer to a vector of members we do not know, some of whom we hold for dead, with as many
// records as go into it, is a frame that the other side takes.
func TestFullDeltaFitsAFrame(t *testing.T) {
	n := lone(t)
	const known = 200
	var ask syncFrame
	ask.Kind, ask.Which = syncVector, 1<<numBuckets-1
	for i := 1; i < known; i++ {
		m := Map{{"zone", 1, strings.Repeat("x", MaxEntries-4)}}
		if err := n.merge(simStart, signed(i, uint64(simStart.UnixMilli()), 1, m), false); err != nil {
			t.Fatal(err)
		}
	}
	for i := known; i < known+maxSyncAcc; i++ {
		r := signed(i, uint64(simStart.UnixMilli()), 1, nil)
		n.welcome(simStart, r.ID.Tag(), r, false)
		n.bury(simStart, n.members[r.ID.Tag()], Dead)
		ask.Vector = append(ask.Vector, version{r.ID.Tag(), r.Incarnation, r.Version})
	}
	for i := len(ask.Vector); i < maxVector; i++ {
		ask.Vector = append(ask.Vector, version{math.MaxUint64 - uint64(i), uint64(simStart.UnixMilli()), 1})
	}
	b, _, err := n.Sync(simStart, ask.encode())
	if err != nil {
		t.Fatal(err)
	}
	var out syncFrame
	if err := decode(b, &out); err != nil {
		t.Fatal(err)
	}
	if len(out.Accusations) != maxSyncAcc || len(out.Want) != maxVector-maxSyncAcc || !out.More {
		t.Fatalf("%d accusations, %d wanted, more: %v: the frame is not full", len(out.Accusations), len(out.Want), out.More)
	}
	if _, err := DecodeSync(b); err != nil || len(b) < MaxFrame-8<<10 {
		t.Errorf("a frame of %d bytes: %v", len(b), err)
	}
}

// TestPushPullEndsWhenFull: of members that fill several frames, one that has room asks until it has all, one that has none
// does not ask again.
func TestPushPullEndsWhenFull(t *testing.T) {
	b := lone(t)
	const known = 200
	for i := 1; i < known; i++ {
		m := Map{{"zone", 1, strings.Repeat("x", MaxEntries-4)}}
		if err := b.merge(simStart, signed(i, uint64(simStart.UnixMilli()), 1, m), false); err != nil {
			t.Fatal(err)
		}
	}
	for most, rounds := range map[int]int{1000: 3, 8: 2} {
		a := lone(t, func(c *Config) {
			id := simID(5000)
			c.ID, c.Sign, c.MaxMembers = id, func(b []byte) ([]byte, error) { return fakeSign(id, b), nil }, most
		})
		count := 0
		for again := true; again && count < 10; count++ {
			again = false
			for frame, from, to := a.SyncOpen(), a, b; frame != nil; from, to = to, from {
				answer, more, err := to.Sync(simStart, frame)
				if err != nil {
					t.Fatal(err)
				}
				frame, again = answer, again || more && to == a
			}
		}
		if count > rounds || most > known && len(a.members) != known {
			t.Errorf("one with room for %d knows %d of %d members after %d push-pulls, want at most %d", most, len(a.members), known, count, rounds)
		}
	}
}
