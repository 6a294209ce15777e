// Package replay makes the build in which a run in virtual time repeats bit for bit.
//
// The toolchain rolls dice on purpose: map iteration, the order in which select polls, the order of
// fake timers due at one instant; and real time leaks in through preemption, system calls that last
// and the starvation mode of a mutex. Write patches these places in a copy of the toolchain's own
// sources and writes a file for "go build -overlay" that puts the copies in their place; .ci/replay.go
// builds with it. It takes three more conditions, which the virtual engine meets in every build: one thread
// (GOMAXPROCS=1), garbage collected only while everything waits (devnet/bubble), and no dice of our
// own that the seed does not throw.
//
// Nothing of the toolchain is kept here: every edit names the text it replaces and must find it
// exactly once, and only the toolchains in Known are tried. Such a binary throws the same "random"
// numbers every time, cryptographic ones included, so the overlay also sets node.Replay, by which it
// refuses to open a socket or to make a key.
package replay
