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

// Catch-up. A peer's claim of a better head is followed when it is two blocks
// ahead, or one block ahead for longer than gossip needs to bring it. The ids
// from the newest common block on come first, then the blocks in order, several
// parts at once and from several peers. Nothing a peer claims is believed: only
// what chain.Check and the import accept moves us, and a claim that leads
// nowhere is not followed again.

// syncer is the state others may look at.
type syncer struct {
	wake chan struct{} // one token: claims or our head changed
	busy atomic.Bool   // a catch-up is under way
}

func newSyncer() *syncer { return &syncer{wake: make(chan struct{}, 1)} }

func (s *syncer) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

const (
	partBlocks = 32                     // blocks in one request of catch-up
	partsAhead = 3                      // parts fetched while one is imported
	restAfter  = 500 * time.Millisecond // after a catch-up that failed
)

// errClaim is a claim that its peer did not make good.
var errClaim = errors.New("p2p: claim of a better head led nowhere")

// runSync follows better claims, one at a time.
func (n *Net) runSync(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
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
				timer.Reset(time.Until(due))
			}
			continue
		}
		n.sync.busy.Store(true)
		err := n.catchUp(ctx, *target)
		n.sync.busy.Store(false)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			log.Infow("catch-up stopped", "peer", target.peer, "claimed", target.status.Number, "head", n.chain.Head().Number, "err", err)
			if errors.Is(err, errClaim) {
				n.peers.spend(target.peer, target.status)
				n.punish(target.peer, offenceBarren, err)
			}
			timer.Reset(restAfter)
		default:
			n.peers.spend(target.peer, target.status) // reached, or made good and not better after all
			n.sync.kick()
		}
	}
}

// offenceBarren is small: an honest peer may lose a branch while we ask for it.
const offenceBarren = 20

// target is the best claim that is due, or when the next one will be.
func (n *Net) target(now time.Time) (best *claim, due time.Time) {
	ours := n.status()
	for _, c := range n.peers.claims(n.host.ID()) {
		if !c.status.better(ours) {
			break // the rest is no better
		}
		at := c.told
		if c.status.Number <= ours.Number+1 {
			at = at.Add(n.grace) // gossip may still bring it
		}
		if !at.After(now) {
			return &c, time.Time{}
		}
		if due.IsZero() || at.Before(due) {
			due = at
		}
	}
	return nil, due
}

// catchUp follows one claim.
func (n *Net) catchUp(ctx context.Context, target claim) error {
	sources := n.holders(target.status.Number)
	sources = append([]peer.ID{target.peer}, slices.DeleteFunc(sources, func(p peer.ID) bool { return p == target.peer })...)
	a, from, err := hedge(ctx, sources, n.cfg.FetchTimeout, n.askIDs)
	if err != nil {
		return fmt.Errorf("%w: ask for ids: %w", errClaim, err)
	}
	ids := a.IDs
	for len(ids) > 0 && n.chain.Has(ids[0]) {
		ids = ids[1:]
	}
	if len(ids) == 0 {
		return fmt.Errorf("%w: nothing follows our chain", errClaim)
	}
	log.Debugw("catch-up", "peer", from, "first", a.First, "blocks", len(ids), "claimed", target.status.Number)
	f := fetcher{net: n, sources: append([]peer.ID{from}, slices.DeleteFunc(sources, func(p peer.ID) bool { return p == from })...)}
	return f.run(ctx, ids)
}

// fetcher gets a list of blocks in order.
type fetcher struct {
	net     *Net
	sources []peer.ID
}

// part is a piece of the list on its way.
type part struct {
	ids    []common.Hash
	blocks []*chain.Block
	from   peer.ID
	err    error
	done   chan struct{}
}

// run fetches parts ahead and takes them in order.
func (f *fetcher) run(ctx context.Context, ids []common.Hash) error {
	g, ctx := errgroup.WithContext(ctx)
	parts := make(chan *part, partsAhead-1) // with the one in hand, what may be in memory
	sources := slices.Clone(f.sources)
	g.Go(func() error {
		defer close(parts)
		for i := 0; len(ids) > 0; i++ {
			p := &part{ids: ids[:min(partBlocks, len(ids))], done: make(chan struct{})}
			ids = ids[len(p.ids):]
			turn := i % len(sources)
			order := append(slices.Clone(sources[turn:]), sources[:turn]...)
			g.Go(func() error {
				defer close(p.done)
				p.blocks, p.from, p.err = f.net.fetchBlocks(ctx, p.ids, order)
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
			return fmt.Errorf("%w: fetch blocks: %w", errClaim, p.err)
		}
		for _, b := range p.blocks {
			err := f.net.importBlock(ctx, p.from, b)
			if err != nil && verdict(err) == Reject {
				f.net.punish(p.from, offenceLie, err)
				f.sources = slices.DeleteFunc(f.sources, func(s peer.ID) bool { return s == p.from })
				break // ask the others for it
			}
			if err != nil {
				return err
			}
			p.ids = p.ids[1:]
		}
		if len(p.ids) == 0 {
			return nil
		}
		p.blocks, p.from, p.err = f.net.fetchBlocks(ctx, p.ids, f.sources)
	}
}

// importBlock judges one block of a catch-up and imports it. Errors that are the
// claim's fault wrap errClaim.
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
			return nil
		}
	case verdict(err) == Reject, ctx.Err() != nil:
		return err
	default:
		return fmt.Errorf("%w: block %d: %w", errClaim, b.Number(), err)
	}
	err = n.backend.ImportBlock(ctx, from, b)
	switch {
	case err == nil, errors.Is(err, chain.ErrKnown):
		n.arrived.put(b.ID())
		return nil
	case errors.Is(err, chain.ErrBadBlock), errors.Is(err, chain.ErrInvalidAncestor), errors.Is(err, chain.ErrUnknownParent):
		return fmt.Errorf("%w: block %d: %w", errClaim, b.Number(), err)
	}
	return err
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
