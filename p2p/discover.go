package p2p

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/p2p/swim"
)

// Discovery: of the members known, each node keeps Outbound connections that it
// chose and dialled itself, spread over subnets, and takes MaxPeers - Outbound
// from others. Those it dialled are the ones an attacker cannot choose; the
// oldest of them are written to a file and dialled first after a restart, when
// the node knows nobody else (Heilman and others, Eclipse attacks on Bitcoin's
// peer-to-peer network, 2015: countermeasures 3 and 4).
const (
	discoverEvery = time.Second
	dialsAtOnce   = 4
	retryAfter    = time.Minute // a member that could not be dialled is not tried again before
	maxPerGroup   = 2           // chosen connections into one public subnet
	keptInbound   = 8           // the oldest inbound connections are never put out for others
	inboundGrace  = 5 * time.Second
	outboundTag   = "outbound"
	maxAnchors    = 4
	maxAnchorFile = 16 << 10
)

// candidate is a member we may dial, or a connection we may close.
type candidate struct {
	info  peer.AddrInfo
	group string
	since time.Time
}

// byName is the group of all public addresses that are names: where one leads shows when it is dialled.
const byName = "name"

// group names the subnet of an address: the /16 or /32 of a public one, "" for
// private ones and loopback, which no attacker has many of.
func group(a ma.Multiaddr) string {
	ip, err := manet.ToIP(a)
	switch {
	case !manet.IsPublicAddr(a):
		return ""
	case err != nil:
		return byName
	case ip.To4() != nil:
		return ip.Mask(net.CIDRMask(16, 32)).String()
	}
	return ip.Mask(net.CIDRMask(32, 128)).String()
}

// choose picks up to k members at random, at most maxPerGroup of a subnet, those
// we have counted.
func choose(all []candidate, have map[string]int, k int, rng func(n int, swap func(i, j int))) (out []candidate) {
	rng(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, c := range all {
		if len(out) == k {
			break
		}
		if c.group != "" && have[c.group] >= maxPerGroup {
			continue
		}
		have[c.group]++
		out = append(out, c)
	}
	return out
}

// excess picks which of the inbound connections to close so that limit are left:
// never the oldest, nor those within the grace, but the youngest of the subnet
// that has most.
func excess(inbound []candidate, limit int, now time.Time) (out []candidate) {
	slices.SortFunc(inbound, func(a, b candidate) int { return a.since.Compare(b.since) })
	inbound = inbound[min(keptInbound, len(inbound)):]
	limit = max(limit-keptInbound, 0)
	for len(inbound) > limit {
		count := map[string]int{}
		for _, c := range inbound {
			count[c.group]++
		}
		worst := -1
		for i, c := range inbound {
			if now.Sub(c.since) >= inboundGrace && (worst < 0 || count[c.group] >= count[inbound[worst].group]) {
				worst = i
			}
		}
		if worst < 0 {
			return out
		}
		out = append(out, inbound[worst])
		inbound = slices.Delete(inbound, worst, worst+1)
	}
	return out
}

// runDiscovery keeps the chosen connections and the bounds of the others.
func (n *Net) runDiscovery(ctx context.Context) error {
	anchors, err := readAnchors(n.cfg.Anchors)
	if err != nil {
		log.Warnw("anchors are not used", "err", err)
	}
	for _, a := range anchors {
		n.dialer.add(a, originBootstrap)
	}
	tick := time.NewTicker(discoverEvery)
	defer tick.Stop()
	failed := map[peer.ID]time.Time{}
	var written []string
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			n.discover(ctx, failed, now)
			n.trim(now)
			if written, err = n.writeAnchors(ctx, written); err != nil {
				log.Warnw("anchors are not written", "err", err)
			}
		}
	}
}

