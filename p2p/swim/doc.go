// Package swim is who is there: a SWIM membership with Lifeguard's refinements,
// as a pure state machine. The caller owns time, sockets and streams; messages
// and the time go in, messages and changes come out.
//
//	Receive(now, from, datagram) --> Node --> Packets()   to send, once, unreliably
//	Step(now), when Next() is due --> |   --> Changes()   who is alive, suspect, dead
//	Sync(now, frame)  push-pull       |   <-> frames      over a reliable stream
//	SetValues                         '-----> Aggregate() of the whole network
//
// # A member's life
//
//	         own word (incarnation + 1), or an answer to our own probe
//	       .------------------------------------------------------.
//	       v                                                       |
//	--> [alive] -- a probe failed, directly and by others; --> [suspect]
//	       |        or somebody says so                            | not refuted in time,
//	       | goodbye                                               | and does not answer a last call
//	       v                                                       v
//	    [left]                                                  [dead] -- own word --> alive
//
// # Invariants
//
//   - What a member says of itself (addresses, metadata, that it lives, that it
//     leaves) is signed by it, and nobody else can change a byte. The greater of
//     two records wins, so that merging is commutative, associative, idempotent.
//   - An accusation is signed by nobody and decides nothing: it starts a clock. No
//     member is held for dead unless it was suspected here before, did not raise
//     its incarnation in time, and did not answer a last call from here.
//   - An incarnation begins as the time in milliseconds; what is a year ahead is
//     refused, so that no accusation is beyond refutation.
//   - A message costs bounded work: 1,150 bytes, one look at a table for each thing
//     in it, and a signature check only for a record newer than what is known.
//   - Everything held is bounded: members, relays, accusers of a suspect; news goes
//     after a fixed number of transmissions.
//   - The same calls with the same random source give the same bytes.
//
// # Load
//
// A member probes one other every ProbeInterval, whatever their number. News
// rides on probes and answers and, while there is any, goes to GossipNodes
// members every GossipInterval; each passes it on transmits times, a number that
// grows with log N. Push-pull compares hashes first.
//
// # What it does not do
//
// The carrier vouches for the sender of a datagram and for nothing else in it;
// package p2p does that with a key shared by each pair. A member can lie in its
// own record and in its share of the aggregates; it cannot in others'.
//
// Sources: Das, Gupta, Motivala: SWIM, DSN 2002; Dadgar, Phillips, Currey:
// Lifeguard, arXiv 1707.00788; Jelasity, Montresor, Babaoglu: Gossip-based
// aggregation in large dynamic networks, TOCS 2005.
package swim
