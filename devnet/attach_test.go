package devnet_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
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
	p2pcrypto "github.com/libp2p/go-libp2p/core/crypto"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/devnet"
	"github.com/pheme-net/pheme/mempool"
	"github.com/pheme-net/pheme/node"
	"github.com/pheme-net/pheme/p2p"
	"github.com/pheme-net/pheme/p2p/trace"
	"github.com/pheme-net/pheme/rpc"
)

// skewedNode runs a node whose events are stamped by a clock that is ahead by skew, and returns its
// JSON-RPC URL and an address to dial it at.
func skewedNode(t *testing.T, g *chain.Genesis, name string, skew time.Duration, dial ...string) (url, addr string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	store, err := chain.Open(chain.Config{}, g, "", nil)
	must(err)
	pool, err := mempool.Open(mempool.Config{}, g, store.State())
	must(err)
	identity, _, err := p2pcrypto.GenerateEd25519Key(rand.Reader)
	must(err)
	cfg := node.Config{Name: name}
	cfg.P2P.Static = dial
	host, err := p2p.NewHost(cfg.P2P, identity)
	must(err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	key, err := crypto.ToECDSA(crypto.Keccak256([]byte(name)))
	must(err)
	guard, err := chain.OpenSlotGuard(filepath.Join(t.TempDir(), "slot"))
	must(err)
	n, err := node.New(cfg, node.Deps{
		Chain: store, Pool: pool, Host: host, Listener: listener, Proposer: key, Guard: guard,
		Clock: trace.ClockAt(time.Now(), trace.NewClock().Now()+int64(skew)),
	})
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended, ready := make(chan error, 1), make(chan struct{})
	go func() { ended <- n.Run(ctx, func() error { close(ready); return nil }) }()
	<-ready
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, host.Close(), pool.Close(), store.Close()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	return "http://" + listener.Addr().String(), host.Addrs()[0].String() + "/p2p/" + host.ID().String()
}

// TestAttachForbidden: a node that does not know itself by the name in its URL is told to learn it.
func TestAttachForbidden(t *testing.T) {
	for status, want := range map[int]string{
		http.StatusForbidden: `add "127.0.0.1" to hosts in the [rpc] section of the node's --config`,
		http.StatusNotFound:  "is the node running",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", status) }))
		defer server.Close()
		for _, scheme := range []string{"http", "ws"} {
			at := scheme + strings.TrimPrefix(server.URL, "http")
			_, err := devnet.Attach(t.Context(), devnet.AttachConfig{URLs: []string{at, at}, Duration: time.Second}, nil)
			if usage := new(devnet.UsageError); !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
				t.Errorf("Attach(%s) where %d is the answer = %v, want a usage error with %q", at, status, err, want)
			}
		}
	}
}

