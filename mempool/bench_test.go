package mempool

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/pheme-net/pheme/chain"
)

// benchTxs signs n transfers of 200 senders, nonces in order.
func benchTxs(b *testing.B, n int) (ledger, [][]byte) {
	b.Helper()
	all, l := users(b, 200), ledger{}
	for _, u := range all {
		l.fund(u.addr, 1<<63)
	}
	raws := make([][]byte, n)
	for i := range raws {
		raws[i] = all[i%200].sign(b, order{nonce: uint64(i / 200), tip: uint64(i % 97)}).Raw()
	}
	return l, raws
}

func decode(b *testing.B, raws [][]byte) []*chain.Tx {
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

// BenchmarkAdmission is decode, signature check, pool and journal on one core.
func BenchmarkAdmission(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	l, raws := benchTxs(b, 4000)
	for _, batch := range []int{1, 100} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			for b.Loop() {
				p := openAt(b, b.TempDir()+"/journal", l, false)
				for at := 0; at < len(raws); at += batch {
					txs := decode(b, raws[at:at+batch])
					for _, tx := range txs {
						if err := chain.CheckTx(tx, p.genesis); err != nil {
							b.Fatal(err)
						}
					}
					for _, err := range p.Add(txs) {
						if err != nil {
							b.Fatal(err)
						}
					}
				}
				p.Close()
			}
			b.ReportMetric(float64(len(raws)*b.N)/b.Elapsed().Seconds(), "tx/s")
		})
	}
}

// BenchmarkPooled fills the pool to n and then reports the heap it holds and what one more admission
// costs, the signature checked beforehand.
func BenchmarkPooled(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			l, raws := benchTxs(b, n+2000)
			before := heapInUse()
			p := openAt(b, "", l, false)
			for at := 0; at < n; at += 1000 {
				txs := decode(b, raws[at:min(n, at+1000)])
				chain.RecoverSenders(txs, p.genesis)
				p.Add(txs)
			}
			held := heapInUse() - before
			if s := p.Stats(); s.Executable != n {
				b.Fatalf("%+v, want %d executable", s, n)
			}
			more := decode(b, raws[n:])
			chain.RecoverSenders(more, p.genesis)
			var spent time.Duration
			for b.Loop() {
				start := time.Now()
				for _, tx := range more {
					if errs := p.Add([]*chain.Tx{tx}); errs[0] != nil {
						b.Fatal(errs[0])
					}
				}
				spent += time.Since(start)
				p.mu.Lock()
				for i := len(more) - 1; i >= 0; i-- {
					p.core.drop(more[i].Hash())
				}
				p.mu.Unlock()
			}
			b.ReportMetric(float64(held)/(1<<20), "MiB")
			b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N*len(more)), "ns/add")
			runtime.KeepAlive(p)
		})
	}
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkBuild picks a 1 MiB block out of n pooled transactions.
func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			l, raws := benchTxs(b, n)
			p := openAt(b, "", l, false)
			txs := decode(b, raws)
			chain.RecoverSenders(txs, p.genesis)
			p.Add(txs)
			for b.Loop() {
				if len(p.Build(1<<20, 1_000_000_000)) == 0 {
					b.Fatal("nothing built")
				}
			}
		})
	}
}
