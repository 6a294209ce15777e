package mempool

import (
	"testing"

	"github.com/pheme-net/pheme/chain"
)

func TestNonceOrder(t *testing.T) {
	c, st := testCore(Config{}, 2, 1<<50)
	st.nonce[who(0)] = 3
	put(t, c, spec{from: 0, nonce: 5}, spec{from: 0, nonce: 7}, spec{from: 0, nonce: 3})
	wantShape(t, c, 0, "3 | 5 7")
	refused(t, c, spec{from: 0, nonce: 2}, ErrNonceTooLow)
	refused(t, c, spec{from: 0, nonce: 3}, ErrKnown)
	put(t, c, spec{from: 0, nonce: 4})
	wantShape(t, c, 0, "3 4 5 | 7")
	if got := c.nonce(who(0)); got != 6 {
		t.Fatalf("nonce() = %d, want 6", got)
	}
	if got := len(c.fresh); got != 3 {
		t.Fatalf("%d became executable, want 3", got)
	}
}

func TestGap(t *testing.T) {
	c, _ := testCore(Config{}, 2, 1<<50)
	refused(t, c, spec{from: 0, nonce: 64}, ErrNonceTooHigh) // 65 above -1
	put(t, c, spec{from: 0, nonce: 63})
	refused(t, c, spec{from: 0, nonce: 128}, ErrNonceTooHigh) // 65 above 63
	put(t, c, spec{from: 0, nonce: 127})
	wantShape(t, c, 0, "| 63 127")
	put(t, c, spec{from: 1, nonce: 0}, spec{from: 1, nonce: 64})
	wantShape(t, c, 1, "0 | 64")
}

func TestCumulativeCost(t *testing.T) {
	const one = transfer * (baseFee + 1)
	c, _ := testCore(Config{}, 1, 3*one+10)
	put(t, c, spec{nonce: 0, tip: 1}, spec{nonce: 2, tip: 1})
	refused(t, c, spec{nonce: 1, tip: 1, value: 11}, ErrInsufficientFunds) // the future one counts
	put(t, c, spec{nonce: 1, tip: 1, value: 10})
	refused(t, c, spec{nonce: 3, tip: 1}, ErrInsufficientFunds)
	refused(t, c, spec{nonce: 0, tip: 2, cap: 200}, ErrInsufficientFunds) // a replacement too
	wantShape(t, c, 0, "0 1 2 |")
}

