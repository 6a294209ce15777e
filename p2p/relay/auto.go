package relay

import "github.com/pheme-net/pheme/chain"

// auto publishes each block the way that is soonest at its peers, by its size and
// by how much of recent blocks this node itself had pooled beforehand, which is
// what it expects of others:
//
//   - small: whole;
//   - pools hold nearly all: short ids, and chunks to those who ask;
//   - they hold a part: short ids, and chunks to all at once;
//   - they hold next to nothing: chunks alone.
type auto struct{ *engine }

const (
	// Below autoWhole bytes even a node that needs 8 copies of a block has them
	// within a round trip of 100 ms at 50 Mbit/s: 2 x latency x rate / degree.
	autoWhole = 64 << 10
	warm      = 0.9 // what peers lack is asked for by transaction: see lackShare
	cold      = 0.1 // ids would cost more bytes than they save
)

// Name implements Relay.
func (a *auto) Name() string { return "auto" }

// Publish implements Relay.
func (a *auto) Publish(b *chain.Block) error {
	a.mu.Lock()
	s := a.share
	a.mu.Unlock()
	switch size := b.BodySize(); {
	case size <= a.cfg.Whole || size <= autoWhole && (!s.known || s.value < warm):
		return a.publishWhole(b)
	case s.known && s.value < cold:
		return a.publish(b, kindCoded, true)
	default:
		return a.publish(b, kindCompact, !s.known || s.value < warm)
	}
}
