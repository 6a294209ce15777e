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
	filterKinds
)

// filters are the polled twins of subscriptions (eth_newBlockFilter and so on). One
// mutex guards all; nothing waits under it. Those that nobody polls, or that too much has
// come for, are swept when another is made or polled.
type filters struct {
	max     int
	timeout time.Duration

	mu   sync.Mutex
	byID map[string]*filter
	news [filterKinds]news
	held shares
}

type filter struct {
	kind   filterKind
	from   netip.Addr // of who made it
	polled time.Time
	next   int // number of the first hash it has not been polled for
}

// news is what the filters of one kind collect, kept once for all of them.
type news struct {
	filters int           // that there are; while there are none, nothing is kept
	came    int           // hashes, which are numbered from 0
	newest  []common.Hash // at most maxFilterItems; number i is at i%maxFilterItems
}

func (n *news) add(hash common.Hash) {
	if len(n.newest) < maxFilterItems {
		n.newest = append(n.newest, hash)
	} else {
		n.newest[n.came%maxFilterItems] = hash
	}
	n.came++
}

// between returns the hashes from one number up to another, all of which are kept. It is never nil.
func (n *news) between(from, to int) []common.Hash {
	hashes := make([]common.Hash, 0, to-from)
	for i := from; i < to; i++ {
		hashes = append(hashes, n.newest[i%maxFilterItems])
	}
	return hashes
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
	n := &f.news[kind]
	n.filters++
	f.byID[id] = &filter{kind: kind, from: from, polled: time.Now(), next: n.came}
	return id, nil
}

// waiting returns how many hashes a filter has for its next poll, none if it is not there.
func (f *filters) waiting(id string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sweep()
	flt := f.byID[id]
	if flt == nil {
		return 0
	}
	return f.news[flt.kind].came - flt.next
}

// poll returns the first max hashes that a filter of one of these kinds collected since the last poll, never nil.
func (f *filters) poll(id string, max int, kinds ...filterKind) ([]common.Hash, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sweep()
	flt := f.byID[id]
	if flt == nil || !slices.Contains(kinds, flt.kind) {
		return nil, errNoFilter
	}
	n, from := &f.news[flt.kind], flt.next
	flt.next, flt.polled = min(from+max, n.came), time.Now()
	return n.between(from, flt.next), nil
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
	n := &f.news[flt.kind]
	if n.filters--; n.filters == 0 {
		*n = news{}
	}
	return true
}

func (f *filters) sweep() {
	now := time.Now()
	for id, flt := range f.byID {
		if now.Sub(flt.polled) > f.timeout || f.news[flt.kind].came-flt.next > maxFilterItems {
			f.drop(id)
		}
	}
}

// wantTxs tells whether a filter collects transactions.
func (f *filters) wantTxs() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.news[filterTxs].filters > 0
}

// blocks and tx add to the filters that want them.
func (f *filters) blocks(ids []common.Hash) { f.collect(filterBlocks, ids...) }

func (f *filters) tx(hash common.Hash) { f.collect(filterTxs, hash) }

func (f *filters) collect(kind filterKind, hashes ...common.Hash) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := &f.news[kind]
	if n.filters == 0 {
		return
	}
	rounds := n.came / maxFilterItems
	for _, hash := range hashes {
		n.add(hash)
	}
	if n.came/maxFilterItems > rounds {
		f.sweep() // now and then, so that what nobody polls is not collected for ever
	}
}
