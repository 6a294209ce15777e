// Package recorder joins the trace events of N nodes into what happened to each message: who had
// it when, from whom, over how many hops, where the time went and what it cost in bytes.
//
// It is pure and engine-blind: the clock of all events is one clock, which is CLOCK_MONOTONIC for
// processes on one host and the bubble's clock in virtual time.
//
// Definitions, kept everywhere in pheme:
//   - E(m), the nodes expected to receive m: all that were up from its publication to its horizon,
//     without the origin. Coverage is the share of (m, i in E(m)) delivered by the horizon.
//   - Latency of a block at a node: block.accepted there minus block.sealed at the origin, first
//     hop included. Import latency: block.imported minus block.sealed. Latency of a transaction:
//     tx.admitted there minus tx.submitted at the origin. Not delivered is +Inf, never left out.
//   - A block that came in pieces (chunks, or ids with what the pool lacked) has no first copy: its
//     parent is who completed it, its hops are those the pieces carried, and all bytes above its
//     size came again.
//   - First copy: the one that completed m at the node; its sender is the node's parent in the
//     delivery tree. Hops: 1 + the parent's. Copies: all bytes received for m / its size.
//   - A crash is confirmed at a node when that node holds the crashed one for dead; the nodes that count are those
//     that ran from the crash to the horizon, or until it came back. A false death is one told of a node that ran, and
//     had for a horizon. Bytes of membership are those of its datagrams and streams.
//   - Stage split: the latency cut at the events along the parent chain; parts add up to it. A block
//     in pieces is followed from the piece that completed it back to block.sealed, piece by piece: what
//     let its sender send it, a copy of its own or the whole block, and who had sent that.
package recorder
