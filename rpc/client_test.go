package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	gethrpc "github.com/ethereum/go-ethereum/rpc"
)

// TestClient does over every transport what devnet and the command line do.
func TestClient(t *testing.T) {
	r := startRig(t, Config{ClientVersion: "pheme/test"})
	for name, target := range map[string]string{"http": r.url(), "ws": r.ws(), "ipc": r.ipc} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			c := r.dial(target)
			to := common.Address{9}
			before, err := c.Balance(ctx, to)
			must(t, err)
			hash, err := c.SendTransfer(ctx, r.keys[2], to, big.NewInt(7), []byte("hello"))
			must(t, err)
			if receipt, err := c.Receipt(ctx, hash); receipt != nil || err != nil {
				t.Fatalf("Receipt() before the block = %v, %v, want nil", receipt, err)
			}
			got := make(chan *types.Receipt, 1)
			go func() {
				receipt, err := c.WaitReceipt(ctx, hash)
				if err != nil {
					t.Errorf("WaitReceipt() = %v", err)
				}
				got <- receipt
			}()
			b := r.seal()
			if receipt := <-got; receipt.TxHash != hash || receipt.BlockHash != b.ID() {
				t.Errorf("receipt of %s in %s, want %s in %s", receipt.TxHash, receipt.BlockHash, hash, b.ID())
			}
			after, err := c.Balance(ctx, to)
			must(t, err)
			if after.Sub(after, before).Int64() != 7 {
				t.Errorf("the balance rose by %d, want 7", after)
			}
			s, err := c.Status(ctx)
			must(t, err)
			n, err := c.BlockNumber(ctx)
			must(t, err)
			if s.Head.ID != b.ID() || s.Head.Number != n || s.Version != "pheme/test" || s.Name != "rig" || s.Network != r.chain.Genesis().Network() || s.Mesh["tx"] != 3 {
				t.Errorf("Status() = %+v, want head %s", s, b.ID())
			}
			if id, err := c.ChainID(ctx); err != nil || id.Int64() != 1337 {
				t.Errorf("ChainID() = %d, %v, want 1337", id, err)
			}
			if nonce, err := c.Nonce(ctx, r.addressOf(2)); err != nil || nonce != r.chain.State().Nonce(r.addressOf(2)) {
				t.Errorf("Nonce() = %d, %v", nonce, err)
			}
			if peers, err := c.Peers(ctx); err != nil || peers == nil {
				t.Errorf("Peers() = %v, %v, want a list", peers, err)
			}
		})
	}
}

// TestAdmin is C7: what changes the node is on its socket only, which is its owner's.
func TestAdmin(t *testing.T) {
	r := startRig(t, Config{})
	ctx := t.Context()
	ipc := r.dial(r.ipc)
	must(t, ipc.AddPeer(ctx, "/ip4/127.0.0.1/tcp/1/p2p/x"))
	if err := ipc.AddPeer(ctx, "nonsense"); err == nil || !strings.Contains(err.Error(), "not a multiaddr") {
		t.Errorf("AddPeer(nonsense) = %v, want the network's error", err)
	}
	if peers, err := ipc.Peers(ctx); err != nil || len(peers) != 1 {
		t.Errorf("Peers() = %v, %v, want the one added", peers, err)
	}
	must(t, ipc.CutPeer(ctx, "x", time.Minute))
	if r.net.cut != "x" || r.net.cutFor != time.Minute {
		t.Errorf("admin_cutPeer cut %q for %v", r.net.cut, r.net.cutFor)
	}
	if err := ipc.CutPeer(ctx, "x", 48*time.Hour); err == nil {
		t.Error("a cut of two days was taken")
	}
	must(t, ipc.Shutdown(ctx))
	if r.net.down != 1 {
		t.Errorf("the node was asked to stop %d times, want once", r.net.down)
	}
	for _, target := range []string{r.url(), r.ws()} {
		c := r.dial(target)
		if err := c.Shutdown(ctx); err == nil || !strings.Contains(err.Error(), "unix socket") {
			t.Errorf("Shutdown over %s = %v, want that it is on the socket only", target, err)
		}
		var coded gethrpc.Error
		if err := c.Call(ctx, nil, "admin_shutdown"); !errors.As(err, &coded) || coded.ErrorCode() != -32601 {
			t.Errorf("admin_shutdown over %s = %v, want -32601", target, err)
		}
	}
	info, err := os.Stat(r.ipc)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %o, want 600", info.Mode().Perm())
	}
	r.stop()
	if _, err := os.Stat(r.ipc); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the stop the socket is still there: %v", err)
	}
}

