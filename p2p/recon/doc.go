// Package recon finds out in what two nodes differ: sets by a rateless
// invertible Bloom lookup table, trees by their digests. It is pure: no
// goroutine, clock or I/O, values in, values out.
//
// # Sets
//
// A session compares two sets of 32-byte items, such as transaction hashes. Its
// key, which one side draws at random, turns every item into an ID of 8 bytes by
// SipHash-2-4. One side sends the coded symbols of its set, as many as it takes;
// the other subtracts its own and peels the difference out:
//
//	ours:   Set.Symbols ----------------------\
//	                                           (-) --> Decoder --> IDs only theirs, IDs only ours
//	theirs: Set.Symbols --AppendSymbols--wire--/
//
// The scheme is that of Yang, Gilad and Alizadeh, "Practical Rateless Set
// Reconciliation", SIGCOMM 2024 (arXiv 2402.02668): item i is in symbol 0 and then
// in symbols ever further apart, so that a prefix of about 1.35 to 1.7 symbols per
// difference decodes, whatever the sizes of the sets, and nobody has to guess.
//
// IDs instead of the items themselves, because of the bytes: a symbol is 13 bytes
// (sum 8, check 4, count mostly 1) and not 37, and what is then asked for is named
// in 8 bytes. Sets of 20,000 have two items of one ID with probability 1e-11 a
// session, and the next session has another key, which nobody knows who could
// have prepared items for it.
//
// How many symbols to send first follows from a Profile: 64 counters, whose
// difference between two sets estimates the size of the difference to within
// about a fifth.
//
// # What a hostile peer can do
//
// Symbols from a peer can make the decoder fail, which costs work in proportion
// to the symbols it sent, and nothing else: every item peels once, at a symbol
// that it belongs to, if it is missing on the side that the sign says; the number
// of peeled items and of steps is capped by the symbols received. An error is
// ErrSketch. Nothing here panics on any input.
//
// # Trees
//
// Diff compares a tree of digests with another one's from the root down, a level
// at a time, and yields the subtrees that differ. It asks only for children of
// nodes that differ, so equal trees cost one digest.
package recon
