package live

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/pheme-net/pheme/p2p/link"
)

// planVersion stands in every plan; another form has another number.
const planVersion = 1

// maxPlan bounds a plan's file: a thousand nodes take 60 kB, a change that names
// all of them as much again.
const maxPlan = 16 << 20

// ErrPlan is wrapped by every complaint about a plan.
var ErrPlan = errors.New("live: bad link plan")

// Plan is the file that all processes of a shaped network read, in JSON: the
// links of all nodes and what happens to them when. The schedule may grow while
// the network runs; nothing else may change.
type Plan struct {
	Version  int         `json:"version"`
	Start    int64       `json:"start_unix_ns"` // of the schedule, in the past
	Latency  string      `json:"latency"`       // as link.ParseLatency reads it
	Jitter   string      `json:"jitter,omitempty"`
	Seed     uint64      `json:"seed"`
	Nodes    []link.Node `json:"nodes"`
	Loss     float64     `json:"loss,omitempty"`
	Reorder  float64     `json:"reorder,omitempty"`
	LossCC   string      `json:"loss_cc"`
	Window   int         `json:"window,omitempty"`
	Schedule []Step      `json:"schedule,omitempty"`
}

// Step is one entry of a plan's schedule: exactly one change is set.
type Step struct {
	At        time.Duration   `json:"at_ns"`
	Partition *link.Partition `json:"partition,omitempty"`
	Heal      *link.Heal      `json:"heal,omitempty"`
	Slow      *link.Slow      `json:"slow,omitempty"`
	Lossy     *link.Lossy     `json:"lossy,omitempty"`
	Restore   *link.Restore   `json:"restore,omitempty"`
	Rates     *link.Rates     `json:"rates,omitempty"`
}

// NewPlan describes the network of cfg, whose table is the one that latency
// names, with another jitter unless that is "", and whose schedule counts from
// start.
func NewPlan(cfg link.Config, latency, jitter string, start time.Time) Plan {
	p := Plan{
		Version: planVersion, Start: start.UnixNano(), Latency: latency, Jitter: jitter, Seed: cfg.Seed, Nodes: cfg.Nodes,
		Loss: cfg.Loss, Reorder: cfg.Reorder, LossCC: cfg.LossCC.String(), Window: cfg.Window,
	}
	p.Extend(cfg.Schedule)
	return p
}

// Extend adds changes to the end of the schedule.
func (p *Plan) Extend(more []link.Timed) {
	for _, t := range more {
		s := Step{At: t.At}
		switch c := t.Do.(type) {
		case link.Partition:
			s.Partition = &c
		case link.Heal:
			s.Heal = &c
		case link.Slow:
			s.Slow = &c
		case link.Lossy:
			s.Lossy = &c
		case link.Restore:
			s.Restore = &c
		case link.Rates:
			s.Rates = &c
		}
		p.Schedule = append(p.Schedule, s)
	}
}

// change is the one change of a step.
func (s Step) change() (link.Change, error) {
	var all []link.Change
	if s.Partition != nil {
		all = append(all, *s.Partition)
	}
	if s.Heal != nil {
		all = append(all, *s.Heal)
	}
	if s.Slow != nil {
		all = append(all, *s.Slow)
	}
	if s.Lossy != nil {
		all = append(all, *s.Lossy)
	}
	if s.Restore != nil {
		all = append(all, *s.Restore)
	}
	if s.Rates != nil {
		all = append(all, *s.Rates)
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("%w: a step of the schedule has %d changes: want exactly one", ErrPlan, len(all))
	}
	return all[0], nil
}

// Timed is the schedule in the model's terms.
func (p *Plan) Timed() ([]link.Timed, error) {
	var out []link.Timed
	for _, s := range p.Schedule {
		c, err := s.change()
		if err != nil {
			return nil, err
		}
		out = append(out, link.Timed{At: s.At, Do: c})
	}
	return out, nil
}

// Config is the network of the plan.
func (p *Plan) Config() (cfg link.Config, start time.Time, err error) {
	cfg = link.Config{Nodes: p.Nodes, Seed: p.Seed, Loss: p.Loss, Reorder: p.Reorder, Window: p.Window}
	if cfg.Table, err = p.table(); err != nil {
		return cfg, start, fmt.Errorf("%w: %w", ErrPlan, err)
	}
	if cfg.LossCC, err = link.ParseReaction(p.LossCC); err != nil {
		return cfg, start, fmt.Errorf("%w: %w", ErrPlan, err)
	}
	if cfg.Schedule, err = p.Timed(); err != nil {
		return cfg, start, err
	}
	return cfg, time.Unix(0, p.Start), nil
}

func (p *Plan) table() (*link.Table, error) {
	t, err := link.ParseLatency(p.Latency)
	if err != nil || p.Jitter == "" {
		return t, err
	}
	spread, err := time.ParseDuration(p.Jitter)
	if err != nil {
		return nil, fmt.Errorf("jitter: %w", err)
	}
	return t.WithJitter(spread)
}

// DecodePlan parses the text of a plan. What it describes is judged by New.
func DecodePlan(text []byte) (Plan, error) {
	var p Plan
	if len(text) > maxPlan {
		return p, fmt.Errorf("%w: %d bytes: at most %d", ErrPlan, len(text), maxPlan)
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return p, fmt.Errorf("%w: %w", ErrPlan, err)
	}
	if p.Version != planVersion {
		return p, fmt.Errorf("%w: version %d: this program reads version %d", ErrPlan, p.Version, planVersion)
	}
	if _, err := p.Timed(); err != nil {
		return p, err
	}
	return p, nil
}

// ReadPlan reads a plan's file.
func ReadPlan(path string) (Plan, error) {
	f, err := os.Open(path)
	if err != nil {
		return Plan{}, fmt.Errorf("%w: %w", ErrPlan, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPlan+1))
	if err != nil {
		return Plan{}, fmt.Errorf("%w: %w", ErrPlan, err)
	}
	return DecodePlan(text)
}

// Write replaces a plan's file in one step, so that no reader sees half of it.
func (p *Plan) Write(path string) error {
	text, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode link plan: %w", err)
	}
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	if err := os.WriteFile(tmp, text, 0o600); err != nil {
		return fmt.Errorf("write link plan: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write link plan: %w", err)
	}
	return nil
}
