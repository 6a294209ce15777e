package p2p

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/p2p/link/virtual"
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

// TestEndlessPushPull: who always says that there is more is asked again only while it has news, and all together for
// RequestTimeout at most.
func TestEndlessPushPull(t *testing.T) {
	type frame struct { // as of package swim
		Kind, Root  uint64
		Buckets     []uint64
		Which       uint64
		Vector      []uint64
		Records     []rlp.RawValue
		Want        []uint64
		Accusations []uint64
		More        bool
	}
	for name, least := range map[string]time.Duration{"old news": 0, "news": 5 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newTown(t, 2, 0)
				defer v.burst()
				n := v.add(0, func(c *Config) { c.StatusTimeout = time.Hour }) // bare hosts say their status once
				member := func(i int) (*swim.Node, crypto.PrivKey) {
					key, err := virtual.Identity(1, i)
					if err != nil {
						t.Fatal(err)
					}
					id, err := peer.IDFromPrivateKey(key)
					if err != nil {
						t.Fatal(err)
					}
					cfg := n.net.swimConfig(key)
					cfg.ID = swim.ID(id)
					m, err := swim.New(cfg, 1, nil, rand.New(rand.NewPCG(1, 1)), time.Now())
					if err != nil {
						t.Fatal(err)
					}
					return m, key
				}
				m, key := member(1)
				h, err := virtual.NewHost(v.net, virtual.HostConfig{Node: 1, Key: key})
				if err != nil {
					t.Fatal(err)
				}
				defer h.Close()
				vector, err := rlp.EncodeToBytes(&frame{Kind: 3, Which: math.MaxUint64})
				if err != nil {
					t.Fatal(err)
				}
				vector = append(m.SyncOpen()[:1:1], vector...)
				var asked atomic.Int32
				var telling sync.Mutex
				pretend(h, v.claim(0, common.Hash{}), func(s network.Stream) { _ = s.Reset() })
				h.SetStreamHandler(swimProtocol, func(s network.Stream) {
					defer s.Close()
					if _, err := readFrame(s, swim.MaxFrame); err != nil {
						return
					}
					time.Sleep(time.Second)
					tells, i := m, asked.Add(1)
					if name == "news" {
						tells, _ = member(1 + int(i))
					}
					telling.Lock()
					delta, _, err := tells.Sync(time.Now(), vector) // its own record
					telling.Unlock()
					if err != nil {
						t.Error(err)
						return
					}
					delta[len(delta)-1] = 1 // there is more
					_ = writeFrame(s, delta)
				})
				if err := n.net.AddPeer(fmt.Sprintf("%s/p2p/%s", v.net.Addr(1), h.ID())); err != nil {
					t.Fatal(err)
				}
				v.await("the peer is up", 10*time.Second, func() bool { return n.net.peers.isUp(h.ID()) })
				time.Sleep(2 * time.Second)
				began := time.Now()
				_ = n.net.pushPull(t.Context(), h.ID()) // cut off, perhaps
				if took := time.Since(began); took < least || took > n.net.cfg.RequestTimeout || least == 0 && took > 3*time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}
