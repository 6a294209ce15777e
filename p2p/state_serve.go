package p2p

import (
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/pheme-net/pheme/chain"
)

// serveState is the handler of the state protocol. A request counts like one for
// blocks.
func (n *Net) serveState(s network.Stream) {
	n.serveOne(s, maxStateRequest, func(s *countedStream, b []byte) (sent int, err error) {
		r, trees, err := decodeStateRequest(b)
		if err != nil {
			return 0, err
		}
		return n.answerState(s, r, trees, maxPartBytes)
	})
}

// answerState writes what was asked for, subtrees of at most limit bytes, and returns
// the bytes that were encoded for it. After a subtree that is longer it ends: nobody
// reads on. The state is an immutable value, so the chain may go on meanwhile.
func (n *Net) answerState(s *countedStream, r stateRequest, trees []chain.Subtree, limit int) (sent int, err error) {
	st, ok := n.chain.PivotState(r.Block)
	if !ok {
		return 0, nil
	}
	for _, t := range trees {
		var raw []byte
		if r.Kind == askChildren {
			if raw = st.Children(t); raw == nil {
				return sent, nil // nothing there: no honest peer asks for it
			}
		} else if raw = st.Part(t, limit); raw == nil {
			return sent + limit, n.writeAnswer(s, []byte(tooLong))
		}
		if sent > 0 && sent+len(raw) > maxStateAnswer {
			return sent + len(raw), nil
		}
		if err := n.writeAnswer(s, raw); err != nil {
			return sent, err
		}
		sent += len(raw)
	}
	return sent, nil
}
