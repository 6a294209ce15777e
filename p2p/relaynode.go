package p2p

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/relay"
	"github.com/pheme-net/pheme/p2p/trace"
)

// relayNode is what the relay sees of a Net: relay.Node and relay.Network.
type relayNode struct{ *Net }

// trace is the relay's hook: by loss, what comes first of a block may not be its topic's message.
func (n relayNode) trace(e trace.Event) {
	n.hook.Emit(e)
	if e.Kind == trace.MsgRead && e.Hash != (common.Hash{}) {
		took := e.Aux
		if e.Class == trace.ClassRelay {
			took, _ = trace.PieceOf(e.Aux)
		}
		n.tracers[topicBlock].begun(e, took)
	}
}

// Gossip implements relay.Node.
func (n relayNode) Gossip(payload []byte) error {
	return n.publish(context.Background(), topicBlock, payload) // pubsub gives up when Run ends
}

// Take implements relay.Node.
func (n relayNode) Take(m relay.Message, b *chain.Block) error {
	path := trace.PathGossip
	if m.Held {
		path = trace.PathHeld
	}
	return n.take(m.From, b, path)
}

// DecodeBlock implements relay.Node.
func (n relayNode) DecodeBlock(raw []byte) (*chain.Block, error) {
	return n.chain.DecodeBlock(raw, n.backend.Tx)
}

// Complete implements relay.Node.
func (n relayNode) Complete(from peer.ID, b *chain.Block, w relay.Way) error {
	path := trace.PathChunks
	if w.Pool {
		path = trace.PathCompact
	}
	return n.take(from, b, trace.PathAux(path, w.Hops))
}

// CheckHeader implements relay.Node.
func (n relayNode) CheckHeader(sh *chain.SignedHeader) error {
	err := n.chain.CheckHeader(sh, time.Now())
	if err == nil {
		n.charge(chain.Work{Signatures: 2}) // the header's and the announcement's
	}
	return err
}

// Fetch implements relay.Node.
func (n relayNode) Fetch(from peer.ID, id common.Hash, number uint64) {
	n.wanted.put(want{id: id, from: from, number: number})
}

// Tx implements relay.Node.
func (n relayNode) Tx(hash common.Hash) *chain.Tx { return n.backend.Tx(hash) }

// EachTx implements relay.Node.
func (n relayNode) EachTx(f func(*chain.Tx)) { n.backend.EachTx(f) }

// Charge implements relay.Node.
func (n relayNode) Charge(bytes int) { n.charge(chain.Work{HashedBytes: bytes}) }

// Sign implements relay.Node.
func (n relayNode) Sign(digest common.Hash) ([65]byte, error) { return n.backend.Sign(digest) }

// Peers implements relay.Network.
func (n relayNode) Peers() []peer.ID {
	out := n.tracers[topicBlock].members()
	mesh := len(out)
	for _, p := range n.peers.list() {
		if !slices.Contains(out[:mesh], p.ID) {
			out = append(out, p.ID)
		}
	}
	return out
}

// Silent implements relay.Network.
func (n relayNode) Silent() bool { return n.silent.Load() }

// Open implements relay.Network.
func (n relayNode) Open(ctx context.Context, p peer.ID) (relay.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.RequestTimeout)
	defer cancel()
	s, err := n.host.NewStream(network.WithNoDial(ctx, "relay"), p, relayProtocol)
	if err != nil {
		return nil, fmt.Errorf("open relay stream: %w", err)
	}
	out := &relayStream{n.countedAs(s, trace.ClassRelay), n.tasks, n.cfg.RequestTimeout}
	if !n.tasks.open(out.Stream) {
		_ = s.Reset()
		return nil, context.Canceled
	}
	return out, nil
}

// Handle implements relay.Network.
func (n relayNode) Handle(f func(relay.Stream)) {
	n.host.SetStreamHandler(relayProtocol, func(raw network.Stream) {
		s := &relayStream{n.countedAs(raw, trace.ClassRelay), n.tasks, n.cfg.RequestTimeout}
		if !n.tasks.begin(raw) {
			_ = raw.Reset()
			return
		}
		defer n.tasks.end(raw)
		ctx, cancel := context.WithTimeout(n.tasks.ctx, n.cfg.StatusTimeout)
		defer cancel()
		if !n.peers.wait(ctx, s.Peer()) { // of another network, or it has nothing to say yet
			_ = raw.Reset()
			return
		}
		f(s)
	})
}

// Blame implements relay.Network.
func (n relayNode) Blame(p peer.ID, why error) { n.punish(p, offenceProtocol, why) }

// relayStream is a stream of the relay protocol.
type relayStream struct {
	*countedStream
	tasks    *tasks
	patience time.Duration // of one Write
}

// Write fails, too, where the peer has taken nothing for long.
func (s *relayStream) Write(b []byte) (int, error) {
	_ = s.SetWriteDeadline(time.Now().Add(s.patience))
	return s.countedStream.Write(b)
}

// Peer implements relay.Stream.
func (s *relayStream) Peer() peer.ID { return s.Conn().RemotePeer() }

// Reset implements relay.Stream.
func (s *relayStream) Reset() error {
	s.tasks.forget(s.Stream)
	return s.Stream.Reset()
}
