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
		block experiment.Bytes
	}{{100, 128 << 10}, {100, 1 << 20}, {1000, 128 << 10}, {1000, 1 << 20}} {
		b.Run(fmt.Sprintf("nodes=%d/block=%dKiB", c.nodes, c.block>>10), func(b *testing.B) {
			s := experiment.Spec{Engine: "virtual", Seeds: []int64{1}}
			s.Net.Nodes, s.Chain.BlockSize, s.Load.Blocks = c.nodes, c.block, 10
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
