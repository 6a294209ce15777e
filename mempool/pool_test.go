package mempool

import (
	"errors"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"

	"github.com/pheme-net/pheme/chain"
)

func testCore(cfg Config, l ledger) *core { return newCore(cfg.fill(), testGenesis(), l) }

// put adds and checks the invariants.
func put(t testing.TB, c *core, u user, o order, want error) *chain.Tx {
	t.Helper()
	tx := u.sign(t, o)
	if err := c.add(tx, u.addr, time.Time{}); !errors.Is(err, want) {
		t.Fatalf("add nonce %d tip %d = %v, want %v", o.nonce, o.tip, err, want)
	}
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	return tx
}

func TestRefusals(t *testing.T) {
	u := users(t, 2)
	l := ledger{}
	l.fund(u[0].addr, 10*order{tip: gwei}.cost())
	l[u[0].addr].Nonce = 5
	c := testCore(Config{FuturePerSend: 3}, l)

	put(t, c, u[0], order{nonce: 4, tip: gwei}, ErrNonceTooLow)
	first := put(t, c, u[0], order{nonce: 5, tip: gwei}, nil)
	put(t, c, u[0], order{nonce: 5, tip: gwei}, ErrKnown)
	put(t, c, u[0], order{nonce: 5, tip: gwei, value: 1}, ErrReplaceUnderpriced)
	put(t, c, u[0], order{nonce: 5, tip: gwei + gwei/20}, ErrReplaceUnderpriced)
	put(t, c, u[0], order{nonce: 6, tip: gwei, value: 9 * order{tip: gwei}.cost()}, ErrInsufficientFunds)
	put(t, c, u[1], order{}, ErrInsufficientFunds)
	put(t, c, u[0], order{nonce: 5 + 65, tip: gwei}, ErrNonceTooHigh)
	put(t, c, u[0], order{nonce: 5 + 64, tip: gwei}, nil)
	put(t, c, u[0], order{nonce: 8, tip: gwei}, nil)
	put(t, c, u[0], order{nonce: 9, tip: gwei}, nil)
	put(t, c, u[0], order{nonce: 10, tip: gwei}, ErrSenderLimit)
	put(t, c, u[0], order{nonce: 6, tip: gwei}, nil) // the next one is never locked out by future ones
	if got := c.nonce(u[0].addr); got != 7 {
		t.Fatalf("nonce() = %d, want 7", got)
	}
	put(t, c, u[0], order{nonce: 7, tip: gwei}, nil) // closes the gap to 8 and 9
	if got := c.nonce(u[0].addr); got != 10 {
		t.Fatalf("nonce() = %d, want 10", got)
	}
	put(t, c, u[0], order{nonce: 5, tip: 11 * gwei}, ErrInsufficientFunds) // it could pay for this one, not for the six together
	l[u[0].addr].Balance.Mul(&l[u[0].addr].Balance, uint256.NewInt(2))
	put(t, c, u[0], order{nonce: 5, tip: 5 * gwei}, nil)
	if c.byHash[first.Hash()] != nil {
		t.Fatal("the replaced transaction is still pooled")
	}
}

func TestBuildByTipInNonceOrder(t *testing.T) {
	u := users(t, 3)
	l := ledger{}
	for _, one := range u {
		l.fund(one.addr, 1<<62)
	}
	c := testCore(Config{}, l)
	put(t, c, u[0], order{nonce: 0, tip: 1}, nil)
	put(t, c, u[0], order{nonce: 1, tip: 90}, nil)
	put(t, c, u[1], order{nonce: 0, tip: 50}, nil)
	put(t, c, u[1], order{nonce: 2, tip: 99}, nil) // future
	put(t, c, u[2], order{nonce: 0, tip: 50}, nil)
	want := []struct {
		from  common.Address
		nonce uint64
	}{{u[1].addr, 0}, {u[2].addr, 0}, {u[0].addr, 0}, {u[0].addr, 1}}
	got := c.build(1<<20, 1<<40)
	if len(got) != len(want) {
		t.Fatalf("build() has %d transactions, want %d", len(got), len(want))
	}
	for i, w := range want {
		if from, _ := got[i].Sender(1337); from != w.from || got[i].Nonce() != w.nonce {
			t.Errorf("build()[%d] = nonce %d of %s, want %d of %s", i, got[i].Nonce(), from, w.nonce, w.from)
		}
	}
	if got := c.build(2*(got[0].Size()+framing), 1<<40); len(got) != 2 {
		t.Errorf("room for two transactions holds %d", len(got))
	}
	if got := c.build(1<<20, 3*transfer); len(got) != 3 {
		t.Errorf("gas for three transactions holds %d", len(got))
	}
}

