package devnet

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/host"
	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/report"
	"github.com/pheme-net/pheme/devnet/stats"
	"github.com/pheme-net/pheme/p2p/trace"
)

// UnfitError says that a run took place and its figures are not fit to report, why, and what to
// change. Its exit code is 5.
type UnfitError struct{ Reason, Change string }

func (e *UnfitError) Error() string {
	return fmt.Sprintf("not fit to report: %s: %s", e.Reason, e.Change)
}

// ExitCode is what the command returns to the shell.
func (e *UnfitError) ExitCode() int { return 5 }

// fit returns an UnfitError when the run's figures would mislead: the recording has a hole, the
// instrument contradicts itself, or the network did not do its work.
func fit(spec experiment.Spec, seen *observation, run *recorder.Run) error {
	lighter := "use fewer --nodes, a smaller --block-size or a longer --slot"
	undone := slices.IndexFunc(seen.faults, func(f report.Fault) bool { return !f.Happened })
	switch early := run.Early; {
	case undone >= 0:
		f := seen.faults[undone]
		return &UnfitError{
			fmt.Sprintf("the %s of %s at %v did not happen: %s", f.Kind, strings.Join(f.Nodes, ", "), time.Duration(f.AtMS*float64(time.Millisecond)).Round(time.Millisecond), f.Proof),
			"give it other nodes or another time",
		}
	case len(seen.open) > 0:
		return &UnfitError{fmt.Sprintf("the recording of %s has no end", seen.open[0]), "its process was killed: look for what killed it and run again"}
	case run.Lost > 0:
		return &UnfitError{fmt.Sprintf("%d trace events were lost", run.Lost), "the machine could not keep up: " + lighter}
	case len(early) > 0:
		return &UnfitError{
			fmt.Sprintf("%s accepted block 0x%s before it had received it", seen.input.Nodes[early[0].Node].Name, hex.EncodeToString(early[0].Block[:4])),
			"this is a defect of pheme: report it with the experiment",
		}
	case len(run.Blocks) == 0 && spec.Proposers() > 0:
		return &UnfitError{"no block was sealed in the counted slots", lighter}
	}
	for _, kind := range []struct {
		name     string
		messages []*recorder.Message
	}{{"block", run.Blocks}, {"transaction", run.Txs}} {
		if share := coverage(kind.messages); share < spec.Report.CoverageFloor {
			reason := fmt.Sprintf("%s coverage is %.4f, its floor %v", kind.name, share, spec.Report.CoverageFloor)
			if seen.refused > 0 {
				reason += fmt.Sprintf(" (%d transactions were refused, the first: %v)", seen.refused, seen.why)
			}
			return &UnfitError{reason, lighter + ", or state a lower report.coverage_floor"}
		}
	}
	if spec.Report.Strict && seen.host.CPUBound {
		return &UnfitError{cpuBound(seen), lighter + ", stop other programs, or leave --strict out"}
	}
	return nil
}

// coverage is the share of expected deliveries that were made; of none it is 1.
func coverage(messages []*recorder.Message) float64 {
	reached, expected := 0, 0
	for _, m := range messages {
		reached += m.Reached()
		expected += len(m.Deliveries)
	}
	if expected == 0 {
		return 1
	}
	return float64(reached) / float64(expected)
}

// judgeHost decides whether the latencies are the machine's.
func (o *observation) judgeHost(run *recorder.Run) {
	var all []float64
	messages := run.Blocks
	if len(messages) == 0 {
		messages = run.Txs
	}
	for _, m := range messages {
		all = append(all, m.Latencies()...)
	}
	slices.Sort(all)
	h := &o.host
	h.CPUBound = host.Bound(float64(h.Busy), float64(h.Wait), float64(h.Waited), stats.Percentile(all, .5))
}

// untold is the host of nodes that are not processes of this machine.
func untold() report.Host {
	return report.Host{Busy: stats.None(), Wait: stats.None(), Waited: stats.None()}
}

func cpuBound(seen *observation) string {
	return fmt.Sprintf("CPU-bound: while blocks counted, %.0f %% of all cores were busy and the nodes waited for a core %.0f %% of the time they wanted one",
		100*float64(seen.host.Busy), 100*float64(seen.host.Wait))
}

// remarks are the sentences a reader of the figures must know.
func remarks(spec experiment.Spec, seen *observation, run *recorder.Run) (notes []string) {
	if seen.host.CPUBound {
		notes = append(notes, cpuBound(seen)+": the latencies are this machine's, not a network's.")
	}
	if missed := spec.Slots() - len(run.Blocks); missed > 0 && spec.Proposers() > 0 {
		notes = append(notes, fmt.Sprintf("%d of %d counted slots have no block: their proposers were too late or had nothing to say.", missed, spec.Slots()))
	}
	if lost := staleBlocks(run); lost > 0 {
		notes = append(notes, fmt.Sprintf("%d of %d counted blocks lost to a sibling of the same height: proposers did not have each other's blocks in time.", lost, len(run.Blocks)))
	}
	if seen.cut > 0 {
		notes = append(notes, fmt.Sprintf("%d recordings end in a kill: what these nodes did in up to %v before it is missing.", seen.cut, trace.FlushInterval))
	}
	size := 0.0
	var worst []float64
	for _, m := range run.Blocks {
		size += float64(m.Size) / float64(len(run.Blocks))
		worst = append(worst, stats.CoverageTime(m.Latencies(), .95))
	}
	if full := size / float64(spec.Chain.BlockSize); full < 0.95 && len(run.Blocks) > 0 {
		notes = append(notes, fmt.Sprintf("Blocks are %.0f %% full on average: the pools ran short.", 100*full))
	}
	slices.Sort(worst)
	if c95 := time.Duration(stats.Percentile(worst, .5) * float64(time.Millisecond)); c95 > spec.Chain.Slot.D() {
		notes = append(notes, fmt.Sprintf("slot_shorter_than_propagation: 95 %% of the nodes have a block after %v, the next slot begins after %v.", c95.Round(time.Millisecond), spec.Chain.Slot))
	}
	if seen.late > max(spec.Load.Tick.D(), 100*time.Millisecond) {
		notes = append(notes, fmt.Sprintf("The load fell behind its schedule by up to %v: submissions bunch up.", seen.late.Round(time.Millisecond)))
	}
	if seen.refused > 0 {
		notes = append(notes, fmt.Sprintf("%d transactions were refused, the first because: %v.", seen.refused, seen.why))
	}
	return notes
}

// staleBlocks counts the blocks beyond one a number.
func staleBlocks(run *recorder.Run) int {
	numbers := map[int64]bool{}
	for _, m := range run.Blocks {
		numbers[m.Number] = true
	}
	return len(run.Blocks) - len(numbers)
}

// sealedIn counts the warm-up blocks.
func sealedIn(seen *observation) (n int) {
	for _, node := range seen.input.Nodes {
		for _, e := range node.Events {
			if e.Kind == trace.BlockSealed && seen.warmup.Has(e.At) {
				n++
			}
		}
	}
	return n
}

func unique(notes []string) (out []string) {
	for _, n := range notes {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}
