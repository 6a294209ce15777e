package rpc

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/holiman/uint256"

	"github.com/pheme-net/pheme/chain"
)

// rig is a server over a real chain in memory, with a small pool and network. Blocks
// are made when the test says so.
type rig struct {
	tb    testing.TB
	chain *chain.Chain
	pool  *smallPool
	net   *smallNet
	trace *smallTrace
	s     *Server
	keys  []*ecdsa.PrivateKey // rich accounts; the first is the proposer
	stop  func()              // ends Run and waits for it
	addr  string              // of the TCP listener, empty when the server was not started
	ipc   string
}

const rigAccounts = 8

// newRig makes a server that is not running: its calls can be made through s.call.
func newRig(tb testing.TB, cfg Config) *rig {
	tb.Helper()
	return newRigOver(tb, cfg, chain.Config{})
}

func newRigOver(tb testing.TB, cfg Config, chainCfg chain.Config) *rig {
	tb.Helper()
	r := &rig{tb: tb, net: &smallNet{}, trace: &smallTrace{}}
	rich := uint256.MustFromDecimal("1000000000000000000000000")
	g := &chain.Genesis{
		ChainID: 1337, TimeMS: 900_000_000_000 /* before the start of virtual time */, SlotMS: 100, BaseFee: uint256.NewInt(1_000_000_000),
		GasLimit: 1_000_000_000, MaxBlockBytes: 4 << 20, Label: "test", Alloc: map[common.Address]*uint256.Int{},
	}
	for i := range rigAccounts {
		key, err := crypto.ToECDSA(crypto.Keccak256([]byte{byte(i)}))
		must(tb, err)
		r.keys = append(r.keys, key)
		g.Alloc[r.addressOf(i)] = rich
	}
	g.Proposers = []common.Address{r.addressOf(0)}
	var err error
	r.chain, err = chain.Open(chainCfg, g, "", nil)
	must(tb, err)
	tb.Cleanup(func() { must(tb, r.chain.Close()) })
	r.pool = newSmallPool(r.chain)
	r.s, err = New(cfg, r.chain, Deps{Pool: r.pool, Net: r.net, Submit: r.pool, Trace: r.trace, Shutdown: r.net.shutdown})
	must(tb, err)
	return r
}

// startRig makes a server and runs it on a TCP port and a unix socket.
func startRig(tb testing.TB, cfg Config) *rig {
	tb.Helper()
	cfg.IPC = filepath.Join(tb.TempDir(), "ipc")
	r := newRig(tb, cfg)
	l, err := Listen("127.0.0.1:0")
	must(tb, err)
	r.addr, r.ipc = l.Addr().String(), cfg.IPC
	r.run(l)
	return r
}

// run serves on l until the test ends or calls stop.
func (r *rig) run(l net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.s.Run(ctx, l) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.tb.Errorf("Run() = %v, want nil", err)
		}
	})
	r.tb.Cleanup(r.stop)
	<-r.s.Ready()
}

func (r *rig) url() string { return "http://" + r.addr }
func (r *rig) ws() string  { return "ws://" + r.addr }

func (r *rig) addressOf(i int) common.Address { return crypto.PubkeyToAddress(r.keys[i].PublicKey) }

func (r *rig) dial(target string) *Client {
	r.tb.Helper()
	c, err := Dial(r.tb.Context(), target)
	must(r.tb, err)
	r.tb.Cleanup(c.Close)
	return c
}

// transfer signs a transfer of account i.
func (r *rig) transfer(i int, nonce uint64, data []byte) *types.Transaction {
	to := common.Address{19: byte(i), 18: 0xaa}
	gas := uint64(21_000)
	for _, b := range data {
		gas += 4
		if b != 0 {
			gas += 12
		}
	}
	return r.sign(i, &types.DynamicFeeTx{
		ChainID: big.NewInt(1337), Nonce: nonce, Gas: gas, To: &to, Value: big.NewInt(1), Data: data,
		GasFeeCap: big.NewInt(2_000_000_000), GasTipCap: big.NewInt(1_000_000),
	})
}

func (r *rig) sign(i int, inner types.TxData) *types.Transaction {
	r.tb.Helper()
	tx, err := types.SignNewTx(r.keys[i], types.LatestSignerForChainID(big.NewInt(1337)), inner)
	must(r.tb, err)
	return tx
}

// seal makes a block of the pool's executable transactions in the next slot, adds it
// and returns it.
func (r *rig) seal() *chain.Block {
	r.tb.Helper()
	return r.sealAt(chain.SlotOf(r.chain.Head()) + 1)
}

