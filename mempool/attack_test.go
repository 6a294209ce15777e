package mempool

import (
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/pheme-net/pheme/chain"
)

// siege is a full pool of honest transactions, each of a sender that can pay for it.
type siege struct {
	core   *core
	ledger ledger
	honest map[common.Hash]uint64 // tip by transaction
}

const siegeTip = 1000

func newSiege(t *testing.T, n int) *siege {
	s := &siege{ledger: ledger{}, honest: make(map[common.Hash]uint64)}
	s.core = testCore(Config{MaxCount: n, MaxFuture: n / 4}, s.ledger)
	for _, u := range users(t, n) {
		s.ledger.fund(u.addr, 1<<50)
		s.honest[put(t, s.core, u, order{tip: siegeTip}, nil).Hash()] = siegeTip
	}
	if s.core.execs != n {
		t.Fatalf("the pool holds %d executable, want %d: the attack would meet room", s.core.execs, n)
	}
	return s
}

// offer adds whatever the answer is and returns whether it was taken.
func (s *siege) offer(t *testing.T, u user, o order) bool {
	t.Helper()
	tx := u.sign(t, o)
	err := s.core.add(tx, u.addr, time.Time{})
	if broken := s.core.check(); broken != nil {
		t.Fatal(broken)
	}
	return err == nil
}

// lost counts honest transactions that are gone.
func (s *siege) lost() int {
	n := 0
	for hash := range s.honest {
		if s.core.byHash[hash] == nil {
			n++
		}
	}
	return n
}

// attackers are users that no honest one shares.
func attackers(t *testing.T, s *siege, n int, wei uint64) []user {
	all := users(t, len(s.honest)+n)[len(s.honest):]
	for _, u := range all {
		s.ledger.fund(u.addr, wei)
	}
	return all
}

// TestFutureAttack is DETER-X: high-fee transactions that cannot run, to push out those that can.
func TestFutureAttack(t *testing.T) {
	s := newSiege(t, 64)
	taken := 0
	for _, u := range attackers(t, s, 8, 1<<60) {
		for n := range uint64(40) {
			if s.offer(t, u, order{nonce: n + 1, tip: 1_000_000 * siegeTip}) {
				taken++
			}
		}
	}
	if taken == 0 {
		t.Fatal("no future transaction was taken: the attack did not happen")
	}
	if n := s.lost(); n != 0 {
		t.Fatalf("%d executable transactions were evicted by future ones", n)
	}
}

// TestLatentOverdraftAttack is DETER-Z: a chain of transactions each of which its sender could pay
// for alone, but not together.
func TestLatentOverdraftAttack(t *testing.T) {
	s := newSiege(t, 64)
	o := order{tip: 10 * siegeTip}
	taken := 0
	for _, u := range attackers(t, s, 4, o.cost()) {
		for n := range uint64(30) {
			o.nonce = n
			if s.offer(t, u, o) {
				taken++
			}
		}
	}
	if taken != 4 {
		t.Fatalf("%d overdrawing transactions were taken, want one for each sender's balance", taken)
	}
	if n := s.lost(); n > taken {
		t.Fatalf("%d honest transactions evicted by %d that were paid for", n, taken)
	}
}

// TestLockingAttack fills the pool with long chains at the lowest fee; honest newcomers that pay
// more must get in.
func TestLockingAttack(t *testing.T) {
	l := ledger{}
	c := testCore(Config{MaxCount: 64}, l)
	all := users(t, 40)
	for _, u := range all {
		l.fund(u.addr, 1<<60)
	}
	for _, u := range all[:4] {
		for n := range uint64(16) {
			put(t, c, u, order{nonce: n, tip: 1}, nil)
		}
	}
	for _, u := range all[4:] {
		put(t, c, u, order{tip: 2}, nil)
	}
}

// TestReplaceInvalidateAttack replaces the first of a chain by one that spends everything, which
// would make its successors, and the evictions they caused, worthless.
func TestReplaceInvalidateAttack(t *testing.T) {
	s := newSiege(t, 64)
	o := order{tip: 2 * siegeTip}
	u := attackers(t, s, 1, 20*o.cost())[0]
	for n := range uint64(10) {
		o.nonce = n
		if !s.offer(t, u, o) {
			t.Fatalf("nonce %d was not taken: the attack did not happen", n)
		}
	}
	before := s.lost()
	if s.offer(t, u, order{nonce: 0, tip: 3 * siegeTip, value: 15 * o.cost()}) {
		t.Fatal("a replacement that leaves its successors unpaid was taken")
	}
	if s.core.nonce(u.addr) != 10 || s.lost() != before || before != 10 {
		t.Fatalf("after it: next nonce %d, %d honest lost, want 10 and 10", s.core.nonce(u.addr), s.lost())
	}
}

// TestMemPurgeAttack: one block spends an attacker's balance elsewhere, so that a whole chain in the
// pool dies at once. What dies is the attacker's; nothing honest goes with it.
func TestMemPurgeAttack(t *testing.T) {
	s := newSiege(t, 64)
	o := order{tip: 2 * siegeTip}
	u := attackers(t, s, 1, 30*o.cost())[0]
	for n := range uint64(20) {
		o.nonce = n
		s.offer(t, u, o)
	}
	before := s.lost()
	drain := u.sign(t, order{nonce: 0, tip: 9 * siegeTip, value: 25 * o.cost()})
	s.ledger[u.addr].Nonce = 1
	s.ledger[u.addr].Balance.SetUint64(4 * o.cost())
	s.core.state = s.ledger
	if a := s.core.accounts[u.addr]; a == nil {
		t.Fatal("the attacker's chain is not pooled: the attack did not happen")
	} else {
		s.core.rebase(a)
	}
	if err := s.core.check(); err != nil {
		t.Fatal(err)
	}
	if s.core.byHash[drain.Hash()] != nil || s.core.nonce(u.addr) != 5 {
		t.Fatalf("next nonce %d, want 5: one spent, four affordable", s.core.nonce(u.addr))
	}
	if s.lost() != before {
		t.Fatalf("%d honest transactions lost, %d before the purge", s.lost(), before)
	}
	var again []*chain.Tx
	for _, honest := range users(t, 64) {
		tx := honest.sign(t, order{tip: siegeTip})
		if s.core.byHash[tx.Hash()] == nil && s.core.add(tx, honest.addr, time.Time{}) == nil {
			again = append(again, tx)
		}
	}
	if len(again) != 16 {
		t.Fatalf("%d of the outpaid came back after the purge, want the 16 there is room for", len(again))
	}
}
