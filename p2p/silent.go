package p2p

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// silence finds mesh peers that never pass anything on. GossipSub's own measure of
// that (mesh message deliveries) wants a number of messages a second, which no
// network here knows beforehand, and punishes the honest when there are few; with
// it off, a peer that only ever takes keeps the score of its time in the mesh (the
// flaw of CVE-2022-47547). Here the measure is what others brought meanwhile: a
// peer in whose time silentMessages new messages came, over silentTime at least,
// and that brought none, not even again, loses silentPoints for silentFor, which is
// more than it can have gained.
//
// A peer at the end of a line, with nobody behind it, is as silent as one that will
// not speak. So nobody is taken for silent while it cannot be replaced: enough
// peers for a whole mesh must be left.
type silence struct {
	need int // peers that must be left: the mesh degree

	mu    sync.Mutex
	seen  [numTopics]uint64 // new messages from anybody
	mesh  [numTopics]map[peer.ID]turnIn
	until map[peer.ID]time.Time // silent ones, and how long they are held to be
}

// turnIn is a peer's time in our mesh, since it last brought something.
type turnIn struct {
	seen uint64
	at   time.Time
}

const (
	silentMessages = 100
	silentTime     = time.Minute
	silentFor      = 5 * time.Minute
	silentPoints   = topicCap + 5 // not as many as gossipFloor: it still hears of messages
)

func newSilence(need int) *silence {
	s := &silence{need: need, until: make(map[peer.ID]time.Time)}
	for i := range s.mesh {
		s.mesh[i] = make(map[peer.ID]turnIn)
	}
	return s
}

// graft begins a peer's time in a mesh, prune ends it.
func (s *silence) graft(p peer.ID, topic int, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mesh[topic][p] = turnIn{s.seen[topic], now}
}

func (s *silence) prune(p peer.ID, topic int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mesh[topic], p)
}

// brought notes a message from a peer, new or again.
func (s *silence) brought(p peer.ID, topic int, isNew bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if isNew {
		s.seen[topic]++
	}
	if _, in := s.mesh[topic][p]; in {
		s.mesh[topic][p] = turnIn{s.seen[topic], now}
	}
	delete(s.until, p)
}

// judge looks for silent peers among those in a mesh; up is how many peers there are.
func (s *silence) judge(up int, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, until := range s.until {
		if !until.After(now) {
			delete(s.until, p)
		}
	}
	for topic := range s.mesh {
		for p := range s.mesh[topic] {
			_, already := s.until[p]
			if !already && up-len(s.until)-1 >= s.need && s.due(p, topic, now) {
				s.until[p] = now.Add(silentFor)
			}
		}
	}
}

// due tells whether a peer has been silent long enough in a mesh. mu is held.
func (s *silence) due(p peer.ID, topic int, now time.Time) bool {
	t, in := s.mesh[topic][p]
	return in && s.seen[topic]-t.seen >= silentMessages && now.Sub(t.at) >= silentTime
}

// penalty is what a peer's silence takes from its score.
func (s *silence) penalty(p peer.ID) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, silent := s.until[p]; silent {
		return -silentPoints
	}
	return 0
}
