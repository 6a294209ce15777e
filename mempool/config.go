package mempool

import (
	"errors"
	"fmt"
	"time"

	"github.com/pheme-net/pheme/chain"
)

// ErrConfig is wrapped by what Open says of a limit that cannot be one.
var ErrConfig = errors.New("mempool config")

// Config holds the limits of a pool. A zero field means its default.
type Config struct {
	MaxCount       int // executable transactions
	MaxBytes       int // their raw bytes
	MaxFuture      int // future transactions
	MaxFutureBytes int // their raw bytes
	PerSender      int // executable transactions of one sender
	SenderBytes    int // their raw bytes
	FuturePerSend  int // future transactions of one sender
	MaxGap         uint64
	TTL            time.Duration // since a transaction came in

	PeerRate  int // transactions not pooled that one peer may offer in a second
	PeerBurst int // and at once after a pause

	JournalPath string        // "" keeps no journal
	JournalSync bool          // fsync before an answer: survives power loss, not only a kill
	SyncEvery   time.Duration // least time between two fsyncs; answers in between share one
}

// Defaults is what a pool uses that is told nothing.
func Defaults() Config {
	var c Config
	c.fill()
	return c
}

func (c *Config) fill() {
	number := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	number(&c.MaxCount, 131_072)      // transfers take 1.1 KiB each in memory: 140 MiB
	number(&c.MaxBytes, 64<<20)       // sixteen of the largest blocks
	number(&c.MaxFuture, 4096)        // enough for reordered gossip of 64 busy senders
	number(&c.MaxFutureBytes, 16<<20) // a quarter of MaxBytes, like its worth
	number(&c.PerSender, 4096)        // a faucet or load generator fills a block alone, 32 of them the pool
	// An eighth: eight senders fill the pool, not one. The largest transaction always fits.
	number(&c.SenderBytes, max(c.MaxBytes/8, chain.MaxTxBytes))
	number(&c.FuturePerSend, 64) // as many as one gap of MaxGap can hide
	number(&c.PeerRate, 8000)    // about a quarter of a core of signature checks
	number(&c.PeerBurst, 32_768) // a backlog after a reconnection
	if c.MaxGap == 0 {
		c.MaxGap = 64
	}
	if c.TTL == 0 {
		c.TTL = 3 * time.Hour
	}
	if c.SyncEvery == 0 {
		c.SyncEvery = 2 * time.Millisecond
	}
}

func (c *Config) validate() error {
	for _, f := range []struct {
		name string
		v    int64
	}{
		{"MaxCount", int64(c.MaxCount)}, {"MaxBytes", int64(c.MaxBytes)}, {"MaxFuture", int64(c.MaxFuture)},
		{"MaxFutureBytes", int64(c.MaxFutureBytes)}, {"PerSender", int64(c.PerSender)}, {"SenderBytes", int64(c.SenderBytes)}, {"FuturePerSend", int64(c.FuturePerSend)},
		{"PeerRate", int64(c.PeerRate)}, {"PeerBurst", int64(c.PeerBurst)}, {"TTL", int64(c.TTL)}, {"SyncEvery", int64(c.SyncEvery)},
	} {
		if f.v < 0 {
			return fmt.Errorf("%w: %s is %d: use a positive value, or leave it out for the default", ErrConfig, f.name, f.v)
		}
	}
	return nil
}
