// Package chain holds blocks, genesis, proposer rules, the state with its Merkle
// root, the fork choice and the LevelDB store. It has no clock of its own but in
// Add, no network and no goroutine beyond those it waits for.
//
// # A block's way
//
//	bytes --DecodeBlock--> Block --Check--> checked --Add--> stored --> canonical
//	                                 |                 |        \-----> side branch
//	                                 |                 \--> invalid list (for ever)
//	                                 \--> an error that says whose fault it is
//
// Check is cheap and touches no disk: blocks are relayed after it. Add is the
// only writer: it executes, writes one synced batch, then moves the head in memory.
//
// A node that is far behind takes over the state after a block instead: it stages
// the parts that differ from its own, each checked against the header, and adopts
// them with the headers in one batch (adopt.go). The blocks below are then there as
// if their bodies were pruned.
//
// # Pure cores
//
// The state (state.go, bucket.go), the state machine (transition.go) and the
// fork choice (index.go) do no I/O: values in, values out.
//
// # Cost of a root
//
// State.With makes the nodes on the way of each touched account anew and leaves the
// rest shared. Profile of BenchmarkRoot, 1,000 accounts touched (go test ./chain -run
// '^$' -bench Root -cpuprofile cpu.prof): SHA-256 of nodes 24 %, copying their
// children 50 %, merging entries into buckets 13 %. Of 1,000,000 accounts each touch
// costs about twice what it does of 10,000: buckets hold 15 entries instead of none
// or one, and less is in the caches.
//
// # Cost of verifying
//
// The lists' roots (root.go) hold nearly all of it, and in them keccak, one permutation
// for a transfer of 110 bytes and one for 136 bytes of a longer one. Verify spreads
// blocks over the cores.
//
// # On disk
//
//	dir/lock   held by the running process, with its pid
//	dir/head   the head marker: newest commit known to be durable, and the one before
//	dir/db/    LevelDB; tables in keys.go
//
// Every batch carries a commit record with the hash of the one before. Open
// checks that chain, the marker against it, and the root of all accounts, since
// LevelDB opens without an error after it lost batches or everything.
//
// An entry of the database costs about a microsecond, and a megabyte of bare transfers
// has 9,000 hashes and touches as many buckets of accounts. So neither is written by
// the block: hashes are gathered in memory and written many at a time (lookup.go), and
// of the accounts each commit writes what the block changed as one value, and a part of
// the table in turn (accounts.go). Opening makes both whole from the newest blocks.
//
// The same changes tell what an account was after a block not far below the head (past.go).
//
// # Invariants
//
//   - The head is the best stored block: most blocks from genesis, then the lower
//     slot, then the lower id. Its number never goes down.
//   - Canonical index and lookups are those of the head, as if its branch had always
//     been canonical.
//   - The table of accounts with the change records over it is the head's state.
//   - The accounts hash to the head's state root.
//   - At most two blocks of a slot are kept, and those others have built on.
//   - An invalid block is executed once.
//
// # Refused
//
// Blob, set-code and contract-creation transactions, legacy transactions without
// a chain id, and every block that does not keep the rules in header.go.
package chain