// TestNoKeys is the rest of C7: no method takes, returns or uses a private key.
func TestNoKeys(t *testing.T) {
	r := newRig(t, Config{})
	for _, method := range []string{"eth_sign", "eth_signTransaction", "eth_sendTransaction", "eth_signTypedData_v4", "personal_newAccount",
		"personal_importRawKey", "personal_sign", "debug_setHead", "miner_start", "admin_importChain"} {
		if _, fault := r.try(method); fault == nil || fault.Code != -32601 {
			t.Errorf("%s: %+v, want -32601", method, fault)
		}
	}
}

func TestSocketIsReplacedNotStolen(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, err := listenSocket(file); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("listenSocket over a file = %v, want it refused", err)
	}
	path := filepath.Join(dir, "left")
	l, err := listenSocket(path)
	must(t, err)
	l.(interface{ SetUnlinkOnClose(bool) }).SetUnlinkOnClose(false) // as a crash leaves it
	must(t, l.Close())
	l, err = listenSocket(path)
	must(t, err)
	must(t, l.Close())
	if _, err := New(Config{IPC: strings.Repeat("x", 200)}, nil, Deps{}); err == nil || !strings.Contains(err.Error(), "shorter data dir") {
		t.Errorf("a long socket path: %v, want it refused", err)
	}
	if _, err := New(Config{MaxBody: -1}, nil, Deps{}); err == nil || !strings.Contains(err.Error(), "MaxBody") {
		t.Errorf("a negative limit: %v, want it named", err)
	}
}

func TestListenSaysWhatToDo(t *testing.T) {
	l, err := Listen("127.0.0.1:0")
	must(t, err)
	defer l.Close()
	if _, err := Listen(l.Addr().String()); err == nil || !strings.Contains(err.Error(), "choose another port") {
		t.Errorf("Listen on a taken port = %v, want what to do", err)
	}
}

// TestSendBatch: more transactions than fit into one request, some bad, each with its
// own outcome, in order.
func TestSendBatch(t *testing.T) {
	r := startRig(t, Config{})
	c := r.dial(r.url())
	var raws [][]byte
	for i := range 230 {
		raws = append(raws, rawOf(t, r.transfer(1, uint64(i), make([]byte, 7000))))
	}
	raws[5], raws[6] = []byte{1, 2, 3}, raws[7]
	results, err := c.SendBatch(t.Context(), raws)
	must(t, err)
	for i, res := range results {
		switch {
		case i == 5 && res.Err == nil, i == 7 && (res.Err == nil || res.Err.Error() != "already known"):
			t.Errorf("result %d = %+v, want it refused", i, res)
		case i != 5 && i != 7 && (res.Err != nil || res.Hash != newTx(t, decoded(t, raws[i])).Hash()):
			t.Errorf("result %d = %+v, want accepted", i, res)
		}
	}
	// 230 of 14 KB each: by bytes 65 fit into a request.
	if r.pool.submits != 4 {
		t.Errorf("the pool was entered %d times, want once a request: 4", r.pool.submits)
	}
	if at := ReceivedAt(r.pool.last); at.IsZero() || time.Since(at) < 0 {
		t.Errorf("ReceivedAt() = %v, want a moment ago", at)
	}
}

func decoded(t *testing.T, raw []byte) *types.Transaction {
	t.Helper()
	tx := new(types.Transaction)
	must(t, tx.UnmarshalBinary(raw))
	return tx
}

