// Package load sends signed transfers to running nodes at a fixed rate and says how long they took
// to be answered and to be in a block. It speaks Ethereum's methods only, so that any node can be
// loaded with it.
//
// The load is open: when each transaction leaves is fixed before the first one does, and latency
// counts from that time, so that a node which stalls is charged for all that had to wait
// (coordinated omission has no place to hide). Each account sends through one connection, in the
// order of its nonces; accounts are spread over the targets in turn.
//
//	sign -> schedule -> one sender an account -> answers   (submit latency)
//	                    one watcher of blocks -> inclusion (to the watcher's resolution)
//
// Goroutines: one for each account and one watcher, all ended when [Run] returns. Refused: a load
// that would not be what it says (no accounts, more transactions than can be signed beforehand).
package load
