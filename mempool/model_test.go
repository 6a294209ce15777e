package mempool

import (
	"errors"
	"maps"
	"slices"
	"sort"

	"github.com/ethereum/go-ethereum/common"

	"github.com/pheme-net/pheme/chain"
)

// model is the pool as one would first write it: a list, searched from end to end
// for every question. It shares no code with the core but the arithmetic of fees.
type model struct {
	cfg  Config
	st   *fakeState
	list []*pooled // in the order of arrival
	lift usage     // PerSender and SenderBytes for now, if those are less
	seq  int
}

type pooled struct {
	tx   *chain.Tx
	from common.Address
	tip  uint64
	seq  int
	at   int64
	exec bool
}

func (x *pooled) nonce() uint64 { return x.tx.Nonce() }
func (x *pooled) fee() uint64   { return x.tip * x.tx.GasUsed() }

func tipOf(tx *chain.Tx) uint64 {
	return min(tx.TipCap().Uint64(), tx.FeeCap().Uint64()-baseFee)
}

// of lists what a sender has in one pool, by nonce.
func (m *model) of(from common.Address, exec bool) []*pooled {
	var out []*pooled
	for _, x := range m.list {
		if x.from == from && x.exec == exec {
			out = append(out, x)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].nonce() < out[j].nonce() })
	return out
}

func (m *model) cost(from common.Address) (sum uint64) {
	for _, x := range m.list {
		if x.from == from {
			sum += x.tx.Cost().Uint64()
		}
	}
	return sum
}

func (m *model) next(from common.Address) uint64 {
	return m.st.nonce[from] + uint64(len(m.of(from, true)))
}

func (m *model) execBytes(from common.Address) (sum int) {
	for _, x := range m.of(from, true) {
		sum += x.tx.Size()
	}
	return sum
}

func (m *model) allows(x *pooled) bool {
	return len(m.of(x.from, true)) < max(m.cfg.PerSender, m.lift.count) && m.execBytes(x.from)+x.tx.Size() <= max(m.cfg.SenderBytes, m.lift.bytes)
}

func (m *model) find(hash common.Hash) *pooled {
	for _, x := range m.list {
		if x.tx.Hash() == hash {
			return x
		}
	}
	return nil
}

func (m *model) delete(x *pooled) {
	m.list = slices.DeleteFunc(m.list, func(o *pooled) bool { return o == x })
}

func (m *model) full(exec bool, count, bytes int) bool {
	maxCount, maxBytes := m.cfg.MaxFuture, m.cfg.MaxFutureBytes
	if exec {
		maxCount, maxBytes = m.cfg.MaxCount, m.cfg.MaxBytes
	}
	for _, x := range m.list {
		if x.exec == exec {
			count++
			bytes += x.tx.Size()
		}
	}
	return count > maxCount || bytes > maxBytes
}

// victim is the tail with the lowest tip, of equals the latest, of all senders but one.
func (m *model) victim(exec bool, but common.Address) (worst *pooled) {
	for _, x := range m.list {
		if x.exec != exec || x.from == but {
			continue
		}
		queue := m.of(x.from, exec)
		if queue[len(queue)-1] != x {
			continue
		}
		if worst == nil || x.tip < worst.tip || x.tip == worst.tip && x.seq > worst.seq {
			worst = x
		}
	}
	return worst
}

func (m *model) makeRoom(exec bool, x *pooled, count, bytes int) error {
	if !m.full(exec, count, bytes) {
		return nil
	}
	if exec && bytes > m.cfg.MaxBytes || !exec && bytes > m.cfg.MaxFutureBytes {
		return ErrFull // larger than the pool
	}
	was := slices.Clone(m.list)
	bid := x.tip
	if exec {
		for _, before := range m.of(x.from, true) {
			if before.nonce() < x.nonce() {
				bid = min(bid, before.tip)
			}
		}
	}
	fees := uint64(0)
	for m.full(exec, count, bytes) {
		v := m.victim(exec, x.from)
		if v == nil {
			m.list = was
			return ErrFull
		}
		if fees += v.fee(); bid <= v.tip || fees > x.fee() {
			m.list = was
			return ErrUnderpriced
		}
		m.delete(v)
	}
	return nil
}

func (m *model) add(tx *chain.Tx, from common.Address, at int64) error {
	x := &pooled{tx: tx, from: from, tip: tipOf(tx), seq: m.seq, at: at}
	if m.find(tx.Hash()) != nil {
		return ErrKnown
	}
	if x.nonce() < m.st.nonce[from] {
		return ErrNonceTooLow
	}
	if err := m.enter(x); err != nil {
		return err
	}
	m.seq++
	m.promote(from)
	return nil
}

func (m *model) enter(x *pooled) error {
	balance, cost := m.st.balance[x.from], x.tx.Cost().Uint64()
	for _, old := range m.list {
		if old.from != x.from || old.nonce() != x.nonce() {
			continue
		}
		for _, fee := range [][2]uint64{{old.tx.FeeCap().Uint64(), x.tx.FeeCap().Uint64()}, {old.tx.TipCap().Uint64(), x.tx.TipCap().Uint64()}} {
			if fee[1] <= fee[0] || fee[1] < fee[0]*110/100 {
				return ErrReplaceUnderpriced
			}
		}
		if x.fee() < old.fee() {
			return ErrReplaceUnderpriced
		}
		if m.cost(x.from)-old.tx.Cost().Uint64()+cost > balance {
			return ErrInsufficientFunds
		}
		if grow := x.tx.Size() - old.tx.Size(); grow > 0 {
			if old.exec && m.execBytes(x.from)+grow > max(m.cfg.SenderBytes, m.lift.bytes) {
				return ErrSenderLimit
			}
			if err := m.makeRoom(old.exec, x, 0, grow); err != nil {
				return err
			}
		}
		x.exec = old.exec
		m.delete(old)
		m.list = append(m.list, x)
		return nil
	}
	waits := m.of(x.from, false)
	x.exec = x.nonce() == m.next(x.from) && m.allows(x)
	if !x.exec {
		last := m.next(x.from)
		if len(waits) > 0 {
			last = waits[len(waits)-1].nonce() + 1
		}
		if x.nonce() > last+m.cfg.MaxGap-1 {
			return ErrNonceTooHigh
		}
		if len(waits) >= m.cfg.FuturePerSend {
			return ErrSenderLimit
		}
	}
	if m.cost(x.from)+cost > balance {
		return ErrInsufficientFunds
	}
	if err := m.makeRoom(x.exec, x, 1, x.tx.Size()); err != nil {
		return err
	}
	m.list = append(m.list, x)
	return nil
}

