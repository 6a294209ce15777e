package p2p

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/recon"
	"github.com/pheme-net/pheme/p2p/trace"
)

// State sync. A node that is StateBlocks behind, or on a branch that forks below
// the undo window, does not execute the blocks it missed. It checks their headers,
// compares its state with that of a pivot among the newest of them, from the root
// down, fetches the subtrees that differ from several peers at once, each checked
// against the pivot's header, and takes the state over; catch-up brings the blocks
// after it. What has come is on disk: after an interruption, and with another pivot,
// only what differs still is fetched.

const (
	stateChunk    = maxStateNodes // nodes in one request: 2 MB at a million accounts
	stateParallel = 6             // requests at once: they share the link, and hide its delay
	stateRound    = 8             // requests between two writes to disk
	maxPath       = 1 << 17       // headers in memory, 170 MB: a longer way is gone by blocks first
)

// errNoPivot is a state that cannot be taken over yet: no pivot of the branch is
// above our head.
var errNoPivot = errors.New("p2p: the branch has no pivot above our head yet")

// errNoState is a state of which nobody gave anything.
var errNoState = errors.New("p2p: no peer gives the state")

// pivotOf picks the pivot to take over from headers that lead from our chain to a
// better head, with the way to it.
func (n *Net) pivotOf(headers []*chain.SignedHeader) (way []*chain.SignedHeader, err error) {
	first, last, every := headers[0].Number(), headers[len(headers)-1].Number(), n.genesis.PivotEvery()
	at := last / every * every
	if at < first || at <= n.chain.Weight() {
		return nil, fmt.Errorf("%w: it would be block %d", errNoPivot, at)
	}
	return headers[:at-first+1], nil
}

// takeState takes over the state at the end of the way.
func (n *Net) takeState(ctx context.Context, way []*chain.SignedHeader, from peer.ID) error {
	pivot := way[len(way)-1]
	staging, err := n.chain.Stage()
	if err != nil {
		return fmt.Errorf("stage state: %w", err)
	}
	log.Infow("fetching a state", "number", pivot.Number(), "head", n.chain.Weight(), "fork", way[0].Number()-1)
	f := stateFetcher{net: n, pivot: pivot.ID(), staging: staging, sources: n.sources(from, pivot.Number())}
	if err := f.run(ctx, recon.Digest(pivot.Header().Root)); err != nil {
		if !f.moved {
			err = errors.Join(errNoState, err)
		}
		return fmt.Errorf("fetch state of block %d: %w", pivot.Number(), err)
	}
	blocks, source, err := n.fetchBlocks(ctx, []common.Hash{pivot.ID()}, f.sources)
	if err != nil {
		return fmt.Errorf("fetch block %d: %w", pivot.Number(), err)
	}
	blocks[0].Vouch(pivot)
	if err := n.backend.AdoptState(ctx, source, staging, way, blocks[0]); err != nil {
		if verdict(err) == Reject {
			n.punish(source, offenceLie, err)
		}
		return fmt.Errorf("take over the state of block %d: %w", pivot.Number(), err)
	}
	n.hook.Emit(trace.Event{At: n.clock.Now(), Kind: trace.BlockAccepted, Hash: pivot.ID(), Peer: trace.PeerTag(source.String()), Size: uint32(blocks[0].Size()), Aux: trace.PathSync})
	return nil
}

// stateFetcher makes a staged state the one after a pivot.
type stateFetcher struct {
	net     *Net
	pivot   common.Hash
	staging *chain.Staging
	sources []peer.ID
	turn    atomic.Uint32
	moved   bool // something came
}

func (f *stateFetcher) run(ctx context.Context, root recon.Digest) error {
	ours := f.staging.State()
	diff := recon.NewDiff(treeShape, recon.Digest(ours.Root()), root)
	var put errgroup.Group // one round is written while the next one is fetched
	put.SetLimit(1)
	for !diff.Done() {
		err := f.look(ctx, diff, ours)
		var got stateParts
		if err == nil {
			got, err = f.fetch(ctx, diff.Take(stateRound*stateChunk))
		}
		if len(got.parts) > 0 {
			put.Go(func() error { return f.staging.Put(got.parts, got.digests) }) // what came is kept, whatever did not
		}
		if err != nil {
			return errors.Join(err, put.Wait())
		}
	}
	return put.Wait()
}

// stateParts are parts with their digests.
type stateParts struct {
	parts   []chain.Part
	digests []common.Hash
}

func (s *stateParts) add(b recon.Branch, raw []byte) {
	s.parts = append(s.parts, chain.Part{Subtree: subtree(b.Node), Raw: raw})
	s.digests = append(s.digests, common.Hash(b.Theirs))
}

