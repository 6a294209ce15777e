// Package node assembles one pheme node out of chain, mempool, p2p and rpc, and owns what none of
// them does alone: the block pipeline, the proposer's turns and the life of the process.
//
//	           Open                    Run(ctx)                    ctx ends
//	config ------------> OPENED -------------------> SERVING ------------------> STOPPED
//	         lock, store,         node.json is there:          calls in flight answered,
//	         journal, host        RPC, gossip and the          import finished, journal and
//	                              proposer are at work         database closed
//
// A transaction comes in by RPC (Node.SubmitTxs) or by gossip (Node.AddTxs); both end in the same
// mempool.Pool.Add. A block comes in by gossip (Node.QueueBlock), by catching up (Node.ImportBlock)
// or from our own proposer, and all of them meet in one goroutine, the applier:
//
//	gossip --QueueBlock--+                     +-> pool: included out, reverted in
//	sync --ImportBlock---+-> applier: chain.Add -> p2p: waiting children, head notice
//	slot timer --propose-+        (one writer)  +-> head.changed to trace and subscribers
//
// Goroutines: those of p2p, rpc, the pool and the trace ring, and the applier, all inside Run's
// group. Invariants: only the applier writes to the chain; a block is published before it is
// imported; a proposer's slot is on disk before its signature leaves the node.
package node
