// Package mempool holds transactions that wait for a block.
//
// Every sender has a list of transactions by nonce. Those that could run now, one after the other
// from the sender's nonce in the head's state, are executable; what comes after a gap is future.
// The two are separate pools with caps of their own, so a future transaction can never push out an
// executable one:
//
//	          state nonce
//	               v
//	nonces   ...   7   8   9        12  13
//	              [executable]     [ future ]
//	                      ^tail
//
// # Admission
//
// [Pool.Add] is the one way in, for RPC and for gossip. A transaction is taken if its sender can pay
// for it and for everything else it has queued (cumulative cost, checked at every insertion), if it
// raises both fee fields by a tenth when it replaces another, and if there is room. Room in the
// executable pool is made by evicting tails, the highest executable nonce of a sender, cheapest tip
// first, and only for a newcomer that pays a higher tip than each evicted one and no less in fees
// than all of them together. So nobody empties the pool for less than what is in it, and no
// eviction leaves a gap.
//
// # Layers
//
// The core (core.go, room.go, update.go) is pure: values in, values out, no clock, no I/O. [Pool] is
// a shell of one mutex around it, a journal beside it and the list of subscribers. Signatures are
// checked before the lock and never under it; the journal is written after the lock is released and
// before Add returns.
//
// # Invariants
//
//   - Counts and bytes of both pools are at or under their caps whenever the lock is free.
//   - The executable nonces of a sender have no gap and begin at its nonce in the head's state.
//   - The cost of all a sender has queued is at most its balance in the head's state.
//   - No transaction is both in the pool and in the chain the head ends.
//   - What Add answered with nil is in the journal, until a block has it or it is dropped.
package mempool
