package p2p

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/pheme-net/pheme/p2p/trace"
)

// TestCodedRelay: every node has every block, sooner and in fewer bytes than the
// whole block takes over the mesh.
func TestCodedRelay(t *testing.T) {
	a := arena{nodes: 16, size: 256 << 10, blocks: 2, warmup: 1}
	whole := a
	whole.relay = "gossip"
	a.relay = "coded"
	got, base := a.run(t), whole.run(t)
	t.Logf("coded: %v", got)
	t.Logf("gossip: %v", base)
	if got.missing > 0 || got.paths[trace.PathChunks] != 2*15 {
		t.Fatalf("coded: %v", got)
	}
	if base.missing > 0 || base.paths[trace.PathGossip] != 2*15 || got.p95*2 > base.p95 || got.copies > base.copies*0.75 {
		t.Errorf("coded: %v; gossip: %v", got, base)
	}
	if got.hops < 2 || got.hops > 15 || got.root > maxRoot {
		t.Errorf("%d hops, %.2f copies sent by the origin", got.hops, got.root)
	}
}

// maxRoot is how many sizes of a block its origin may send. Two sends of one and a half blocks are 3, frames and announcements
// a tenth more, and the rest is for those who ask: 256 KiB take 3.1. Of 1 MiB 20 nodes have enough before all went twice: 2.7.
const maxRoot = 4

// TestOriginUpload: of a block of 1 MiB the default relay sends maxRoot copies at most.
func TestOriginUpload(t *testing.T) {
	r := arena{nodes: 12, size: 1 << 20, blocks: 1}.run(t)
	t.Logf("%v", r)
	if r.missing > 0 || r.paths[trace.PathChunks] != 11 || r.root > maxRoot {
		t.Errorf("%v", r)
	}
}

// TestRelayTuning: the relay's numbers are those of the configuration. With one send of a chunk by each node a block has
// fewer copies, and its origin sends it once, with its parity.
func TestRelayTuning(t *testing.T) {
	a := arena{nodes: 7, size: 64 << 10, blocks: 1, relay: "coded"}
	base := a.run(t)
	a.bend = func(_ int, c *Config) { c.RelayTuning.Budget = 1 }
	got := a.run(t)
	t.Logf("a budget of 1: %v", got)
	t.Logf("the default: %v", base)
	if base.missing+got.missing > 0 || got.root > 2 || base.root < 2.5 || got.copies >= base.copies {
		t.Errorf("a budget of 1: %v; the default: %v", got, base)
	}
}

// TestMixedRelays: nodes of different relays have each other's blocks, in each form, and fetch none.
func TestMixedRelays(t *testing.T) {
	names := []string{"gossip", "coded", "compact", "auto"}
	r := arena{nodes: 9, size: 80 << 10, blocks: 7, pools: 0.5, bend: func(i int, c *Config) { c.Relay = names[i%len(names)] }}.run(t)
	t.Logf("%v, received %v", r, r.forms)
	if r.missing > 0 || r.paths[trace.PathChunks] == 0 || r.paths[trace.PathGossip] == 0 {
		t.Fatalf("%v", r)
	}
	if r.paths[trace.PathFetch] > 0 || r.stats.FetchedWhole > 0 {
		t.Errorf("%v; %d blocks given up in pieces", r, r.stats.FetchedWhole)
	}
	for _, name := range names {
		if f := r.forms[name]; f.Gossip == 0 || f.Compact == 0 || f.Coded == 0 {
			t.Errorf("nodes of the %s relay received %+v", name, f)
		}
	}
}

// TestWithheldRelays: what nobody gives in pieces is fetched whole, by each hop from the one before.
func TestWithheldRelays(t *testing.T) {
	for _, a := range []arena{
		{relay: "coded"},
		{relay: "compact", pools: 0.5},            // most lack so much that they ask for chunks
		{relay: "compact", pools: 0.97, tx: 4096}, // and here for transactions
	} {
		a.nodes, a.degree, a.size, a.blocks, a.mute = 6, 2, 128<<10, 1, func(int) bool { return true }
		r := a.run(t)
		t.Logf("%s, pools %g: %v, %d blocks given up in pieces", a.relay, a.pools, r, r.stats.FetchedWhole)
		fetched := r.paths[trace.PathFetch]
		whole := fetched == 5 || a.tx > 0 && fetched > 0 && fetched+r.paths[trace.PathCompact] == 5 // some pools lack nothing
		if r.missing > 0 || !whole || r.stats.FetchedWhole < uint64(fetched) || r.stats.WithAnswers > 0 {
			t.Errorf("%s, pools %g: %v; %+v", a.relay, a.pools, r, r.stats)
		}
	}
}

// TestSilentRelays: what some withhold comes from others.
func TestSilentRelays(t *testing.T) {
	r := arena{nodes: 20, size: 128 << 10, blocks: 3, relay: "coded", mute: func(i int) bool { return i%5 == 1 }}.run(t)
	t.Logf("%v", r)
	if r.missing > 0 || r.p95 > 2*time.Second {
		t.Fatalf("%v", r)
	}
}

