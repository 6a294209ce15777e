package virtual

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/pheme-net/pheme/p2p/link"
)

// TestPartition cuts live streams and heals them: nothing is lost for good, and
// the schedule and Apply do the same.
func TestPartition(t *testing.T) {
	for _, scheduled := range []bool{false, true} {
		for _, stack := range stacks {
			synctest.Test(t, func(t *testing.T) {
				cfg := uniformConfig(t, 3, "uniform:50ms", 8*link.Mbit, 1)
				cut := link.Partition{Groups: [][]int{{0}, {1, 2}}}
				if scheduled {
					cfg.Schedule = []link.Timed{{At: 5 * time.Second, Do: cut}, {At: 15 * time.Second, Do: link.Heal{}}}
				}
				start := time.Now()
				play(t, cfg, stack, func(w *field) {
					out, in := w.pipe(0, 1)
					aside, asideIn := w.pipe(2, 1)
					time.Sleep(time.Until(start.Add(5*time.Second + time.Millisecond))) // behind the schedule, if there is one
					if !scheduled {
						if err := w.net.Apply(cut); err != nil {
							t.Fatal(err)
						}
					}
					if !w.net.Path(0, 1).Cut || w.net.Path(1, 2).Cut {
						t.Error("the wrong links are cut")
					}
					var wg sync.WaitGroup
					var took time.Duration
					wg.Go(func() { took = transfer(w, out, in, 1000) })
					if within := transfer(w, aside, asideIn, 1000); within > 70*time.Millisecond {
						t.Errorf("inside a group 1000 bytes took %s", within)
					}
					ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
					defer cancel()
					if _, err := w.net.nodes[0].tr.Dial(ctx, w.net.Addr(2), w.hosts[2].ID()); !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("a dial across the cut: %v", err)
					}
					time.Sleep(time.Until(start.Add(15 * time.Second)))
					if !scheduled {
						if err := w.net.Apply(link.Heal{}); err != nil {
							t.Fatal(err)
						}
					}
					wg.Wait()
					// Met at 5.05 s, tried again 0.2, 0.6, 1.4, 3, 6.2 and 12.6 s later.
					if took < 12*time.Second || took > 13*time.Second {
						t.Errorf("scheduled %t, stack %d: bytes sent into the cut came after %s", scheduled, stack, took)
					}
				})
			})
		}
	}
}

// TestCutForTooLong: connections that stay cut end at both sides, and both hosts
// are told.
func TestCutForTooLong(t *testing.T) {
	inBubble(t, 2, Direct, 0, func(w *field) {
		out, in := w.pipe(0, 1)
		began := time.Now()
		var wg sync.WaitGroup
		for _, s := range []network.Stream{out, in} {
			wg.Go(func() {
				if _, err := s.Read(make([]byte, 1)); !errors.Is(err, network.ErrReset) || !errors.Is(err, errCut) {
					t.Errorf("the error of a stream cut for too long: %v", err)
				}
				if took := time.Since(began); took != w.net.cfg.DeadAfter {
					t.Errorf("it came after %s, want %s", took, w.net.cfg.DeadAfter)
				}
			})
		}
		if err := w.net.Apply(link.Partition{Groups: [][]int{{0}}}); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		time.Sleep(time.Second)
		for i, h := range w.hosts {
			if n := len(h.Network().Conns()); n != 0 {
				t.Errorf("host %d keeps %d connections", i, n)
			}
		}
		if err := w.net.Apply(link.Heal{}); err != nil {
			t.Fatal(err)
		}
		w.pipe(0, 1) // a new one works
	})
}

// TestKillAndRestart closes a host and puts another at its node.
func TestKillAndRestart(t *testing.T) {
	for _, stack := range stacks {
		inBubble(t, 3, stack, 0, func(w *field) {
			_, in := w.pipe(0, 1)
			w.pipe(1, 2)
			began := time.Now()
			if err := w.hosts[0].Close(); err != nil {
				t.Error(err)
			}
			if _, err := in.Read(make([]byte, 1)); err == nil || time.Since(began) > 60*time.Millisecond {
				t.Errorf("stack %d: the peer of a killed host read %v after %s", stack, err, time.Since(began))
			}
			key, err := Identity(99, 0)
			if err != nil {
				t.Fatal(err)
			}
			if w.hosts[0], err = NewHost(w.net, HostConfig{Node: 0, Key: key, UserAgent: "again"}); err != nil {
				t.Fatal(err)
			}
			w.pipe(1, 0)
			if agent, err := w.hosts[1].Peerstore().Get(w.hosts[0].ID(), "AgentVersion"); err != nil || agent != "again" {
				t.Errorf("stack %d: agent %v, %v", stack, agent, err)
			}
			if _, err := NewHost(w.net, HostConfig{Node: 0, Key: key}); err == nil {
				t.Errorf("stack %d: two hosts at one node", stack)
			}
		})
	}
}

