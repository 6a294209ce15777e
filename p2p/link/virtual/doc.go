// Package virtual is an in-memory network for whole libp2p hosts, driven by
// package time: inside a testing/synctest bubble a thousand of them exchange
// blocks in seconds, and every latency is exact.
//
//	host 0: swarm, identify, GossipSub ...        host 1
//	  | streams                                     ^
//	  v                                             |
//	stack       Direct: a stream is two pipes. Secured: Noise + Yamux on one pipe.
//	  |         QUIC: go-libp2p's QUIC, packet by packet.
//	  |                                             |
//	  '--------------> Network.Run <----------------'
//	                 one link.Net: all rates, delays, loss, cuts
//
// Direct is the one to measure with. The other two check it: what Noise and Yamux
// add, and whether the model's window does what QUIC's own does. On one overlay
// of 50 nodes, 128 KiB, p50 / p95 / p99 were 477 / 730 / 1015 ms over the model
// and 490 / 735 / 970 ms over QUIC, at a fourteenth of the CPU (BenchmarkGossip).
//
// # Goroutines
//
// Run is the only one. It sleeps until the model's next step, advances it, and
// hands what came of it to streams, connections, listeners and sockets.
// Everything else happens in the goroutine of the caller.
//
// # Behaviour
//
//   - Dial takes one round trip, is refused where nobody listens, and tries again
//     like TCP where packets are lost or the path is cut, until its context ends.
//   - Write copies; equal large writes share one copy, because every node passes
//     the same block to several peers. It returns when at most
//     link.Config.SendBuffer is unsent, like on a socket with that buffer; with a
//     deadline it returns what fitted.
//   - A stream whose opener asks for it passes large writes on whole (PassWhole): Write returns at once and the reader
//     gets all but the first byte together, so that neither end holds a message while it is on its way. On the wire
//     nothing changes; package p2p asks for it on gossip streams, where it halves the memory of 1 MiB blocks.
//   - A reader that does not read stops its writer at link.Config.RecvWindow.
//   - Reset, half-close and deadlines are those of QUIC streams. Closing a
//     connection tells the peer one way later and drops what was not yet sent. A
//     connection that is cut for too long ends at both sides.
//   - A Host opens streams like go-libp2p's basic host: no round trip for a
//     protocol that identify has shown.
//
// # What to mind in a bubble
//
//   - Hosts close first, then Run's context, then a second of sleep: the library
//     leaves goroutines for a moment.
//   - No mutex may be held by the caller across a Read, a Write or a Dial: time
//     would stand still silently.
//   - At one instant, goroutines run in any order. The network sorts what they
//     send at one instant, so that the same writes give the same run; GossipSub's
//     own random choices still differ on a stock toolchain.
//   - Nodes have public addresses in different /16 networks, because identify and
//     peer scoring limit by subnet.
//
// # Cost
//
// A host with ten connections holds 90 KB of heap, 80 KB of stacks and 16
// goroutines (Secured: 230 KB, 185 KB, 47). GossipSub at 1,000 nodes spends about
// a fifth of its CPU here; BenchmarkGossip and BenchmarkFlood measure it.
package virtual
