package p2p

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/pheme-net/pheme/chain"
	links "github.com/pheme-net/pheme/p2p/link"
	"github.com/pheme-net/pheme/p2p/link/virtual"
	"github.com/pheme-net/pheme/p2p/swim"
	"github.com/pheme-net/pheme/p2p/trace"
)

// town is a virtual network of nodes with membership.
type town struct {
	*world
	net   *virtual.Network
	nodes []*testNode
	hosts []*virtual.Host
	clock trace.Clock
	all   sync.WaitGroup
	end   context.CancelFunc
}

func newTown(t *testing.T, n int, loss float64) *town {
	t.Helper()
	v := &town{world: newWorld(t, "town"), clock: trace.ClockAt(time.Now(), 0)}
	table, err := links.ParseLatency("uniform:20ms")
	if err != nil {
		t.Fatal(err)
	}
	nodes := make([]links.Node, n)
	if v.net, err = virtual.New(links.Config{Nodes: nodes, Table: table, Seed: 1, Loss: loss}, virtual.Direct); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	v.end = cancel
	v.all.Go(func() { _ = v.net.Run(ctx) })
	return v
}

// add starts a node at the next place, or at an old one again.
func (v *town) add(at int, bend func(*Config)) *testNode {
	v.t.Helper()
	key, err := virtual.Identity(1, at)
	if err != nil {
		v.t.Fatal(err)
	}
	h, err := virtual.NewHost(v.net, virtual.HostConfig{Node: at, Key: key})
	if err != nil {
		v.t.Fatal(err)
	}
	n := &testNode{t: v.t, host: h, chain: openChain(v.t, v.genesis), rec: newRecorder()}
	n.back = &testBackend{chain: n.chain, rec: n.rec, queue: make(chan *chain.Block, 16), pool: make(map[common.Hash]*chain.Tx)}
	var cfg Config
	bend(&cfg)
	if n.net, err = New(cfg, h, n.chain, n.back, n.rec.emit, v.clock); err != nil {
		v.t.Fatal(err)
	}
	n.back.net = n.net
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = n.net.Run(ctx) }) // a crash may break anything in it
	wg.Go(func() { n.back.run(ctx) })
	n.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		_ = h.Close()
	})
	if at == len(v.nodes) {
		v.nodes, v.hosts = append(v.nodes, nil), append(v.hosts, nil)
	}
	v.nodes[at], v.hosts[at] = n, h
	return n
}

// crash stops a node without a goodbye: nothing it sends from now on arrives.
func (v *town) crash(at int) {
	var others []int
	for i := range v.nodes {
		if i != at {
			others = append(others, i)
		}
	}
	if err := v.net.Apply(links.Partition{Groups: [][]int{{at}, others}}); err != nil {
		v.t.Fatal(err)
	}
	v.nodes[at].stop()
	_ = v.nodes[at].chain.Close()
	v.nodes[at] = nil
	if err := v.net.Apply(links.Heal{}); err != nil {
		v.t.Fatal(err)
	}
}

func (v *town) burst() {
	for _, n := range v.nodes {
		if n != nil {
			n.stop()
			_ = n.chain.Close()
		}
	}
	v.end()
	v.all.Wait()
	_ = v.builder.Close()
	time.Sleep(10 * time.Second)
}

// knows counts the members a node holds for alive, with itself.
func (n *testNode) knows() (alive int) {
	for _, m := range n.net.Members(context.Background()) {
		if m.State == "alive" {
			alive++
		}
	}
	return alive
}

func (v *town) complete() bool {
	up := 0
	for _, n := range v.nodes {
		if n != nil {
			up++
		}
	}
	for _, n := range v.nodes {
		if n != nil && n.knows() != up {
			return false
		}
	}
	return true
}

