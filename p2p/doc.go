// Package p2p is a node's place in the network: the libp2p host, the peers, the
// gossip of transactions and blocks, the verdict on every message, and catch-up.
//
// # Owns
//
//   - The host: TCP and QUIC, Noise and TLS, Yamux, resource and connection
//     manager, built from go-libp2p's parts so that nothing else is linked in.
//
//   - Peers: static and bootstrap addresses and mDNS; kept, redialled with
//     backoff, refused when they are of another network or misbehave.
//
//   - Topics /pheme/<network>/block/1 and /pheme/<network>/tx/1, each on a
//     GossipSub of its own, whose protocol carries network and topic too; package
//     relay owns the meaning of the block topic's messages.
//
//   - Protocols /pheme/status/1 (handshake, then head notices),
//     /pheme/blocks/4 (blocks by id, headers after a locator), /pheme/repair/1
//     (pools reconciled by package recon, and what differs), /pheme/state/2
//     (the state after a pivot, subtree by subtree) and /pheme/relay/3 (chunks of
//     blocks and what belongs to them, as package relay says).
//
//   - Datagrams, sealed with keys of each two nodes (members_udp.go): those of
//     membership, which need no connection, and chunks for peers to whom streams lose.
//
//   - Membership: package swim's state machine over datagrams, and push-pull on /pheme/swim/1; and of the members the
//     connections this node chooses, with a bound on those that choose it.
//
// # Flow
//
//	PublishTx --> outbox --> batcher --> tx topic        (only the node that got them forms batches)
//	PublishBlock --> relay --> block topic, relay streams
//	tx topic    --> takeBatch: Backend.AllowTxs, chain.CheckTx --> Backend.AddTxs --> verdict
//	block topic --> relay.Receive --> take: chain.Check --> Backend.QueueBlock --> verdict
//	                  |unknown parent, early
//	                  v
//	                holder --(parent or slot came)--> relay.Receive --> published again, unchanged
//	                  |parent                                ^
//	                  v                                      |
//	                fetchParent: the sender, then others ----+
//	head notice, status --> claims --> catch-up: headers, then blocks in order --> Backend.ImportBlock
//	                                  |far behind, or forked below the undo window
//	                                  v
//	                                state sync: subtrees that differ --> Backend.AdoptState
//	every RepairInterval, peer up --> reconcile: digests, symbols, transactions --> Backend.AddTxs
//	                                  |head
//	                                  v
//	                                claims
//
// Verdicts are made in one function, verdict, from the error alone.
//
// # How transactions travel
//
// The node that took them from a client forms batches; every other passes a batch
// on unchanged, so that what one sender sent stays in its order. A batch is pushed
// along a mesh of degree TxD alone. Dlazy peers that are not in it are told its id
// at the next three heartbeats and ask for what they lack; repair finds the rest.
// A peer more in the mesh is nearly a copy more at every node, and what it saves
// shrinks: copies of a transaction, p50 and p95 in ms, 120 transactions of 2 KiB a
// second over the links of the world, coverage 100 % each (devnet sweep tx-relay;
// the last of 100 nodes with one mesh for blocks and transactions):
//
//	TxD           2                3                4                6                8
//	20 nodes      1.65  266  622   2.27  105  184   3.26   76  162   5.20   66  152   7.29   59  144
//	100 nodes     1.50  421  752   1.99  174  305   2.93  101  196   4.92   75  157   6.95   65  147
//
// Four is the knee: three save one copy more and cost half of the speed among 100,
// six cost two copies more and save a fifth of p95. Ids are another fifth of a
// copy. With a fifth of 100 nodes silent all transactions still reach all, p95
// 218 ms.
//
// A mesh that small is easily full, or dead. Its peers refuse a node that comes late:
// after two heartbeats it publishes without a mesh, and is asked for what it tells the
// ids of. What it sent only to peers that it lost within two seconds, it sends again.
// And what repair brought before gossip is passed on all the same. Without these three
// a run in which half of 50 nodes die (devnet measure death) missed up to 0.7 % of the
// deliveries; with them none of 18 seeds missed any.
//
// # How a node that starts cold gets to the head
//
// By the headers of all blocks, whose number is the weight and each of which is signed; by the state after a
// pivot, one of the newest two blocks whose number is a multiple of 64; and by the blocks
// after it. An account is an address, a balance and one or two bytes, 28 bytes for
// one of some 10^15 wei, a header 180 bytes. Of 1,000,000 accounts, each made by a transfer
// of its own, in 10,000 blocks that is 28 MB, 1.8 MB and 0.4 MB of digests and blocks,
// 4.8 s of a link of 50 Mbit/s, where all blocks are 130 MB and 20.8 s. What connecting
// and asking take beside it counts for more where there is less. Three peers at 10 ms, in
// virtual time (go test ./p2p -run '^$' -bench StateSync -benchtime 1x -timeout 90m; the
// larger needs 12 GB and a quarter of an hour):
//
//	                               by state   by all blocks
//	100,000 in 1,000: received     3.54 MB    12.96 MB
//	links alone                    0.81 s     2.22 s          0.36
//	and computing charged          0.94 s     3.32 s          0.28
//	1,000,000 in 10,000: received  30.1 MB    130.1 MB
//	links alone                    5.05 s     21.82 s         0.23
//	and computing charged          5.11 s     32.62 s         0.16
//
// # Goroutines
//
// New starts none. Run owns: relay, batches, held messages, fetches, catch-up,
// repair and its sessions, dials, peers, mDNS, and one or two a peer for its status stream. libp2p calls
// the stream handlers on goroutines of its own; Run waits for them. pubsub has its
// own, which end with Run; the validators run on them and never wait.
//
// # Invariants
//
//   - A message is passed on only after its verdict is Accept, or it comes from
//     this node, which judged it before.
//   - Nothing a peer claims moves us: a better head is adopted block by block,
//     each through chain.Check and the import, or a state taken over that more than
//     half of the proposers built on (pivotOf).
//   - Everything held for a peer is bounded, and no peer's share is another's.
//   - No lock is held across I/O, a callback, a channel or a signature check.
//   - A peer loses score only for bytes it could have known to be wrong. Silence,
//     slowness and claims that lead nowhere cost it our trust, not its place in
//     the mesh.
//
// # Refuses
//
// Publishing what is larger than the network's message limit (which follows from
// the genesis), peers of another genesis, and settings it cannot keep.
//
// # Trace
//
// All events go through one trace.Hook. These are the ones of this package, and
// what a joiner makes of the recordings of all nodes. Hash is the block id for
// blocks, on the wire (msg.*, copy.duplicate) and off it; for batches it is the
// batch's tag, whose first eight bytes tx.published carries in Aux.
//
//	tx.published    just before its batch is handed to gossip; one a transaction
//	block.published just before the block is handed to the relay, at its proposer
//	msg.queued      GossipSub put it on the peer's queue
//	msg.written     the stream took the last byte; At - Aux is when the write began
//	msg.read        the stream gave the last byte, before it was decoded; At - Aux is the first byte.
//	                Of class block or tx and without Hash: so much of a message came before its stream failed
//	msg.dropped     given up; Aux says where
//	copy.duplicate  a payload came again
//	block.firstbyte the first byte of the message that first told of it: block, announcement or chunk
//	block.received  every transaction in hand and the root matches; Peer is who completed it
//	block.accepted  and the cheap check passed
//	block.relayed   the first byte went on to somebody
//	peer.up/down    handshake agreed; last status stream gone
//	member.suspect, member.dead, member.alive
//	                Peer is held for it by this node from now on; alive only after
//	                it was one of the others, dead also for one that said goodbye
//
// The sizes of msg.written and msg.read of one stream add up to its bytes: a
// payload with its framing is one event, what else the message carried another
// of class control. Requests for blocks are msg.written at the server and
// msg.read at the client, of class sync, one a block. A session of repair is one
// msg.written and one msg.read of class repair at each end, when it ends. All of
// membership in a second is one of each, without a Peer.
//
//   - Path and hops: block.received gives the sender of the copy that counted;
//     follow Peer back to the node that has block.sealed. hops(i) = hops(Peer) + 1,
//     unless Aux carries the hops of the pieces (trace.PathOf): then they are those.
//   - A block in pieces: each chunk, and each answer with transactions, is one
//     msg.written and one msg.read of class relay with its Hash; news and questions
//     have none. One that came before its announcement is recorded when that comes, at
//     the time when it was read. Its announcement is a payload of the block topic like any other.
//   - Copies of a block at i: the sizes of i's msg.read with its Hash. Duplicates:
//     the sizes of its copy.duplicate. Of a transaction: those of its batch.
//   - Stages of the hop from p to i, with p's events where Peer is i and i's where
//     Peer is p: wait until p's msg.queued | queue until its msg.written began |
//     serialise and congestion until it ended | wire until i's msg.read | decode
//     and validate until i's block.accepted | import until block.imported. p may
//     stamp the end of a write after i has read its last byte, since the call
//     returns later than the bytes leave: move it back to the read.
//   - A block with Aux PathHeld was whole at msg.read and waited for its parent or
//     its slot; one with PathFetch or PathSync was asked for.
//   - Bytes: Stats counts the same by class without a trace, and the whole wire.
package p2p
