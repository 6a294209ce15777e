package mempool

import (
	"errors"
	"io"
	"os"
)

// disk is what the journal needs of a file system. Tests bend it.
type disk interface {
	// Open opens a file for reading and writing and makes it if it is absent.
	Open(path string) (file, error)
	// Create is Open on an empty file.
	Create(path string) (file, error)
	Rename(from, to string) error
	// SyncDir makes the names in a folder durable.
	SyncDir(dir string) error
}

type file interface {
	io.Reader
	io.WriterAt
	Truncate(size int64) error
	Sync() error
	Close() error
}

// osDisk is the file system of the machine.
type osDisk struct{}

func (osDisk) Open(path string) (file, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
}

func (osDisk) Create(path string) (file, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
}

func (osDisk) Rename(from, to string) error { return os.Rename(from, to) }

func (osDisk) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