func (r *rig) sealAt(slot uint64) *chain.Block {
	r.tb.Helper()
	b, _, err := r.chain.Build(slot, r.keys[0], r.pool.executable(), 0)
	must(r.tb, err)
	_, err = r.chain.Add(b)
	must(r.tb, err)
	r.pool.trim()
	return b
}

// post sends a body to the server and returns the status and answer.
func (r *rig) post(body string) (status int, answer string) {
	r.tb.Helper()
	resp, err := http.Post(r.url(), "application/json", strings.NewReader(body))
	must(r.tb, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	must(r.tb, err)
	return resp.StatusCode, string(raw)
}

// direct runs a body through the server without a connection.
func (r *rig) direct(body []byte) []byte {
	f := &flight{s: r.s}
	defer f.release()
	parts := r.s.call(context.Background(), f, r.s.public, body)
	return bytes.Join(parts[:], nil)
}

// ask runs one call without a connection and returns its result, which must be there.
func (r *rig) ask(method string, params ...any) json.RawMessage {
	r.tb.Helper()
	result, fault := r.try(method, params...)
	if fault != nil {
		r.tb.Fatalf("%s%v: error %d %s", method, params, fault.Code, fault.Message)
	}
	return result
}

type fault struct {
	Code    int
	Message string
	Data    any
}

func (r *rig) try(method string, params ...any) (json.RawMessage, *fault) {
	r.tb.Helper()
	if params == nil {
		params = []any{}
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	must(r.tb, err)
	var answer struct {
		Result json.RawMessage
		Error  *fault
	}
	must(r.tb, json.Unmarshal(r.direct(body), &answer))
	return answer.Result, answer.Error
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

var errNonce = errors.New("nonce too low")

// smallPool is a real pool without limits: per-sender nonce order, no replacement.
type smallPool struct {
	chain *chain.Chain

	mu      sync.Mutex
	bySend  map[common.Address][]*chain.Tx // sorted by nonce
	byHash  map[common.Hash]*chain.Tx
	watch   []chan *chain.Tx
	submits int             // calls of SubmitTxs
	last    context.Context // of the last one
	hold    chan struct{}   // when set, SubmitTxs waits for it
	entered chan struct{}   // when set, gets a value before that
}

func newSmallPool(c *chain.Chain) *smallPool {
	return &smallPool{chain: c, bySend: map[common.Address][]*chain.Tx{}, byHash: map[common.Hash]*chain.Tx{}}
}

func (p *smallPool) SubmitTxs(ctx context.Context, txs []*chain.Tx) []error {
	p.mu.Lock()
	hold, entered := p.hold, p.entered
	p.mu.Unlock()
	if hold != nil {
		entered <- struct{}{}
		<-hold
	}
	errs := make([]error, len(txs))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.submits++
	p.last = ctx
	for i, t := range txs {
		errs[i] = p.add(t)
	}
	return errs
}

func (p *smallPool) add(t *chain.Tx) error {
	g := p.chain.Genesis()
	if err := chain.CheckTx(t, g); err != nil {
		return err
	}
	from, _ := t.Sender(g.ChainID)
	switch {
	case p.byHash[t.Hash()] != nil:
		return errors.New("already known")
	case t.Nonce() < p.chain.State().Nonce(from):
		return errNonce
	case t.Cost().Gt(p.chain.State().Balance(from)):
		return errors.New("insufficient funds for gas * price + value")
	}
	p.byHash[t.Hash()] = t
	p.bySend[from] = append(p.bySend[from], t)
	slices.SortFunc(p.bySend[from], func(a, b *chain.Tx) int { return int(a.Nonce()) - int(b.Nonce()) })
	for _, w := range p.watch {
		select {
		case w <- t:
		default:
		}
	}
	return nil
}

func (p *smallPool) split(addr common.Address) (executable, future []*chain.Tx) {
	next := p.chain.State().Nonce(addr)
	for _, t := range p.bySend[addr] {
		if t.Nonce() == next {
			executable = append(executable, t)
			next++
		} else {
			future = append(future, t)
		}
	}
	return executable, future
}

func (p *smallPool) executable() (txs []*chain.Tx) {
	for _, list := range p.Content().Executable {
		txs = append(txs, list...)
	}
	return txs
}

func (p *smallPool) Build(maxBytes int, gas uint64) (txs []*chain.Tx) {
	for _, t := range p.executable() {
		if t.Size() > maxBytes || t.GasUsed() > gas {
			break
		}
		txs, maxBytes, gas = append(txs, t), maxBytes-t.Size(), gas-t.GasUsed()
	}
	return txs
}

// trim forgets what the head's state has consumed.
func (p *smallPool) trim() {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.chain.State()
	for addr, list := range p.bySend {
		p.bySend[addr] = slices.DeleteFunc(list, func(t *chain.Tx) bool {
			if t.Nonce() < st.Nonce(addr) {
				delete(p.byHash, t.Hash())
				return true
			}
			return false
		})
	}
}

func (p *smallPool) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.bySend)
	clear(p.byHash)
}

func (p *smallPool) Nonce(addr common.Address) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	executable, _ := p.split(addr)
	return p.chain.State().Nonce(addr) + uint64(len(executable))
}

