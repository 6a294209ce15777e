package mempool

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"
	"pgregory.net/rapid"

	"github.com/pheme-net/pheme/chain"
)

// model is the pool as one would explain it: every sender's transactions by nonce, all limits
// recomputed from scratch at each step.
type model struct {
	cfg    Config
	state  ledger
	queues map[common.Address]map[uint64]*chain.Tx
}

func (m *model) executable(addr common.Address) []*chain.Tx {
	var out []*chain.Tx
	for n := m.state.Nonce(addr); m.queues[addr][n] != nil; n++ {
		out = append(out, m.queues[addr][n])
	}
	return out
}

func (m *model) owed(addr common.Address) *uint256.Int {
	sum := new(uint256.Int)
	for _, tx := range m.queues[addr] {
		sum.Add(sum, tx.Cost())
	}
	return sum
}

// machine runs a core and a model side by side. The caps are generous to the model, so that it need
// not know eviction; the core of a second machine has tight caps and is held to the invariants only.
type machine struct {
	t     *testing.T
	users []user
	state ledger
	core  *core
	tight *core
	model *model
	spent map[common.Hash]bool
}

func newMachine(t *testing.T) *machine {
	m := &machine{t: t, users: users(t, 5), state: ledger{}, spent: make(map[common.Hash]bool)}
	for _, u := range m.users {
		m.state.fund(u.addr, 12*order{tip: gwei}.cost())
	}
	wide := Config{}.fill()
	m.core = newCore(wide, testGenesis(), m.state)
	m.tight = newCore(Config{MaxCount: 7, MaxBytes: 1500, MaxFuture: 3, MaxFutureBytes: 600, PerSender: 4}.fill(), testGenesis(), m.state)
	m.model = &model{cfg: wide, state: m.state, queues: make(map[common.Address]map[uint64]*chain.Tx)}
	return m
}

// want is the model's answer to an addition, and its effect.
func (m *model) add(tx *chain.Tx, from common.Address) error {
	q := m.queues[from]
	old := q[tx.Nonce()]
	next := m.state.Nonce(from)
	for n := range q {
		next = max(next, n+1)
	}
	exec := len(m.executable(from))
	total := new(uint256.Int).Add(m.owed(from), tx.Cost())
	switch {
	case old != nil && old.Hash() == tx.Hash():
		return ErrKnown
	case tx.Nonce() < m.state.Nonce(from):
		return ErrNonceTooLow
	case old != nil:
		for _, f := range [][2]*uint256.Int{{old.FeeCap(), tx.FeeCap()}, {old.TipCap(), tx.TipCap()}} {
			tenth := new(uint256.Int).Div(new(uint256.Int).Mul(f[0], uint256.NewInt(110)), uint256.NewInt(100))
			if !f[1].Gt(f[0]) || f[1].Lt(tenth) {
				return ErrReplaceUnderpriced
			}
		}
		total.Sub(total, old.Cost())
	case tx.Nonce() >= next+m.cfg.MaxGap:
		return ErrNonceTooHigh
	case tx.Nonce() != m.state.Nonce(from)+uint64(exec) && len(q)-exec >= m.cfg.FuturePerSend:
		return ErrSenderLimit
	}
	if total.Gt(m.state.Balance(from)) {
		return ErrInsufficientFunds
	}
	if q == nil {
		q = make(map[uint64]*chain.Tx)
		m.queues[from] = q
	}
	q[tx.Nonce()] = tx
	return nil
}

func (m *machine) add(who int, o order) {
	u := m.users[who]
	tx := u.sign(m.t, o)
	if m.spent[tx.Hash()] {
		return
	}
	want := m.model.add(tx, u.addr)
	if got := m.core.add(tx, u.addr, time.Time{}); !errors.Is(got, want) {
		m.t.Fatalf("add(%d, %+v) = %v, the model says %v", who, o, got, want)
	}
	before := maps.Clone(m.tight.byHash)
	execs := make(map[common.Hash]bool)
	for _, a := range m.tight.accounts {
		for _, e := range a.txs[:a.exec] {
			execs[e.tx.Hash()] = true
		}
	}
	m.tight.add(tx, u.addr, time.Time{})
	for hash, e := range before { // E7: who leaves was executable only if the newcomer pays more
		left := m.tight.byHash[hash] == nil
		replaced := e.sender.addr == u.addr && e.tx.Nonce() == tx.Nonce()
		if tip := tx.EffectiveTip(testGenesis().BaseFee); left && !replaced && execs[hash] && !tip.Gt(&e.tip) && !m.promoted(tx) {
			m.t.Fatalf("tip %s evicted an executable tip %s", &tip, &e.tip)
		}
	}
}

