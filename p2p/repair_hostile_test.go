package p2p

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/recon"
)

// patient is a node whose sessions begin when the test says so. Where a peer will
// be scored for what it says, a slow machine must not look like its silence.
func patient(c *Config) {
	c.NoRepair = true
	c.FetchTimeout = time.Second
}

// impatient is patient for a peer that will not say anything.
func impatient(c *Config) {
	c.NoRepair = true
	c.RequestTimeout, c.FetchTimeout = 800*time.Millisecond, 50*time.Millisecond
}

// patienceWith is the patience for a peer that will be scored, or will not.
func patienceWith(scored bool) func(*Config) {
	if scored {
		return patient
	}
	return impatient
}

// partner plays the server of a session: it reads the hello, says what it is told
// and reads on until the client ends.
func partner(play func(s network.Stream, h hello)) network.StreamHandler {
	return func(s network.Stream) {
		defer s.Reset()
		b, err := readFrame(s, maxHelloBytes)
		if err != nil {
			return
		}
		h, _, err := decodeHello(b)
		if err != nil {
			return
		}
		play(s, h)
		_, _ = io.Copy(io.Discard, s)
	}
}

// TestHostileRepairPartners: whatever the server of a session does, it ends soon,
// nothing wrong gets into the pool, lies cost score, and an honest peer's session
// goes well after it.
func TestHostileRepairPartners(t *testing.T) {
	w := newWorld(t, "repair partners")
	mine, theirs, other := w.tx(0, 50), w.tx(1, 50), w.tx(2, 50)
	foreign := newWorld(t, "elsewhere")
	foreign.genesis.ChainID++
	wrongChain := foreign.tx(3, 10)
	set := func(h hello, txs ...*chain.Tx) *recon.Set {
		s := recon.NewSet(h.Key, len(txs))
		for _, x := range txs {
			hash := [32]byte(x.Hash())
			s.Add(&hash)
		}
		return s
	}
	symbols := func(s network.Stream, of *recon.Set, first, n int) error {
		raw := recon.AppendSymbols(nil, of.Symbols(first + n)[first:], first, of.Len())
		return writeFrame(s, sketch{Status: w.claim(0, w.genesis.Hash()), Items: uint64(of.Len()), First: uint64(first), Symbols: raw}.encode())
	}
	batch := func(s network.Stream, txs ...*chain.Tx) {
		var raws [][]byte
		for _, x := range txs {
			raws = append(raws, x.Raw())
		}
		_ = writeFrame(s, encodeBatch(nonce{}, raws))
	}
	for name, c := range map[string]struct {
		play   func(network.Stream, hello)
		scored bool
	}{
		"silent":  {func(network.Stream, hello) {}, false},
		"garbage": {func(s network.Stream, _ hello) { _ = writeFrame(s, []byte("garbage")) }, true},
		"huge frame": {func(s network.Stream, _ hello) {
			_, _ = s.Write([]byte{0xff, 0xff, 0xff, 0xff, 0x0f})
		}, true},
		"a set too large": {func(s network.Stream, _ hello) {
			_ = writeFrame(s, sketch{Status: w.claim(0, w.genesis.Hash()), Items: 1 << 60, Symbols: make([]byte, 13)}.encode())
		}, true},
		"symbols from elsewhere": {func(s network.Stream, h hello) { _ = symbols(s, set(h, theirs), 5, 4) }, true},
		"endless symbols": {func(s network.Stream, h hello) {
			rng := rand.New(rand.NewPCG(1, 2))
			for first := 0; ; {
				var junk []recon.Symbol
				for range 512 {
					junk = append(junk, recon.Symbol{Sum: rng.Uint64(), Check: rng.Uint32(), Count: 5})
				}
				raw := recon.AppendSymbols(nil, junk, first, 1)
				if writeFrame(s, sketch{Status: w.claim(0, w.genesis.Hash()), Items: 1, First: uint64(first), Symbols: raw}.encode()) != nil {
					return
				}
				if first += len(junk); first > 100_000 {
					t.Error("the client takes symbols for ever")
					return
				}
				if _, err := readFrame(s, maxAskBytes); err != nil {
					return
				}
			}
		}, true},
		"one item at every place": {func(s network.Stream, h hello) {
			one := set(h, theirs).Symbols(1)[0]
			own := set(h, mine).Symbols(64)
			var junk []recon.Symbol
			for i := range 64 {
				junk = append(junk, recon.Symbol{Sum: one.Sum ^ own[i].Sum, Check: one.Check ^ own[i].Check, Count: own[i].Count + 1})
			}
			raw := recon.AppendSymbols(nil, junk, 0, 1)
			_ = writeFrame(s, sketch{Status: w.claim(0, w.genesis.Hash()), Items: 1, Symbols: raw}.encode())
		}, true},
		"a transaction nobody asked for": {func(s network.Stream, h hello) {
			if symbols(s, set(h, theirs), 0, 64) == nil {
				_, _ = readFrame(s, maxAskBytes)
				batch(s, other)
			}
		}, true},
		"the same transaction for ever": {func(s network.Stream, h hello) {
			if symbols(s, set(h, theirs), 0, 64) == nil {
				_, _ = readFrame(s, maxAskBytes)
				for range 1000 {
					batch(s, theirs)
				}
			}
		}, true},
		"a transaction of another chain": {func(s network.Stream, h hello) {
			if symbols(s, set(h, wrongChain), 0, 64) == nil {
				_, _ = readFrame(s, maxAskBytes)
				batch(s, wrongChain)
			}
		}, true},
		"never the transactions": {func(s network.Stream, h hello) { _ = symbols(s, set(h, theirs), 0, 64) }, false},
		"a byte at a time": {func(s network.Stream, h hello) {
			if symbols(s, set(h, theirs), 0, 64) != nil {
				return
			}
			_, _ = s.Write([]byte{0xff, 0x7f})
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for range tick.C {
				if _, err := s.Write([]byte{1}); err != nil {
					return
				}
			}
		}, false},
		"wants what was not offered": {func(s network.Stream, h hello) {
			if symbols(s, set(h), 0, 64) == nil {
				_, _ = readFrame(s, maxAskBytes)
				_ = writeFrame(s, nil)
				_ = writeFrame(s, encodeIDs(make([]recon.ID, 100)))
			}
		}, true},
		"a head of its own making": {func(s network.Stream, _ hello) {
			_ = writeFrame(s, sketch{Kind: sketchLater, Status: w.claim(1<<40, w.genesis.Hash())}.encode())
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			n, good := w.node("victim "+name, patienceWith(c.scored)), w.node("good "+name, patient)
			defer n.stop()
			defer good.stop()
			n.back.hold(mine)
			e := w.evil("evil "+name, w.claim(0, w.genesis.Hash()), func(s network.Stream) { _ = s.Reset() })
			e.host.SetStreamHandler(repairProtocol, partner(c.play))
			if err := n.net.AddPeer(e.addr()); err != nil {
				t.Fatal(err)
			}
			n.until("the evil peer is up", func() bool { return n.net.peers.isUp(e.host.ID()) })
			if _, err := n.net.reconcile(t.Context(), e.host.ID(), false); err == nil {
				t.Error("the session went well")
			}
			if scored := n.net.peers.penalty(e.host.ID()) < 0; scored != c.scored {
				t.Errorf("scored: %v, want %v", scored, c.scored)
			}
			for _, x := range []*chain.Tx{other, wrongChain} {
				if n.back.Tx(x.Hash()) != nil {
					t.Error("what must not be is in the pool")
				}
			}
			good.back.hold(theirs)
			link(n, good)
			n.until("the honest peer's session goes well", func() bool {
				_, err := n.net.reconcile(t.Context(), good.host.ID(), true)
				return err == nil && n.back.Tx(theirs.Hash()) != nil && good.back.Tx(mine.Hash()) != nil
			})
			if !n.net.peers.isUp(good.host.ID()) {
				t.Error("the honest peer was put out")
			}
		})
	}
}

