package node_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/holiman/uint256"
	p2pcrypto "github.com/libp2p/go-libp2p/core/crypto"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/mempool"
	"github.com/pheme-net/pheme/node"
	"github.com/pheme-net/pheme/p2p"
	"github.com/pheme-net/pheme/p2p/trace"
	"github.com/pheme-net/pheme/rpc"
)

// A node inside another program: a chain in memory whose only proposer is this node, every event
// handed to a function of ours, and a transfer sent over its own JSON-RPC.
func Example() {
	key, err := crypto.GenerateKey()
	check(err)
	address := crypto.PubkeyToAddress(key.PublicKey)
	genesis := &chain.Genesis{
		ChainID: 1337, TimeMS: uint64(time.Now().UnixMilli()), SlotMS: 100,
		Proposers: []common.Address{address},
		Alloc:     map[common.Address]*uint256.Int{address: uint256.NewInt(1e18)},
	}
	genesis, err = chain.DecodeGenesis(genesis.Encode()) // fills the defaults and checks the rules
	check(err)

	// What a node stands on is opened, and closed, by its owner.
	store, err := chain.Open(chain.Config{}, genesis, "", nil) // "": in memory
	check(err)
	defer store.Close()
	pool, err := mempool.Open(mempool.Config{}, genesis, store.State())
	check(err)
	defer pool.Close()
	identity, _, err := p2pcrypto.GenerateEd25519Key(rand.Reader)
	check(err)
	host, err := p2p.NewHost(p2p.Config{}, identity)
	check(err)
	defer host.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	dir, err := os.MkdirTemp("", "example")
	check(err)
	defer os.RemoveAll(dir)
	guard, err := chain.OpenSlotGuard(filepath.Join(dir, "slot")) // never sign a slot twice, whatever happens
	check(err)

	sealed := make(chan uint32, 1) // hooks return at once: full means forgotten
	n, err := node.New(node.Config{Name: "example"}, node.Deps{
		Chain: store, Pool: pool, Host: host, Listener: listener, Proposer: key, Guard: guard, Clock: trace.NewClock(),
		Hook: func(e trace.Event) {
			if e.Kind == trace.BlockSealed {
				select {
				case sealed <- e.Size:
				default:
				}
			}
		},
	})
	check(err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx, nil) }()

	fmt.Println("a block was sealed:", <-sealed > 0)
	client, err := rpc.Dial(ctx, "http://"+listener.Addr().String())
	check(err)
	defer client.Close()
	hash, err := client.SendTransfer(ctx, key, common.Address{19: 1}, big.NewInt(42), nil)
	check(err)
	_, err = client.WaitReceipt(ctx, hash)
	check(err)
	balance, err := client.Balance(ctx, common.Address{19: 1})
	check(err)
	fmt.Println("the recipient has", balance)

	stop() // calls in flight are answered, what is queued is imported
	fmt.Println("ended:", <-ended)
	// Output:
	// a block was sealed: true
	// the recipient has 42
	// ended: <nil>
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
