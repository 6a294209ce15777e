package report

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/stats"
	"github.com/pheme-net/pheme/p2p/trace"
)

// synthetic is a run of n nodes and 20 blocks as nodes would have recorded it: every block goes
// from its sealer to two others and from those to the rest, with seeded delays. One delivery in
// lossEvery is left out; 0 loses none.
type synthetic struct {
	in  recorder.Input
	rng *rand.Rand
}

const slot = int64(time.Second)

func newSynthetic(n int, seed uint64) *synthetic {
	s := &synthetic{rng: rand.New(rand.NewPCG(seed, 7))}
	s.in = recorder.Input{Window: recorder.Span{From: 3 * slot, To: 23 * slot}, Horizon: 10 * time.Second, Slot: time.Second}
	for i := range n {
		s.in.Nodes = append(s.in.Nodes, recorder.Node{Name: fmt.Sprintf("n%d", i), Tag: uint64(i + 1)})
	}
	return s
}

func (s *synthetic) emit(node int, at int64, k trace.Kind, e trace.Event) {
	e.At, e.Kind = at, k
	s.in.Nodes[node].Events = append(s.in.Nodes[node].Events, e)
}

func (s *synthetic) ms(lo, hi float64) int64 { return int64((lo + (hi-lo)*s.rng.Float64()) * 1e6) }

// send is one hop of a block; it returns when the receiver accepted.
func (s *synthetic) send(id [32]byte, from, to int, ready int64) int64 {
	queued := ready + s.ms(.2, .8)
	begun := queued + s.ms(0, 3)
	written := begun + s.ms(1, 4)
	read := written + s.ms(.1, .4)
	accepted := read + s.ms(.6, 1.8)
	e := trace.Event{Class: trace.ClassBlock, Hash: id, Size: 131_100, Peer: uint64(to + 1)}
	s.emit(from, queued, trace.MsgQueued, e)
	e.Aux = written - begun
	s.emit(from, written, trace.MsgWritten, e)
	e.Peer, e.Aux = uint64(from+1), 0
	s.emit(to, read, trace.MsgRead, e)
	e.Size, e.Class = 131_000, 0
	s.emit(to, read+1000, trace.BlockReceived, e)
	s.emit(to, accepted, trace.BlockAccepted, e)
	s.emit(to, accepted+s.ms(2, 6), trace.BlockImported, trace.Event{Hash: id, Size: 131_000})
	return accepted
}

func (s *synthetic) blocks(lossEvery int) {
	n, sent := len(s.in.Nodes), 0
	for k := range 23 {
		id := [32]byte{1, byte(k), byte(s.rng.IntN(256))}
		at := int64(k)*slot + s.ms(2, 6)
		origin := k % n
		s.emit(origin, at, trace.BlockSealed, trace.Event{Hash: id, Size: 131_000, Aux: int64(k + 1)})
		order := s.rng.Perm(n)
		ready := map[int]int64{origin: at}
		relays := []int{origin}
		for _, to := range order {
			if to == origin {
				continue
			}
			if sent++; lossEvery > 0 && sent%lossEvery == 0 {
				continue
			}
			from := relays[s.rng.IntN(min(len(relays), 3))]
			ready[to] = s.send(id, from, to, ready[from])
			relays = append(relays, to)
			for range s.rng.IntN(4) {
				e := trace.Event{Class: trace.ClassBlock, Hash: id, Size: 131_100, Peer: uint64(from + 1)}
				s.emit(to, ready[to]+s.ms(1, 9), trace.MsgRead, e)
				e.Size = 131_000
				s.emit(to, ready[to]+s.ms(9, 10), trace.CopyDuplicate, e)
			}
		}
	}
}

