package virtual

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"

	"github.com/pheme-net/pheme/p2p/link"
)

// gossip is what a run of GossipSub over a Network showed.
type gossip struct {
	latencies []time.Duration
	missing   int
	copies    float64 // bytes received / bytes of all deliveries
}

// runGossip publishes blocks of a size, one a slot from rotating origins, over
// GossipSub with D 8 on a random graph of degree 10.
func runGossip(tb testing.TB, cfg link.Config, stack Stack, blocks, size int) (g gossip) {
	tb.Helper()
	play(tb, cfg, stack, func(w *field) {
		g = w.gossip(cfg.Seed, blocks, size, func() uint64 {
			total, _ := w.net.Total()
			return total.Received
		})
	})
	return g
}

// gossip is runGossip on a field; received returns the bytes received by now.
func (w *field) gossip(seed uint64, blocks, size int, received func() uint64) (g gossip) {
	const slot = 12 * time.Second
	tb := w.tb
	n := len(w.hosts)
	ctx, cancel := context.WithCancel(context.Background())
	topics := make([]*pubsub.Topic, n)
	got := make([]map[uint64]time.Time, n)
	sent := make([]time.Time, blocks)
	var wg sync.WaitGroup
	for i, h := range w.hosts {
		params := pubsub.DefaultGossipSubParams()
		params.D, params.Dlo, params.Dhi = 8, 6, 12
		params.HeartbeatInterval = 700 * time.Millisecond
		params.HeartbeatInitialDelay = time.Duration(i%7) * 100 * time.Millisecond
		ps, err := pubsub.NewGossipSub(ctx, h, pubsub.WithGossipSubParams(params), pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign),
			pubsub.WithNoAuthor(), pubsub.WithMaxMessageSize(10<<20), pubsub.WithPeerOutboundQueueSize(1024), pubsub.WithValidateQueueSize(1024),
			pubsub.WithMessageIdFn(func(m *pb.Message) string { s := sha256.Sum256(m.Data); return string(s[:20]) }))
		if err != nil {
			tb.Fatal(err)
		}
		if topics[i], err = ps.Join("b"); err != nil {
			tb.Fatal(err)
		}
		sub, err := topics[i].Subscribe(pubsub.WithBufferSize(64))
		if err != nil {
			tb.Fatal(err)
		}
		got[i] = map[uint64]time.Time{}
		wg.Go(func() {
			for {
				m, err := sub.Next(ctx)
				if err != nil {
					return
				}
				got[i][binary.BigEndian.Uint64(m.Data)] = time.Now()
			}
		})
	}
	w.connect(random(n, 10, rand.New(rand.NewPCG(seed, 2))))
	time.Sleep(15 * time.Second)
	before := received()
	block := make([]byte, size)
	bytes := rand.NewChaCha8([32]byte{byte(seed)})
	for b := range blocks {
		bytes.Read(block)
		binary.BigEndian.PutUint64(block, uint64(b))
		sent[b] = time.Now()
		if err := topics[b*7%n].Publish(ctx, append([]byte(nil), block...)); err != nil {
			tb.Fatal(err)
		}
		time.Sleep(slot)
	}
	g.copies = float64(received()-before) / float64(blocks*size*(n-1))
	cancel()
	wg.Wait()
	for b := range blocks {
		for i := range n {
			at, ok := got[i][uint64(b)]
			switch {
			case i == b*7%n:
			case !ok:
				g.missing++
			default:
				g.latencies = append(g.latencies, at.Sub(sent[b]))
			}
		}
	}
	return g
}

