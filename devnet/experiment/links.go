package experiment

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/pheme-net/pheme/p2p/link"
)

// Table is the latency table that n names, with n's jitter if it states one.
func (n *Net) Table() (*link.Table, error) {
	t, err := link.ParseLatency(n.Latency)
	if err != nil || n.Jitter == "" {
		return t, err
	}
	spread, err := time.ParseDuration(n.Jitter)
	if err != nil {
		return nil, fmt.Errorf("jitter %q is not a time such as 2ms", n.Jitter)
	}
	return t.WithJitter(spread)
}

// LinkConfig is the network of a resolved and valid s for one seed: which node is where at which
// rates follows from the seed alone.
func (s *Spec) LinkConfig(seed int64) (link.Config, error) {
	n := &s.Net
	table, err := n.Table()
	if err != nil {
		return link.Config{}, err
	}
	reaction, err := link.ParseReaction(n.LossCC)
	if err != nil {
		return link.Config{}, err
	}
	up, down, err := rates(n.Up, n.Down)
	if err != nil {
		return link.Config{}, err
	}
	rng := rand.New(rand.NewPCG(uint64(seed), 2))
	cfg := link.Config{
		Nodes: link.Uniform(n.Nodes, table, up, down, rng), Table: table, Seed: uint64(seed),
		Loss: n.Loss, LossCC: reaction, Reorder: n.Reorder,
	}
	if n.Window == "open" {
		cfg.Window = link.NoWindow
	}
	if n.Supers.Share == 0 {
		return cfg, nil
	}
	if up, down, err = rates(n.Supers.Up, n.Supers.Down); err != nil {
		return link.Config{}, err
	}
	for _, i := range rng.Perm(n.Nodes)[:int(n.Supers.Share*float64(n.Nodes)+.5)] {
		cfg.Nodes[i].Up, cfg.Nodes[i].Down = up, down
	}
	return cfg, nil
}

// RelayOf is the relay of each node, for the run of one seed.
func (s *Spec) RelayOf(seed int64) []string {
	n := &s.Net
	out := make([]string, n.Nodes)
	for i := range out {
		out[i] = n.Relay
	}
	rng := rand.New(rand.NewPCG(uint64(seed), 5))
	for _, i := range rng.Perm(n.Nodes)[:int(n.Mixed.Share*float64(n.Nodes)+.5)] {
		out[i] = n.Mixed.Relay
	}
	return out
}

func rates(up, down string) (u, d link.Rate, err error) {
	if u, err = link.ParseRate(up); err != nil {
		return 0, 0, err
	}
	d, err = link.ParseRate(down)
	return u, d, err
}
