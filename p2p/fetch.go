package p2p

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
)

var (
	// errMissing is a peer that has not got what was asked.
	errMissing = errors.New("p2p: peer has not got the block")
	// errStalled is a request that no source moves forward.
	errStalled = errors.New("p2p: no source answers")
	// errNoSource is a request nobody is left to be asked.
	errNoSource = errors.New("p2p: no peer to ask")
)

const (
	parallel    = 3        // sources asked for the same thing at once
	minProgress = 16 << 10 // bytes in FetchTimeout below which another source is asked
	stallAfter  = 5        // FetchTimeouts in a row below minProgress, with every source asked
)

// hedge asks the first source, and the next whenever the ones before fail or
// bring fewer than minProgress bytes in the time of patience; the first good
// answer wins. When nothing moves for stallAfter times as long, the oldest ask makes
// room for a source that has not been asked. It returns after every ask has; the
// cause that ends one is errStalled, if it is not that another was faster.
//
// heard, which may be nil, is how many bytes a source has sent in answer to anything.
// While one that was asked sends other things we are patient stallAfter times as
// long: our answer stands in its queue, and to ask for it twice would only make the
// queue longer.
func hedge[T any](ctx context.Context, sources []peer.ID, patience time.Duration, heard func(peer.ID) int64, ask func(context.Context, peer.ID, *atomic.Int64) (T, error)) (T, peer.ID, error) {
	type outcome struct {
		value T
		from  peer.ID
		err   error
	}
	var none T
	type asked struct {
		from peer.ID
		stop context.CancelCauseFunc
	}
	var asks sync.WaitGroup
	defer asks.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil) // runs before Wait
	outcomes := make(chan outcome, len(sources))
	var progress atomic.Int64
	var running []asked // the oldest first
	next := 0
	before := make([]int64, len(sources)) // what had been heard of each at the last tick
	more := func() {
		if next == len(sources) || len(running) == parallel {
			return
		}
		p := sources[next]
		ctx, stop := context.WithCancelCause(ctx)
		if heard != nil {
			before[next] = heard(p)
		}
		next++
		running = append(running, asked{p, stop})
		asks.Go(func() {
			v, err := ask(ctx, p, &progress)
			outcomes <- outcome{v, p, err}
		})
	}
	tick := time.NewTicker(patience)
	defer tick.Stop()
	busy := func() (yes bool) {
		for i := 0; heard != nil && i < next; i++ {
			now := heard(sources[i])
			yes = yes || now-before[i] >= minProgress
			before[i] = now
		}
		return yes
	}
	var errs []error
	var seen int64
	idle, queued := 0, 0
	more()
	for len(running) > 0 {
		select {
		case o := <-outcomes:
			running = slices.DeleteFunc(running, func(a asked) bool { return a.from == o.from })
			if o.err == nil {
				return o.value, o.from, nil
			}
			errs = append(errs, fmt.Errorf("%s: %w", o.from, o.err))
			more()
		case <-tick.C:
			now, busy := progress.Load(), busy()
			switch {
			case now-seen >= minProgress:
				idle, queued = 0, 0
			case busy && queued < stallAfter:
				queued++
			default:
				idle, queued = idle+1, 0
				more()
			}
			if idle >= stallAfter && next == len(sources) {
				cancel(errStalled)
				return none, "", errStalled
			}
			if idle >= stallAfter {
				running[0].stop(errStalled) // its outcome has the next one asked
				idle -= parallel            // which gets as long as the last of the first ones
			}
			seen = now
		case <-ctx.Done():
			return none, "", context.Cause(ctx)
		}
	}
	return none, "", errors.Join(append(errs, errNoSource)...)
}

// fetchFrom is hedge over peers, last those that did not give what they were asked for
// before, or took longer than RequestTimeout. It is no failure not to have it, or to be
// slower than another.
func fetchFrom[T any](ctx context.Context, n *Net, sources []peer.ID, heard func(peer.ID) int64, ask func(context.Context, peer.ID, *atomic.Int64) (T, error)) (T, peer.ID, error) {
	return hedge(ctx, n.peers.doubtedLast(sources), n.cfg.FetchTimeout, heard, func(ctx context.Context, p peer.ID, progress *atomic.Int64) (T, error) {
		began := time.Now()
		v, err := ask(ctx, p, progress)
		outrun := err != nil && ctx.Err() != nil && !errors.Is(context.Cause(ctx), errStalled)
		if !outrun && !errors.Is(err, errMissing) && !errors.Is(err, errTooLong) {
			n.peers.answered(p, err == nil && time.Since(began) <= n.cfg.RequestTimeout)
		}
		return v, err
	})
}

