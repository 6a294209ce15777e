package load

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"testing/quick"
	"time"
)

// TestLayOut: whatever the load, every transaction is in one call, no call leaves before its last
// transaction is due, the accounts share alike and each account's calls are in order.
func TestLayOut(t *testing.T) {
	law := func(total uint16, accounts, batch, perSecond uint8) bool {
		n, a, b, rate := int(total%5000)+1, int(accounts%20)+1, int(batch%200)+1, float64(perSecond)+1
		plan := layOut(n, a, b, rate)
		count, calls := 0, []int{}
		for _, of := range plan {
			calls = append(calls, len(of))
			for i, c := range of {
				count += len(c.raws)
				if len(c.raws) == 0 || len(c.raws) > b || i > 0 && c.at <= of[i-1].at {
					return false
				}
			}
		}
		end := plan[(len(slices.Concat(plan...))-1)%a]
		last := end[len(end)-1].at
		return count == n && slices.Max(calls)-slices.Min(calls) <= 1 &&
			math.Abs(last.Seconds()-float64(n-1)/rate) < 1e-6
	}
	if err := quick.Check(law, nil); err != nil {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]Config{
		"nothing":  {},
		"no rate":  {Rate: 0, Duration: time.Second},
		"too many": {Rate: 1e9, Duration: time.Hour},
		"NaN":      {Rate: math.NaN(), Duration: time.Second},
		"data":     {Rate: 1, Duration: time.Second, Data: 1 << 20},
		"batch":    {Rate: 1, Duration: time.Second, Batch: 5000},
	} {
		if _, err := Run(context.Background(), c); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: Run = %v, want ErrConfig", name, err)
		}
	}
}

func TestLatencyOfLostIsInfinite(t *testing.T) {
	l := latency([]float64{3, 1, math.Inf(1), 2})
	if l.P50 != 2 || !math.IsInf(float64(l.P95), 1) || !math.IsInf(float64(l.Max), 1) {
		t.Errorf("latency = %v, want p50 2 and the rest infinite", l)
	}
	if l := latency(nil); l.P50.Valid() {
		t.Errorf("latency of nothing = %v, want no figure", l)
	}
}
