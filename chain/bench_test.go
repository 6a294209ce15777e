package chain

import (
	"context"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/holiman/uint256"
	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
)

// benchWorld has many funded accounts without keys. Its transfers carry a made-up
// signature and their sender in the cache, which is what a block whose
// transactions came through the pool looks like.
type benchWorld struct {
	*world
	accounts []common.Address
}

func newBenchWorld(accounts int) *benchWorld {
	w := &benchWorld{world: newWorld(1, 0)}
	for i := range accounts {
		addr := common.BigToAddress(uint256.NewInt(uint64(i)*0x9e3779b97f4a7c15 + 1).ToBig())
		w.accounts = append(w.accounts, addr)
		w.g.Alloc[addr] = ether
	}
	return w
}

// pooled is a transfer with its sender known.
func (w *benchWorld) pooled(from int, nonce uint64, to common.Address, data int) *Tx {
	input := make([]byte, data)
	_, _ = rand.NewChaCha8([32]byte{byte(from), byte(nonce)}).Read(input)
	inner := types.NewTx(&types.DynamicFeeTx{
		ChainID: big.NewInt(1337), Nonce: nonce, To: &to, Value: common.Big1, Gas: gasTx + gasByte*uint64(data), Data: input,
		GasFeeCap: big.NewInt(2_000_000_000), GasTipCap: big.NewInt(1_000_000_000), V: common.Big0, R: big.NewInt(int64(from) + 1), S: common.Big1,
	})
	tx, err := NewTx(inner)
	if err != nil {
		panic(err)
	}
	tx.sender.Store(&w.accounts[from%len(w.accounts)])
	return tx
}

// blocks makes n blocks of txs transfers, each from another account than the one before.
func (w *benchWorld) blocks(p tip, n, txs, data int) []tip {
	nonces := map[int]uint64{}
	next := 0
	var out []tip
	for range n {
		var body []*Tx
		for range txs {
			from := next % len(w.accounts)
			body = append(body, w.pooled(from, nonces[from], w.accounts[(next*7+3)%len(w.accounts)], data))
			nonces[from]++
			next++
		}
		p = w.next(p, p.Slot()+1, body...)
		out = append(out, p)
	}
	return out
}

func benchDir(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// BenchmarkImport imports transfers between 10,000 accounts with cached senders,
// on disk, one synced commit a block. One transaction a block is one a batch.
func BenchmarkImport(b *testing.B) {
	for _, txs := range []int{1000, 1} {
		b.Run(fmt.Sprintf("txs=%d", txs), func(b *testing.B) {
			w := newBenchWorld(10_000)
			n := 0
			var spent time.Duration
			for b.Loop() {
				b.StopTimer()
				blocks := w.blocks(w.genesis(), 8000/max(txs, 20), txs, 0)
				c := openChain(b, w.world, Config{}, benchDir(b))
				b.StartTimer()
				start := time.Now()
				add(b, c, blocks...)
				spent += time.Since(start)
				n += len(blocks) * txs
				b.StopTimer()
				if err := c.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(n)/spent.Seconds(), "transfers/s")
		})
	}
}

// BenchmarkRecover recovers senders that nobody has seen before, on all cores.
func BenchmarkRecover(b *testing.B) {
	w := newWorld(1, 10)
	var raws [][]byte
	for i := range 1000 {
		raws = append(raws, w.transfer(i%10, uint64(i), to7, 1).Raw())
	}
	for b.Loop() {
		var txs []*Tx
		for _, raw := range raws {
			tx, err := DecodeTx(raw)
			if err != nil {
				b.Fatal(err)
			}
			txs = append(txs, tx)
		}
		RecoverSenders(txs, w.g)
	}
	b.ReportMetric(float64(b.N*len(raws))/b.Elapsed().Seconds(), "senders/s")
}

// BenchmarkBuild fills a block from pooled transactions.
func BenchmarkBuild(b *testing.B) {
	for _, txs := range []int{100, 5000} {
		b.Run(fmt.Sprintf("txs=%d", txs), func(b *testing.B) {
			w := newBenchWorld(10_000)
			c := openChain(b, w.world, Config{}, "")
			var pool []*Tx
			for i := range txs {
				pool = append(pool, w.pooled(i, 0, w.accounts[i+1], 0))
			}
			for b.Loop() {
				block, _, err := c.Build(1, w.proposers[0], pool, 0)
				if err != nil || len(block.Txs()) != txs {
					b.Fatalf("%d transactions, %v", len(block.Txs()), err)
				}
			}
			b.ReportMetric(float64(b.N*txs)/b.Elapsed().Seconds(), "transfers/s")
		})
	}
}

// BenchmarkCheck is the cheap check that a block passes before it is relayed.
func BenchmarkCheck(b *testing.B) {
	for _, size := range []int{128 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("size=%dKiB", size>>10), func(b *testing.B) {
			w := newBenchWorld(100)
			c := openChain(b, w.world, Config{}, "")
			block := w.blocks(w.genesis(), 1, size/16500, 16<<10)[0]
			b.SetBytes(int64(block.Size()))
			now := time.Now()
			for b.Loop() {
				block.rootOK.Store(false)
				if err := c.Check(block.Block, now); err != nil {
					b.Fatal(err)
				}
				c.Forget(block.ID())
			}
		})
	}
}

