package p2p

import (
	"context"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/pheme-net/pheme/chain"
)

// serveState is the handler of the state protocol. A request counts like one for
// blocks.
func (n *Net) serveState(raw network.Stream) {
	s := n.counted(raw)
	if !n.tasks.begin(s) {
		_ = s.Reset()
		return
	}
	defer n.tasks.end(s)
	p := s.Conn().RemotePeer()
	_ = s.SetDeadline(time.Now().Add(n.cfg.RequestTimeout))
	ctx, cancel := context.WithTimeout(n.tasks.ctx, n.cfg.StatusTimeout)
	defer cancel()
	if n.silent.Load() || !n.peers.wait(ctx, p) || !n.peers.begin(p, time.Now()) {
		_ = s.Reset()
		return
	}
	defer func() { n.peers.finish(p, int(s.out.Load()), time.Now()) }()
	b, err := readFrame(s, maxStateRequest)
	if err == nil {
		var r stateRequest
		var trees []chain.Subtree
		if r, trees, err = decodeStateRequest(b); err == nil {
			err = n.answerState(s, r, trees)
		}
	}
	if err != nil {
		_ = s.Reset()
		if verdict(err) == Reject {
			n.punish(p, offenceProtocol, err)
		}
		return
	}
	_ = s.Close()
}

// answerState writes what was asked for. The state is an immutable value, so the
// chain may go on meanwhile.
func (n *Net) answerState(s *countedStream, r stateRequest, trees []chain.Subtree) error {
	st, ok := n.chain.PivotState(r.Block)
	if !ok {
		return nil
	}
	for i, t := range trees {
		var raw []byte
		if r.Kind == askChildren {
			raw = st.Children(t)
		} else {
			raw = st.Part(t, maxPartBytes)
		}
		if raw == nil {
			return nil // nothing there, or too much for one frame: no honest peer asks for the one, no network has the other
		}
		if i > 0 && int(s.out.Load())+len(raw) > maxStateAnswer {
			return nil
		}
		if err := writeFrame(s, raw); err != nil {
			return err
		}
	}
	return nil
}
