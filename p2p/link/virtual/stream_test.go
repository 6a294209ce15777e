package virtual

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/pheme-net/pheme/p2p/link"
)

const proto = "/test/1"

var stacks = []Stack{Direct, Secured}

// inBubble runs f on a network of n nodes 50 ms apart, without jitter, or on a bent one.
func inBubble(t *testing.T, n int, stack Stack, rate link.Rate, f func(w *field), bend ...func(*link.Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg := uniformConfig(t, n, "uniform:50ms:0s", rate, 1)
		cfg.Window = link.NoWindow
		for _, b := range bend {
			b(&cfg)
		}
		play(t, cfg, stack, f)
	})
}

// pipe connects two hosts and returns both ends of a stream, on which the first
// byte has been exchanged.
func (w *field) pipe(from, to int) (out, in network.Stream) {
	w.tb.Helper()
	accepted := make(chan network.Stream, 1)
	w.hosts[to].SetStreamHandler(proto, func(s network.Stream) { accepted <- s })
	time.Sleep(time.Millisecond)
	w.connect([][2]int{{from, to}})
	out, err := w.hosts[from].NewStream(context.Background(), w.hosts[to].ID(), proto)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.must(out.Write([]byte{1}))
	select {
	case in = <-accepted:
	case <-time.After(time.Minute):
		w.tb.Fatalf("no stream from %d to %d", from, to)
	}
	w.must(io.ReadFull(in, make([]byte, 1)))
	w.must(in.Write([]byte{1}))
	w.must(io.ReadFull(out, make([]byte, 1)))
	return out, in
}

func (w *field) must(n int, err error) {
	w.tb.Helper()
	if err != nil {
		w.tb.Fatal(err)
	}
}

func near(t testing.TB, what string, got, want time.Duration, share float64) {
	t.Helper()
	if math.Abs(got.Seconds()/want.Seconds()-1) > share {
		t.Errorf("%s = %s, want %s within %.3g%%", what, got, want, 100*share)
	}
}

func TestEcho(t *testing.T) {
	for _, stack := range stacks {
		inBubble(t, 2, stack, 50*link.Mbit, func(w *field) {
			out, in := w.pipe(0, 1)
			data := make([]byte, 300<<10)
			rand.NewChaCha8([32]byte{1}).Read(data)
			var wg sync.WaitGroup
			wg.Go(func() {
				got, err := io.ReadAll(in)
				if err != nil || !bytes.Equal(got, data) {
					w.tb.Errorf("stack %d: read %d bytes, %v", stack, len(got), err)
				}
				w.must(in.Write(got)) // the other direction stays open
				if err := in.Close(); err != nil {
					w.tb.Error(err)
				}
			})
			w.must(out.Write(data))
			if err := out.CloseWrite(); err != nil {
				w.tb.Fatal(err)
			}
			if _, err := out.Write(data); err == nil {
				w.tb.Errorf("stack %d: a write after CloseWrite passed", stack)
			}
			got, err := io.ReadAll(out)
			if err != nil || !bytes.Equal(got, data) {
				w.tb.Errorf("stack %d: read back %d bytes, %v", stack, len(got), err)
			}
			wg.Wait()
			if err := out.Close(); err != nil {
				w.tb.Error(err)
			}
		})
	}
}

// transfer measures how long size bytes take on an open stream.
func transfer(w *field, out, in network.Stream, size int) time.Duration {
	began := time.Now()
	var wg sync.WaitGroup
	var took time.Duration
	wg.Go(func() {
		w.must(io.ReadFull(in, make([]byte, size)))
		took = time.Since(began)
	})
	w.must(out.Write(make([]byte, size)))
	wg.Wait()
	return took
}

