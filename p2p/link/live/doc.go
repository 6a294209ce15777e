// Package live shapes the live TCP and QUIC connections of one node with the
// model of package link, in user space and without root.
package live
