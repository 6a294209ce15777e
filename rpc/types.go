package rpc

import (
	"github.com/ethereum/go-ethereum/common"
)

// Status is the answer of pheme_status: one node at one moment. Numbers are JSON
// numbers; amounts of wei appear in no field.
type Status struct {
	Version     string         `json:"version"`
	Name        string         `json:"name"`
	PeerID      string         `json:"peer_id"`
	Listen      []string       `json:"listen"` // multiaddrs with /p2p/<id>
	ChainID     uint64         `json:"chain_id"`
	Network     string         `json:"network"` // first 8 hex digits of the genesis hash
	Genesis     common.Hash    `json:"genesis"`
	SlotMS      uint64         `json:"slot_ms"`
	Relay       string         `json:"relay"` // how it sends blocks of its own
	Relayed     RelayStats     `json:"relayed"`
	Repairs     RepairStats    `json:"repairs"`
	Head        HeadStatus     `json:"head"`
	Peers       int            `json:"peers"`
	Members     map[string]int `json:"members,omitempty"` // state to members in it, this node too
	Mesh        map[string]int `json:"mesh"`              // topic to peers in its mesh
	Pool        PoolStats      `json:"pool"`
	Subscribers int            `json:"subscribers"` // live subscriptions of this server
	Calls       uint64         `json:"calls"`       // requests answered by this server, a batch counts once
	Panics      uint64         `json:"panics"`      // calls that crashed and were answered with -32603
}

// ClockReading is the answer of pheme_clock: one instant on the clock of a node's events.
type ClockReading struct {
	At   int64 `json:"at"`   // nanoseconds, monotonic, as in TraceEvent
	Wall int64 `json:"wall"` // Unix nanoseconds
}

// HeadStatus describes the head block.
type HeadStatus struct {
	Number    uint64      `json:"number"`
	ID        common.Hash `json:"id"`
	Root      common.Hash `json:"root"`
	Slot      uint64      `json:"slot"`
	Timestamp uint64      `json:"timestamp"` // Unix seconds, as in the header
}

// PoolStats counts pooled transactions.
type PoolStats struct {
	Executable int `json:"executable"`
	Future     int `json:"future"`
	Bytes      int `json:"bytes"` // raw bytes of both
}

// NetInfo describes the node's own side of the network.
type NetInfo struct {
	Name   string
	PeerID string
	Listen []string // multiaddrs with /p2p/<id>
	Relay  string
	Mesh   map[string]int // topic to peers in its mesh

	Relayed RelayStats
	Repairs RepairStats
}

// RelayStats is what a node has done to send and receive blocks since it started.
type RelayStats struct {
	Published BlockForms `json:"published"` // its own blocks
	Received  BlockForms `json:"received"`  // blocks of others, by the form in which they came first

	FromPool     uint64 `json:"from_pool"`     // announced blocks put together of the pool
	WithAnswers  uint64 `json:"with_answers"`  // and of transactions asked for
	FromChunks   uint64 `json:"from_chunks"`   // put together of chunks
	FetchedWhole uint64 `json:"fetched_whole"` // given up in pieces and fetched

	HitRate     float64 `json:"hit_rate"`     // share of announced transactions, by bytes, that was pooled; 0 before any
	TxsFetched  uint64  `json:"txs_fetched"`  // single transactions of blocks asked for and got
	TxsServed   uint64  `json:"txs_served"`   // and given
	ChunksSent  uint64  `json:"chunks_sent"`  //
	ChunksTaken uint64  `json:"chunks_taken"` // received and needed
	ChunksAgain uint64  `json:"chunks_again"` // received and not needed any more
}

// BlockForms counts blocks by the form they were sent in.
type BlockForms struct {
	Gossip  uint64 `json:"gossip"`  // whole
	Compact uint64 `json:"compact"` // as short ids
	Coded   uint64 `json:"coded"`   // as chunks
}

// RepairStats counts exchanges in which two nodes compared their pools, since this one
// started.
type RepairStats struct {
	Sessions uint64 `json:"sessions"`
	Gained   uint64 `json:"gained"` // transactions
	Bytes    uint64 `json:"bytes"`  // both ways
}

