package devnet

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/node"
	"github.com/pheme-net/pheme/p2p"
)

// The defaults that an experiment writes into its resolved copy are those of a node told nothing.
func TestGossipDefaultsAreTheNodes(t *testing.T) {
	got, want := p2pConfig(experiment.Default()), p2p.Defaults()
	for _, f := range []string{"Relay", "D", "Dlo", "Dhi", "Dout", "Dlazy", "TxD", "Heartbeat", "FloodPublish", "IDontWantBytes", "NoRepair", "RepairInterval", "RepairFanout", "RepairMode"} {
		g, w := reflect.ValueOf(got).FieldByName(f).Interface(), reflect.ValueOf(want).FieldByName(f).Interface()
		if g != w {
			t.Errorf("%s = %v, the node's default is %v", f, g, w)
		}
	}
}

// A node reads from its file what a node in virtual time is given as values.
func TestSettingsAreReadByTheNode(t *testing.T) {
	s := experiment.Spec{Gossip: experiment.Gossip{D: 4, Dlo: 3, Dhi: 5, Dout: 1, Dlazy: 2, TxD: 3, Heartbeat: 1e9, FloodPublish: true, IDontWant: 1 << 20}, Repair: experiment.Repair{Off: true, Interval: 3e9, Fanout: 4, Mode: "pull"}}
	s.Resolve()
	cfg, err := node.DecodeConfig("node.toml", []byte(settings(s)))
	if want := (node.Config{P2P: p2pConfig(s)}); err != nil || !reflect.DeepEqual(cfg, want) {
		t.Errorf("read %+v, %v, want %+v", cfg.P2P, err, want.P2P)
	}
}

func TestGraphFromFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "g")
	if err := os.WriteFile(path, []byte("0 1\n1 2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := experiment.Spec{Net: experiment.Net{Nodes: 3, Topology: "file:" + path}}
	s.Resolve()
	if g, err := buildGraph(s, rand.New(rand.NewPCG(1, 1))); err != nil || len(g.Edges()) != 2 {
		t.Errorf("buildGraph() = %v, %v", g, err)
	}
	s.Net.Nodes = 4
	if _, err := buildGraph(s, nil); err == nil {
		t.Error("a file that leaves node 3 alone was taken")
	}
}
