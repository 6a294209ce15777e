package chain

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	logging "github.com/ipfs/go-log/v2"
	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/storage"
)

var log = logging.Logger("chain")

// Config holds the settings of a Chain. A zero field means its default.
type Config struct {
	UndoBlocks  uint64  // depth of the deepest reorg; default max(4,096 blocks, 10 minutes of slots)
	PruneBodies uint64  // keep the bodies of this many newest blocks, at least UndoBlocks; 0 keeps all
	Extra       string  // extraData of built blocks, at most 32 bytes
	Shared      *Shared // where chains of one process keep their blocks; nil keeps them in the database

	marker    marker               // tests: a marker on a simulated disk
	failpoint func(string)         // tests: called at the named steps of a commit and of opening
	batch     func(*leveldb.Batch) // tests: sees what a commit is about to write
	tune      func(*opt.Options)
	unitTxs   int // tests: transactions that end a unit of lookups
	maxTold   int // tests: bytes of bodies on a side of an Update
}

// UndoWindow is UndoBlocks or, where that is 0, its default on g's network.
func (c Config) UndoWindow(g *Genesis) uint64 {
	if c.UndoBlocks > 0 {
		return c.UndoBlocks
	}
	return max(4096, uint64(10*time.Minute/g.SlotDuration()))
}

func (c Config) withDefaults(g *Genesis) (Config, error) {
	c.UndoBlocks = c.UndoWindow(g)
	if c.PruneBodies > 0 {
		c.PruneBodies = max(c.PruneBodies, c.UndoBlocks)
	}
	if len(c.Extra) > MaxExtraBytes {
		return c, fmt.Errorf("chain: Extra has %d bytes, at most %d", len(c.Extra), MaxExtraBytes)
	}
	if c.unitTxs == 0 {
		c.unitTxs = unitTxs
	}
	if c.maxTold == 0 {
		c.maxTold = maxTold
	}
	if c.failpoint == nil {
		c.failpoint = func(string) {}
	}
	if c.batch == nil {
		c.batch = func(*leveldb.Batch) {}
	}
	return c, nil
}

// Chain is the block store, the state and the fork choice.
//
// One writer at a time holds the token of turn: Add, and Close. Readers never
// wait for it: the head and its state are one immutable value, everything older
// is read from the database.
type Chain struct {
	cfg       Config
	g         *Genesis
	genesisID common.Hash
	store     *store
	lock      *dirLock
	turn      chan struct{}

	view     atomic.Pointer[view]
	unit     atomic.Pointer[unit] // the open one; see lookup.go
	damage   atomic.Pointer[error]
	watchers watchers
	skew     atomic.Int64 // of our clock, nanoseconds; see SetSkew
	past     *past

	mu     sync.Mutex // guards index and pivots; never held across I/O or a signature check
	index  *index
	pivots []pivot // oldest first

	// Owned by the writer.
	disk    diskState     // accounts on disk
	bodies  bodiesFrom    // see prune
	told    *SignedHeader // head as of the last Update that was returned
	pending func()        // takes a commit whose outcome is unknown into memory
}

// view is the head with its state.
type view struct {
	head  *SignedHeader
	state State
}

// Open opens or creates the chain in dir, which holds the lock, the head marker
// and the database; "" keeps everything in memory. st, if not nil, is used in
// place of files in dir and is not closed. Open verifies what it finds and
// refuses a damaged store with ErrCorrupt: see Repair.
func Open(cfg Config, g *Genesis, dir string, st storage.Storage) (*Chain, error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	cfg, err := cfg.withDefaults(g)
	if err != nil {
		return nil, err
	}
	c := newChain(cfg, g)
	if err := c.open(dir, st); err != nil {
		err = errors.Join(err, c.release())
		if errors.Is(err, ErrCorrupt) {
			err = fmt.Errorf("%s: %w: run `pheme node --repair` on this data dir", dir, err)
		}
		return nil, err
	}
	return c, nil
}

// newChain allocates; cfg has its defaults.
func newChain(cfg Config, g *Genesis) *Chain {
	return &Chain{cfg: cfg, g: g, turn: make(chan struct{}, 1), index: newIndex(cfg.UndoBlocks), past: newPast()}
}

func (c *Chain) open(dir string, st storage.Storage) error {
	if dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make data dir: %w", err)
		}
		var err error
		if c.lock, err = lockDir(dir); err != nil {
			return err
		}
	}
	mark := c.cfg.marker
	switch {
	case mark != nil:
	case dir == "":
		mark = noMarker{}
	default:
		mark = newFileMarker(dir, c.cfg.failpoint)
	}
	database := ""
	if dir != "" {
		database = filepath.Join(dir, databaseDir)
	}
	if _, err := mark.read(); err == nil && st == nil && !exists(database) {
		return fmt.Errorf("%w: the database is missing, but a head marker lies beside it", ErrCorrupt)
	}
	if err := c.openStore(database, st, mark); err != nil {
		return err
	}
	c.cfg.failpoint(failOpenDB)
	if err := c.load(); err != nil {
		return err
	}
	c.cfg.failpoint(failOpenDone)
	return nil
}

