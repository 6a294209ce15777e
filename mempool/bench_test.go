package mempool

import (
	"fmt"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/pheme-net/pheme/chain"
)

// signed makes n transfers of a few hundred senders, in an order that fits each.
func signed(w *world, n int) [][]byte {
	raws := make([][]byte, n)
	for i := range raws {
		raws[i] = w.sign(spec{from: i % len(w.keys), nonce: uint64(i / len(w.keys)), tip: uint64(i % 97)}).Raw()
	}
	return raws
}

func decoded(b *testing.B, raws [][]byte) []*chain.Tx {
	txs := make([]*chain.Tx, len(raws))
	for i, raw := range raws {
		tx, err := chain.DecodeTx(raw)
		if err != nil {
			b.Fatal(err)
		}
		txs[i] = tx
	}
	return txs
}

// BenchmarkAdmission is the whole way in on one core: decode, signature of a cold
// sender, rules, pool, journal on disk.
func BenchmarkAdmission(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, batch := range []int{1, 100} {
		for _, journal := range []bool{false, true} {
			b.Run(fmt.Sprintf("batch=%d/journal=%v", batch, journal), func(b *testing.B) {
				w := newWorld(200)
				raws := signed(w, 5000)
				for b.Loop() {
					b.StopTimer()
					cfg := Config{}
					if journal {
						cfg.JournalPath = filepath.Join(b.TempDir(), "journal")
					}
					p := w.open(b, cfg, osDisk{})
					b.StartTimer()
					for at := 0; at < len(raws); at += batch {
						add(b, p, decoded(b, raws[at:at+batch])...)
					}
					b.StopTimer()
					if err := p.Close(); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
				b.ReportMetric(float64(b.N*len(raws))/b.Elapsed().Seconds(), "tx/s")
			})
		}
	}
}

// BenchmarkPooled is one more admission into a pool of n, its sender known, and
// what the pool takes in memory, decoded transactions included.
func BenchmarkPooled(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			const more = 1000
			w := newWorld(1000)
			raws := signed(w, n+more)
			before := heapBytes()
			p := w.open(b, Config{}, osDisk{})
			for at := 0; at < n; at += 1000 {
				add(b, p, decoded(b, raws[at:at+1000])...)
			}
			held := heapBytes() - before
			txs := decoded(b, raws[n:])
			chain.RecoverSenders(txs, w.g)
			for b.Loop() {
				for _, tx := range txs {
					add(b, p, tx)
				}
				b.StopTimer()
				for i := len(txs) - 1; i >= 0; i-- {
					p.core.remove(txs[i].Hash())
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*more), "ns/tx")
			b.ReportMetric(float64(held)/(1<<20), "MiB")
			runtime.KeepAlive(p)
		})
	}
}

// heapBytes is what is in use after a collection, in bytes.
func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkEvict is an admission that pushes out one of n.
func BenchmarkEvict(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			c, _ := testCore(Config{MaxCount: n, PerSender: n}, 1000, 1<<62)
			for i := range n {
				put(b, c, spec{from: i % 1000, nonce: uint64(i / 1000), tip: uint64(i % 97)})
			}
			txs := make([]*chain.Tx, 100_000)
			for i := range txs {
				txs[i] = spec{from: 5000 + i, tip: 1000 + uint64(i)}.tx()
				c.state.(*fakeState).balance[who(5000+i)] = 1 << 62
			}
			i := 0
			for b.Loop() {
				if i == len(txs) {
					b.Fatal("not enough transactions for a benchmark of this length: use a shorter -benchtime")
				}
				if err := c.add(txs[i], who(5000+i), 0); err != nil {
					b.Fatal(err)
				}
				c.gone, c.fresh = c.gone[:0], c.fresh[:0]
				i++
			}
		})
	}
}

// BenchmarkBuild picks a block of 1 MiB out of n.
func BenchmarkBuild(b *testing.B) {
	for _, senders := range []int{200, 10_000} {
		for _, n := range []int{10_000, 100_000} {
			b.Run(fmt.Sprintf("pooled=%d/senders=%d", n, senders), func(b *testing.B) {
				c, _ := testCore(Config{}, senders, 1<<62)
				for i := range n {
					put(b, c, spec{from: i % senders, nonce: uint64(i / senders), tip: uint64(i % 97)})
				}
				picked := 0
				for b.Loop() {
					picked = len(pick(c.lines(), 1<<20, 1_000_000_000))
				}
				b.ReportMetric(float64(picked), "tx/block")
			})
		}
	}
}

// BenchmarkUpdate takes a block of k transactions of as many senders out of 100,000.
func BenchmarkUpdate(b *testing.B) {
	for _, k := range []int{100, 5000} {
		b.Run(fmt.Sprintf("block=%d", k), func(b *testing.B) {
			const senders, n = 10_000, 100_000
			c, st := testCore(Config{}, senders, 1<<62)
			for i := range n {
				put(b, c, spec{from: i % senders, nonce: uint64(i / senders), tip: uint64(i % 97)})
			}
			next := st.clone()
			accounts := make([]moved, k)
			back := make([]moved, k)
			for i := range accounts {
				next.nonce[who(i)] = 1
				accounts[i].addr = who(i)
				back[i] = moved{who(i), []*chain.Tx{spec{from: i, tip: uint64(i % 97)}.tx()}}
			}
			for b.Loop() {
				c.update(next, accounts, 0)
				b.StopTimer()
				c.update(st, back, 0)
				c.gone, c.fresh = c.gone[:0], c.fresh[:0]
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*k), "ns/tx")
		})
	}
}
