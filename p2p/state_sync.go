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
// after it. Nobody here executes the pivot, so that its state is right is the word of
// the proposers who built on it. What has come is on disk: after an interruption, and with another pivot,
// only what differs still is fetched.

const (
	stateChunk    = maxStateNodes // nodes in one request at most: 2 MB at a million accounts
	stateFirst    = 32            // subtrees in the first ones
	statePerPeer  = 2             // requests to a source at once: one is under way while the other is on the link
	stateParallel = 6             // and to all of them: they share the link
	stateLook     = 8             // requests for digests between two looks at what differs
	maxPath       = 1 << 17       // headers in memory, 170 MB: a longer way is gone by blocks first
)

// errNoPivot is a state that cannot be taken over yet: no pivot of the branch is
// above our head and built on by enough proposers.
var errNoPivot = errors.New("p2p: the branch has no pivot above our head that enough proposers built on yet")

// errNoState is a state of which nobody gave anything, or not all can be given.
var errNoState = errors.New("p2p: no peer gives the state")

// errTooLong is a subtree that is longer than a frame. Nobody is to blame: whoever
// grinds addresses fills a bucket.
var errTooLong = errors.New("p2p: a part of the state is longer than a frame")

// pivotOf picks the pivot to take over from headers that lead from our chain to a
// better head, with the way to it: of the newest two, whose states peers keep, the
// newest that is signed, with the headers after it, by more than half of the proposers.
// If one of them is honest it has executed the pivot. Of very many proposers more than
// PivotEvery are enough: so many blocks at least there are from the older one on.
func (n *Net) pivotOf(headers []*chain.SignedHeader) (way []*chain.SignedHeader, err error) {
	head, last, every := n.chain.Weight(), headers[len(headers)-1].Number(), n.genesis.PivotEvery()
	newest, half := last/every*every, min(len(n.genesis.Proposers)/2, int(every))
	signers := make(map[common.Address]bool)
	for i, h := range slices.Backward(headers) {
		if h.Number() <= head || h.Number()+every < newest {
			break
		}
		if signers[n.genesis.Proposer(h.Slot())] = true; h.Number()%every == 0 && len(signers) > half {
			return headers[:i+1], nil
		}
	}
	return nil, fmt.Errorf("%w: the newest is block %d, and %d signed since the one before", errNoPivot, newest, len(signers))
}

