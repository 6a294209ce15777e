package chain

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/ethereum/go-ethereum/common"
	"github.com/syndtr/goleveldb/leveldb"
	lerrors "github.com/syndtr/goleveldb/leveldb/errors"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/storage"
	"github.com/syndtr/goleveldb/leveldb/table"
	"github.com/syndtr/goleveldb/leveldb/util"
)

// Steps of a commit and of opening at which a test may end the process.
const (
	failCommitBegin = "commit/begin"
	failCommitDone  = "commit/batch-durable"
	failMarkWritten = "commit/marker-written"
	failMarkDone    = "commit/marker-durable"
	failHeal        = "commit/reopen"
	failOpenBegin   = "open/begin"
	failOpenDB      = "open/database-open"
	failOpenDone    = "open/verified"
)

// databaseDir is the folder of the LevelDB inside the data dir.
const databaseDir = "db"

// store is LevelDB with commit records, the head marker and reopening. Reads may
// come from any goroutine; commit and reopen from the one writer.
type store struct {
	folder    string // of the database; "" without files
	stor      storage.Storage
	ownStor   bool
	lazy      bool // commits are not synced
	opts      opt.Options
	mark      marker
	shared    *Shared // holds the bodies, if not nil
	failpoint func(string)
	batch     func(*leveldb.Batch)
	db        atomic.Pointer[handle]
	pruned    atomic.Uint64 // bodies of lower numbers are gone, but for block 0

	// Owned by the writer.
	last   record // newest durable commit
	try    record // commit whose outcome is unknown while broken
	broken bool   // a write failed: the handle takes no more
}

// handle is one opening of the database. A nil DB stands for a database that
// could not be reopened.
type handle struct {
	*leveldb.DB
	next chan struct{} // closed when the store has another handle, or none any more
}

// databaseOptions sets what differs from LevelDB's own defaults.
func databaseOptions(memory bool) opt.Options {
	o := opt.Options{
		WriteBuffer:            8 << 20, // holds a full 4 MiB block with its index
		OpenFilesCacheCapacity: 128,     // tables: well inside the usual limit of 1,024 open files
		BlockCacheCapacity:     4 << 20, // the state is in memory, so only old blocks and lookups are read
		CompactionTableSize:    8 << 20, // fewer files for bodies, which are most of the bytes
		// A batch above the buffer would go through a transaction, whose write lock
		// stays taken for ever when it fails: Close would hang, so no reopening.
		DisableLargeBatchTransaction: true,
	}
	if memory {
		o.WriteBuffer = 48 << 10 // allocated at once: a thousand nodes share one process in virtual time
		o.BlockCacheCapacity = 64 << 10
		o.CompactionTableSize = 1 << 20
	}
	return o
}

// openStorage opens the storage of the store's own: files, or memory.
func (s *store) openStorage() error {
	if s.folder == "" {
		s.stor = storage.NewMemStorage()
	} else {
		st, err := openStorage(s.folder)
		if err != nil {
			return err
		}
		s.stor = st
	}
	s.ownStor = true
	return nil
}

// openDB opens the database, and creates it only where nothing can be lost.
func (s *store) openDB() error {
	o := s.opts
	tables, err := s.stor.List(storage.TypeTable)
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	_, err = s.mark.read()
	o.ErrorIfMissing = len(tables) > 0 || !errors.Is(err, fs.ErrNotExist)
	if !o.ErrorIfMissing {
		if err := s.dropBegun(); err != nil {
			return fmt.Errorf("open store: %w", err)
		}
	}
	db, err := leveldb.Open(s.stor, &o)
	switch {
	case err == nil:
		s.db.Store(&handle{db, make(chan struct{})})
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: the database in %s is missing", ErrCorrupt, s.where())
	}
	return s.damage(err)
}

