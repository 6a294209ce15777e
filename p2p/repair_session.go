package p2p

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/p2p/recon"
	"github.com/pheme-net/pheme/p2p/trace"
)

// errLater is a session put off by the partner: the heads differ.
var errLater = errors.New("p2p: heads differ")

// reconcile runs one session with a peer. moved: transactions were taken in or
// given away.
func (n *Net) reconcile(ctx context.Context, p peer.ID, insist bool) (moved bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*n.cfg.RequestTimeout)
	defer cancel()
	raw, err := n.host.NewStream(network.WithNoDial(ctx, "repair"), p, repairProtocol)
	if err != nil {
		return false, fmt.Errorf("open repair stream: %w", err)
	}
	s := n.countedAs(raw, trace.ClassRepair)
	if !n.tasks.begin(s) {
		_ = s.Reset()
		return false, context.Canceled
	}
	defer n.tasks.end(s)
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer stop()
	began := time.Now()
	c := &session{net: n, peer: p, s: s}
	n.beginRepair(s)
	err = c.run(ctx, insist)
	n.endRepair(s, c.gained)
	if err == nil {
		err = s.Close()
	} else {
		_ = s.Reset()
	}
	if err == nil || errors.Is(err, errLater) {
		return c.gained+c.given > 0, err
	}
	log.Debugw("repair", "peer", p, "gained", c.gained, "err", err)
	if verdict(err) == Reject {
		n.punish(p, offenceProtocol, err)
	}
	if verdict(err) == Reject || time.Since(began)-c.waited > n.cfg.RequestTimeout {
		n.repair.rest(p, time.Now())
	}
	return c.gained+c.given > 0, err
}

func (n *Net) beginRepair(s *countedStream) {
	n.hook.Emit(trace.Event{At: n.clock.Now(), Kind: trace.RepairBegin, Peer: s.tag})
}

// endRepair tells what a session moved: one event a direction of its bytes, so
// that they add up, and its end.
func (n *Net) endRepair(s *countedStream, gained int) {
	now, in, out := n.clock.Now(), s.in.Load(), s.out.Load()
	n.meter.sessions.Add(1)
	n.meter.gained.Add(uint64(max(0, gained)))
	n.meter.moved.Add(uint64(in + out))
	n.hook.Emit(trace.Event{At: now, Kind: trace.MsgWritten, Class: trace.ClassRepair, Peer: s.tag, Size: uint32(out)})
	n.hook.Emit(trace.Event{At: now, Kind: trace.MsgRead, Class: trace.ClassRepair, Peer: s.tag, Size: uint32(in)})
	n.hook.Emit(trace.Event{At: now, Kind: trace.RepairEnd, Peer: s.tag, Size: uint32(in + out), Aux: int64(gained)})
}

// session is the client's side of one session.
type session struct {
	net  *Net
	peer peer.ID
	s    *countedStream

	gained, given int
	waited        time.Duration // for our own token, which is not the peer's fault
}

func (c *session) run(ctx context.Context, insist bool) error {
	n := c.net
	key := newKey()
	own := n.snapshot(key)
	sum, check, profile := own.digests()
	_ = c.s.SetDeadline(time.Now().Add(n.cfg.RequestTimeout))
	h := hello{Key: key, Mode: n.repairMode, Insist: insist, Status: n.status(), Sum: sum, Check: check, Profile: profile}
	if err := writeFrame(c.s, h.encode()); err != nil {
		return err
	}
	theirs, ours, err := c.difference(own)
	if err != nil || len(theirs)+len(ours) == 0 {
		return err
	}
	if err := sleep(ctx, settleTime); err != nil {
		return err
	}
	return c.move(ctx, own, theirs, ours)
}

// difference reads symbols until they decode. Both lists are empty when the pools
// are equal.
func (c *session) difference(own snapshot) (theirs, ours []recon.ID, err error) {
	d := recon.NewDecoder(own.set)
	for {
		b, err := readFrame(c.s, maxSketchBytes)
		if err != nil {
			return nil, nil, err
		}
		sk, symbols, err := decodeSketch(b)
		if err != nil {
			return nil, nil, err
		}
		if d.Len() == 0 {
			c.net.hearsay(c.peer, sk.Status)
		}
		switch {
		case sk.Kind == sketchSame:
			return nil, nil, nil
		case sk.Kind == sketchLater:
			return nil, nil, errLater
		case sk.First != uint64(d.Len()):
			return nil, nil, fmt.Errorf("%w: symbols from %d, want %d", ErrProtocol, sk.First, d.Len())
		}
		if err := d.Add(symbols); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		if d.Done() {
			theirs, ours = d.Difference()
			return theirs, ours, nil
		}
		more := min(recon.MaxSymbols, maxRepairSymbols-d.Len(), max(32, d.Len()/2))
		if more <= 0 || d.Len() > 4*(own.set.Len()+int(sk.Items))+1024 {
			return nil, nil, fmt.Errorf("%w: %d symbols do not decode", ErrProtocol, d.Len())
		}
		if err := writeFrame(c.s, ask{More: uint64(more)}.encode()); err != nil {
			return nil, nil, err
		}
	}
}

// move asks for what we lack and gives what they lack, as the mode says.
func (c *session) move(ctx context.Context, own snapshot, theirs, ours []recon.ID) error {
	n := c.net
	held := false
	defer func() {
		if held {
			n.giveGain()
		}
	}()
	var a ask
	var want []recon.ID
	if n.repairMode.Pulls() && len(theirs) > 0 {
		began := time.Now()
		held = n.takeGain(ctx)
		if c.waited = time.Since(began); !held {
			return ctx.Err()
		}
		want = n.missing(own, theirs)
		want = want[:min(len(want), maxRepairIDs)]
		a.IDs = encodeIDs(want)
	}
	if n.repairMode.Pushes() {
		ours = ours[:min(len(ours), maxRepairIDs)]
		a.Offers = encodeIDs(ours)
	}
	if len(a.IDs)+len(a.Offers) == 0 {
		return nil
	}
	_ = c.s.SetDeadline(time.Now().Add(n.cfg.RequestTimeout))
	if err := writeFrame(c.s, a.encode()); err != nil {
		return err
	}
	var err error
	if c.gained, err = n.takeTxs(ctx, c.peer, c.s, own.set, want); err != nil {
		return err
	}
	if held {
		n.giveGain() // the partner may need its own for what we give, and waits for nobody who needs ours
		held = false
	}
	_ = c.s.SetDeadline(time.Now().Add(n.cfg.RequestTimeout))
	b, err := readFrame(c.s, 8*maxRepairIDs)
	if err != nil {
		return err
	}
	wants, err := decodeIDs(b)
	if err != nil {
		return err
	}
	if len(wants) > len(ours) {
		return fmt.Errorf("%w: %d transactions wanted of %d offered", ErrProtocol, len(wants), len(ours))
	}
	txs := own.pick(wants)
	c.given = len(txs)
	return sendTxs(c.s, txs)
}
