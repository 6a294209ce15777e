package p2p

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/pheme-net/pheme/p2p/trace"
)

// gossip is the two topics, joined.
type gossip [numTopics]*pubsub.Topic

// startGossip joins the topics, each by a GossipSub of its own: a mesh has one
// degree in all topics of a router, and what is best for blocks is not for
// transactions. With its own streams, no topic's messages wait behind the
// other's either. pubsub's goroutines end with ctx.
func (n *Net) startGossip(ctx context.Context) (*gossip, error) {
	g := &gossip{}
	validators := [numTopics]pubsub.ValidatorEx{topicBlock: n.validateBlock, topicTx: n.validateBatch}
	for i, t := range n.tracers {
		ps, err := pubsub.NewGossipSub(ctx, t.tap, n.gossipOptions(t)...)
		if err != nil {
			return nil, fmt.Errorf("p2p: gossipsub of %s: %w", t.name, err)
		}
		if err := ps.RegisterTopicValidator(t.name, validators[i]); err != nil {
			return nil, fmt.Errorf("p2p: validator of %s: %w", t.name, err)
		}
		if g[i], err = ps.Join(t.name); err != nil {
			return nil, fmt.Errorf("p2p: join %s: %w", t.name, err)
		}
		// Relaying without a subscription: the validator has done all there is to
		// do with a message, so there is no delivery queue that could overflow.
		if _, err := g[i].Relay(); err != nil {
			return nil, fmt.Errorf("p2p: relay %s: %w", t.name, err)
		}
	}
	return g, nil
}

// gossipOptions are all of pubsub's settings for a topic, per node and never
// through the library's globals.
func (n *Net) gossipOptions(t *tracer) []pubsub.Option {
	id := gossipProtocol(n.network, t.topic)
	filter := pubsub.WrapLimitSubscriptionFilter(pubsub.NewAllowlistSubscriptionFilter(t.name), 4)
	return []pubsub.Option{
		pubsub.WithGossipSubParams(gossipParams(n.cfg, t.topic, n.host.ID())),
		// One protocol version, named after the network: peers of another network
		// never open a gossip stream. It is GossipSub 1.2 on the wire.
		pubsub.WithGossipSubProtocols([]protocol.ID{id}, func(f pubsub.GossipSubFeature, p protocol.ID) bool {
			return p == id && (f == pubsub.GossipSubFeatureMesh || f == pubsub.GossipSubFeatureIdontwant)
		}),
		pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign),
		pubsub.WithNoAuthor(),
		pubsub.WithMessageIdFn(n.cfg.Shared.messageID),
		pubsub.WithMaxMessageSize(n.maxMessage),
		pubsub.WithMaxControlMessageSize(n.cfg.MaxControlBytes),
		pubsub.WithPeerOutboundQueueSize(n.cfg.OutboundQueue),
		pubsub.WithValidateQueueSize(n.cfg.ValidateQueue),
		pubsub.WithSubscriptionFilter(filter),
		pubsub.WithFloodPublish(n.cfg.FloodPublish),
		pubsub.WithPeerScore(n.scoreParams(t.name)),
		pubsub.WithPeerScoreInspect(func(m map[peer.ID]float64) { n.peers.scores(t.topic, m) }, 2*time.Second),
		pubsub.WithRawTracer(t),
		pubsub.WithRPCLogger(slog.New(t)),
	}
}

// gossipParams are GossipSub's parameters for a topic of a node.
func gossipParams(cfg Config, topic int, id peer.ID) pubsub.GossipSubParams {
	p := pubsub.DefaultGossipSubParams()
	p.D, p.Dlo, p.Dhi, p.Dlazy = cfg.D, cfg.Dlo, cfg.Dhi, cfg.Dlazy
	p.Dout = cfg.Dout
	if topic == topicTx {
		p.D, p.Dlo, p.Dhi = cfg.TxD, TxDlo(cfg.TxD), cfg.TxD+1 // near: every peer more is nearly a copy more
		p.Dout = max(0, min(p.Dout, p.Dlo-1, p.D/2-1))         // as the library wants it
	}
	p.Dscore = min(p.Dscore, p.D)
	p.HeartbeatInterval = cfg.Heartbeat
	// Nodes that start together must not beat together. The phase follows from
	// the identity, so that a run in virtual time repeats itself.
	p.HeartbeatInitialDelay = (time.Duration(trace.PeerTag(id.String())%uint64(cfg.Heartbeat)) + time.Duration(topic)*cfg.Heartbeat/numTopics) % cfg.Heartbeat
	p.IDontWantMessageThreshold = cfg.IDontWantBytes
	p.MaxIDontWantLength = 64 // ids in one message; the default 10 forgets some of a burst of batches
	p.HistoryLength = 6       // 4 s in which an IWANT is answered
	p.HistoryGossip = 3
	p.Connectors = 1 // of 8 goroutines that dial for peer exchange and direct peers, which are off; the library wants one
	return p
}

