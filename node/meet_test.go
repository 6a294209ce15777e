package node

import (
	"context"
	"math/big"
	"testing"

	"github.com/ethereum/go-ethereum/common"
)

// TestLoneNodeIsHeard: what a node took, and what its operator wrote about it, while it had no peer reaches all others
// once it has one: the last of a line of three, which never meets the first. Nobody makes blocks that could bring it.
func TestLoneNodeIsHeard(t *testing.T) {
	net := newTestNet(t)
	var nodes []*running
	start := func() *running {
		cfg := net.config(len(nodes))
		cfg.ProposerKey, cfg.P2P.NoDiscovery = "", true
		nodes = append(nodes, net.start(cfg))
		return nodes[len(nodes)-1]
	}
	ctx := context.Background()
	lone := start()
	hash, err := lone.client.SendTransfer(ctx, testKey(t, "account 0"), common.Address{19: 9}, big.NewInt(1000), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := lone.client.SetMetadata(ctx, map[string]string{"zone": "attic"}); err != nil {
		t.Fatal(err)
	}
	if s, err := lone.client.Status(ctx); err != nil || s.Peers != 0 || s.Pool.Executable != 1 {
		t.Fatalf("Status = %+v, %v, want no peer and one transaction", s, err)
	}
	middle, last := start(), start()
	if err := middle.client.AddPeer(ctx, last.P2P[0]); err != nil {
		t.Fatal(err)
	}
	if err := lone.client.AddPeer(ctx, middle.P2P[0]); err != nil {
		t.Fatal(err)
	}
	for i, n := range []*running{middle, last} {
		eventually(t, "the transaction is in the pool of every node", func(ctx context.Context) bool {
			var got map[string]any
			return n.client.Call(ctx, &got, "eth_getTransactionByHash", hash) == nil && got != nil
		})
		eventually(t, "every node lists what the operator of the lone one wrote", func(ctx context.Context) bool {
			members, err := n.client.Members(ctx)
			for _, m := range members {
				if err == nil && !m.Self && m.Metadata["zone"] == "attic" {
					return true
				}
			}
			return false
		})
		if s, err := n.client.Status(ctx); err != nil || s.Peers != 2-i {
			t.Errorf("Status = %+v, %v, want %d peers", s, err, 2-i)
		}
	}
}
