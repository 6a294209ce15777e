package p2p

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"fmt"
	"maps"
	"math/big"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	ethcrypto "github.com/ethereum/go-ethereum/crypto"
	"github.com/holiman/uint256"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
)

// patience is how long a test waits for what must happen; nothing waits for it
// to pass.
const patience = 20 * time.Second

// world is a network for tests: a genesis whose slots lie in the past, one
// proposer, a few rich users, and the chain the proposer has built.
type world struct {
	t       testing.TB
	genesis *chain.Genesis
	key     *ecdsa.PrivateKey
	users   []*ecdsa.PrivateKey
	nonces  []uint64
	builder *chain.Chain
	slot    uint64
}

func newWorld(t testing.TB, label string) *world {
	t.Helper()
	return newWorldOf(t, label, 1<<20, time.Now())
}

// newWorldOf is newWorld for blocks of another size and for another time.
func newWorldOf(t testing.TB, label string, maxBytes uint64, now time.Time) *world {
	t.Helper()
	w := &world{t: t, key: testKey("proposer"), nonces: make([]uint64, 8)}
	alloc := make(map[common.Address]*uint256.Int)
	for i := range w.nonces {
		w.users = append(w.users, testKey(fmt.Sprint("user", i)))
		alloc[ethcrypto.PubkeyToAddress(w.users[i].PublicKey)] = uint256.MustFromDecimal("1000000000000000000000")
	}
	w.genesis = &chain.Genesis{
		ChainID: 1337, TimeMS: uint64(now.Add(-time.Hour).UnixMilli()), SlotMS: 1000, Label: label,
		Proposers: []common.Address{ethcrypto.PubkeyToAddress(w.key.PublicKey)}, Alloc: alloc,
		BaseFee: uint256.NewInt(1_000_000_000), GasLimit: 1_000_000_000, MaxBlockBytes: maxBytes,
	}
	w.builder = openChain(t, w.genesis)
	return w
}

func testKey(name string) *ecdsa.PrivateKey {
	sum := sha256.Sum256([]byte(name))
	key, err := ethcrypto.ToECDSA(sum[:])
	if err != nil {
		panic(err)
	}
	return key
}

func openChain(t testing.TB, g *chain.Genesis) *chain.Chain {
	t.Helper()
	c, err := chain.Open(chain.Config{}, g, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// tx makes the next transfer of a user, with size bytes of data.
func (w *world) tx(user, size int) *chain.Tx { return w.payWith(user, common.Address{1}, 1, size) }

// pay makes the next transfer of a user to an address.
func (w *world) pay(user int, to common.Address) *chain.Tx { return w.payWith(user, to, 1, 0) }

// payWith is pay of an amount with size bytes of data.
func (w *world) payWith(user int, to common.Address, wei int64, size int) *chain.Tx {
	w.t.Helper()
	t, err := w.sign(user, w.nonces[user], to, wei, size)
	if err != nil {
		w.t.Fatal(err)
	}
	w.nonces[user]++
	return t
}

// sign makes a transfer with size bytes of data that differ from one nonce to the next.
func (w *world) sign(user int, nonce uint64, to common.Address, wei int64, size int) (*chain.Tx, error) {
	inner, err := types.SignNewTx(w.users[user], types.NewLondonSigner(new(big.Int).SetUint64(w.genesis.ChainID)), &types.DynamicFeeTx{
		ChainID: new(big.Int).SetUint64(w.genesis.ChainID), Nonce: nonce, To: &to, Value: big.NewInt(wei), Data: bytes.Repeat([]byte{byte(1 + nonce%255)}, size),
		Gas: 21_000 + 16*uint64(size), GasFeeCap: big.NewInt(3_000_000_000), GasTipCap: big.NewInt(1_000_000_000),
	})
	if err != nil {
		return nil, err
	}
	return chain.NewTx(inner)
}

// block makes the next block of the proposer's chain.
func (w *world) block(txs ...*chain.Tx) *chain.Block {
	w.t.Helper()
	w.slot++
	b, left, err := w.builder.Build(w.slot, w.key, txs, 0)
	if err != nil || len(left) > 0 {
		w.t.Fatalf("Build: %v, %d left out", err, len(left))
	}
	if _, err := w.builder.Add(b); err != nil {
		w.t.Fatal(err)
	}
	return b
}

// blocks makes n blocks of one transaction of size bytes each.
func (w *world) blocks(n, size int) (out []*chain.Block) {
	for i := range n {
		out = append(out, w.block(w.tx(i%len(w.users), size)))
	}
	return out
}

// recorder keeps a node's events and lets a test wait for one.
type recorder struct {
	mu      sync.Mutex
	events  []trace.Event
	changed chan struct{} // closed and replaced at every event
}

func newRecorder() *recorder { return &recorder{changed: make(chan struct{})} }

func (r *recorder) emit(e trace.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	close(r.changed)
	r.changed = make(chan struct{})
}

// all returns the events so far for which ok holds.
func (r *recorder) all(ok func(trace.Event) bool) (out []trace.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if ok(e) {
			out = append(out, e)
		}
	}
	return out
}

func kind(k trace.Kind, hash common.Hash) func(trace.Event) bool {
	return func(e trace.Event) bool { return e.Kind == k && (hash == common.Hash{} || e.Hash == hash) }
}

// wait returns the first event for which ok holds.
func (r *recorder) wait(t testing.TB, what string, ok func(trace.Event) bool) trace.Event {
	t.Helper()
	deadline := time.After(patience)
	next := 0
	for {
		r.mu.Lock()
		for ; next < len(r.events); next++ {
			if e := r.events[next]; ok(e) {
				r.mu.Unlock()
				return e
			}
		}
		changed := r.changed
		r.mu.Unlock()
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("never happened: %s", what)
		}
	}
}

