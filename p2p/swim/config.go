package swim

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Config says who the member is and how it behaves. The zero value of a duration
// or count is its default, filled in by New.
type Config struct {
	// ID is the member's own; Network separates networks: a record signed for one
	// is worth nothing in another.
	ID      ID
	Network string
	// Sign signs with the member's own key; Verify checks a signature by another's.
	Sign   func(msg []byte) ([]byte, error)
	Verify func(id ID, msg, sig []byte) bool
	// Cache is shared by the members of one process; nil: there is only one.
	Cache *Cache

	// ProbeInterval is how often a member probes another.
	ProbeInterval time.Duration
	// ProbeTimeout is how long the first probe of a member waits before others are
	// asked to probe it too. Later ones follow its measured round trip.
	ProbeTimeout time.Duration
	// IndirectProbes is how many are asked.
	IndirectProbes int
	// SuspicionMin is how long a suspicion lasts among ten members when enough
	// others confirm it; it grows with log10 N. Unconfirmed it lasts SuspicionMax
	// times as long.
	SuspicionMin time.Duration
	SuspicionMax int
	// Confirmations is how many other accusers shorten a suspicion to its minimum.
	Confirmations int
	// Verifiers is how many of those who hear of a suspicion probe the suspect at
	// once, on average.
	Verifiers int
	// GossipInterval and GossipNodes: while there is news, so many members are told
	// so often, beside what rides on probes.
	GossipInterval time.Duration
	GossipNodes    int
	// RetransmitMult times log10(N+1), rounded up, is how often one member passes
	// on one piece of news.
	RetransmitMult int
	// ReviveInterval is how often a member that was found dead is tried again.
	ReviveInterval time.Duration
	// DeadKeep is how long the dead are remembered.
	DeadKeep time.Duration
	// MaxMembers bounds the members known, alive or dead; an eighth of it is left to those who speak to us themselves.
	MaxMembers int
	// RefuteGap is the least time between two refutations of our own, each of which
	// costs a signature here and a check everywhere.
	RefuteGap time.Duration
	// AggregateInterval is the time between two rounds of aggregation; an epoch has
	// EpochRounds of them.
	AggregateInterval time.Duration
	EpochRounds       int
}

// ErrConfig is wrapped by every complaint about a Config.
var ErrConfig = errors.New("swim: bad configuration")

func (c Config) fill() (Config, error) {
	dur := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	dur(&c.ProbeInterval, 200*time.Millisecond) // among 100 a crash is met within 0.2 s on average, within 1.4 s in 99.7 %
	dur(&c.ProbeTimeout, 200*time.Millisecond)  // most round trips in the world; then each member's own
	def(&c.IndirectProbes, 3)                   // SWIM's and memberlist's: at 10 % loss 0.8 % of probes fail wrongly
	dur(&c.SuspicionMin, 500*time.Millisecond)  // times log10 N: 1 s among 100, twice what a refutation takes to reach all
	def(&c.SuspicionMax, 6)                     // memberlist's
	def(&c.Confirmations, 3)                    // Lifeguard's K
	def(&c.Verifiers, 10)                       // fewer than Confirmations of them probe in one case of 400
	dur(&c.GossipInterval, 100*time.Millisecond)
	def(&c.GossipNodes, 3)    // all of 100 in 5 to 6 rounds
	def(&c.RetransmitMult, 4) // memberlist's
	dur(&c.ReviveInterval, 5*time.Second)
	dur(&c.DeadKeep, 10*time.Minute) // longer than most partitions
	def(&c.MaxMembers, 8192)         // 5 MB
	dur(&c.RefuteGap, 100*time.Millisecond)
	dur(&c.AggregateInterval, 2*time.Second) // a quarter of what probing costs
	def(&c.EpochRounds, 32)                  // 2 log2 N rounds reach 2 %, for 65,536 members
	return c, c.validate()
}

func (c Config) validate() error {
	switch {
	case len(c.ID) == 0 || len(c.ID) > maxID:
		return fmt.Errorf("%w: an id of %d bytes: want 1 to %d", ErrConfig, len(c.ID), maxID)
	case c.Sign == nil || c.Verify == nil:
		return fmt.Errorf("%w: Sign and Verify are needed", ErrConfig)
	}
	for _, f := range []struct {
		name string
		v    int64
	}{
		{"ProbeInterval", int64(c.ProbeInterval)}, {"ProbeTimeout", int64(c.ProbeTimeout)}, {"IndirectProbes", int64(c.IndirectProbes)},
		{"SuspicionMin", int64(c.SuspicionMin)}, {"SuspicionMax", int64(c.SuspicionMax)}, {"Confirmations", int64(c.Confirmations)},
		{"Verifiers", int64(c.Verifiers)}, {"GossipInterval", int64(c.GossipInterval)}, {"GossipNodes", int64(c.GossipNodes)},
		{"RetransmitMult", int64(c.RetransmitMult)}, {"ReviveInterval", int64(c.ReviveInterval)}, {"DeadKeep", int64(c.DeadKeep)},
		{"MaxMembers", int64(c.MaxMembers)}, {"RefuteGap", int64(c.RefuteGap)}, {"AggregateInterval", int64(c.AggregateInterval)},
		{"EpochRounds", int64(c.EpochRounds)},
	} {
		if f.v < 0 {
			return fmt.Errorf("%w: %s must be above 0", ErrConfig, f.name)
		}
	}
	return nil
}

// log10 of n members, at least 1.
func log10(n int) float64 { return max(1, math.Log10(float64(n))) }

// suspicionMin is the shortest suspicion among n members.
func (c *Config) suspicionMin(n int) time.Duration {
	return time.Duration(float64(c.SuspicionMin) * log10(n))
}

// transmits is how often one piece of news is passed on among n members.
func (c *Config) transmits(n int) int {
	return c.RetransmitMult * int(math.Ceil(math.Log10(float64(n+1))))
}
