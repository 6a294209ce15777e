package p2p

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/core/transport"
	basichost "github.com/libp2p/go-libp2p/p2p/host/basic"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	quictransport "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"

	"github.com/pheme-net/pheme/p2p/link/live"
)

// Host is a libp2p host over TCP and QUIC that counts the bytes it puts on and
// takes from the wire. It is built from go-libp2p's parts, so that no transport
// pheme does not use is even linked in.
type Host struct {
	*basichost.BasicHost
	quic *quicreuse.ConnManager
	wire *wire
	cuts *cuts

	listenUDP func(*net.UDPAddr) (net.PacketConn, error) // shaped, if anything is
	posts     atomic.Pointer[posts]                      // see OpenPackets

	closing sync.Once
	closed  error
}

// WireBytes returns the bytes received and sent on all connections since the
// host was made: TCP payload and QUIC packets, with security, muxing and
// retransmissions by QUIC in them, without TCP/IP and UDP/IP headers.
func (h *Host) WireBytes() (in, out uint64) { return h.wire.total() }

// Close closes every connection and listener and waits for stream handlers. It
// may be called again.
func (h *Host) Close() error {
	h.closing.Do(func() { h.closed = errors.Join(h.BasicHost.Close(), h.quic.Close()) })
	return h.closed
}

// NewHost makes a host with the given identity that listens on cfg.Listen. The
// caller closes it.
func NewHost(cfg Config, key crypto.PrivKey) (host.Host, error) { return NewShapedHost(cfg, key, nil) }

// NewShapedHost is NewHost with a shaper below both transports, unless nil, which
// the caller runs until the host is closed.
func NewShapedHost(cfg Config, key crypto.PrivKey, shaper *live.Shaper) (host.Host, error) {
	cfg = cfg.fill()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("p2p: identity: %w", err)
	}
	store, err := pstoremem.NewPeerstore()
	if err != nil {
		return nil, fmt.Errorf("p2p: peer store: %w", err)
	}
	if err := errors.Join(store.AddPrivKey(id, key), store.AddPubKey(id, key.GetPublic())); err != nil {
		return nil, errors.Join(fmt.Errorf("p2p: identity: %w", err), store.Close())
	}
	limits := rcmgr.DefaultLimits
	manager, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits.AutoScale()), rcmgr.WithMetricsDisabled())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("p2p: resource manager: %w", err), store.Close())
	}
	bus := eventbus.NewBus()
	h := &Host{wire: newWire(), cuts: newCuts()}
	h.listenUDP = func(at *net.UDPAddr) (net.PacketConn, error) { return net.ListenUDP("udp", at) }
	if shaper != nil {
		h.listenUDP = func(at *net.UDPAddr) (net.PacketConn, error) { return shaper.ListenUDP("udp", at) }
	}
	sw, err := swarm.NewSwarm(id, store, bus, swarm.WithResourceManager(manager), swarm.WithConnectionGater(h.cuts))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("p2p: swarm: %w", err), manager.Close(), store.Close())
	}
	if h.quic, err = h.addTransports(sw, key, manager, shaper); err != nil {
		return nil, errors.Join(err, sw.Close(), manager.Close(), store.Close())
	}
	sw.Notify(h.wire)
	closeAll := func(err error) error {
		return errors.Join(err, sw.Close(), h.quic.Close(), manager.Close(), store.Close())
	}
	conns, err := connmgr.NewConnManager(cfg.MaxPeers*3/4, cfg.MaxPeers, connmgr.WithGracePeriod(20*time.Second))
	if err != nil {
		return nil, closeAll(fmt.Errorf("p2p: connection manager: %w", err))
	}
	h.BasicHost, err = basichost.NewHost(sw, &basichost.HostOpts{EventBus: bus, ConnManager: conns, UserAgent: cfg.UserAgent, ProtocolVersion: "pheme/1"})
	if err != nil {
		return nil, closeAll(errors.Join(fmt.Errorf("p2p: host: %w", err), conns.Close()))
	}
	h.Start()
	for _, a := range cfg.Listen {
		if err := sw.AddListenAddr(ma.StringCast(a)); err != nil { // validate parsed it
			return nil, errors.Join(listenError(a, err), h.Close())
		}
	}
	return h, nil
}

