package chain

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ethereum/go-ethereum/common"
	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"
)

// Folders of a repair beside the database.
const (
	rebuiltDir = "db.repair"  // the new database while it is being made
	damagedDir = "db.damaged" // the old one, kept after a rebuild
)

// Repaired tells what Repair did.
type Repaired struct {
	Rebuilt bool   // a new database was made from the blocks of the old one
	Kept    string // folder of the damaged database, if it was rebuilt
	Skipped uint64 // stored blocks that could not be read or did not verify
	Head    uint64 // number of the head
	HeadID  common.Hash
}

// Repair brings a damaged data dir back to the longest prefix of its chain that
// verifies, with no other process on it. If the database turns out whole, such
// as one that lost its last commits or its head marker, it is kept. Otherwise
// every block that can still be read is imported into a new database under all
// rules, and the damaged one is kept beside it. Blocks that are lost come back
// from peers.
//
// It fails, and changes nothing, where the disk gives errors of its own: what it cannot
// read then may be good. It refuses with ErrPruned where the bodies that a rebuild needs are pruned, and
// with ErrWrongNetwork, ErrNewerFormat or ErrOlderFormat like Open. After a crash, run it again.
func Repair(ctx context.Context, cfg Config, g *Genesis, dir string) (Repaired, error) {
	if err := g.Validate(); err != nil {
		return Repaired{}, err
	}
	cfg, err := cfg.withDefaults(g)
	if err != nil {
		return Repaired{}, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return Repaired{}, err
	}
	r := &repairer{cfg: cfg, g: g, dir: dir}
	out, err := r.run(ctx)
	return out, errors.Join(err, lock.unlock())
}

type repairer struct {
	cfg Config
	g   *Genesis
	dir string
}

func (r *repairer) path(name string) string { return filepath.Join(r.dir, name) }

func (r *repairer) run(ctx context.Context) (Repaired, error) {
	if err := r.finishSwap(); err != nil {
		return Repaired{}, err
	}
	out, err := r.keep(ctx)
	switch {
	case err == nil, ctx.Err() != nil, errors.Is(err, ErrWrongNetwork), errors.Is(err, ErrNewerFormat), errors.Is(err, ErrOlderFormat):
		return out, err
	}
	log.Warnw("the database does not verify: rebuilding it", "reason", err)
	return r.rebuild(ctx)
}