func (s *synthetic) txs() {
	n := len(s.in.Nodes)
	for k := range 23 * 8 {
		hash := [32]byte{2, byte(k), byte(k >> 8)}
		origin := k % n
		at := int64(k)*slot/8 + s.ms(0, 50)
		tag := [32]byte{3, byte(k), byte(k >> 8)}
		s.emit(origin, at, trace.TxSubmitted, trace.Event{Hash: hash, Size: 16_000})
		s.emit(origin, at+s.ms(.1, .3), trace.TxAdmitted, trace.Event{Hash: hash, Size: 16_000})
		s.emit(origin, at+s.ms(5, 6), trace.TxPublished, trace.Event{Hash: hash, Size: 16_000, Aux: trace.BatchAux(tag)})
		for to := range n {
			if to == origin {
				continue
			}
			delay := s.ms(6.5, 14)
			e := trace.Event{Class: trace.ClassTx, Hash: tag, Size: 16_050, Peer: uint64(origin + 1)}
			s.emit(to, at+delay, trace.MsgRead, e)
			s.emit(to, at+delay+s.ms(.2, .6), trace.TxAdmitted, trace.Event{Hash: hash, Size: 16_000, Peer: uint64(origin + 1)})
			s.emit(to, at+slot+s.ms(0, 500), trace.TxPlaced, trace.Event{Hash: hash})
			s.emit(to, at+s.ms(10, 500), trace.MsgRead, trace.Event{Class: trace.ClassControl, Size: 900})
		}
	}
}

func syntheticRun(t testing.TB, n int, seed uint64, lossEvery int) Run {
	t.Helper()
	s := newSynthetic(n, seed)
	s.blocks(lossEvery)
	s.txs()
	rec, err := recorder.Join(s.in)
	if err != nil {
		t.Fatal(err)
	}
	run := Run{Seed: int64(seed), Record: rec, Warmup: 3, Slots: 20, Wall: 31 * time.Second, Host: Host{Busy: .41, Wait: .22}}
	for i := range n {
		run.Processes = append(run.Processes, Process{Name: fmt.Sprintf("n%d", i), CPU: 2.5 + float64(i)/10, MaxRSS: int64(58+i) << 20})
	}
	run.Faults = []Fault{{
		Kind: "partition", Nodes: []string{"n0", "n1"}, AtMS: 5000, EndMS: 9000, Happened: true, Proof: "24.0 KiB dropped by the cut", HeadsEqual: 812, PoolsEqual: 640, Lacking: 10_000, Repair: 11_800,
	}}
	return run
}

func syntheticResults(t testing.TB, n, lossEvery int, notes ...string) (*Results, []Run) {
	t.Helper()
	spec := experiment.Spec{Net: experiment.Net{Nodes: n}}
	spec.Resolve()
	runs := []Run{syntheticRun(t, n, 1, lossEvery)}
	env := Environment{
		Command: "pheme devnet measure", Version: "0.1.0", Revision: "0123456789abcdef", Program: strings.Repeat("9f", 32), Go: "go1.26.8", Platform: "linux/amd64",
		Kernel: "Linux 6.1", CPU: "Some CPU @ 2.50GHz", Cores: 2, Memory: 8 << 30, Load: "0.10 0.20 0.30", Clock: "the host's monotonic clock",
		Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Modules: []Module{{"github.com/libp2p/go-libp2p", "v0.51.0"}, {"github.com/libp2p/go-libp2p-pubsub", "v0.17.0"}},
	}
	if lossEvery > 0 {
		runs[0].Host = Host{Busy: .97, Wait: stats.Number(.6), CPUBound: true}
	}
	return New(spec, env, runs, notes), runs
}

// withFaults writes a partition that heals and a kill into the first run, and what they did to its
// slots.
func withFaults(r *Results) {
	run := &r.Runs[0]
	run.Faults = []Fault{
		{Kind: "partition", Nodes: []string{"n0", "n1", "n2", "n3"}, AtMS: 4000, EndMS: 9000, Happened: true, Proof: "812 messages cut", HeadsEqual: 1320, PoolsEqual: 700, Lacking: 5000, Repair: 9000},
		{Kind: "kill", Nodes: []string{"n5"}, AtMS: 12_500, EndMS: stats.None(), Happened: true, Proof: "killed: signal 9", HeadsEqual: stats.None(), PoolsEqual: stats.None()},
	}
	for k := range run.Timeline {
		tick := &run.Timeline[k]
		if tick.AtMS >= 4000 && tick.AtMS < 9000 {
			tick.Heads, tick.Coverage, tick.C95 = 2, .5, stats.Number(math.Inf(1))
		}
		if tick.AtMS >= 12_000 {
			tick.Up--
		}
	}
}
