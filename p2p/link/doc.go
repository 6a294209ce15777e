// Package link is the model of the network between nodes: rates, delays, jitter,
// loss and what senders do about it, partitions, and a schedule of changes. It
// is a pure core: the caller passes in the time and takes out what happened.
// There is no clock, goroutine, log or I/O in it, and no libp2p.
//
//   - Package virtual drives it by package time, as an in-memory libp2p transport
//     for whole hosts inside a testing/synctest bubble.
//   - Package live puts the same code under the live TCP and QUIC connections of
//     a real node.
//
// # The model
//
//	streams (Pipe)   connection (flow)       uplink           path            downlink
//	Write -> [queue]\                      node's rate,   delay + jitter,   node's rate,
//	Write -> [queue]-- window, resends --> round robin -> loss, cut     --> FIFO or fair --> Event
//	Write -> [queue]/         ^            over flows                           |
//	                          '-------- acknowledgement, one way later ---------'
//
// Uplink: all connections of a node share its rate, round robin in turns of
// 2.5 ms (Config.Turn; 1 to 48 packets), and so do the streams of a connection within its
// turns: many small writes weigh as much as one large.
//
// Path: each pair has a smallest delay and an exponential tail, see Path. One
// draw holds for 10 ms of a flow, and nothing overtakes within it unless the
// path reorders: then a share of packets is late by a fixed time.
//
// Downlink: served in the order of first packets, or round robin over
// connections. It takes the first packet of a train while the sender is still
// sending the last: rates overlap, as they do packet by packet, so that on idle
// links a message of S bytes takes S / min(up, down) + delay, and one packet's
// time more.
//
// Window: 32 packets at first, slow start, congestion avoidance (Window). With
// NoWindow a sender is held back by rates alone until its first loss.
//
// Loss: each packet of 1,280 bytes alone. Reno notices it one round trip later
// if three later packets left meanwhile, else after max(200 ms, 2 x RTT), doubled
// from time to time; its window is halved once per loss event. None sends the
// packet again after one round trip, and that is all: idealised.
//
// Cut: a partition drops what is under way as well as what is sent, both ways. A
// sender that meets it is silent but for probes after 0.2, 0.6, 1.4, 3, 6.2,
// 12.6 ... seconds, so that a heal is noticed late, as it is by real stacks. A
// connection that stays cut for Config.DeadAfter ends at both sides. A close is
// told to the other side after one delay; what was not sent by then is dropped.
//
// Datagrams of a pair of nodes are one flow without a window: each is lost or
// arrives whole, in order.
//
// # Units
//
// Rates are bits a second of payload: stream bytes and FrameBytes for every mark
// (begin, end, reset of a stream), without the headers of TCP/IP or UDP/IP.
// Delays in tables are medians one way, jitter is p90 - p50. Everything drawn
// comes from the seed, per connection, so that a run repeats whatever the order
// in which goroutines call.
//
// # Invariants
//
//   - Bytes of all nodes: Sent = Received + Lost + InFlight, at every instant.
//   - A pipe delivers what was written, in order, once, or ends with an event.
//   - Config and Table are never changed; a Net and a Links have one owner.
//
// # Limits
//
// Queues in the path are unbounded: a downlink that many senders overload delays
// instead of dropping. Acknowledgements cost no bytes and are never lost. A
// window is kept over idle time (Linux TCP would restart it after one timeout,
// QUIC does not). The window knows no HyStart, pacing or BBR. Rates change
// between trains, not within one.
package link