// finishSwap ends a rebuild that was interrupted between its two renames.
func (r *repairer) finishSwap() error {
	if exists(r.path(databaseDir)) || !exists(r.path(rebuiltDir)) || !exists(r.path(damagedDir)) {
		return nil
	}
	return os.Rename(r.path(rebuiltDir), r.path(databaseDir))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// attach opens the database in a folder, without a marker. salvage reads past
// damaged blocks of tables.
func (r *repairer) attach(folder string, salvage bool) (*Chain, error) {
	cfg := r.cfg
	cfg.tune = func(o *opt.Options) {
		if r.cfg.tune != nil {
			r.cfg.tune(o)
		}
		if salvage {
			o.Strict = opt.StrictJournalChecksum | opt.StrictBlockChecksum
		}
	}
	c := newChain(cfg, r.g)
	err := c.openStore(folder, nil, noMarker{})
	if err != nil && c.store.stor != nil {
		log.Warnw("LevelDB recovers its manifest from the tables", "reason", err)
		err = c.store.recoverDB()
	}
	if err != nil {
		return nil, errors.Join(err, c.release())
	}
	return c, nil
}

// recoverDB opens a database whose manifest is gone or wrong.
func (s *store) recoverDB() error {
	db, err := leveldb.Recover(s.stor, &s.opts)
	if err != nil {
		return s.damage(err)
	}
	s.db.Store(&handle{db, make(chan struct{})})
	return nil
}

// keep verifies the database as it is, and writes its marker.
func (r *repairer) keep(ctx context.Context) (Repaired, error) {
	c, err := r.attach(r.path(databaseDir), false)
	if err != nil {
		return Repaired{}, err
	}
	err = c.load()
	if err == nil {
		_, err = c.Verify(ctx)
	}
	if err == nil {
		err = r.settle(c)
	}
	out := Repaired{}
	if err == nil {
		out.Head, out.HeadID = c.Weight(), c.HeadID()
	}
	return out, errors.Join(err, c.release())
}

// settle makes everything in c durable and writes the marker for it.
func (r *repairer) settle(c *Chain) error {
	c.store.lazy = false
	head := c.view.Load().head
	if err := c.store.commit(new(leveldb.Batch), head.id, head.Number()); err != nil {
		return err
	}
	last := c.store.last
	m := headMark{Seq: last.Seq, Head: last.Head, Record: last.hash()}
	return newFileMarker(r.dir, func(string) {}).renew(m)
}

// rebuild imports what can be read of the old database into a new one and puts
// that in its place.
func (r *repairer) rebuild(ctx context.Context) (Repaired, error) {
	if err := os.RemoveAll(r.path(rebuiltDir)); err != nil {
		return Repaired{}, fmt.Errorf("repair: %w", err)
	}
	fresh, err := r.attach(r.path(rebuiltDir), false)
	if err != nil {
		return Repaired{}, err
	}
	fresh.store.lazy = true
	out := Repaired{Rebuilt: true, Kept: r.path(damagedDir)}
	err = fresh.load()
	if err == nil {
		err = r.copyBlocks(ctx, fresh, &out)
	}
	if err == nil {
		out.Head, out.HeadID = fresh.Weight(), fresh.HeadID()
		// The marker names the new database from here on: a crash before the
		// renames leaves a mismatch, which sends the operator here again.
		err = r.settle(fresh)
	}
	if err = errors.Join(err, fresh.release()); err != nil {
		return Repaired{}, err
	}
	return out, r.swap()
}

// copyBlocks adds every readable block of the old database, by number.
func (r *repairer) copyBlocks(ctx context.Context, fresh *Chain, out *Repaired) error {
	old, err := r.attach(r.path(databaseDir), true)
	if unread(err) {
		return unreadable(err)
	}
	if err != nil {
		log.Warnw("nothing can be read of the old database", "reason", err)
		return nil
	}
	defer func() { _ = old.release() }() // it is damaged and only read
	if err := r.checkOld(old); err != nil {
		return err
	}
	h, err := old.store.handle()
	if err != nil {
		return err
	}
	it := h.NewIterator(util.BytesPrefix([]byte{tableHeader}), nil)
	defer it.Release()
	for it.Next() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		sh, err := readSignedHeader(it.Key(), it.Value())
		if err == nil && sh.Number() == 0 {
			continue
		}
		var b *Block
		if err == nil {
			if b, err = old.store.block(sh); unread(err) {
				return unreadable(err)
			}
		}
		if err == nil {
			_, err = fresh.Add(b)
		}
		switch {
		case errors.Is(err, ErrStorage):
			return err
		case err != nil:
			out.Skipped++
			log.Warnw("block skipped", "key", fmt.Sprintf("%x", it.Key()), "reason", err)
		}
	}
	if err := old.store.damage(it.Error()); unread(err) {
		return unreadable(err)
	}
	return nil
}

// unread tells whether a read of the old database failed for another reason than damage,
// such as a disk that gives an error: what was not read may be good, so nothing may
// take its place.
func unread(err error) bool {
	return err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrPruned)
}

func unreadable(err error) error {
	return fmt.Errorf("repair: the disk does not give the database, which may be good: copy the data dir to another disk and repair it there: %w", err)
}

// checkOld refuses what a rebuild cannot bring back.
func (r *repairer) checkOld(old *Chain) error {
	raw, err := old.store.get([]byte{tableMeta})
	if err == nil && raw != nil {
		if err := old.checkMeta(); err != nil {
			return err
		}
	}
	if err := old.store.loadPruned(); err == nil && old.store.pruned.Load() > 1 {
		return fmt.Errorf("%w: the bodies below block %d, so the state cannot be computed again: "+
			"move the data dir away and let the node fetch the chain from its peers", ErrPruned, old.store.pruned.Load())
	}
	return nil
}

// swap puts the rebuilt database in the place of the old one, which is kept.
func (r *repairer) swap() error {
	if exists(r.path(databaseDir)) {
		if err := os.RemoveAll(r.path(damagedDir)); err != nil {
			return fmt.Errorf("repair: %w", err)
		}
		if err := os.Rename(r.path(databaseDir), r.path(damagedDir)); err != nil {
			return fmt.Errorf("repair: %w", err)
		}
	}
	if err := os.Rename(r.path(rebuiltDir), r.path(databaseDir)); err != nil {
		return fmt.Errorf("repair: %w", err)
	}
	return syncDir(r.dir)
}