// until waits for a condition that events accompany.
func (n *testNode) until(what string, cond func() bool) {
	n.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			n.t.Fatalf("never happened: %s", what)
		}
	}
}

// testNode is a real Net on a real host and a real chain, with a small pool.
type testNode struct {
	t     testing.TB
	cfg   Config
	key   crypto.PrivKey
	host  host.Host
	chain *chain.Chain
	net   *Net
	rec   *recorder
	back  *testBackend
	stop  func()
}

// testBackend is a pool that takes what it has not got, and an importer.
type testBackend struct {
	chain *chain.Chain
	rec   *recorder
	net   *Net
	queue chan *chain.Block

	mu   sync.Mutex
	pool map[common.Hash]*chain.Tx
	busy bool    // the import queue plays full
	mute bool    // the pool refuses everything, so that nothing is passed on
	over bool    // every peer is over its budget
	shun peer.ID // the pool refuses what comes from it
}

func (b *testBackend) AllowTxs(_ peer.ID, count int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return count == 0 || !b.over
}

// overBudget makes every peer have offered too much, or not.
func (b *testBackend) overBudget(yes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = yes
}

func (b *testBackend) AddTxs(from peer.ID, txs []*chain.Tx) []error {
	b.mu.Lock()
	defer b.mu.Unlock()
	errs := make([]error, len(txs))
	for i, t := range txs {
		if b.mute || b.shun != "" && b.shun == from {
			errs[i] = errUnwanted
			continue
		}
		if b.pool[t.Hash()] != nil {
			errs[i] = chain.ErrKnown
			continue
		}
		b.pool[t.Hash()] = t
		b.rec.emit(trace.Event{Kind: trace.TxAdmitted, Hash: t.Hash()})
	}
	return errs
}

func (b *testBackend) Tx(h common.Hash) *chain.Tx {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pool[h]
}

func (b *testBackend) Pooled() []*chain.Tx {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.pool))
}

func (b *testBackend) QueueBlock(_ peer.ID, blk *chain.Block) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.busy {
		return ErrBusy
	}
	select {
	case b.queue <- blk:
		return nil
	default:
		return ErrBusy
	}
}

// deaf makes the pool refuse everything, or not.
func (b *testBackend) deaf(yes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mute = yes
}

// full makes the import queue play full, or not.
func (b *testBackend) full(yes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy = yes
}

func (b *testBackend) ImportBlock(_ context.Context, _ peer.ID, blk *chain.Block) error {
	b.net.charge(chain.Work{Signatures: len(blk.Txs()), Transfers: len(blk.Txs())})
	return b.add(blk)
}

func (b *testBackend) AdoptState(_ context.Context, _ peer.ID, s *chain.Staging, way []*chain.SignedHeader, blk *chain.Block) error {
	u, err := s.Adopt(way, blk)
	if err == nil {
		b.rec.emit(trace.Event{Kind: trace.HeadChanged, Hash: blk.ID()})
		b.net.Imported(u)
	}
	return err
}

func (b *testBackend) EachTx(f func(*chain.Tx)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, x := range b.pool {
		f(x)
	}
}

func (b *testBackend) Sign(digest common.Hash) (sig [65]byte, err error) {
	out, err := ethcrypto.Sign(digest[:], testKey("proposer"))
	copy(sig[:], out)
	return sig, err
}