// TestPrepare: a batch of sends enters the pool once; anything else is left to run call
// by call, and means the same.
func TestPrepare(t *testing.T) {
	send := func(id, raw string) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"eth_sendRawTransaction","params":["%s"]}`, id, raw)
	}
	for _, c := range []struct {
		name    string
		batch   func(a, b string) string
		submits int
		want    []string // the end of each answer
	}{
		{"sends", func(a, b string) string { return send("1", a) + "," + send("2", b) }, 1, []string{`"result"`, `"result"`}},
		{"one bad", func(a, b string) string { return send("1", a) + "," + send("2", "0x05") }, 1, []string{`"result"`, `"code":-32000`}},
		{"twice the same", func(a, b string) string { return send("1", a) + "," + send("2", a) }, 1, []string{`"result"`, `already known`}},
		{"a read among them", func(a, b string) string { return send("1", a) + "," + chainIDCall + "," + send("2", b) }, 2, []string{`"result"`, `0x539`, `"result"`}},
		{"odd hex", func(a, b string) string { return send("1", a) + "," + send("2", "0x123") }, 1, []string{`"result"`, `"code":-32602`}},
		{"upper case names", func(a, b string) string {
			return send("1", a) + "," + strings.Replace(send("2", b), "method", "Method", 1)
		}, 1, []string{`"result"`, `"code":-32600`}},
		{"wrong version", func(a, b string) string { return send("1", a) + "," + strings.Replace(send("2", b), "2.0", "1.0", 1) }, 1, []string{`"result"`, `"code":-32600`}},
		{"more parameters", func(a, b string) string { return send("1", a) + "," + strings.Replace(send("2", b), "]", ",1]", 1) }, 1, []string{`"result"`, `"code":-32602`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, Config{})
			a, b := rawOf(t, r.transfer(1, 0, nil)).String(), rawOf(t, r.transfer(2, 0, nil)).String()
			answers := strings.Split(string(r.direct([]byte("["+c.batch(a, b)+"]"))), `},{`)
			if len(answers) != len(c.want) {
				t.Fatalf("%d answers %q, want %d", len(answers), answers, len(c.want))
			}
			for i, want := range c.want {
				if !strings.Contains(answers[i], want) {
					t.Errorf("answer %d = %s, want %s", i, answers[i], want)
				}
			}
			if r.pool.submits != c.submits {
				t.Errorf("the pool was entered %d times, want %d", r.pool.submits, c.submits)
			}
		})
	}
}

// TestReceivedAt: every transport stamps a call with the moment its bytes were read.
func TestReceivedAt(t *testing.T) {
	r := startRig(t, Config{})
	for i, target := range []string{r.url(), r.ws(), r.ipc} {
		before := time.Now()
		_, err := r.dial(target).SendRaw(t.Context(), rawOf(t, r.transfer(1, uint64(i), nil)))
		must(t, err)
		if at := ReceivedAt(r.pool.last); at.Before(before) || at.After(time.Now()) {
			t.Errorf("%s: received at %v, want between %v and now", target, at, before)
		}
	}
	if !ReceivedAt(context.Background()).IsZero() {
		t.Error("a context of nobody has a time")
	}
}

func TestWaitReceiptGivesUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, Config{})
		l := newPipeListener()
		r.run(l)
		c, err := Dial(t.Context(), "http://localhost", gethrpc.WithHTTPClient(l.client()))
		must(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		if _, err := c.WaitReceipt(ctx, common.Hash{1}); !errors.Is(err, ErrNotIncluded) || time.Since(start) != time.Minute {
			t.Errorf("WaitReceipt() = %v after %v, want ErrNotIncluded after a minute", err, time.Since(start))
		}
		c.Close()
		r.stop()
	})
}

// TestMembers: members, aggregates and their count in the status are what the network
// says; metadata are written over the socket only.
func TestMembers(t *testing.T) {
	r := startRig(t, Config{})
	var status Status
	must(t, json.Unmarshal(r.ask("pheme_status"), &status))
	if status.Members["alive"] != 1 || status.Members["dead"] != 1 {
		t.Errorf("status counts %v", status.Members)
	}
	var net Aggregates
	must(t, json.Unmarshal(r.ask("pheme_network"), &net))
	if net.Nodes != 99.5 || net.Mean.Head != 7 || net.Max.Head != 8 {
		t.Errorf("pheme_network = %+v", net)
	}
	if _, fault := r.try("pheme_setMetadata", map[string]string{"zone": "eu"}); fault == nil || fault.Code != codeNoMethod {
		t.Errorf("pheme_setMetadata over HTTP: %+v", fault)
	}
	admin, err := Dial(t.Context(), r.s.cfg.IPC)
	must(t, err)
	defer admin.Close()
	must(t, admin.SetMetadata(t.Context(), map[string]string{"zone": "eu"}))
	if err := admin.SetMetadata(t.Context(), map[string]string{"head": "1"}); err == nil {
		t.Error("the node's own key was written")
	}
	all, err := admin.Members(t.Context())
	must(t, err)
	if len(all) != 2 || !all[0].Self || all[0].Metadata["zone"] != "eu" || all[1].State != "dead" {
		t.Errorf("Members() = %+v", all)
	}
	if got, err := admin.Network(t.Context()); err != nil || got != net {
		t.Errorf("Network() = %+v, %v", got, err)
	}
	if _, err := admin.Status(t.Context()); err != nil {
		t.Errorf("the other methods over the socket: %v", err)
	}
}
