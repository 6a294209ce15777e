package mempool

import (
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"

	"github.com/pheme-net/pheme/chain"
)

// siege is a full pool of honest senders with tips of 10 to 29, and an attacker
// with as many accounts as it likes. After every move of the attacker it checks
// that no honest executable transaction was evicted without being outpaid, and
// that the attacker's fees in the pool cover all that it evicted.
type siege struct {
	t      *testing.T
	c      *core
	st     *fakeState
	honest map[common.Hash]*entry
	lost   int
	lostTo uint64 // the highest tip among the lost
}

const (
	siegePool   = 200
	firstHonest = 10_000 // the numbers of honest senders; attackers have those below
)

func newSiege(t *testing.T, cfg Config) *siege {
	cfg.MaxCount = siegePool
	c, st := testCore(cfg, 0, 0)
	s := &siege{t: t, c: c, st: st}
	for i := range siegePool / 4 {
		st.balance[who(firstHonest+i)] = 1 << 40
		for n := range uint64(4) {
			put(t, c, spec{from: firstHonest + i, nonce: n, tip: 10 + uint64(i*7+int(n)*3)%20})
		}
	}
	s.honest = executables(c)
	return s
}

// fund gives attackers a balance.
func (s *siege) fund(from, to int, balance uint64) {
	for i := from; i < to; i++ {
		s.st.balance[who(i)] = balance
	}
}

// send is one move. It reports whether the pool admitted it.
func (s *siege) send(x spec) bool {
	s.t.Helper()
	before := executables(s.c)
	err := s.c.add(x.tx(), who(x.from), 0)
	after := executables(s.c)
	if oops := outpaid(before, after, who(x.from)); oops != nil {
		s.t.Fatalf("%+v: %v", x, oops)
	}
	for hash, e := range before {
		if after[hash] == nil && s.honest[hash] != nil {
			s.lost++
			s.lostTo = max(s.lostTo, e.tip.Uint64())
		}
	}
	return err == nil
}

// end checks the books and how many honest transactions were evicted, each of which was outpaid.
func (s *siege) end(lost int) {
	s.t.Helper()
	if err := s.c.check(); err != nil {
		s.t.Fatal(err)
	}
	if s.lost != lost {
		s.t.Fatalf("%d honest executable transactions evicted, want %d", s.lost, lost)
	}
}

// DETER-X (CCS'21, CVE-2022-23327): a flood of future transactions with high fees.
func TestAttackFuture(t *testing.T) {
	s := newSiege(t, Config{MaxFuture: 100})
	s.fund(0, 100, 1<<50)
	for i := range 100 {
		for n := uint64(1); n < 12; n++ {
			s.send(spec{from: i, nonce: n, tip: 100_000})
		}
	}
	s.end(0)
	if got := s.c.used[future].count; got != 100 {
		t.Fatalf("%d future transactions, want the cap of 100", got)
	}
	s.send(spec{from: 0, nonce: 0, tip: 1}) // filling a gap is not free
	s.end(0)
	s.send(spec{from: 0, nonce: 0, tip: 11}) // what it hides comes along, but at its price
	if s.lost == 0 || s.lostTo > 10 {
		t.Fatalf("a tip of 11 pushed out %d up to a tip of %d", s.lost, s.lostTo)
	}
}

// The same from 820 accounts of few transactions each (Besu #4525).
func TestAttackFutureSybils(t *testing.T) {
	s := newSiege(t, Config{MaxFuture: 100, FuturePerSend: 5})
	s.fund(0, 820, 1<<50)
	for i := range 820 {
		for n := uint64(1); n < 7; n++ {
			s.send(spec{from: i, nonce: n, tip: 100_000})
		}
	}
	s.end(0)
}

// DETER-Z (CCS'21, CVE-2022-23328): each is affordable alone, all together are not.
func TestAttackLatentOverdraft(t *testing.T) {
	const tip = 50
	s := newSiege(t, Config{})
	s.fund(0, 1, 3*transfer*(baseFee+tip))
	admitted := 0
	for n := range uint64(60) {
		if s.send(spec{from: 0, nonce: n, tip: tip}) {
			admitted++
		}
	}
	s.end(3)
	if admitted != 3 {
		t.Fatalf("%d admitted, the balance pays for 3", admitted)
	}
}

// The same in one batch and by way of future transactions (go-ethereum #33492).
func TestAttackBatchOverdraft(t *testing.T) {
	w := newWorld(1)
	w.st.balance[w.addr(0)] = 3 * transfer * (baseFee + 1)
	p := w.open(t, Config{}, osDisk{})
	var batch []*chain.Tx
	for n := range uint64(20) {
		batch = append(batch, w.sign(spec{nonce: 19 - n, tip: 1}))
	}
	admitted := 0
	for _, err := range p.Add(batch) {
		if err == nil {
			admitted++
		}
	}
	if s := p.Stats(); admitted != 3 || s.Executable+s.Future != 3 {
		t.Fatalf("%d admitted and %+v pooled, the balance pays for 3", admitted, s)
	}
	if err := p.core.check(); err != nil {
		t.Fatal(err)
	}
}

