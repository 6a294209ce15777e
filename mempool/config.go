package mempool

import (
	"fmt"
	"time"
)

// Config holds the limits of a pool. A zero field means its default.
type Config struct {
	MaxCount       int // executable transactions
	MaxBytes       int // raw bytes of the executable ones
	MaxFuture      int // future transactions
	MaxFutureBytes int
	PerSender      int // executable transactions of one sender
	FuturePerSend  int // future transactions of one sender
	MaxGap         uint64
	TTL            time.Duration // since a transaction came in

	PeerRate  int // transactions a second that one peer may offer
	PeerBurst int

	JournalPath string        // "" keeps no journal
	JournalSync bool          // fsync before an answer: survives power loss, not only a kill
	SyncEvery   time.Duration // answers that wait for one fsync together
}

func (c Config) fill() Config {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.MaxCount, 131_072)      // at 200 bytes and 500 bytes of overhead each: under 100 MB
	def(&c.MaxBytes, 64<<20)       // sixteen of the largest blocks
	def(&c.MaxFuture, 4096)        // second class: enough for reordered gossip
	def(&c.MaxFutureBytes, 16<<20) // a quarter of the executable pool's
	def(&c.PerSender, 4096)        // a busy sender fills a block alone; 32 of them fill the pool
	def(&c.FuturePerSend, 64)      // as many as MaxGap can open
	def(&c.PeerRate, 8000)         // half a core of signature checks
	def(&c.PeerBurst, 32_768)      // a whole backlog after a reconnection
	if c.MaxGap == 0 {
		c.MaxGap = 64
	}
	if c.TTL == 0 {
		c.TTL = 3 * time.Hour
	}
	if c.SyncEvery == 0 {
		c.SyncEvery = 2 * time.Millisecond
	}
	return c
}

func (c Config) validate() error {
	for _, f := range []struct {
		name string
		v    int
	}{
		{"MaxCount", c.MaxCount}, {"MaxBytes", c.MaxBytes}, {"MaxFuture", c.MaxFuture}, {"MaxFutureBytes", c.MaxFutureBytes},
		{"PerSender", c.PerSender}, {"FuturePerSend", c.FuturePerSend}, {"PeerRate", c.PeerRate}, {"PeerBurst", c.PeerBurst},
		{"TTL", int(c.TTL)}, {"SyncEvery", int(c.SyncEvery)},
	} {
		if f.v < 0 {
			return fmt.Errorf("mempool config: %s is negative: leave it out for the default", f.name)
		}
	}
	return nil
}
