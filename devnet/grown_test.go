package devnet

import (
	"testing"

	"github.com/pheme-net/pheme/devnet/experiment"
)

// TestVirtualGrows: nodes that are told one address find each other, and are
// connected enough for blocks to reach all.
func TestVirtualGrows(t *testing.T) {
	s := virtualSpec(16, 2, "lan")
	s.Net.Topology = experiment.Discovery
	r := measureVirtual(t, s)
	if got := float64(r.Summary["block.coverage"].Value); got != 1 {
		t.Errorf("coverage %v", got)
	}
	if r.Block.Messages != 2 {
		t.Errorf("%d blocks, want 2", r.Block.Messages)
	}
}
