package report

import (
	"time"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/stats"
)

// Schema names the form of results.json; a change that breaks a reader raises the number.
const Schema = "pheme.results/1"

// Unshaped labels figures taken over links without a model: they are this machine's, not a network's.
const Unshaped = "unshaped"

// Results is everything a measurement found, as results.json holds it.
type Results struct {
	Schema      string                  `json:"schema"`
	Digest      string                  `json:"digest"`      // of the resolved experiment
	Fingerprint string                  `json:"fingerprint"` // of the deliveries of all runs
	Links       string                  `json:"links"`
	Experiment  experiment.Spec         `json:"experiment"`
	Environment Environment             `json:"environment"`
	Notes       []string                `json:"notes"` // what a reader of the figures must know
	Summary     map[string]stats.Figure `json:"summary"`
	Expected    []Expected              `json:"expected,omitempty"` // by name of the figure
	Runs        []RunResult             `json:"runs"`
	Block       Shape                   `json:"block"` // over all runs
	Tx          Shape                   `json:"tx"`
	Folder      string                  `json:"-"` // where they are written or were read; "" for nowhere
	Stretch     Stretch                 `json:"stretch"`
	Worst       []WorstNode             `json:"worst_nodes"`        // at most maxWorst, the worst first
	Lifecycle   []LifeStep              `json:"tx_lifecycle"`       // in the order in which a transaction goes through them
	Overlays    []Overlay               `json:"overlays,omitempty"` // other runs to read this one against
}

// Environment is where and with what the figures were made.
type Environment struct {
	Command  string    `json:"command"`
	Version  string    `json:"version"`
	Revision string    `json:"revision"`
	Program  string    `json:"program,omitempty"` // SHA-256 of the program's file: tells apart what a revision does not
	Go       string    `json:"go"`
	Platform string    `json:"platform"`
	Kernel   string    `json:"kernel"`
	CPU      string    `json:"cpu"`
	Cores    int       `json:"cores"`
	Memory   int64     `json:"memory_bytes"`
	Load     string    `json:"load"`  // the three load averages before the run, "" where unknown
	Clock    string    `json:"clock"` // what the events' times are of
	Started  time.Time `json:"started"`
	Modules  []Module  `json:"modules"`
}

// Module is a library whose behaviour the figures depend on.
type Module struct {
	Path    string `json:"path"`
	Version string `json:"version"`
}

// Host is how the machine fared while the messages counted. Shares are NaN where the system does
// not tell, in virtual time and of nodes that somebody else started.
type Host struct {
	Busy     stats.Number `json:"busy"`        // share of all cores that was used, by anybody
	Wait     stats.Number `json:"cpu_wait"`    // of the time the nodes wanted a core, the share they waited for one
	Waited   stats.Number `json:"cpu_wait_ms"` // for each node and counted block, all its threads together
	CPUBound bool         `json:"cpu_bound"`   // the latency is the CPU's, not the network's
}

// Process is what one node's process used over its whole life.
type Process struct {
	Name   string  `json:"name"`
	CPU    float64 `json:"cpu_s"`
	MaxRSS int64   `json:"max_rss_bytes"`
}

// Run is one seed as an engine hands it over.
type Run struct {
	Seed      int64
	Record    *recorder.Run
	Warmup    int // blocks sealed after the mesh was formed and before the window
	Slots     int // of the window
	Wall      time.Duration
	Host      Host
	Processes []Process
	Faults    []Fault
}

// Fault is one fault of a run: what was done to which nodes, when, and the proof that it happened.
type Fault struct {
	Kind     string       `json:"kind"` // a kind of experiment.FaultKinds
	Nodes    []string     `json:"nodes"`
	AtMS     float64      `json:"at_ms"`  // since the window began
	EndMS    stats.Number `json:"end_ms"` // likewise; null: it lasted to the end of the run
	Happened bool         `json:"happened"`
	Proof    string       `json:"proof"` // what was seen of it
	// HeadsEqual is how long after the end it took until all nodes that were up had one head at one
	// moment: +Inf when they never had, null without an end or where the run ended less than a horizon after it.
	HeadsEqual stats.Number `json:"heads_equal_ms"`
	// PoolsEqual is how long after the end of a partition every node that was up had, in its pool or in
	// a block, what any pool had taken by then: +Inf when one never had; null for other faults.
	PoolsEqual stats.Number `json:"pools_equal_ms"`
	// Lacking is the bytes of what nodes had to be brought for that, and Repair the bytes of repair that
	// all received within a horizon of the end.
	Lacking int64 `json:"lacking_bytes"`
	Repair  int64 `json:"repair_bytes"`
}

