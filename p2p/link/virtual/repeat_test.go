package virtual

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/pheme-net/pheme/p2p/link"
)

// flood passes blocks of a size over all edges of a random graph of degree 6,
// the simplest gossip there is, and returns all latencies, sorted.
func flood(tb testing.TB, cfg link.Config, blocks, size int) (latencies []time.Duration) {
	play(tb, cfg, Direct, func(w *field) {
		var mu sync.Mutex
		var sent time.Time
		var wg sync.WaitGroup
		done := make(chan struct{})
		nodes := make([]*relay, len(w.hosts))
		for i, h := range w.hosts {
			r := &relay{seen: map[uint64]bool{}}
			nodes[i] = r
			r.got = func() {
				mu.Lock()
				defer mu.Unlock()
				latencies = append(latencies, time.Since(sent))
			}
			h.SetStreamHandler(proto, func(s network.Stream) { r.read(s, size) })
		}
		edges := random(len(w.hosts), 6, rand.New(rand.NewPCG(cfg.Seed, 3)))
		w.connect(edges)
		for _, e := range edges {
			for _, way := range [][2]int{e, {e[1], e[0]}} {
				s, err := w.hosts[way[0]].NewStream(tb.Context(), w.hosts[way[1]].ID(), proto)
				if err != nil {
					tb.Fatal(err)
				}
				nodes[way[0]].to(s, &wg, done)
			}
		}
		bytes := rand.NewChaCha8([32]byte{1})
		for b := range blocks {
			block := make([]byte, size)
			bytes.Read(block)
			binary.BigEndian.PutUint64(block, uint64(b))
			mu.Lock()
			sent = time.Now()
			mu.Unlock()
			nodes[b*7%len(nodes)].pass(block)
			time.Sleep(5 * time.Second)
		}
		close(done)
		wg.Wait()
	})
	slices.Sort(latencies)
	return latencies
}

// relay passes each block on once, to every peer.
type relay struct {
	mu     sync.Mutex
	seen   map[uint64]bool
	queues []chan []byte
	got    func()
}

func (r *relay) to(s network.Stream, wg *sync.WaitGroup, done chan struct{}) {
	q := make(chan []byte, 16)
	r.queues = append(r.queues, q)
	wg.Go(func() {
		for {
			select {
			case b := <-q:
				if _, err := s.Write(b); err != nil {
					return
				}
			case <-done:
				_ = s.Close()
				return
			}
		}
	})
}

func (r *relay) read(s network.Stream, size int) {
	for {
		block := make([]byte, size)
		if _, err := io.ReadFull(s, block); err != nil {
			return
		}
		r.pass(block)
	}
}

func (r *relay) pass(block []byte) {
	id := binary.BigEndian.Uint64(block)
	r.mu.Lock()
	known := r.seen[id]
	r.seen[id] = true
	r.mu.Unlock()
	if known {
		return
	}
	r.got()
	for _, q := range r.queues {
		q <- block
	}
}

func TestSameSeedSameFigures(t *testing.T) {
	run := func(seed uint64) (d []time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			cfg := uniformConfig(t, 60, "world", 50*link.Mbit, seed)
			cfg.Loss = 0.0005
			d = flood(t, cfg, 4, 64<<10)
		})
		return d
	}
	a, b, c := run(1), run(1), run(2)
	if len(a) != 4*60 || len(b) != len(a) || len(c) != len(a) {
		t.Fatalf("%d, %d and %d deliveries, want %d", len(a), len(b), len(c), 4*60)
	}
	for _, q := range []float64{0.5, 0.95} {
		near(t, fmt.Sprintf("p%.0f of the second run", 100*q), quantile(b, q), quantile(a, q), 0.005)
	}
	if quantile(a, 0.5) == quantile(c, 0.5) {
		t.Errorf("another seed gave the same median, %s", quantile(a, 0.5))
	}
}

// BenchmarkFlood shows what the network itself costs, without gossip's work.
func BenchmarkFlood(b *testing.B) {
	for _, n := range []int{100, 400} {
		b.Run(fmt.Sprintf("n=%d/size=128KiB", n), func(b *testing.B) {
			var moved uint64
			for range b.N {
				var m0, m1 runtime.MemStats
				runtime.ReadMemStats(&m0)
				synctest.Test(new(testing.T), func(*testing.T) {
					d := flood(b, uniformConfig(b, n, "uniform:50ms", 50*link.Mbit, 1), 10, 128<<10)
					moved += uint64(len(d)) * 128 << 10
				})
				runtime.ReadMemStats(&m1)
				b.ReportMetric(float64(m1.TotalAlloc-m0.TotalAlloc)/float64(moved), "alloc-B/B")
			}
			b.SetBytes(int64(moved) / int64(b.N))
		})
	}
}
