package mempool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// journal is the file behind the pool's promise that nothing acknowledged is
// lost. It has one user at a time: whoever has the pool's turn.
//
// A record that was not written whole is cut off again or, if that fails too,
// overwritten by the next one. After any failure the file is stale: it may miss
// that a transaction left, so nothing is appended until it is rewritten.
type journal struct {
	disk  disk
	path  string
	f     file
	salt  []byte // of the file; nil while it has format 1
	size  int64  // where the next record goes
	stale error  // why the file must be rewritten before it is used again, or nil
	buf   []byte
}

// openJournal opens the journal at path, or makes one, and calls each with its
// records in order. A torn tail is cut off. A file that does not begin like a
// journal is kept under the name path.damaged, and what records it has are read.
func openJournal(d disk, path string, each func(record) bool) (*journal, scan, error) {
	f, err := d.Open(path)
	if err != nil {
		return nil, scan{}, fmt.Errorf("open journal: %w", err)
	}
	j := &journal{disk: d, path: path, f: f}
	s, err := j.read(each)
	if err == nil && j.stale == nil {
		err = j.begin(s)
	}
	if err != nil {
		return nil, s, errors.Join(err, f.Close())
	}
	return j, s, nil
}

func (j *journal) read(each func(record) bool) (scan, error) {
	line := make([]byte, lineSize)
	n, err := io.ReadFull(j.f, line)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return scan{}, fmt.Errorf("read journal %s: %w", j.path, err)
	}
	salt := readSalt(line[:n])
	rest := io.MultiReader(bytes.NewReader(line[min(n, len(journalLine1)):n]), j.f)
	switch first := string(line[:n]); {
	case strings.HasPrefix(first, journalLine1):
		return readRecords(rest, len(journalLine1), nil, each)
	case strings.HasPrefix(first, journalLine2) && salt != nil:
		j.salt = salt
		return readRecords(j.f, lineSize, salt, each)
	case strings.HasPrefix(journalLine1, first), strings.HasPrefix(journalLine2, first),
		n < lineSize && strings.HasPrefix(first, journalLine2): // new, or killed while it was made
		return scan{}, nil
	case strings.HasPrefix(first, journalLine2): // the salts are damaged
	case strings.HasPrefix(first, journalName):
		return scan{}, fmt.Errorf("%w: %s: use the pheme that wrote it, or move the file away to start with an empty pool", ErrNewerJournal, j.path)
	}
	s, err := readRecords(rest, 0, salt, each)
	s.skipped += int64(min(n, len(journalLine1)))
	if err != nil {
		return s, err
	}
	j.stale = fmt.Errorf("%s is not a journal", j.path)
	if err := j.disk.Rename(j.path, j.path+".damaged"); err != nil {
		return s, fmt.Errorf("keep damaged journal: %w", err)
	}
	return s, nil
}

// begin makes the file end behind its last whole record; a new one gets its line.
func (j *journal) begin(s scan) error {
	if j.size = s.end; j.size > 0 {
		if s.torn == 0 {
			return nil
		}
		if err := j.f.Truncate(j.size); err != nil {
			return fmt.Errorf("cut torn journal %s: %w", j.path, err)
		}
		return nil
	}
	salt := newSalt()
	_, err := j.f.WriteAt(journalLine(salt), 0)
	if err == nil {
		err = j.f.Sync()
	}
	if err == nil {
		err = j.disk.SyncDir(filepath.Dir(j.path))
	}
	if err != nil {
		return fmt.Errorf("make journal %s: %w", j.path, err)
	}
	j.salt, j.size = salt, int64(lineSize)
	return nil
}

// maxKeptBuffer is how much memory an idle journal may keep: some batches of gossip.
const maxKeptBuffer = 256 << 10

// append writes records in one write and, if sync, makes them durable.
func (j *journal) append(records []record, sync bool) error {
	if j.stale != nil {
		return j.stale
	}
	j.buf = j.buf[:0]
	for _, r := range records {
		j.buf = appendRecord(j.buf, j.salt, r)
	}
	_, err := j.f.WriteAt(j.buf, j.size)
	if err == nil && sync {
		err = j.f.Sync() // after a failure nobody knows what of the file is on disk
	}
	if err != nil {
		j.stale = err
		_ = j.f.Truncate(j.size) // best effort: a reader skips what is left
		return err
	}
	j.size += int64(len(j.buf))
	if cap(j.buf) > maxKeptBuffer {
		j.buf = nil
	}
	return nil
}

// rewrite replaces the file by one that adds just these entries. An error leaves
// the old file in use, unless it came after the exchange.
func (j *journal) rewrite(entries []*entry) error {
	tmp := j.path + ".new"
	f, err := j.disk.Create(tmp)
	if err != nil {
		return fmt.Errorf("rewrite journal: %w", err)
	}
	salt := newSalt()
	size, err := writeAll(f, salt, entries)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = j.disk.Rename(tmp, j.path)
	}
	if err != nil {
		_ = f.Truncate(0) // give the space back; a later rewrite starts from nothing anyway
		return errors.Join(fmt.Errorf("rewrite journal: %w", err), f.Close())
	}
	old := j.f
	j.f, j.salt, j.size, j.stale = f, salt, size, nil
	if err := j.disk.SyncDir(filepath.Dir(j.path)); err != nil {
		j.stale = err
		return errors.Join(fmt.Errorf("rewrite journal: %w", err), old.Close())
	}
	_ = old.Close() // it has no name any more: nothing can be lost with it
	return nil
}

// writeAll writes a whole journal in pieces.
func writeAll(f file, salt []byte, entries []*entry) (size int64, err error) {
	buf := journalLine(salt)
	for _, e := range entries {
		if buf = appendRecord(buf, salt, addRecord(e.tx)); len(buf) < maxKeptBuffer {
			continue
		}
		if _, err := f.WriteAt(buf, size); err != nil {
			return size, err
		}
		size += int64(len(buf))
		buf = buf[:0]
	}
	_, err = f.WriteAt(buf, size)
	return size + int64(len(buf)), err
}

// close makes the file durable and closes it.
func (j *journal) close() error {
	if j.stale == nil {
		j.stale = ErrClosed
	}
	if err := errors.Join(j.f.Sync(), j.f.Close()); err != nil {
		return fmt.Errorf("close journal: %w", err)
	}
	return nil
}