// BenchmarkRoot changes 1,000 accounts of a state and hashes it.
func BenchmarkRoot(b *testing.B) {
	for _, accounts := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprintf("accounts=%d/touched=1000", accounts), func(b *testing.B) {
			w := newBenchWorld(accounts)
			st := w.g.state()
			round := uint64(0)
			for b.Loop() {
				round++
				changes := make([]Change, 1000)
				for i := range changes {
					at := (i*(accounts/1000) + int(round)*31) % accounts
					changes[i] = Change{w.accounts[at], Account{Nonce: round, Balance: *ether}}
				}
				seen := st.With(changes)
				if seen.Root() == (common.Hash{}) {
					b.Fatal("no root")
				}
				st = seen
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/account")
		})
	}
}

// BenchmarkCommit makes one block durable, marker included, and beside it, by one
// synced batch each, the block's bytes as one value in a raw LevelDB ("raw"), and the
// keys and values of the commit in another one ("same"). They take turns, so that all
// meet the same disk. "add" is all of Add.
func BenchmarkCommit(b *testing.B) {
	const size = 1 << 20
	for _, data := range []int{16 << 10, 0} {
		name := map[int]string{16 << 10: "tx=16KiB", 0: "tx=transfer"}[data]
		b.Run("size=1MiB/"+name, func(b *testing.B) {
			w := newBenchWorld(10_000)
			blocks := w.blocks(w.genesis(), 20, size/(data+119), data)
			var begin, written time.Time
			var commit, mark, raw, same, all time.Duration
			var wrote leveldb.Batch
			cfg := Config{batch: func(batch *leveldb.Batch) { wrote = *batch }, failpoint: func(step string) {
				switch step {
				case failCommitBegin:
					begin = time.Now()
				case failCommitDone:
					written = time.Now()
				case failMarkDone:
					commit += time.Since(begin)
					mark += time.Since(written)
				}
			}}
			db, twin := openRaw(b), openRaw(b)
			n := 0
			for b.Loop() {
				b.StopTimer()
				c := openChain(b, w.world, cfg, benchDir(b))
				b.StartTimer()
				for i, block := range blocks {
					start := time.Now()
					add(b, c, block)
					all += time.Since(start)
					start = time.Now()
					batch := new(leveldb.Batch)
					batch.Put(numberKey(tableBody, uint64(n*len(blocks)+i)), block.Raw())
					if err := db.Write(batch, &opt.WriteOptions{Sync: true}); err != nil {
						b.Fatal(err)
					}
					raw += time.Since(start)
					start = time.Now()
					if err := twin.Write(&wrote, &opt.WriteOptions{Sync: true}); err != nil {
						b.Fatal(err)
					}
					same += time.Since(start)
				}
				n++
				b.StopTimer()
				_ = c.Close()
				b.StartTimer()
			}
			each := func(d time.Duration) float64 { return d.Seconds() * 1000 / float64(n*len(blocks)) }
			b.ReportMetric(each(commit), "commit-ms")
			b.ReportMetric(each(mark), "marker-ms")
			b.ReportMetric(each(raw), "raw-ms")
			b.ReportMetric(each(all), "add-ms")
			b.ReportMetric(each(commit)/each(raw), "commit/raw")
			b.ReportMetric(each(commit)/each(same), "commit/same")
		})
	}
}