// LinkCount is the answer of admin_links: what the node's shaped links have carried
// since it started, in bytes.
type LinkCount struct {
	Sent     uint64 `json:"sent"`     // has left the uplink
	Received uint64 `json:"received"` // has passed the downlink
	Lost     uint64 `json:"lost"`     // sent to this node and dropped on the way
	Cut      uint64 `json:"cut"`      // of these: by a partition
	Resent   uint64 `json:"resent"`   // sent to this node again after a loss
	Changes  int    `json:"changes"`  // entries of the schedule the node knows
}

// Bend is how a node differs from an honest one with a true clock, for measuring what
// such nodes do to others.
type Bend struct {
	SkewNS     int64 `json:"skew_ns"`    // its clock is ahead by so many nanoseconds
	Silent     bool  `json:"silent"`     // it passes nothing on and serves no block
	Equivocate bool  `json:"equivocate"` // it signs two blocks in each of its slots
}

// BendCount is the answer of admin_bend: what the node is, and what it has done.
type BendCount struct {
	Bend
	Withheld uint64 `json:"withheld"` // messages accepted and not passed on
	Second   uint64 `json:"second"`   // second blocks published
}

// Peer is a connected peer, as pheme_peers lists it.
type Peer struct {
	ID        string          `json:"id"`
	Name      string          `json:"name,omitempty"`
	Addr      string          `json:"addr"`      // remote multiaddr
	Direction string          `json:"direction"` // "inbound" or "outbound"
	Version   string          `json:"version,omitempty"`
	Head      uint64          `json:"head"` // number of the last head it told
	Score     float64         `json:"score"`
	RTTMicros int64           `json:"rtt_us"`         // smoothed round trip, 0 when unknown
	Mesh      map[string]bool `json:"mesh,omitempty"` // topics in whose mesh it is
}

// Member is a member of the network, as pheme_members lists it.
type Member struct {
	ID          string            `json:"id"`
	Self        bool              `json:"self,omitempty"`
	State       string            `json:"state"` // "alive", "suspect", "dead" or "left"
	Since       int64             `json:"since"` // of the state, Unix milliseconds
	Incarnation uint64            `json:"incarnation"`
	Addrs       []string          `json:"addrs"`            // multiaddrs it says it is reached at
	Metadata    map[string]string `json:"metadata"`         // head, pool and version, and what its operator wrote
	RTTMicros   int64             `json:"rtt_us,omitempty"` // smoothed, of probes; 0 when unknown
}

// Aggregates is the answer of pheme_network: estimates that the members compute
// together by averaging in pairs, within 2 % of the truth. All is 0 in a young network.
type Aggregates struct {
	Nodes float64       `json:"nodes"`
	Mean  AggregateMean `json:"mean"`
	Max   AggregateMax  `json:"max"`
}

// AggregateMean holds averages over all members.
type AggregateMean struct {
	Head float64 `json:"head"` // block number
	Pool float64 `json:"pool"` // transactions
	Load float64 `json:"load"` // bytes a second sent and received
}

// AggregateMax holds the largest values of any member.
type AggregateMax struct {
	Head uint64 `json:"head"`
	Pool uint64 `json:"pool"`
	Load uint64 `json:"load"`
}

// Evidence is an offence of a proposer, as pheme_evidence lists it.
type Evidence struct {
	Slot     uint64         `json:"slot"`
	Proposer common.Address `json:"proposer"`
	Blocks   []common.Hash  `json:"blocks"` // the two of one slot, or the invalid one
	Reason   string         `json:"reason"`
}

// TraceEvent is one event of pheme_subscribe "trace", in the terms of the node's
// trace records.
type TraceEvent struct {
	At    int64       `json:"at"`    // nanoseconds, the node's monotonic clock
	Wall  int64       `json:"wall"`  // the same moment, Unix nanoseconds by the node's wall clock at its start
	Kind  string      `json:"kind"`  // "block.sealed"
	Class string      `json:"class"` // "block", "tx", ... or "none"
	Hash  common.Hash `json:"hash"`
	Peer  uint64      `json:"peer"`
	Size  uint32      `json:"size"`
	Aux   int64       `json:"aux"`
	Lost  uint64      `json:"lost,omitempty"` // events dropped before this one because this subscriber lagged
}