// TestHandlersAreKnown: a handler set right after NewHost is known to peers that
// connected before and after.
func TestHandlersAreKnown(t *testing.T) {
	inBubble(t, 2, Direct, 0, func(w *field) {
		w.hosts[1].SetStreamHandler("/early/1", func(s network.Stream) { _ = s.Close() })
		w.connect([][2]int{{0, 1}})
		w.hosts[1].SetStreamHandler("/late/1", func(s network.Stream) { _ = s.Close() })
		time.Sleep(time.Second)
		known, err := w.hosts[0].Peerstore().SupportsProtocols(w.hosts[1].ID(), "/early/1", "/late/1", "/never/1")
		if err != nil || len(known) != 2 {
			t.Fatalf("known protocols %v, %v", known, err)
		}
		// A known protocol costs no round trip, an unknown one does.
		for p, want := range map[string]time.Duration{"/early/1": 0, "/never/1": 100 * time.Millisecond} {
			began := time.Now()
			s, err := w.hosts[0].NewStream(context.Background(), w.hosts[1].ID(), protocol.ID(p))
			if took := time.Since(began).Round(time.Millisecond); took != want || (err == nil) != (want == 0) {
				t.Errorf("%s: a stream after %s, %v; want %s", p, took, err, want)
			}
			if err == nil {
				_ = s.Close()
			}
		}
	})
}

// TestStreamFlood opens more streams than may wait.
func TestStreamFlood(t *testing.T) {
	inBubble(t, 2, Direct, 0, func(w *field) {
		pair := w.net.connect(0, 1, Direct)
		reset := 0
		for range backlog + 10 {
			s, err := pair[0].OpenStream(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			_ = s.SetReadDeadline(time.Now())
			if _, err := s.Read(make([]byte, 1)); errors.Is(err, network.ErrReset) {
				reset++
			}
		}
		if reset != 10 || len(pair[1].waiting) != backlog {
			t.Fatalf("%d streams reset and %d waiting, want 10 and %d", reset, len(pair[1].waiting), backlog)
		}
		if err := pair[0].Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if _, err := pair[1].AcceptStream(); !errors.Is(err, network.ErrReset) || !pair[1].IsClosed() {
			t.Fatalf("after the close: %v", err)
		}
	})
}

// TestWireBytes compares what a host counts with what was written.
func TestWireBytes(t *testing.T) {
	inBubble(t, 2, Direct, 8*link.Mbit, func(w *field) {
		out, in := w.pipe(0, 1)
		time.Sleep(time.Second)
		_, before := w.hosts[0].WireBytes()
		inBefore, _ := w.hosts[1].WireBytes()
		w.must(out.Write(make([]byte, 123_456)))
		if err := out.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, in); err != nil {
			t.Fatal(err)
		}
		_, after := w.hosts[0].WireBytes()
		inAfter, _ := w.hosts[1].WireBytes()
		if want := uint64(123_456 + link.FrameBytes); after-before != want || inAfter-inBefore != want {
			t.Fatalf("sent %d and received %d bytes, want %d: the payload and the mark of its end", after-before, inAfter-inBefore, want)
		}
		if up, down := w.net.Rates(0); up != 8*link.Mbit || down != up {
			t.Fatalf("rates %s and %s", up, down)
		}
		if nodes, err := w.net.Nodes("all"); err != nil || len(nodes) != 2 {
			t.Fatalf("nodes of the region: %v, %v", nodes, err)
		}
		if _, err := w.net.Nodes("moon"); err == nil {
			t.Fatal("an unknown region passed")
		}
	})
}

func TestIntern(t *testing.T) {
	pool := newInterner()
	a, b := make([]byte, internMin), make([]byte, internMin)
	b[7] = 1
	first := pool.keep(a)
	if &first[0] == &a[0] {
		t.Fatal("the caller's bytes were kept")
	}
	pool.keep(b)
	if again := pool.keep(append([]byte(nil), a...)); &again[0] != &first[0] || pool.hits != 1 {
		t.Fatal("equal bytes were kept twice")
	}
	for i := range internSlots {
		b[8] = byte(i + 1)
		pool.keep(b)
	}
	if len(pool.bytes) > internSlots {
		t.Fatalf("%d kept, want at most %d", len(pool.bytes), internSlots)
	}
	if again := pool.keep(a); &again[0] == &first[0] {
		t.Fatal("the oldest was not let go")
	}
}