// RunResult is one seed in results.json.
type RunResult struct {
	Seed       int64         `json:"seed"`
	WallS      float64       `json:"wall_s"`
	EventsLost uint64        `json:"events_lost"`
	Warmup     int           `json:"warmup_blocks"`
	Slots      int           `json:"slots"`
	Missed     stats.Number  `json:"missed_slots"` // null, as the next, where not all nodes are followed
	Stale      stats.Number  `json:"stale_blocks"`
	Txs        int           `json:"txs"`
	Host       Host          `json:"host"`
	Messages   []BlockResult `json:"messages"`
	Nodes      []NodeResult  `json:"nodes"`
	Timeline   []Tick        `json:"timeline"`     // one a slot of the window
	ReorgDepth int           `json:"reorg_depth"`  // the most blocks that a node took off its chain at once
	Faults     []Fault       `json:"faults"`       // in the order of their beginnings
	Slowest    []Hop         `json:"slowest_path"` // of the block that took longest to its last node

	// Fingerprint is [recorder.Run.Fingerprint]: the same means the same course.
	Fingerprint string `json:"fingerprint"`
}

// BlockResult is one counted block. Transactions stand in deliveries.csv only.
type BlockResult struct {
	ID      string       `json:"id"`
	Number  int64        `json:"number"`
	Origin  string       `json:"origin"`
	Size    int64        `json:"size_bytes"`
	BornMS  float64      `json:"born_ms"` // since the window began
	C50     stats.Number `json:"c50_ms"`
	C90     stats.Number `json:"c90_ms"`
	C95     stats.Number `json:"c95_ms"`
	C99     stats.Number `json:"c99_ms"`
	C100    stats.Number `json:"c100_ms"`
	N       int          `json:"n"`
	Lost    int          `json:"not_delivered"`
	Copies  float64      `json:"copies"`
	HopsMax int          `json:"hops_max"`
}

// NodeResult is one node over the window; memory and CPU over its whole life.
type NodeResult struct {
	Name     string           `json:"name"`
	Region   string           `json:"region,omitempty"` // of the latency table
	Sealed   int              `json:"blocks_sealed"`
	Expected int              `json:"blocks_expected"`
	Got      int              `json:"blocks_delivered"`
	P50      stats.Number     `json:"p50_ms"`
	P95      stats.Number     `json:"p95_ms"`
	Hops     stats.Number     `json:"hops_mean"`
	In       int64            `json:"bytes_in"`
	Out      int64            `json:"bytes_out"`
	Kinds    map[string]int64 `json:"bytes_in_by_kind"`
	Dropped  int              `json:"messages_dropped"`
	CPU      float64          `json:"cpu_s"`
	MaxRSS   int64            `json:"max_rss_bytes"`
}

// Hop is one step of a block's way to a node.
type Hop struct {
	From    string             `json:"from"`
	To      string             `json:"to"`
	StartMS float64            `json:"start_ms"` // since the block was sealed
	Stages  map[string]float64 `json:"stages_ms"`
	Import  stats.Number       `json:"import_ms"` // after acceptance; only of the last hop
	Block   int64              `json:"block"`
}

// Shape is the distribution behind the figures of one kind of message.
type Shape struct {
	Messages   int        `json:"messages"`
	Deliveries int        `json:"deliveries"`
	Lost       int        `json:"not_delivered"`
	Curve      []Point    `json:"curve"`             // share of all deliveries over time
	Band       []BandStep `json:"band"`              // when single messages got how far
	Regions    []Region   `json:"regions,omitempty"` // the deliveries by the region of their node
	Split      []SplitBar `json:"split,omitempty"`   // where the time to C50, C90, C99 went, mean over messages
}

// Point is a step of a curve: from MS on, Share of the deliveries are there.
type Point struct {
	MS    float64 `json:"ms"`
	Share float64 `json:"share"`
}

// BandStep is how the times to one share of the nodes spread over the messages: their 5th, 50th and
// 95th percentile; infinite where a message never got so far.
type BandStep struct {
	Share float64      `json:"share"`
	P5    stats.Number `json:"p5_ms"`
	P50   stats.Number `json:"p50_ms"`
	P95   stats.Number `json:"p95_ms"`
}

