package devnet

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/topology"
	"github.com/pheme-net/pheme/p2p"
)

// buildGraph makes the connections of an experiment.
func buildGraph(spec experiment.Spec, rng *rand.Rand) (topology.Graph, error) {
	path, isFile := strings.CutPrefix(spec.Net.Topology, "file:")
	if grown(spec) { // until it is known: who starts from whom
		return topology.Build("star", spec.Net.Nodes, 0, rng)
	}
	if !isFile {
		return topology.Build(spec.Net.Topology, spec.Net.Nodes, spec.Net.Degree, rng)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: net.topology: %w", experiment.ErrInvalid, err)
	}
	g, err := topology.Decode(path, text, spec.Net.Nodes)
	if err != nil {
		return nil, fmt.Errorf("%w: net.topology: %w", experiment.ErrInvalid, err)
	}
	return g, nil
}

// p2pConfig is what an experiment tells every node about its network side.
func p2pConfig(spec experiment.Spec) p2p.Config {
	g, r := &spec.Gossip, &spec.Repair
	c := p2p.Config{
		Relay: spec.Net.Relay, D: g.D, Dlo: g.Dlo, Dhi: g.Dhi, Dout: g.Dout, Dlazy: g.Dlazy, TxD: g.TxD, Heartbeat: g.Heartbeat.D(),
		FloodPublish: g.FloodPublish, IDontWantBytes: int(g.IDontWant),
		NoMembers: spec.Net.Members == "off", NoDiscovery: !grown(spec),
		NoRepair: r.Off, RepairInterval: r.Interval.D(), RepairFanout: r.Fanout, RepairMode: r.Mode,
	}
	if spec.Net.Members == "on" { // it only watches, at memberlist's pace
		c.ProbeInterval, c.NewsInterval, c.AggregateInterval = time.Second, 500*time.Millisecond, 10*time.Second
	}
	return c
}

// meshLow is how many peers a mesh must have, by topic: with fewer GossipSub looks for more.
func meshLow(spec experiment.Spec) map[string]int {
	return map[string]int{"block": spec.Gossip.Dlo, "tx": p2p.TxDlo(spec.Gossip.TxD)}
}

// settings is the same as the text of a node's configuration file.
func settings(spec experiment.Spec) string {
	c := p2pConfig(spec)
	text := fmt.Sprintf("[p2p]\nrelay = %q\nd = %d\nd_lo = %d\nd_hi = %d\nd_out = %d\nd_lazy = %d\ntx_d = %d\nheartbeat = %q\nflood_publish = %v\nidontwant_bytes = %d\n",
		c.Relay, c.D, c.Dlo, c.Dhi, c.Dout, c.Dlazy, c.TxD, c.Heartbeat, c.FloodPublish, c.IDontWantBytes)
	text += fmt.Sprintf("members = %v\ndiscovery = %v\nprobe_interval = %q\nnews_interval = %q\naggregate_interval = %q\n",
		!c.NoMembers, !c.NoDiscovery, c.ProbeInterval, c.NewsInterval, c.AggregateInterval)
	return text + fmt.Sprintf("repair = %v\nrepair_interval = %q\nrepair_fanout = %d\nrepair_mode = %q\n", !c.NoRepair, c.RepairInterval, c.RepairFanout, c.RepairMode)
}