// TestHostileRepairClients: the same for the client of a session.
func TestHostileRepairClients(t *testing.T) {
	w := newWorld(t, "repair clients")
	mine, other := w.tx(0, 50), w.tx(1, 50)
	greeting := func(set *recon.Set, key recon.Key) []byte {
		zero := set.Symbols(1)[0]
		return hello{
			Key: key, Insist: true, Status: w.claim(0, w.genesis.Hash()), Sum: zero.Sum + 1, Check: uint64(zero.Check),
			Profile: recon.AppendProfile(nil, set.Profile()),
		}.encode()
	}
	key := recon.Key{7}
	empty := recon.NewSet(key, 0)
	for name, c := range map[string]struct {
		play   func(s network.Stream)
		scored bool
	}{
		"silent":  {func(network.Stream) {}, false},
		"garbage": {func(s network.Stream) { _ = writeFrame(s, []byte("garbage")) }, true},
		"an endless hello": {func(s network.Stream) {
			_, _ = s.Write([]byte{0xff, 0xff, 0x7f})
		}, true},
		"a profile of nonsense": {func(s network.Stream) {
			h := hello{Key: key, Status: w.claim(0, w.genesis.Hash()), Profile: make([]byte, 300)}
			_ = writeFrame(s, h.encode())
		}, true},
		"more for ever": {func(s network.Stream) {
			_ = writeFrame(s, greeting(empty, key))
			for range 1000 {
				if _, err := readFrame(s, maxSketchBytes); err != nil {
					return
				}
				if writeFrame(s, ask{More: recon.MaxSymbols}.encode()) != nil {
					return
				}
			}
			t.Error("the server makes symbols for ever")
		}, true},
		"more than there can be": {func(s network.Stream) {
			_ = writeFrame(s, greeting(empty, key))
			_, _ = readFrame(s, maxSketchBytes)
			_ = writeFrame(s, ask{More: 1 << 62}.encode())
		}, true},
		"gives what was not wanted": {func(s network.Stream) {
			_ = writeFrame(s, greeting(empty, key))
			_, _ = readFrame(s, maxSketchBytes)
			_ = writeFrame(s, ask{Offers: encodeIDs([]recon.ID{1})}.encode())
			_ = writeFrame(s, encodeBatch(nonce{}, [][]byte{other.Raw()}))
		}, true},
		"offers and never gives": {func(s network.Stream) {
			_ = writeFrame(s, greeting(empty, key))
			_, _ = readFrame(s, maxSketchBytes)
			_ = writeFrame(s, ask{Offers: encodeIDs([]recon.ID{1})}.encode())
		}, false},
		"asks for what nobody has": {func(s network.Stream) {
			_ = writeFrame(s, greeting(empty, key))
			_, _ = readFrame(s, maxSketchBytes)
			_ = writeFrame(s, ask{IDs: encodeIDs(make([]recon.ID, maxRepairIDs))}.encode())
			_ = s.CloseWrite()
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			n, good := w.node("victim "+name, patienceWith(c.scored)), w.node("good "+name, patient)
			defer n.stop()
			defer good.stop()
			n.back.hold(mine)
			e := w.evil("evil "+name, w.claim(0, w.genesis.Hash()), func(s network.Stream) { _ = s.Reset() })
			if err := n.net.AddPeer(e.addr()); err != nil {
				t.Fatal(err)
			}
			n.until("the evil peer is up", func() bool { return n.net.peers.isUp(e.host.ID()) })
			var reading sync.WaitGroup
			defer reading.Wait()        // the victim ends every session
			for range 3 * maxServedTo { // more than it is given at once
				s, err := e.host.NewStream(t.Context(), n.host.ID(), repairProtocol)
				if err != nil {
					break // put out already
				}
				c.play(s)
				reading.Go(func() { _, _ = io.Copy(io.Discard, s) })
			}
			link(n, good)
			n.until("the honest peer is served", func() bool {
				_, err := good.net.reconcile(t.Context(), n.host.ID(), true)
				return err == nil && good.back.Tx(mine.Hash()) != nil
			})
			if n.back.Tx(other.Hash()) != nil {
				t.Error("what nobody wanted is in the pool")
			}
			n.until("its score", func() bool { return n.net.peers.penalty(e.host.ID()) < 0 == c.scored })
			if !n.net.peers.isUp(good.host.ID()) {
				t.Error("the honest peer was put out")
			}
		})
	}
}