func TestReplacement(t *testing.T) {
	for _, tt := range []struct {
		name       string
		tip, cap   uint64
		underpaid  bool
		wasTip     uint64
		wasCap     uint64
		futureOnly bool
	}{
		{name: "same", wasTip: 100, wasCap: 200, tip: 100, cap: 200, underpaid: true}, // known by hash, but for the value
		{name: "nine percent", wasTip: 1000, wasCap: 9000, tip: 1090, cap: 11_000, underpaid: true},
		{name: "only the tip", wasTip: 1000, wasCap: 9000, tip: 1100, cap: 9000, underpaid: true},
		{name: "only the cap", wasTip: 1000, wasCap: 9000, tip: 1000, cap: 11_000, underpaid: true},
		{name: "both", wasTip: 1000, wasCap: 9000, tip: 1100, cap: 10_000},
		{name: "from no tip", wasTip: 0, wasCap: 1000, tip: 1, cap: 1200},
		{name: "no tip twice", wasTip: 0, wasCap: 1000, tip: 0, cap: 1200, underpaid: true},
		{name: "future", wasTip: 1000, wasCap: 9000, tip: 1100, cap: 10_000, futureOnly: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := testCore(Config{}, 1, 1<<50)
			nonce := uint64(0)
			if tt.futureOnly {
				nonce = 5
			}
			put(t, c, spec{nonce: nonce, tip: tt.wasTip, cap: tt.wasCap})
			now := spec{nonce: nonce, tip: tt.tip, cap: tt.cap, value: 1}
			if tt.underpaid {
				refused(t, c, now, ErrReplaceUnderpriced)
				return
			}
			put(t, c, now)
			if c.dropped.Replaced != 1 || len(c.byHash) != 1 || c.byHash[now.tx().Hash()] == nil {
				t.Fatalf("pool holds %d, %d replaced", len(c.byHash), c.dropped.Replaced)
			}
			if err := c.check(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A replacement brings a proposer no less than what it replaces, also with less gas.
func TestReplacementPaysTheTotal(t *testing.T) {
	c, _ := testCore(Config{}, 2, 1<<60)
	const data = 10_000 // zero bytes, 4 gas each
	put(t, c, spec{nonce: 0, tip: 1000, cap: 2000, data: data})
	refused(t, c, spec{nonce: 0, tip: 1100, cap: 4000}, ErrReplaceUnderpriced) // an empty transfer, a tenth above
	const enough = 1000 * (transfer + 4*data) / transfer
	refused(t, c, spec{nonce: 0, tip: enough, cap: 4000}, ErrReplaceUnderpriced) // rounded down
	put(t, c, spec{nonce: 0, tip: enough + 1, cap: 4000})
	// What wallets do: the same a tenth dearer, then an empty transfer against a transfer.
	put(t, c, spec{from: 1, tip: 1000, cap: 2000, value: 5, data: data}, spec{from: 1, tip: 1100, cap: 2400, value: 5, data: data})
	put(t, c, spec{from: 1, nonce: 1, tip: 1000, cap: 2000, value: 5}, spec{from: 1, nonce: 1, tip: 1100, cap: 2400})
	if c.dropped.Replaced != 3 {
		t.Fatalf("%d replaced, want 3", c.dropped.Replaced)
	}
}

func TestEvictsCheapestTail(t *testing.T) {
	c, _ := testCore(Config{MaxCount: 4}, 9, 1<<50)
	put(t, c, spec{from: 0, nonce: 0, tip: 1}, spec{from: 0, nonce: 1, tip: 9}, spec{from: 1, tip: 5}, spec{from: 2, tip: 6})
	refused(t, c, spec{from: 3, tip: 5}, ErrUnderpriced)
	put(t, c, spec{from: 3, tip: 6}) // not sender 0's cheap first one: its tail is dear
	wantShape(t, c, 0, "0 1 |")
	wantShape(t, c, 1, "|")
	put(t, c, spec{from: 4, tip: 7}) // of the two with tip 6, the later one
	wantShape(t, c, 3, "|")
	wantShape(t, c, 2, "0 |")
	refused(t, c, spec{from: 4, nonce: 1, tip: 6}, ErrUnderpriced)
	put(t, c, spec{from: 4, nonce: 1, tip: 7})
	wantShape(t, c, 4, "0 1 |")
	if c.dropped.Evicted != 3 {
		t.Fatalf("evicted %d, want 3", c.dropped.Evicted)
	}
}

func TestNeverEvictsItsOwn(t *testing.T) {
	c, _ := testCore(Config{MaxCount: 2}, 1, 1<<50)
	put(t, c, spec{nonce: 0, tip: 1}, spec{nonce: 1, tip: 1})
	refused(t, c, spec{nonce: 2, tip: 100}, ErrFull)
	wantShape(t, c, 0, "0 1 |")
}

func TestWaitingForRoom(t *testing.T) {
	c, st := testCore(Config{MaxCount: 2}, 3, 1<<50)
	put(t, c, spec{from: 1, tip: 50}, spec{from: 2, tip: 60})
	put(t, c, spec{from: 0, nonce: 1, tip: 70})
	refused(t, c, spec{from: 0, nonce: 0, tip: 50}, ErrUnderpriced)
	put(t, c, spec{from: 0, nonce: 0, tip: 55}) // pushes out 50; its follower is worth 55 only
	wantShape(t, c, 0, "0 | 1")
	wantShape(t, c, 1, "|")
	if got := c.nonce(who(0)); got != 2 {
		t.Fatalf("nonce() = %d, want 2: the waiting one has no gap before it", got)
	}
	next := st.clone()
	next.nonce[who(2)] = 1 // included: there is room
	c.update(next, []moved{{addr: who(2)}}, 0)
	wantShape(t, c, 0, "0 1 |")
}

func TestSenderLimits(t *testing.T) {
	c, _ := testCore(Config{PerSender: 2, FuturePerSend: 2}, 1, 1<<50)
	put(t, c, spec{nonce: 3}, spec{nonce: 4})
	refused(t, c, spec{nonce: 5}, ErrSenderLimit)
	put(t, c, spec{nonce: 0}, spec{nonce: 1}) // the way for executable ones is never shut
	refused(t, c, spec{nonce: 2}, ErrSenderLimit)
	wantShape(t, c, 0, "0 1 | 3 4")
}

// One sender never fills the pool, however few and large its transactions are.
func TestSenderBytes(t *testing.T) {
	c, st := testCore(Config{MaxBytes: 1 << 20}, 2, 1<<60)
	if c.cfg.SenderBytes != 1<<17 {
		t.Fatalf("a sender may have %d bytes of %d", c.cfg.SenderBytes, c.cfg.MaxBytes)
	}
	const data = 32_000
	put(t, c, spec{from: 0, nonce: 0, tip: 1, data: 1000})
	for n := range uint64(6) { // four fit
		put(t, c, spec{from: 0, nonce: n + 1, tip: 1, data: data})
	}
	wantShape(t, c, 0, "0 1 2 3 4 | 5 6")
	put(t, c, spec{from: 1, tip: 1, data: data})
	refused(t, c, spec{from: 0, nonce: 0, tip: 2, cap: 400, data: data}, ErrSenderLimit) // it would grow
	put(t, c, spec{from: 0, nonce: 0, tip: 2, cap: 400, data: 1000})
	head(c, st, func(s *fakeState) { s.nonce[who(0)] = 2 }, moved{addr: who(0)})
	wantShape(t, c, 0, "2 3 4 5 | 6")
	// A reorg brings all back, above the cap.
	back := []*chain.Tx{spec{from: 0, nonce: 0, tip: 1, data: 1000}.tx(), spec{from: 0, nonce: 1, tip: 1, data: data}.tx()}
	if readded := head(c, st, func(*fakeState) {}, moved{who(0), back}); len(readded) != 2 || c.dropped.Crowded+c.dropped.Reverted != 0 {
		t.Fatalf("%d came back, %+v", len(readded), c.dropped)
	}
	wantShape(t, c, 0, "0 1 2 3 4 5 | 6")
}

func TestByteCap(t *testing.T) {
	size := spec{tip: 1, data: 1000}.tx().Size()
	c, _ := testCore(Config{MaxBytes: 3 * size}, 9, 1<<50)
	for i := range 3 {
		put(t, c, spec{from: i, tip: 1, data: 1000})
	}
	refused(t, c, spec{from: 3, tip: 1}, ErrUnderpriced)
	put(t, c, spec{from: 3, tip: 2}) // smaller: pushes one out
	put(t, c, spec{from: 4, tip: 1}) // there is room now
	refused(t, c, spec{from: 5, tip: 9, data: 4 * size}, ErrFull)
	put(t, c, spec{from: 0, tip: 2, cap: 200, data: 1000 - 10}) // a replacement that shrinks
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	if used := c.used[executable]; used.bytes > 3*size {
		t.Fatalf("%d bytes used, cap %d", used.bytes, 3*size)
	}
}

func TestExpire(t *testing.T) {
	c, _ := testCore(Config{}, 2, 1<<50)
	for i := range 5 {
		if err := c.add(spec{nonce: uint64(i), tip: 1}.tx(), who(0), int64(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.add(spec{nonce: 1, tip: 2, cap: 200}.tx(), who(0), 9); err != nil { // younger
		t.Fatal(err)
	}
	if n := c.expire(3); n != 2 {
		t.Fatalf("expired %d, want 2", n)
	}
	wantShape(t, c, 0, "| 1 3 4")
	if n := c.expire(100); n != 3 || len(c.accounts) != 0 {
		t.Fatalf("expired %d, %d accounts left", n, len(c.accounts))
	}
}