// look asks for the children of the nodes that wait. ours is the state that the
// comparison began with: a subtree is put in only after it was compared.
func (f *stateFetcher) look(ctx context.Context, diff *recon.Diff, ours chain.State) error {
	nodes := diff.Ask(stateRound * stateChunk)
	answers, err := f.ask(ctx, askChildren, nodes)
	if err != nil {
		return err
	}
	for i, b := range nodes {
		kids, err := chain.CheckChildren(common.Hash(b.Theirs), answers[i])
		if err != nil {
			return err
		}
		a, theirs := make([]recon.Digest, len(kids)), make([]recon.Digest, len(kids))
		for k := range kids {
			a[k], theirs[k] = recon.Digest(ours.Digest(subtree(b.Node).Child(k))), recon.Digest(kids[k])
		}
		if err := diff.Answer(b.Node, a, theirs); err != nil {
			return err
		}
	}
	return nil
}

// fetch gets subtrees. One that is empty on their side is not asked for. With an
// error there may be some.
func (f *stateFetcher) fetch(ctx context.Context, all []recon.Branch) (got stateParts, err error) {
	if len(all) == 0 {
		return got, nil
	}
	full := slices.DeleteFunc(slices.Clone(all), func(b recon.Branch) bool { return b.Theirs == recon.Digest{} })
	answers, err := f.ask(ctx, askParts, full)
	if err != nil && len(answers) == 0 {
		return got, err
	}
	for i, raw := range answers {
		if raw != nil {
			f.net.charge(chain.Work{HashedBytes: len(raw)})
			got.add(full[i], raw)
		}
	}
	for _, b := range all {
		if b.Theirs == (recon.Digest{}) {
			got.add(b, nil)
		}
	}
	f.moved = f.moved || len(got.parts) > 0
	return got, err
}

// ask gets the answers for nodes, a chunk a request, several at once. With an error
// there may be some answers, and nil for the others.
func (f *stateFetcher) ask(ctx context.Context, kind uint64, nodes []recon.Branch) ([][]byte, error) {
	answers := make([][]byte, len(nodes))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(stateParallel)
	for at := 0; at < len(nodes); at += stateChunk {
		end := min(at+stateChunk, len(nodes))
		g.Go(func() error { return f.askChunk(ctx, kind, nodes[at:end], answers[at:end]) })
	}
	return answers, g.Wait()
}

// askChunk fills answers, beginning with another source each time. What comes is
// kept even if the source that gave it fails afterwards.
func (f *stateFetcher) askChunk(ctx context.Context, kind uint64, nodes []recon.Branch, answers [][]byte) error {
	turn := int(f.turn.Add(1)) % len(f.sources)
	order := append(slices.Clone(f.sources[turn:]), f.sources[:turn]...)
	var mu sync.Mutex // several sources may answer at once
	for len(nodes) > 0 {
		got, _, err := hedge(ctx, order, f.net.cfg.FetchTimeout, func(ctx context.Context, p peer.ID, progress *atomic.Int64) (int, error) {
			return f.net.askState(ctx, p, f.pivot, kind, nodes, progress, func(i int, raw []byte) {
				mu.Lock()
				defer mu.Unlock()
				answers[i] = raw
			})
		})
		if err != nil {
			return err
		}
		nodes, answers = nodes[got:], answers[got:]
	}
	return nil
}

// askState asks one peer. It keeps what it said of the first ones of nodes, checked
// against their digests, and returns how many, at least one. A wrong answer is a
// lie and punished.
func (n *Net) askState(ctx context.Context, p peer.ID, pivot common.Hash, kind uint64, nodes []recon.Branch, progress *atomic.Int64, keep func(int, []byte)) (got int, err error) {
	r := stateRequest{Block: pivot, Kind: kind}
	for _, b := range nodes {
		r.Nodes = append(r.Nodes, treeNode{uint64(b.Depth), uint64(b.Index)})
	}
	err = n.exchange(ctx, p, stateProtocol, r.encode(), progress, func(_ *countedStream, in io.Reader) error {
		total := 0
		for _, b := range nodes {
			raw, err := readFrame(in, maxPartBytes)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if total += len(raw); total > maxStateAnswer+maxPartBytes {
				return fmt.Errorf("%w: more than %d bytes of state", ErrProtocol, total)
			}
			if kind == askChildren {
				_, err = chain.CheckChildren(common.Hash(b.Theirs), raw)
			} else {
				err = chain.CheckPart(chain.Part{Subtree: subtree(b.Node), Raw: raw}, common.Hash(b.Theirs))
			}
			if err != nil {
				return err
			}
			keep(got, raw)
			got++
		}
		return nil
	})
	if err != nil && verdict(err) == Reject {
		n.punish(p, offenceLie, err)
	}
	switch {
	case got > 0:
		return got, nil // what was right is right, whatever came after
	case err == nil:
		err = errMissing
	}
	return 0, err
}
