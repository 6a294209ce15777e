package live

import (
	"context"
	"time"

	"github.com/pheme-net/pheme/rpc"
)

const (
	lookEvery = time.Second     // at a node's status and peers
	askWithin = 5 * time.Second // an answer
	traceRoom = 64              // batches of events that may wait for us
)

// Target is a node to show.
type Target struct {
	Name  string
	RPC   string // URL, for people
	Where string // what to dial: its unix socket, or ws:// where that is not at hand
}

// follower keeps the hub informed of one node.
type follower struct {
	target Target
	hub    *hub
}

// run follows until ctx ends. A node that goes away is shown as down and looked for again.
func (f *follower) run(ctx context.Context) {
	for {
		err := f.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		f.hub.node(&Node{Name: f.target.Name, RPC: f.target.RPC, Peers: []Link{}, Why: err.Error()})
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return
		}
	}
}

// follow is one connection's life.
func (f *follower) follow(ctx context.Context) error {
	c, err := rpc.Dial(ctx, f.target.Where)
	if err != nil {
		return err
	}
	defer c.Close()
	events := make(chan []rpc.TraceEvent, traceRoom)
	sub, err := c.SubscribeTrace(ctx, events)
	if err != nil {
		return err
	}
	defer sub.Unsubscribe()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	if err := f.look(ctx, c); err != nil {
		return err
	}
	for {
		select {
		case batch := <-events:
			for _, e := range batch {
				switch e.Kind {
				case "block.sealed":
					f.hub.sealed(f.target.Name, e)
				case "block.accepted":
					f.hub.accepted(f.target.Name, e)
				case "block.imported":
					f.hub.imported(f.target.Name, e)
				}
			}
		case <-look.C:
			if err := f.look(ctx, c); err != nil {
				return err
			}
		case err := <-sub.Err():
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// look takes in the node's status and peers.
func (f *follower) look(ctx context.Context, c *rpc.Client) error {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	peers, err := c.Peers(ctx)
	if err != nil {
		return err
	}
	n := &Node{
		Name: f.target.Name, RPC: f.target.RPC, PeerID: s.PeerID, Up: true, Head: s.Head.Number, HeadID: s.Head.ID,
		Slot: s.Head.Slot, Pool: s.Pool, Members: s.Members, Peers: make([]Link, len(peers)),
	}
	for i, p := range peers {
		n.Peers[i] = Link{ID: p.ID, Mesh: p.Mesh["block"], RTT: p.RTTMicros}
	}
	f.hub.node(n)
	return nil
}
