package relay

// Stats counts what a relay has done since it began.
type Stats struct {
	Published Forms // blocks of our own, by the form they were sent in
	Received  Forms // blocks of others, by the form of the first message about them that was valid

	// How blocks announced in pieces became whole; the rest came by other ways, whole.
	FromPool    uint64 // of the pool and what the announcement brought
	WithAnswers uint64 // and of transactions that a peer was asked for
	FromChunks  uint64

	FetchedWhole uint64 // given up in pieces and asked for whole

	AnnouncedBytes uint64 // transactions of the blocks announced in pieces that could be compared with the pool
	PooledBytes    uint64 // of them pooled beforehand

	TxsFetched, TxsServed uint64 // single transactions that were asked for

	ChunksSent, ChunksReceived, ChunksDuplicate uint64 // duplicate: came again, or when the block was whole
	ChunksPosted, ChunksLost                    uint64 // of those sent: in datagrams; and of those again: not acknowledged
	DatagramsDropped                            uint64 // came faster than they were read
}

// Forms counts blocks by the form of a message.
type Forms struct{ Gossip, Compact, Coded uint64 }

func (f *Forms) add(kind byte) {
	switch kind {
	case kindGossip:
		f.Gossip++
	case kindCompact:
		f.Compact++
	case kindCoded:
		f.Coded++
	}
}

// HitRate is the share of announced transactions, by bytes, that was pooled
// beforehand; 0 as long as none were announced.
func (s *Stats) HitRate() float64 {
	return float64(s.PooledBytes) / float64(max(1, s.AnnouncedBytes))
}

// compared notes how much of an announced block was pooled. The mutex is held.
func (e *engine) compared(pooled, size int) {
	e.share.note(float64(pooled) / float64(size))
	e.stats.AnnouncedBytes += uint64(size)
	e.stats.PooledBytes += uint64(pooled)
}

// pieced notes of which pieces a block was put together, unless it has come whole
// meanwhile.
func (e *engine) pieced(t *transfer, chunks bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case t.block != nil:
	case chunks:
		e.stats.FromChunks++
	case len(t.asked) > 0:
		e.stats.WithAnswers++
	default:
		e.stats.FromPool++
	}
}

// Stats implements Relay.
func (e *engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stats
}

// count changes the counters under the mutex.
func (e *engine) count(change func(*Stats)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(&e.stats)
}
