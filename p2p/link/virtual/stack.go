package virtual

import (
	"crypto/sha256"
	"errors"
	"io"
	"net"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	quictransport "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
)

// newSwarm makes a swarm over the network's stack that listens at the host's
// node. What is returned beside it is closed after it.
func newSwarm(n *Network, cfg HostConfig, id peer.ID, store peerstore.Peerstore, bus event.Bus) (*swarm.Swarm, io.Closer, error) {
	if err := errors.Join(store.AddPrivKey(id, cfg.Key), store.AddPubKey(id, cfg.Key.GetPublic())); err != nil {
		return nil, nil, err
	}
	tr, under, err := newTransport(n, cfg)
	if err != nil {
		return nil, nil, err
	}
	own, _ := tr.(*Transport) // QUIC's is not ours
	n.settle(cfg.Node, id, cfg.Key.GetPublic(), own)
	sw, err := swarm.NewSwarm(id, store, bus, swarm.WithResourceManager(cfg.Resources))
	if err != nil {
		return nil, nil, errors.Join(err, under.Close())
	}
	if err := errors.Join(sw.AddTransport(tr), sw.Listen(n.Addr(cfg.Node))); err != nil {
		return nil, nil, errors.Join(err, sw.Close(), under.Close())
	}
	return sw, under, nil
}

func newTransport(n *Network, cfg HostConfig) (transport.Transport, io.Closer, error) {
	if n.stack == QUIC {
		return newQUIC(n, cfg)
	}
	tr := &Transport{net: n, node: cfg.Node}
	if n.stack == Secured {
		muxers := []upgrader.StreamMuxer{{ID: yamux.ID, Muxer: yamux.DefaultTransport}}
		security, err := noise.New(noise.ID, cfg.Key, muxers)
		if err != nil {
			return nil, nil, err
		}
		if tr.up, err = upgrader.New([]sec.SecureTransport{security}, muxers, nil, cfg.Resources, nil); err != nil {
			return nil, nil, err
		}
	}
	return tr, io.NopCloser(nil), nil
}

// newQUIC puts go-libp2p's QUIC on the node's packet socket.
func newQUIC(n *Network, cfg HostConfig) (transport.Transport, io.Closer, error) {
	raw, err := cfg.Key.Raw()
	if err != nil {
		return nil, nil, err
	}
	derive := func(what string) [32]byte { return sha256.Sum256(append([]byte(what), raw...)) }
	conns, err := quicreuse.NewConnManager(derive("reset"), derive("token"),
		quicreuse.OverrideSourceIPSelector(func() (quicreuse.SourceIPSelector, error) { return sourceIP(n.nodes[cfg.Node].ip), nil }),
		quicreuse.OverrideListenUDP(func(_ string, at *net.UDPAddr) (net.PacketConn, error) { return n.packets(cfg.Node, at) }))
	if err != nil {
		return nil, nil, err
	}
	tr, err := quictransport.NewTransport(cfg.Key, conns, nil, nil, cfg.Resources)
	if err != nil {
		return nil, nil, errors.Join(err, conns.Close())
	}
	return tr, conns, nil
}

// sourceIP is the only address a node has.
type sourceIP net.IP

// PreferredSourceIPForDestination returns it.
func (ip sourceIP) PreferredSourceIPForDestination(*net.UDPAddr) (net.IP, error) {
	return net.IP(ip), nil
}
