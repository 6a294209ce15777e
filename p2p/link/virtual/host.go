package virtual

import (
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	blankhost "github.com/libp2p/go-libp2p/p2p/host/blank"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	"github.com/multiformats/go-multistream"
)

// HostConfig says what a host is. Node and Key are required.
type HostConfig struct {
	Node        int // its place in the network
	Key         crypto.PrivKey
	UserAgent   string
	ConnManager connmgr.ConnManager     // nil: keeps everything
	Resources   network.ResourceManager // nil: no limits
}

// Host is a libp2p host at one node of a Network: swarm, identify and the
// stream handling of go-libp2p's basic host, without address discovery, NAT and
// what else asks the operating system.
type Host struct {
	*blankhost.BlankHost
	net   *Network
	node  int
	ids   identify.IDService
	store peerstore.Peerstore
	under io.Closer // what the transport leaves open

	posted *Outbox // datagrams that the uplink has not taken
	closed atomic.Bool
}

var _ host.Host = (*Host)(nil)

// Identity returns the key of the i-th host of a seed.
func Identity(seed uint64, i int) (crypto.PrivKey, error) {
	var s [ed25519.SeedSize]byte
	binary.LittleEndian.PutUint64(s[:], seed)
	binary.LittleEndian.PutUint64(s[8:], uint64(i))
	rng := rand.NewChaCha8(s)
	if _, err := rng.Read(s[:]); err != nil {
		return nil, fmt.Errorf("virtual: identity %d: %w", i, err)
	}
	key, err := crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(s[:]))
	if err != nil {
		return nil, fmt.Errorf("virtual: identity %d: %w", i, err)
	}
	return key, nil
}

// NewHost makes a host that listens at its node. Close it before the Network's
// Run ends, and leave the bubble a second later, when the library's goroutines
// are gone.
func NewHost(n *Network, cfg HostConfig) (*Host, error) {
	if cfg.Resources == nil {
		cfg.Resources = &network.NullResourceManager{}
	}
	if cfg.ConnManager == nil {
		cfg.ConnManager = &connmgr.NullConnMgr{}
	}
	id, err := peer.IDFromPrivateKey(cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("virtual: host %d: %w", cfg.Node, err)
	}
	store, err := pstoremem.NewPeerstore()
	if err != nil {
		return nil, fmt.Errorf("virtual: host %d: %w", cfg.Node, err)
	}
	bus := eventbus.NewBus()
	sw, under, err := newSwarm(n, cfg, id, store, bus)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("virtual: host %d: %w", cfg.Node, err), store.Close())
	}
	h := &Host{net: n, node: cfg.Node, store: store, under: under, posted: NewOutbox()}
	h.BlankHost = blankhost.NewBlankHost(sw, blankhost.WithEventBus(bus), blankhost.WithConnectionManager(cfg.ConnManager))
	if h.BlankHost == nil {
		return nil, errors.Join(fmt.Errorf("virtual: host %d: not made", cfg.Node), sw.Close(), under.Close(), store.Close())
	}
	options := []identify.Option{identify.DisableSignedPeerRecord()}
	if cfg.UserAgent != "" {
		options = append(options, identify.UserAgent(cfg.UserAgent))
	}
	if h.ids, err = identify.NewIDService(h, options...); err != nil {
		return nil, errors.Join(fmt.Errorf("virtual: host %d: identify: %w", cfg.Node, err), sw.Close(), under.Close(), store.Close())
	}
	h.ids.Start()
	h.awaitIdentify(bus)
	return h, nil
}

// awaitIdentify returns when identify listens for new stream handlers. It
// subscribes in a goroutine of its own, and peers never learn of a handler that
// was set before.
func (h *Host) awaitIdentify(bus event.Bus) {
	last := reflect.TypeFor[event.EvtLocalAddressesUpdated]() // the later one of its two subscriptions
	for !slices.Contains(bus.GetAllEventTypes(), last) {
		time.Sleep(time.Microsecond)
	}
}

