package p2p

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/p2p/swim"
	"github.com/pheme-net/pheme/p2p/trace"
)

// remote is what we know of a peer whose status agreed with ours. All fields are
// guarded by peers.mu.
type remote struct {
	id      peer.ID
	inbound bool
	since   time.Time
	heard   time.Time                        // when it last said its status
	claim   status                           // the head it last told us: a claim, not a fact
	due     time.Time                        // when a claim better than our head is followed; gossip may bring it before
	waits   time.Time                        // since when no claim of it has been followed
	streams map[network.Stream]chan struct{} // status streams and how to wake their writers
	served  bucket                           // what it may still ask of us
	serving int                              // its requests being answered
}

// peers are the peers whose status agreed, and the penalties and doubts of all.
type peers struct {
	mu       sync.RWMutex
	up       map[peer.ID]*remote
	tags     map[uint64]peer.ID             // of those up, by swim.ID.Tag
	joined   chan struct{}                  // closed and replaced when a peer comes up
	score    [numTopics]map[peer.ID]float64 // GossipSub's, as it last told
	offences map[peer.ID]offence
	doubts   map[peer.ID]doubt
}

// doubt is held of a peer that did not give what was asked of it. It outlives the
// connection.
type doubt struct {
	vain int       // catch-ups that followed its claims in vain, in a row
	rest time.Time // its claims are not followed before
}

// offence is a penalty that fades by half every offenceHalf.
type offence struct {
	points float64
	at     time.Time
}

const (
	offenceHalf = time.Minute
	maxOffences = 4096 // peers remembered; the faintest are forgotten
	maxDoubts   = 4096 // likewise, and those whose rest ended first
)

func newPeers() *peers {
	return &peers{
		up: make(map[peer.ID]*remote), tags: make(map[uint64]peer.ID), joined: make(chan struct{}),
		offences: make(map[peer.ID]offence), doubts: make(map[peer.ID]doubt),
	}
}

// join notes a status stream of a peer and what it said, which is followed from
// due on; first: the peer came up with it.
func (p *peers) join(c network.Conn, s network.Stream, claim status, due time.Time, served bucket, now time.Time) (wake chan struct{}, first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := c.RemotePeer()
	r := p.up[id]
	if r == nil {
		first = true
		r = &remote{
			id: id, inbound: c.Stat().Direction == network.DirInbound, since: now, waits: now, served: served,
			streams: make(map[network.Stream]chan struct{}),
		}
		p.up[id] = r
		p.tags[swim.ID(id).Tag()] = id
		close(p.joined)
		p.joined = make(chan struct{})
	}
	r.claim, r.due, r.heard = claim, due, now
	wake = make(chan struct{}, 1) // one token: the head changed; the writer reads the newest
	r.streams[s] = wake
	return wake, first
}

// leave forgets a status stream; last: the peer is down with it.
func (p *peers) leave(id peer.ID, s network.Stream) (last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.up[id]
	if r == nil {
		return false
	}
	if delete(r.streams, s); len(r.streams) > 0 {
		return false
	}
	delete(p.up, id)
	delete(p.tags, swim.ID(id).Tag())
	return true
}

// tagged finds a peer by the tag of its id.
func (p *peers) tagged(tag uint64) (peer.ID, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	id, ok := p.tags[tag]
	return id, ok
}

// heard notes what a peer says its head is. If we had all it claimed before, the
// new claim is followed from due on; else the old time stays.
func (p *peers) heard(id peer.ID, claim, ours status, now, due time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.up[id]
	if r == nil {
		return
	}
	r.heard = now
	if r.claim == claim {
		return
	}
	if !r.claim.better(ours) {
		r.due = due
	}
	r.claim = claim
}

// silent are the peers that have not said their status since a time.
func (p *peers) silent(since time.Time) (out []peer.ID) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for id, r := range p.up {
		if r.heard.Before(since) {
			out = append(out, id)
		}
	}
	return out
}