// sides are our connections to peers that are up, by who chose them.
func (n *Net) sides() (outbound, inbound []candidate) {
	for _, c := range n.host.Network().Conns() {
		p := c.RemotePeer()
		if !n.peers.isUp(p) {
			continue
		}
		x := candidate{peer.AddrInfo{ID: p, Addrs: []ma.Multiaddr{c.RemoteMultiaddr()}}, group(c.RemoteMultiaddr()), c.Stat().Opened}
		if c.Stat().Direction == network.DirOutbound {
			outbound = append(outbound, x)
		} else if !n.dialer.static(p) {
			inbound = append(inbound, x)
		}
	}
	slices.SortFunc(outbound, func(a, b candidate) int { return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.info.ID, b.info.ID)) })
	return outbound, inbound
}

// discover dials members while we have fewer connections of our own than Outbound.
func (n *Net) discover(ctx context.Context, failed map[peer.ID]time.Time, now time.Time) {
	outbound, _ := n.sides()
	lacking := n.cfg.Outbound - len(outbound)
	if lacking <= 0 {
		return
	}
	have := map[string]int{}
	for _, c := range outbound {
		have[c.group]++
	}
	var all []candidate
	_ = n.members.do(ctx, func(s *swim.Node, _ time.Time) {
		for _, m := range s.Members()[1:] {
			if p := peer.ID(m.Record.ID); m.State == swim.Alive && now.Sub(failed[p]) >= retryAfter {
				all = append(all, candidate{info: peer.AddrInfo{ID: p, Addrs: addrsOf(m.Record)}})
			}
		}
	})
	all = slices.DeleteFunc(all, func(c candidate) bool {
		return len(c.info.Addrs) == 0 || n.connected(c.info.ID) || n.peers.penalty(c.info.ID) <= graylist
	})
	for i := range all {
		all[i].group = group(bestOf(all[i].info.Addrs))
	}
	for _, p := range n.dialMembers(ctx, choose(all, have, min(lacking, dialsAtOnce), rand.Shuffle)) {
		failed[p] = now
	}
	for p, at := range failed {
		if now.Sub(at) >= retryAfter {
			delete(failed, p)
		}
	}
}

// dialMembers connects to members, at most dialsAtOnce, and returns those that were not reached, and those that are too many of
// their subnet: of the one that answered, whatever they say.
func (n *Net) dialMembers(ctx context.Context, chosen []candidate) (failed []peer.ID) {
	var g errgroup.Group
	reached := make([]bool, len(chosen))
	for i, c := range chosen {
		g.Go(func() error {
			reached[i] = n.dialMember(ctx, c.info)
			return nil
		})
	}
	_ = g.Wait() // dialMember tells by its result
	for i, c := range chosen {
		if !reached[i] || n.crowded(c.info.ID) {
			failed = append(failed, c.info.ID)
		}
	}
	return failed
}

// crowded closes a connection that we dialled to a peer if maxPerGroup others that we dialled are of its subnet.
func (n *Net) crowded(p peer.ID) (closed bool) {
	for _, c := range n.host.Network().ConnsToPeer(p) {
		g := group(c.RemoteMultiaddr())
		if g == "" || c.Stat().Direction != network.DirOutbound {
			continue
		}
		others := map[peer.ID]bool{}
		for _, o := range n.host.Network().Conns() {
			if o.RemotePeer() != p && o.Stat().Direction == network.DirOutbound && group(o.RemoteMultiaddr()) == g {
				others[o.RemotePeer()] = true
			}
		}
		if len(others) >= maxPerGroup {
			log.Debugw("member let go: others are of its subnet", "peer", p, "addr", c.RemoteMultiaddr())
			_ = c.Close() // closed, or about to be
			closed = true
		}
	}
	return closed
}

// dialMember connects to a member and keeps the connection, as long as there is one, from being trimmed.
func (n *Net) dialMember(ctx context.Context, info peer.AddrInfo) bool {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.StatusTimeout)
	defer cancel()
	n.host.Peerstore().AddAddrs(info.ID, info.Addrs, peerstore.RecentlyConnectedAddrTTL)
	if err := n.host.Connect(ctx, info); err != nil {
		log.Debugw("dial member", "peer", info.ID, "err", err)
		return false
	}
	n.host.ConnManager().Protect(info.ID, outboundTag)
	if !n.connected(info.ID) { // and Disconnected came before
		n.host.ConnManager().Unprotect(info.ID, outboundTag)
	}
	return true
}