// Region is the deliveries to the nodes of one region of the latency table.
type Region struct {
	Name       string       `json:"name"`
	Nodes      int          `json:"nodes"` // summed over the runs
	Deliveries int          `json:"deliveries"`
	Lost       int          `json:"not_delivered"`
	P50        stats.Number `json:"p50_ms"`
	P95        stats.Number `json:"p95_ms"`
	P99        stats.Number `json:"p99_ms"`
	Curve      []Point      `json:"curve"`
}

// Stretch holds single deliveries of blocks beside what physics allows for them; none where links
// are not shaped.
type Stretch struct {
	Of     int            `json:"of"` // deliveries made, of which Points are a sample
	Points []StretchPoint `json:"points"`
}

// StretchPoint is one delivery. Hops are 0 where the way is not known.
type StretchPoint struct {
	Floor float64 `json:"floor_ms"`
	MS    float64 `json:"ms"`
	Hops  int     `json:"hops"`
}

// WorstNode is a node that blocks reached late, and what sets it apart from the median node.
type WorstNode struct {
	Seed    int64        `json:"seed"`
	Name    string       `json:"name"`
	Region  string       `json:"region,omitempty"`
	P95     stats.Number `json:"p95_ms"`
	Floor   stats.Number `json:"floor_p95_ms"` // none where links are not shaped
	Stretch stats.Number `json:"stretch_p95"`
	Lost    int          `json:"not_delivered"`
	Reason  string       `json:"reason"`
}

// LifeStep is when transactions got to a step of their life, since they were submitted: percentiles
// over all counted transactions, infinite for those that had not got there when the run ended.
type LifeStep struct {
	Step string       `json:"step"`
	P5   stats.Number `json:"p5_ms"`
	P50  stats.Number `json:"p50_ms"`
	P95  stats.Number `json:"p95_ms"`
	N    int          `json:"n"`
	Lost int          `json:"not_by_the_end"`
}

// Tick is one slot of the window, over all nodes of a run.
type Tick struct {
	AtMS      float64          `json:"at_ms"`    // when the slot begins, since the window began
	Up        int              `json:"up"`       // nodes, as the slot ends
	Heads     int              `json:"heads"`    // different heads among them
	Coverage  stats.Number     `json:"coverage"` // of the blocks sealed in it; none without one
	C95       stats.Number     `json:"c95_ms"`   // of the slowest of them
	In        int64            `json:"bytes_in"`
	Out       int64            `json:"bytes_out"`
	OriginOut stats.Number     `json:"origin_bytes_out"` // those of the block's proposer; none without a block
	RelayOut  stats.Number     `json:"relay_bytes_out"`  // mean over the other nodes
	Kinds     map[string]int64 `json:"bytes_in_by_kind"`
}

// Overlay is another run laid over this one: plain gossip beside another relay, or virtual time
// beside real processes.
type Overlay struct {
	Name        string                  `json:"name"` // what sets it apart, for the legend
	Digest      string                  `json:"digest"`
	Command     string                  `json:"command"`
	Revision    string                  `json:"revision"`
	Differences []Difference            `json:"differences"` // of the resolved experiments
	Block       OverlayCurve            `json:"block"`
	Tx          OverlayCurve            `json:"tx"`
	Summary     map[string]stats.Figure `json:"summary"` // its headline figures
}

// Difference is a key whose value is not the same in two experiments.
type Difference struct {
	Key    string `json:"key"`
	Here   string `json:"here"`
	Theirs string `json:"theirs"`
}

// OverlayCurve is one distribution of the other run, and how far this one is from it.
type OverlayCurve struct {
	Deliveries int          `json:"deliveries"`
	Lost       int          `json:"not_delivered"`
	Curve      []Point      `json:"curve"`
	KS         stats.Number `json:"ks_distance"` // largest distance of the two curves; to 1/maxPoints
	P50        stats.Number `json:"p50_ratio"`   // this run / the other
	P99        stats.Number `json:"p99_ratio"`
}

// SplitBar is the mean stage split of the deliveries that completed a coverage.
type SplitBar struct {
	Coverage string             `json:"coverage"`
	Total    float64            `json:"total_ms"`
	Stages   map[string]float64 `json:"stages_ms"`
	Import   float64            `json:"import_ms"` // after acceptance, outside the total
	N        int                `json:"n"`
	Left     int                `json:"left_out"` // messages without this coverage or with an unknown way
}
