package devnet

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/pheme-net/pheme/devnet/experiment"
)

// idle is what a virtual run holds once its meshes are formed and before the first block, in bytes of heap and stacks.
func idle(tb testing.TB, nodes int) (bytes float64) {
	tb.Helper()
	s := virtualSpec(nodes, 1, "uniform:50ms")
	s.Load.Pools = experiment.PoolsCold
	s.Resolve()
	_, err := runVirtual(virtualTask{Spec: s, Seed: 1, Dir: tb.TempDir()}, func(format string, args ...any) {
		if words := fmt.Sprintf(format, args...); bytes == 0 && strings.HasPrefix(words, "slot 1 of") {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			bytes = float64(m.HeapAlloc + m.StackInuse)
		}
	})
	if err != nil || bytes == 0 {
		tb.Fatalf("held %v bytes, %v", bytes, err)
	}
	return bytes
}

// BenchmarkIdleNode is what each node more holds that waits for something to do.
func BenchmarkIdleNode(b *testing.B) {
	for b.Loop() {
		few := idle(b, 20)
		b.ReportMetric((idle(b, 120)-few)/100/1e6, "MB/node")
	}
}
