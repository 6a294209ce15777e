package devnet

import (
	"testing"
	"testing/quick"
	"time"
)

// TestWholeSlots: rates are sums over slots, so there is no part of one.
func TestWholeSlots(t *testing.T) {
	for _, c := range []struct{ asked, slot, want time.Duration }{
		{30 * time.Second, time.Second, 30 * time.Second},
		{2 * time.Second, 1500 * time.Millisecond, 1500 * time.Millisecond},
		{30 * time.Second, 12 * time.Second, 24 * time.Second},
		{time.Second, 1500 * time.Millisecond, 0},
	} {
		if got, err := wholeSlots(c.asked, c.slot); got != c.want || (err == nil) != (c.want > 0) {
			t.Errorf("wholeSlots(%v, %v) = %v, %v, want %v", c.asked, c.slot, got, err, c.want)
		}
	}
}

// TestClockBound: however a round trip is split and whatever the clocks' distance and drift, an instant
// is translated to within the bound.
func TestClockBound(t *testing.T) {
	law := func(ahead int64, drift int8, there, back [2]uint16, share uint16) bool {
		const run = int64(60e9)
		ahead %= 1 << 50
		theirs := func(ours int64) int64 { return ours + ahead + int64(drift)*ours/1_000_000 } // drift in ppm
		probe := func(sent int64, k int) reading {
			answered := sent + int64(there[k])*100 // up to 6.5 ms each way
			return estimate(sent, theirs(answered), answered+int64(back[k])*100)
		}
		m := clockMap{probe(0, 0), probe(run, 1)}
		at := run * int64(share) / (1 << 16)
		off := m.ours(theirs(at)) - at
		return abs(off) <= int64(m.bound())+2000 // 2 us: the square of the drift
	}
	if err := quick.Check(law, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
}

func TestClockFindsTheOffset(t *testing.T) {
	r := estimate(1000, 5_000_000, 3000)
	if r.offset != 5_000_000-2000 || r.bound != 1001 || r.at != 2000 {
		t.Errorf("estimate = %+v, want an offset of 4998000 within 1001", r)
	}
}
