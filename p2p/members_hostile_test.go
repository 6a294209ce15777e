package p2p

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/pheme-net/pheme/p2p/swim"
)

// TestHostilePushPull: who writes nonsense into a push-pull, or never ends its sentence, is cut off, the first with an
// offence; who asks without end is served its share; an honest peer's push-pull goes well after all of it.
func TestHostilePushPull(t *testing.T) {
	w := newWorld(t, "push-pull")
	n := w.node("n", func(c *Config) { c.ServeRequests, c.RequestTimeout = 20, 300*time.Millisecond })
	n.until("push-pull is served", func() bool { return slices.Contains(n.host.Mux().Protocols(), swimProtocol) })
	meet := func(name string) *testNode {
		e := w.evil(name, w.claim(0, common.Hash{}), func(s network.Stream) { _ = s.Reset() })
		if err := n.net.AddPeer(e.addr()); err != nil {
			t.Fatal(err)
		}
		n.until(name+" is up", func() bool { return n.net.peers.isUp(e.host.ID()) })
		return e
	}
	// say writes into a push-pull and tells whether it is answered.
	say := func(e *testNode, b []byte) bool {
		s, err := e.host.NewStream(t.Context(), n.host.ID(), swimProtocol)
		if err != nil {
			t.Fatalf("open a stream with %q: %v, penalty %v", b[:min(10, len(b))], err, n.net.peers.penalty(e.host.ID()))
		}
		defer s.Reset()
		_ = s.SetDeadline(time.Now().Add(patience))
		if _, err := s.Write(b); err != nil {
			return false
		}
		_, err = readFrame(s, swim.MaxFrame)
		return err == nil
	}
	frame := func(b []byte) []byte { return append(binary.AppendUvarint(nil, uint64(len(b))), b...) }
	for name, c := range map[string]struct {
		bytes []byte
		lies  bool // else it is only slow
	}{
		"garbage":           {frame([]byte("garbage")), true},
		"a frame too large": {frame(make([]byte, swim.MaxFrame+1)), true},
		"half a frame":      {[]byte{200, 1, 2}, false},
		"nothing":           {nil, false},
	} {
		e := meet(name)
		if say(e, c.bytes) {
			t.Errorf("%s is answered", name)
		}
		if c.lies {
			n.until(name+" is an offence", func() bool { return n.net.peers.penalty(e.host.ID()) < 0 })
		} else if p := n.net.peers.penalty(e.host.ID()); p != 0 {
			t.Errorf("%s costs a slow peer %v", name, p)
		}
	}
	// A push-pull begins with a root; to one that is not its own the node answers.
	question := func() (b []byte) {
		if err := n.net.members.do(t.Context(), func(s *swim.Node, _ time.Time) { b = s.SyncOpen() }); err != nil {
			t.Fatal(err)
		}
		b[4] ^= 1 // version, then rlp[kind, root (8 bytes), ...]
		return frame(b)
	}()
	e, served := meet("flooder"), 0
	for range 60 {
		if say(e, question) {
			served++
		}
	}
	if served < 10 || served == 60 {
		t.Errorf("%d of 60 push-pulls served, want about 20", served)
	}
	other := w.node("other")
	link(other, n)
	other.until("the honest peer is told of the members", func() bool { return other.knows() == 2 })
}
