package link

import (
	"math"
	"math/rand/v2"
	"time"
)

// Path is what the way from one node to another does to packets at one moment.
// A packet takes Min plus an exponentially distributed Jitter: a path has a
// floor that no packet beats, and a tail.
//
//	          |\
//	          | \
//	density   |  \___
//	          |      \______________
//	----------+----+-------+------------> one-way delay
//	         Min  median   p90           median = Min + ln2 x Jitter
//	               |-------|             p90 - median = ln5 x Jitter
type Path struct {
	Min    time.Duration // no packet is faster
	Jitter time.Duration // mean of what is added to Min
	Loss   float64       // share of packets lost, each alone
	// Reorder is the share of packets that arrive later by ReorderBy and are
	// overtaken meanwhile.
	Reorder   float64
	ReorderBy time.Duration
	Cut       bool // nothing passes
}

// NewPath returns a lossless path with the given median and p90 - p50 of its
// one-way delay: what latency tables state.
func NewPath(median, spread time.Duration) Path {
	mean := float64(spread) / math.Log(5)
	return Path{Min: median - time.Duration(mean*math.Ln2), Jitter: time.Duration(mean)}
}

// maxSpread is the largest p90 - p50 that a median allows: above it the
// smallest delay would be negative.
func maxSpread(median time.Duration) time.Duration {
	return time.Duration(float64(median) / math.Ln2 * math.Log(5))
}

// Median returns the median one-way delay.
func (p Path) Median() time.Duration { return p.Min + time.Duration(math.Ln2*float64(p.Jitter)) }

// Mean returns the mean one-way delay.
func (p Path) Mean() time.Duration { return p.Min + p.Jitter }

// Delay draws the one-way delay of a packet.
func (p Path) Delay(rng *rand.Rand) time.Duration {
	if p.Jitter <= 0 {
		return p.Min
	}
	return p.Min + time.Duration(rng.ExpFloat64()*float64(p.Jitter))
}

// Reordered draws by how much a train of packets is late because one of them
// was overtaken: a stream cannot go on without it.
func (p Path) Reordered(rng *rand.Rand, packets int) time.Duration {
	if p.Reorder <= 0 || rng.Float64() >= 1-math.Pow(1-p.Reorder, float64(packets)) {
		return 0
	}
	return p.ReorderBy
}

// Drops draws which of a number of packets are lost and calls lost with the
// index of each, in order. It skips from loss to loss, so that it costs no more
// than the losses there are.
func (p Path) Drops(rng *rand.Rand, packets int, lost func(i int)) {
	if p.Loss <= 0 {
		return
	}
	if p.Loss >= 1 {
		for i := range packets {
			lost(i)
		}
		return
	}
	scale := math.Log1p(-p.Loss)
	for i := 0; ; i++ {
		skip := math.Log(1-rng.Float64()) / scale // geometric; 1 - [0,1) is never zero
		if skip >= float64(packets-i) {
			return
		}
		i += int(skip)
		lost(i)
	}
}

// Packets returns how many packets n bytes fill: at least one.
func Packets(n int) int { return max(1, (n+PacketBytes-1)/PacketBytes) }
