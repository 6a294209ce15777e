package chain

import (
	"os"
	"sync/atomic"

	"github.com/syndtr/goleveldb/leveldb/storage"
)

// openStorage opens LevelDB's file storage in dir.
func openStorage(dir string) (storage.Storage, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	st, err := storage.OpenFile(dir, false)
	if err != nil {
		return nil, err
	}
	return &namedStorage{Storage: st, syncNames: func() error { return syncDir(dir) }}, nil
}

// namedStorage makes the name of a new file durable with its bytes. LevelDB
// syncs the folder only when it changes its manifest, so on file systems where
// fsync of a file does not cover its name, a power cut could lose a whole log.
type namedStorage struct {
	storage.Storage
	syncNames func() error
}

// Create implements storage.Storage.
func (s *namedStorage) Create(fd storage.FileDesc) (storage.Writer, error) {
	w, err := s.Storage.Create(fd)
	if err != nil {
		return nil, err
	}
	return &namedWriter{Writer: w, syncNames: s.syncNames}, nil
}

// namedWriter syncs the folder at the first sync of its file.
type namedWriter struct {
	storage.Writer
	syncNames func() error
	named     atomic.Bool
}

// Sync implements storage.Writer.
func (w *namedWriter) Sync() error {
	if err := w.Writer.Sync(); err != nil {
		return err
	}
	if w.named.Load() {
		return nil
	}
	if err := w.syncNames(); err != nil {
		return err
	}
	w.named.Store(true)
	return nil
}
