// Package link is the model of the network between nodes, as values in and
// values out: it has no clock, goroutine, log or I/O.
package link
