package live

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/pheme-net/pheme/p2p/link"
)

// extend gives every node the same further change, due now, as a network of processes is given it.
func (l *lab) extend(c link.Change) {
	l.t.Helper()
	at := time.Since(l.start)
	for _, s := range l.shapers {
		if err := s.Extend([]link.Timed{{At: at, Do: c}}); err != nil {
			l.t.Fatal(err)
		}
	}
}

// roundTrip measures how long a byte and its answer take.
func (l *lab) roundTrip(a, b net.Conn) time.Duration {
	l.t.Helper()
	began := time.Now()
	var wg sync.WaitGroup
	wg.Go(func() {
		l.transfer(a, b, 1)
		l.transfer(b, a, 1)
	})
	wg.Wait()
	return time.Since(began)
}

// faster measures until a figure is below what the slowed path allows: a busy machine takes more tries, a slowed path never passes.
func faster(than time.Duration, measure func() time.Duration) {
	for measure() >= than {
	}
}

// TestChangesAreOfThePath: a change of delay or rate that comes while connections are open is met by what they carry from then on,
// and by nobody it does not speak of.
func TestChangesAreOfThePath(t *testing.T) {
	const near, added = 10 * time.Millisecond, 200 * time.Millisecond
	const fast, slow, size = 40 * link.Mbit, 2 * link.Mbit, 100 << 10
	l := newLab(t, config(t, 3, "uniform:10ms:0s", fast))
	a, b := l.dial(0, 1)
	c, d := l.dial(0, 2)
	slowed := 2 * (near + added)
	trip := func() time.Duration { return l.roundTrip(a, b) }
	least := func(what string, want time.Duration, measure func() time.Duration) {
		t.Helper()
		for range 2 {
			if got := measure(); got.Seconds() < want.Seconds()*0.98 {
				t.Errorf("%s takes %v, less than the %v it must", what, got, want)
			}
		}
	}
	least("a round trip", 2*near, trip)
	faster(slowed, trip)

	l.extend(link.Slow{A: []int{0}, B: []int{1}, Add: added})
	faster(time.Hour, trip) // what was under way
	least("a round trip on the slowed path", slowed, trip)
	faster(slowed, func() time.Duration { return l.roundTrip(c, d) })

	l.extend(link.Restore{A: []int{0}, B: []int{1}})
	faster(slowed, trip)

	out := func() time.Duration { return l.transfer(a, b, size) }
	faster(slow.Time(size), out)
	l.extend(link.Rates{Nodes: []int{0}, Up: slow, Down: fast})
	out()
	least("100 KiB over the slowed uplink", slow.Time(size), out)
	faster(slow.Time(size), func() time.Duration { return l.transfer(b, a, size) })

	l.extend(link.Rates{Nodes: []int{0}, Up: fast, Down: slow})
	faster(slow.Time(size), out)
	l.transfer(b, a, size)
	least("100 KiB over the slowed downlink", slow.Time(size), func() time.Duration { return l.transfer(b, a, size) })
}
