package p2p

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-msgio"

	model "github.com/pheme-net/pheme/p2p/link"
	"github.com/pheme-net/pheme/p2p/link/virtual"
	"github.com/pheme-net/pheme/p2p/trace"
)

// TestFramerFindsBeginnings: however a stream's bytes are cut, a message begins where its length does.
func TestFramerFindsBeginnings(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		var stream []byte
		begins := map[int]bool{}
		for range 8 {
			begins[len(stream)] = true
			stream = msgioFrame(stream, rng.IntN([]int{3, 300, 40_000}[rng.IntN(3)]))
		}
		var f framer
		for at := 0; at < len(stream); {
			n := 1 + rng.IntN(min(len(stream)-at, []int{1, 5, 50_000}[rng.IntN(3)]))
			want := false
			for i := at; i < at+n; i++ {
				want = want || begins[i]
			}
			if got := f.begins(stream[at : at+n]); got != want {
				t.Fatalf("begins(%d to %d) = %v, want %v", at, at+n, got, want)
			}
			at += n
		}
	}
}

// msgioFrame appends a message of size bytes with its length before it.
func msgioFrame(b []byte, size int) []byte {
	n := uint64(size)
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(append(b, byte(n)), make([]byte, size)...)
}

// plainHost has streams that cannot pass messages on whole, as those of real transports.
type plainHost struct{ host.Host }

func (h plainHost) NewStream(ctx context.Context, p peer.ID, ids ...protocol.ID) (network.Stream, error) {
	s, err := h.Host.NewStream(ctx, p, ids...)
	return struct{ network.Stream }{s}, err
}

// stamps are what the taps of a writer and a reader say of a row of messages.
type stamps struct{ begun, over, first, read []int64 }

// tapPair is two hosts with taps, a link of 50 ms and 8 Mbit/s between them. The second is connected by connect, and
// stop ends both.
func tapPair(t *testing.T, plain bool) (hosts []*virtual.Host, taps []*tap, connect, stop func()) {
	t.Helper()
	table, err := model.ParseLatency("uniform:50ms:0s")
	if err != nil {
		t.Fatal(err)
	}
	cfg := model.Config{Nodes: model.Uniform(2, table, 8*model.Mbit, 8*model.Mbit, rand.New(rand.NewPCG(1, 1))), Table: table}
	wires, err := virtual.New(cfg, virtual.Direct)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var under sync.WaitGroup
	under.Go(func() { _ = wires.Run(ctx) })
	hosts, taps = make([]*virtual.Host, 2), make([]*tap, 2)
	for i := range hosts {
		key, err := virtual.Identity(1, i)
		if err != nil {
			t.Fatal(err)
		}
		if hosts[i], err = virtual.NewHost(wires, virtual.HostConfig{Node: i, Key: key}); err != nil {
			t.Fatal(err)
		}
		var h host.Host = hosts[i]
		if plain {
			h = plainHost{h}
		}
		taps[i] = newTap(h, trace.ClockAt(bubbleBegins, 0), newTasks())
	}
	connect = func() {
		time.Sleep(time.Millisecond)
		if err := hosts[0].Connect(ctx, peer.AddrInfo{ID: hosts[1].ID(), Addrs: hosts[1].Addrs()}); err != nil {
			t.Fatal(err)
		}
	}
	return hosts, taps, connect, func() {
		for _, h := range hosts {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		}
		cancel()
		under.Wait()
		time.Sleep(2 * time.Second)
	}
}

