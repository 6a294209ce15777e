package p2p

import (
	"fmt"
	"slices"
	"testing"

	pb "github.com/libp2p/go-libp2p-pubsub/pb"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/relay"
	"github.com/pheme-net/pheme/p2p/trace"
)

// BenchmarkGossip sends blocks through real nodes on loopback TCP in one
// process: what it reports is the machine's work, not a network's latency.
// latency is publish to accepted, at the median and the 95th percentile node;
// copies are payload bytes read, duplicates among them, per byte delivered.
func BenchmarkGossip(b *testing.B) {
	for _, c := range []struct{ n, size int }{{8, 128 << 10}, {8, 1 << 20}, {16, 128 << 10}} {
		b.Run(fmt.Sprintf("n=%d/size=%dKiB", c.n, c.size>>10), func(b *testing.B) { benchGossip(b, c.n, c.size) })
	}
}

func benchGossip(b *testing.B, n, size int) {
	w := newWorld(b, "bench")
	var nodes []*testNode
	for i := range n {
		nodes = append(nodes, w.node(fmt.Sprint("bench", i)))
		for _, back := range []int{1, 2, 4} { // a ring with chords, degree 6
			if i >= back {
				link(nodes[i], nodes[i-back])
			}
		}
	}
	block := func() *chain.Block {
		var txs []*chain.Tx
		for i := range size / (16 << 10) {
			txs = append(txs, w.tx(i%len(w.users), 16<<10-200))
		}
		return w.block(txs...)
	}
	run := func(blk *chain.Block, origin *testNode) (latency []float64, read uint64) {
		begin := origin.net.clock.Now()
		origin.propose(blk)
		for _, x := range nodes {
			if x != origin {
				e := x.rec.wait(b, "block", kind(trace.BlockAccepted, blk.ID()))
				latency = append(latency, float64(e.At-begin)/1e6)
				x.rec.wait(b, "import", kind(trace.BlockImported, blk.ID()))
			}
		}
		for _, x := range nodes {
			for _, e := range x.rec.all(kind(trace.MsgRead, blk.ID())) {
				read += uint64(e.Size)
			}
			x.rec.forget()
		}
		return latency, read
	}
	run(block(), nodes[0])
	var all []float64
	var read, delivered uint64
	b.ResetTimer()
	for i := range b.N {
		b.StopTimer()
		blk := block()
		b.StartTimer()
		latency, bytes := run(blk, nodes[i%n])
		all = append(all, latency...)
		read += bytes
		delivered += uint64(blk.Size()) * uint64(n-1)
	}
	b.StopTimer()
	slices.Sort(all)
	b.ReportMetric(all[len(all)/2], "p50-ms")
	b.ReportMetric(all[(len(all)*95-1)/100], "p95-ms")
	b.ReportMetric(float64(read)/float64(delivered), "copies")
}

// forget drops the events so far.
func (r *recorder) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = nil
}

// BenchmarkValidate is what one received copy costs before it is passed on.
func BenchmarkValidate(b *testing.B) {
	w := newWorld(b, "validate")
	n := w.node("n")
	var txs []*chain.Tx
	for i := range 8 {
		txs = append(txs, w.tx(i, 16<<10-200))
	}
	blk := w.block(txs...)
	payload := relay.EncodeGossip(blk)
	n.back.full(true) // nothing is imported
	b.Run("block=128KiB", func(b *testing.B) {
		b.SetBytes(int64(len(payload)))
		b.ReportAllocs()
		for b.Loop() {
			if err := n.net.relay.Receive(relay.Message{From: "x", Payload: payload}); err != nil {
				b.Fatal(err)
			}
			n.chain.Forget(blk.ID())
		}
	})
	for _, known := range []bool{true, false} {
		var raws [][]byte
		for i := range 100 {
			raws = append(raws, w.tx(i%8, 100).Raw())
		}
		batch := encodeBatch(nonce{1}, raws)
		b.Run(fmt.Sprintf("batch=100/known=%v", known), func(b *testing.B) {
			b.SetBytes(int64(len(batch)))
			b.ReportAllocs()
			for b.Loop() {
				_ = n.net.takeBatch("x", batch)
				if !known {
					b.StopTimer()
					n.back.mu.Lock()
					clear(n.back.pool)
					n.back.mu.Unlock()
					n.rec.forget()
					b.StartTimer()
				}
			}
		})
	}
}

func message(topic string, data []byte) *pb.Message { return &pb.Message{Topic: &topic, Data: data} }

func BenchmarkMessageID(b *testing.B) {
	for _, size := range []int{1 << 10, 128 << 10} {
		b.Run(fmt.Sprintf("size=%dKiB", size>>10), func(b *testing.B) {
			m := message(blockTopic("01234567"), make([]byte, size))
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if len(messageID(m)) != 20 {
					b.Fatal("length")
				}
			}
		})
	}
}

// TestMessageIDCoversEverything: one id for one topic and payload, another for
// any other.
func TestMessageIDCoversEverything(t *testing.T) {
	seen := map[string]string{}
	for _, topic := range []string{"a", "ab", ""} {
		for _, payload := range []string{"", "b", "bc", "c"} {
			id := messageID(message(topic, []byte(payload)))
			if other, taken := seen[id]; taken {
				t.Errorf("%q and %q share an id", topic+"|"+payload, other)
			}
			seen[id] = topic + "|" + payload
			if id != messageID(message(topic, []byte(payload))) {
				t.Error("the id changes")
			}
		}
	}
}

// BenchmarkStateSync takes a node that starts with nothing to the head of a chain of
// transfers that each made an account, by all blocks and by state, over links of 50
// Mbit/s and 10 ms in virtual time. The figures named cpu are with the time that a node
// of two cores is charged for computing in experiments, the others without any. It
// takes some minutes to make the chain of a million.
func BenchmarkStateSync(b *testing.B) {
	for _, blocks := range []int{1000, 10_000} {
		name := fmt.Sprintf("accounts=%d/blocks=%d", 100*blocks, blocks)
		b.Run(name, func(b *testing.B) {
			var full, state []arrival
			for range b.N {
				all := func(string, string) (bool, error) { return true, nil }
				if !testing.RunTests(all, []testing.InternalTest{{Name: name, F: func(t *testing.T) {
					full, state = cold{latency: "uniform:10ms", blocks: blocks, perBlock: 100, value: 4e15}.start(t, nil, twoCores)
				}}}) {
					b.Fatal("no arrival")
				}
			}
			for i, prefix := range []string{"", "cpu-"} {
				b.ReportMetric(full[i].took.Seconds(), prefix+"full-s")
				b.ReportMetric(state[i].took.Seconds(), prefix+"state-s")
				b.ReportMetric(state[i].took.Seconds()/full[i].took.Seconds(), prefix+"state/full")
			}
			b.ReportMetric(float64(full[0].bytes)/1e6, "full-MB")
			b.ReportMetric(float64(state[0].bytes)/1e6, "state-MB")
		})
	}
}
