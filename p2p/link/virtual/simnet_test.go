package virtual

import (
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marcopolo/simnet"

	"github.com/pheme-net/pheme/p2p/link"
)

// simnetGossip is runGossip with go-libp2p's QUIC over the packets of simnet, a simulator that others
// wrote: the same hosts, overlay, delays and rates, and nothing of this model in between. dropped is
// the share of packets that simnet's queues dropped: they are FQ-CoDel, which drops what waits.
func simnetGossip(tb testing.TB, cfg link.Config, rate link.Rate, blocks, size int) (g gossip, dropped float64) {
	tb.Helper()
	n, err := New(cfg, QUIC)
	if err != nil {
		tb.Fatal(err)
	}
	place := func(a net.Addr) int { return n.byIP[string(a.(*net.UDPAddr).IP.To4())] }
	sim := &simnet.Simnet{
		LatencyFunc: func(p *simnet.Packet) time.Duration { return n.Path(place(p.From), place(p.To)).Min },
		Logger:      slog.New(slog.DiscardHandler), // packets to closed hosts
	}
	sim.Start()
	defer sim.Close()
	each := simnet.LinkSettings{BitsPerSecond: int(rate)}
	var conns []*simnet.SimConn
	n.packets = func(_ int, at *net.UDPAddr) (net.PacketConn, error) {
		conns = append(conns, sim.NewEndpoint(at, simnet.NodeBiDiLinkSettings{Downlink: each, Uplink: each}))
		return conns[len(conns)-1], nil
	}
	total := func() (s simnet.ConnStats) {
		for _, c := range conns {
			one := c.Stats()
			s.BytesRcvd, s.PacketsRcvd, s.PacketsSent = s.BytesRcvd+one.BytesRcvd, s.PacketsRcvd+one.PacketsRcvd, s.PacketsSent+one.PacketsSent
		}
		return s
	}
	playOn(tb, n, cfg, func(w *field) {
		g = w.gossip(cfg.Seed, blocks, size, func() uint64 { return uint64(total().BytesRcvd) })
		dropped = 1 - float64(total().PacketsRcvd)/float64(total().PacketsSent)
	})
	return g, dropped
}

// trio is one overlay over simnet, over the model without loss, and over the model losing the share
// of packets that simnet dropped.
type trio struct {
	packets, smooth, lossy gossip
	dropped                float64
}

func againstSimnet(tb testing.TB, nodes, blocks, size int) (c trio) {
	tb.Helper()
	const rate = 50 * link.Mbit
	cfg := uniformConfig(tb, nodes, "uniform:50ms-100ms:0s", rate, 1)
	c.packets, c.dropped = simnetGossip(tb, cfg, rate, blocks, size)
	c.smooth = runGossip(tb, cfg, Direct, blocks, size)
	cfg.Loss = c.dropped
	c.lossy = runGossip(tb, cfg, Direct, blocks, size)
	for range c.lossy.missing { // loss spread evenly may take longer than a slot; never is the longest
		c.lossy.latencies = append(c.lossy.latencies, math.MaxInt64)
	}
	if c.packets.missing+c.smooth.missing > 0 {
		tb.Fatalf("%d deliveries missing over simnet, %d over the model", c.packets.missing, c.smooth.missing)
	}
	for _, x := range []struct {
		name string
		g    gossip
	}{{"simnet", c.packets}, {"model without loss", c.smooth}, {"model with simnet's loss", c.lossy}} {
		slices.Sort(x.g.latencies)
		tb.Logf("n=%d size=%dKiB %-24s %s copies=%.2f", nodes, size>>10, x.name, summary(x.g.latencies), x.g.copies)
	}
	tb.Logf("simnet dropped %.2f %% of its packets; model/simnet without loss p50 %.2f p95 %.2f, with it p50 %.2f p95 %.2f",
		100*c.dropped, c.ratio(c.smooth, .5), c.ratio(c.smooth, .95), c.ratio(c.lossy, .5), c.ratio(c.lossy, .95))
	return c
}

// ratio is a quantile of the model over simnet's.
func (c trio) ratio(model gossip, q float64) float64 {
	return float64(quantile(model.latencies, q)) / float64(quantile(c.packets.latencies, q))
}

// TestGossipAgainstSimnet holds the model against packets from both sides. The model's uplink makes
// senders wait where simnet's drops packets of theirs, so without loss the model must be the faster
// one at the median, by what those drops cost; and with as much loss, spread evenly instead of over
// the longest queues, about as slow or slower. Four runs of this size had 0.83 to 0.87 and 0.92 to
// 0.96 at p50, and 0.95 to 1.12 and 1.06 to 1.15 at p95: the bounds leave another fifth for the dice.
func TestGossipAgainstSimnet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := againstSimnet(t, 20, 6, 128<<10)
		if c.dropped <= 0 || c.dropped > .02 {
			t.Errorf("simnet dropped %.2f %% of its packets, want some, and less than 2 %%", 100*c.dropped)
		}
		for _, q := range []float64{.5, .95} {
			if r := c.ratio(c.smooth, q); r < .65 || r > 1.3 {
				t.Errorf("p%.0f of the model without loss is %.2f of simnet's, want 0.65 to 1.3", 100*q, r)
			}
			if r := c.ratio(c.lossy, q); r < .75 || r > 1.5 {
				t.Errorf("p%.0f of the model with simnet's loss is %.2f of simnet's, want 0.75 to 1.5", 100*q, r)
			}
		}
	})
}

// BenchmarkGossipAgainstSimnet prints the three at the size where packets are still affordable.
func BenchmarkGossipAgainstSimnet(b *testing.B) {
	for _, size := range []int{128 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("n=50/size=%dKiB", size>>10), func(b *testing.B) {
			for range b.N {
				synctest.Test(new(testing.T), func(*testing.T) { // a benchmark has no bubble of its own
					c := againstSimnet(b, 50, 10, size)
					for name, q := range map[string]float64{"p50": .5, "p95": .95} {
						b.ReportMetric(float64(quantile(c.packets.latencies, q))/1e6, "simnet-"+name+"-ms")
						b.ReportMetric(float64(quantile(c.smooth.latencies, q))/1e6, "model-"+name+"-ms")
						b.ReportMetric(c.ratio(c.smooth, q), name+"-ratio")
						b.ReportMetric(c.ratio(c.lossy, q), name+"-ratio-with-loss")
					}
					b.ReportMetric(100*c.dropped, "simnet-dropped-%")
				})
			}
		})
	}
}
