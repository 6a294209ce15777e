package p2p

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/pheme-net/pheme/p2p/swim"
	"github.com/pheme-net/pheme/p2p/trace"
)

// maxPushPull is how many times in a row one push-pull is continued when the
// other side has more than fits and what it gave was new, and how many frames one may
// have.
const (
	maxPushPull   = 64
	maxPushFrames = 8
)

// runPushPull compares what members know with a peer that came up at once, and
// with random peers from time to time.
func (n *Net) runPushPull(ctx context.Context) error {
	m := n.members
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	for {
		var with []peer.ID
		select {
		case <-ctx.Done():
			return nil
		case <-m.met.wake:
			with = m.met.take()
		case <-timer.C:
			if up := n.peers.list(); len(up) > 0 {
				with = append(with, up[rand.IntN(len(up))].ID)
			}
			pause := time.Second
			_ = m.do(ctx, func(s *swim.Node, _ time.Time) { pause = s.SyncAfter() })
			timer.Reset(pause/2 + rand.N(pause))
		}
		for _, p := range with {
			if err := n.pushPull(ctx, p); err != nil && ctx.Err() == nil {
				log.Debugw("push-pull", "peer", p, "err", err)
				n.blameMember(p, err)
			}
		}
	}
}

// blameMember takes score for what no honest member sends.
func (n *Net) blameMember(p peer.ID, err error) {
	if errors.Is(err, swim.ErrInvalid) || errors.Is(err, ErrProtocol) {
		n.punish(p, offenceProtocol, err)
	}
}

// pushPull compares and exchanges what we and a peer know of members, in RequestTimeout
// at most: what is missing then comes with the next one.
func (n *Net) pushPull(ctx context.Context, p peer.ID) error {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.RequestTimeout)
	defer cancel()
	for range maxPushPull {
		again, err := n.pushPullOnce(ctx, p)
		if err != nil || !again {
			return err
		}
	}
	return nil
}

func (n *Net) pushPullOnce(ctx context.Context, p peer.ID) (again bool, err error) {
	raw, err := n.host.NewStream(network.WithNoDial(ctx, "members"), p, swimProtocol)
	if err != nil {
		return false, fmt.Errorf("open push-pull stream: %w", err)
	}
	s := n.countedAs(raw, trace.ClassMember)
	if !n.tasks.begin(s) {
		_ = s.Reset()
		return false, nil
	}
	defer n.tasks.end(s)
	defer s.Close()
	if end, ok := ctx.Deadline(); ok {
		_ = s.SetDeadline(end)
	}
	var frame []byte
	if err := n.members.do(ctx, func(m *swim.Node, _ time.Time) { frame = m.SyncOpen() }); err != nil {
		return false, err
	}
	if err := writeFrame(s, frame); err != nil {
		return false, err
	}
	return n.converse(ctx, s)
}

// converse answers frames of push-pull until one side has nothing more to say.
func (n *Net) converse(ctx context.Context, s network.Stream) (again bool, err error) {
	for range maxPushFrames {
		frame, err := readFrame(s, swim.MaxFrame)
		if errors.Is(err, io.EOF) {
			return again, nil
		}
		if err != nil {
			return again, err
		}
		var answer []byte
		var bad error
		err = n.members.do(ctx, func(m *swim.Node, now time.Time) {
			var more bool
			answer, more, bad = m.Sync(now, frame)
			again = again || more
		})
		if err != nil || bad != nil || answer == nil {
			return again, errors.Join(err, bad)
		}
		if err := writeFrame(s, answer); err != nil {
			return again, err
		}
	}
	return again, nil
}

// serveMembers is the handler of push-pull.
func (n *Net) serveMembers(raw network.Stream) {
	s := n.countedAs(raw, trace.ClassMember)
	if !n.tasks.begin(s) {
		_ = s.Reset()
		return
	}
	defer n.tasks.end(s)
	p := s.Conn().RemotePeer()
	ctx, cancel := context.WithTimeout(n.tasks.ctx, n.cfg.StatusTimeout) // its question may come before its status
	defer cancel()
	if !n.peers.wait(ctx, p) || !n.peers.begin(p, time.Now()) {
		_ = s.Reset()
		return
	}
	_ = s.SetDeadline(time.Now().Add(n.cfg.RequestTimeout))
	_, err := n.converse(n.tasks.ctx, s)
	n.peers.finish(p, int(s.out.Load()), time.Now())
	if err != nil {
		_ = s.Reset()
		n.blameMember(p, err)
		return
	}
	_ = s.Close()
}

// reachedAt lists where we listen, as records carry it.
func (n *Net) reachedAt() (out [][]byte) {
	for _, a := range n.host.Addrs() {
		if b := a.Bytes(); len(out) < maxRecordAddrs && len(b) <= maxAddrBytes {
			out = append(out, b)
		}
	}
	return out
}

// What we tell of our addresses: a record has room for several.
const (
	maxRecordAddrs = 6
	maxAddrBytes   = 64
)

// addrsOf are a record's addresses, as far as they are any.
func addrsOf(r *swim.Record) (out []ma.Multiaddr) {
	for _, b := range r.Addrs {
		if a, err := ma.NewMultiaddrBytes(b); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// locate is where a record's datagrams go: to the host we are connected to, else
// to the first public address, else to any.
func (m *members) locate(r *swim.Record) netip.AddrPort {
	if r.Port == 0 {
		return netip.AddrPort{}
	}
	if l, ok := m.where[r.ID]; ok && l.record == r {
		return l.at
	}
	var best ma.Multiaddr
	for _, a := range addrsOf(r) {
		if best == nil || rank(a) > rank(best) {
			best = a
		}
	}
	if conns := m.net.host.Network().ConnsToPeer(peer.ID(r.ID)); len(conns) > 0 {
		best = conns[0].RemoteMultiaddr()
	}
	l := located{record: r}
	if best != nil {
		if ip, err := manet.ToIP(best); err == nil {
			if a, ok := netip.AddrFromSlice(ip); ok {
				l.at = netip.AddrPortFrom(a.Unmap(), r.Port)
			}
		}
	}
	if len(m.where) >= maxPairs {
		clear(m.where)
	}
	m.where[r.ID] = l
	return l.at
}

// rank orders the addresses of a member by how far they reach.
func rank(a ma.Multiaddr) int {
	switch {
	case manet.IsPublicAddr(a):
		return 2
	case manet.IsIPLoopback(a):
		return 0
	}
	return 1
}
