package chain

import (
	"crypto/ecdsa"
	"errors"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/syndtr/goleveldb/leveldb/storage"
)

// errUnbuilt is what the parts of Chain answer that do not stand yet.
var errUnbuilt = errors.New("chain: not built yet")

// Config holds the settings of a Chain. A zero field means its default.
type Config struct {
	UndoBlocks  uint64 // depth of the deepest reorg; default max(4,096 blocks, 10 minutes of slots)
	PruneBodies uint64 // keep the bodies of this many newest blocks; 0 keeps all
	Extra       string // extraData of built blocks, at most 32 bytes
}

// Chain is the block store, the state and the fork choice.
type Chain struct{ g *Genesis }

// Update tells what one Add changed.
type Update struct {
	Old, Head *types.Header
	Reverted  []*Block // no longer canonical, oldest first
	Applied   []*Block // newly canonical, oldest first
	Moved     bool     // Head is not Old
}

// Evidence is two blocks that one proposer signed for one slot.
type Evidence struct {
	Slot     uint64
	Proposer common.Address
	First    *SignedHeader
	Second   *SignedHeader
}

// Open opens or creates the chain in dir; "" keeps everything in memory. st, if
// not nil, is used in place of files in dir.
func Open(cfg Config, g *Genesis, dir string, st storage.Storage) (*Chain, error) {
	return nil, errUnbuilt
}

// Close ends the chain; further calls give ErrClosed.
func (c *Chain) Close() error { return errUnbuilt }

// Genesis is the genesis the chain was opened with.
func (c *Chain) Genesis() *Genesis { return c.g }

// Check is the cheap check before a block is relayed: size, slot, proposer,
// signature, parent, transactions root. No disk. It may be called by many
// goroutines. A block that passes is remembered, so its child passes before the
// block is imported. Errors: ErrInvalid and what wraps it (reject the sender);
// ErrEarly; ErrKnown, ErrTooOld, ErrUnknownParent, ErrInvalidAncestor,
// ErrEquivocation (ignore, drop or hold); ErrSecondBlock (do not relay, but Add).
func (c *Chain) Check(b *Block, now time.Time) error { return errUnbuilt }

// Add applies the full rules and stores the block in one synced batch. There is
// one writer: calls wait for each other. It runs Check's rules itself if they
// were not run. ErrBadBlock and ErrInvalidAncestor blame the proposer, never the
// peer that sent the block.
func (c *Chain) Add(b *Block) (Update, error) { return Update{}, errUnbuilt }

// Build makes a block on the head from the first of txs that fit into maxBytes
// (0 means the genesis limit) and apply, and signs it. It is not added. The
// second result are transactions that can never apply on this head: nonce too
// low, overdrawn or invalid.
func (c *Chain) Build(slot uint64, key *ecdsa.PrivateKey, txs []*Tx, maxBytes int) (*Block, []*Tx, error) {
	return nil, nil, errUnbuilt
}

// Head is the header of the head.
func (c *Chain) Head() *types.Header { return nil }

// HeadID is the id of the head.
func (c *Chain) HeadID() common.Hash { return common.Hash{} }

// Weight is the weight of the head: its number of blocks from genesis.
func (c *Chain) Weight() uint64 { return 0 }

// Has tells whether the block is imported, canonical or not.
func (c *Chain) Has(id common.Hash) bool { return false }

// HeaderByID is the header of an imported block, canonical or not.
func (c *Chain) HeaderByID(id common.Hash) *types.Header { return nil }

// HeaderByNumber is the header of a canonical block.
func (c *Chain) HeaderByNumber(n uint64) *types.Header { return nil }

// BlockByID is an imported block, canonical or not; nil without it.
func (c *Chain) BlockByID(id common.Hash) *Block { return nil }

// BlockByNumber is a canonical block; nil without it.
func (c *Chain) BlockByNumber(n uint64) *Block { return nil }

// RawBlock is the envelope of an imported block; nil without it.
func (c *Chain) RawBlock(id common.Hash) []byte { return nil }

// Lookup finds the canonical block that holds a transaction.
func (c *Chain) Lookup(tx common.Hash) (b *Block, index int, ok bool) { return nil, 0, false }

// Receipts derives the receipts of an imported block.
func (c *Chain) Receipts(id common.Hash) (types.Receipts, error) { return nil, errUnbuilt }

// State is the state at the head: an immutable view that stays whole when the head moves.
func (c *Chain) State() State { return State{} }

// Evidence lists the slots of the undo window that a proposer signed twice.
func (c *Chain) Evidence() []Evidence { return nil }

// Watch sends every Update that moved the head, after it is durable. A full
// channel misses updates. The function ends the watch.
func (c *Chain) Watch(buffer int) (<-chan Update, func()) { return nil, func() {} }