// TestAttach: nodes whose clocks are seconds apart are measured as if they had one, and nodes of two
// networks, or one named twice, are refused.
func TestAttach(t *testing.T) {
	g := &chain.Genesis{ChainID: 1337, TimeMS: uint64(time.Now().UnixMilli()), SlotMS: 200, Alloc: map[common.Address]*uint256.Int{}}
	names := []string{"a", "b", "c"}
	for _, name := range names {
		key, _ := crypto.ToECDSA(crypto.Keccak256([]byte(name)))
		g.Proposers = append(g.Proposers, crypto.PubkeyToAddress(key.PublicKey))
		g.Alloc[crypto.PubkeyToAddress(key.PublicKey)] = uint256.NewInt(1e18)
	}
	g, err := chain.DecodeGenesis(g.Encode())
	if err != nil {
		t.Fatal(err)
	}
	var urls, addrs []string
	for i, skew := range []time.Duration{0, 3 * time.Second, -time.Hour} {
		url, addr := skewedNode(t, g, names[i], skew, addrs...)
		urls, addrs = append(urls, url), append(addrs, addr)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	defer func() { cancel(); sending.Wait() }()
	sending.Go(func() { // some transfers to see, until the measurement is over
		client, err := rpc.Dial(ctx, urls[0])
		if err != nil {
			return
		}
		defer client.Close()
		key, _ := crypto.ToECDSA(crypto.Keccak256([]byte("a")))
		poor, _ := crypto.ToECDSA(crypto.Keccak256([]byte("poor")))
		signer := types.LatestSignerForChainID(new(big.Int).SetUint64(g.ChainID))
		for nonce := uint64(0); ctx.Err() == nil; nonce++ {
			if tx, err := types.SignNewTx(poor, signer, &types.LegacyTx{Nonce: nonce, GasPrice: big.NewInt(1e9), Gas: 21000, To: &common.Address{19: 1}}); err == nil {
				if raw, err := tx.MarshalBinary(); err == nil {
					_, _ = client.SendRaw(ctx, raw) // refused
				}
			}
			if hash, err := client.SendTransfer(ctx, key, common.Address{19: 1}, big.NewInt(1), nil); err == nil {
				_, _ = client.WaitReceipt(ctx, hash)
			}
		}
	})
	results, err := devnet.Attach(ctx, devnet.AttachConfig{URLs: urls, Duration: 2100 * time.Millisecond, Measure: devnet.MeasureConfig{Out: t.TempDir()}}, nil)
	if unfit := new(devnet.UnfitError); errors.As(err, &unfit) && strings.Contains(unfit.Reason, "known to within") {
		t.Skipf("SKIPPED: this machine is too busy for its clocks to be known well enough: %v", err) // and the tool said so
	}
	if err != nil {
		t.Fatal(err)
	}
	block, tx := results.Summary["block.c100_ms"], results.Summary["tx.coverage"]
	if v := float64(block.Value); v <= 0 || v > 2000 {
		t.Errorf("a block reaches all after %v ms: the clocks' distance, 3 s and an hour, must not be in it", v)
	}
	if tx.N == 0 || float64(tx.Value) != 1 {
		t.Errorf("transactions: coverage %v of %d, want all of some", tx.Value, tx.N)
	}
	if got := results.Experiment.Load.Duration.D(); got != 2*time.Second || results.Runs[0].Slots != 10 || !slices.ContainsFunc(results.Notes, func(n string) bool { return strings.Contains(n, "whole slots") }) {
		t.Errorf("the window is %v in %d slots, notes %q: want ten whole slots, and that said", got, results.Runs[0].Slots, results.Notes)
	}
	if !slices.ContainsFunc(results.Notes, func(n string) bool { return strings.Contains(n, "were left out") }) {
		t.Errorf("notes %q, want one of the transactions that were refused", results.Notes)
	}
	for _, name := range []string{"run.max_rss_bytes", "run.host_busy", "run.cpu_wait", "net.peers_min"} {
		if f := results.Summary[name]; f.Value.Valid() || f.Why == "" {
			t.Errorf("%s of processes that are not ours = %+v, want none and why", name, f)
		}
	}
	if f := results.Summary["chain.interval_p50_ms"]; !f.Value.Valid() {
		t.Errorf("the interval of blocks where all nodes are followed = %+v", f)
	}
	if !strings.Contains(results.Environment.Clock, "up to 1h0m") {
		t.Errorf("clock = %q, want the distance of an hour in it", results.Environment.Clock)
	}
	for _, c := range []struct {
		urls []string
		want string
	}{
		{urls[:1], "a latency needs two"},
		{[]string{urls[0], urls[0]}, "name each once"},
		{[]string{urls[0], "http://127.0.0.1:1"}, "is the node running"},
	} {
		_, err := devnet.Attach(ctx, devnet.AttachConfig{URLs: c.urls, Duration: time.Second}, nil)
		if usage := new(devnet.UsageError); !errors.As(err, &usage) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Attach(%v) = %v, want a usage error with %q", c.urls, err, c.want)
		}
	}
	g.Label = "another"
	other, err := chain.DecodeGenesis(g.Encode())
	if err != nil {
		t.Fatal(err)
	}
	foreign, _ := skewedNode(t, other, "a", 0)
	if _, err := devnet.Attach(ctx, devnet.AttachConfig{URLs: []string{urls[0], foreign}, Duration: time.Second}, nil); err == nil || !strings.Contains(fmt.Sprint(err), "nodes of one network") {
		t.Errorf("nodes of two networks: %v", err)
	}
}
