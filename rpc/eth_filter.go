package rpc

import (
	"context"
	"encoding/json"

	"github.com/ethereum/go-ethereum/common"
)

// NewBlockFilter collects the ids of blocks that become canonical from now on.
func (a *ethAPI) NewBlockFilter(ctx context.Context) (string, error) {
	return a.s.filters.add(filterBlocks, clientFrom(ctx))
}

// NewPendingTransactionFilter collects the hashes of transactions that become
// executable from now on.
func (a *ethAPI) NewPendingTransactionFilter(ctx context.Context) (string, error) {
	id, err := a.s.filters.add(filterTxs, clientFrom(ctx))
	a.s.broker.listen()
	return id, err
}

// NewFilter makes a filter for logs, which finds none: there are no contracts.
func (a *ethAPI) NewFilter(ctx context.Context, _ json.RawMessage) (string, error) {
	return a.s.filters.add(filterLogs, clientFrom(ctx))
}

// GetFilterChanges returns what a filter collected since the last call. The memory for it is leased before: what the
// filter has given it does not give again.
func (a *ethAPI) GetFilterChanges(ctx context.Context, id string) ([]common.Hash, error) {
	n := a.s.filters.waiting(id)
	if err := reserve(ctx, n*roomTxHash); err != nil {
		return nil, err
	}
	return a.s.filters.poll(id, n, filterBlocks, filterTxs, filterLogs)
}

// GetFilterLogs returns no logs, of a filter for logs.
func (a *ethAPI) GetFilterLogs(id string) ([]common.Hash, error) {
	return a.s.filters.poll(id, 0, filterLogs)
}

// GetLogs returns no logs: there are no contracts.
func (a *ethAPI) GetLogs(json.RawMessage) []common.Hash { return []common.Hash{} }

// UninstallFilter ends a filter and reports whether it was there.
func (a *ethAPI) UninstallFilter(id string) bool {
	return a.s.filters.remove(id)
}