// dropBegun removes what a crash left of a database whose making it cut short: a manifest that no CURRENT
// names, and with which LevelDB would not open. A log is made after that, so where there is one nothing is removed.
func (s *store) dropBegun() error {
	if logs, err := s.stor.List(storage.TypeJournal); err != nil || len(logs) > 0 {
		return err
	}
	if _, err := s.stor.GetMeta(); err == nil || !errors.Is(err, fs.ErrNotExist) && !isDamage(err) {
		return err
	}
	begun, err := s.stor.List(storage.TypeAll)
	if err != nil {
		return err
	}
	for _, fd := range begun {
		if err := s.stor.Remove(fd); err != nil {
			return err
		}
	}
	if s.folder == "" {
		return nil
	}
	names, err := filepath.Glob(filepath.Join(s.folder, "CURRENT*"))
	for _, name := range names {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

func (s *store) where() string {
	if s.folder == "" {
		return "memory"
	}
	return s.folder
}

// damage names LevelDB's own findings ErrCorrupt, with the file they are in.
func (s *store) damage(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrInvalid) {
		return err
	}
	if isDamage(err) {
		return fmt.Errorf("%w: %s: %w", ErrCorrupt, s.where(), err)
	}
	return fmt.Errorf("%s: %w", s.where(), err)
}

// isDamage finds LevelDB's kinds of corruption anywhere in err.
func isDamage(err error) bool {
	var (
		a *lerrors.ErrCorrupted
		b *storage.ErrCorrupted
		c *table.ErrCorrupted
	)
	return errors.As(err, &a) || errors.As(err, &b) || errors.As(err, &c)
}

// handle is the open database, or the reason why there is none.
func (s *store) handle() (*handle, error) {
	h := s.db.Load()
	if h == nil {
		return nil, ErrClosed
	}
	if h.DB == nil {
		return nil, fmt.Errorf("%w: %s could not be reopened", ErrStorage, s.where())
	}
	return h, nil
}

// get reads one value; nil, nil when there is none. While the writer reopens the
// database it waits for the new handle.
func (s *store) get(key []byte) ([]byte, error) {
	for {
		h, err := s.handle()
		if err != nil {
			return nil, err
		}
		v, err := h.Get(key, nil)
		switch {
		case err == nil:
			return v, nil
		case errors.Is(err, leveldb.ErrNotFound):
			return nil, nil
		case wasClosed(err):
			<-h.next
			continue
		}
		return nil, s.damage(err)
	}
}

// wasClosed tells whether a read failed only because the database was closed meanwhile.
func wasClosed(err error) bool {
	return errors.Is(err, leveldb.ErrClosed) || errors.Is(err, table.ErrReaderReleased)
}

// iterate walks the keys that begin with prefix, in order, from the first that
// is not below from. Key and value are valid only during the call of f. Like get it
// waits while the writer reopens the database, and goes on behind the last key.
func (s *store) iterate(prefix, from []byte, f func(key, value []byte) error) error {
	var next []byte // the first key behind the last one
	for {
		h, err := s.handle()
		if err != nil {
			return err
		}
		err = walk(h, prefix, from, func(key, value []byte) error {
			next = append(append(next[:0], key...), 0)
			return f(key, value)
		})
		if !wasClosed(err) {
			return s.damage(err)
		}
		<-h.next
		if next != nil {
			from = slices.Clone(next)
		}
	}
}

// walk is iterate over a database or a snapshot of one.
func walk(r leveldb.Reader, prefix, from []byte, f func(key, value []byte) error) error {
	span := util.BytesPrefix(prefix)
	if bytes.Compare(from, span.Start) > 0 {
		span.Start = from
	}
	it := r.NewIterator(span, &opt.ReadOptions{DontFillCache: true})
	defer it.Release()
	for it.Next() {
		if err := f(it.Key(), it.Value()); err != nil {
			return err
		}
	}
	return it.Error()
}

// newest is the newest commit record; the zero record of an empty database.
func (s *store) newest() (record, error) {
	h, err := s.handle()
	if err != nil {
		return record{}, err
	}
	it := h.NewIterator(util.BytesPrefix([]byte{tableCommit}), nil)
	defer it.Release()
	if !it.Last() {
		return record{}, s.damage(it.Error())
	}
	return decodeRecord(it.Value())
}

// commit makes batch durable with its record, then moves the marker. On success
// the batch survives any crash. On ErrStorage it may have become durable or not:
// the next commit or heal finds out.
func (s *store) commit(batch *leveldb.Batch, head common.Hash, number uint64) error {
	next := record{Seq: s.last.Seq + 1, Head: head, Number: number, Prev: s.last.hash()}
	if s.last == (record{}) {
		next = record{Head: head, Number: number}
	}
	batch.Put(numberKey(tableCommit, next.Seq), encodeRLP(next))
	s.batch(batch)
	s.failpoint(failCommitBegin)
	if err := s.db.Load().Write(batch, &opt.WriteOptions{Sync: !s.lazy}); err != nil {
		s.broken, s.try = true, next
		done, healErr := s.heal()
		if healErr != nil {
			return fmt.Errorf("%w: %w", ErrStorage, errors.Join(s.damage(err), healErr))
		}
		if !done {
			return fmt.Errorf("%w: %w", ErrStorage, s.damage(err))
		}
	}
	s.last = next
	s.failpoint(failCommitDone)
	s.putMark()
	s.failpoint(failMarkDone)
	return nil
}

// putMark moves the marker to the newest commit. Failing is not fatal: a
// database ahead of its marker is legal, and the next commit moves it again.
func (s *store) putMark() {
	m := headMark{Seq: s.last.Seq, Head: s.last.Head, Record: s.last.hash()}
	if err := s.mark.write(m); err != nil {
		log.Errorw("head marker not written", "seq", m.Seq, "err", err)
	}
}

// heal reopens a broken database: LevelDB's handle never takes a write again
// after one failed. It tells whether the commit with unknown outcome is in it.
func (s *store) heal() (done bool, err error) {
	if !s.broken {
		return false, nil
	}
	s.failpoint(failHeal)
	if err := s.probe(); err != nil {
		return false, err
	}
	old := s.db.Load()
	if old.DB != nil {
		_ = old.Close() // it has reported its failure already
	}
	err = s.openDB()
	if err != nil {
		if roErr := s.openReadOnly(); roErr != nil {
			err = errors.Join(err, roErr)
			s.db.Store(&handle{next: make(chan struct{})})
		}
	}
	close(old.next)
	if err != nil {
		return false, err
	}
	r, err := s.newest()
	if err != nil {
		return false, err
	}
	switch r {
	case s.try:
		done = true
	case s.last:
	default:
		return false, fmt.Errorf("%w: reopened at commit %d, expected %d", ErrCorrupt, r.Seq, s.last.Seq)
	}
	s.broken = false
	return done, nil
}

// openReadOnly keeps reads alive where the disk has no room to open for writing.
func (s *store) openReadOnly() error {
	o := s.opts
	o.ReadOnly, o.ErrorIfMissing = true, true
	db, err := leveldb.Open(s.stor, &o)
	if err != nil {
		return err
	}
	s.db.Store(&handle{db, make(chan struct{})})
	return nil
}

// probe writes a file of the size that reopening may need, so that a disk that
// is still full does not cost the open handle, which serves reads.
func (s *store) probe() error {
	if s.folder == "" {
		return nil
	}
	path := s.folder + ".probe"
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 2*s.opts.WriteBuffer))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), os.Remove(path))
}