// await lets virtual time pass until cond holds.
func (v *town) await(what string, limit time.Duration, cond func() bool) time.Duration {
	v.t.Helper()
	began := time.Now()
	for !cond() {
		if time.Since(began) > limit {
			v.t.Fatalf("not after %v: %s", limit, what)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return time.Since(began)
}

// TestTownForms: from one address a network forms by itself: everybody knows
// everybody, has the connections it chose, and no more than it may; a crash is
// seen by all, and a goodbye is no death.
func TestTownForms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 24
		v := newTown(t, size, 0)
		defer v.burst()
		first := v.add(0, func(c *Config) { c.MaxPeers, c.Outbound = 20, 5 })
		boot := fmt.Sprintf("%s/p2p/%s", v.net.Addr(0), first.host.ID())
		for i := 1; i < size; i++ {
			v.add(i, func(c *Config) { c.MaxPeers, c.Outbound, c.Bootstrap = 20, 5, []string{boot} })
		}
		took := v.await("everybody knows everybody", 30*time.Second, v.complete)
		v.await("everybody has its own connections", 60*time.Second, func() bool {
			for _, n := range v.nodes {
				if outbound, inbound := n.net.sides(); len(outbound) < n.net.cfg.Outbound || len(inbound) > 20-n.net.cfg.Outbound {
					return false
				}
			}
			return true
		})
		t.Logf("known after %v", took)
		if err := v.nodes[3].net.SetMetadata(t.Context(), map[string]string{"zone": "eu"}); err != nil {
			t.Fatal(err)
		}
		if err := v.nodes[3].net.SetMetadata(t.Context(), map[string]string{"head": "99"}); !errors.Is(err, errReserved) {
			t.Errorf("a key of the node's own: %v", err)
		}
		id := v.nodes[3].host.ID()
		v.await("the entry is everywhere", 10*time.Second, func() bool {
			for _, n := range v.nodes {
				all := n.net.Members(t.Context())
				if i := slices.IndexFunc(all, func(m MemberInfo) bool { return m.ID == id }); i < 0 || all[i].Metadata["zone"] != "eu" || all[i].Metadata["head"] != "0" {
					return false
				}
			}
			return true
		})
		v.crash(5)
		v.await("the crash is seen", 10*time.Second, v.complete)
		tag := trace.PeerTag(v.hosts[5].ID().String())
		if got := v.nodes[7].rec.all(func(e trace.Event) bool { return e.Kind == trace.MemberDead && e.Peer == tag }); len(got) != 1 {
			t.Errorf("member.dead: %v", got)
		}
		v.add(5, func(c *Config) { c.MaxPeers, c.Outbound, c.Bootstrap = 20, 5, []string{boot} })
		v.await("it is back", 20*time.Second, v.complete)
		if s := v.nodes[7].net.Stats(); s.In[trace.ClassMember] == 0 || s.Out[trace.ClassMember] == 0 {
			t.Error("no bytes of class member")
		}
		v.await("the aggregates", 4*time.Minute, func() bool {
			a := v.nodes[7].net.Aggregate(t.Context())
			return a.Nodes > size-0.5 && a.Nodes < size+0.5 && a.Mean.Load > 100 && a.Max.Load > uint64(a.Mean.Load)
		})
	})
}

// TestForgottenMembers: of a member that was dead for long nothing is kept.
func TestForgottenMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTown(t, 3, 0)
		defer v.burst()
		first := v.add(0, func(*Config) {})
		boot := fmt.Sprintf("%s/p2p/%s", v.net.Addr(0), first.host.ID())
		for i := 1; i < 3; i++ {
			v.add(i, func(c *Config) { c.Bootstrap = []string{boot} })
		}
		v.await("it forms", 30*time.Second, v.complete)
		gone := v.hosts[2].ID()
		v.crash(2)
		v.await("the crash is seen", 30*time.Second, v.complete)
		m := first.net.members
		kept := func() (tag, place bool) {
			_, tag = m.tags.Load(swim.ID(gone).Tag())
			if err := m.do(t.Context(), func(*swim.Node, time.Time) { _, place = m.where[swim.ID(gone)] }); err != nil {
				t.Fatal(err)
			}
			return tag, place
		}
		if tag, place := kept(); !tag || !place || len(first.net.Members(t.Context())) != 3 {
			t.Fatalf("tag %v, place %v: it is forgotten at once, and the test shows nothing", tag, place)
		}
		time.Sleep(11 * time.Minute) // swim's DeadKeep and more
		if tag, place := kept(); tag || place || len(first.net.Members(t.Context())) != 2 {
			t.Errorf("tag %v, place %v are kept, of %d members", tag, place, len(first.net.Members(t.Context())))
		}
		if _, ok := m.known(swim.ID(v.hosts[1].ID()).Tag()); !ok {
			t.Error("the one that lives is forgotten")
		}
	})
}

