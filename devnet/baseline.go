package devnet

import (
	"fmt"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/report"
)

// baselineOf reads the run to lay over the one that is about to begin, nil where there is none: the
// one that was named, or the same experiment with the gossip relay if it has been run.
func baselineOf(cfg MeasureConfig, spec experiment.Spec) (*report.Results, error) {
	if cfg.Baseline != "" {
		r, err := report.ReadResults(cfg.Baseline)
		if err != nil {
			return nil, fmt.Errorf("%w: baseline: %w", experiment.ErrInvalid, err)
		}
		return r, nil
	}
	if spec.Net.Relay == gossipRelay {
		return nil, nil
	}
	spec.Net.Relay = gossipRelay
	dir := report.Latest(cfg.out(), spec)
	if dir == "" {
		return nil, nil
	}
	return report.ReadResults(dir)
}

// gossipRelay is the relay that the others are held against.
const gossipRelay = "gossip"

// out is the folder that keeps the runs.
func (cfg MeasureConfig) out() string {
	if cfg.Out == "" {
		return "runs"
	}
	return cfg.Out
}
