package p2p

import (
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
)

// TestCut: a peer that is kept away is put out, cannot come back from either side, and can once it
// is let in again.
func TestCut(t *testing.T) {
	w := newWorld(t, "cut")
	a, b := w.node("a"), w.node("b")
	link(a, b)
	real := func(h host.Host) *Host { return h.(*Host) }
	if err := real(a.host).Cut(b.host.ID(), 2*maxCut); err == nil {
		t.Error("a cut of two days was taken")
	}
	if err := real(a.host).Cut(b.host.ID(), time.Hour); err != nil {
		t.Fatal(err)
	}
	a.until("apart", func() bool { return a.host.Network().Connectedness(b.host.ID()) != network.Connected })
	if _, err := a.host.Network().DialPeer(t.Context(), b.host.ID()); err == nil {
		t.Error("the one who cut dialled")
	}
	// The dialler learns of a refusal only when the connection breaks: what counts is that it has none.
	_, _ = b.host.Network().DialPeer(t.Context(), a.host.ID())
	b.until("refused", func() bool { return b.host.Network().Connectedness(a.host.ID()) != network.Connected })
	if a.host.Network().Connectedness(b.host.ID()) == network.Connected {
		t.Error("connected although cut")
	}
	if err := real(a.host).Cut(b.host.ID(), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := a.host.Network().DialPeer(t.Context(), b.host.ID()); err != nil {
		t.Errorf("after the cut ended: %v", err)
	}
}