func (b *testBackend) add(blk *chain.Block) error {
	u, err := b.chain.Add(blk)
	if err == nil {
		b.rec.emit(trace.Event{Kind: trace.BlockImported, Hash: blk.ID()})
		b.net.Imported(u)
	}
	return err
}

func (b *testBackend) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case blk := <-b.queue:
			_ = b.add(blk) // the test looks at the chain
		}
	}
}

func identity(name string) crypto.PrivKey {
	sum := sha256.Sum256([]byte(name))
	key, _, err := crypto.GenerateEd25519Key(bytes.NewReader(sum[:]))
	if err != nil {
		panic(err)
	}
	return key
}

// testConfig listens on TCP on a port of the kernel's choice and does not dawdle.
func testConfig() Config {
	return Config{
		Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Heartbeat: 100 * time.Millisecond,
		FetchTimeout: 150 * time.Millisecond, StatusTimeout: 2 * time.Second, RedialMin: 50 * time.Millisecond, NoDiscovery: true, // tests say who is connected
	}
}

// node starts a node of the world.
func (w *world) node(name string, bend ...func(*Config)) *testNode {
	w.t.Helper()
	cfg := testConfig()
	for _, f := range bend {
		f(&cfg)
	}
	n := &testNode{t: w.t, cfg: cfg, key: identity(name), chain: openChain(w.t, w.genesis), rec: newRecorder()}
	n.start()
	return n
}

func (n *testNode) start() {
	n.t.Helper()
	h, err := NewHost(n.cfg, n.key)
	if err != nil {
		n.t.Fatal(err)
	}
	n.host = h
	n.run()
}

// run makes and runs the node's Net on its host, which it closes at the end.
func (n *testNode) run() {
	n.t.Helper()
	h := n.host
	var err error
	n.back = &testBackend{chain: n.chain, rec: n.rec, queue: make(chan *chain.Block, 256), pool: make(map[common.Hash]*chain.Tx)}
	n.net, err = New(n.cfg, h, n.chain, n.back, n.rec.emit, trace.NewClock())
	if err != nil {
		n.t.Fatal(err)
	}
	n.back.net = n.net
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := n.net.Run(ctx); err != nil {
			n.t.Errorf("Run: %v", err)
		}
	})
	wg.Go(func() { n.back.run(ctx) })
	n.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		if err := h.Close(); err != nil {
			n.t.Errorf("close host: %v", err)
		}
	})
	n.t.Cleanup(n.stop)
	<-n.net.Ready()
}

// addr is where the node is reached.
func (n *testNode) addr() string {
	return fmt.Sprintf("%s/p2p/%s", n.host.Network().ListenAddresses()[0], n.host.ID())
}

func (n *testNode) tag() uint64 { return trace.PeerTag(n.host.ID().String()) }

// link connects two nodes and waits until each has the other in both meshes.
func link(a, b *testNode) {
	a.t.Helper()
	if err := a.net.AddPeer(b.addr()); err != nil {
		a.t.Fatal(err)
	}
	a.meshed(b)
	b.meshed(a)
}

func (n *testNode) meshed(o *testNode) {
	n.t.Helper()
	n.until("mesh of "+n.host.ID().String(), func() bool {
		return n.net.tracers[topicBlock].inMesh(o.host.ID()) && n.net.tracers[topicTx].inMesh(o.host.ID()) && n.net.peers.isUp(o.host.ID())
	})
}

// propose publishes a block at a node and imports it there, as a proposer does.
func (n *testNode) propose(b *chain.Block) {
	n.t.Helper()
	if err := n.net.PublishBlock(b); err != nil {
		n.t.Fatal(err)
	}
	if err := n.back.add(b); err != nil {
		n.t.Fatal(err)
	}
}

// give imports blocks without telling anybody.
func (n *testNode) give(blocks ...*chain.Block) {
	n.t.Helper()
	for _, b := range blocks {
		if _, err := n.chain.Add(b); err != nil {
			n.t.Fatalf("Add(%d) = %v", b.Number(), err)
		}
	}
}

// reaches waits until the node's head is b.
func (n *testNode) reaches(b *chain.Block) {
	n.t.Helper()
	n.until(fmt.Sprintf("head %d", b.Number()), func() bool { return n.chain.HeadID() == b.ID() })
}

// freePort is a TCP port that was free a moment ago.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func addrInfo(n *testNode) peer.AddrInfo {
	return peer.AddrInfo{ID: n.host.ID(), Addrs: n.host.Network().ListenAddresses()}
}