// openStore opens the database in a folder, or in memory.
func (c *Chain) openStore(folder string, st storage.Storage, mark marker) error {
	c.store = &store{
		folder: folder, stor: st, mark: mark, shared: c.cfg.Shared, failpoint: c.cfg.failpoint, batch: c.cfg.batch, opts: databaseOptions(folder == ""),
	}
	if c.cfg.tune != nil {
		c.cfg.tune(&c.store.opts)
	}
	c.cfg.failpoint(failOpenBegin)
	if st == nil {
		if err := c.store.openStorage(); err != nil {
			return fmt.Errorf("open store: %w", err)
		}
	}
	return c.store.openDB()
}

// Close ends the chain; further calls give ErrClosed or nothing. One goroutine of
// LevelDB's, which empties its pool of buffers, lives on for up to a second.
func (c *Chain) Close() error {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	return c.release()
}

func (c *Chain) release() error {
	var err error
	if c.store != nil {
		err = c.store.close()
	}
	if c.lock != nil {
		err = errors.Join(err, c.lock.unlock())
		c.lock = nil
	}
	return err
}

// load brings the head, the state and the undo window into memory and verifies
// them: the commit records, the marker, the state root, the canonical index.
func (c *Chain) load() error {
	s := c.store
	newest, err := s.newest()
	if err != nil {
		return err
	}
	rawMark, markErr := s.mark.read()
	if newest == (record{}) {
		if !errors.Is(markErr, fs.ErrNotExist) {
			return fmt.Errorf("%w: the database is empty, but a head marker lies beside it", ErrCorrupt)
		}
		return c.create()
	}
	if err := c.checkMeta(); err != nil {
		return err
	}
	if err := c.verifyOpen(newest, rawMark, markErr); err != nil {
		return err
	}
	s.last = newest
	if err := c.loadHead(newest); err != nil {
		return err
	}
	s.putMark()
	return nil
}

// create writes block 0.
func (c *Chain) create() error {
	st := c.firstState()
	sh, err := NewSignedHeader(c.g.headerOver(st), [signatureBytes]byte{})
	if err != nil {
		return err
	}
	b := assemble(sh, nil)
	if c.cfg.Shared != nil {
		b = c.cfg.Shared.take(b)
	}
	batch := new(leveldb.Batch)
	batch.Put([]byte{tableMeta}, encodeRLP(meta{Version: formatVersion, Genesis: sh.id, Network: networkOf(sh.id)}))
	c.store.putBlock(batch, b)
	putCanonical(batch, b, nil)
	c.disk = c.putTable(batch, st, 0, true)
	c.unit.Store(&unit{first: 1})
	if err := c.store.commit(batch, sh.id, 0); err != nil {
		return err
	}
	c.genesisID = sh.id
	e := &entry{SignedHeader: sh, status: stored}
	c.index.put(e)
	c.index.head, c.told = e, sh
	c.view.Store(&view{sh, st})
	return nil
}

// Genesis is the genesis the chain was opened with.
func (c *Chain) Genesis() *Genesis { return c.g }

// GenesisID is the id of block 0.
func (c *Chain) GenesisID() common.Hash { return c.genesisID }

// Network is Genesis.Network, known without hashing.
func (c *Chain) Network() string { return networkOf(c.genesisID) }

// Head is the header of the head. The caller must not change it.
func (c *Chain) Head() *types.Header { return c.view.Load().head.header }

// HeadID is the id of the head.
func (c *Chain) HeadID() common.Hash { return c.view.Load().head.id }

// Weight is the weight of the head: its number of blocks from genesis.
func (c *Chain) Weight() uint64 { return c.view.Load().head.Number() }

// State is the state at the head: an immutable view that stays whole when the
// head moves.
func (c *Chain) State() State { return c.view.Load().state }

// Damage is the first damage that a read of the store met, nil while there is none.
func (c *Chain) Damage() error {
	if err := c.damage.Load(); err != nil {
		return *err
	}
	return nil
}

// note keeps and logs the first error of a reader that has no error result. Trouble
// that passes, as while the storage is not open, is no damage.
func (c *Chain) note(err error) {
	if err == nil || errors.Is(err, ErrClosed) || errors.Is(err, ErrPruned) || errors.Is(err, ErrStorage) || wasClosed(err) {
		return
	}
	if c.damage.CompareAndSwap(nil, &err) {
		log.Errorw("store is not readable", "err", err)
	}
}
