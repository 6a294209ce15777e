//go:build ignore

// Command crowd serves the live page over a network of many nodes that are only played: each answers
// pheme_status and pheme_peers and sends the events of blocks over a WebSocket as a node does, so that
// all of the page and of its server is real and sixty processes are not needed.
//
//	go run .ci/crowd.go [-nodes 60] [-every 1s]
//
// It prints the page's address, and plays until it is ended.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/gorilla/websocket"

	"github.com/pheme-net/pheme/devnet/live"
	"github.com/pheme-net/pheme/rpc"
)

const degree = 8

// crowd is the network that is played.
type crowd struct {
	size int

	mu     sync.Mutex
	head   rpc.HeadStatus
	events []chan []rpc.TraceEvent // by node; nil: nobody follows it
}

func main() {
	nodes := flag.Int("nodes", 60, "how many")
	every := flag.Duration("every", time.Second, "between two blocks")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	c := &crowd{size: *nodes, events: make([]chan []rpc.TraceEvent, *nodes)}
	api, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go http.Serve(api, http.HandlerFunc(c.serve))
	var targets []live.Target
	for i := range *nodes {
		targets = append(targets, live.Target{Name: name(i), RPC: fmt.Sprintf("http://127.0.0.1:%d", 10_000+i), Where: fmt.Sprintf("ws://%s/%d", api.Addr(), i)})
	}
	page, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	fmt.Printf("http://%s\n", page.Addr())
	go c.blocks(ctx, *every)
	check(live.New(live.Config{Targets: targets}).Run(ctx, page))
}

func name(i int) string { return fmt.Sprintf("n%d", i) }
func id(i int) string   { return fmt.Sprintf("12D3KooWPlayed%038d", i) }

// blocks seals a block at a time and has it reach the others within 50 to 600 ms.
func (c *crowd) blocks(ctx context.Context, every time.Duration) {
	for number := uint64(1); ctx.Err() == nil; number++ {
		block := common.Hash{0: byte(number), 1: byte(number >> 8), 31: 1}
		sealed := time.Now()
		origin := int(number) % c.size
		c.mu.Lock()
		c.head = rpc.HeadStatus{Number: number, ID: block, Slot: number, Timestamp: uint64(sealed.Unix())}
		c.mu.Unlock()
		c.tell(origin, rpc.TraceEvent{Kind: "block.sealed", Hash: block, Size: 128 << 10, Wall: sealed.UnixNano(), Aux: int64(number)})
		for i := range c.size {
			if i == origin {
				continue
			}
			after := 50*time.Millisecond + rand.N(550*time.Millisecond)
			time.AfterFunc(after, func() {
				c.tell(i, rpc.TraceEvent{Kind: "block.accepted", Hash: block, Size: 128 << 10, Wall: sealed.Add(after).UnixNano(), Peer: 1})
			})
		}
		time.Sleep(every)
	}
}

func (c *crowd) tell(node int, e rpc.TraceEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case c.events[node] <- []rpc.TraceEvent{e}:
	default:
	}
}

// serve plays one node on a WebSocket: an answer to each call, and events once they are asked for.
func (c *crowd) serve(w http.ResponseWriter, r *http.Request) {
	var node int
	_, err := fmt.Sscanf(strings.TrimPrefix(r.URL.Path, "/"), "%d", &node)
	check(err)
	conn, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	var mu sync.Mutex // of writing
	write := func(v any) error {
		mu.Lock()
		defer mu.Unlock()
		return conn.WriteJSON(v)
	}
	for {
		var call struct {
			ID     json.RawMessage
			Method string
		}
		if conn.ReadJSON(&call) != nil {
			return
		}
		var result any = "0x1"
		if call.Method == "pheme_status" {
			result = c.status(node)
		} else if call.Method == "pheme_peers" {
			result = c.peers(node)
		}
		if write(map[string]any{"jsonrpc": "2.0", "id": call.ID, "result": result}) != nil {
			return // the page's server has left, and comes again
		}
		if call.Method != "pheme_subscribe" {
			continue
		}
		events := make(chan []rpc.TraceEvent, 64)
		c.mu.Lock()
		c.events[node] = events
		c.mu.Unlock()
		go func() {
			for batch := range events {
				if write(map[string]any{"jsonrpc": "2.0", "method": "pheme_subscription", "params": map[string]any{"subscription": "0x1", "result": batch}}) != nil {
					return
				}
			}
		}()
	}
}

func (c *crowd) status(node int) rpc.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return rpc.Status{Name: name(node), PeerID: id(node), Head: c.head, Peers: degree, Members: map[string]int{"alive": c.size}, Pool: rpc.PoolStats{Executable: rand.N(5000)}}
}

// peers of a node stand at fixed distances from it, as far on one side as on the other.
func (c *crowd) peers(node int) (out []rpc.Peer) {
	for _, far := range []int{1, 7, 13, 22} {
		for _, other := range []int{(node + far) % c.size, (node - far + 22*c.size) % c.size} {
			out = append(out, rpc.Peer{ID: id(other), Mesh: map[string]bool{"block": far < 20}, RTTMicros: 50_000})
		}
	}
	return out
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "crowd:", err)
		os.Exit(1)
	}
}