// TestPostsAreSealed: on real sockets a datagram arrives with its sender; one that
// is altered, misdirected or in another's name does not.
func TestPostsAreSealed(t *testing.T) {
	type got struct {
		from peer.ID
		b    string
	}
	for _, listen := range []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"} {
		arrived := make(chan got, 16)
		open := func(name string) (*Host, netip.AddrPort) {
			h, err := NewHost(Config{Listen: []string{listen}}, identity(name))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = h.Close() })
			host := h.(*Host)
			port, err := host.OpenPackets(func(uint64) (peer.ID, bool) { return "", false }, func(from peer.ID, b []byte) { arrived <- got{from, string(b)} })
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = host.ClosePackets() })
			return host, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
		}
		a, _ := open("post a")
		b, at := open("post b")
		c, _ := open("post c")
		// A datagram may be lost: QUIC's socket drops what nobody reads yet.
		until := func(text string) {
			deadline, again := time.After(patience), time.NewTicker(10*time.Millisecond)
			defer again.Stop()
			for {
				select {
				case g := <-arrived:
					if g.from != a.ID() || g.b != text && g.b != "hello" {
						t.Fatalf("%s: got %q from %v", listen, g.b, g.from)
					}
					if g.b == text {
						return
					}
				case <-again.C:
					a.SendPacket(b.ID(), at, []byte(text), true)
				case <-deadline:
					t.Fatalf("%s: no datagram arrives", listen)
				}
			}
		}
		until("hello")
		// What c was meant to get, and what is not known by its tag.
		a.SendPacket(c.ID(), at, []byte("misdirected"), true)
		a.SendPacket(b.ID(), at, []byte("unknown tag"), false)
		// Altered, cut, and by c in the name of a.
		p, q := a.posts.Load(), c.posts.Load()
		raw := append(append([]byte{markKey}, p.self...), "altered"...)
		raw = append(raw, seal(p.keys(b.ID()).out, raw)...)
		if from, body := b.posts.Load().open(raw, time.Now()); from != a.ID() || string(body) != "altered" {
			t.Fatalf("the intact one is refused: %v %q", from, body)
		}
		raw[40] ^= 1
		forged := append(append([]byte{markKey}, p.self...), "forged"...)
		forged = append(forged, seal(q.keys(b.ID()).out, forged)...)
		for _, bad := range [][]byte{raw, raw[:30], forged, {}, {markTag}, {markKey}} {
			if from, body := b.posts.Load().open(bad, time.Now()); body != nil {
				t.Errorf("%s: %x passes as of %v", listen, bad, from)
			}
		}
		until("last")
	}
}

// TestStrangersAreBounded: keys are computed for only so many senders nobody knows.
func TestStrangersAreBounded(t *testing.T) {
	p := &posts{known: func(uint64) (peer.ID, bool) { return "", false }, pairs: map[peer.ID]*pair{}, strangers: newBucket(maxStranger, 0, time.Time{})}
	passed := 0
	for i := range 1000 {
		if p.welcome(peer.ID(fmt.Sprint(i)), time.Time{}) {
			passed++
		}
	}
	if passed != maxStranger {
		t.Errorf("%d strangers passed at one instant, want %d", passed, maxStranger)
	}
}

