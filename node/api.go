package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/mempool"
	"github.com/pheme-net/pheme/p2p"
	"github.com/pheme-net/pheme/p2p/relay"
	"github.com/pheme-net/pheme/rpc"
)

// apiDeps is what the API reads of and asks from the node. mempool, p2p and rpc do not know each
// other; here their terms meet.
func (n *Node) apiDeps() rpc.Deps {
	return rpc.Deps{
		Pool:        poolView{n.pool},
		Net:         netView{n},
		Submit:      n,
		Trace:       n.events,
		SetLogLevel: setPackageLevel,
		Links:       n.links.Reload,
		Bend:        n.bendOver,
		Shutdown: func() {
			select {
			case n.stop <- struct{}{}:
			default: // asked already
			}
		},
	}
}

// poolView is the pool in the API's terms.
type poolView struct{ *mempool.Pool }

func (p poolView) Stats() rpc.PoolStats {
	s := p.Pool.Stats()
	return rpc.PoolStats{Executable: s.Executable, Future: s.Future, Bytes: s.Bytes}
}

func (p poolView) Content() rpc.PoolContent {
	c := p.Pool.Content()
	return rpc.PoolContent{Executable: c.Executable, Future: c.Future}
}

func (p poolView) ContentFrom(addr common.Address) (executable, future []*chain.Tx) {
	return p.Pool.ContentFrom(addr)
}

// netView is the network in the API's terms.
type netView struct{ n *Node }

func (v netView) Info() rpc.NetInfo {
	s := v.n.net.Stats()
	return rpc.NetInfo{
		Name:   v.n.name,
		PeerID: v.n.host.ID().String(),
		Listen: addrsOf(v.n.host),
		Relay:  v.n.net.Relay(),
		Mesh:   map[string]int{"block": s.MeshBlock, "tx": s.MeshTx},

		Relayed: apiRelay(s.Relay),
		Repairs: rpc.RepairStats(s.Repair),
	}
}

func apiRelay(s relay.Stats) rpc.RelayStats {
	return rpc.RelayStats{
		Published: rpc.BlockForms(s.Published), Received: rpc.BlockForms(s.Received),
		FromPool: s.FromPool, WithAnswers: s.WithAnswers, FromChunks: s.FromChunks, FetchedWhole: s.FetchedWhole,
		HitRate: s.HitRate(), TxsFetched: s.TxsFetched, TxsServed: s.TxsServed,
		ChunksSent: s.ChunksSent, ChunksTaken: s.ChunksReceived, ChunksAgain: s.ChunksDuplicate,
	}
}

func (v netView) Peers() []rpc.Peer {
	peers := v.n.net.Peers()
	out := make([]rpc.Peer, len(peers))
	for i, p := range peers {
		out[i] = apiPeer(p)
		out[i].RTTMicros = v.n.host.Peerstore().LatencyEWMA(p.ID).Microseconds()
	}
	return out
}

func (v netView) Members(ctx context.Context) []rpc.Member {
	var out []rpc.Member
	for _, m := range v.n.net.Members(ctx) {
		out = append(out, rpc.Member{
			ID: m.ID.String(), Self: m.Self, State: m.State, Since: m.Since.UnixMilli(), Incarnation: m.Incarnation,
			Addrs: m.Addrs, Metadata: m.Metadata, RTTMicros: m.RTT.Microseconds(),
		})
	}
	return out
}

func (v netView) Aggregates(ctx context.Context) rpc.Aggregates {
	a := v.n.net.Aggregate(ctx)
	return rpc.Aggregates{
		Nodes: a.Nodes,
		Mean:  rpc.AggregateMean{Head: a.Mean.Head, Pool: a.Mean.Pool, Load: a.Mean.Load},
		Max:   rpc.AggregateMax{Head: a.Max.Head, Pool: a.Max.Pool, Load: a.Max.Load},
	}
}

func (v netView) SetMetadata(ctx context.Context, entries map[string]string) error {
	return v.n.net.SetMetadata(ctx, entries)
}

func (v netView) AddPeer(multiaddr string) error { return v.n.net.AddPeer(multiaddr) }

func (v netView) CutPeer(id string, d time.Duration) error {
	p, err := peer.Decode(id)
	if err != nil {
		return fmt.Errorf("%q is not a peer id: pheme_peers lists them", id)
	}
	h, ok := v.n.host.(interface {
		Cut(peer.ID, time.Duration) error
	})
	if !ok {
		return errors.New("this node's host cannot keep peers away")
	}
	return h.Cut(p, d)
}

func apiPeer(p p2p.PeerInfo) rpc.Peer {
	direction := "outbound"
	if p.Inbound {
		direction = "inbound"
	}
	return rpc.Peer{
		ID: p.ID.String(), Addr: p.Addr, Direction: direction, Version: p.Agent, Head: p.Number, Score: p.Score,
		Mesh: map[string]bool{"block": p.BlockMesh, "tx": p.TxMesh},
	}
}

// addrsOf lists where a host is reached, with its peer id.
func addrsOf(h host.Host) []string {
	var out []string
	for _, a := range h.Addrs() {
		out = append(out, a.String()+"/p2p/"+h.ID().String())
	}
	return out
}

// Network is what the network side counts at present.
func (n *Node) Network() p2p.Stats { return n.net.Stats() }

// Members lists the members of the network known to this node, itself first.
func (n *Node) Members(ctx context.Context) []p2p.MemberInfo { return n.net.Members(ctx) }
