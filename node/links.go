package node

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/p2p/link/live"
	"github.com/pheme-net/pheme/rpc"
)

// Links shapes the connections of one node as the file of a live.Plan says. A nil
// Links shapes nothing. The mutex guards known.
type Links struct {
	path   string
	shaper *live.Shaper
	stop   context.CancelFunc
	ended  errgroup.Group

	mu    sync.Mutex
	known int // entries of the schedule taken up
}

// openLinks makes and runs the shaper of one of the plan's nodes; it is nil without
// a path.
func openLinks(path string, node int) (*Links, error) {
	if path == "" {
		return nil, nil
	}
	plan, err := live.ReadPlan(path)
	if err != nil {
		return nil, fmt.Errorf("%w: --links: %w", ErrConfig, err)
	}
	cfg, start, err := plan.Config()
	if err != nil {
		return nil, fmt.Errorf("%w: --links %s: %w", ErrConfig, path, err)
	}
	l := &Links{path: path, known: len(plan.Schedule)}
	if l.shaper, err = live.New(cfg, node, start); err != nil {
		return nil, fmt.Errorf("%w: --links %s --link-node %d: %w", ErrConfig, path, node, err)
	}
	var ctx context.Context
	ctx, l.stop = context.WithCancel(context.Background())
	l.ended.Go(func() error { return l.shaper.Run(ctx) })
	return l, nil
}

// Close ends the shaper and with it the connections that are left.
func (l *Links) Close() error {
	if l == nil {
		return nil
	}
	l.stop()
	return l.ended.Wait()
}

// Shaper is what goes below the transports of the node's host; nil shapes nothing.
func (l *Links) Shaper() *live.Shaper {
	if l == nil {
		return nil
	}
	return l.shaper
}

// Reload takes up what the plan's schedule has gained and returns what the links
// have carried. Nothing but the end of the schedule may have changed.
func (l *Links) Reload() (rpc.LinkCount, error) {
	if l == nil {
		return rpc.LinkCount{}, errors.New("links are not shaped: start the node with --links")
	}
	plan, err := live.ReadPlan(l.path)
	if err != nil {
		return rpc.LinkCount{}, err
	}
	all, err := plan.Timed()
	if err != nil {
		return rpc.LinkCount{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(all) > l.known {
		if err := l.shaper.Extend(all[l.known:]); err != nil {
			return rpc.LinkCount{}, err
		}
		l.known = len(all)
	}
	c := l.shaper.Count()
	return rpc.LinkCount{Sent: c.Sent, Received: c.Received, Lost: c.Lost, Cut: c.Cut, Resent: c.Resent, Changes: l.known}, nil
}

// afterHeals has the network side dial at once whenever a partition has healed.
func (n *Node) afterHeals(ctx context.Context) error {
	for {
		select {
		case <-n.links.shaper.Heals():
			n.net.Redial()
		case <-ctx.Done():
			return nil
		}
	}
}