// recordAt is the commit record with a sequence number.
func (s *store) recordAt(seq uint64) (record, error) {
	raw, err := s.get(numberKey(tableCommit, seq))
	if err != nil {
		return record{}, err
	}
	if raw == nil {
		return record{}, fmt.Errorf("%w: commit %d is missing", ErrCorrupt, seq)
	}
	return decodeRecord(raw)
}

// verifyCommits walks the commit records from one to the newest.
func (s *store) verifyCommits(from uint64, newest record) error {
	next := from
	var prev record
	err := s.iterate([]byte{tableCommit}, numberKey(tableCommit, from), func(_, raw []byte) error {
		r, err := decodeRecord(raw)
		if err != nil {
			return err
		}
		if r.Seq != next || r.Seq > from && r.Prev != prev.hash() {
			return fmt.Errorf("%w: commit %d does not follow commit %d: commits between them are lost", ErrCorrupt, r.Seq, prev.Seq)
		}
		prev = r
		next++
		return nil
	})
	if err == nil && prev != newest {
		err = fmt.Errorf("%w: commit %d is missing", ErrCorrupt, next)
	}
	return err
}

// close ends the store. Readers get ErrClosed.
func (s *store) close() error {
	var err error
	if h := s.db.Swap(nil); h != nil {
		if h.DB != nil {
			err = h.Close()
		}
		close(h.next)
	}
	if s.broken {
		err = nil // the failure was reported when it happened
	}
	if s.ownStor {
		err = errors.Join(err, s.stor.Close())
		s.ownStor = false
	}
	return err
}
