package devnet

import (
	"context"
	"fmt"
	"time"

	"github.com/pheme-net/pheme/p2p/trace"
	"github.com/pheme-net/pheme/rpc"
)

// probes is how often a node's clock is read for one estimate: the fastest answer counts.
const probes = 32

// reading is one estimate of how far a node's clock is ahead of ours, in nanoseconds. The truth is
// within bound of offset, however the round trip was split between the two ways (Cristian 1989).
type reading struct {
	at     int64 // on our clock
	offset int64
	bound  int64 // half the round trip
}

// readClock asks a node for its clock a few times and keeps the tightest answer.
func readClock(ctx context.Context, ours trace.Clock, c *rpc.Client) (reading, error) {
	var best reading
	for i := range probes {
		sent := ours.Now()
		theirs, err := c.Clock(ctx)
		if err != nil {
			return best, fmt.Errorf("read the clock of %s: %w", c.Target(), err)
		}
		if r := estimate(sent, theirs.At, ours.Now()); i == 0 || r.bound < best.bound {
			best = r
		}
	}
	return best, nil
}

// estimate is what one question tells: asked at sent, answered by the time got, with their clock
// at theirs somewhere in between.
func estimate(sent, theirs, got int64) reading {
	middle := sent + (got-sent)/2
	return reading{at: middle, offset: theirs - middle, bound: (got-sent)/2 + 1}
}

// clockMap translates a node's clock into ours, from one estimate before a run and one after it:
// between them the offset is taken to drift evenly.
type clockMap struct{ before, after reading }

// ours translates. The error is at most bound as long as the drift is even.
func (m clockMap) ours(theirs int64) int64 {
	span := m.after.at - m.before.at
	if span <= 0 {
		return theirs - m.before.offset
	}
	// First as if the offset did not drift, which is wrong by less than drift squared.
	share := float64(theirs-m.before.offset-m.before.at) / float64(span)
	return theirs - m.before.offset - int64(share*float64(m.after.offset-m.before.offset))
}

// bound is how far a translated instant may be off.
func (m clockMap) bound() time.Duration {
	return time.Duration(max(m.before.bound, m.after.bound))
}
