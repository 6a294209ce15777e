package virtual

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/p2p/link"
)

// field is a network with its hosts, all of them inside one bubble.
type field struct {
	tb    testing.TB
	net   *Network
	hosts []*Host
}

// play makes the network and one host a node, calls f, and takes it all down
// again. It must be called inside a bubble.
func play(tb testing.TB, cfg link.Config, stack Stack, f func(*field)) {
	tb.Helper()
	n, err := New(cfg, stack)
	if err != nil {
		tb.Fatal(err)
	}
	playOn(tb, n, cfg, f)
}

// playOn is play on a network that is made already.
func playOn(tb testing.TB, n *Network, cfg link.Config, f func(*field)) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = n.Run(ctx) })
	w := &field{tb: tb, net: n, hosts: make([]*Host, len(cfg.Nodes))}
	for i := range w.hosts {
		key, err := Identity(cfg.Seed, i)
		if err != nil {
			tb.Fatal(err)
		}
		if w.hosts[i], err = NewHost(n, HostConfig{Node: i, Key: key}); err != nil {
			tb.Fatal(err)
		}
	}
	f(w)
	for _, h := range w.hosts {
		if err := h.Close(); err != nil {
			tb.Error(err)
		}
	}
	cancel()
	wg.Wait()
	time.Sleep(2 * time.Second) // what the library leaves behind for a moment
}

func (w *field) info(i int) peer.AddrInfo {
	return peer.AddrInfo{ID: w.hosts[i].ID(), Addrs: w.hosts[i].Addrs()}
}

// connect dials every edge at once.
func (w *field) connect(edges [][2]int) {
	w.tb.Helper()
	errs := make(chan error, len(edges))
	for _, e := range edges {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			errs <- w.hosts[e[0]].Connect(ctx, w.info(e[1]))
		}()
	}
	for range edges {
		if err := <-errs; err != nil {
			w.tb.Fatal(err)
		}
	}
}

// random returns the edges of a graph in which each node dials half a degree of
// others.
func random(n, degree int, rng *rand.Rand) (edges [][2]int) {
	has := map[[2]int]bool{}
	for a := range n {
		for dialled := 0; dialled < degree/2; {
			b := rng.IntN(n)
			if e := [2]int{min(a, b), max(a, b)}; a != b && !has[e] {
				has[e] = true
				edges = append(edges, [2]int{a, b})
				dialled++
			}
		}
	}
	return edges
}

func uniformConfig(tb testing.TB, n int, latency string, rate link.Rate, seed uint64) link.Config {
	tb.Helper()
	table, err := link.ParseLatency(latency)
	if err != nil {
		tb.Fatal(err)
	}
	return link.Config{Nodes: link.Uniform(n, table, rate, rate, rand.New(rand.NewPCG(seed, 1))), Table: table, Seed: seed}
}

// quantile is the nearest-rank quantile of sorted d.
func quantile(d []time.Duration, q float64) time.Duration {
	return d[min(len(d)-1, max(0, int(q*float64(len(d))+0.999999)-1))]
}

func summary(d []time.Duration) string {
	slices.Sort(d)
	ms := func(q float64) float64 { return float64(quantile(d, q)) / 1e6 }
	return fmt.Sprintf("p50=%.1f p95=%.1f p99=%.1f max=%.1f ms", ms(0.5), ms(0.95), ms(0.99), ms(1))
}
