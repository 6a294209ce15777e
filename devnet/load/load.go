package load

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/devnet/stats"
	"github.com/pheme-net/pheme/rpc"
)

// ErrConfig is wrapped by every complaint about a load that cannot be sent.
var ErrConfig = errors.New("load")

const (
	maxTxs     = 2_000_000              // signed beforehand: about 600 bytes each
	watchEvery = 25 * time.Millisecond  // the resolution of inclusion times
	patience   = 30 * time.Second       // for what is not in a block when the last was sent
	maxReasons = 16                     // kinds of refusals that are told apart
	settle     = 100 * time.Millisecond // between the last preparation and the first transaction
)

// MaxBatch is what rpc.Client sends in one request: larger batches would be several calls under the name of one.
const MaxBatch = rpc.SendBatchTxs

const transferBytes = 160 // at most, of a signed transfer without its data

// Config is a load.
type Config struct {
	Targets  []*rpc.Client       // nodes, by turns
	Keys     []*ecdsa.PrivateKey // funded accounts; each sends through one target
	Rate     float64             // transactions a second, over all accounts
	Duration time.Duration       // of sending
	Data     int                 // bytes each transfer carries
	Batch    int                 // transactions a call, at most MaxBatch and what one takes; 0 and 1: eth_sendRawTransaction alone
	Include  bool                // wait for blocks
	Progress func(Progress)      // may be nil; called about once a second
}

// Progress is where a load stands.
type Progress struct {
	Sent, Accepted, Included, Total int
	Left                            time.Duration // of sending
}

// Result is what came of a load. Latencies are in milliseconds.
type Result struct {
	Sent     int            `json:"sent"`
	Accepted int            `json:"accepted"`
	Refused  map[string]int `json:"refused,omitempty"` // by the node's words
	Included int            `json:"included"`
	Wanted   float64        `json:"rate_wanted"`      // transactions a second
	Rate     float64        `json:"rate_accepted"`    // accepted, over the time from the start of the schedule to the last answer
	Submit   Latency        `json:"submit_ms"`        // from the time it should leave to the answer
	Include  Latency        `json:"include_ms"`       // to the first sight of its block; never included is infinite
	Late     float64        `json:"late_ms"`          // by how much the latest call left after its time
	Batch    int            `json:"batch"`            // transactions a call
	Targets  int            `json:"targets"`          //
	Watch    float64        `json:"include_every_ms"` // resolution of include_ms
}

// Latency holds nearest-rank percentiles in milliseconds.
type Latency struct {
	P50 stats.Number `json:"p50"`
	P95 stats.Number `json:"p95"`
	P99 stats.Number `json:"p99"`
	Max stats.Number `json:"max"`
}

// sent is one transaction's course.
type sent struct {
	hash      common.Hash
	due       time.Time
	submitted float64 // ms from due to the answer
}

// run is a load under way.
type run struct {
	cfg   Config
	plan  [][]call // by account
	total int
	start time.Time // of the schedule

	mu       sync.Mutex
	last     time.Time // answer
	late     time.Duration
	count    int // sent
	accepted []sent
	refused  map[string]int
	blocks   map[common.Hash]time.Time // first sight of each transaction in a block
	pending  map[common.Hash]struct{}  // accepted and in no block yet
}

// Validate says what is wrong with a load. Errors wrap ErrConfig.
func (c *Config) Validate() error {
	total := c.Rate * c.Duration.Seconds()
	switch {
	case len(c.Targets) == 0 || len(c.Keys) == 0:
		return fmt.Errorf("%w: no target or no account", ErrConfig)
	case c.Rate <= 0 || math.IsNaN(c.Rate) || c.Duration <= 0 || total < 1:
		return fmt.Errorf("%w: %g transactions a second for %v is none: raise --rate or --duration", ErrConfig, c.Rate, c.Duration)
	case total > maxTxs:
		return fmt.Errorf("%w: %.0f transactions are more than the %d that can be signed beforehand: lower --rate or --duration", ErrConfig, total, maxTxs)
	case c.Data < 0 || c.Data > 32<<10:
		return fmt.Errorf("%w: %d bytes of data: a transaction has at most 32 KiB", ErrConfig, c.Data)
	case c.Batch < 0 || c.Batch > maxBatch(c.Data):
		return fmt.Errorf("%w: batches of %d with %d bytes of data each: use 1 to %d: one call takes %d transactions and %d KiB of their hex",
			ErrConfig, c.Batch, c.Data, maxBatch(c.Data), MaxBatch, rpc.SendBatchBytes>>10)
	}
	return nil
}

