package load

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/quick"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/pheme-net/pheme/rpc"
)

// TestLayOut: whatever the load, every transaction is in one call, no call leaves before its last
// transaction is due, the accounts share alike and each account's calls are in order.
func TestLayOut(t *testing.T) {
	law := func(total uint16, accounts, batch, perSecond uint8) bool {
		n, a, b, rate := int(total%5000)+1, int(accounts%20)+1, int(batch%200)+1, float64(perSecond)+1
		plan := layOut(n, a, b, rate)
		count, calls := 0, []int{}
		for _, of := range plan {
			calls = append(calls, len(of))
			for i, c := range of {
				count += len(c.raws)
				if len(c.raws) == 0 || len(c.raws) > b || i > 0 && c.at <= of[i-1].at {
					return false
				}
			}
		}
		end := plan[(len(slices.Concat(plan...))-1)%a]
		last := end[len(end)-1].at
		return count == n && slices.Max(calls)-slices.Min(calls) <= 1 &&
			math.Abs(last.Seconds()-float64(n-1)/rate) < 1e-6
	}
	if err := quick.Check(law, nil); err != nil {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	if _, err := Run(context.Background(), Config{Rate: 1, Duration: time.Second}); !errors.Is(err, ErrConfig) {
		t.Errorf("without a target: Run = %v, want ErrConfig", err)
	}
	for name, c := range map[string]Config{
		"no rate":  {Rate: 0, Duration: time.Second},
		"too many": {Rate: 1e9, Duration: time.Hour},
		"NaN":      {Rate: math.NaN(), Duration: time.Second},
		"data":     {Rate: 1, Duration: time.Second, Data: 1 << 20},
		"batch":    {Rate: 1, Duration: time.Second, Batch: 5000},
	} {
		c.Targets, c.Keys = make([]*rpc.Client, 1), make([]*ecdsa.PrivateKey, 1)
		if err := c.Validate(); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: Validate() = %v, want ErrConfig", name, err)
		}
	}
}

// answers is a node as far as a load needs it: it answers calls, and batches until it is broken.
type answers struct {
	broken  bool
	sent    atomic.Int64
	batches atomic.Int64
}

func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	type request struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
	}
	type answer struct {
		Version string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Result  string          `json:"result"`
	}
	answered := func(q request) answer {
		result := "0x1"
		if q.Method == "eth_sendRawTransaction" {
			result = fmt.Sprintf("0x%064x", a.sent.Add(1))
		}
		return answer{"2.0", q.ID, result}
	}
	body, _ := io.ReadAll(r.Body)
	var batch []request
	var one request
	w.Header().Set("Content-Type", "application/json")
	switch {
	case json.Unmarshal(body, &one) == nil:
		_ = json.NewEncoder(w).Encode(answered(one))
	case json.Unmarshal(body, &batch) != nil || a.broken:
		http.Error(w, "gone", http.StatusServiceUnavailable)
	default:
		a.batches.Add(1)
		var all []answer
		for _, q := range batch {
			all = append(all, answered(q))
		}
		_ = json.NewEncoder(w).Encode(all)
	}
}

// target is a client of a node that answers so, and the key of an account.
func target(t *testing.T, node *answers) (*rpc.Client, *ecdsa.PrivateKey) {
	t.Helper()
	server := httptest.NewServer(node)
	t.Cleanup(server.Close)
	client, err := rpc.DialHTTP(t.Context(), server.URL, server.Client())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	key, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return client, key
}

// TestDeadTarget: what a target that fails does not take is refused, and what others take is not lost for it.
func TestDeadTarget(t *testing.T) {
	cfg := Config{Rate: 400, Duration: 100 * time.Millisecond, Batch: 5}
	for _, broken := range []bool{false, true} {
		client, key := target(t, &answers{broken: broken})
		cfg.Targets, cfg.Keys = append(cfg.Targets, client), append(cfg.Keys, key)
	}
	r, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var reasons, refused int
	for why, n := range r.Refused {
		if reasons, refused = reasons+1, refused+n; !strings.Contains(why, "503") {
			t.Errorf("%d were refused because of %q", n, why)
		}
	}
	if r.Sent != 40 || r.Accepted != 20 || refused != 20 || reasons != 1 {
		t.Errorf("of %d transactions %d were accepted, %d refused for %d reasons: want 40, 20, 20 and 1", r.Sent, r.Accepted, refused, reasons)
	}
}