// listenError says what to do about a listen that failed.
func listenError(addr string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("p2p: listen on %s: the port is taken by another program: stop it or pass another --listen: %w", addr, err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("p2p: listen on %s: not permitted: pass --listen with a port above 1023: %w", addr, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("p2p: listen on %s: this machine has no such address: pass another --listen: %w", addr, err)
	}
	return fmt.Errorf("p2p: listen on %s: %w", addr, err)
}

// addTransports gives the swarm TCP (Noise or TLS, Yamux) and QUIC.
func (h *Host) addTransports(sw *swarm.Swarm, key crypto.PrivKey, manager network.ResourceManager, shaper *live.Shaper) (*quicreuse.ConnManager, error) {
	muxers := []upgrader.StreamMuxer{{ID: yamux.ID, Muxer: yamux.DefaultTransport}}
	nt, err := noise.New(noise.ID, key, muxers)
	if err != nil {
		return nil, fmt.Errorf("p2p: noise: %w", err)
	}
	tt, err := libp2ptls.New(libp2ptls.ID, key, muxers)
	if err != nil {
		return nil, fmt.Errorf("p2p: tls: %w", err)
	}
	up, err := upgrader.New([]sec.SecureTransport{nt, tt}, muxers, nil, manager, h.cuts)
	if err != nil {
		return nil, fmt.Errorf("p2p: upgrader: %w", err)
	}
	var counted transport.Upgrader = countingUpgrader{up, h.wire}
	var more []quicreuse.Option
	if shaper != nil {
		counted = shaper.Upgrader(counted)
		more = append(more, quicreuse.OverrideListenUDP(shaper.ListenUDP))
	}
	// Without DisableReuseport a second node on a taken port would start and the
	// two would share its connections at random.
	tr, err := tcp.NewTCPTransport(counted, manager, nil, tcp.DisableReuseport())
	if err != nil {
		return nil, fmt.Errorf("p2p: tcp: %w", err)
	}
	reset, token, err := quicKeys(key)
	if err != nil {
		return nil, fmt.Errorf("p2p: quic keys: %w", err)
	}
	conns, err := quicreuse.NewConnManager(reset, token, append(more,
		quicreuse.ConnContext(func(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
			return scoped(ctx, info, manager)
		}),
		quicreuse.VerifySourceAddress(func(addr net.Addr) bool { return manager.VerifySourceAddress(addr) }))...)
	if err != nil {
		return nil, fmt.Errorf("p2p: quic: %w", err)
	}
	qt, err := quictransport.NewTransport(key, conns, nil, h.cuts, manager)
	if err == nil {
		err = errors.Join(sw.AddTransport(tr), sw.AddTransport(qt))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("p2p: transports: %w", err), conns.Close())
	}
	return conns, nil
}

// scoped asks the resource manager for an inbound QUIC connection before any
// work is done for it.
func scoped(ctx context.Context, info *quic.ClientInfo, manager network.ResourceManager) (context.Context, error) {
	addr, err := quicreuse.ToQuicMultiaddr(info.RemoteAddr, quic.Version1)
	if err != nil {
		addr = nil // the manager judges a connection of unknown address
	}
	scope, err := manager.OpenConnection(network.DirInbound, false, addr)
	if err != nil {
		return ctx, err
	}
	ctx = network.WithConnManagementScope(ctx, scope)
	context.AfterFunc(ctx, scope.Done)
	return ctx, nil
}

// quicKeys derives QUIC's stateless reset and token keys from the identity, so
// that they outlive a restart.
func quicKeys(key crypto.PrivKey) (reset, token [32]byte, err error) {
	raw, err := key.Raw()
	if err != nil {
		return reset, token, err
	}
	for _, k := range []struct {
		out  *[32]byte
		info string
	}{{&reset, "pheme quic stateless reset"}, {&token, "pheme quic token"}} {
		b, err := hkdf.Key(sha256.New, raw, nil, k.info, 32)
		if err != nil {
			return reset, token, err
		}
		copy(k.out[:], b)
	}
	return reset, token, nil
}