// trim closes inbound connections above their share. A newcomer is let in at any
// time, so that it can learn of members and find others.
func (n *Net) trim(now time.Time) {
	_, inbound := n.sides()
	for _, c := range excess(inbound, max(n.cfg.MaxPeers-n.cfg.Outbound, 1), now) {
		log.Debugw("peer put out: too many dialled us", "peer", c.info.ID)
		_ = n.host.Network().ClosePeer(c.info.ID)
	}
}

// writeAnchors keeps the oldest connections we chose in the anchor file. A node that the others start from may have
// chosen none, since all dialled it: then it keeps the oldest of those, at the addresses that they tell as members. That
// an attacker may be among them is better than to know nobody.
func (n *Net) writeAnchors(ctx context.Context, before []string) ([]string, error) {
	if n.cfg.Anchors == "" {
		return nil, nil
	}
	anchors, inbound := n.sides()
	if len(anchors) == 0 {
		anchors = n.asMembers(ctx, inbound)
	}
	var now []string
	for _, c := range anchors[:min(maxAnchors, len(anchors))] {
		now = append(now, fmt.Sprintf("%s/p2p/%s", c.info.Addrs[0], c.info.ID))
	}
	if len(now) < len(before) && len(now) < maxAnchors || slices.Equal(now, before) {
		return before, nil // what we lose is worth keeping until there is something better
	}
	text, err := json.Marshal(now)
	if err != nil {
		return before, fmt.Errorf("p2p: encode anchors: %w", err)
	}
	tmp := n.cfg.Anchors + ".tmp"
	if err := os.WriteFile(tmp, text, 0o600); err != nil {
		return before, fmt.Errorf("p2p: write anchors: %w", err)
	}
	if err := os.Rename(tmp, n.cfg.Anchors); err != nil {
		return before, fmt.Errorf("p2p: write anchors: %w", err)
	}
	return now, nil
}

// asMembers are those of candidates that are members, the oldest first, at the address of theirs that is best to dial.
func (n *Net) asMembers(ctx context.Context, all []candidate) (out []candidate) {
	told := map[peer.ID][]ma.Multiaddr{}
	_ = n.members.do(ctx, func(s *swim.Node, _ time.Time) { // no member is known where membership does not run
		for _, m := range s.Members()[1:] {
			told[peer.ID(m.Record.ID)] = addrsOf(m.Record)
		}
	})
	for _, c := range all {
		if addrs := told[c.info.ID]; len(addrs) > 0 {
			c.info.Addrs = []ma.Multiaddr{bestOf(addrs)}
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b candidate) int { return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.info.ID, b.info.ID)) })
	return out
}

// bestOf is the address that is best to dial.
func bestOf(addrs []ma.Multiaddr) ma.Multiaddr {
	return slices.MaxFunc(addrs, func(a, b ma.Multiaddr) int { return cmp.Compare(rank(a), rank(b)) })
}

// readAnchors reads the anchor file; there is none on the first start.
func readAnchors(path string) (out []peer.AddrInfo, err error) {
	if path == "" {
		return nil, nil
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("p2p: anchors: %w", err)
	}
	if info.Size() > maxAnchorFile {
		return nil, fmt.Errorf("p2p: anchors: %s has %d bytes, at most %d: remove it", path, info.Size(), maxAnchorFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("p2p: anchors: %w", err)
	}
	var addrs []string
	if err := json.Unmarshal(text, &addrs); err != nil {
		return nil, fmt.Errorf("p2p: anchors: %s is damaged (%w): remove it", path, err)
	}
	for _, a := range addrs[:min(len(addrs), maxAnchors)] {
		info, err := peer.AddrInfoFromString(a)
		if err != nil {
			return nil, fmt.Errorf("p2p: anchors: %s is damaged (%w): remove it", path, err)
		}
		out = append(out, *info)
	}
	return out, nil
}
