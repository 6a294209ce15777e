// Package fault turns the faults of an experiment into a schedule: what happens to which nodes at
// which instant, for one seed.
//
//	experiment.Fault, seed --> Plan --> Actions (kill, start, pause, bend ...)   for the engine's driver
//	                                \-> Changes (partition, heal, rates ...)     for the link model
//
// It is a pure core: the same experiment and seed give the same schedule in every engine, and no
// clock, process or network is in it. Overlapping faults add up: a node that two faults have killed
// starts when both are over, one that pauses inside a partition stays alone until it goes on,
// and links that two faults have changed are back to what they were when both are over. What two of them say of one link at once is
// the later one's.
//
// # Invariants
//
//   - Actions and changes stand in the order of their times; what ends at an instant comes before
//     what begins then.
//   - Each occurrence of a fault has one beginning, and at most one end, later. A kill and its start
//     name the same nodes; churn is one occurrence each time it strikes.
//   - No action names no node.
package fault