// TxDlo is the fewest peers a mesh for transactions of degree d may have.
func TxDlo(d int) int { return max(1, d-1) }

// messageID is the hash of the topic and every payload byte, 20 bytes of
// SHA-256: a copy that differs in one byte is another message, so that no
// mutated copy can keep the true one out.
func messageID(m *pb.Message) string {
	h := sha256.New()
	topic := m.GetTopic()
	h.Write([]byte{byte(len(topic))})
	h.Write([]byte(topic))
	h.Write(m.GetData())
	var sum [sha256.Size]byte
	return string(h.Sum(sum[:0])[:20])
}

// Thresholds of the peer score. A message refused as invalid costs the square of
// the recent ones times invalidWeight, so the fourth puts a peer below graylist:
// its RPCs are not read any more, and the connection is closed.
const (
	invalidWeight = -10
	graylist      = -100
	publishFloor  = -60
	gossipFloor   = -30
	topicCap      = 20 // the most a peer gains by what it does on topics
)

// scoreParams scores what is certain: invalid messages, broken protocol promises
// what the request protocols report, and silence. GossipSub's delivery rates are
// not scored: in small networks they punish the honest.
func (n *Net) scoreParams(name string) (*pubsub.PeerScoreParams, *pubsub.PeerScoreThresholds) {
	topic := &pubsub.TopicScoreParams{
		TopicWeight:                    1,
		TimeInMeshWeight:               0.01,
		TimeInMeshQuantum:              time.Second,
		TimeInMeshCap:                  300,
		FirstMessageDeliveriesWeight:   0.5,
		FirstMessageDeliveriesDecay:    pubsub.ScoreParameterDecay(time.Minute),
		FirstMessageDeliveriesCap:      20,
		InvalidMessageDeliveriesWeight: invalidWeight,
		InvalidMessageDeliveriesDecay:  pubsub.ScoreParameterDecay(5 * time.Minute),
	}
	params := &pubsub.PeerScoreParams{
		Topics:                      map[string]*pubsub.TopicScoreParams{name: topic},
		TopicScoreCap:               topicCap,
		AppSpecificScore:            func(p peer.ID) float64 { return n.peers.penalty(p) + n.silence.penalty(p) },
		AppSpecificWeight:           1,
		IPColocationFactorWeight:    -5,
		IPColocationFactorThreshold: 10,
		IPColocationFactorWhitelist: localNets(),
		BehaviourPenaltyWeight:      -1,
		BehaviourPenaltyThreshold:   6,
		BehaviourPenaltyDecay:       pubsub.ScoreParameterDecay(time.Minute),
		DecayInterval:               pubsub.DefaultDecayInterval,
		DecayToZero:                 pubsub.DefaultDecayToZero,
		RetainScore:                 10 * time.Minute,
		SeenMsgTTL:                  pubsub.TimeCacheDuration,
	}
	return params, &pubsub.PeerScoreThresholds{
		GossipThreshold:             gossipFloor,
		PublishThreshold:            publishFloor,
		GraylistThreshold:           graylist,
		OpportunisticGraftThreshold: 1,
	}
}

// localNets are the addresses that many nodes of one machine share.
func localNets() []*net.IPNet {
	return []*net.IPNet{
		{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)},
		{IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)},
	}
}

// publish puts a message on a topic. pubsub drops what is too large without an
// error, so it is refused here.
func (n *Net) publish(ctx context.Context, topic int, payload []byte) error {
	g := n.gossip.Load()
	if g == nil {
		return ErrNotRunning
	}
	if size := len(payload) + messageOverhead; size > n.maxMessage {
		n.meter.dropped[trace.DropOversized].Add(1)
		return fmt.Errorf("%w: %d bytes, the network's limit is %d", ErrTooLarge, size, n.maxMessage)
	}
	if err := g[topic].Publish(ctx, n.cfg.Shared.keep(payload)); err != nil {
		return fmt.Errorf("p2p: publish: %w", err)
	}
	return nil
}

// messageOverhead is more than topic and framing add to a payload.
const messageOverhead = 128

// ours tells whether a message comes from this node, which judged it before.
func (n *Net) ours(from peer.ID) bool { return from == n.host.ID() }
