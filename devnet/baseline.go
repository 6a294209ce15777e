package devnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/report"
)

// baselineOf reads the run to lay over the one that is about to begin, nil where there is none: the
// one that was named, with what must be said of it, or the last of the same experiment with the gossip
// relay, if there is one that belongs beside figures made here.
func baselineOf(cfg MeasureConfig, spec experiment.Spec, here report.Environment) (r *report.Results, notes []string, err error) {
	if cfg.Baseline != "" {
		if r, err = report.ReadResults(cfg.Baseline); err != nil {
			return nil, nil, fmt.Errorf("%w: baseline: %w", experiment.ErrInvalid, err)
		}
		if why := foreign(r, here); why != "" {
			notes = []string{fmt.Sprintf("The figures of %s stand beside these, but %s.", cfg.Baseline, why)}
		}
		return r, notes, nil
	}
	if spec.Net.Relay == gossipRelay {
		return nil, nil, nil
	}
	spec.Net.Relay = gossipRelay
	for _, dir := range report.Former(cfg.out(), spec) {
		if r, err := report.ReadResults(dir); err == nil && foreign(r, here) == "" {
			return r, nil, nil
		}
	}
	return nil, nil, nil
}

// gossipRelay is the relay that the others are held against.
const gossipRelay = "gossip"

// maxTwin bounds the time that a run spends on the one to lay beside it.
const maxTwin = 2 * time.Minute

// hasTwin says whether an experiment can be held against plain gossip in virtual time: processes would
// take as long again, and a mix of relays has no plain form.
func hasTwin(s experiment.Spec) bool {
	return s.Virtual() && s.Net.Relay != gossipRelay && s.Net.Mixed == (experiment.Mixed{}) && s.Proposers() > 0
}

// twinOf runs an experiment with the gossip relay. Where that has no figures, or would take too long,
// notes say so and how to get them.
func twinOf(ctx context.Context, cfg MeasureConfig, spec experiment.Spec, out io.Writer) (r *report.Results, notes []string, err error) {
	relay := spec.Net.Relay
	spec.Net.Relay = gossipRelay
	if takes := spec.Expected(); takes > maxTwin {
		return nil, []string{fmt.Sprintf("Plain gossip is not beside it: that run takes about %v. The same command with --relay gossip makes it, and this one then lays it over.", takes.Round(time.Second))}, nil
	}
	p := newProgress(out)
	p.say("plain gossip first, to stand beside %s", relay)
	cfg.Experiment, cfg.Twin, cfg.Table = spec, false, nil
	r, err = Measure(ctx, cfg, out)
	var missed *MissedError
	var unfit *UnfitError
	switch {
	case errors.As(err, &missed): // what is expected is expected of the other relay
		return r, nil, nil
	case errors.As(err, &unfit):
		return nil, []string{"Plain gossip has no figures beside it: " + err.Error()}, nil
	}
	return r, nil, err
}

// out is the folder that keeps the runs.
func (cfg MeasureConfig) out() string {
	if cfg.Out == "" {
		return "runs"
	}
	return cfg.Out
}
