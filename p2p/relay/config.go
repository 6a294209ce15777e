package relay

import (
	"fmt"
	"time"
)

// Config holds what a relay can be told. A zero field means its default.
type Config struct {
	// Name is the relay for blocks of our own: gossip, compact, coded or auto.
	// Every relay understands what every other sends.
	Name string

	// Whole is the size in bytes of the transactions up to which a block travels
	// whole on the mesh.
	Whole int
	// Budget is how often a node sends one chunk; one that it has from its origin twice as
	// often. Peers that ask are not counted.
	Budget int
	// Tell is how long news of chunks is gathered before it is told to the mesh.
	Tell time.Duration
	// WindowStart, WindowMin and WindowMax are bytes under way to one peer.
	WindowStart, WindowMin, WindowMax int
	// Stall is how long a block may gain nothing before its peers are asked, but
	// at least two round trips.
	Stall time.Duration
	// Keep is how long chunks of a block that is complete are given to others
	// after the last one was taken.
	Keep time.Duration
}

func (c Config) fill() Config {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	dur := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	if c.Name == "" {
		c.Name = "auto"
	}
	def(&c.Whole, 16<<10) // less than a packet or two to each of eight peers: nothing to save
	def(&c.Budget, 3)     // 2 costs 4 % of time at 1 MiB and 27 % at 128 KiB, 4 gains nothing and 5 % for a copy more
	dur(&c.Tell, 5*time.Millisecond)
	def(&c.WindowStart, 64<<10) // twice what sixteen peers share of 50 Mbit/s over 100 ms: less would have to grow first where peers are few
	def(&c.WindowMin, 8<<10)    // two chunks of a block of 1 MiB, so that the path is not idle between them
	def(&c.WindowMax, 1<<20)
	dur(&c.Stall, 200*time.Millisecond)
	dur(&c.Keep, 3*time.Second)
	return c
}

func (c Config) validate() error {
	for _, f := range []struct {
		name string
		v    int64
	}{
		{"whole", int64(c.Whole)}, {"budget", int64(c.Budget)}, {"tell", int64(c.Tell)}, {"window start", int64(c.WindowStart)},
		{"window min", int64(c.WindowMin)}, {"window max", int64(c.WindowMax)}, {"stall", int64(c.Stall)}, {"keep", int64(c.Keep)},
	} {
		if f.v < 0 {
			return fmt.Errorf("relay: %s must not be negative", f.name)
		}
	}
	if c.Stall < minStall {
		return fmt.Errorf("relay: stall must be at least %v", minStall)
	}
	if c.WindowMin > c.WindowMax {
		return fmt.Errorf("relay: window min must not be above window max, %d bytes", c.WindowMax)
	}
	return nil
}

// minStall is what the ticker that looks after blocks can be set to a quarter of: see care.
const minStall = 4 * time.Nanosecond
