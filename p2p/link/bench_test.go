package link

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkNet moves bytes from one node to many over the bare model.
func BenchmarkNet(b *testing.B) {
	for _, peers := range []int{8, 100} {
		for _, loss := range []float64{0, 0.01} {
			b.Run(fmt.Sprintf("peers=%d/loss=%g/size=1MiB", peers, loss), func(b *testing.B) {
				block := make([]byte, 1<<20)
				table, err := ParseLatency("uniform:50ms")
				if err != nil {
					b.Fatal(err)
				}
				cfg := Config{Nodes: make([]Node, peers+1), Table: table, Loss: loss}
				cfg.Nodes[0].Up = Gbit
				now := time.Now()
				n, err := New(cfg, now)
				if err != nil {
					b.Fatal(err)
				}
				pipes := make([]*Pipe, peers)
				for i := range pipes {
					pipes[i] = n.Open(now, n.Connect(now, 0, i+1), 0, false)
				}
				b.SetBytes(int64(peers) << 20)
				b.ReportAllocs()
				var events []Event
				for b.Loop() {
					for _, p := range pipes {
						n.Write(now, p, block)
					}
					for at, ok := n.Next(); ok; at, ok = n.Next() {
						now = at
						events = n.Advance(now, events[:0])
						for _, e := range events {
							n.Consumed(now, e.Pipe, len(e.Data))
						}
					}
				}
			})
		}
	}
}
