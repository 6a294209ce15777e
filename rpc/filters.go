package rpc

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// maxFilterItems bounds what a filter collects between two polls; one that passes it
// is dropped, and its client told so at the next poll.
const maxFilterItems = 10_000

type filterKind int

const (
	filterBlocks filterKind = iota
	filterTxs
	filterLogs // never finds any: there are no logs
)

// filters are the polled twins of subscriptions (eth_newBlockFilter and so on). One
// mutex guards all; nothing waits under it. Unpolled filters are swept when another is
// made or polled.
type filters struct {
	max     int
	timeout time.Duration

	mu   sync.Mutex
	byID map[string]*filter
	txs  int // filters that want transactions
	held shares
}

type filter struct {
	kind   filterKind
	from   netip.Addr // of who made it
	polled time.Time
	items  []common.Hash
}

func newFilters(max int, timeout time.Duration) *filters {
	return &filters{max: max, timeout: timeout, byID: make(map[string]*filter), held: newShares(max)}
}

// add returns the id of a new filter of a client.
func (f *filters) add(kind filterKind, from netip.Addr) (string, error) {
	id := newID()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sweep()
	if len(f.byID) >= f.max {
		return "", fmt.Errorf("all %d filters are in use: end one with eth_uninstallFilter, or subscribe over a WebSocket", f.max)
	}
	if !f.held.take(from, 1) {
		return "", fmt.Errorf("your address has %d filters already: end one with eth_uninstallFilter, or subscribe over a WebSocket", f.held.each)
	}
	f.byID[id] = &filter{kind: kind, from: from, polled: time.Now()}
	if kind == filterTxs {
		f.txs++
	}
	return id, nil
}

// poll returns what a filter of one of these kinds collected since the last poll, never nil.
func (f *filters) poll(id string, kinds ...filterKind) ([]common.Hash, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sweep()
	flt := f.byID[id]
	if flt == nil || !slices.Contains(kinds, flt.kind) {
		return nil, errNoFilter
	}
	items := flt.items
	flt.items, flt.polled = nil, time.Now()
	if items == nil {
		items = []common.Hash{}
	}
	return items, nil
}

// remove forgets a filter and reports whether it was there.
func (f *filters) remove(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.drop(id)
}

func (f *filters) drop(id string) bool {
	flt := f.byID[id]
	if flt == nil {
		return false
	}
	delete(f.byID, id)
	f.held.give(flt.from, 1)
	if flt.kind == filterTxs {
		f.txs--
	}
	return true
}

func (f *filters) sweep() {
	now := time.Now()
	for id, flt := range f.byID {
		if now.Sub(flt.polled) > f.timeout {
			f.drop(id)
		}
	}
}

// wantTxs tells whether a filter collects transactions.
func (f *filters) wantTxs() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.txs > 0
}

// blocks and tx add to the filters that want them.
func (f *filters) blocks(ids []common.Hash) { f.collect(filterBlocks, ids) }

func (f *filters) tx(hash common.Hash) { f.collect(filterTxs, []common.Hash{hash}) }

func (f *filters) collect(kind filterKind, items []common.Hash) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if kind == filterTxs && f.txs == 0 {
		return
	}
	for id, flt := range f.byID {
		if flt.kind != kind {
			continue
		}
		flt.items = append(flt.items, items...)
		if len(flt.items) > maxFilterItems {
			f.drop(id)
		}
	}
}
