package node

import (
	"fmt"

	"github.com/pelletier/go-toml/v2"

	"github.com/pheme-net/pheme/mempool"
	"github.com/pheme-net/pheme/p2p"
	"github.com/pheme-net/pheme/rpc"
)

// ExampleConfig is a configuration file that says what a node does without one: every key with its
// default and what it is for. DecodeConfig reads it back to the same node.
func ExampleConfig() ([]byte, error) {
	var c Config
	c.fill()
	pool, net, api := mempool.Defaults(), p2p.Defaults(), rpc.Defaults()
	f := file{HTTP: c.HTTP, LogLevel: c.LogLevel}
	f.Pool.MaxCount, f.Pool.MaxBytes, f.Pool.MaxFuture = pool.MaxCount, pool.MaxBytes, pool.MaxFuture
	f.Pool.PerSender, f.Pool.TTL, f.Pool.JournalSync = pool.PerSender, duration(pool.TTL), pool.JournalSync
	f.P2P = sectionOf(net)
	f.RPC.Hosts, f.RPC.Origins = []string{}, []string{}
	f.RPC.MaxBody, f.RPC.MaxBatch, f.RPC.MaxResponse, f.RPC.MaxConns, f.RPC.MaxRate = api.MaxBody, api.MaxBatch, api.MaxResponse, api.MaxConns, api.MaxRate
	text, err := toml.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode configuration: %w", err)
	}
	return text, nil
}

// sectionOf is the other way of p2pSection.config.
func sectionOf(c p2p.Config) p2pSection {
	members, discovery, repair := !c.NoMembers, !c.NoDiscovery, !c.NoRepair
	return p2pSection{
		Listen: c.Listen, Bootstrap: []string{}, Static: []string{}, MDNS: c.MDNS, MaxPeers: c.MaxPeers, Relay: c.Relay,
		D: c.D, Dlo: c.Dlo, Dhi: c.Dhi, Dout: c.Dout, Dlazy: c.Dlazy, TxD: c.TxD, Heartbeat: duration(c.Heartbeat), FloodPublish: c.FloodPublish,
		IDontWantBytes: c.IDontWantBytes, OutboundQueue: c.OutboundQueue, ValidateQueue: c.ValidateQueue,
		BatchBytes: c.BatchBytes, BatchDelay: duration(c.BatchDelay),
		Members: &members, ProbeInterval: duration(c.ProbeInterval), NewsInterval: duration(c.NewsInterval),
		AggregateInterval: duration(c.AggregateInterval), Discovery: &discovery, Outbound: c.Outbound,
		Repair: &repair, RepairInterval: duration(c.RepairInterval), RepairFanout: c.RepairFanout, RepairMode: c.RepairMode,
		StateBlocks: c.StateBlocks, FullSync: c.FullSync,
	}
}