func TestClosedForm(t *testing.T) {
	const rate = 50 * link.Mbit
	for _, stack := range stacks {
		sizes := []int{1, 1 << 10, 128 << 10, 1 << 20}
		if stack == Secured { // yamux lets no more pass in a round trip at first
			sizes = sizes[:3]
		}
		inBubble(t, 2, stack, rate, func(w *field) {
			for _, size := range sizes {
				out, in := w.pipe(0, 1)
				near(t, "two nodes", transfer(w, out, in, size), rate.Time(size)+50*time.Millisecond, 0.02)
			}
		})
		if stack == Secured {
			continue
		}
		// A line stores and forwards: each hop adds the whole formula.
		inBubble(t, 5, stack, rate, func(w *field) {
			const size = 256 << 10
			first, in := w.pipe(0, 1)
			var arrived time.Time
			var wg sync.WaitGroup
			for i := 1; i < 5; i++ {
				from, out := in, network.Stream(nil)
				if i < 4 {
					out, in = w.pipe(i, i+1)
				}
				wg.Go(func() {
					block := make([]byte, size)
					w.must(io.ReadFull(from, block))
					arrived = time.Now()
					if out != nil {
						w.must(out.Write(block))
					}
				})
			}
			began := time.Now()
			w.must(first.Write(make([]byte, size)))
			wg.Wait()
			near(t, "line of four hops", arrived.Sub(began), 4*(rate.Time(size)+50*time.Millisecond), 0.02)
		})
		// A star: the hub's uplink serves all leaves, then its downlink takes from all.
		inBubble(t, 9, stack, rate, func(w *field) {
			const size = 256 << 10
			out, in := make([]network.Stream, 9), make([]network.Stream, 9)
			for i := 1; i < 9; i++ {
				out[i], in[i] = w.pipe(0, i)
			}
			for range 2 {
				began := time.Now()
				var wg sync.WaitGroup
				for i := 1; i < 9; i++ {
					wg.Go(func() { transfer(w, out[i], in[i], size) })
				}
				wg.Wait()
				near(t, "star of eight", time.Since(began), rate.Time(8*size)+50*time.Millisecond, 0.02)
				out, in = in, out
			}
		})
	}
}

func TestDeadlines(t *testing.T) {
	for _, stack := range stacks {
		inBubble(t, 2, stack, 8*link.Mbit, func(w *field) {
			out, in := w.pipe(0, 1)
			began := time.Now()
			_ = in.SetReadDeadline(began.Add(3 * time.Second))
			if _, err := in.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) && !isTimeout(err) || time.Since(began) != 3*time.Second {
				t.Errorf("stack %d: read with a deadline of 3 s: %v after %s", stack, err, time.Since(began))
			}
			_ = in.SetReadDeadline(time.Time{})
			w.must(out.Write([]byte{1}))
			w.must(io.ReadFull(in, make([]byte, 1)))

			if stack == Secured { // a write deadline below yamux ends the connection
				return
			}
			began = time.Now()
			_ = out.SetWriteDeadline(began.Add(time.Second))
			n, err := out.Write(make([]byte, 4<<20)) // 1 MB a second, and a send buffer
			if !isTimeout(err) || n < 1_000_000 || n > 1_000_000+80<<10 {
				t.Errorf("write with a deadline of 1 s: %d bytes, %v", n, err)
			}
			_ = out.SetWriteDeadline(time.Time{})
			w.must(out.Write([]byte{2}))
			if err := out.CloseWrite(); err != nil {
				t.Error(err)
			}
			if got, err := io.ReadAll(in); err != nil || len(got) != n+1 || got[n] != 2 {
				t.Errorf("read %d bytes, %v, want what the write said, %d, and the next one", len(got), err, n)
			}
		})
	}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

