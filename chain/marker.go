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
	write(m headMark) error
}

// fileMarker is the file "head" beside the database. It has two slots, a page
// each, and commit n goes to slot n mod 2: a crash can spoil the older of the two
// at most, and one fsync of a page that is there makes a marker durable, where a
// new file takes its place with two, of names too.
type fileMarker struct {
	path      string
	failpoint func(string)
}

func newFileMarker(dir string, failpoint func(string)) fileMarker {
	return fileMarker{filepath.Join(dir, "head"), failpoint}
}

func (m fileMarker) read() ([]byte, error) { return os.ReadFile(m.path) }

func (m fileMarker) write(h headMark) error {
	f, err := os.OpenFile(m.path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return m.renew(h)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteAt(h.encode(), h.at())
	m.failpoint(failMarkWritten)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// renew makes h the only marker.
func (m fileMarker) renew(h headMark) error {
	return replaceFile(m.path, markFile(h), func() { m.failpoint(failMarkWritten) })
}

// noMarker is for a chain in memory, which has nothing to survive.
type noMarker struct{}

func (noMarker) read() ([]byte, error) { return nil, fs.ErrNotExist }
func (noMarker) write(headMark) error  { return nil }

// ReplaceFile writes a file, readable by its owner alone, so that after any crash it
// holds the old bytes, if there were any, or the new ones.
func ReplaceFile(path string, raw []byte) error { return replaceFile(path, raw, func() {}) }

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
