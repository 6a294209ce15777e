package live

import (
	"fmt"
	"testing"
	"time"

	"github.com/pheme-net/pheme/p2p/link"
)

// BenchmarkTCP reports how far a transfer is from the formula, as a ratio, and
// how fast the shaper can be where nothing is to be shaped.
func BenchmarkTCP(b *testing.B) {
	for _, c := range []struct {
		latency string
		delay   time.Duration
		rate    link.Rate
		size    int
	}{
		{"uniform:0s:0s", 0, 0, 16 << 20},
		{"uniform:50ms:0s", 50 * time.Millisecond, 50 * link.Mbit, 128 << 10},
		{"uniform:50ms:0s", 50 * time.Millisecond, 50 * link.Mbit, 1 << 20},
		{"uniform:150us:0s", 150 * time.Microsecond, link.Gbit, 128 << 10},
	} {
		b.Run(fmt.Sprintf("latency=%s/rate=%s/size=%dKiB", c.latency, c.rate, c.size>>10), func(b *testing.B) {
			l := newLab(b, config(b, 2, c.latency, c.rate))
			from, to := l.dial(0, 1)
			b.SetBytes(int64(c.size))
			var sum time.Duration
			for b.Loop() {
				sum += l.transfer(from, to, c.size)
			}
			if want := c.delay + c.rate.Time(c.size); want > 0 {
				b.ReportMetric(sum.Seconds()/float64(b.N)/want.Seconds(), "x-formula")
			}
		})
	}
}
