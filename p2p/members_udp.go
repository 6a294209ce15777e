package p2p

import (
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/pheme-net/pheme/p2p/swim"
)

// The datagrams of membership need no connection: a member probes all others, and
// is connected to few. They share the UDP port of QUIC, whose packets begin with
// other bits, or have one of their own. Each is sealed with a key that only its
// two ends can compute, from their identities (X25519 over the Edwards points of
// their Ed25519 keys), so that who sent it is as sure as on a connection:
//
//	1 byte   mark: the sender is named by its tag, or by its key
//	8 or 32  the tag (swim.ID.Tag), or the public key, of the sender
//	...      the payload
//	16       HMAC-SHA-256 over all before, under the key of the pair and direction, cut
const (
	markTag     = 0x01 // the two highest bits are 0: no packet of QUIC (RFC 9443)
	markKey     = 0x02
	sealLen     = 16
	maxStranger = 50   // keys computed in ten seconds for senders not known: 60 us each
	maxPairs    = 8192 // keys kept
)

// pair are the keys of one other member: what it sends us, what we send it.
type pair struct{ in, out [32]byte }

// posts is a socket for sealed datagrams. The mutex guards what follows it.
type posts struct {
	conn  net.PacketConn
	key   *ecdh.PrivateKey
	self  []byte // our public key
	tag   uint64
	known func(tag uint64) (peer.ID, bool)
	take  func(from peer.ID, b []byte)
	wire  *wire
	cuts  *cuts
	ended sync.WaitGroup // the reader

	mu        sync.Mutex
	pairs     map[peer.ID]*pair
	strangers bucket
}

// errNoIdentity is an identity that is not an Ed25519 key.
var errNoIdentity = errors.New("p2p: membership needs an Ed25519 identity")

// OpenPackets opens the host's socket for datagrams and has take called with each
// that is sealed by its sender; known finds the member behind a tag. It returns
// the socket's port. take must not block.
func (h *Host) OpenPackets(known func(tag uint64) (peer.ID, bool), take func(from peer.ID, b []byte)) (uint16, error) {
	key := h.Peerstore().PrivKey(h.ID())
	secret, self, err := agreement(key)
	if err != nil {
		return 0, err
	}
	conn, err := h.listenPackets()
	if err != nil {
		return 0, fmt.Errorf("p2p: listen for datagrams: %w", err)
	}
	addr, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return 0, errors.Join(fmt.Errorf("p2p: datagrams at %v: not UDP", conn.LocalAddr()), conn.Close())
	}
	p := &posts{
		conn: conn, key: secret, self: self, tag: swim.ID(h.ID()).Tag(), known: known, take: take, wire: h.wire, cuts: h.cuts,
		pairs: make(map[peer.ID]*pair), strangers: newBucket(maxStranger, 0, time.Now()),
	}
	h.posts.Store(p)
	p.ended.Go(p.read) // until ClosePackets
	return uint16(addr.Port), nil
}

// ClosePackets closes the socket and waits for its reader.
func (h *Host) ClosePackets() error {
	p := h.posts.Swap(nil)
	if p == nil {
		return nil
	}
	err := p.conn.Close()
	p.ended.Wait()
	return err
}

// SendPacket seals a datagram and sends it once. introduce: the receiver may not
// know our tag yet.
func (h *Host) SendPacket(to peer.ID, at netip.AddrPort, b []byte, introduce bool) {
	p := h.posts.Load()
	if p == nil || !p.cuts.allows(to) {
		return
	}
	keys := p.keys(to)
	if keys == nil {
		return
	}
	out := make([]byte, 0, 1+len(p.self)+len(b)+sealLen)
	if introduce {
		out = append(append(out, markKey), p.self...)
	} else {
		out = binary.BigEndian.AppendUint64(append(out, markTag), p.tag)
	}
	out = append(out, b...)
	out = append(out, seal(keys.out, out)...)
	if n, err := p.conn.WriteTo(out, net.UDPAddrFromAddrPort(at)); err == nil { // else it is lost, as any may be
		p.wire.out.Add(uint64(n))
	}
}

// listenPackets shares the port of a QUIC listener, or listens on UDP where TCP
// does.
func (h *Host) listenPackets() (net.PacketConn, error) {
	for _, protocol := range []int{ma.P_UDP, ma.P_TCP} {
		for _, a := range h.Network().ListenAddresses() {
			text, err := a.ValueForProtocol(protocol)
			if err != nil {
				continue
			}
			ip, err := manet.ToIP(a)
			if err != nil {
				return nil, fmt.Errorf("%v: %w", a, err)
			}
			at := &net.UDPAddr{IP: ip}
			if at.Port, err = strconv.Atoi(text); err != nil {
				return nil, fmt.Errorf("%v: %w", a, err)
			}
			listen := h.listenUDP
			if protocol == ma.P_UDP {
				listen = func(at *net.UDPAddr) (net.PacketConn, error) { return h.quic.SharedNonQUICPacketConn("udp", at) }
			}
			if c, err := listen(at); err == nil {
				return c, nil
			} else if protocol == ma.P_UDP {
				return nil, err
			}
			at.Port = 0 // that one is another's
			return h.listenUDP(at)
		}
	}
	return nil, errors.New("no listening address")
}

