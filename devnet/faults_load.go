package devnet

import (
	"context"
	"errors"

	"github.com/pheme-net/pheme/devnet/workload"
	"github.com/pheme-net/pheme/rpc"
)

var errNobodyUp = errors.New("no node is up to take transactions")

// failover is the client of a node that turns to the next one while its own is down or paused, as a
// person would: what a node does not take has another origin and is not lost.
type failover struct {
	faults *faultRun
	client func(i int) workload.Submitter // of a node that is up
	node   int
}

// submitters are those of a run's clients; without faults they are the nodes' own.
func (f *faultRun) submitters(client func(i int) workload.Submitter) []workload.Submitter {
	out := make([]workload.Submitter, len(f.names))
	for i := range out {
		if out[i] = (failover{f, client, i}); len(f.plan.Actions) == 0 {
			out[i] = client(i)
		}
	}
	return out
}

// SendBatch implements workload.Submitter.
func (s failover) SendBatch(ctx context.Context, raws [][]byte) ([]rpc.SendResult, error) {
	n := len(s.faults.names)
	for k := range n {
		i := (s.node + k) % n
		if !s.faults.up()[i] {
			continue
		}
		results, err := s.client(i).SendBatch(ctx, raws)
		if err == nil || ctx.Err() != nil || s.faults.up()[i] {
			return results, err
		}
	}
	return nil, errNobodyUp
}