// exchange opens a stream, writes a request and hands the answer to read. It gives up
// when RequestTimeout has brought less than minProgress bytes.
func (n *Net) exchange(ctx context.Context, p peer.ID, id protocol.ID, request []byte, progress *atomic.Int64, read func(*countedStream, io.Reader) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	patience := time.AfterFunc(n.cfg.RequestTimeout, cancel)
	defer patience.Stop()
	raw, err := n.host.NewStream(network.WithNoDial(ctx, "request"), p, id)
	if err != nil {
		return fmt.Errorf("open %s stream: %w", id, err)
	}
	s := n.counted(raw)
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer stop()
	defer s.Reset() // nothing, once it is closed
	if err := writeFrame(s, request); err != nil {
		return err
	}
	if err := s.CloseWrite(); err != nil {
		return err
	}
	if err := read(s, &watched{Reader: s, progress: progress, moved: func() { patience.Reset(n.cfg.RequestTimeout) }}); err != nil {
		return err
	}
	return s.Close()
}

// watched counts what is read as progress, and calls moved for each minProgress of it.
type watched struct {
	io.Reader
	progress *atomic.Int64
	moved    func()
	since    int // bytes since it was called
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.Reader.Read(b)
	w.progress.Add(int64(n))
	if w.since += n; w.since >= minProgress {
		w.since = 0
		w.moved()
	}
	return n, err
}

// askBlocks asks one peer for blocks by id. It returns the first ones of ids, at
// least one. A block that is not what was asked for is a lie and punished.
func (n *Net) askBlocks(ctx context.Context, p peer.ID, ids []common.Hash, progress *atomic.Int64) ([]*chain.Block, error) {
	var blocks []*chain.Block
	err := n.exchange(ctx, p, blocksProtocol, request{Kind: askBlocks, IDs: ids}.encode(), progress, func(s *countedStream, r io.Reader) error {
		for _, id := range ids {
			begin, before := n.clock.Now(), s.in.Load()
			raw, err := readFrame(r, n.maxMessage)
			if errors.Is(err, io.EOF) {
				return nil
			}
			end := n.clock.Now()
			if err != nil {
				if got := s.in.Load() - before; got > 0 { // it came in vain, and came
					n.hook.Emit(trace.Event{At: end, Kind: trace.MsgRead, Class: trace.ClassSync, Hash: id, Peer: s.tag, Size: uint32(got), Aux: end - begin})
				}
				return err
			}
			n.hook.Emit(trace.Event{At: end, Kind: trace.MsgRead, Class: trace.ClassSync, Hash: id, Peer: s.tag, Size: uint32(len(raw)), Aux: end - begin})
			b, err := n.chain.DecodeBlock(raw, n.backend.Tx)
			if err != nil {
				return err
			}
			if b.ID() != id {
				return fmt.Errorf("%w: asked for block %s, got %s", ErrProtocol, id, b.ID())
			}
			blocks = append(blocks, b)
		}
		return nil
	})
	if err != nil && verdict(err) == Reject {
		n.punish(p, offenceLie, err)
	}
	switch {
	case len(blocks) > 0:
		return blocks, nil // what came whole is good, whatever came after
	case err == nil:
		err = errMissing
	}
	return nil, err
}

// askHeaders asks one peer for the headers that follow the first of the locator it
// has on its canonical chain, one frame of them or, of kind askPath, as many as it
// gives. base finds the parent of the first one, which must be of the locator; came is
// called after each frame that is good. What comes back follows base and passed
// chain.CheckHeaders. If it is whole frames, there may be more.
func (n *Net) askHeaders(ctx context.Context, p peer.ID, kind uint64, locator []common.Hash, base func(common.Hash) *chain.SignedHeader, came func(), progress *atomic.Int64) (headers []*chain.SignedHeader, err error) {
	err = n.exchange(ctx, p, blocksProtocol, request{Kind: kind, IDs: locator}.encode(), progress, func(_ *countedStream, r io.Reader) error {
		for range maxFrames {
			b, err := readFrame(r, maxHeadersBytes)
			if errors.Is(err, io.EOF) && len(headers) > 0 {
				return nil
			}
			if err != nil {
				return err
			}
			next, err := n.takeHeaders(b, locator, base)
			if err != nil {
				return err
			}
			came()
			headers = append(headers, next...)
			if kind == askAfter || len(next) < maxHeaders {
				return nil
			}
			last := next[len(next)-1]
			locator, base = []common.Hash{last.ID()}, func(common.Hash) *chain.SignedHeader { return last }
		}
		return nil
	})
	if err != nil && verdict(err) == Reject {
		n.punish(p, offenceLie, err)
		return nil, err
	}
	if err != nil && len(headers) == 0 {
		return nil, err
	}
	return headers, nil // frames that came whole are good, whatever came after
}

