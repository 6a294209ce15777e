// Package virtual is an in-memory network for whole libp2p hosts in virtual time.
package virtual
