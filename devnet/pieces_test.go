package devnet

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pheme-net/pheme/devnet/report"
)

// TestStagesAddUp: on every relay the parts of each delivery are of the latency and make all of it, none
// of them is negative, and pieces came on ways of more than one hop.
func TestStagesAddUp(t *testing.T) {
	for _, relay := range []string{"coded", "compact", "auto"} {
		s := virtualSpec(9, 2, "uniform:20ms")
		s.Net.Relay, s.Net.Degree, s.Load.Pools, s.Load.TxSize, s.Load.Warmup = relay, 4, "half", 4<<10, 1
		out := t.TempDir()
		if _, err := Measure(t.Context(), MeasureConfig{Experiment: s, Out: out}, nil); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(filepath.Join(out, report.LatestLink, report.DeliveriesFile))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		inPieces, far := 0, 0
		err = report.DecodeDeliveries(f, func(d *report.DeliveryRow) error {
			if !d.Block || d.Way == "" {
				return nil
			}
			inPieces++
			if d.From != d.Origin && d.Way != d.Origin {
				far++
			}
			if total := d.Hop.Total(); math.Abs(total-d.Latency) > 1e-5 || slices.Min(d.Hop[:]) < 0 {
				t.Errorf("%s: block %d at %s: parts %v make %v, the latency is %v", relay, d.Number, d.Node, d.Hop, total, d.Latency)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if inPieces != 2*8 || far == 0 {
			t.Errorf("%s: %d of 16 deliveries came in pieces, %d over more than one hop", relay, inPieces, far)
		}
	}
}
