package workload

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/holiman/uint256"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/rpc"
)

func spec(bend func(*experiment.Spec)) experiment.Spec {
	var s experiment.Spec
	if bend != nil {
		bend(&s)
	}
	s.Resolve()
	return s
}

func plan(t *testing.T, s experiment.Spec, seed int64) *Plan {
	t.Helper()
	p, err := New(s, seed, 1337)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDefaultPlanFillsEveryBlock(t *testing.T) {
	s := spec(nil)
	p := plan(t, s, 1)
	if want := 8 + 24*8; p.Txs != want || p.Length != 24*time.Second {
		t.Errorf("%d transactions in %v, want one block ahead and 24 slots' worth, %d in 24s", p.Txs, p.Length, want)
	}
	if block := listHead + s.TxsPerBlock()*(p.TxSize+itemHead); block > int(s.Chain.BlockSize) || block < int(s.Chain.BlockSize)-s.TxsPerBlock() {
		t.Errorf("a block of %d transactions has %d bytes, want all of %s", s.TxsPerBlock(), block, s.Chain.BlockSize)
	}
	ahead := 0
	for _, batches := range p.Batches {
		for i, b := range batches {
			if i > 0 && b.At <= batches[i-1].At || b.At%s.Load.Tick.D() != 0 || b.At >= p.Length {
				t.Fatalf("batch %d at %v: want whole ticks, in order, within the workload", i, b.At)
			}
			if b.At == 0 {
				ahead += len(b.Raw)
			}
		}
	}
	if ahead < 8 || ahead > 10 {
		t.Errorf("%d transactions are submitted at once, want a block of 8 ahead", ahead)
	}
}

// Every transaction must be one that the chain takes, of the planned size, and each sender's
// nonces must reach one node without a gap.
func TestPlannedTransactionsAreValid(t *testing.T) {
	for _, tt := range []struct {
		name string
		spec experiment.Spec
	}{
		{"default", spec(func(s *experiment.Spec) { s.Load.Blocks = 4 })},
		{"small transactions", spec(func(s *experiment.Spec) { s.Load.Blocks, s.Load.TxSize, s.Net.Nodes = 2, 300, 3 })},
		{"one a block", spec(func(s *experiment.Spec) { s.Load.Blocks, s.Chain.BlockSize = 4, 20<<10 })},
		{"own rate", spec(func(s *experiment.Spec) { s.Load.Blocks, s.Load.TxRate = 4, 3 })},
	} {
		p := plan(t, tt.spec, 7)
		g := &chain.Genesis{ChainID: 1337, TimeMS: 1, Proposers: []common.Address{{1}}, BaseFee: uint256.NewInt(gwei), GasLimit: 1e9, Alloc: map[common.Address]*uint256.Int{}}
		next, home := map[common.Address]uint64{}, map[common.Address]int{}
		count := 0
		for node, batches := range p.Batches {
			for _, b := range batches {
				for _, raw := range b.Raw {
					tx, err := chain.DecodeTx(raw)
					if err == nil {
						err = chain.CheckTx(tx, g)
					}
					if err != nil {
						t.Fatalf("%s: %v", tt.name, err)
					}
					from, err := tx.Sender(1337)
					if err != nil {
						t.Fatal(err)
					}
					if was, ok := home[from]; ok && was != node || tx.Nonce() != next[from] {
						t.Fatalf("%s: nonce %d of %s goes to node %d, want nonce %d to node %d", tt.name, tx.Nonce(), from, node, next[from], was)
					}
					home[from], next[from] = node, next[from]+1
					if tx.Size() > p.TxSize || tx.Size() < p.TxSize-2 {
						t.Fatalf("%s: %d bytes, want %d", tt.name, tx.Size(), p.TxSize)
					}
					count++
				}
			}
		}
		if count != p.Txs {
			t.Errorf("%s: %d transactions in batches, %d planned", tt.name, count, p.Txs)
		}
	}
}

// TestShortSignatures: among these transactions is one whose first signatures are so short and so long in turn that its size was
// missed four times.
func TestShortSignatures(t *testing.T) {
	s := spec(func(s *experiment.Spec) {
		s.Engine, s.Net.Nodes, s.Load.Blocks = "virtual", 100, 3
		s.Chain.BlockSize, s.Load.TxSize, s.Chain.Slot = 1<<20, 2<<10, experiment.Duration(12*time.Second)
	})
	plan(t, s, 1)
}

func TestOlderTransactionsTipMore(t *testing.T) {
	p := plan(t, spec(func(s *experiment.Spec) { s.Load.Blocks = 4 }), 1)
	type sent struct {
		at  time.Duration
		tip int64
	}
	var all []sent
	for _, batches := range p.Batches {
		for _, b := range batches {
			for _, raw := range b.Raw {
				var tx types.Transaction
				if err := tx.UnmarshalBinary(raw); err != nil {
					t.Fatal(err)
				}
				all = append(all, sent{b.At, tx.GasTipCap().Int64()})
			}
		}
	}
	slices.SortFunc(all, func(a, b sent) int { return int(b.tip - a.tip) })
	if !slices.IsSortedFunc(all, func(a, b sent) int { return int(a.at - b.at) }) {
		t.Error("a younger transaction tips more than an older one")
	}
}

// Without blocks nothing is sent ahead, senders stay below what a pool lets one of them queue, and
// Poisson arrivals come at the rate, each at its own time.
func TestTransactionsAlone(t *testing.T) {
	p := plan(t, spec(func(s *experiment.Spec) {
		s.Load = experiment.Load{Work: experiment.WorkTxs, Arrival: "poisson", TxRate: 200, TxSize: 300, Duration: experiment.Duration(10 * time.Second), Tick: experiment.Duration(time.Millisecond)}
	}), 1)
	mean := 200 * p.Length.Seconds()
	if p.Length != 14*time.Second || math.Abs(float64(p.Txs)-mean) > 5*math.Sqrt(mean) {
		t.Errorf("%d transactions in %v, want about %.0f in 14 s", p.Txs, p.Length, mean)
	}
	most := len(p.Batches) * len(p.Senders) / spec(nil).Net.Nodes * maxQueued
	if p.TxSize != 300 || p.Txs > most {
		t.Errorf("%d bytes each, %d of them: %d senders may queue %d", p.TxSize, p.Txs, len(p.Senders), most)
	}
	first := 0
	for _, batches := range p.Batches {
		if len(batches) > 0 && batches[0].At == 0 {
			first += len(batches[0].Raw)
		}
	}
	if first > 4 {
		t.Errorf("%d transactions leave at the first instant, want none ahead", first)
	}
}

func TestPlanRepeatsBySeed(t *testing.T) {
	s := spec(func(s *experiment.Spec) { s.Load.Blocks = 2 })
	a, b, c := plan(t, s, 1), plan(t, s, 1), plan(t, s, 2)
	same := func(p, q *Plan) bool {
		for i := range p.Batches {
			if len(p.Batches[i]) != len(q.Batches[i]) {
				return false
			}
			for j := range p.Batches[i] {
				x, y := p.Batches[i][j], q.Batches[i][j]
				if x.At != y.At || !slices.EqualFunc(x.Raw, y.Raw, bytes.Equal) {
					return false
				}
			}
		}
		return true
	}
	if !same(a, b) {
		t.Error("one seed gave two plans")
	}
	if same(a, c) {
		t.Error("two seeds gave one plan")
	}
}

// fakeNode notes when it was given how much and takes its time to answer.
type fakeNode struct {
	answer time.Duration
	refuse error
	broken error
	start  time.Time
	at     []time.Duration
	took   int
}

func (f *fakeNode) SendBatch(ctx context.Context, raws [][]byte) ([]rpc.SendResult, error) {
	f.at = append(f.at, time.Since(f.start))
	time.Sleep(f.answer)
	out := make([]rpc.SendResult, len(raws))
	for i := range out {
		out[i].Err = f.refuse
	}
	f.took += len(raws)
	return out, f.broken
}

func TestRunKeepsTheSchedule(t *testing.T) {
	p := plan(t, spec(func(s *experiment.Spec) { s.Load.Blocks, s.Net.Nodes = 4, 3 }), 1)
	synctest.Test(t, func(t *testing.T) {
		start := time.Now().Add(time.Second)
		errFull := errors.New("full")
		fakes := []*fakeNode{{start: start, answer: time.Millisecond}, {start: start, answer: 200 * time.Millisecond}, {start: start, refuse: errFull}}
		out, err := p.Run(t.Context(), start, []Submitter{fakes[0], fakes[1], fakes[2]})
		if err != nil || out.Sent != p.Txs || out.Refused != fakes[2].took || !errors.Is(out.Why, errFull) || len(out.Hashes) != p.Txs-out.Refused {
			t.Errorf("Run() = %d sent, %d refused for %v, %v", out.Sent, out.Refused, out.Why, err)
		}
		for i, b := range p.Batches[0] {
			if fakes[0].at[i] != b.At {
				t.Errorf("batch %d left at %v, its time is %v", i, fakes[0].at[i], b.At)
			}
		}
		if out.Late <= 0 || out.Late > time.Second {
			t.Errorf("late by %v, want what the slow node's answers cost", out.Late)
		}
	})
}

func TestRunEndsWithABrokenNode(t *testing.T) {
	p := plan(t, spec(func(s *experiment.Spec) { s.Load.Blocks, s.Net.Nodes = 4, 2 }), 1)
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		errGone := errors.New("connection refused")
		_, err := p.Run(t.Context(), start, []Submitter{&fakeNode{start: start}, &fakeNode{start: start, broken: errGone}})
		if !errors.Is(err, errGone) || time.Since(start) > time.Second {
			t.Errorf("Run() = %v after %v, want the node's error at once", err, time.Since(start))
		}
	})
}

func BenchmarkPlan(b *testing.B) {
	s := spec(nil)
	for b.Loop() {
		if _, err := New(s, 1, 1337); err != nil {
			b.Fatal(err)
		}
	}
}
