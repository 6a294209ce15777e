package devnet_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/ethereum/go-ethereum/ethclient"
	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/devnet"
)

// TestUpForPrograms: in place of the banner comes one object, whose URLs and keys work.
func TestUpForPrograms(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out, said := &shared{fresh: make(chan struct{}, 1)}, &shared{fresh: make(chan struct{}, 1)}
	ended := make(chan error, 1)
	var g errgroup.Group
	g.Go(func() error {
		ended <- devnet.Up(ctx, devnet.UpConfig{Nodes: 2, Page: "off", JSON: out}, said)
		return nil
	})
	t.Cleanup(func() { cancel(); g.Wait() })
	var up struct {
		ChainID  int64 `json:"chain_id"`
		SlotMS   int   `json:"slot_ms"`
		Page     string
		Nodes    []struct{ Name, RPC, WS, IPC string }
		Accounts []struct {
			Address string
			Key     string `json:"private_key"`
		}
	}
	if text := out.await(t, "\n", ended); json.Unmarshal([]byte(text), &up) != nil {
		t.Fatalf("%q is not one object", text)
	}
	if up.ChainID != 1337 || up.SlotMS != 1000 || up.Page != "" || len(up.Nodes) != 2 || up.Nodes[1].Name != "n1" || len(up.Accounts) != 10 ||
		up.Accounts[0].Key != "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80" {
		t.Errorf("the network is described as %+v", up)
	}
	for _, url := range []string{up.Nodes[0].RPC, up.Nodes[1].WS, up.Nodes[1].IPC} {
		client, err := ethclient.DialContext(ctx, url)
		if err != nil {
			t.Fatal(err)
		}
		if id, err := client.ChainID(ctx); err != nil || id.Int64() != up.ChainID {
			t.Errorf("%s: chain id %v, %v, want %d", url, id, err, up.ChainID)
		}
		client.Close()
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Up() = %v after its context ended", err)
	}
	if said := said.String(); said != "\nstopping 2 nodes\n" {
		t.Errorf("beside the object it said %q", said)
	}
}
