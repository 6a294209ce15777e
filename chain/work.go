package chain

// Work is what judging or importing something costs a processor, in units that each have a price. Where time is virtual no processor
// is ever busy, so the engine charges each node for its work; a node on a real clock needs none of it.
type Work struct {
	Signatures  int // recovered: those of transactions that were not known, and of headers
	HashedBytes int // of payload: its message id, the hashes of its transactions and their root
	Transfers   int // executed, with what the state and the store make of them
}
