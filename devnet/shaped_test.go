package devnet_test

import (
	"context"
	"testing"
	"time"

	"github.com/pheme-net/pheme/devnet"
	"github.com/pheme-net/pheme/devnet/experiment"
)

// TestShapedProcesses: no block passes between two real processes before its bytes can have left at
// the rate of the link and travelled its delay, over TCP and over QUIC.
func TestShapedProcesses(t *testing.T) {
	for _, transport := range []string{"tcp", "quic"} {
		spec := experiment.Spec{
			Name:  "shaped",
			Net:   experiment.Net{Nodes: 2, Transport: transport, Latency: "uniform:50ms:0ms", Rate: "20mbit"},
			Load:  experiment.Load{Blocks: 3, Warmup: 1, TxSize: 8 << 10},
			Chain: experiment.Chain{Slot: experiment.Duration(500 * time.Millisecond), BlockSize: 64 << 10},
		}
		r, err := devnet.Measure(context.Background(), devnet.MeasureConfig{Experiment: spec, Out: t.TempDir()}, nil)
		if err != nil {
			t.Fatalf("%s: %v", transport, err)
		}
		if r.Links != "uniform:50ms:0ms, 20mbit" || r.Block.Deliveries == 0 {
			t.Errorf("%s: %d deliveries over links %q", transport, r.Block.Deliveries, r.Links)
		}
		for _, m := range r.Runs[0].Messages {
			if least := float64(m.Size)*8/20e6*1e3 + 50; float64(m.C100) < least {
				t.Errorf("%s: a block of %d bytes took %v ms, the formula says %.3f at least", transport, m.Size, m.C100, least)
			}
		}
		if got := float64(r.Summary["block.stretch_p95"].Value); !(got >= 1) {
			t.Errorf("%s: stretch = %v, want 1 or more", transport, got)
		}
	}
}