// TestRepairSessionsAreCounted: one peer gets two sessions at once, all together
// sixteen, and a place that is left is free again.
func TestRepairSessionsAreCounted(t *testing.T) {
	r := newRepairer()
	for i := range maxServed {
		if !r.enter(peerN(i)) {
			t.Fatalf("session %d is refused", i)
		}
	}
	if r.enter(peerN(99)) {
		t.Error("one more than sixteen")
	}
	r.leave(peerN(0))
	if !r.enter(peerN(1)) || r.enter(peerN(1)) {
		t.Error("a second session of a peer, or a third")
	}
	r.leave(peerN(1))
	r.leave(peerN(1))
	if len(r.served) != maxServed-2 || r.total != maxServed-2 {
		t.Errorf("%d peers, %d sessions", len(r.served), r.total)
	}
	now := time.Now()
	r.rest(peerN(1), now)
	if !r.resting(peerN(1), now) || r.resting(peerN(2), now) || r.resting(peerN(1), now.Add(restRepair)) {
		t.Error("the wrong peer rests, or too long")
	}
	r.rest(peerN(2), now.Add(2*restRepair))
	if len(r.rests) != 1 {
		t.Error("rests are kept for ever")
	}
}

func FuzzDecodeHello(f *testing.F) {
	s := recon.NewSet(recon.Key{1}, 0)
	f.Add(hello{Status: status{Version: statusVersion}, Profile: recon.AppendProfile(nil, s.Profile())}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		h, _, err := decodeHello(b)
		roundTrip(t, b, err, h.encode)
	})
}

