// Package relay decides how a block travels: which bytes its proposer puts on
// the block topic, and what a node does with such bytes.
//
// Package p2p owns the topic, the verdicts and the blocks that must wait; a
// Relay owns the meaning of the topic's messages and the relay protocol. p2p
// treats messages as opaque bytes: it asks the relay to judge them, forwards the
// accepted ones unchanged, and keeps a message whose parent is missing to ask
// about it again.
//
//	        Publish                     Receive
//	node ------------> Relay  <-------------------- p2p (block topic)
//	                     |  Gossip(payload)
//	                     |  Take(block), Complete(block)   } Node and Network,
//	                     v  Tx(hash), Open(peer), Mesh()   } implemented by p2p
//	                 block topic, import queue, pool, streams
//
// # Messages
//
// The first byte of a message says how the block comes. Every relay understands
// every message, so that nodes of different relays make one network; a relay's
// name only says how blocks of its own are published. An announcement (all but 0)
// is judged by the header alone and relayed before the block is complete. Its
// proposer signs all of it, so that whoever changes any of it is found out.
//
//	0  gossip:  the block's envelope, whole
//	1  compact: announcement with short ids (BIP 152) and the hashes of the chunks
//	2  coded:   announcement with the hashes of the chunks
//
// # Chunks
//
//	announcement  --> GossipSub --------------------------------------> all
//	block --> code --> swarm --> pump --> writer ==chunks==> reader --> verify --> swarm --> ...
//	                     ^        | one at a time,                        |
//	                     |        | as the uplink takes them              v
//	                   news <-----'<---------------- writer <--news--- tell
//
// The transactions are cut into at most 256 chunks of at least 4 KiB, to which a
// systematic Reed-Solomon code adds half as many; as many as were cut, whichever they
// are, give the block back. A chunk is verified alone, by its hash in the announcement,
// and passed on at once (cut-through): a hop costs a chunk's time and not a block's. The
// hashes are a list, a Merkle tree of one level: 6 KiB once, where paths would add
// 144 bytes to every copy of every chunk, and a node that has a part of the block from
// elsewhere can vouch for it.
//
// Which chunk goes where is decided by swarm, when by uplink and pace, all three
// pure. Each choice with what led to it, over whole nodes and modelled links (1 MiB,
// 50 ms, 50 Mbit/s; p95 in ms and copies received) unless it says so:
//
//   - The chunk that fewest peers hold goes first, among equals the one least often
//     sent, then an order different at each node: neighbours push different chunks. It
//     goes to the peer that is known to hold least. 20 nodes: by sends and in turn 540
//     and 2.65, by holders 509 and 2.53, to the neediest 487 and 2.43.
//   - Chunks of 4 KiB and not 8, in the model of model_test.go (60 nodes of degree 8, three
//     seeds): 480 with 4 KiB, 494 with 8.
//   - At most 3 sends of a chunk by each node, in that model: 2 sends 497 and 2.0 copies, 3
//     sends 480 and 2.2, 4 sends 480 and 2.3; of 128 KiB 302 and 3.1, 238 and 4.6, 227 and
//     5.7. At most 2 by its origin: with 3 a block of 128 KiB takes 234, and its origin
//     sends 4.5 times its size in place of 3.0.
//   - But 6 sends of a chunk that came from its origin: then hardly any peer has it. 3
//     everywhere, and 6: 1,000 nodes 753 and 2.38, now 726 and 2.41; 100 nodes 604 and
//     2.42, 577 and 2.49; 20 nodes and 128 KiB 264 and 4.09, 231 and 4.62. More on the
//     second hop (6, 4, 3) costs 5.3 copies there; fewer after the third (6, 3, 3, 2)
//     spares a fifth of a copy, and 1,000 nodes take 760.
//   - News of chunks is told every 5 ms, on streams of its own, so that it does not
//     wait behind chunks.
//   - A chunk is chosen when the uplink can take it: what waits in a queue below us
//     cannot be cancelled. To each peer no more is under way than 1.1 times what it
//     acknowledges in a round trip: 1.1 times 485 and 2.36, 1.25 times 501 and 2.71, 1.5
//     times 547 and 3.15. All sends together are spaced at twice the best rate at which
//     acknowledgements came; at 1.1 times that rate a node whose uplink had never been
//     full took it for slow, and its blocks came late (over two seeds 496 and 530, now
//     492 and 495).
//   - Chunks go to 20 connected peers, those of the mesh first, and to each that sends frames
//     itself, and not to the mesh alone. With 100 nodes 606 over all; over the mesh 742, and
//     613 with 1.3 times as much under way.
//     On streams where 1 % of packets is lost what counts is how many connections there
//     are: 20 nodes over the mesh 2,515, over all 1,628.
//   - Up to 4 streams of chunks to a peer, the second where a chunk is late: behind a lost
//     packet only its own stream waits.
//   - Where a chunk takes twice the round trip and twice the wait in our uplink, it stands
//     behind a lost packet, and chunks for that peer go in datagrams from then on: see below.
//   - Who gains nothing for 200 ms or two round trips asks two peers, whom no budget
//     binds then; after three times in vain the whole block is fetched.
//
// # Datagrams
//
// Whose stream stands still asks its peer where it takes datagrams (route), and both
// send each other chunks in them until none is lost for long. A chunk of 4 KiB is four
// slices of a kilobyte, each sealed by its sender. One with a lost slice is not
// acknowledged, and goes again, there or elsewhere, as soon as three later ones were
// acknowledged (RFC 9002). Before the first chunk goes the announcement, to who has not
// shown that it has it: on the block topic it may stand behind lost packets at every
// hop, 510 ms of 1,130 with 5 % lost. The topic passes on its own copy when that
// comes. News goes in a datagram and on its stream, and what comes later changes
// nothing. Who acknowledges nothing gets its chunks on streams again; a network without
// loss hardly ever sends a datagram.
//
// Datagrams need congestion control of one's own (RFC 8085), and pace is it. What is
// under way follows the rate at which chunks arrive; up to a third of them lost count as if
// they had arrived for as long as the others are not late, which is while no queue is
// full. Through a bottleneck with a queue of half a round trip 1 % more is sent than
// arrives; with 20 % of chunks lost at random the path stays full (TestQueueLoss,
// TestRandomLoss).
//
// A Reno connection that loses 1 % of packets over 100 ms carries about a Mbit/s, whatever
// its link has. 1 MiB, p95 in ms with 0, 1 and 5 % lost (devnet sweep relay; streams
// alone: one seed, with 3 sends of every chunk):
//
//	                              0      1 %      5 %
//	20 nodes, gossip          2,857   20,300  123,000
//	20 nodes, streams alone     513    2,204    6,288
//	20 nodes                    507      548      656
//	100 nodes, streams alone    604    2,368
//	100 nodes                   589      639      754
//
// Of five real processes over the shaped TCP of package link/live, which carries all
// streams of a peer in one: 1 %, streams alone 12,600, now 713.
//
// # Short ids
//
// A compact announcement describes each transaction by six bytes of SipHash-2-4
// under a key of the block's own, and its size. The sizes tell a node exactly
// which bytes it lacks. Nothing: the block is complete. At most a tenth: it asks
// the announcer for the transactions, who answers as far as it has them and parks
// the rest for 500 ms; after one and a half round trips it asks peers that say they
// have the block, one after the other. More: it asks the mesh to push chunks, and counts those as
// held that its transactions cover. An id that fits two transactions is left open,
// one that stands for another is found out by the transactions root; both lead to
// chunks, and neither is anybody's fault.
//
// The auto relay sends small blocks whole, and else ids, chunks or both by the
// share of recent blocks that this node had pooled beforehand.
//
// # Invariants
//
//   - Receive returns nil only for a message every honest node may pass on.
//   - A relay hands a block to Take or Complete at most once for one message.
//   - No frame makes the state grow without bound: 16 blocks, two of a slot, 4 MiB
//     of frames that came before their announcement, a window a peer, 128 KiB of slices
//     and 256 datagrams a peer, 64 frames that one does not read, each
//     transaction of a block once to a peer, and twice as many chunks as it has, however
//     often its streams end.
//   - What an honest node sends no honest node refuses, and who is slow or silent holds up
//     its own blocks alone: others wait for a round trip of at most a second, and who sends
//     chunks of a block that is over is told so; those that nobody follows are acknowledged, too.
//   - A peer is blamed for bytes that cannot be: a frame that does not decode, a
//     chunk that is not what the proposer signed. What a proposer does wrong (two
//     announcements of one block, chunks that give no block) is blamed on nobody
//     else, and the whole block is fetched.
//   - No lock is held across a signature, the hash of a chunk or a block, a decode, I/O or
//     a call of Node; across short ids of the transactions in an answer one is.
//   - Goroutines: only inside Run: tell, care, pump, and one to six writers a peer and a
//     reader of its datagrams, if there are any. Readers of streams run on the network's goroutines.
package relay
