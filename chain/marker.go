package chain

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// marker keeps the head marker. The file is one; tests put it on a simulated
// disk; without a folder there is none.
type marker interface {
	read() ([]byte, error) // fs.ErrNotExist if it was never written
	write(raw []byte) error
}

// fileMarker is the file "head" beside the database.
type fileMarker struct {
	path      string
	failpoint func(string)
}

func newFileMarker(dir string, failpoint func(string)) fileMarker {
	return fileMarker{filepath.Join(dir, "head"), failpoint}
}

func (m fileMarker) read() ([]byte, error) { return os.ReadFile(m.path) }

func (m fileMarker) write(raw []byte) error {
	return replaceFile(m.path, raw, func() { m.failpoint(failMarkWritten) })
}

// noMarker is for a chain in memory, which has nothing to survive.
type noMarker struct{}

func (noMarker) read() ([]byte, error) { return nil, fs.ErrNotExist }
func (noMarker) write([]byte) error    { return nil }

// replaceFile replaces a file so that after any crash it holds the old or the
// new bytes: write beside it, fsync, rename, fsync the folder.
func replaceFile(path string, raw []byte, beforeRename func()) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	beforeRename()
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
