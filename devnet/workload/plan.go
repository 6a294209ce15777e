package workload

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/ethereum/go-ethereum/core/types"
	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/devnet/accounts"
	"github.com/pheme-net/pheme/devnet/experiment"
)

const (
	gwei = 1_000_000_000
	// maxQueued is how many transactions of one sender may wait in a pool at once: below the gap of
	// 64 nonces that a pool takes while gossip reorders them.
	maxQueued = 48
	// listHead and itemHead are what RLP adds to a block's list and to each transaction of it.
	listHead, itemHead = 4, 3
)

// Plan is every submission of a run, signed. Times count from the start of the workload, which is
// one slot before the first warm-up block; it goes on to the end of the last counted slot.
type Plan struct {
	Senders []accounts.Account // to be funded in the genesis
	Batches [][]Batch          // by node, in order of time
	Txs     int                // of all batches
	TxSize  int                // bytes of one, at most
	Length  time.Duration      // of the workload
	// Blocks are what is placed in pools, where nothing is submitted: by slot, from the first warm-up
	// slot on, the transactions of one block.
	Blocks [][][]byte
}

// Batch is what one node is given in one call.
type Batch struct {
	At  time.Duration
	Raw [][]byte
}

// entry is a transaction before it is signed.
type entry struct {
	at     time.Duration
	node   int
	sender int
	nonce  uint64
	tip    int64
}

// New plans and signs the workload of a resolved experiment on a chain.
func New(spec experiment.Spec, seed int64, chainID uint64) (*Plan, error) {
	rng := rand.New(rand.NewPCG(uint64(seed), 0x776f726b6c6f6164))
	p := &Plan{TxSize: txSize(spec), Batches: make([][]Batch, spec.Net.Nodes)}
	p.Length = time.Duration(slots(spec)) * spec.Chain.Slot.D()
	if spec.Load.Placed() {
		return p, p.place(spec, seed, chainID)
	}
	times := schedule(spec, rng)
	p.Txs = len(times)
	waiting := 2 * spec.TxsPerBlock() // two blocks' worth may wait
	if spec.Load.Work == experiment.WorkTxs {
		waiting = p.Txs // nothing takes them away
	}
	perNode := (waiting + spec.Net.Nodes - 1) / spec.Net.Nodes
	senders := max(1, (perNode+maxQueued-1)/maxQueued)
	var err error
	if p.Senders, err = accounts.Derive(accounts.Mnemonic, senders*spec.Net.Nodes); err != nil {
		return nil, err
	}
	entries := assign(times, spec.Net.Nodes, senders, rng)
	raws, err := sign(entries, p.Senders, p.TxSize, chainID, seed)
	if err != nil {
		return nil, err
	}
	for i, e := range entries {
		all := &p.Batches[e.node]
		if n := len(*all); n == 0 || (*all)[n-1].At != e.at {
			*all = append(*all, Batch{At: e.at})
		}
		last := &(*all)[len(*all)-1]
		last.Raw = append(last.Raw, raws[i])
	}
	return p, nil
}

// txSize is the size that lets TxsPerBlock transactions fill a block to its last bytes, but not
// more than was asked for.
func txSize(spec experiment.Spec) int {
	if spec.Load.Work == experiment.WorkTxs {
		return int(spec.Load.TxSize)
	}
	fit := (int(spec.Chain.BlockSize)-listHead)/spec.TxsPerBlock() - itemHead
	return min(int(spec.Load.TxSize), fit)
}

// slots is how many slots the workload lasts.
func slots(spec experiment.Spec) int { return 1 + spec.Load.Warmup + spec.Slots() }

