package relay

import "github.com/pheme-net/pheme/chain"

// coded pushes chunks of the block over the mesh, and needs nothing of any pool.
type coded struct{ *engine }

// Name implements Relay.
func (c *coded) Name() string { return "coded" }

// Publish implements Relay.
func (c *coded) Publish(b *chain.Block) error {
	if b.BodySize() <= c.cfg.Whole {
		return c.publishWhole(b)
	}
	return c.publish(b, kindCoded, true)
}