// TestBatchIsOneCall: the largest batch is one request whatever its transfers carry, and a larger one is refused with the bound.
func TestBatchIsOneCall(t *testing.T) {
	node := new(answers)
	client, key := target(t, node)
	for _, c := range []struct{ data, most int }{{0, 100}, {4 << 10, 100}, {16 << 10, 27}, {32 << 10, 13}} {
		cfg := Config{Targets: []*rpc.Client{client}, Keys: []*ecdsa.PrivateKey{key}, Rate: 8 * float64(c.most), Duration: time.Second / 8, Data: c.data, Batch: c.most}
		node.batches.Store(0)
		if r, err := Run(t.Context(), cfg); err != nil || r.Accepted != c.most || r.Batch != c.most || node.batches.Load() != 1 {
			t.Errorf("%d bytes of data: Run = %+v, %v: %d calls for a batch of %d, want 1", c.data, r, err, node.batches.Load(), c.most)
		}
		cfg.Batch++
		if err := cfg.Validate(); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), fmt.Sprintf("use 1 to %d:", c.most)) {
			t.Errorf("%d bytes of data, a batch of %d: %v, want ErrConfig with the bound %d", c.data, cfg.Batch, err, c.most)
		}
		raws := slices.Repeat([][]byte{make([]byte, c.data+transferBytes)}, cfg.Batch)
		node.batches.Store(0)
		if _, err := client.SendBatch(t.Context(), raws); err != nil || node.batches.Load() != 2 {
			t.Errorf("%d transfers with %d bytes of data: %d calls, %v: the bound is not the client's", cfg.Batch, c.data, node.batches.Load(), err)
		}
	}
}

// TestRate: what is accepted as it was due is accepted at the rate that was wanted, however it is batched: a
// batch of 100 leaves a second after the first of its transactions was due.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, batch := range []int{1, 10, 100, 400} {
			r := &run{cfg: Config{Rate: 100, Batch: batch}, start: time.Now(), refused: map[string]int{}, blocks: map[common.Hash]time.Time{}, pending: map[common.Hash]struct{}{}}
			for _, c := range layOut(400, 1, batch, r.cfg.Rate)[0] {
				due := r.start.Add(c.at)
				time.Sleep(time.Until(due))
				r.answered(due, 0, make([]rpc.SendResult, len(c.raws)))
			}
			if got := r.result().Rate; math.Abs(got-100) > 1 {
				t.Errorf("batches of %d: %.1f/s accepted, want 100", batch, got)
			}
		}
	})
}

// TestPending: what is pending is what was accepted and is in no block, whichever was seen first.
func TestPending(t *testing.T) {
	r := &run{refused: map[string]int{}, blocks: map[common.Hash]time.Time{}, pending: map[common.Hash]struct{}{}}
	accept := func(n byte) { r.answered(time.Now(), 0, []rpc.SendResult{{Hash: common.Hash{n}}}) }
	for i, step := range []struct {
		do   func()
		want int
	}{
		{func() { accept(1) }, 1},
		{func() { accept(2) }, 2},
		{func() { r.seen([]common.Hash{{1}, {3}}) }, 1}, // 3 is in a block before its answer is here
		{func() { r.answered(time.Now(), 0, []rpc.SendResult{{Hash: common.Hash{4}, Err: errors.New("full")}}) }, 1},
		{func() { accept(3) }, 1},
		{func() { r.seen([]common.Hash{{2}, {1}}) }, 0},
	} {
		if step.do(); r.missing() != step.want {
			t.Errorf("step %d: %d are pending, want %d", i, r.missing(), step.want)
		}
	}
}

// BenchmarkProgress is what a look at a large load costs while its senders wait for the lock.
func BenchmarkProgress(b *testing.B) {
	r := &run{refused: map[string]int{}, blocks: map[common.Hash]time.Time{}, pending: map[common.Hash]struct{}{}}
	for i := range 100_000 {
		r.answered(time.Now(), 0, []rpc.SendResult{{Hash: common.BigToHash(big.NewInt(int64(i)))}})
	}
	for b.Loop() {
		r.missing()
	}
}

func TestLatencyOfLostIsInfinite(t *testing.T) {
	l := latency([]float64{3, 1, math.Inf(1), 2})
	if l.P50 != 2 || !math.IsInf(float64(l.P95), 1) || !math.IsInf(float64(l.Max), 1) {
		t.Errorf("latency = %v, want p50 2 and the rest infinite", l)
	}
	if l := latency(nil); l.P50.Valid() {
		t.Errorf("latency of nothing = %v, want no figure", l)
	}
}
