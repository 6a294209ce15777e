package p2p

import (
	"context"
	"crypto/rand"
	"errors"
	mrand "math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/p2p/recon"
	"github.com/pheme-net/pheme/p2p/trace"
)

// Repair finds what gossip missed. Every RepairInterval a node reconciles its pool
// with RepairFanout peers, and once with each new one it dialled; a session that
// moved something is soon followed by another. Head and state root go with it, as
// claims: catch-up follows them.
//
// Gossip is faster than repair and must not be raced: once a difference is known,
// a session waits for settleTime and asks only for what has not come by then. And
// nothing is fetched twice at a time: one session of a node takes in transactions,
// the one that holds the token of gain.

// repairer is the state of repair.
type repairer struct {
	gain chan struct{}   // its token is held by the session that takes transactions in
	met  *inbox[peer.ID] // peers to reconcile with soon

	mu     sync.Mutex
	rests  map[peer.ID]time.Time // peers that failed us, until when
	served map[peer.ID]int       // sessions being served
	total  int                   // of served
}

const (
	settleTime  = 300 * time.Millisecond // by then gossip has brought what it brings: its p99 over wide links
	maxServed   = 16                     // sessions served at once; each may hold a pool's ids and 2 MiB of asks
	maxServedTo = 2                      // of them to one peer: an old one may not have ended when the next begins
	insistAfter = 3                      // sessions put off since the heads differ, in a row
	restRepair  = time.Minute            // that a peer is left alone after a session that failed
)

func newRepairer() repairer {
	return repairer{
		gain: make(chan struct{}, 1), met: newInbox[peer.ID](),
		rests: make(map[peer.ID]time.Time), served: make(map[peer.ID]int),
	}
}

// enter asks whether a session of a peer may be served now. The caller calls leave
// afterwards.
func (r *repairer) enter(p peer.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.total >= maxServed || r.served[p] >= maxServedTo {
		return false
	}
	r.total++
	r.served[p]++
	return true
}

func (r *repairer) leave(p peer.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total--
	if r.served[p]--; r.served[p] == 0 {
		delete(r.served, p)
	}
}

// rest leaves a peer alone for a while.
func (r *repairer) rest(p peer.ID, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, until := range r.rests {
		if !until.After(now) {
			delete(r.rests, id)
		}
	}
	r.rests[p] = now.Add(restRepair)
}

// resting tells whether a peer is to be left alone.
func (r *repairer) resting(p peer.ID, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rests[p].After(now)
}

// runRepair reconciles, a few sessions at a time.
func (n *Net) runRepair(ctx context.Context) error {
	if n.cfg.NoRepair {
		return nil
	}
	seed := trace.PeerTag(n.host.ID().String())
	rng := mrand.New(mrand.NewPCG(seed, uint64(n.started.UnixNano()))) // which peers: nothing a peer could use
	interval := n.cfg.RepairInterval
	timer := newAlarm(time.Duration(seed % uint64(interval))) // nodes that start together do not repair together
	defer func() { timer.Stop() }()
	delayed := 0
	for {
		var partners []peer.ID
		select {
		case <-ctx.Done():
			return nil
		case <-n.repair.met.wake:
			if err := sleep(ctx, settleTime); err != nil { // gossip may be on its way to it
				return nil
			}
			partners = n.repair.met.take()
			slices.Sort(partners) // a run in virtual time repeats itself
		case <-timer.C:
			partners = n.partners(rng, time.Now())
		}
		if n.silent.Load() {
			partners = nil
		}
		moved, later := n.reconcileAll(ctx, partners, delayed >= insistAfter)
		wait := interval
		if delayed++; !later {
			delayed = 0
		}
		if later || moved {
			wait = min(interval, max(settleTime, interval/4))
		}
		timer.set(wait)
	}
}

// partners draws the peers of a round.
func (n *Net) partners(rng *mrand.Rand, now time.Time) []peer.ID {
	var all []peer.ID
	for _, p := range n.peers.list() {
		if !n.repair.resting(p.ID, now) {
			all = append(all, p.ID)
		}
	}
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(n.cfg.RepairFanout, len(all))]
}

// reconcileAll runs a session with each partner. moved: something did; later: a
// session was put off.
func (n *Net) reconcileAll(ctx context.Context, partners []peer.ID, insist bool) (moved, later bool) {
	var g errgroup.Group
	g.SetLimit(max(n.cfg.RepairFanout, 1))
	var mu sync.Mutex
	for _, p := range partners {
		g.Go(func() error {
			m, err := n.reconcile(ctx, p, insist)
			mu.Lock()
			defer mu.Unlock()
			moved = moved || m
			later = later || errors.Is(err, errLater)
			return nil
		})
	}
	_ = g.Wait() // a session's failure is its own
	return moved, later
}

// newKey draws the key of a session.
func newKey() (k recon.Key) {
	_, _ = rand.Read(k[:]) // never fails: see crypto/rand
	return k
}

// digests are what a session tells of a pool before anything else.
func (s snapshot) digests() (sum, check uint64, profile []byte) {
	zero := s.set.Symbols(1)[0]
	return zero.Sum, uint64(zero.Check), recon.AppendProfile(nil, s.set.Profile())
}

// firstSymbols is how many symbols to send for an estimated difference: enough in
// nine sessions of ten.
func firstSymbols(estimate int) int {
	return min(recon.MaxSymbols, 16+estimate*3/2+estimate/3)
}

// takeGain takes the token of gain; false: ctx ended first.
func (n *Net) takeGain(ctx context.Context) bool {
	select {
	case n.repair.gain <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (n *Net) giveGain() { <-n.repair.gain }

// hearsay takes in a head that came with a session, as one that came with a notice.
func (n *Net) hearsay(p peer.ID, theirs status) {
	if theirs.Genesis != n.genesisID {
		return
	}
	now := time.Now()
	n.peers.heard(p, theirs, n.status(), now, now.Add(n.grace))
	n.sync.kick()
}