// TestGossip compares a small run with what an independent sketch of the same
// model measured at N = 50 (p50 462, p95 627, p99 658 ms, 5.8 copies). Its graph
// was another one of the same kind.
func TestGossip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := uniformConfig(t, 50, "uniform:50ms-100ms", 50*link.Mbit, 1)
		cfg.Window = link.NoWindow
		g := runGossip(t, cfg, Direct, 8, 128<<10)
		t.Logf("%s copies=%.2f", summary(g.latencies), g.copies)
		if g.missing > 0 {
			t.Fatalf("%d deliveries missing", g.missing)
		}
		near(t, "p50", quantile(g.latencies, 0.5), 462*time.Millisecond, 0.06)
		near(t, "p95", quantile(g.latencies, 0.95), 627*time.Millisecond, 0.08)
		near(t, "p99", quantile(g.latencies, 0.99), 658*time.Millisecond, 0.08)
		if g.copies < 5.3 || g.copies > 6.8 {
			t.Errorf("%.2f copies received, want about 6", g.copies)
		}
	})
}

// TestGossipOnTheRealStack runs the same through Noise and Yamux.
func TestGossipOnTheRealStack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := uniformConfig(t, 30, "world", 50*link.Mbit, 1)
		cfg.Loss = 0.001
		g := runGossip(t, cfg, Secured, 3, 64<<10)
		t.Logf("%s copies=%.2f", summary(g.latencies), g.copies)
		if p50 := quantile(g.latencies, 0.5); g.missing > 0 || p50 < 50*time.Millisecond || p50 > 500*time.Millisecond {
			t.Fatalf("%d deliveries missing, p50 %s", g.missing, p50)
		}
	})
}

// TestGossipAgainstPackets runs one overlay over the model and over real QUIC.
func TestGossipAgainstPackets(t *testing.T) {
	run := func(stack Stack) (g gossip) {
		synctest.Test(t, func(t *testing.T) {
			g = runGossip(t, uniformConfig(t, 20, "uniform:50ms-100ms", 50*link.Mbit, 1), stack, 3, 128<<10)
		})
		if g.missing > 0 {
			t.Fatalf("stack %d: %d deliveries missing", stack, g.missing)
		}
		slices.Sort(g.latencies)
		return g
	}
	model, real := run(Direct), run(QUIC)
	t.Logf("model: %s copies=%.2f; quic: %s copies=%.2f", summary(model.latencies), model.copies, summary(real.latencies), real.copies)
	near(t, "p50", quantile(model.latencies, 0.5), quantile(real.latencies, 0.5), 0.15)
	near(t, "p95", quantile(model.latencies, 0.95), quantile(real.latencies, 0.95), 0.2)
}

func BenchmarkGossip(b *testing.B) {
	for _, c := range []struct {
		n, size int
		stack   Stack
		window  int
	}{
		{50, 128 << 10, Direct, link.NoWindow}, {50, 128 << 10, Direct, 0}, {50, 128 << 10, Secured, link.NoWindow}, {50, 128 << 10, QUIC, 0}, {50, 1 << 20, Direct, link.NoWindow},
		{200, 128 << 10, Direct, link.NoWindow}, {200, 1 << 20, Direct, link.NoWindow}, {1000, 128 << 10, Direct, link.NoWindow},
	} {
		stack := map[Stack]string{Direct: "direct", Secured: "secured", QUIC: "quic"}[c.stack]
		b.Run(fmt.Sprintf("n=%d/size=%dKiB/stack=%s/window=%d", c.n, c.size>>10, stack, c.window), func(b *testing.B) {
			for range b.N {
				var g gossip
				synctest.Test(new(testing.T), func(*testing.T) { // a benchmark has no bubble of its own
					cfg := uniformConfig(b, c.n, "uniform:50ms-100ms", 50*link.Mbit, 1)
					cfg.Window = c.window
					g = runGossip(b, cfg, c.stack, 10, c.size)
				})
				slices.Sort(g.latencies)
				b.ReportMetric(float64(quantile(g.latencies, 0.5))/1e6, "p50-ms")
				b.ReportMetric(float64(quantile(g.latencies, 0.95))/1e6, "p95-ms")
				b.ReportMetric(float64(quantile(g.latencies, 0.99))/1e6, "p99-ms")
				b.ReportMetric(g.copies, "copies")
				b.ReportMetric(float64(g.missing), "missing")
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				b.ReportMetric(float64(m.Sys>>20), "sys-MB")
			}
		})
	}
}
