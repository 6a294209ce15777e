// Package relay decides how a block travels: which bytes its proposer puts on
// the block topic, and what a node does with such bytes.
//
// Package p2p owns the topic, the verdicts and the blocks that must wait; a
// Relay owns the meaning of the topic's messages and any stream protocol of its
// own. p2p treats messages as opaque bytes: it asks the relay to judge them,
// forwards the accepted ones unchanged, and keeps a message whose parent is
// missing to ask about it again.
//
//	        Publish                     Receive
//	node ------------> Relay  <-------------------- p2p (block topic)
//	                     |  Gossip(payload)
//	                     |  Take(block)         } Node, implemented by p2p
//	                     v  Tx(hash)            }
//	                 block topic, import queue, pool
//
// # Messages
//
// The first byte of a message says which relay made it, so that nodes set to
// different relays understand each other. What follows is that relay's own.
//
//	0  gossip: the block's envelope, whole
//
// # Invariants
//
//   - Receive returns nil only for a message every honest node may pass on.
//   - A relay never hands a block to Take twice for one message.
//   - Goroutines: only inside Run. The gossip relay has none.
package relay
