// Package p2p is a node's place in the network: libp2p host, peers, gossip of
// transactions and blocks, verdicts, and catch-up.
package p2p