func TestReset(t *testing.T) {
	for _, stack := range stacks {
		inBubble(t, 2, stack, 8*link.Mbit, func(w *field) {
			out, in := w.pipe(0, 1)
			var wg sync.WaitGroup
			wg.Go(func() {
				_, err := io.Copy(io.Discard, in)
				var s *network.StreamError
				if !errors.Is(err, network.ErrReset) || !errors.As(err, &s) || !s.Remote || s.ErrorCode != 7 {
					t.Errorf("stack %d: the reader's error is %v, want a remote reset with code 7", stack, err)
				}
				if _, err := in.Write([]byte{1}); err == nil {
					t.Errorf("stack %d: a write on a reset stream passed", stack)
				}
			})
			wg.Go(func() {
				if _, err := out.Write(make([]byte, 4<<20)); !errors.Is(err, network.ErrReset) {
					t.Errorf("stack %d: the writer's error is %v", stack, err)
				}
			})
			time.Sleep(time.Second)
			if err := out.ResetWithError(7); err != nil {
				t.Error(err)
			}
			wg.Wait()

			out, in = w.pipe(0, 1) // the connection lives on
			conn := out.Conn()
			wg.Go(func() {
				if _, err := in.Read(make([]byte, 1)); !errors.Is(err, network.ErrReset) {
					t.Errorf("stack %d: the reader of a closed connection got %v", stack, err)
				}
			})
			began := time.Now()
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
			wg.Wait()
			if took := time.Since(began); took < 50*time.Millisecond || took > 60*time.Millisecond {
				t.Errorf("stack %d: the peer heard of the close after %s, want the delay", stack, took)
			}
			if _, err := conn.NewStream(context.Background()); err == nil {
				t.Errorf("stack %d: a stream on a closed connection", stack)
			}
			time.Sleep(time.Second)
			if got := w.hosts[1].Network().Connectedness(w.hosts[0].ID()); got != network.NotConnected {
				t.Errorf("stack %d: the peer is %s", stack, got)
			}
		})
	}
}

// TestBackpressure: a writer whose reader does not read stops at the receive
// window and the send buffer.
func TestBackpressure(t *testing.T) {
	inBubble(t, 2, Direct, 0, func(w *field) {
		out, in := w.pipe(0, 1)
		wrote := 0
		_ = out.SetWriteDeadline(time.Now().Add(time.Minute))
		for {
			n, err := out.Write(make([]byte, 10_000))
			if wrote += n; err != nil {
				break
			}
		}
		cfg := w.net.cfg
		if room := cfg.RecvWindow + cfg.SendBuffer; wrote > room || wrote < room-100 { // what pipe sent counts too
			t.Errorf("wrote %d bytes to one who does not read, want %d", wrote, room)
		}
		_ = out.SetWriteDeadline(time.Time{})
		var wg sync.WaitGroup
		wg.Go(func() { w.must(out.Write(make([]byte, 10<<20))); _ = out.CloseWrite() })
		if n, err := io.Copy(io.Discard, in); err != nil || int(n) != wrote+10<<20 {
			t.Errorf("read %d of %d bytes, %v", n, wrote+10<<20, err)
		}
		wg.Wait()
		if sum, flying := w.net.Total(); sum.Sent != sum.Received+sum.Lost || flying != 0 {
			t.Errorf("%+v and %d in flight at rest", sum, flying)
		}
	})
}

func TestDial(t *testing.T) {
	for _, stack := range stacks {
		inBubble(t, 3, stack, 0, func(w *field) {
			ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
			defer cancel()
			tr := w.net.nodes[0].tr
			began := time.Now()
			c, err := tr.Dial(ctx, w.net.Addr(1), w.hosts[1].ID())
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took < 100*time.Millisecond || stack == Direct && took > 101*time.Millisecond {
				t.Errorf("stack %d: a dial took %s, want a round trip", stack, took)
			}
			if c.RemotePeer() != w.hosts[1].ID() || c.LocalPeer() != w.hosts[0].ID() || !c.RemoteMultiaddr().Equal(w.net.Addr(1)) || c.IsClosed() {
				t.Errorf("stack %d: %s at %s", stack, c.RemotePeer(), c.RemoteMultiaddr())
			}
			_ = c.Close()
			if !c.IsClosed() {
				t.Errorf("stack %d: open after Close", stack)
			}
			if _, err := tr.Dial(ctx, w.net.Addr(1), w.hosts[2].ID()); err == nil {
				t.Errorf("stack %d: a dial to another's address passed", stack)
			}
			if _, err := tr.Dial(ctx, elsewhere, w.hosts[2].ID()); !errors.Is(err, ErrNoRoute) {
				t.Errorf("stack %d: a dial to nowhere: %v", stack, err)
			}
			if err := w.hosts[2].Network().Close(); err != nil {
				t.Error(err)
			}
			if _, err := tr.Dial(ctx, w.net.Addr(2), w.hosts[2].ID()); !errors.Is(err, ErrRefused) {
				t.Errorf("stack %d: a dial to one who does not listen: %v", stack, err)
			}
		})
	}
}

var elsewhere = ma.StringCast("/ip4/9.9.9.9/tcp/1")