// hurry has a peer's claim followed at once.
func (p *peers) hurry(id peer.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.up[id]; r != nil {
		r.due = time.Time{}
	}
}

// wake makes every status stream send our head.
func (p *peers) wake() {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, r := range p.up {
		for _, w := range r.streams {
			select {
			case w <- struct{}{}:
			default:
			}
		}
	}
}

// isUp tells whether a peer's status agreed.
func (p *peers) isUp(id peer.ID) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.up[id] != nil
}

// wait waits until a peer is up, at most until ctx ends.
func (p *peers) wait(ctx context.Context, id peer.ID) bool {
	for {
		p.mu.RLock()
		up, joined := p.up[id] != nil, p.joined
		p.mu.RUnlock()
		if up {
			return true
		}
		select {
		case <-joined:
		case <-ctx.Done():
			return false
		}
	}
}

// list describes the peers that are up, the oldest first, as far as it knows them.
func (p *peers) list() []PeerInfo {
	p.mu.RLock()
	defer p.mu.RUnlock()
	out := make([]PeerInfo, 0, len(p.up))
	for id, r := range p.up {
		out = append(out, PeerInfo{ID: id, Inbound: r.inbound, Since: r.since, Number: r.claim.Number, Head: r.claim.Head, Score: p.worst(id)})
	}
	slices.SortFunc(out, func(a, b PeerInfo) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID)) })
	return out
}

func (p *peers) count() int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.up)
}

// maxServing is how many requests of one peer are answered at once: each holds a
// block while the peer reads it.
const maxServing = 8

// begin asks whether a request of a peer may be answered now. The caller calls
// finish afterwards.
func (p *peers) begin(id peer.ID, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.up[id]
	if r == nil || r.serving >= maxServing || !r.served.take(1, 0, now) {
		return false
	}
	r.serving++
	return true
}

// finish notes what answering cost.
func (p *peers) finish(id peer.ID, bytes int, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.up[id]; r != nil {
		r.serving = max(0, r.serving-1) // it may have left and come back meanwhile
		r.served.take(0, float64(bytes), now)
	}
}

// claim is what a peer says its head is, and when it is followed.
type claim struct {
	peer   peer.ID
	status status
	due    time.Time
	waits  time.Time // since when none of the peer has been followed
	doubt  bool
}

// claims lists what the peers say their heads are, as far as want wants them, those of
// peers in doubt last, the best first; peers of one claim stand in an order of their own
// for each node.
func (p *peers) claims(self peer.ID, want func(status) bool) []claim {
	p.mu.RLock()
	var out []claim
	for _, r := range p.up {
		if !want(r.claim) {
			continue
		}
		d, ok := p.doubts[r.id]
		c := claim{r.id, r.claim, r.due, r.waits, ok}
		if d.rest.After(c.due) {
			c.due = d.rest
		}
		out = append(out, c)
	}
	p.mu.RUnlock()
	slices.SortFunc(out, func(a, b claim) int {
		switch {
		case a.doubt != b.doubt:
			if b.doubt {
				return -1
			}
			return 1
		case a.status.better(b.status):
			return -1
		case b.status.better(a.status):
			return 1
		}
		return cmp.Compare(mix(self, a.peer), mix(self, b.peer))
	})
	return out
}

// mix spreads the choice among equal peers over the network.
func mix(self, other peer.ID) uint64 { return trace.PeerTag(string(self) + string(other)) }

// followed notes how a catch-up that followed a peer's claim ended. After one in
// vain its claims rest, each time twice as long: the peer may lie, or may just be
// slow, so it loses no score.
func (p *peers) followed(id peer.ID, well bool, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.up[id]; r != nil {
		r.waits = now
	}
	if well {
		delete(p.doubts, id)
		return
	}
	d := p.doubts[id]
	p.doubt(id, doubt{d.vain + 1, now.Add(min(restMin<<min(d.vain, 10), restMax))})
}