func openRaw(b *testing.B) *leveldb.DB {
	b.Helper()
	o := databaseOptions(false)
	db, err := leveldb.OpenFile(benchDir(b), &o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	return db
}

// benchStore makes a data dir with blocks of transfers between 10,000 accounts.
func benchStore(b *testing.B, w *benchWorld, blocks, txs, data int) string {
	b.Helper()
	dir := benchDir(b)
	p := w.genesis()
	nonces, next := map[int]uint64{}, 0
	grow := func(c *Chain, n int) {
		for range n {
			var body []*Tx
			for range txs {
				from := next % len(w.accounts)
				body = append(body, w.pooled(from, nonces[from], w.accounts[(next*7+3)%len(w.accounts)], data))
				nonces[from]++
				next++
			}
			p = w.next(p, p.Slot()+1, body...)
			add(b, c, p)
		}
	}
	// Most of it without a sync and a marker a block, which would only take time.
	c := openChain(b, w.world, Config{marker: noMarker{}}, dir)
	c.store.lazy = true
	grow(c, blocks-100)
	if err := newFileMarker(dir, func(string) {}).write(headMark{c.store.last.Seq, c.store.last.Head, c.store.last.hash()}); err != nil {
		b.Fatal(err)
	}
	if err := c.Close(); err != nil {
		b.Fatal(err)
	}
	// Then some in the log, and a copy of the files while they are open, which is
	// what kill -9 leaves.
	c = openChain(b, w.world, Config{}, dir)
	grow(c, 100)
	killed := filepath.Join(benchDir(b), "chain")
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		b.Fatal(err)
	}
	return killed
}

// BenchmarkOpen opens, and with it verifies, what kill -9 left of a chain.
func BenchmarkOpen(b *testing.B) {
	for _, blocks := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("blocks=%d/txs=10", blocks), func(b *testing.B) {
			w := newBenchWorld(10_000)
			dir := benchStore(b, w, blocks, 10, 0)
			for b.Loop() {
				b.StopTimer()
				again := benchDir(b)
				if err := os.CopyFS(filepath.Join(again, "chain"), os.DirFS(dir)); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				c, err := Open(Config{}, w.g, filepath.Join(again, "chain"), nil)
				if err != nil || c.Weight() != uint64(blocks) {
					b.Fatal(err)
				}
				b.StopTimer()
				_ = c.Close()
				_ = os.RemoveAll(again)
				b.StartTimer()
			}
		})
	}
}

// BenchmarkVerify reads everything.
func BenchmarkVerify(b *testing.B) {
	for _, tc := range []struct{ blocks, txs, data int }{{1000, 8, 16 << 10}, {1000, 128, 1 << 10}, {10_000, 10, 0}, {120, 8800, 0}} {
		b.Run(fmt.Sprintf("blocks=%d/txs=%d/data=%d", tc.blocks, tc.txs, tc.data), func(b *testing.B) {
			w := newBenchWorld(10_000)
			dir := benchStore(b, w, tc.blocks, tc.txs, tc.data)
			c := openChain(b, w.world, Config{}, dir)
			b.ResetTimer()
			for b.Loop() {
				got, err := c.Verify(context.Background())
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(got.Bytes))
			}
		})
	}
}
