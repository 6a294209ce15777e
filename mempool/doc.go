// Package mempool holds transactions that wait for a block.
//
// Every sender has its transactions by nonce. Those that could run now, one after
// the other from the sender's nonce at the head, are executable; what comes after a
// gap is future. The two are separate pools with caps of their own, so a future
// transaction never pushes out an executable one:
//
//	         state nonce
//	              v
//	nonces  ...   7   8   9        12  13
//	             [executable]     [ future ]
//	                     ^tail          ^tail
//
// # Admission
//
// [Pool.Add] is the one way in, for RPC and for gossip; what a peer offers goes there
// after [Pool.Allow], which bounds the signatures we check for it. A transaction is refused with a typed error unless
//
//   - it keeps the rules that need no state (chain.CheckTx) and is not pooled;
//   - its nonce is the sender's next one, or at most MaxGap above the sender's last
//     queued one, or it replaces one with both fee fields raised by a tenth and no less
//     tips in all;
//   - the sender's balance covers it and all else that the sender has queued,
//     executable and future, checked at every single insertion;
//   - the sender is below its caps, and there is room or it pays for room.
//
// # Room
//
// A full pool evicts tails, the lowest tip first, for a newcomer that bids more than
// each of them and whose fees are no less than all of theirs together. The bid is
// the lowest tip of the newcomer and of what must run before it. Hence:
//
//   - an executable transaction leaves only for one that pays more, and what an
//     attacker evicts costs it at least as much (DETER, CCS'21; saferAd-CP);
//   - no eviction opens a gap, and none takes the ground from under the newcomer;
//   - a dear transaction behind cheap ones evicts nobody. But a tail counts with its
//     own tip while it is in: who holds places with chains of cheap ones that end
//     in a dear one keeps out bids between the two until blocks take the chains,
//     and pays for all of that. PerSender and SenderBytes bound how long such a
//     chain is, and that one sender alone never fills the pool.
//
// What finds no room when its gap closes waits in the future pool until there is.
//
// # A new head
//
// [Pool.Apply] looks only at the accounts that the blocks touch. Included
// transactions leave, reverted ones come back before those that were queued behind
// them, and what a balance no longer covers leaves from the highest nonce down. The
// caps of a sender do not count then: what was let in once stays while the pool has room.
//
// # Acknowledgement
//
// When Add answers nil, the transaction is in the journal: a kill does not lose it,
// and with JournalSync a loss of power does not either. The journal records what
// came in and what left without a block, in order; reading it again gives the same
// pool. If it cannot be written, Add refuses everything with [ErrJournal], takes back
// what it had let in and puts back what that had replaced or evicted; the journal is
// written anew as soon as that works.
//
// One window stays open: a rewritten journal no longer has what blocks hold, so a
// transaction of a reverted block is only in that block between the chain's commit
// of a reorg and the end of Apply.
//
// # Layers
//
// The core (core.go, room.go, update.go, undo.go, build.go) is pure: values in,
// values out, no clock, no I/O, no goroutine. [Pool] is one mutex around it; signatures are
// checked before the lock, the journal is written after it, by one caller at a time
// on behalf of all who wait (commit.go). The only goroutine is that of Run.
//
// # Invariants
//
// Whenever the lock is free:
//
//   - count and bytes of both pools are within their caps, and those of each sender
//     too, but for what a reorg or a restart put back;
//   - the executable nonces of a sender begin at its nonce at the head and have no gap;
//   - what a sender has queued costs at most its balance at the head;
//   - nothing is both pooled and in the chain that the head ends.
package mempool
