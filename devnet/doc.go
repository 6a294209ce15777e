// Package devnet starts networks of real nodes on this machine and measures how blocks and
// transactions spread through them.
//
// [Up] is a network to play with; [Measure] runs one experiment and writes its report. Both stand
// on cluster (the processes). A measurement flows one way:
//
//	experiment.Spec -> engine (N nodes, workload) -> trace events of every node
//	                -> recorder (deliveries, hops, stages, bytes) -> stats (intervals)
//	                -> report (results.json, deliveries.csv, report.html, the table)
//
// Everything right of the engine is pure: events in, figures out. An engine owns time: it returns,
// for each seed, what the nodes' rings recorded and which stretch of time counts, and nothing it
// does afterwards can change a figure. What each figure means is written in the package recorder,
// beside the code that computes it.
//
// [Sweep] measures the cells of a grid, side by side as far as cores and memory allow, keeps those
// that are done and fits laws over them. Package compare holds two runs against each other. The
// experiments that come with the program are in experiments, embedded.
//
// Faults follow the schedule that package fault makes of the experiment: faultRun plays it on the
// rig of an engine (signals and sockets of processes, or hosts and links of virtual time), notes
// who belonged to E when, and takes for each fault the proof that it happened. Clocks that are
// wrong do not bend the figures: events are stamped by the monotonic clock, a skew is of the wall
// clock that slots go by.
//
// # Virtual time at scale
//
// The virtual engine runs whole nodes - host, GossipSub, pool, chain on memory storage, proposer, API - a thousand in one process, on
// one core. What was spent without need, by profile at 1,000 nodes and 128 KiB blocks, and what is done instead:
//
//   - 126 of 198 s: Go's one heap of a bubble's timers, walked whole whenever one that was reset while pending came due. They are made
//     anew; a stream's deadline has a timer only while somebody waits (p2p, p2p/link/virtual).
//   - a third of the rest: every node hashed, decoded and verified each payload. Equal payloads are one, with what was computed of them
//     (p2p.Shared); so are blocks, their execution and the tree of states (chain.Shared). Each node's clock is charged all the same.
//   - the copies of a block in every cache and store: one is shared, and databases hold none.
//   - membership, in which each knows all: off unless asked for.
//
// What is left is GossipSub, scheduling, copying payloads in and out, and a fifth for the collector, which runs only when nothing else
// can. go test ./devnet -run '^$' -bench '^BenchmarkVirtual$/nodes=100$' -benchtime 1x -cpu 1 -cpuprofile cpu.out shows it again.
//
// Goroutines: those of the cluster's children (one waiting on each) and of the workload (one a
// node), one a seed that runs (see lanes) and one a running cell of a sweep; all end before Measure, Sweep or Up returns. Refused: a run whose figures would not be honest,
// by an [UnfitError] that names the reason and what to change.
package devnet
