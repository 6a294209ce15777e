// Package chain holds blocks, genesis, proposer rules, state, fork choice and
// the LevelDB store.
package chain