// MemPurge (USENIX Security'24): fill the pool with chains, then make them invalid
// at their root, so that what they pushed out was pushed out for nothing.
func TestAttackMemPurge(t *testing.T) {
	const tip, chainLength = 40, 4
	s := newSiege(t, Config{})
	s.fund(0, 50, chainLength*transfer*(baseFee+tip)+1000)
	for i := range 50 {
		for n := range uint64(chainLength) {
			s.send(spec{from: i, nonce: n, tip: tip})
		}
	}
	if s.lost != siegePool {
		t.Fatalf("%d outpaid, want all %d: the attacker pays for each place", s.lost, siegePool)
	}
	for i := range 50 { // a root that spends what the others need
		drain := spec{from: i, nonce: 0, tip: 2 * tip, cap: 300, value: chainLength * transfer * baseFee / 2}
		if s.send(drain) {
			t.Fatalf("sender %d made its own chain invalid", i)
		}
		wantShape(t, s.c, i, "0 1 2 3 |")
	}
	s.end(siegePool)
}

// A chain that a block does make invalid leaves at once, and those that still
// come find its room free.
func TestAttackDrainInBlock(t *testing.T) {
	s := newSiege(t, Config{})
	s.fund(0, 1, 100*transfer*(baseFee+50))
	for n := range uint64(100) {
		s.send(spec{from: 0, nonce: n, tip: 50})
	}
	s.end(100)
	next := s.st.clone()
	next.nonce[who(0)], next.balance[who(0)] = 1, 0
	s.c.update(next, []moved{{addr: who(0)}}, 0)
	s.st = next
	if s.c.accounts[who(0)] != nil {
		t.Fatal("overdrawn transactions stayed")
	}
	for _, e := range s.honest {
		if s.c.byHash[e.tx.Hash()] == nil {
			if err := s.c.add(e.tx, e.from.addr, 0); err != nil {
				t.Fatalf("an honest one finds no way back: %v", err)
			}
		}
	}
	s.end(100)
}

// Locking (mpfuzz, USENIX Security'24): a pool full of the cheapest chains must not
// keep out anyone who pays more, also where their tails pretend to be dear.
func TestAttackLocking(t *testing.T) {
	cfg := Config{MaxCount: siegePool, PerSender: 10}
	c, st := testCore(cfg, 0, 0)
	s := &siege{t: t, c: c, st: st}
	s.fund(0, 100, 1<<50)
	for i := range siegePool / 10 {
		for n := range uint64(10) {
			s.send(spec{from: i, nonce: n, tip: 1})
		}
	}
	if c.used[executable].count != siegePool {
		t.Fatal("the pool is not full")
	}
	for i := range siegePool / 10 { // 1 000 000 behind a 1 is worth 1: it pushes nobody out
		if s.send(spec{from: i, nonce: 10, tip: 1_000_000}) && c.shape(i) != "0 1 2 3 4 5 6 7 8 9 | 10" {
			t.Fatal("a dear tail behind cheap ones pushed others out")
		}
	}
	for i := 40; i < 100; i++ {
		if !s.send(spec{from: i, nonce: 0, tip: 2}) {
			t.Fatalf("sender %d pays more than anyone in the pool and is kept out", i)
		}
	}
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
}

// Replace and invalidate: a replacement never takes the ground from under others,
// its own or foreign.
func TestAttackReplace(t *testing.T) {
	s := newSiege(t, Config{})
	s.fund(0, 1, 4*transfer*(baseFee+50)+500*transfer)
	for n := range uint64(4) {
		s.send(spec{from: 0, nonce: n, tip: 50})
	}
	s.end(4)
	for try := range uint64(40) { // cheap to relay for ever if a wei more were enough
		s.send(spec{from: 0, nonce: try % 4, tip: 51 + try/4, cap: 50 + try})
	}
	if got := s.c.dropped.Replaced; got != 0 {
		t.Fatalf("%d replaced for less than a tenth more", got)
	}
	for try := range uint64(40) {
		s.send(spec{from: 0, nonce: 0, tip: 60 + try*10, cap: 150 + 110*try})
	}
	if got := s.c.dropped.Replaced; got == 0 || got > 5 {
		t.Fatalf("%d replaced, want only the few that are paid for", got)
	}
	wantShape(t, s.c, 0, "0 1 2 3 |")
	s.end(4)
}

// One large transaction must pay for all the small ones it needs the room of.
func TestAttackLargeForSmall(t *testing.T) {
	size := spec{from: firstHonest, tip: 10}.tx().Size()
	s := newSiege(t, Config{MaxBytes: siegePool * size})
	s.fund(0, 2, 1<<50)
	large := spec{from: 0, tip: 30, data: 100 * size} // above every honest tip
	if s.send(large) {
		t.Fatal("admitted for less than what it evicts")
	}
	s.end(0)
	large.tip = 2000
	if !s.send(large) {
		t.Fatal("refused although it pays for the room it takes")
	}
}

// Whatever random attackers do, what is evicted for them costs them at least as much.
func TestAttackCost(t *testing.T) {
	s := newSiege(t, Config{MaxFuture: 50})
	s.fund(0, 30, 1<<34)
	var worth uint256.Int
	for _, e := range s.honest {
		fee := e.fee()
		worth.Add(&worth, &fee)
	}
	for i := range 2000 {
		x := uint64(i)*2654435761 + 12345
		s.send(spec{from: int(x>>7) % 30, nonce: (x >> 13) % 12, tip: (x >> 19) % 60, cap: (x >> 23) % 400, data: int(x>>29) % 3 * 40})
	}
	var now uint256.Int
	for _, e := range executables(s.c) {
		fee := e.fee()
		now.Add(&now, &fee)
	}
	if now.Lt(&worth) {
		t.Fatalf("the full pool was worth %s wei of fees and now is worth %s", worth.Dec(), now.Dec())
	}
	if s.lost == 0 {
		t.Fatal("no attack got through: the test shows nothing")
	}
}
