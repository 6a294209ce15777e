// Package trace is the measuring hook of a node: one flat Event, one Hook that
// everything reports through, a bounded Ring between the hot path and a file,
// and the fixed-size binary record the file is made of.
//
// It is a leaf: it imports nothing of pheme and knows nothing of libp2p, so
// that every layer can emit events without a new edge in the layer map.
//
// # Flow
//
//	p2p, node --Hook--> Ring.Emit --(bounded buffer)--> Ring.Run --> trace.bin
//	                       |full
//	                       v
//	                    counted as lost
//
// Emit never blocks, never allocates after warm-up and never does I/O. An event
// that finds the buffer full is dropped and counted, the count is written into
// the file, and a run that lost one must say so.
//
// # Clock
//
// Clock reads the system's monotonic clock (CLOCK_MONOTONIC, which all
// processes of one Linux host share), so the stamps of two nodes on one machine
// can be subtracted. The wall time of the same instant stands beside it in the
// file's header.
//
// # Invariants
//
//   - A record is RecordSize bytes; the format has a version byte.
//   - Kinds and classes are numbers on disk: new ones go at the end.
//   - Goroutines: none, except that the caller runs Ring.Run.
//   - The reader never allocates more than the file is long, whatever it holds.
package trace