// tapRow passes messages from one host to another, through their taps, and tells how many writes returned before they were over.
func tapRow(t *testing.T, plain bool, sizes []int) (s stamps, early int) {
	hosts, taps, connect, stop := tapPair(t, plain)
	read := make(chan struct{})
	taps[1].SetStreamHandler("/test/1", func(in network.Stream) {
		defer close(read)
		r := msgio.NewVarintReaderSize(in, 1<<30)
		for range sizes {
			if _, err := r.ReadMsg(); err != nil {
				t.Error(err)
			}
			d := taps[1].of(hosts[0].ID())
			s.first, s.read = append(s.first, d.first.Load()), append(s.read, d.read.Load())
		}
		if _, err := in.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("after the last message: %v", err)
		}
	})
	connect()
	out, err := taps[0].NewStream(t.Context(), hosts[1].ID(), "/test/1")
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(bubbleBegins.Add(time.Second))) // setting up takes some microseconds more or less
	for _, size := range sizes {
		if _, err := out.Write(msgioFrame(nil, size)); err != nil {
			t.Fatal(err)
		}
		returned := taps[0].clock.Now()
		taps[0].of(hosts[1].ID()).write.Load().then(func(w *write) {
			if w.err != nil {
				t.Error(w.err)
			}
			if w.at > returned {
				early++
			}
			s.begun, s.over = append(s.begun, w.begun), append(s.over, w.at)
		})
	}
	if err := out.CloseWrite(); err != nil {
		t.Error(err)
	}
	<-read
	stop()
	return s, early
}

// TestTapStampsWhatIsPassedWhole: a stream that takes large messages off its writer's hands moves no stamp.
func TestTapStampsWhatIsPassedWhole(t *testing.T) {
	sizes := []int{100, 1 << 20, 10, 300 << 10, 300 << 10, 20 << 10, 1}
	var plain, whole stamps
	early := 0
	synctest.Test(t, func(t *testing.T) {
		if plain, early = tapRow(t, true, sizes); early != 0 {
			t.Errorf("%d plain writes returned before they were over", early)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		if whole, early = tapRow(t, false, sizes); early != 4 {
			t.Errorf("%d writes returned before they were over, want the four that the send buffer has no room for", early)
		}
	})
	if !slices.Equal(plain.begun, whole.begun) || !slices.Equal(plain.over, whole.over) || !slices.Equal(plain.first, whole.first) || !slices.Equal(plain.read, whole.read) {
		t.Errorf("stamps of plain writes\n%v\nand of those passed on whole\n%v", plain, whole)
	}
	for i, size := range sizes {
		if size > 200<<10 { // at 1 MB a second, and what fits into the send buffer
			if took := time.Duration(plain.over[i] - plain.begun[i]); took < time.Duration(size-64<<10)*time.Microsecond {
				t.Errorf("a message of %d bytes was written in %v", size, took)
			}
			if took := time.Duration(plain.read[i] - plain.first[i]); took < time.Duration(size-64<<10)*time.Microsecond {
				t.Errorf("a message of %d bytes was read in %v", size, took)
			}
		}
	}
}

// TestTapCountsWhatBrokeOff: of a message whose stream is reset on its way, what had come counts, whether its reader was given
// it or not.
func TestTapCountsWhatBrokeOff(t *testing.T) {
	var came [2]int
	for i, plain := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			hosts, taps, connect, stop := tapPair(t, plain)
			defer stop()
			read := make(chan struct{})
			taps[1].broke = func(from *tapped, bytes int) {
				if from != taps[1].of(hosts[0].ID()) {
					t.Error("of another peer")
				}
				came[i] += bytes
			}
			taps[1].SetStreamHandler("/test/1", func(in network.Stream) {
				defer close(read)
				r := msgio.NewVarintReaderSize(in, 1<<30)
				if _, err := r.ReadMsg(); err != nil {
					t.Error(err)
				}
				if _, err := r.ReadMsg(); err == nil {
					t.Error("the second message is whole")
				}
			})
			connect()
			out, err := taps[0].NewStream(t.Context(), hosts[1].ID(), "/test/1")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := out.Write(msgioFrame(nil, 100)); err != nil {
				t.Fatal(err)
			}
			if plain {
				go func() { _, _ = out.Write(msgioFrame(nil, 1<<20)) }()
			} else if _, err := out.Write(msgioFrame(nil, 1<<20)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(550 * time.Millisecond)
			if err := out.Reset(); err != nil {
				t.Fatal(err)
			}
			<-read
		})
	}
	if came[0] != came[1] || came[0] < 400_000 || came[0] > 600_000 {
		t.Errorf("%d bytes came of a message that its reader was given in parts, %d of one that it was not, want 500,000 of a million", came[0], came[1])
	}
}
