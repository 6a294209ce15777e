package devnet

import (
	"fmt"
	"testing"
	"time"

	"github.com/pheme-net/pheme/devnet/experiment"
)

// BenchmarkVirtual is what a node and block cost in virtual time, all of the child's work in this process: run it with -cpu 1 and
// -benchtime 1x, and with -cpuprofile or -memprofile to see where it goes.
func BenchmarkVirtual(b *testing.B) {
	for _, c := range []struct {
		nodes int
		pools string
		block experiment.Bytes
		tx    experiment.Bytes
	}{
		{100, "cold", 128 << 10, 16 << 10}, {100, "warm", 128 << 10, 16 << 10}, {100, "cold", 1 << 20, 16 << 10}, {100, "warm", 1 << 20, 2 << 10},
		{1000, "cold", 128 << 10, 16 << 10}, {1000, "cold", 1 << 20, 16 << 10},
	} {
		b.Run(fmt.Sprintf("nodes=%d/pools=%s/block=%dKiB", c.nodes, c.pools, c.block>>10), func(b *testing.B) {
			s := experiment.Spec{Engine: "virtual", Seeds: []int64{1}}
			s.Net.Nodes, s.Chain.BlockSize, s.Load.Blocks = c.nodes, c.block, 10
			s.Load.Pools, s.Load.TxSize = c.pools, c.tx
			if c.block >= 1<<20 {
				s.Chain.Slot = experiment.Duration(12 * time.Second) // Ethereum's: such a block takes longer than a second
			}
			s.Resolve()
			for b.Loop() {
				if _, err := runVirtual(virtualTask{Spec: s, Seed: 1, Dir: b.TempDir()}, b.Logf); err != nil {
					b.Fatal(err)
				}
			}
			perBlock := float64(b.Elapsed()) / float64(b.N*c.nodes*(s.Load.Warmup+s.Load.Blocks))
			b.ReportMetric(perBlock/float64(time.Millisecond), "ms/node-block")
		})
	}
}
