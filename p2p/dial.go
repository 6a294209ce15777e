package p2p

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
	"golang.org/x/sync/errgroup"
)

// origin says where a peer's address came from, and so how long we try.
type origin uint8

const (
	originFound     origin = iota // by mDNS: while we have few peers, a few times
	originBootstrap               // configured: while we have few peers, for ever
	originStatic                  // configured or added: for ever
)

const (
	foundTries = 5                // dials of a found peer in a row
	steady     = 10 * time.Second // a connection that lasted this long was a good one
	maxTargets = 1024             // peers the dialer remembers; found ones beyond are not taken

	maxFoundAddrs = 16 // addresses of a found peer: two transports on each of some interfaces
)

// target is one peer the dialer wants a connection to.
type target struct {
	info    peer.AddrInfo  // configured addresses
	found   []ma.Multiaddr // those it told last by mDNS
	origin  origin
	next    time.Time     // not before
	wait    time.Duration // the present backoff
	tries   int           // failed since it was last up
	since   time.Time     // of the last connection
	dialing bool
	missed  bool      // a connection ended during the present dial
	begun   time.Time // the present dial
	cancel  func()    // ends it
}

// dialer decides whom to dial and when. One mutex guards it; it does no I/O.
type dialer struct {
	self     peer.ID
	min, max time.Duration
	wake     chan struct{} // one token: something changed

	mu      sync.Mutex
	targets map[peer.ID]*target
}

func newDialer(self peer.ID, min, max time.Duration) *dialer {
	return &dialer{self: self, min: min, max: max, wake: make(chan struct{}, 1), targets: make(map[peer.ID]*target)}
}

// add wants a connection to a peer. A stronger origin replaces a weaker one;
// configured addresses are collected, found ones replace those found before.
func (d *dialer) add(info peer.AddrInfo, o origin) {
	if info.ID == d.self {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.targets[info.ID]
	switch {
	case t == nil && o == originFound && len(d.targets) >= maxTargets:
		return
	case t == nil:
		t = &target{info: peer.AddrInfo{ID: info.ID}}
		d.targets[info.ID] = t
	}
	t.origin = max(t.origin, o)
	if o == originFound {
		t.found, info.Addrs = slices.Clone(info.Addrs[:min(len(info.Addrs), maxFoundAddrs)]), nil
	}
	for _, a := range info.Addrs {
		if !ma.Contains(t.info.Addrs, a) {
			t.info.Addrs = append(t.info.Addrs, a)
		}
	}
	t.next, t.wait = time.Time{}, 0
	d.nudge()
}

func (d *dialer) nudge() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// due takes out the targets to dial now and says when to look again. few: we
// have fewer peers than we want.
func (d *dialer) due(now time.Time, connected func(peer.ID) bool, few bool) (dial []peer.AddrInfo, next time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, t := range d.targets {
		if t.dialing || t.origin != originStatic && !few || connected(id) {
			continue
		}
		if t.next.After(now) {
			if next.IsZero() || t.next.Before(next) {
				next = t.next
			}
			continue
		}
		t.dialing, t.missed, t.begun, t.cancel = true, false, now, func() {}
		dial = append(dial, peer.AddrInfo{ID: id, Addrs: slices.Concat(t.info.Addrs, t.found)})
	}
	return dial, next
}

// began notes how to end a dial that due has asked for.
func (d *dialer) began(id peer.ID, cancel func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.targets[id]; t != nil {
		t.cancel = cancel
	}
}

// stale is how old a dial must be to be begun anew by hurry: a packet of its own
// is on its way in a younger one, the next one only seconds later.
const stale = 500 * time.Millisecond

// hurry forgets every backoff and begins stale dials anew: the network has
// changed.
func (d *dialer) hurry(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.targets {
		t.next, t.wait = time.Time{}, 0
		if t.dialing && now.Sub(t.begun) >= stale {
			t.cancel()
		}
	}
	d.nudge()
}

// came reports a peer that is up. One that could not be reached before is a sign
// that others can be reached again, too.
func (d *dialer) came(id peer.ID, now time.Time) {
	d.mu.Lock()
	t := d.targets[id]
	back := t != nil && t.tries > 0
	if t != nil {
		t.tries = 0
	}
	d.mu.Unlock()
	if back {
		d.hurry(now)
	}
}

// done reports a dial. Its connection may have ended already.
func (d *dialer) done(id peer.ID, ok bool, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.targets[id]
	if t == nil {
		return
	}
	t.dialing = false
	if ok {
		t.since = now
		if !t.missed {
			return
		}
	} else if t.tries++; t.origin == originFound && t.tries >= foundTries {
		delete(d.targets, id)
		return
	}
	if !t.next.After(now) { // unless it turned out to be foreign meanwhile
		d.later(t, now)
	}
	d.nudge()
}

// lost reports that a connection ended, whoever's: with fewer peers others may be due.
func (d *dialer) lost(id peer.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.nudge()
	t := d.targets[id]
	if t == nil {
		return
	}
	if t.dialing {
		t.missed = true
		return
	}
	now := time.Now()
	if !t.since.IsZero() && now.Sub(t.since) >= steady {
		t.wait = 0
	}
	if !t.next.After(now) {
		d.later(t, now)
	}
}

// foreign reports a peer that is not of our network: it is asked again rarely.
func (d *dialer) foreign(id peer.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.targets[id]; t != nil {
		t.wait = d.max
		t.next = time.Now().Add(6 * d.max)
	}
}

// later doubles the backoff, with up to as much again that differs from pair to pair,
// so that two nodes that lost each other do not dial at the same instant for ever,
// and of many nodes that lost each other together some find out soon that they may.
func (d *dialer) later(t *target, now time.Time) {
	t.wait = min(max(2*t.wait, d.min), d.max)
	spread := time.Duration(mix(d.self, t.info.ID) % uint64(t.wait+1))
	t.next = now.Add(t.wait + spread)
}

// static tells whether a peer is kept.
func (d *dialer) static(id peer.ID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.targets[id]
	return t != nil && t.origin == originStatic
}

// runDials keeps the connections that are wanted.
func (n *Net) runDials(ctx context.Context, g *errgroup.Group) error {
	timer := newAlarm(0)
	defer func() { timer.Stop() }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.dialer.wake:
		case <-timer.C:
		}
		now := time.Now()
		dial, next := n.dialer.due(now, n.connected, n.peers.count() < n.cfg.D)
		for _, info := range dial {
			g.Go(func() error {
				n.dial(ctx, info)
				return nil
			})
		}
		if !next.IsZero() {
			timer.set(next.Sub(now))
		}
	}
}

