// Package rpc is the node's front door: JSON-RPC 2.0 over HTTP, WebSocket and a
// unix socket, and a client for it.
//
// It speaks Ethereum's names and shapes, so that wallets and libraries (ethers,
// viem, web3.js, cast, ethclient) work unchanged, and adds the pheme_ namespace.
// Codes and texts of errors are those of go-ethereum's server, beside which a fuzz test
// holds the dispatcher; that one runs a call on the goroutine that read it, from one
// reading of its JSON, since a call's cost is the cost of a submitted transaction.
//
//		HTTP --- check host, origin, type, size --- read body --- dispatch --- answer
//		WS ----- check host, origin --- frame ----------------/       |
//		IPC ---- JSON value ---------------------------------/     (admin_ methods only here)
//		                                     |
//		broker --- one bounded queue a connection --- subscriptions of WS and IPC
//
//	  - keep: after the first call of a connection net/http hands it over, and what
//	    follows is read here, for three tenths less of processor time a submission.
//	  - read: the time the last byte of a request came in is put into the call's
//	    context ([ReceivedAt]).
//	  - dispatch: methods are found in one table, which rpc.discover is written from. A
//	    batch made only of eth_sendRawTransaction calls is decoded, its senders recovered
//	    on all cores and handed to the pool in one piece.
//	  - answer: blocks and receipts are written by appending, and the bytes of
//	    recent ones are kept.
//
// Goroutines: all belong to [Server.Run], which returns when the last has ended.
// Calls in flight at the end are answered; new ones are refused.
//
// Invariants: every queue, cache, request, batch and connection count has a limit
// in [Config]; no call holds a lock while it waits; a call that panics answers
// -32603 and no other call notices; a subscriber that lags is closed with a
// reason and never waited for; what is above 64 KiB and on its way is counted from
// its first byte read to its last byte written, and bounded over all clients and for
// each address that is not of this machine.
//
// What it refuses: keys (no method takes or returns one), contract creation, blob
// and set-code transactions (by name), balances and nonces after blocks more than
// [chain.PastBlocks] below the head, foreign Host and Origin headers, admin_ methods
// anywhere but on the unix socket.
package rpc
