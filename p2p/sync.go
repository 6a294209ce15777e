package p2p

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
)

// Catch-up. A peer's claim of a better head is followed at once when the peer was
// two blocks ahead as we met it or a missing parent has a missing parent, else
// when gossip has had the time to bring what is missing and did not. The headers
// from the newest common block on come first, every signature of theirs checked,
// until they outweigh our chain; then the blocks in order, several parts at once
// and from several peers. Nothing a peer claims is believed: only headers count
// for weight, only what chain.Check and the import accept moves us, or a state that
// many proposers built on, and the claims of a peer that was followed in vain rest,
// longer each time and whether it stays or comes back, while others are followed.

// syncer is the state others may look at.
type syncer struct {
	wake chan struct{} // one token: claims or our head changed
	busy atomic.Bool   // a catch-up is under way
	sure atomic.Bool   // and has headers that outweigh ours
	poor bool          // runSync's: the last one brought little, and less than was claimed
}

func newSyncer() *syncer { return &syncer{wake: make(chan struct{}, 1)} }

func (s *syncer) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

const (
	partBlocks = 32 // blocks in one request of catch-up
	partsAhead = 3  // parts fetched while one is imported

	// enough is how many blocks a catch-up brings that is not poor: fewer than one frame of
	// headers stands for, and more than are made while one may be waited for.
	enough = 256
)

// errNothing is a claim of a better head behind which nothing is.
var errNothing = errors.New("p2p: nothing follows our chain")

// runSync follows better claims, one at a time.
func (n *Net) runSync(ctx context.Context) error {
	timer := newAlarm(time.Hour)
	defer func() { timer.Stop() }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.sync.wake:
		case <-timer.C:
		}
		target, due := n.target(time.Now())
		if target == nil {
			if !due.IsZero() {
				timer.set(time.Until(due))
			}
			continue
		}
		n.follow(ctx, *target)
	}
}

// follow runs one catch-up and notes what it was good for.
func (n *Net) follow(ctx context.Context, target claim) {
	before := n.status()
	n.sync.busy.Store(true)
	err := n.catchUp(ctx, target)
	n.sync.sure.Store(false)
	n.sync.busy.Store(false)
	if ctx.Err() != nil {
		return
	}
	after := n.status()
	if err != nil {
		log.Infow("catch-up stopped", "peer", target.peer, "claimed", target.status.Number, "head", after.Number, "err", err)
	}
	n.peers.followed(target.peer, err == nil && after.better(before), time.Now())
	n.sync.poor = after.Number < min(target.status.Number, before.Number+enough)
	n.sync.kick() // perhaps there is more
}

// target is the best claim that is due, or when the next one will be. After a catch-up
// that brought less than was claimed it is the one that has waited longest: whoever
// claims most, and however many do, all others have their turn.
func (n *Net) target(now time.Time) (best *claim, due time.Time) {
	ours := n.status()
	claims := n.peers.claims(n.host.ID(), func(s status) bool { return s.better(ours) })
	if n.sync.poor {
		slices.SortStableFunc(claims, func(a, b claim) int { return a.waits.Compare(b.waits) })
	}
	for _, c := range claims {
		if !c.due.After(now) {
			return &c, time.Time{}
		}
		if due.IsZero() || c.due.Before(due) {
			due = c.due
		}
	}
	return nil, due
}

// catchUp follows one claim: headers until they outweigh our chain, then blocks,
// or the state where that is the shorter way or the only one.
func (n *Net) catchUp(ctx context.Context, target claim) error {
	far := !n.cfg.FullSync && target.status.Number > n.chain.Weight()+n.cfg.StateBlocks
	headers, from, err := n.fetchHeaders(ctx, n.sources(target.peer, target.status.Number), far)
	if err != nil {
		return err
	}
	for len(headers) > 0 && n.canonical(headers[0]) {
		headers = headers[1:]
	}
	if len(headers) == 0 || !headers[len(headers)-1].Better(n.chain.HeadHeader()) {
		return errNothing
	}
	n.sync.sure.Store(true)
	last := headers[len(headers)-1].Number()
	log.Debugw("catch-up", "peer", from, "first", headers[0].Number(), "last", last, "claimed", target.status.Number)
	below := headers[0].Number() <= n.chain.Low()
	if far = far && last > n.chain.Weight()+n.cfg.StateBlocks; far || below {
		if below {
			log.Warnw("a heavier branch leaves ours below the undo window: its state is taken over", "fork", headers[0].Number()-1, "head", n.chain.Weight(), "theirs", last)
		}
		way, err := n.pivotOf(headers)
		if err == nil {
			err = n.takeState(ctx, way, from)
		}
		if below || !errors.Is(err, errNoState) && !errors.Is(err, errNoPivot) {
			return err
		}
		log.Infow("no peer gives a state: fetching all blocks", "err", err)
	}
	for n.chain.Has(headers[0].ID()) { // on a side branch, or come meanwhile
		if headers = headers[1:]; len(headers) == 0 {
			return nil
		}
	}
	f := fetcher{net: n, sources: n.sources(from, last)} // who has them, whatever was claimed
	return f.run(ctx, headers)
}

// canonical tells whether a block is on our canonical chain.
func (n *Net) canonical(h *chain.SignedHeader) bool {
	own := n.chain.SignedHeaderByNumber(h.Number())
	return own != nil && own.ID() == h.ID()
}

// sources are the peers to ask for what has a number, a certain one first.
func (n *Net) sources(first peer.ID, number uint64) []peer.ID {
	return append([]peer.ID{first}, slices.DeleteFunc(n.holders(number), func(p peer.ID) bool { return p == first })...)
}

