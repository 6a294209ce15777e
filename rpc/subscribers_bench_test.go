package rpc

import (
	"slices"
	"testing"
	"time"

	"github.com/pheme-net/pheme/chain"
)

// BenchmarkSubscribers is what a thousand WebSocket subscribers to newHeads cost the import of a block of
// 1,000 transfers. Two nodes on loopback import the same blocks, one with subscribers and one without, by
// turns; each import begins when the heads before it were delivered, as in a chain whose slot is longer
// than that takes (told-ms, the clients' own work included). Compared are lower quartiles: on a machine with
// other work medians move by 30 % from one run to the next, with one subscriber as with a thousand.
func BenchmarkSubscribers(b *testing.B) {
	const n = 1000
	maker, alone, asked := newRig(b, Config{}), startRig(b, Config{}), startRig(b, Config{})
	heard := make(chan struct{}, n)
	for range n {
		conn := asked.dialWS()
		subscribeTo(b, conn, "eth", "newHeads")
		go func() {
			for {
				_, _, err := conn.ReadMessage()
				if err != nil {
					return // the benchmark has ended
				}
				heard <- struct{}{}
			}
		}()
	}
	var without, with, told []time.Duration
	nonce := uint64(0)
	for b.Loop() {
		b.StopTimer()
		var txs []*chain.Tx
		for i := range 1000 {
			txs = append(txs, newTx(b, maker.transfer(i%rigAccounts, nonce+uint64(i/rigAccounts), nil)))
		}
		nonce += 1000 / rigAccounts
		chain.RecoverSenders(txs, maker.chain.Genesis())
		block, _, err := maker.chain.Build(chain.SlotOf(maker.chain.Head())+1, maker.keys[0], txs, 0)
		must(b, err)
		_, err = maker.chain.Add(block)
		must(b, err)
		add := func(r *rig) time.Duration {
			b.StopTimer()
			own, err := chain.DecodeBlock(block.Raw(), nil) // so that neither finds anything of the other in it or in the caches
			must(b, err)
			chain.RecoverSenders(own.Txs(), r.chain.Genesis())
			b.StartTimer()
			began := time.Now()
			_, err = r.chain.Add(own)
			must(b, err)
			return time.Since(began)
		}
		if len(with)%2 == 0 {
			without = append(without, add(alone))
		}
		with = append(with, add(asked))
		began := time.Now()
		for range n {
			<-heard
		}
		told = append(told, time.Since(began))
		if len(with)%2 == 0 {
			without = append(without, add(alone))
		}
	}
	quartile := func(d []time.Duration) float64 {
		slices.Sort(d)
		return float64(d[len(d)/4]) / 1e6
	}
	b.ReportMetric(quartile(without), "import-alone-ms")
	b.ReportMetric(quartile(with), "import-ms")
	b.ReportMetric(100*(quartile(with)/quartile(without)-1), "slower-%")
	b.ReportMetric(quartile(told), "told-ms")
}
