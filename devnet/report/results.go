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
}

// Environment is where and with what the figures were made.
type Environment struct {
	Command  string    `json:"command"`
	Version  string    `json:"version"`
	Revision string    `json:"revision"`
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
// not tell.
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
}

// RunResult is one seed in results.json.
type RunResult struct {
	Seed       int64         `json:"seed"`
	WallS      float64       `json:"wall_s"`
	EventsLost uint64        `json:"events_lost"`
	Warmup     int           `json:"warmup_blocks"`
	Slots      int           `json:"slots"`
	Missed     int           `json:"missed_slots"`
	Stale      int           `json:"stale_blocks"`
	Txs        int           `json:"txs"`
	Host       Host          `json:"host"`
	Messages   []BlockResult `json:"messages"`
	Nodes      []NodeResult  `json:"nodes"`
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
	Curve      []Point    `json:"curve"`           // share of all deliveries over time
	ByMessage  [][]Point  `json:"by_message"`      // the same for single messages, at most maxThin
	Split      []SplitBar `json:"split,omitempty"` // where the time to C50, C90, C99 went, mean over messages
}

// Point is a step of a curve: from MS on, Share of the deliveries are there.
type Point struct {
	MS    float64 `json:"ms"`
	Share float64 `json:"share"`
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
