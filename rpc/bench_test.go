package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/pheme-net/pheme/chain"
)

// bodyOfSends is a request that submits n fresh transfers, from the nonce on.
func bodyOfSends(r *rig, from uint64, n int) []byte {
	var calls []string
	for i := range n {
		raw := rawOf(r.tb, r.transfer(1, from+uint64(i), nil))
		calls = append(calls, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"eth_sendRawTransaction","params":["%s"]}`, i, raw))
	}
	if n == 1 {
		return []byte(calls[0])
	}
	return []byte("[" + strings.Join(calls, ",") + "]")
}

// freePool takes everything: what is left is the cost of the API and of recovering
// senders.
type freePool struct{ *smallPool }

func (p freePool) SubmitTxs(_ context.Context, txs []*chain.Tx) []error {
	errs := make([]error, len(txs))
	for i, t := range txs {
		errs[i] = chain.CheckTx(t, p.chain.Genesis())
	}
	return errs
}

// BenchmarkSubmit is the cost of a transaction from the bytes of its request to the
// pool, without HTTP; ns/tx is what to compare.
func BenchmarkSubmit(b *testing.B) {
	for _, batch := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			r := newRig(b, Config{})
			r.s.deps.Submit = freePool{r.pool}
			requests := make([][]byte, 64)
			for i := range requests {
				requests[i] = bodyOfSends(r, uint64(i*batch), batch)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				answer := r.direct(requests[i%len(requests)])
				if bytes.Contains(answer, []byte("error")) {
					b.Fatalf("answer %.300s", answer)
				}
				i++
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/tx")
		})
	}
}

// BenchmarkHTTP is a call over a kept connection on loopback, client included.
func BenchmarkHTTP(b *testing.B) {
	for _, call := range []string{"eth_blockNumber", "eth_chainId"} {
		b.Run("call="+call, func(b *testing.B) {
			r := startRig(b, Config{})
			body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"%s","params":[]}`, call)
			client := &http.Client{}
			var buf bytes.Buffer
			for b.Loop() {
				resp, err := client.Post(r.url(), "application/json", strings.NewReader(body))
				must(b, err)
				buf.Reset()
				buf.ReadFrom(resp.Body)
				resp.Body.Close()
			}
		})
	}
}

// bigBlock puts n transfers into a block.
func bigBlock(b *testing.B, r *rig, n int) *chain.Block {
	var txs []*chain.Tx
	for i := range n {
		txs = append(txs, newTx(b, r.transfer(i%rigAccounts, uint64(i/rigAccounts), nil)))
	}
	chain.RecoverSenders(txs, r.chain.Genesis())
	block, _, err := r.chain.Build(1, r.keys[0], txs, 0)
	must(b, err)
	_, err = r.chain.Add(block)
	must(b, err)
	return block
}

// BenchmarkBlockJSON writes a block: ours with the bytes kept or not, and
// go-ethereum's own JSON of its transactions alone for comparison.
func BenchmarkBlockJSON(b *testing.B) {
	for _, n := range []int{100, 5000} {
		r := newRig(b, Config{})
		block := bigBlock(b, r, n)
		r.s.recent.add(block)
		for name, write := range map[string]func() int{
			"form=full":     func() int { return len(r.s.encode(block, formFull)) },
			"form=hashes":   func() int { return len(r.s.encode(block, formHashes)) },
			"form=receipts": func() int { return len(r.s.encode(block, formReceipts)) },
			"form=cached": func() int {
				raw, err := r.s.encoded(context.Background(), block.ID(), formFull)
				must(b, err)
				return len(raw)
			},
			"form=goethereum": func() (size int) {
				for _, t := range block.Txs() {
					raw, err := json.Marshal(t.Inner())
					must(b, err)
					size += len(raw)
				}
				return size
			},
		} {
			b.Run(fmt.Sprintf("%s/txs=%d", name, n), func(b *testing.B) {
				b.SetBytes(int64(write())) // and fills what is kept
				b.ReportAllocs()
				for b.Loop() {
					write()
				}
			})
		}
	}
}

// BenchmarkFullBlock is the whole answer to a waiting client: dispatch, cache and copy.
func BenchmarkFullBlock(b *testing.B) {
	r := newRig(b, Config{})
	block := bigBlock(b, r, 5000)
	body := []byte(fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"eth_getBlockByHash","params":["%s",true]}`, hexutil.Bytes(block.ID().Bytes())))
	b.Run("txs=5000", func(b *testing.B) {
		b.SetBytes(int64(len(r.direct(body)))) // and fills what is kept
		b.ReportAllocs()
		for b.Loop() {
			r.direct(body)
		}
	})
}

// BenchmarkNewHead hands one head to many subscribers.
func BenchmarkNewHead(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprintf("subscribers=%d", n), func(b *testing.B) {
			r := newRig(b, Config{})
			block := r.seal()
			var outs []*queue
			for range n {
				st := &stream{s: r.s, out: newQueue(r.s, netip.Addr{}), end: func(error) { b.Error("lagging") }}
				sub := newSubscription(st, "eth")
				sub.topic = topicHeads
				sub.known = true
				r.s.broker.add(sub)
				outs = append(outs, st.out)
			}
			u := chain.Update{Old: block.Header(), Head: block.Header(), Applied: []*chain.Block{block}, Moved: true}
			for b.Loop() {
				r.s.broker.head(u)
				for _, out := range outs {
					<-out.more
					out.take()
				}
			}
		})
	}
}