func (n *Net) connected(p peer.ID) bool {
	return n.host.Network().Connectedness(p) == network.Connected
}

// dial connects to one peer. libp2p's own backoff, which knows nothing of ours
// and lasts seconds after a partition has healed, is cleared first.
func (n *Net) dial(ctx context.Context, info peer.AddrInfo) {
	dctx, cancel := context.WithTimeout(ctx, n.cfg.StatusTimeout) // then begun anew: the pauses between TCP's first packets only grow
	defer cancel()
	n.dialer.began(info.ID, cancel)
	if s, ok := n.host.Network().(interface{ Backoff() *swarm.DialBackoff }); ok {
		s.Backoff().Clear(info.ID)
	}
	err := n.host.Connect(dctx, info)
	if err != nil && ctx.Err() == nil {
		log.Debugw("dial", "peer", info.ID, "err", err)
	}
	n.dialer.done(info.ID, err == nil, time.Now())
}

// Redial is for whoever knows that the network has changed, such as that a
// partition has healed: every peer that is wanted and not connected is dialled
// now, whatever its backoff, and a connection on which nothing was heard for two
// keep-alives is given up.
func (n *Net) Redial() {
	now := time.Now()
	for _, p := range n.peers.silent(now.Add(-2 * n.keepAlive())) {
		n.hangup.put(p)
	}
	n.dialer.hurry(now)
}

// AddPeer keeps a connection to the peer at a multiaddr that ends in
// /p2p/<peer id>: it is dialled now and whenever it is lost.
func (n *Net) AddPeer(addr string) error {
	a, err := ma.NewMultiaddr(addr)
	if err != nil {
		return fmt.Errorf("p2p: %q is not a multiaddr: %w", addr, err)
	}
	info, err := peer.AddrInfoFromP2pAddr(a)
	if err != nil {
		return fmt.Errorf("p2p: %q does not end in /p2p/<peer id>: %w", addr, err)
	}
	if info.ID == n.host.ID() {
		return fmt.Errorf("p2p: %s is this node itself", info.ID)
	}
	n.keep(*info)
	return nil
}

// keep makes a peer static.
func (n *Net) keep(info peer.AddrInfo) {
	n.host.ConnManager().Protect(info.ID, "static")
	n.dialer.add(info, originStatic)
}

// addConfigured takes over the peers of the configuration, which validate parsed.
func (n *Net) addConfigured() error {
	for _, list := range []struct {
		addrs []string
		add   func(peer.AddrInfo)
	}{
		{n.cfg.Static, n.keep},
		{n.cfg.Bootstrap, func(i peer.AddrInfo) { n.dialer.add(i, originBootstrap) }},
	} {
		for _, s := range list.addrs {
			info, err := peer.AddrInfoFromString(s)
			if err != nil {
				return fmt.Errorf("p2p: peer %q: %w", s, err)
			}
			list.add(*info)
		}
	}
	return nil
}
