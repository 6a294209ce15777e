package p2p

import (
	"fmt"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	mocknet "github.com/libp2p/go-libp2p/p2p/net/mock"
	ma "github.com/multiformats/go-multiaddr"
)

// TestGroups: public addresses have the group of their subnet, names one for all, and what an attacker has not many of none.
func TestGroups(t *testing.T) {
	for addr, want := range map[string]string{
		"/ip4/8.8.4.4/tcp/1": "8.8.0.0", "/ip4/8.8.200.1/udp/1/quic-v1": "8.8.0.0", "/ip6/2600:1:2::3/tcp/1": "2600:1::",
		"/dns4/a.example.org/tcp/1": byName, "/dns/b.example.net/tcp/1": byName, "/dnsaddr/c.example.com": byName,
		"/ip4/127.0.0.1/tcp/1": "", "/ip4/10.1.2.3/tcp/1": "", "/ip4/192.168.1.1/tcp/1": "", "/ip6/::1/tcp/1": "", "/dns4/node.local/tcp/1": "",
	} {
		if got := group(ma.StringCast(addr)); got != want {
			t.Errorf("group(%s) = %q, want %q", addr, got, want)
		}
	}
}

// TestSubnetsAreNotClaimed: of members that are in one public subnet, whatever they say, no more than the cap stay connected,
// and the others are not tried again at once; on a private network all stay.
func TestSubnetsAreNotClaimed(t *testing.T) {
	for subnet, want := range map[string]int{"8.8": maxPerGroup, "10.0": 5} {
		mock := mocknet.New()
		defer mock.Close()
		self, err := mock.AddPeer(identity("self"), ma.StringCast("/ip4/9.9.9.9/tcp/1"))
		if err != nil {
			t.Fatal(err)
		}
		var all []candidate
		for i := range 5 {
			at := ma.StringCast(fmt.Sprintf("/ip4/%s.0.%d/tcp/1", subnet, i))
			h, err := mock.AddPeer(identity(fmt.Sprint(i)), at)
			if err != nil {
				t.Fatal(err)
			}
			claim := ma.StringCast(fmt.Sprintf("/ip4/%d.1.1.1/tcp/1", 20+i))
			all = append(all, candidate{info: peer.AddrInfo{ID: h.ID(), Addrs: []ma.Multiaddr{claim, at}}, group: group(claim)})
		}
		if err := mock.LinkAll(); err != nil {
			t.Fatal(err)
		}
		n := &Net{cfg: Config{}.fill(), host: self}
		failed := n.dialMembers(t.Context(), all[:dialsAtOnce])
		failed = append(failed, n.dialMembers(t.Context(), all[dialsAtOnce:])...)
		for _, p := range failed {
			if self.Network().Connectedness(p) == network.Connected {
				t.Errorf("%s: a member that counts as failed is connected", subnet)
			}
		}
		if got := len(self.Network().Conns()); got != want || len(failed) != len(all)-want {
			t.Errorf("%s: %d connections and %d failed of %d members, want %d connections", subnet, got, len(failed), len(all), want)
		}
	}
}