// maxAhead bounds the headers in memory of a branch that does not outweigh ours yet.
const maxAhead = 16 * maxHeaders

// fetchHeaders gets the headers that follow our chain on the branch of the first
// source that answers, as many as outweigh ours or one answer; all there are when
// far, or when they begin below the undo window. Each is signed by
// its slot's proposer, so to make headers that outweigh ours without blocks takes
// as many proposers as made ours. It gives up when a good frame takes longer than the
// slowest source that hedge does not leave, and RequestTimeout.
func (n *Net) fetchHeaders(ctx context.Context, sources []peer.ID, far bool) (headers []*chain.SignedHeader, from peer.ID, err error) {
	locator := n.locator()
	kind := uint64(askAfter)
	if far {
		kind = askPath
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := n.cfg.RequestTimeout + maxHeadersBytes*n.cfg.FetchTimeout/minProgress
	patience := time.AfterFunc(limit, func() { cancel(errStalled) })
	defer patience.Stop()
	came := func() { patience.Reset(limit) }
	next, from, err := fetchFrom(ctx, n, sources, nil, func(ctx context.Context, p peer.ID, progress *atomic.Int64) ([]*chain.SignedHeader, error) {
		return n.askHeaders(ctx, p, kind, locator, n.chain.SignedHeaderByID, came, progress)
	})
	for err == nil && len(next) > 0 {
		headers = append(headers, next...)
		last := headers[len(headers)-1]
		far = far || headers[0].Number() <= n.chain.Low()
		better := last.Better(n.chain.HeadHeader())
		if better && (!far || len(headers) >= maxPath) || len(next)%maxHeaders != 0 {
			break
		}
		if !better && len(headers) >= maxAhead {
			return nil, from, fmt.Errorf("%w: %d headers that do not outweigh ours", errNothing, len(headers))
		}
		next, _, err = fetchFrom(ctx, n, []peer.ID{from}, nil, func(ctx context.Context, p peer.ID, progress *atomic.Int64) ([]*chain.SignedHeader, error) {
			return n.askHeaders(ctx, p, kind, []common.Hash{last.ID()}, func(common.Hash) *chain.SignedHeader { return last }, came, progress)
		})
	}
	if err != nil {
		return nil, from, fmt.Errorf("ask for headers: %w", err)
	}
	return headers, from, nil
}

// fetcher gets the blocks of a list of headers in order.
type fetcher struct {
	net     *Net
	sources []peer.ID
}

// part is a piece of the list on its way.
type part struct {
	want   []*chain.SignedHeader
	blocks []*chain.Block
	from   peer.ID
	err    error
	done   chan struct{}
}

// run fetches parts ahead and takes them in order.
func (f *fetcher) run(ctx context.Context, want []*chain.SignedHeader) error {
	g, ctx := errgroup.WithContext(ctx)
	parts := make(chan *part, partsAhead-1) // with the one in hand, what may be in memory
	sources := slices.Clone(f.sources)
	g.Go(func() error {
		defer close(parts)
		for i := 0; len(want) > 0; i++ {
			p := &part{want: want[:min(partBlocks, len(want))], done: make(chan struct{})}
			want = want[len(p.want):]
			turn := i % len(sources)
			order := append(slices.Clone(sources[turn:]), sources[:turn]...)
			g.Go(func() error {
				defer close(p.done)
				p.blocks, p.from, p.err = f.net.fetchBlocks(ctx, idsOf(p.want), order)
				return nil
			})
			select {
			case parts <- p:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	g.Go(func() error {
		for p := range parts {
			select {
			case <-p.done:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := f.take(ctx, p); err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}

// take imports a part, asking again for what is missing from it.
func (f *fetcher) take(ctx context.Context, p *part) error {
	for {
		if p.err != nil {
			return fmt.Errorf("fetch blocks: %w", p.err)
		}
		for _, b := range p.blocks {
			b.Vouch(p.want[0])
			err := f.net.importBlock(ctx, p.from, b)
			if err != nil && verdict(err) == Reject {
				f.net.punish(p.from, offenceLie, err)
				f.sources = slices.DeleteFunc(f.sources, func(s peer.ID) bool { return s == p.from })
				break // ask the others for it
			}
			if err != nil {
				return err
			}
			p.want = p.want[1:]
		}
		if len(p.want) == 0 {
			return nil
		}
		p.blocks, p.from, p.err = f.net.fetchBlocks(ctx, idsOf(p.want), f.sources)
	}
}

func idsOf(headers []*chain.SignedHeader) []common.Hash {
	out := make([]common.Hash, len(headers))
	for i, h := range headers {
		out[i] = h.ID()
	}
	return out
}

// importBlock judges one block of a catch-up and imports it.
func (n *Net) importBlock(ctx context.Context, from peer.ID, b *chain.Block) error {
	err := n.judge(from, b, trace.PathSync)
	var early chain.ErrEarly
	if errors.As(err, &early) && early.Hold {
		if err = sleep(ctx, time.Until(early.When)); err == nil {
			err = n.judge(from, b, trace.PathSync)
		}
	}
	switch {
	case err == nil, errors.Is(err, chain.ErrSecondBlock):
	case errors.Is(err, chain.ErrKnown): // checked before; perhaps imported
		if n.chain.Has(b.ID()) {
			n.relay.Taken(b)
			return nil
		}
	default:
		return fmt.Errorf("block %d: %w", b.Number(), err)
	}
	if err := n.backend.ImportBlock(ctx, from, b); err != nil && !errors.Is(err, chain.ErrKnown) {
		return fmt.Errorf("block %d: %w", b.Number(), err)
	}
	n.relay.Taken(b)
	n.arrived.put(b.ID())
	return nil
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