// schedule is when each transaction is submitted: where there are blocks, one block's worth at once,
// so that pools are a block ahead from then on, then the rate. Uniform arrivals are each somewhere
// in a stretch of their own; Poisson's are independent of each other. Times are whole ticks, in
// order.
func schedule(spec experiment.Spec, rng *rand.Rand) (times []time.Duration) {
	slot, tick := spec.Chain.Slot.D(), spec.Load.Tick.D()
	perSlot := spec.Load.TxRate * slot.Seconds()
	if spec.Load.Work == experiment.WorkBlocks {
		for range min(spec.TxsPerBlock(), int(perSlot+0.5)) {
			times = append(times, 0)
		}
	}
	length := float64(slots(spec)) * float64(slot)
	if spec.Load.Arrival == "poisson" {
		gap := float64(time.Second) / spec.Load.TxRate
		for at := rng.ExpFloat64() * gap; at < length; at += rng.ExpFloat64() * gap {
			times = append(times, time.Duration(at)/tick*tick)
		}
		return times
	}
	total := int(perSlot*float64(slots(spec)) + 0.5)
	for i := range total {
		at := (float64(i) + rng.Float64()) / float64(total) * length
		times = append(times, time.Duration(at)/tick*tick)
	}
	return times
}

// assign spreads the transactions over nodes in seeded rounds, each round giving every node one,
// and over each node's senders in turn. Older transactions tip more.
func assign(times []time.Duration, nodes, senders int, rng *rand.Rand) []entry {
	entries := make([]entry, len(times))
	nonces := make([]uint64, nodes*senders)
	given := make([]int, nodes)
	var round []int
	for i, at := range times {
		if len(round) == 0 {
			round = rng.Perm(nodes)
		}
		node := round[0]
		round = round[1:]
		sender := node*senders + given[node]%senders
		given[node]++
		entries[i] = entry{at: at, node: node, sender: sender, nonce: nonces[sender], tip: gwei + int64(len(times)-i)}
		nonces[sender]++
	}
	return entries
}

// sign makes the signed transactions on all cores.
func sign(entries []entry, senders []accounts.Account, size int, chainID uint64, seed int64) ([][]byte, error) {
	raws := make([][]byte, len(entries))
	signer := types.LatestSignerForChainID(new(big.Int).SetUint64(chainID))
	workers := runtime.GOMAXPROCS(0)
	var g errgroup.Group
	for w := range workers {
		g.Go(func() (err error) {
			for i := w; i < len(entries) && err == nil; i += workers {
				raws[i], err = signOne(entries[i], senders, size, signer, rand.New(rand.NewPCG(uint64(seed), uint64(i))))
			}
			return err
		})
	}
	return raws, g.Wait()
}

// signOne makes a transfer of one wei to the next sender with random data, so that its encoding has
// exactly size bytes, or a byte or two less where a signature turns out short.
func signOne(e entry, senders []accounts.Account, size int, signer types.Signer, rng *rand.Rand) ([]byte, error) {
	to := senders[(e.sender+1)%len(senders)].Address
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(1 + rng.IntN(255)) // no zero: every byte costs the same gas
	}
	length := max(0, size-130) // about what surrounds the data
	for try := range 16 {
		if try > 1 {
			data[0] = data[0]%255 + 1 // another signature: this one was unusually short
		}
		tx, err := types.SignNewTx(senders[e.sender].Key, signer, &types.DynamicFeeTx{
			ChainID: signer.ChainID(), Nonce: e.nonce, GasTipCap: big.NewInt(e.tip), GasFeeCap: big.NewInt(10 * gwei),
			Gas: 21_000 + 16*uint64(length), To: &to, Value: big.NewInt(1), Data: data[:length],
		})
		if err != nil {
			return nil, fmt.Errorf("sign transaction: %w", err)
		}
		raw, err := tx.MarshalBinary()
		if err != nil {
			return nil, fmt.Errorf("encode transaction: %w", err)
		}
		gap := size - len(raw)
		if gap == 0 || length == 0 || gap > 0 && gap <= 2 {
			return raw, nil
		}
		length = max(0, min(size, length+gap))
	}
	return nil, fmt.Errorf("workload: no transaction of %d bytes could be made", size)
}