// maxBatch is how many transfers that carry data bytes are one call, at least.
func maxBatch(data int) int {
	return min(MaxBatch, rpc.SendBatchBytes/(2*(data+transferBytes)+rpc.SendCallBytes))
}

// Run sends the load and returns what came of it. A refused transaction is counted, not an error.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Batch = max(1, cfg.Batch)
	r := &run{cfg: cfg, refused: make(map[string]int), blocks: make(map[common.Hash]time.Time), pending: make(map[common.Hash]struct{})}
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	head, err := cfg.Targets[0].BlockNumber(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask %s for its head: %w", cfg.Targets[0].Target(), err)
	}
	r.start = time.Now().Add(settle)
	watch, stopWatch := context.WithCancel(ctx)
	defer stopWatch()
	g, ctx := errgroup.WithContext(ctx)
	var senders errgroup.Group
	for i, calls := range r.plan {
		senders.Go(func() error { return r.send(ctx, i, calls) })
	}
	g.Go(func() error {
		defer stopWatch()
		if err := senders.Wait(); err != nil {
			return err
		}
		return r.settle(watch)
	})
	if cfg.Include {
		g.Go(func() error { return r.watch(watch, head) })
	}
	g.Go(func() error { r.report(watch); return nil })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return r.result(), nil
}

// send makes one account's calls at their times.
func (r *run) send(ctx context.Context, account int, calls []call) error {
	target := r.cfg.Targets[account%len(r.cfg.Targets)]
	for _, c := range calls {
		due := r.start.Add(c.at)
		if err := sleep(ctx, time.Until(due)); err != nil {
			return err
		}
		late := time.Since(due)
		var results []rpc.SendResult
		if r.cfg.Batch == 1 {
			results = make([]rpc.SendResult, 1)
			results[0].Hash, results[0].Err = target.SendRaw(ctx, c.raws[0])
		} else {
			results = sendBatch(ctx, target, c.raws)
		}
		r.answered(due, late, results)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// sendBatch sends what shares a call. Where the call itself fails, all of it that has no answer was refused.
func sendBatch(ctx context.Context, target *rpc.Client, raws [][]byte) []rpc.SendResult {
	results, err := target.SendBatch(ctx, raws)
	if err == nil {
		return results
	}
	if cause := errors.Unwrap(err); cause != nil {
		err = cause // which transactions they were makes no other reason of it
	}
	for len(results) < len(raws) {
		results = append(results, rpc.SendResult{Err: err})
	}
	return results
}

func (r *run) answered(due time.Time, late time.Duration, results []rpc.SendResult) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = now
	r.late = max(r.late, late)
	for _, one := range results {
		r.count++
		if one.Err == nil {
			r.accepted = append(r.accepted, sent{one.Hash, due, ms(now.Sub(due))})
			if _, in := r.blocks[one.Hash]; !in {
				r.pending[one.Hash] = struct{}{}
			}
			continue
		}
		why := one.Err.Error()
		if _, known := r.refused[why]; !known && len(r.refused) >= maxReasons {
			why = "other reasons"
		}
		r.refused[why]++
	}
}

// settle waits until everything accepted is in a block, or nobody can expect it any more.
func (r *run) settle(ctx context.Context) error {
	if !r.cfg.Include {
		return nil
	}
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if r.missing() == 0 {
			return nil
		}
		if err := sleep(ctx, watchEvery); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) missing() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.pending)
}

// watch looks for new blocks at the first target until ctx ends.
func (r *run) watch(ctx context.Context, head uint64) error {
	target := r.cfg.Targets[0]
	for {
		number, err := target.BlockNumber(ctx)
		for err == nil && head < number {
			var block struct {
				Transactions []common.Hash `json:"transactions"`
			}
			if err = target.Call(ctx, &block, "eth_getBlockByNumber", fmt.Sprintf("0x%x", head+1), false); err == nil {
				r.seen(block.Transactions)
				head++
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("watch blocks at %s: %w", target.Target(), err)
		}
		if sleep(ctx, watchEvery) != nil {
			return nil
		}
	}
}

func (r *run) seen(hashes []common.Hash) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range hashes {
		if _, known := r.blocks[h]; !known {
			r.blocks[h] = now
			delete(r.pending, h)
		}
	}
}

// report calls Progress about once a second until ctx ends.
func (r *run) report(ctx context.Context) {
	for r.cfg.Progress != nil && sleep(ctx, time.Second) == nil {
		r.mu.Lock()
		p := Progress{Sent: r.count, Accepted: len(r.accepted), Total: r.total, Left: max(0, r.cfg.Duration-time.Since(r.start))}
		p.Included = p.Accepted - len(r.pending)
		r.mu.Unlock()
		r.cfg.Progress(p)
	}
}

// sleep waits, unless ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
