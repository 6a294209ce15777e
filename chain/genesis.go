package chain

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/big"
	"os"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/holiman/uint256"
)

// Limits that no genesis may raise, and defaults of its optional fields.
const (
	MaxTxBytes    = 32 << 10 // one encoded transaction
	MaxBlockBytes = 4 << 20  // the encoded transactions of one block
	MaxExtraBytes = 32       // label in a header's extraData

	defaultSlotMS   = 2000
	minSlotMS       = 100
	maxSlotMS       = 24 * 3600 * 1000
	defaultBaseFee  = 1_000_000_000 // wei: 1 gwei
	defaultGasLimit = 1_000_000_000 // a full block of the smallest transfers (105 bytes, 21,000 gas) needs 0.84e9
	maxProposers    = 1024
	maxGenesisBytes = 256 << 20
)

// Genesis fixes a network: every field is committed to by the id of block 0, so
// two nodes agree on all of it or are on different networks.
type Genesis struct {
	ChainID       uint64
	TimeMS        uint64 // unix time of slot 0, milliseconds
	SlotMS        uint64 // length of a slot, milliseconds
	Proposers     []common.Address
	BaseFee       *uint256.Int // wei per gas, constant, burned
	GasLimit      uint64       // gas of one block
	MaxBlockBytes uint64       // encoded transactions of one block
	Label         string       // extraData of block 0, at most 32 bytes
	Alloc         map[common.Address]*uint256.Int
}

// ReadGenesis reads and validates a genesis file.
func ReadGenesis(path string) (*Genesis, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("genesis file %s does not exist: make one with `pheme genesis` or pass --genesis: %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read genesis: %w", err)
	}
	if info.Size() > maxGenesisBytes {
		return nil, fmt.Errorf("%w: %s has %d bytes, at most %d", ErrInvalidGenesis, path, info.Size(), maxGenesisBytes)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read genesis: %w", err)
	}
	g, err := DecodeGenesis(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return g, nil
}

// setDefaults fills the optional fields.
func (g *Genesis) setDefaults() {
	if g.SlotMS == 0 {
		g.SlotMS = defaultSlotMS
	}
	if g.BaseFee == nil {
		g.BaseFee = uint256.NewInt(defaultBaseFee)
	}
	if g.GasLimit == 0 {
		g.GasLimit = defaultGasLimit
	}
	if g.MaxBlockBytes == 0 {
		g.MaxBlockBytes = MaxBlockBytes
	}
}

// Validate names the first field that cannot be used.
func (g *Genesis) Validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrInvalidGenesis, fmt.Sprintf(format, args...))
	}
	switch {
	case g.ChainID == 0 || g.ChainID > math.MaxInt64/4:
		return bad("chainId %d must be between 1 and %d", g.ChainID, math.MaxInt64/4)
	case g.TimeMS == 0 || g.TimeMS > math.MaxInt64/2:
		return bad("timeMs must be the unix time of slot 0 in milliseconds")
	case g.SlotMS < minSlotMS || g.SlotMS > maxSlotMS:
		return bad("slotMs %d must be between %d and %d", g.SlotMS, minSlotMS, maxSlotMS)
	case len(g.Proposers) == 0 || len(g.Proposers) > maxProposers:
		return bad("proposers has %d addresses, must have between 1 and %d", len(g.Proposers), maxProposers)
	case g.BaseFee == nil || g.BaseFee.BitLen() > 128:
		return bad("baseFee must be a number of wei below 2^128")
	case g.GasLimit < 21_000 || g.GasLimit > math.MaxInt64:
		return bad("gasLimit %d must be at least 21000", g.GasLimit)
	case g.MaxBlockBytes < 1024 || g.MaxBlockBytes > MaxBlockBytes:
		return bad("maxBlockBytes %d must be between 1024 and %d", g.MaxBlockBytes, MaxBlockBytes)
	case len(g.Label) > MaxExtraBytes:
		return bad("label has %d bytes, at most %d", len(g.Label), MaxExtraBytes)
	}
	seen := make(map[common.Address]bool, len(g.Proposers))
	for _, p := range g.Proposers {
		if p == (common.Address{}) {
			return bad("proposers holds the zero address")
		}
		if seen[p] {
			return bad("proposers names %s twice", p)
		}
		seen[p] = true
	}
	total := new(uint256.Int)
	for addr, amount := range g.Alloc {
		if amount == nil {
			return bad("alloc of %s has no amount", addr)
		}
		if _, overflow := total.AddOverflow(total, amount); overflow {
			return bad("alloc adds up to 2^256 wei or more")
		}
	}
	return nil
}

