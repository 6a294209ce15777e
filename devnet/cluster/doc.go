// Package cluster runs N `pheme node` processes on this machine: genesis, keys and folders made
// for them, ports chosen by the kernel, readiness awaited as a condition, peers connected over
// the IPC socket, each node startable, stoppable and killable by itself.
//
// Life of a member:
//
//	Add -> Start -> (ready) -> Stop (SIGTERM) | Kill (SIGKILL) | dies by itself -> Start ...
//
// One goroutine waits on each child and ends with it; Close stops every child, waits, and removes
// every file the cluster made. Nothing outlives Close.
package cluster
