package live

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
	blankhost "github.com/libp2p/go-libp2p/p2p/host/blank"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	quictransport "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"

	"github.com/pheme-net/pheme/p2p/link"
	"github.com/pheme-net/pheme/p2p/link/virtual"
)

// newHost puts a shaper under go-libp2p's TCP and QUIC transports, as a node does.
func newHost(t *testing.T, s *Shaper, i int) *blankhost.BlankHost {
	t.Helper()
	key, err := virtual.Identity(1, i)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	store, err := pstoremem.NewPeerstore()
	if err != nil {
		t.Fatal(err)
	}
	bus := eventbus.NewBus()
	sw, err := swarm.NewSwarm(id, store, bus)
	if err := errors.Join(err, store.AddPrivKey(id, key), store.AddPubKey(id, key.GetPublic())); err != nil {
		t.Fatal(err)
	}
	quicConns := transports(t, s, sw, key)
	if err := sw.Listen(ma.StringCast("/ip4/127.0.0.1/tcp/0"), ma.StringCast("/ip4/127.0.0.1/udp/0/quic-v1")); err != nil {
		t.Fatal(err)
	}
	h := blankhost.NewBlankHost(sw, blankhost.WithEventBus(bus))
	t.Cleanup(func() {
		if err := errors.Join(h.Close(), quicConns.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	return h
}

func transports(t *testing.T, s *Shaper, sw *swarm.Swarm, key crypto.PrivKey) *quicreuse.ConnManager {
	t.Helper()
	muxers := []upgrader.StreamMuxer{{ID: yamux.ID, Muxer: yamux.DefaultTransport}}
	security, err := noise.New(noise.ID, key, muxers)
	if err != nil {
		t.Fatal(err)
	}
	limits := &network.NullResourceManager{}
	up, err := upgrader.New([]sec.SecureTransport{security}, muxers, nil, limits, nil)
	if err != nil {
		t.Fatal(err)
	}
	overTCP, err := tcp.NewTCPTransport(s.Upgrader(up), limits, nil, tcp.DisableReuseport())
	if err != nil {
		t.Fatal(err)
	}
	conns, err := quicreuse.NewConnManager(quic.StatelessResetKey{1}, quic.TokenGeneratorKey{2}, quicreuse.OverrideListenUDP(s.ListenUDP))
	if err != nil {
		t.Fatal(err)
	}
	overQUIC, err := quictransport.NewTransport(key, conns, nil, nil, limits)
	if err := errors.Join(err, sw.AddTransport(overTCP), sw.AddTransport(overQUIC)); err != nil {
		t.Fatal(err)
	}
	return conns
}

// TestHosts times an exchange between two whole hosts over TCP and over QUIC.
func TestHosts(t *testing.T) {
	const rate, delay, size = 40 * link.Mbit, 25 * time.Millisecond, 200 << 10
	l := newLab(t, config(t, 2, "uniform:25ms:0s", rate))
	server := newHost(t, l.shapers[0], 0)
	server.SetStreamHandler("/sink/1", func(s network.Stream) {
		for b := make([]byte, size); ; {
			if _, err := io.ReadFull(s, b); err != nil {
				return
			}
			if _, err := s.Write(b[:1]); err != nil {
				return
			}
		}
	})
	for i, addr := range server.Addrs() {
		client := newHost(t, l.shapers[1], 1+i)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		began := time.Now()
		if err := client.Connect(ctx, peer.AddrInfo{ID: server.ID(), Addrs: []ma.Multiaddr{addr}}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 2*delay {
			t.Errorf("%s: connected after %s, less than a round trip", addr, took)
		}
		s, err := client.NewStream(ctx, server.ID(), "/sink/1")
		if err != nil {
			t.Fatal(err)
		}
		// The windows of yamux and of QUIC open over the first exchanges.
		want := rate.Time(size) + 2*delay
		best(t, addr.String()+": 200 KiB and an answer", want, 0.35, func() time.Duration {
			began := time.Now()
			if _, err := s.Write(make([]byte, size)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			return time.Since(began)
		})
	}
}