// TestSilentNodes: what a fifth takes and does not pass on comes from others, by each relay.
func TestSilentNodes(t *testing.T) {
	for _, relay := range []string{"coded", "compact", "auto"} {
		r := arena{nodes: 15, size: 128 << 10, blocks: 2, pools: 0.3, relay: relay, silent: func(i int) bool { return i%5 == 1 }}.run(t)
		t.Logf("%s: %v", relay, r)
		if r.missing > 0 || r.gave > 0 || r.paths[trace.PathChunks] == 0 {
			t.Errorf("%s: %v, silent nodes gave %d bytes", relay, r, r.gave)
		}
	}
}

// TestCodedRelayWithLoss: where packets are lost chunks go in datagrams, and a block
// takes little longer than where none are, from which no datagram comes. Where datagrams
// do not arrive it comes over streams.
func TestCodedRelayWithLoss(t *testing.T) {
	whole := arena{nodes: 10, size: 256 << 10, blocks: 2, warmup: 1, relay: "coded"}
	lossy, walled := whole, whole
	lossy.loss, walled.loss, walled.walled = 0.02, 0.02, true
	base, got, held := whole.run(t), lossy.run(t), walled.run(t)
	for name, r := range map[string]arenaResult{"lossless": base, "loss": got, "loss and no datagrams": held} {
		t.Logf("%s: %v; of %d chunks %d in datagrams, %d lost", name, r, r.stats.ChunksSent, r.stats.ChunksPosted, r.stats.ChunksLost)
		if r.missing > 0 || r.unbegun > 0 || r.stray > 0 {
			t.Errorf("%s: %v; %d of unclear beginning, %d bytes of no block", name, r, r.unbegun, r.stray)
		}
	}
	if base.stats.ChunksPosted > base.stats.ChunksSent/20 { // a burst to one downlink may look like a loss
		t.Errorf("%d of %d chunks went in datagrams though nothing was lost", base.stats.ChunksPosted, base.stats.ChunksSent)
	}
	if s := got.stats; s.ChunksPosted < s.ChunksSent/4 || s.ChunksLost < s.ChunksPosted/50 || s.ChunksLost > s.ChunksPosted/4 {
		t.Errorf("of %d chunks %d went in datagrams, %d of which were lost; one in thirteen has a lost packet", s.ChunksSent, s.ChunksPosted, s.ChunksLost)
	}
	if got.p95 > 5*base.p95/2 || got.p95 > held.p95*2/3 {
		t.Errorf("p95 %v with loss, %v without, %v with loss and no datagrams", got.p95, base.p95, held.p95)
	}
	if s := held.stats; s.ChunksPosted == 0 || s.ChunksLost == 0 || s.ChunksPosted > s.ChunksSent/2 {
		t.Errorf("behind a wall %d of %d chunks were sent into it, %d noticed", s.ChunksPosted, s.ChunksSent, s.ChunksLost)
	}
}

// TestCompactRelay: from warm pools a block needs hardly a byte, from half a pool
// and from none it comes all the same.
func TestCompactRelay(t *testing.T) {
	for relay, shares := range map[string][]float64{"compact": {1, 0.95, 0.5}, "auto": {1, 0}} {
		for _, pools := range shares {
			r := arena{nodes: 8, size: 128 << 10, tx: 4 << 10, blocks: 2, warmup: 1, relay: relay, pools: pools}.run(t)
			t.Logf("%s, pools %g: %v", relay, pools, r)
			switch {
			case r.missing > 0:
				t.Errorf("%s, pools %g: %v", relay, pools, r)
			case pools == 1 && (r.copies > 0.1 || r.p95 > 300*time.Millisecond || r.paths[trace.PathCompact] != 2*7):
				t.Errorf("%s, warm pools: %v", relay, r)
			case pools == 0 && r.paths[trace.PathChunks] != 2*7:
				t.Errorf("%s, cold pools: %v", relay, r)
			}
		}
	}
}

// TestReconnectedRelays: the first block after two nodes were parted goes from one to the other as any does.
func TestReconnectedRelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newBubble(t, "reconnected", 2, func(c *Config) { c.Relay = "coded" })
		defer v.burst()
		for i := range 3 {
			blk := v.block(v.tx(0, 20<<10), v.tx(1, 20<<10))
			start := v.clock.Now()
			v.nodes[i%2].propose(blk)
			time.Sleep(2 * time.Second)
			e := v.nodes[1-i%2].rec.all(kind(trace.BlockReceived, blk.ID()))
			if len(e) != 1 {
				t.Fatalf("block %d came %d times", i, len(e))
			}
			if path, _ := trace.PathOf(e[0].Aux); path != trace.PathChunks || e[0].At-start > int64(10*delay) {
				t.Errorf("block %d came after %v by way %d", i, time.Duration(e[0].At-start), path)
			}
			v.cut(0, 1)
			time.Sleep(3 * time.Second)
			v.join(0, 1)
			time.Sleep(3 * time.Second)
		}
	})
}
