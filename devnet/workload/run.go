package workload

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/rpc"
)

// Submitter takes signed transactions at one node; *rpc.Client is one.
type Submitter interface {
	SendBatch(ctx context.Context, raws [][]byte) ([]rpc.SendResult, error)
}

// Outcome is how submitting went.
type Outcome struct {
	Sent    int
	Refused int           // answered with an error
	Why     error         // the first of these
	Late    time.Duration // by how much the latest call left after its time
	Hashes  []common.Hash // of those taken, in no order
}

// Run submits every batch at its time after start, each node's in order, and returns when all are
// answered. It fails when a node cannot be reached; a refused transaction is counted.
func (p *Plan) Run(ctx context.Context, start time.Time, nodes []Submitter) (Outcome, error) {
	var mu sync.Mutex
	var out Outcome
	g, ctx := errgroup.WithContext(ctx)
	for i, batches := range p.Batches {
		g.Go(func() error {
			for _, b := range batches {
				late, err := sleepUntil(ctx, start.Add(b.At))
				if err != nil {
					return err
				}
				results, err := nodes[i].SendBatch(ctx, b.Raw)
				if err != nil {
					return fmt.Errorf("submit to node %d: %w", i, err)
				}
				mu.Lock()
				out.add(results, late)
				mu.Unlock()
			}
			return nil
		})
	}
	err := g.Wait()
	return out, err
}

// Take counts transactions that were placed in a pool, by what it said to each.
func (o *Outcome) Take(errs []error) {
	for _, err := range errs {
		o.Sent++
		if err != nil {
			o.Refused++
			o.Why = cmp.Or(o.Why, err)
		}
	}
}

func (o *Outcome) add(results []rpc.SendResult, late time.Duration) {
	o.Late = max(o.Late, late)
	for _, r := range results {
		o.Sent++
		if r.Err == nil {
			o.Hashes = append(o.Hashes, r.Hash)
			continue
		}
		o.Refused++
		if o.Why == nil {
			o.Why = r.Err
		}
	}
}

// sleepUntil waits for a time and says how late it is.
func sleepUntil(ctx context.Context, at time.Time) (late time.Duration, err error) {
	wait := time.Until(at)
	if wait <= 0 {
		return -wait, ctx.Err()
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return max(0, time.Since(at)), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