func (p *smallPool) Get(hash common.Hash) *chain.Tx {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byHash[hash]
}

func (p *smallPool) Subscribe(buffer int) (<-chan *chain.Tx, func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := make(chan *chain.Tx, buffer)
	p.watch = append(p.watch, w)
	return w, func() {}
}

func (p *smallPool) Stats() (s PoolStats) {
	c := p.Content()
	for _, list := range c.Executable {
		s.Executable += len(list)
	}
	for _, list := range c.Future {
		s.Future += len(list)
	}
	return s
}

func (p *smallPool) Content() PoolContent {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := PoolContent{Executable: map[common.Address][]*chain.Tx{}, Future: map[common.Address][]*chain.Tx{}}
	for addr := range p.bySend {
		executable, future := p.split(addr)
		if executable != nil {
			c.Executable[addr] = executable
		}
		if future != nil {
			c.Future[addr] = future
		}
	}
	return c
}

func (p *smallPool) ContentFrom(addr common.Address) (executable, future []*chain.Tx) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.split(addr)
}

// smallNet is a network of the peers it was told.
type smallNet struct {
	mu     sync.Mutex
	peers  []Peer
	cut    string // by CutPeer
	cutFor time.Duration
	down   int // calls of shutdown
	crash  bool
	meta   map[string]string // what an operator wrote
}

func (n *smallNet) Info() NetInfo {
	return NetInfo{Name: "rig", PeerID: "12D3Koo", Listen: []string{"/ip4/127.0.0.1/tcp/1"}, Mesh: map[string]int{"tx": 3}}
}

func (n *smallNet) Peers() []Peer {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.crash {
		panic("the network is on fire")
	}
	return slices.Clone(n.peers)
}

func (n *smallNet) Members(context.Context) []Member {
	n.mu.Lock()
	defer n.mu.Unlock()
	return []Member{{ID: "12D3Koo", Self: true, State: "alive", Metadata: maps.Clone(n.meta)}, {ID: "12D3Too", State: "dead"}}
}

func (n *smallNet) Aggregates(context.Context) Aggregates {
	return Aggregates{Nodes: 99.5, Mean: AggregateMean{Head: 7}, Max: AggregateMax{Head: 8}}
}

func (n *smallNet) SetMetadata(_ context.Context, entries map[string]string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if entries["head"] != "" {
		return errors.New("that key is the node's own")
	}
	n.meta = maps.Clone(entries)
	return nil
}

func (n *smallNet) AddPeer(multiaddr string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !strings.HasPrefix(multiaddr, "/") {
		return errors.New("not a multiaddr: it begins with /")
	}
	n.peers = append(n.peers, Peer{ID: multiaddr, Addr: multiaddr, Direction: "outbound"})
	return nil
}

func (n *smallNet) CutPeer(id string, d time.Duration) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut, n.cutFor = id, d
	return nil
}

func (n *smallNet) shutdown() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down++
}

func (n *smallNet) set(change func(*smallNet)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(n)
}

// smallTrace hands the events it is given to its subscribers.
type smallTrace struct {
	mu   sync.Mutex
	subs []chan TraceEvent
	left int // subscribers that have ended
}

func (s *smallTrace) SubscribeTrace(buffer int) (<-chan TraceEvent, func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := make(chan TraceEvent, buffer)
	s.subs = append(s.subs, ch)
	return ch, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.left++
	}
}

func (s *smallTrace) Clock() ClockReading { return ClockReading{At: 7, Wall: 8} }

func (s *smallTrace) emit(e TraceEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ch := range s.subs {
		ch <- e
	}
}

// compact returns JSON with its keys sorted and white space removed.
func compact(tb testing.TB, raw []byte) string {
	tb.Helper()
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	must(tb, d.Decode(&v))
	out, err := json.Marshal(v)
	must(tb, err)
	return string(out)
}

func newTx(tb testing.TB, inner *types.Transaction) *chain.Tx {
	tb.Helper()
	t, err := chain.NewTx(inner)
	must(tb, err)
	return t
}