// takeState takes over the state at the end of the way.
func (n *Net) takeState(ctx context.Context, way []*chain.SignedHeader, from peer.ID) error {
	pivot := way[len(way)-1]
	staging, err := n.chain.Stage()
	if err != nil {
		return fmt.Errorf("stage state: %w", err)
	}
	log.Infow("fetching a state", "number", pivot.Number(), "head", n.chain.Weight(), "fork", way[0].Number()-1)
	f := newStateFetcher(n, pivot.ID(), staging, n.sources(from, pivot.Number()))
	var blocks []*chain.Block
	var source peer.ID
	g, inner := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		if blocks, source, err = n.fetchBlocks(inner, []common.Hash{pivot.ID()}, f.sources); err != nil {
			return fmt.Errorf("fetch block %d: %w", pivot.Number(), err)
		}
		return nil
	})
	g.Go(func() error {
		if err := f.run(inner, recon.Digest(pivot.Header().Root)); err != nil {
			return fmt.Errorf("fetch state of block %d: %w", pivot.Number(), err)
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		if !f.moved || errors.Is(err, errTooLong) {
			err = errors.Join(errNoState, err)
		}
		return err
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
//
//	compare --chunks that differ--> fetch, several at once --checked parts--> put, one batch at a time
type stateFetcher struct {
	net     *Net
	pivot   common.Hash
	staging *chain.Staging // of put, once run has begun
	sources []peer.ID
	heard   map[peer.ID]*atomic.Int64 // bytes from each source
	turn    atomic.Uint32
	size    atomic.Int64 // subtrees in a request
	moved   bool         // something came; to be read after run
}

func newStateFetcher(n *Net, pivot common.Hash, staging *chain.Staging, sources []peer.ID) *stateFetcher {
	f := &stateFetcher{net: n, pivot: pivot, staging: staging, sources: sources, heard: make(map[peer.ID]*atomic.Int64)}
	for _, p := range sources {
		f.heard[p] = new(atomic.Int64)
	}
	f.size.Store(stateFirst)
	return f
}

// Requests are made so large that one takes between these, with the others beside it.
// What is on its way makes a queue before our link, in which everything else waits as
// long; and a source answers only so many requests in ten seconds.
const (
	requestLeast = 300 * time.Millisecond
	requestMost  = 900 * time.Millisecond
)

// pace fits the size of requests to how long one of n subtrees took. One of another
// size than the present is of no interest.
func (f *stateFetcher) pace(n int, took time.Duration) {
	size := int64(n)
	switch {
	case took < requestLeast:
		f.size.CompareAndSwap(size, min(2*size, stateChunk))
	case took > requestMost:
		f.size.CompareAndSwap(size, max(size/2, 1))
	}
}

// run returns when what came is on disk, whatever did not come.
func (f *stateFetcher) run(ctx context.Context, root recon.Digest) error {
	ours := f.staging.State()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	arrived := make(chan []*chain.CheckedPart, stateParallel) // no request waits for the disk before as many are done again
	var disk errgroup.Group
	disk.Go(func() error {
		err := f.put(arrived)
		if err != nil {
			cancel()
			for range arrived { // nobody may wait for us
			}
		}
		return err
	})
	err := f.compare(ctx, recon.NewDiff(treeShape, recon.Digest(ours.Root()), root), ours, arrived)
	close(arrived)
	return errors.Join(disk.Wait(), err)
}

// put writes parts, in one batch those that came while it wrote the ones before.
func (f *stateFetcher) put(arrived <-chan []*chain.CheckedPart) error {
	for parts := range arrived {
		for more := true; more; {
			select {
			case next, ok := <-arrived:
				parts, more = append(parts, next...), ok
			default:
				more = false
			}
		}
		f.moved = true
		if err := f.staging.Put(parts); err != nil {
			return err
		}
	}
	return nil
}

// compare finds what differs and has it fetched meanwhile. ours is the state that it
// begins with: a subtree is put in only after it was compared.
func (f *stateFetcher) compare(ctx context.Context, diff *recon.Diff, ours chain.State, arrived chan<- []*chain.CheckedPart) error {
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(min(stateParallel, statePerPeer*len(f.sources)))
	for !diff.Done() && inner.Err() == nil {
		if diff.Waiting() > 0 && diff.Ready() < stateChunk {
			if err := f.look(inner, diff, ours); err != nil {
				return errors.Join(g.Wait(), err)
			}
			continue
		}
		chunk := diff.Take(int(f.size.Load()))
		g.Go(func() error {
			began := time.Now()
			parts, err := f.fetch(inner, chunk)
			f.pace(len(chunk), time.Since(began))
			if len(parts) > 0 {
				arrived <- parts
			}
			return err
		})
	}
	return errors.Join(g.Wait(), ctx.Err())
}

// look asks for the children of the nodes that wait.
func (f *stateFetcher) look(ctx context.Context, diff *recon.Diff, ours chain.State) error {
	nodes := diff.Ask(stateLook * stateChunk)
	answers := make([]children, len(nodes))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(stateParallel)
	for at := 0; at < len(nodes); at += stateChunk {
		end := min(at+stateChunk, len(nodes))
		g.Go(func() error { return askChunk(ctx, f, askChildren, nodes[at:end], answers[at:end], checkChildren) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, b := range nodes {
		var a [len(children{})]recon.Digest
		for k := range a {
			a[k] = recon.Digest(ours.Digest(subtree(b.Node).Child(k)))
		}
		if err := diff.Answer(b.Node, a[:], answers[i][:]); err != nil {
			return err
		}
	}
	return nil
}

// children are the digests of a node's children.
type children [16]recon.Digest

func checkChildren(b recon.Branch, raw []byte) (out children, err error) {
	kids, err := chain.CheckChildren(common.Hash(b.Theirs), raw)
	for i, kid := range kids {
		out[i] = recon.Digest(kid)
	}
	return out, err
}

// fetch gets subtrees. One that is empty on their side is not asked for. With an
// error there may be some.
func (f *stateFetcher) fetch(ctx context.Context, all []recon.Branch) (got []*chain.CheckedPart, err error) {
	check := func(b recon.Branch, raw []byte) (*chain.CheckedPart, error) {
		f.net.charge(chain.Work{HashedBytes: len(raw)})
		return chain.CheckPart(chain.Part{Subtree: subtree(b.Node), Raw: raw}, common.Hash(b.Theirs))
	}
	var full []recon.Branch
	for _, b := range all {
		if b.Theirs != (recon.Digest{}) {
			full = append(full, b)
			continue
		}
		empty, err := check(b, nil)
		if err != nil {
			return got, err
		}
		got = append(got, empty)
	}
	parts := make([]*chain.CheckedPart, len(full))
	err = askChunk(ctx, f, askParts, full, parts, check)
	var rest []recon.Branch
	for i, p := range parts {
		if p != nil {
			got = append(got, p)
		} else {
			rest = append(rest, full[i])
		}
	}
	if !errors.Is(err, errTooLong) || len(rest) == 0 || rest[0].Depth == treeShape.Depth {
		return got, err
	}
	kids, err := f.split(ctx, rest[0])
	if err != nil {
		return got, err
	}
	more, err := f.fetch(ctx, append(kids, rest[1:]...))
	return append(got, more...), err
}

// split gives the children of a subtree that is not a bucket.
func (f *stateFetcher) split(ctx context.Context, b recon.Branch) (kids []recon.Branch, err error) {
	answer := make([]children, 1)
	if err := askChunk(ctx, f, askChildren, []recon.Branch{b}, answer, checkChildren); err != nil {
		return nil, err
	}
	for i, digest := range answer[0] {
		kids = append(kids, recon.Branch{Node: b.Child(i, treeShape.Fanout), Theirs: digest})
	}
	return kids, nil
}

// askChunk fills answers with what check makes of what is said of the nodes, beginning
// with another source each time. With an error there may be some: what comes is kept
// even if the source that gave it fails afterwards.
func askChunk[T any](ctx context.Context, f *stateFetcher, kind uint64, nodes []recon.Branch, answers []T, check func(recon.Branch, []byte) (T, error)) error {
	turn := int(f.turn.Add(1)) % len(f.sources)
	order := append(slices.Clone(f.sources[turn:]), f.sources[:turn]...)
	var mu sync.Mutex // several sources may answer at once
	for len(nodes) > 0 {
		heard := func(p peer.ID) int64 { return f.heard[p].Load() }
		got, _, err := fetchFrom(ctx, f.net, order, heard, func(ctx context.Context, p peer.ID, progress *atomic.Int64) (int, error) {
			return f.net.askState(ctx, p, f.pivot, kind, nodes, progress, func(i int, raw []byte) error {
				f.heard[p].Add(int64(len(raw)))
				answer, err := check(nodes[i], raw)
				if err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				answers[i] = answer
				return nil
			})
		})
		if err != nil {
			return err
		}
		nodes, answers = nodes[got:], answers[got:]
	}
	return nil
}

// askState asks one peer. It hands on what it says of the first ones of nodes, as far
// as keep takes it, and returns how many, at least one. A wrong answer is a lie and
// punished.
func (n *Net) askState(ctx context.Context, p peer.ID, pivot common.Hash, kind uint64, nodes []recon.Branch, progress *atomic.Int64, keep func(int, []byte) error) (got int, err error) {
	r := stateRequest{Block: pivot, Kind: kind}
	for _, b := range nodes {
		r.Nodes = append(r.Nodes, treeNode{uint64(b.Depth), uint64(b.Index)})
	}
	err = n.exchange(ctx, p, stateProtocol, r.encode(), progress, func(_ *countedStream, in io.Reader) error {
		total := 0
		for i := range nodes {
			raw, err := readFrame(in, maxPartBytes)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if kind == askParts && string(raw) == tooLong {
				return errTooLong
			}
			if total += len(raw); total > maxStateAnswer+maxPartBytes {
				return fmt.Errorf("%w: more than %d bytes of state", ErrProtocol, total)
			}
			if err := keep(i, raw); err != nil {
				return err
			}
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
