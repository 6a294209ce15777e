package compare

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/report"
)

// ErrMismatch is wrapped when two runs cannot be compared: it names the key.
var ErrMismatch = errors.New("compare")

// Side is one run: its results, and every message with its deliveries.
type Side struct {
	Results  *report.Results
	messages map[key]*message
}

// key finds the same message on both sides: a transaction by its hash, which follows from the seed;
// a block, whose hash follows from all that happened before it, by the slot it was sealed in.
type key struct {
	seed int64
	tx   string // hash; "" for a block
	slot int    // of the window
	nth  int    // in the slot: a second block of one slot is a sibling
}

// message is one block or transaction.
type message struct {
	id        string
	size      float64
	latencies []float64 // one a node of E(m), ms, infinite where not delivered
	bytes     float64   // received for it, over all these nodes
}

// Read reads the run in a folder.
func Read(dir string) (*Side, error) {
	r, err := report.ReadResults(dir)
	if err != nil {
		return nil, err
	}
	if r.Experiment.Chain.Slot <= 0 {
		return nil, fmt.Errorf("%w: %s: %s has no resolved experiment", report.ErrRun, dir, report.ResultsFile)
	}
	f, err := os.Open(filepath.Join(dir, report.DeliveriesFile))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", report.ErrRun, err)
	}
	defer f.Close()
	s := newSide(r)
	if err := report.DecodeDeliveries(bufio.NewReaderSize(f, 1<<20), s.add); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return s, nil
}

func newSide(r *report.Results) *Side {
	return &Side{Results: r, messages: map[key]*message{}}
}

// add takes one delivery.
func (s *Side) add(d *report.DeliveryRow) error {
	k := key{seed: d.Seed, tx: d.ID}
	if d.Block {
		slot := float64(s.Results.Experiment.Chain.Slot.D()) / 1e6
		k = key{seed: d.Seed, slot: int(d.Born / slot)} // the window begins before its first slot does
		for s.messages[k] != nil && s.messages[k].id != d.ID {
			k.nth++
		}
	}
	m := s.messages[k]
	if m == nil {
		m = &message{id: d.ID, size: float64(d.Size)}
		s.messages[k] = m
	}
	m.latencies = append(m.latencies, d.Latency)
	m.bytes += d.First + d.Again
	return nil
}

// free lists the keys of an experiment in which two compared runs may differ: what is compared. All
// others must be the same, or the difference would not be theirs.
var free = [...]string{"gossip.", "repair.", "report.", "expect.", "net.topology", "files.topology", "net.degree", "net.transport", "net.relay"}

// match refuses two runs whose difference would mean nothing.
func match(a, b *report.Results) (differ []report.Difference, err error) {
	all, err := report.Differences(a, b)
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		if !slices.ContainsFunc(free[:], func(f string) bool {
			return d.Key == f || f[len(f)-1] == '.' && len(d.Key) > len(f) && d.Key[:len(f)] == f
		}) {
			return nil, fmt.Errorf("%w: %s is %s in A and %s in B: the runs must not differ in it: measure one of them again%s", ErrMismatch, d.Key, orNothing(d.Here), orNothing(d.Theirs), copied(d.Key, a.Experiment.CPU))
		}
		differ = append(differ, d)
	}
	return differ, nil
}

// copied says what to copy from A where prices differ, which cpu.mode = "measure" finds anew for each run.
func copied(key string, c experiment.CPU) string {
	if !strings.HasPrefix(key, "cpu.") || c.Mode != experiment.CPUCharge {
		return ""
	}
	return fmt.Sprintf(", B with the prices of A: [cpu] mode = %q, cores = %d, signature_us = %v, hash_us = %v, transfer_us = %v", c.Mode, c.Cores, c.SignatureUS, c.HashUS, c.TransferUS)
}

func orNothing(v string) string {
	if v == "" {
		return "not set"
	}
	return v
}
