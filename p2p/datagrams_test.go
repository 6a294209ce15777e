package p2p

import (
	"net/netip"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/p2p/trace"
)

// TestRelayDatagrams: the relay's datagrams go between real hosts that are connected,
// over TCP or QUIC, with and without membership; those of others are not heard.
func TestRelayDatagrams(t *testing.T) {
	for name, bend := range map[string]func(*Config){
		"membership":    func(*Config) {},
		"no membership": func(c *Config) { c.NoMembers = true },
		"QUIC":          func(c *Config) { c.NoMembers, c.Listen = true, []string{"/ip4/127.0.0.1/udp/0/quic-v1"} },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, name)
			a, b, c := w.node(name+"a", bend), w.node(name+"b", bend), w.node(name+"c", bend)
			link(a, b)
			type got struct {
				from peer.ID
				text string
			}
			arrived := make(chan got, 1024)
			b.until("relay runs", func() bool { return b.net.datagrams.take.Load() != nil })
			b.net.datagrams.Take(func(from peer.ID, p []byte) {
				select {
				case arrived <- got{from, string(p)}:
				default: // it has enough
				}
			})
			if c.net.datagrams.To(b.host.ID(), b.net.datagrams.Port()) != nil || a.net.datagrams.To(b.host.ID(), 0) != nil {
				t.Fatal("a way to a host that is not connected, or that takes none")
			}
			ours := b.net.datagrams
			stranger := c.net.datagrams.host
			at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), ours.Port())
			b.until("a stranger's datagram comes", func() bool {
				stranger.SendPacket(b.host.ID(), at, []byte{packetRelay, 1}, true)
				return b.net.Stats().In[trace.ClassRelay] > 0
			})
			send := a.net.datagrams.To(b.host.ID(), ours.Port())
			b.until("a peer's datagram comes", func() bool {
				send([]byte("chunk"))
				return len(arrived) > 0
			})
			if x := <-arrived; x.from != a.host.ID() || x.text != "chunk" {
				t.Errorf("%q came from %s", x.text, x.from)
			}
		})
	}
}