// answered notes whether a peer gave what it was asked for. One that did not is asked
// after all others until it does.
func (p *peers) answered(id peer.ID, well bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d, ok := p.doubts[id]
	switch {
	case !well && !ok:
		p.doubt(id, doubt{})
	case well && d.vain == 0:
		delete(p.doubts, id)
	}
}

// doubt holds a doubt. mu is held.
func (p *peers) doubt(id peer.ID, d doubt) {
	if _, ok := p.doubts[id]; !ok && len(p.doubts) >= maxDoubts {
		var victim peer.ID
		first := d
		for o, e := range p.doubts {
			if victim == "" || e.rest.Before(first.rest) {
				victim, first = o, e
			}
		}
		delete(p.doubts, victim)
	}
	p.doubts[id] = d
}

// doubtedLast is a list of peers with those in doubt at its end.
func (p *peers) doubtedLast(ids []peer.ID) []peer.ID {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var good, doubted []peer.ID
	for _, id := range ids {
		if _, ok := p.doubts[id]; ok {
			doubted = append(doubted, id)
		} else {
			good = append(good, id)
		}
	}
	return append(good, doubted...)
}

const (
	restMin = 500 * time.Millisecond
	restMax = time.Minute
)

// scores takes GossipSub's scores of a topic; it is its inspector.
func (p *peers) scores(topic int, m map[peer.ID]float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.score[topic] = m
}

// worst is the lower of a peer's scores on the topics. mu is held.
func (p *peers) worst(id peer.ID) float64 { return min(p.score[topicBlock][id], p.score[topicTx][id]) }

// outcasts are the peers whose score fell below the graylist.
func (p *peers) outcasts() (out []peer.ID) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for topic := range p.score {
		for id, s := range p.score[topic] {
			if s < graylist && !slices.Contains(out, id) {
				out = append(out, id)
			}
		}
	}
	return out
}

// punish adds to a peer's offences and returns their sum.
func (p *peers) punish(id peer.ID, points float64, now time.Time) float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.offences) >= maxOffences {
		p.forgetFaintest(now)
	}
	o := offence{points: faded(p.offences[id], now) + points, at: now}
	p.offences[id] = o
	return o.points
}

func (p *peers) forgetFaintest(now time.Time) {
	var victim peer.ID
	least := math.Inf(1)
	for id, o := range p.offences {
		if f := faded(o, now); f < least {
			victim, least = id, f
		}
	}
	delete(p.offences, victim)
}

// penalty is what a peer's offences take from its score. GossipSub asks it.
func (p *peers) penalty(id peer.ID) float64 {
	p.mu.RLock()
	defer p.mu.RUnlock()
	o, ok := p.offences[id]
	if !ok {
		return 0
	}
	return -faded(o, time.Now())
}

func faded(o offence, now time.Time) float64 {
	if o.points == 0 {
		return 0
	}
	return o.points * math.Exp2(-float64(now.Sub(o.at))/float64(offenceHalf))
}

// bucket is a token bucket for requests and one for bytes, both refilled over
// ten seconds.
type bucket struct {
	maxRequests, maxBytes float64
	requests, bytes       float64
	at                    time.Time
}

const bucketSpan = 10 * time.Second

func newBucket(requests, bytes int, now time.Time) bucket {
	return bucket{float64(requests), float64(bytes), float64(requests), float64(bytes), now}
}

// take spends requests and bytes; false: too many were spent before. Bytes may
// go below zero, since their number is known only afterwards.
func (b *bucket) take(requests, bytes float64, now time.Time) bool {
	share := float64(now.Sub(b.at)) / float64(bucketSpan)
	b.at = now
	b.requests = min(b.maxRequests, b.requests+share*b.maxRequests)
	b.bytes = min(b.maxBytes, b.bytes+share*b.maxBytes)
	if b.requests < requests || b.bytes < 0 {
		return false
	}
	b.requests -= requests
	b.bytes -= bytes
	return true
}
