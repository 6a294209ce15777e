package recorder

import (
	"math"
	"testing"
)

// TestFingerprint: it does not depend on the order of messages, and on nothing less than one
// nanosecond at one node, a loss, or an id.
func TestFingerprint(t *testing.T) {
	run := func(change func(r *Run)) string {
		r := &Run{
			Blocks: []*Message{{ID: [32]byte{1}, Deliveries: []Delivery{{Node: 1, Latency: 50.000001}, {Node: 2, Latency: math.Inf(1)}}}},
			Txs:    []*Message{{ID: [32]byte{2}, Deliveries: []Delivery{{Node: 0, Latency: 7}}}},
		}
		change(r)
		return r.Fingerprint()
	}
	first := run(func(*Run) {})
	if len(first) != 64 {
		t.Fatalf("Fingerprint() = %q, want 64 hex digits", first)
	}
	if got := run(func(r *Run) { r.Blocks, r.Txs = r.Txs, r.Blocks }); got != first {
		t.Errorf("in another order: %s, want %s", got, first)
	}
	for name, change := range map[string]func(r *Run){
		"a nanosecond more":  func(r *Run) { r.Blocks[0].Deliveries[0].Latency += 1e-6 },
		"a delivery made":    func(r *Run) { r.Blocks[0].Deliveries[1].Latency = 60 },
		"another node":       func(r *Run) { r.Txs[0].Deliveries[0].Node = 1 },
		"another message":    func(r *Run) { r.Txs[0].ID[31] = 1 },
		"a delivery more":    func(r *Run) { r.Txs[0].Deliveries = append(r.Txs[0].Deliveries, Delivery{Node: 1, Latency: 7}) },
		"no message at all":  func(r *Run) { r.Blocks, r.Txs = nil, nil },
		"one message missed": func(r *Run) { r.Blocks = nil },
	} {
		if run(change) == first {
			t.Errorf("%s does not change the fingerprint", name)
		}
	}
}