func FuzzDecodeSketch(f *testing.F) {
	s := recon.NewSet(recon.Key{1}, 1)
	s.Add(&[32]byte{1})
	f.Add(sketch{Status: status{Version: statusVersion}, Items: 1, Symbols: recon.AppendSymbols(nil, s.Symbols(3), 0, 1)}.encode())
	f.Add(sketch{Kind: sketchSame, Status: status{Version: statusVersion}}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, _, err := decodeSketch(b)
		roundTrip(t, b, err, s.encode)
	})
}

func FuzzDecodeAsk(f *testing.F) {
	f.Add(ask{More: 5}.encode())
	f.Add(ask{IDs: encodeIDs([]recon.ID{1, 2}), Offers: encodeIDs([]recon.ID{3})}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ids, offers, err := decodeAsk(b)
		roundTrip(t, b, err, a.encode)
		if err == nil && (len(ids) > maxRepairIDs || len(offers) > maxRepairIDs) {
			t.Fatalf("%d ids, %d offers", len(ids), len(offers))
		}
	})
}

// roundTrip: what was decoded encodes to the same bytes, and what was not gives
// ErrProtocol.
func roundTrip(t *testing.T, b []byte, err error, encode func() []byte) {
	t.Helper()
	switch {
	case err != nil && !errors.Is(err, ErrProtocol):
		t.Fatalf("error %v", err)
	case err == nil && string(encode()) != string(b):
		t.Fatalf("%x becomes %x", b, encode())
	}
}

func peerN(i int) peer.ID { return peerOf(fmt.Sprint("peer ", i)) }

func peerOf(name string) peer.ID { return peer.ID(name) }