// TestHostileMembers: who sends datagrams no honest member sends loses its place, one whose datagrams
// come far too often does not, for anybody may send them again, and the honest go on.
func TestHostileMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTown(t, 8, 0)
		defer v.burst()
		first := v.add(0, func(*Config) {})
		boot := fmt.Sprintf("%s/p2p/%s", v.net.Addr(0), first.host.ID())
		for i := 1; i < 8; i++ {
			v.add(i, func(c *Config) { c.Bootstrap = []string{boot} })
		}
		v.await("it forms", 30*time.Second, v.complete)
		send := func(from, to, times int, b []byte) {
			ip := netip.MustParseAddr("0.0.0.0")
			if a, err := v.net.Addr(to).ValueForProtocol(ma.P_IP4); err == nil {
				ip = netip.MustParseAddr(a)
			}
			for range times {
				v.hosts[from].SendPacket(v.hosts[to].ID(), netip.AddrPortFrom(ip, 8000), b, false)
			}
		}
		send(6, 1, 3, []byte("garbage"))
		for range 10 {
			send(7, 1, packetQueue, []byte{1, 0xc0})
			time.Sleep(100 * time.Millisecond)
		}
		v.await("both are out", 10*time.Second, func() bool {
			return v.nodes[1].net.peers.penalty(v.hosts[6].ID()) <= graylist && v.nodes[1].net.peers.penalty(v.hosts[7].ID()) <= graylist
		})
		ping := []byte{1, 0xc6, 1, 1, 0x80, 0xc0, 0xc0, 0xc0}
		for range 10 {
			send(5, 1, packetQueue, ping)
			time.Sleep(100 * time.Millisecond)
		}
		left := 0.
		m := v.nodes[1].net.members
		if err := m.do(t.Context(), func(*swim.Node, time.Time) { left = m.allowed[v.hosts[5].ID()].requests }); err != nil || left > 50 { // of 1,000; some came back since
			t.Errorf("%v: %v more datagrams are taken: nothing was refused", err, left)
		}
		time.Sleep(10 * time.Second)
		for i, n := range v.nodes[:6] {
			if alive := n.knows(); alive < 6 {
				t.Errorf("node %d knows %d alive", i, alive)
			}
			for j := range 6 {
				if p := n.net.peers.penalty(v.hosts[j].ID()); p < 0 {
					t.Errorf("node %d holds an offence of honest %d: %v", i, j, p)
				}
			}
		}
	})
}

// TestChoose: chosen members are spread over subnets, what we have counted.
func TestChoose(t *testing.T) {
	var all []candidate
	for i := range 30 {
		c := candidate{info: peer.AddrInfo{ID: peer.ID(fmt.Sprint(i))}, group: "a"}
		if i%10 == 0 {
			c.group = fmt.Sprint(i)
		}
		all = append(all, c)
	}
	got := map[string]int{}
	for _, c := range choose(all, map[string]int{"a": 1}, 8, func(int, func(i, j int)) {}) {
		got[c.group]++
	}
	if got["a"] != 1 || len(got) != 4 {
		t.Errorf("chosen by subnet: %v, want one more of a, and each other", got)
	}
}

// TestExcess: the oldest inbound connections and the newest stay; of the others
// the largest subnet gives way.
func TestExcess(t *testing.T) {
	now := time.Now()
	var inbound []candidate
	for i := range 40 {
		c := candidate{info: peer.AddrInfo{ID: peer.ID(fmt.Sprint(i))}, group: "attacker", since: now.Add(-time.Hour + time.Duration(i)*time.Minute)}
		if i < keptInbound || i%10 == 0 {
			c.group = fmt.Sprint("honest", i)
		}
		inbound = append(inbound, c)
	}
	inbound[39].since = now
	out := excess(slices.Clone(inbound), 20, now)
	if len(out) != 20 {
		t.Fatalf("%d are put out, want 20", len(out))
	}
	for _, c := range out {
		if c.group != "attacker" || c.since.Equal(now) {
			t.Errorf("%v is put out", c)
		}
	}
}

// TestAnchors: what is written is read again; what is damaged is refused with what
// to do, and a first start has none.
func TestAnchors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "anchors")
	if got, err := readAnchors(path); err != nil || got != nil {
		t.Errorf("no file: %v, %v", got, err)
	}
	w := newWorld(t, "anchors")
	a, b := w.node("a", func(c *Config) { c.Anchors, c.NoDiscovery = path, false }), w.node("b")
	if err := a.net.AddPeer(b.addr()); err != nil {
		t.Fatal(err)
	}
	a.until("the anchor is written", func() bool {
		got, err := readAnchors(path)
		return err == nil && len(got) == 1 && got[0].ID == b.host.ID()
	})
	a.stop()
	// Nobody tells it of b again.
	again := w.node("a", func(c *Config) { c.Anchors, c.NoDiscovery = path, false })
	again.until("the anchor is up", func() bool { return again.net.peers.isUp(b.host.ID()) })
	for _, text := range []string{"{", `["/ip4/1.2.3.4/tcp/1"]`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readAnchors(path); err == nil {
			t.Errorf("%s is read", text)
		}
	}
	many, err := json.Marshal(slices.Repeat([]string{b.addr()}, 400))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, many, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readAnchors(path); err == nil {
		t.Error("a file above its bound is read")
	}
}