// promoted tells whether tx closed a gap, so that what followed it may have evicted too.
func (m *machine) promoted(tx *chain.Tx) bool {
	e := m.tight.byHash[tx.Hash()]
	if e == nil {
		return false
	}
	i, _ := e.sender.find(tx.Nonce())
	return i+1 < e.sender.exec
}

// include makes a block of the first n of what would be built, applied to the state by hand.
func (m *machine) include(n int) {
	txs := m.core.build(1<<20, 1<<40)
	for _, tx := range txs[:min(n, len(txs))] {
		from, _ := tx.Sender(1337)
		m.state[from].Nonce++
		m.state[from].Balance.Sub(&m.state[from].Balance, tx.Cost())
		delete(m.model.queues[from], tx.Nonce())
		m.spent[tx.Hash()] = true
	}
	for _, c := range []*core{m.core, m.tight} {
		for _, a := range slices.Collect(maps.Values(c.accounts)) {
			c.rebase(a)
			c.promote(a)
		}
		c.trimFuture()
	}
}

func (m *machine) check() {
	for name, c := range map[string]*core{"wide": m.core, "tight": m.tight} {
		if err := c.check(); err != nil {
			m.t.Fatalf("%s pool: %v", name, err)
		}
		for hash := range c.byHash {
			if m.spent[hash] {
				m.t.Fatalf("%s pool: %s is in the chain", name, hash)
			}
		}
	}
	for _, u := range m.users {
		want := m.model.executable(u.addr)
		var got []*chain.Tx
		if a := m.core.accounts[u.addr]; a != nil {
			got, _ = a.queues()
			if len(a.txs) != len(m.model.queues[u.addr]) {
				m.t.Fatalf("%s has %d queued, the model %d", u.addr, len(a.txs), len(m.model.queues[u.addr]))
			}
		}
		if !slices.Equal(got, want) {
			m.t.Fatalf("%s has %d executable, the model %d", u.addr, len(got), len(want))
		}
	}
}

// step decodes one operation from four bytes.
func (m *machine) step(op [4]byte) {
	switch op[0] % 8 {
	case 7:
		m.include(int(op[1] % 8))
	case 6: // money comes in
		a := m.state[m.users[op[1]%5].addr]
		a.Balance.AddUint64(&a.Balance, uint64(op[2])*gwei*transfer)
	default:
		u := m.users[op[1]%5]
		m.add(int(op[1]%5), order{
			nonce: m.state.Nonce(u.addr) + uint64(op[2]%12) - min(m.state.Nonce(u.addr), uint64(op[0]%2)),
			tip:   uint64(1+op[3]%16) * gwei / 8,
			data:  int(op[3]/16) * 20,
		})
	}
	m.check()
}

func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		m := newMachine(t)
		for _, op := range rapid.SliceOfN(rapid.Uint32(), 1, 80).Draw(r, "operations") {
			m.step([4]byte{byte(op), byte(op >> 8), byte(op >> 16), byte(op >> 24)})
		}
	})
}

func FuzzPoolMachine(f *testing.F) {
	f.Add([]byte{0, 0, 0, 8, 0, 0, 1, 8, 0, 1, 0, 9, 7, 3, 0, 0, 0, 0, 5, 200, 6, 0, 9, 0})
	f.Fuzz(func(t *testing.T, ops []byte) {
		m := newMachine(t)
		for ; len(ops) >= 4; ops = ops[4:] {
			m.step([4]byte(ops))
		}
	})
}
