// Package workload plans and submits the transactions of a measurement.
//
// The plan is open loop: which transaction goes to which node when is fixed, and everything signed,
// before the first one leaves, so a slow network cannot slow its own load down. Pools are kept one
// block ahead, which keeps blocks full; older transactions tip a little more, so blocks take them
// in order. One sender's transactions go to one node in the order of their nonces.
//
// Making a plan is pure. Run starts one goroutine a node and returns when all have ended.
package workload
