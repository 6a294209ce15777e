package p2p

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multistream"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
)

var (
	// errForeign is a peer of another network.
	errForeign = errors.New("p2p: peer is on another network")
	// errUnsupported matches what libp2p says when a peer has no such protocol.
	errUnsupported error = multistream.ErrNotSupported[protocol.ID]{}
)

// The status stream. The side that dialled opens it; both send their status and
// judge the other's. It then stays open, and each side sends its status again
// when its head changes: that is the head notice. A peer is up while it has such
// a stream; when the last one ends, so does the connection.

// status is our own.
func (n *Net) status() status {
	h := n.chain.Head()
	return status{Version: statusVersion, Genesis: n.genesisID, Number: h.Number.Uint64(), Slot: chain.SlotOf(h), Head: n.headID(h)}
}

// greet opens the status stream to a peer we dialled and stays with it.
func (n *Net) greet(ctx context.Context, p peer.ID) {
	s, err := n.openStatus(ctx, p)
	if err != nil {
		if ctx.Err() == nil {
			n.part(p, err)
		}
		return
	}
	if !n.tasks.begin(s) {
		_ = s.Reset()
		return
	}
	defer n.tasks.end(s)
	n.meet(s, true)
}

// openStatus opens a status stream. A peer that has just started may listen
// before it speaks, so "not supported" is believed only after StatusTimeout.
func (n *Net) openStatus(ctx context.Context, p peer.ID) (*countedStream, error) {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.StatusTimeout)
	defer cancel()
	again := time.NewTicker(n.cfg.StatusTimeout / 20)
	defer again.Stop()
	for {
		s, err := n.host.NewStream(network.WithNoDial(ctx, "status"), p, statusProtocol)
		if err == nil {
			return n.counted(s), nil
		}
		err = fmt.Errorf("open status stream: %w", err)
		if !errors.Is(err, errUnsupported) {
			return nil, err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// greeted is the handler of the status protocol.
func (n *Net) greeted(raw network.Stream) {
	s := n.counted(raw)
	if !n.tasks.begin(s) {
		_ = s.Reset()
		return
	}
	defer n.tasks.end(s)
	n.meet(s, false)
}

// meet runs one status stream to its end. The side that dialled speaks first;
// the other one notes the peer before it answers, so that a request that follows
// the answer finds it known.
func (n *Net) meet(s *countedStream, dialled bool) {
	p := s.Conn().RemotePeer()
	defer s.Reset() // nothing more is said either way
	_ = s.SetDeadline(time.Now().Add(n.cfg.StatusTimeout))
	ours := n.status()
	if dialled {
		if err := n.send(s, ours); err != nil {
			n.part(p, err)
			return
		}
	}
	theirs, err := n.hear(s)
	if err == nil && theirs.Genesis != n.genesisID {
		if !dialled && n.send(s, ours) == nil { // so that its log can say why, too
			_ = s.CloseWrite()
			_, _ = io.Copy(io.Discard, io.LimitReader(s, maxStatusBytes)) // until it hangs up
		}
		err = fmt.Errorf("%w: it has genesis %s, we have %s", errForeign, short(theirs.Genesis[:]), short(n.genesisID[:]))
	}
	if err != nil {
		n.part(p, err)
		return
	}
	now := time.Now()
	due := now
	if theirs.Number <= ours.Number+1 {
		due = now.Add(n.grace) // its newest block may be on its way to us, too
	}
	wake, first := n.peers.join(s.Conn(), s, theirs, due, newBucket(n.cfg.ServeRequests, n.cfg.ServeBytes, now), now)
	if !dialled {
		err = n.send(s, ours)
	}
	_ = s.SetDeadline(time.Time{})
	if first {
		n.hook.Emit(trace.Event{At: n.clock.Now(), Kind: trace.PeerUp, Peer: s.tag})
		n.dialer.came(p, now)
		log.Debugw("peer up", "peer", p, "number", theirs.Number)
		if dialled {
			n.repair.met.put(p)
			n.members.met.put(p)
		}
	}
	n.sync.kick()
	if err == nil {
		err = n.talk(s, wake, ours)
	}
	if n.peers.leave(p, s) {
		n.hook.Emit(trace.Event{At: n.clock.Now(), Kind: trace.PeerDown, Peer: s.tag})
		n.dialer.lost(p)
		n.members.broken.put(p)
	}
	n.part(p, err)
}

// talk sends and takes head notices until the stream ends. told is what the peer
// knows of us.
func (n *Net) talk(s network.Stream, wake <-chan struct{}, told status) error {
	done := make(chan struct{})
	var teller sync.WaitGroup
	defer teller.Wait()
	defer s.Reset() // ends a write that waits
	defer close(done)
	teller.Go(func() { n.tell(s, wake, done, told) })
	return n.listen(s)
}

// send writes a status of ours.
func (n *Net) send(s network.Stream, ours status) error {
	if err := writeFrame(s, ours.encode()); err != nil {
		return fmt.Errorf("send status: %w", err)
	}
	return nil
}

// hear reads a status.
func (n *Net) hear(s network.Stream) (status, error) {
	b, err := readFrame(s, maxStatusBytes)
	if err != nil {
		return status{}, fmt.Errorf("read status: %w", err)
	}
	return decodeStatus(b)
}

func short(b []byte) string { return hex.EncodeToString(b[:4]) }

// Head notices: a node sends at most one in noticeGap on a stream, the newest. A
// peer that goes on sending far more is cut off, for each one costs a look at all
// claims.
const (
	noticeGap   = 50 * time.Millisecond // half the shortest slot
	noticeBurst = 400                   // in ten seconds: twice what the gap allows
)

// errFlood is a peer that sends more head notices than its chain can have heads.
var errFlood = errors.New("p2p: too many head notices")

// listen takes the peer's head notices until the stream ends.
func (n *Net) listen(s network.Stream) error {
	p := s.Conn().RemotePeer()
	allowed := newBucket(noticeBurst, 0, time.Now())
	for {
		_ = s.SetReadDeadline(time.Now().Add(2 * n.cfg.StatusTimeout))
		claim, err := n.hear(s)
		if err == nil && !allowed.take(1, 0, time.Now()) {
			err = errFlood
		}
		if err == nil && claim.Genesis != n.genesisID {
			err = fmt.Errorf("%w: its genesis changed", ErrProtocol)
		}
		if err != nil {
			return err
		}
		now := time.Now()
		n.peers.heard(p, claim, n.status(), now, now.Add(n.grace))
		n.sync.kick()
	}
}

// keepAlive is after how long without news we say our status again, so that the
// peer knows that the path is not cut.
func (n *Net) keepAlive() time.Duration { return n.cfg.StatusTimeout / 2 }

// tell sends our status whenever it has changed, and every keepAlive.
func (n *Net) tell(s network.Stream, wake, done <-chan struct{}, told status) {
	gap := newAlarm(noticeGap)
	defer func() { gap.Stop() }()
	idle := newAlarm(n.keepAlive())
	defer func() { idle.Stop() }()
	for quiet := false; ; {
		if ours := n.status(); ours != told || quiet { // it may have changed before anybody could wake us
			_ = s.SetWriteDeadline(time.Now().Add(n.cfg.RequestTimeout))
			if err := n.send(s, ours); err != nil {
				_ = s.Reset() // ends listen
				return
			}
			told, quiet = ours, false
			idle.set(n.keepAlive())
			gap.set(noticeGap)
			select {
			case <-done:
				return
			case <-gap.C:
			}
			continue
		}
		select {
		case <-done:
			return
		case <-wake:
		case <-idle.C:
			quiet = true
		}
	}
}

// part closes the connection to a peer that cannot or will not talk to us, and
// says why if a person should know.
func (n *Net) part(p peer.ID, why error) {
	switch {
	case errors.Is(why, errForeign):
		log.Warnw("peer refused: it is on another network: check that both use the same genesis file", "peer", p, "err", why)
		n.dialer.foreign(p)
	case errors.Is(why, errUnsupported):
		log.Warnw("peer refused: it does not speak pheme", "peer", p, "err", why)
		n.dialer.foreign(p)
	case errors.Is(why, ErrProtocol):
		n.punish(p, offenceProtocol, why)
	case errors.Is(why, errFlood):
		n.punish(p, offenceFlood, why)
	case n.peers.isUp(p):
		return // by another stream: one of two connections ended
	default:
		log.Debugw("peer down", "peer", p, "err", why)
	}
	_ = n.host.Network().ClosePeer(p) // gone already, or goes now
}

// Offences on the request protocols, in points of the peer score; graylist is
// where a peer is put out.
const (
	offenceProtocol = 40 // bytes no honest peer sends
	offenceLie      = 40 // a block that is not what was asked for
	offenceFlood    = 20 // far more head notices than there are heads
)

// punish takes score from a peer and puts it out when it has too many offences.
func (n *Net) punish(p peer.ID, points float64, why error) {
	sum := n.peers.punish(p, points, time.Now())
	log.Infow("peer punished", "peer", p, "points", points, "sum", sum, "err", why)
	if sum >= -graylist {
		_ = n.host.Network().ClosePeer(p)
	}
}

// Connected, Disconnected, Listen and ListenClose make Net a network.Notifiee.

// Connected implements network.Notifiee. It must not block.
func (n *Net) Connected(_ network.Network, c network.Conn) {
	p := c.RemotePeer()
	if n.peers.penalty(p) <= graylist {
		n.hangup.put(p)
		return
	}
	if c.Stat().Direction == network.DirOutbound {
		n.arrivals.put(p)
	}
}

// Disconnected implements network.Notifiee. It must not block.
func (n *Net) Disconnected(net network.Network, c network.Conn) {
	if p := c.RemotePeer(); net.Connectedness(p) != network.Connected {
		n.host.ConnManager().Unprotect(p, outboundTag)
		n.dialer.lost(p)
		n.relay.Left(p)
	}
}

// Listen implements network.Notifiee.
func (n *Net) Listen(network.Network, ma.Multiaddr) {}

// ListenClose implements network.Notifiee.
func (n *Net) ListenClose(network.Network, ma.Multiaddr) {}