func (m *model) promote(from common.Address) {
	for _, x := range m.of(from, false) {
		if x.nonce() != m.next(from) || !m.allows(x) || m.makeRoom(true, x, 1, x.tx.Size()) != nil {
			return
		}
		x.exec = true
	}
}

// update is the reorg and the import of blocks: back are the reverted transactions
// of each sender, accounts those to look at, in order.
func (m *model) update(st *fakeState, accounts []moved, at int64) (readded []common.Hash) {
	was := m.st
	m.st = st
	for _, mv := range accounts {
		if st.nonce[mv.addr] >= was.nonce[mv.addr] {
			m.settle(mv.addr)
		}
	}
	for _, mv := range accounts {
		m.lift = usage{len(m.of(mv.addr, true)) + len(mv.back), m.execBytes(mv.addr)}
		for _, tx := range mv.back {
			m.lift.bytes += tx.Size()
		}
		if st.nonce[mv.addr] < was.nonce[mv.addr] {
			for _, x := range m.of(mv.addr, true) {
				x.exec = false
			}
			m.settle(mv.addr)
		}
		for _, tx := range mv.back {
			if tx.Nonce() < st.nonce[mv.addr] {
				continue
			}
			for m.cost(mv.addr)+tx.Cost().Uint64() > st.balance[mv.addr] {
				last := m.lastOf(mv.addr)
				if last == nil || last.nonce() <= tx.Nonce() {
					break
				}
				m.delete(last)
			}
			if m.add(tx, mv.addr, at) == nil {
				readded = append(readded, tx.Hash())
			}
		}
		m.promote(mv.addr)
		m.lift = usage{}
	}
	for _, mv := range accounts {
		m.promote(mv.addr)
		m.trimSender(mv.addr)
	}
	m.trim()
	m.promoteAll()
	return readded
}

func (m *model) settle(from common.Address) {
	for _, x := range slices.Clone(m.list) {
		if x.from == from && x.nonce() < m.st.nonce[from] {
			m.delete(x)
		}
	}
	for m.cost(from) > m.st.balance[from] {
		m.delete(m.lastOf(from))
	}
}

func (m *model) lastOf(from common.Address) *pooled {
	all := append(m.of(from, true), m.of(from, false)...)
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1]
}

func (m *model) trimSender(from common.Address) {
	for q := m.of(from, false); len(q) > m.cfg.FuturePerSend; q = m.of(from, false) {
		gapless := true
		for i, x := range q {
			gapless = gapless && x.nonce() == m.next(from)+uint64(i)
		}
		if gapless {
			return
		}
		m.delete(q[len(q)-1])
	}
}

func (m *model) trim() {
	for m.full(false, 0, 0) {
		m.delete(m.victim(false, common.Address{}))
	}
}

// promoteAll lets every sender whose next one waits for room try again.
func (m *model) promoteAll() {
	var first []*pooled
	for _, x := range m.list {
		if !x.exec && x.nonce() == m.next(x.from) {
			first = append(first, x)
		}
	}
	sort.Slice(first, func(i, j int) bool {
		if first[i].tip != first[j].tip {
			return first[i].tip > first[j].tip
		}
		return first[i].seq < first[j].seq
	})
	for _, x := range first {
		m.promote(x.from)
	}
}

func (m *model) remove(hash common.Hash) {
	x := m.find(hash)
	if x == nil {
		return
	}
	m.delete(x)
	if x.exec {
		for _, o := range m.of(x.from, true) {
			o.exec = o.nonce() < x.nonce()
		}
	}
	m.promote(x.from)
	m.trimSender(x.from)
	m.trim()
}

func (m *model) expire(before int64) {
	var old []*pooled
	for _, x := range m.list {
		if x.at < before {
			old = append(old, x)
		}
	}
	sort.Slice(old, func(i, j int) bool { return old[i].seq < old[j].seq })
	for _, x := range old {
		m.remove(x.tx.Hash())
	}
	m.promoteAll()
}

// same tells whether model and core hold the same, in the same pools.
func (m *model) same(c *core) bool {
	want := make(map[common.Hash]bool)
	for _, x := range m.list {
		want[x.tx.Hash()] = x.exec
	}
	got := make(map[common.Hash]bool)
	for hash, e := range c.byHash {
		_, _, exec := executableOf(e)
		got[hash] = exec
	}
	return maps.Equal(want, got)
}

func executableOf(e *entry) (pool, i int, exec bool) {
	pool, i, _ = e.from.find(e.nonce())
	return pool, i, pool == executable
}

// kind reduces an error to its sentinel.
func kind(err error) error {
	for _, s := range []error{ErrKnown, ErrNonceTooLow, ErrNonceTooHigh, ErrInsufficientFunds, ErrReplaceUnderpriced, ErrUnderpriced, ErrFull, ErrSenderLimit} {
		if errors.Is(err, s) {
			return s
		}
	}
	return err
}