// takeHeaders reads and checks one frame of headers.
func (n *Net) takeHeaders(frame []byte, locator []common.Hash, base func(common.Hash) *chain.SignedHeader) ([]*chain.SignedHeader, error) {
	a, err := decodeAnswer(frame)
	if err != nil || len(a.Headers) == 0 {
		return nil, err
	}
	if !slices.Contains(locator, a.After) {
		return nil, fmt.Errorf("%w: headers that follow what was not asked for", ErrProtocol)
	}
	parent := base(a.After)
	if parent == nil {
		return nil, fmt.Errorf("%w: our header %s cannot be read", chain.ErrStorage, a.After)
	}
	headers, err := n.chain.Headers(parent, a.Headers)
	if err != nil {
		return nil, err
	}
	n.charge(chain.Work{Signatures: len(headers)})
	return headers, n.chain.CheckHeaders(parent, headers, time.Now())
}

// fetchBlocks gets the first ones of ids, at least one, from any of the sources.
func (n *Net) fetchBlocks(ctx context.Context, ids []common.Hash, sources []peer.ID) ([]*chain.Block, peer.ID, error) {
	return fetchFrom(ctx, n, sources, nil, func(ctx context.Context, p peer.ID, progress *atomic.Int64) ([]*chain.Block, error) {
		return n.askBlocks(ctx, p, ids, progress)
	})
}

// want is a block that a held message waits for.
type want struct {
	id     common.Hash
	from   peer.ID // who sent the child
	number uint64
}

const maxFetches = 8 // parents fetched at once

// runFetches fetches the parents of held blocks, each as soon as it is wanted.
func (n *Net) runFetches(ctx context.Context) error {
	var g errgroup.Group
	defer g.Wait()
	g.SetLimit(maxFetches)
	var mu sync.Mutex
	busy := make(map[common.Hash]bool)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.wanted.wake:
		}
		for _, w := range n.wanted.take() {
			mu.Lock()
			skip := busy[w.id]
			busy[w.id] = true
			mu.Unlock()
			if skip {
				continue
			}
			started := g.TryGo(func() error {
				defer func() {
					mu.Lock()
					delete(busy, w.id)
					mu.Unlock()
				}()
				n.fetchParent(ctx, w)
				return nil
			})
			if !started { // catch-up brings it
				mu.Lock()
				delete(busy, w.id)
				mu.Unlock()
				n.sync.kick()
			}
		}
	}
}

// fetchParent fetches one block unless it is here, first from the peer that sent its
// child. A source whose block does not pass is punished and the next one asked.
func (n *Net) fetchParent(ctx context.Context, w want) {
	if n.here(w.id) {
		return
	}
	if n.sync.busy.Load() && !n.sync.sure.Load() { // it may be on its way there, or follow a lie
		if sleep(ctx, n.cfg.FetchTimeout) != nil || n.here(w.id) {
			return
		}
	}
	if n.sync.sure.Load() {
		return // catch-up is on its way there
	}
	sources := append([]peer.ID{w.from}, slices.DeleteFunc(n.holders(w.number), func(p peer.ID) bool { return p == w.from })...)
	for len(sources) > 0 {
		blocks, from, err := n.fetchBlocks(ctx, []common.Hash{w.id}, sources)
		if err != nil {
			if ctx.Err() == nil {
				log.Debugw("parent not fetched", "id", w.id, "err", err)
				n.sync.kick()
			}
			return
		}
		err = n.take(from, blocks[0], trace.PathFetch)
		switch {
		case verdict(err) == Reject:
			n.punish(from, offenceLie, err)
			sources = slices.DeleteFunc(sources, func(p peer.ID) bool { return p == from })
			continue
		case errors.Is(err, chain.ErrUnknownParent):
			n.peers.hurry(w.from) // more than one is missing
			n.sync.kick()
		case errors.Is(err, chain.ErrKnown):
			n.relay.Taken(blocks[0])
			n.arrived.put(w.id)
		}
		return
	}
}

// here tells whether a block came meanwhile, and has what waits for it go on.
func (n *Net) here(id common.Hash) bool {
	b := n.chain.BlockByID(id)
	if b == nil {
		return false
	}
	n.relay.Taken(b)
	n.arrived.put(id)
	return true
}

// holders are the peers that say they have a block of that number, those that
// failed before last.
func (n *Net) holders(number uint64) (ids []peer.ID) {
	for _, c := range n.peers.claims(n.host.ID(), func(s status) bool { return s.Number >= number }) {
		ids = append(ids, c.peer)
	}
	return ids
}
