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
		return n.answerState(s, r, trees)
	})
}

// answerState writes what was asked for and returns its bytes. The state is an
// immutable value, so the chain may go on meanwhile.
func (n *Net) answerState(s *countedStream, r stateRequest, trees []chain.Subtree) (sent int, err error) {
	st, ok := n.chain.PivotState(r.Block)
	if !ok {
		return 0, nil
	}
	for _, t := range trees {
		var raw []byte
		if r.Kind == askChildren {
			raw = st.Children(t)
		} else {
			raw = st.Part(t, maxPartBytes)
		}
		if raw == nil {
			return sent, nil // nothing there, or too much for one frame: no honest peer asks for the one, no network has the other
		}
		if sent > 0 && sent+len(raw) > maxStateAnswer {
			return sent, nil
		}
		if err := n.writeAnswer(s, raw); err != nil {
			return sent, err
		}
		sent += len(raw)
	}
	return sent, nil
}