// settle says who is at a node from now on.
func (n *Network) settle(node int, id peer.ID, key crypto.PubKey, tr *Transport) {
	n.mu.Lock()
	defer n.mu.Unlock()
	nd := &n.nodes[node]
	nd.id, nd.key, nd.tr = id, key, tr
}

// Node returns the host's place in the network.
func (h *Host) Node() int { return h.node }

// WireBytes returns the bytes received and sent by the host's node.
func (h *Host) WireBytes() (in, out uint64) {
	c := h.net.Count(h.node)
	return c.Received, c.Sent
}

// Close closes every connection and waits for identify. From then on no datagram leaves, nor arrives.
func (h *Host) Close() error {
	h.closed.Store(true)
	h.posted.Fail(net.ErrClosed)
	_ = h.ClosePackets() // never fails
	return errors.Join(h.BlankHost.Close(), h.ids.Close(), h.under.Close(), h.store.Close())
}

// Connect dials a peer unless connected and waits until it is identified, like
// go-libp2p's basic host.
func (h *Host) Connect(ctx context.Context, to peer.AddrInfo) error {
	if err := h.BlankHost.Connect(ctx, to); err != nil {
		return err
	}
	for _, c := range h.Network().ConnsToPeer(to.ID) {
		select {
		case <-h.ids.IdentifyWait(c):
		case <-ctx.Done():
			return fmt.Errorf("virtual: identify %s: %w", to.ID, ctx.Err())
		}
	}
	return nil
}

// NewStream opens a stream. A protocol the peer is known to speak needs no round
// trip to agree on it, like on go-libp2p's basic host.
func (h *Host) NewStream(ctx context.Context, p peer.ID, protocols ...protocol.ID) (network.Stream, error) {
	var direct *stream
	s, err := h.Network().NewStream(context.WithValue(ctx, openedKey{}, &direct), p)
	if err != nil {
		return nil, fmt.Errorf("virtual: open stream: %w", err)
	}
	agreed, err := h.agree(ctx, &hostStream{s, direct}, p, protocols)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("virtual: open stream: %w", err), s.ResetWithError(network.StreamProtocolNegotiationFailed))
	}
	return agreed, nil
}

func (h *Host) agree(ctx context.Context, s *hostStream, p peer.ID, protocols []protocol.ID) (network.Stream, error) {
	select {
	case <-h.ids.IdentifyWait(s.Conn()):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	known, err := h.Peerstore().SupportsProtocols(p, protocols...)
	if err != nil {
		return nil, err
	}
	if len(known) > 0 {
		if err := s.SetProtocol(known[0]); err != nil {
			return nil, err
		}
		return &lazyStream{hostStream: s, rw: multistream.NewMSSelect(s, known[0])}, nil
	}
	stop := context.AfterFunc(ctx, func() { _ = s.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	chosen, err := multistream.SelectOneOf(protocols, s)
	if err != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	return s, errors.Join(s.SetProtocol(chosen), h.Peerstore().AddProtocols(p, chosen))
}

// hostStream is a stream that a host has opened.
type hostStream struct {
	network.Stream
	direct *stream // what it stands on; nil with a stack that has more between
}

// lazyStream sends the name of its protocol with the first write.
type lazyStream struct {
	*hostStream
	rw multistream.LazyConn
}

// closeTimeout is how long Close waits for the peer to agree on the protocol.
const closeTimeout = 10 * time.Second

func (s *lazyStream) Read(b []byte) (int, error)  { return s.rw.Read(b) }
func (s *lazyStream) Write(b []byte) (int, error) { return s.rw.Write(b) }

func (s *lazyStream) CloseWrite() error {
	if f, ok := s.rw.(interface{ Flush() error }); ok {
		_ = f.Flush() // a peer that does not want the protocol says so to Read
	}
	return s.Stream.CloseWrite()
}

func (s *lazyStream) Close() error {
	_ = s.SetReadDeadline(time.Now().Add(closeTimeout))
	return s.rw.Close()
}

var _ io.ReadWriteCloser = (*lazyStream)(nil)
