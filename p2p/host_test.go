package p2p

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"

	"github.com/pheme-net/pheme/p2p/relay"
	"github.com/pheme-net/pheme/p2p/trace"
)

// TestQUIC sends a block over QUIC and looks at the wire's count, open and closed.
func TestQUIC(t *testing.T) {
	w := newWorld(t, "quic")
	quic := func(c *Config) { c.Listen = []string{"/ip4/127.0.0.1/udp/0/quic-v1"} }
	a, b := w.node("a", quic), w.node("b", quic)
	link(a, b)
	blk := w.block(w.tx(0, 20_000))
	a.propose(blk)
	b.reaches(blk)
	if p := b.net.Peers(); len(p) != 1 || !strings.Contains(p[0].Addr, "/quic-v1") {
		t.Errorf("peers %+v", p)
	}
	s := b.net.Stats()
	if s.WireIn < uint64(blk.Size()) || s.WireIn > uint64(2*blk.Size())+20_000 || s.WireOut == 0 {
		t.Errorf("wire: %d in, %d out for a block of %d", s.WireIn, s.WireOut, blk.Size())
	}
	a.stop()
	b.until("the connection is gone", func() bool { return !b.connected(a) })
	if after := b.net.Stats(); after.WireIn < s.WireIn || after.WireOut < s.WireOut {
		t.Errorf("bytes of a closed connection are forgotten: %d, then %d", s.WireIn, after.WireIn)
	}
}

// TestNothingUnused: the host listens on what was asked, and speaks Noise and
// TLS, Yamux, and no protocol pheme does not need.
func TestNothingUnused(t *testing.T) {
	w := newWorld(t, "host")
	n := w.node("n", func(c *Config) { c.Listen = nil })
	addrs := n.host.Network().ListenAddresses()
	if len(addrs) != 2 || !strings.HasPrefix(addrs[0].String(), "/ip4/127.0.0.1/") || !strings.HasPrefix(addrs[1].String(), "/ip4/127.0.0.1/") {
		t.Errorf("listens on %v", addrs)
	}
	n.until("every part runs", func() bool {
		all := n.host.Mux().Protocols()
		return slices.Contains(all, swimProtocol) && slices.Contains(all, relayProtocol)
	})
	var ours []string
	for _, p := range n.host.Mux().Protocols() {
		ours = append(ours, string(p))
	}
	want := map[string]bool{
		string(statusProtocol): true, string(blocksProtocol): true, string(repairProtocol): true, string(stateProtocol): true, string(swimProtocol): true, string(relayProtocol): true, string(gossipProtocol(n.net.network, topicBlock)): true, string(gossipProtocol(n.net.network, topicTx)): true,
		"/ipfs/id/1.0.0": true, "/ipfs/id/push/1.0.0": true,
	}
	for _, p := range ours {
		if !want[p] {
			t.Errorf("speaks %s", p)
		}
	}
	if len(ours) != len(want) {
		t.Errorf("speaks %v", ours)
	}
	other := w.node("other")
	link(other, n)
	for _, c := range n.host.Network().ConnsToPeer(other.host.ID()) {
		s := c.ConnState()
		if c.Stat().Direction == network.DirInbound && s.Transport == "tcp" && (s.StreamMultiplexer != "/yamux/1.0.0" || s.Security != noise.ID && s.Security != libp2ptls.ID) {
			t.Errorf("connection state %+v", s)
		}
	}
}

func TestBadSettingsAreNamed(t *testing.T) {
	w := newWorld(t, "settings")
	n := w.node("n")
	for _, addr := range []string{"", "127.0.0.1:1", "/ip4/127.0.0.1/tcp/1", n.addr()} {
		if err := n.net.AddPeer(addr); err == nil {
			t.Errorf("AddPeer(%q) was taken", addr)
		}
	}
	if _, err := New(Config{Relay: "pigeon"}, n.host, n.chain, n.back, nil, trace.NewClock()); !errors.Is(err, relay.ErrUnknown) {
		t.Errorf("unknown relay: %v", err)
	}
	tuning := relay.Config{Budget: -1}
	if _, err := New(Config{RelayTuning: tuning}, n.host, n.chain, n.back, nil, trace.NewClock()); err == nil || !strings.Contains(err.Error(), "budget") {
		t.Errorf("New() with %+v = %v, want an error that names the budget", tuning, err)
	}
	if _, err := NewHost(Config{Listen: []string{"/ip4/127.0.0.1/tcp/0", "/ip4/203.0.113.7/tcp/0"}}, identity("x")); err == nil || !strings.Contains(err.Error(), "no such address") {
		t.Errorf("an address of another machine: %v", err)
	}
	// Nil hook and use before Run.
	idle, err := New(testConfig(), n.host, n.chain, n.back, nil, trace.NewClock())
	if err != nil {
		t.Fatal(err)
	}
	if err := idle.PublishBlock(w.block()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("PublishBlock before Run: %v", err)
	}
	if s := idle.Stats(); s.Peers != 0 || len(idle.Peers()) != 0 {
		t.Errorf("stats before Run: %+v", s)
	}
}

// TestMDNS: two nodes of one network that know nothing of each other meet. It
// needs a link that multicasts.
func TestMDNS(t *testing.T) {
	w := newWorld(t, "mdns")
	lan := func(c *Config) { c.MDNS = true }
	a, b := w.node("a", lan), w.node("b", lan)
	deadline := time.After(5 * time.Second)
	for !a.net.peers.isUp(b.host.ID()) {
		a.net.peers.mu.RLock()
		joined := a.net.peers.joined
		a.net.peers.mu.RUnlock()
		select {
		case <-joined:
		case <-deadline:
			t.Skip("no multicast here: the two nodes did not find each other in 5 s")
		}
	}
}
