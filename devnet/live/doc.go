// Package live serves a page that shows a running network: its graph, each block's wave across it,
// how fast blocks cover it, and every node's head, peers and pool. From the page a transfer can be
// sent and a link cut.
//
//	node --trace, status, peers over JSON-RPC--> follower (one a node) --> hub --SSE--> page
//	page --POST /send, /cut--> Server --> node
//
// The page is plain HTML, CSS and JavaScript embedded in the binary; it loads nothing from
// elsewhere. The latencies it shows are differences of the nodes' wall clocks: on one machine they
// share one.
//
// Goroutines: one follower a node and those of net/http, inside [Server.Run]. Invariants: the hub
// keeps a bounded number of blocks and of events a viewer; a viewer that lags is cut off and its
// browser comes back. Refused: other hosts than loopback, and requests that change something from
// another origin.
package live
