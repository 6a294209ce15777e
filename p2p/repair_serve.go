package p2p

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/p2p/recon"
	"github.com/pheme-net/pheme/p2p/trace"
)

// serveRepair is the handler of the repair protocol. A session counts as a request
// of the peer, its transactions, whichever way they go, as bytes served to it.
func (n *Net) serveRepair(raw network.Stream) {
	s := n.countedAs(raw, trace.ClassRepair)
	if !n.tasks.begin(s) {
		_ = s.Reset()
		return
	}
	defer n.tasks.end(s)
	p := s.Conn().RemotePeer()
	if n.silent.Load() || !n.repair.enter(p) {
		_ = s.Reset() // others reconcile with us: it will try another peer
		return
	}
	defer n.repair.leave(p)
	ctx, cancel := context.WithTimeout(n.tasks.ctx, 3*n.cfg.RequestTimeout)
	defer cancel()
	up, stop := context.WithTimeout(ctx, n.cfg.StatusTimeout)
	defer stop()
	if !n.peers.wait(up, p) || !n.peers.begin(p, time.Now()) {
		_ = s.Reset()
		return
	}
	defer func() { n.peers.finish(p, int(s.in.Load()+s.out.Load()), time.Now()) }()
	n.beginRepair(s)
	gained, err := n.answerRepair(ctx, p, s)
	n.endRepair(s, gained)
	if err != nil {
		_ = s.Reset()
		if verdict(err) == Reject {
			n.punish(p, offenceProtocol, err)
		}
		return
	}
	_ = s.Close()
}

// answerRepair is the server's side of one session.
func (n *Net) answerRepair(ctx context.Context, p peer.ID, s *countedStream) (gained int, err error) {
	_ = s.SetDeadline(time.Now().Add(n.cfg.RequestTimeout))
	b, err := readFrame(s, maxHelloBytes)
	if err != nil {
		return 0, err
	}
	h, theirs, err := decodeHello(b)
	if err != nil {
		return 0, err
	}
	n.hearsay(p, h.Status)
	ours := n.status()
	if h.Status.Head != ours.Head && !h.Insist {
		return 0, writeFrame(s, sketch{Kind: sketchLater, Status: ours}.encode())
	}
	own := n.snapshot(h.Key)
	sum, check, _ := own.digests()
	if theirs.Items == own.set.Len() && sum == h.Sum && check == h.Check {
		return 0, writeFrame(s, sketch{Kind: sketchSame, Status: ours}.encode())
	}
	limit := min(maxRepairSymbols, 4*(own.set.Len()+theirs.Items)+2048) // an honest client has given up before
	next := firstSymbols(recon.Estimate(own.set.Profile(), theirs))
	for first := 0; ; {
		if first+next > limit {
			return 0, fmt.Errorf("%w: more than %d symbols asked for", ErrProtocol, limit)
		}
		symbols := own.set.Symbols(first + next)[first:]
		sk := sketch{Status: ours, Items: uint64(own.set.Len()), First: uint64(first), Symbols: recon.AppendSymbols(nil, symbols, first, own.set.Len())}
		if err := writeFrame(s, sk.encode()); err != nil {
			return 0, err
		}
		first += next
		b, err := readFrame(s, maxAskBytes)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil // nothing is to move
			}
			return 0, err
		}
		a, ids, offers, err := decodeAsk(b)
		if err != nil {
			return 0, err
		}
		if next = int(a.More); next == 0 {
			return n.exchangeTxs(ctx, p, s, own, ids, offers)
		}
	}
}

// exchangeTxs gives what was asked for and takes what is wanted of the offers.
func (n *Net) exchangeTxs(ctx context.Context, p peer.ID, s *countedStream, own snapshot, ids, offers []recon.ID) (gained int, err error) {
	_ = s.SetDeadline(time.Now().Add(3 * n.cfg.RequestTimeout))
	if err := sendTxs(s, own.pick(ids)); err != nil {
		return 0, err
	}
	var wants []recon.ID
	if len(offers) > 0 {
		if !n.takeGain(ctx) {
			return 0, ctx.Err()
		}
		defer n.giveGain()
		wants = n.missing(own, offers)
		_ = s.SetWriteDeadline(time.Now().Add(stallAfter * n.cfg.FetchTimeout)) // others wait for the token
	}
	if err := writeFrame(s, encodeIDs(wants)); err != nil {
		return 0, err
	}
	return n.takeTxs(ctx, p, s, own.set, wants)
}