// read takes datagrams until the socket is closed.
func (p *posts) read() {
	buf := make([]byte, 2048)
	for {
		n, _, err := p.conn.ReadFrom(buf)
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				continue
			}
			return
		}
		p.wire.in.Add(uint64(n))
		if from, b := p.open(buf[:n], time.Now()); b != nil && p.cuts.allows(from) {
			p.take(from, slices.Clone(b))
		}
	}
}

// open returns the payload of a sealed datagram and who sealed it, or nil.
func (p *posts) open(b []byte, now time.Time) (peer.ID, []byte) {
	var from peer.ID
	var head int
	switch {
	case len(b) >= 1+8+sealLen && b[0] == markTag:
		id, ok := p.known(binary.BigEndian.Uint64(b[1:]))
		if !ok {
			return "", nil
		}
		from, head = id, 1+8
	case len(b) >= 1+32+sealLen && b[0] == markKey:
		key, err := crypto.UnmarshalEd25519PublicKey(b[1:33])
		if err != nil {
			return "", nil
		}
		if from, err = peer.IDFromPublicKey(key); err != nil || !p.welcome(from, now) {
			return "", nil
		}
		head = 1 + 32
	default:
		return "", nil
	}
	keys := p.keys(from)
	body := len(b) - sealLen
	if keys == nil || !hmac.Equal(seal(keys.in, b[:body]), b[body:]) {
		return "", nil
	}
	return from, b[head:body]
}

// welcome bounds what senders nobody knows can have us compute.
func (p *posts) welcome(from peer.ID, now time.Time) bool {
	_, member := p.known(swim.ID(from).Tag())
	p.mu.Lock()
	defer p.mu.Unlock()
	return member || p.pairs[from] != nil || p.strangers.take(1, 0, now)
}

// keys are those shared with another; nil if its identity is no Ed25519 key.
func (p *posts) keys(id peer.ID) *pair {
	p.mu.Lock()
	k := p.pairs[id]
	p.mu.Unlock()
	if k != nil {
		return k
	}
	public, err := id.ExtractPublicKey()
	if err != nil {
		return nil
	}
	raw, err := public.Raw()
	if err != nil || public.Type() != crypto.Ed25519 {
		return nil
	}
	theirs, err := montgomery(raw)
	if err != nil {
		return nil
	}
	shared, err := p.key.ECDH(theirs)
	if err != nil {
		return nil // a point of low order: nobody's honest key
	}
	k = &pair{in: derive(shared, raw, p.self), out: derive(shared, p.self, raw)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.pairs) >= maxPairs {
		clear(p.pairs) // computed again as needed
	}
	p.pairs[id] = k
	return k
}

// derive is the key for datagrams in one direction.
func derive(shared, from, to []byte) (k [32]byte) {
	mac := hmac.New(sha256.New, shared)
	mac.Write([]byte("pheme swim datagram 1"))
	mac.Write(from)
	mac.Write(to)
	mac.Sum(k[:0])
	return k
}

func seal(key [32]byte, b []byte) []byte {
	mac := hmac.New(sha256.New, key[:])
	mac.Write(b)
	return mac.Sum(nil)[:sealLen]
}

// agreement turns an Ed25519 identity into a key for X25519: the scalar is the
// one Ed25519 multiplies by (RFC 8032, 5.1.5).
func agreement(key crypto.PrivKey) (secret *ecdh.PrivateKey, public []byte, err error) {
	if key == nil || key.Type() != crypto.Ed25519 {
		return nil, nil, errNoIdentity
	}
	raw, err := key.Raw()
	if err != nil {
		return nil, nil, fmt.Errorf("p2p: identity: %w", err)
	}
	sum := sha512.Sum512(raw[:32])
	if secret, err = ecdh.X25519().NewPrivateKey(sum[:32]); err != nil {
		return nil, nil, fmt.Errorf("p2p: identity: %w", err)
	}
	return secret, raw[32:], nil
}

// montgomery maps an Ed25519 public key to X25519's curve: u = (1+y) / (1-y)
// modulo 2^255 - 19 (RFC 7748, 4.1).
func montgomery(public []byte) (*ecdh.PublicKey, error) {
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	le := slices.Clone(public)
	le[31] &= 0x7f // the sign of x
	slices.Reverse(le)
	y, one := new(big.Int).SetBytes(le), big.NewInt(1)
	below := new(big.Int).ModInverse(new(big.Int).Mod(new(big.Int).Sub(one, y), p), p)
	if below == nil {
		return nil, errNoIdentity
	}
	u := new(big.Int).Add(one, y)
	u.Mul(u, below).Mod(u, p)
	out := u.FillBytes(make([]byte, 32))
	slices.Reverse(out)
	return ecdh.X25519().NewPublicKey(out)
}