func TestEvictionTakesTheCheapestTail(t *testing.T) {
	u := users(t, 4)
	l := ledger{}
	for _, one := range u {
		l.fund(one.addr, 1<<62)
	}
	c := testCore(Config{MaxCount: 4}, l)
	put(t, c, u[0], order{nonce: 0, tip: 10}, nil)
	put(t, c, u[0], order{nonce: 1, tip: 40}, nil)
	put(t, c, u[1], order{nonce: 0, tip: 30}, nil)
	cheap := put(t, c, u[1], order{nonce: 1, tip: 20}, nil)
	put(t, c, u[2], order{nonce: 0, tip: 20}, ErrUnderpriced)
	put(t, c, u[1], order{nonce: 2, tip: 90}, ErrUnderpriced) // would cost its own predecessor its place
	put(t, c, u[2], order{nonce: 0, tip: 21}, nil)
	if c.byHash[cheap.Hash()] != nil {
		t.Fatal("the cheapest tail is still pooled")
	}
	put(t, c, u[3], order{nonce: 0, tip: 22}, nil) // 21 goes: u0's 10 is no tail
	if got := c.nonce(u[0].addr); got != 2 {
		t.Fatalf("the first sender has %d executable, want 2", got)
	}
}

// TestOneLargeDoesNotEvictManySmall: fees of the evicted together are the price of the room.
func TestOneLargeDoesNotEvictManySmall(t *testing.T) {
	u := users(t, 20)
	l := ledger{}
	for _, one := range u {
		l.fund(one.addr, 1<<62)
	}
	c := testCore(Config{MaxBytes: 16 * 120}, l)
	for _, one := range u[:16] {
		put(t, c, one, order{tip: 1000}, nil)
	}
	put(t, c, u[16], order{tip: 1001, data: 1500}, ErrUnderpriced)
	put(t, c, u[17], order{tip: 16_000, data: 1000}, nil)
}

func TestSubscribersAndBudget(t *testing.T) {
	u := users(t, 2)
	l := ledger{}
	l.fund(u[0].addr, 1<<62)
	p, err := Open(Config{PeerRate: 1, PeerBurst: 2}, testGenesis(), l)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ch, end := p.Subscribe(8)
	p.Add([]*chain.Tx{u[0].sign(t, order{nonce: 1})})
	p.Add([]*chain.Tx{u[0].sign(t, order{nonce: 0})})
	for want := range uint64(2) {
		if tx := <-ch; tx.Nonce() != want {
			t.Fatalf("subscriber got nonce %d, want %d", tx.Nonce(), want)
		}
	}
	end()
	errs := p.AddFrom(7, []*chain.Tx{u[0].sign(t, order{nonce: 2}), u[0].sign(t, order{nonce: 3}), u[0].sign(t, order{nonce: 4})})
	if errs[0] != nil || errs[1] != nil || !errors.Is(errs[2], ErrBudget) {
		t.Fatalf("a peer with a burst of 2 got %v", errs)
	}
	if s := p.Stats(); s.Executable != 4 || s.Future != 0 {
		t.Fatalf("Stats() = %+v, want 4 executable", s)
	}
}

func TestBudgetIsBoundedAndRefills(t *testing.T) {
	b := newBudget(10, 20)
	now := time.Unix(0, 0)
	if got := b.take(now, 1, 100); got != 20 {
		t.Fatalf("take() = %d, want the burst of 20", got)
	}
	if got := b.take(now.Add(500*time.Millisecond), 1, 100); got != 5 {
		t.Fatalf("take() after half a second = %d, want 5", got)
	}
	for peer := range uint64(10 * maxBudgets) {
		b.take(now, peer, 1)
	}
	if len(b.peers) > maxBudgets {
		t.Fatalf("%d budgets are kept, want at most %d", len(b.peers), maxBudgets)
	}
}

func TestExpiry(t *testing.T) {
	u := users(t, 1)
	l := ledger{}
	l.fund(u[0].addr, 1<<62)
	c := testCore(Config{}, l)
	put(t, c, u[0], order{nonce: 0}, nil)
	tx := u[0].sign(t, order{nonce: 1})
	if err := c.add(tx, u[0].addr, time.Unix(100, 0)); err != nil {
		t.Fatal(err)
	}
	if got := c.expire(time.Unix(50, 0)); got != 1 {
		t.Fatalf("expire() = %d, want 1", got)
	}
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	if c.execs != 0 || len(c.futures) != 1 {
		t.Fatalf("%d executable and %d future, want 0 and 1", c.execs, len(c.futures))
	}
}