// Header is the header of block 0. Its MixDigest, zero in every other block,
// commits to the fields that have no place of their own in a header.
func (g *Genesis) Header() *types.Header { return g.headerOver(g.state()) }

// headerOver is Header for a state that is at hand.
func (g *Genesis) headerOver(st State) *types.Header {
	return &types.Header{
		UncleHash:   types.EmptyUncleHash,
		TxHash:      types.EmptyTxsHash,
		ReceiptHash: types.EmptyReceiptsHash,
		Root:        st.Root(),
		Difficulty:  new(big.Int),
		Number:      new(big.Int),
		GasLimit:    g.GasLimit,
		Time:        g.TimeMS / 1000,
		Extra:       []byte(g.Label),
		MixDigest:   crypto.Keccak256Hash(g.commitment()),
		BaseFee:     g.BaseFee.ToBig(),
	}
}

// commitment is the RLP of every field but Alloc, which the state root holds.
func (g *Genesis) commitment() []byte {
	raw, err := rlp.EncodeToBytes([]any{
		"pheme genesis 1", g.ChainID, g.TimeMS, g.SlotMS, g.Proposers, g.BaseFee, g.GasLimit, g.MaxBlockBytes, g.Label,
	})
	if err != nil {
		panic(err) // the fields are fixed and all of them encode
	}
	return raw
}

// state is the state after block 0.
func (g *Genesis) state() State {
	changes := make([]Change, 0, len(g.Alloc))
	for addr, amount := range g.Alloc {
		changes = append(changes, Change{Addr: addr, Account: Account{Balance: *amount}})
	}
	return State{}.With(changes)
}

// Hash is the id of block 0. It hashes the whole alloc: keep the result.
func (g *Genesis) Hash() common.Hash { return g.Header().Hash() }

// Network is the first 8 hex digits of Hash, the part of every topic and
// protocol name that keeps two networks apart.
func (g *Genesis) Network() string { return networkOf(g.Hash()) }

func networkOf(id common.Hash) string { return hex.EncodeToString(id[:4]) }

// SlotDuration is the length of one slot.
func (g *Genesis) SlotDuration() time.Duration { return time.Duration(g.SlotMS) * time.Millisecond }

// SlotAt is the slot that t falls in; 0 before the genesis time.
func (g *Genesis) SlotAt(t time.Time) uint64 {
	ms := t.UnixMilli()
	if ms < 0 || uint64(ms) < g.TimeMS {
		return 0
	}
	return (uint64(ms) - g.TimeMS) / g.SlotMS
}

// SlotStart is the instant at which a slot begins.
func (g *Genesis) SlotStart(slot uint64) time.Time {
	return time.UnixMilli(int64(g.slotMilli(min(slot, g.maxSlot()))))
}

// Proposer is the address whose turn a slot is.
func (g *Genesis) Proposer(slot uint64) common.Address {
	return g.Proposers[slot%uint64(len(g.Proposers))]
}

// IsProposer tells whether addr has any turn at all.
func (g *Genesis) IsProposer(addr common.Address) bool { return slices.Contains(g.Proposers, addr) }

func (g *Genesis) slotMilli(slot uint64) uint64 { return g.TimeMS + slot*g.SlotMS }

// maxSlot is the last slot whose start is a valid time in milliseconds.
func (g *Genesis) maxSlot() uint64 { return (math.MaxInt64/2 - 1) / g.SlotMS / 2 }
