// Package topology builds the seeded graphs along which a devnet's nodes are connected. It is
// pure: the same kind, size, degree and random source give the same graph.
package topology
