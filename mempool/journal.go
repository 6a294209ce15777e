package mempool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/pheme-net/pheme/chain"
)

// journal is the file of accepted transactions: a line that names the format, then records of
// length (4 bytes), CRC-32C of the rest (4 bytes) and the raw transaction. A kill can tear only the
// last record; what follows a torn or flipped one is found again by its length, or given up.
type journal struct {
	path  string
	every time.Duration // group commit, 0 without fsync

	mu    sync.Mutex // guards the file; held across one write, which no lock of the pool waits for
	f     *os.File
	size  int64
	group *commit // of those who wait for the next fsync
}

// commit is one fsync that several answers wait for.
type commit struct {
	done chan struct{}
	err  error
}

const (
	journalMagic  = "pheme journal 1\n"
	recordHead    = 8
	rotateAtLeast = 1 << 20 // bytes; below it rewriting saves nothing
)

// replayed is what a journal held.
type replayed struct {
	txs     []*chain.Tx
	skipped int   // records that are damaged or no transactions
	size    int64 // bytes up to the end of the last whole record
}

// DecodeJournal reads the bytes of a journal file. Damaged records are skipped and counted; a torn
// last record is normal after a kill and not counted. Only bytes that are no journal are an error.
func DecodeJournal(raw []byte) (txs []*chain.Tx, skipped int, err error) {
	r, err := decodeJournal(raw)
	return r.txs, r.skipped, err
}

func decodeJournal(raw []byte) (replayed, error) {
	var r replayed
	if len(raw) < len(journalMagic) || string(raw[:len(journalMagic)]) != journalMagic {
		return r, errors.New("not a journal of format 1")
	}
	at := len(journalMagic)
	for r.size = int64(at); at+recordHead <= len(raw); r.size = int64(at) {
		n := int(binary.BigEndian.Uint32(raw[at:]))
		if n > chain.MaxTxBytes {
			r.skipped++ // the length itself is damaged: nothing after it can be found
			return r, nil
		}
		if at+recordHead+n > len(raw) {
			return r, nil
		}
		body := raw[at+recordHead : at+recordHead+n]
		sum := binary.BigEndian.Uint32(raw[at+4:])
		at += recordHead + n
		if crc32.Checksum(body, castagnoli()) != sum {
			r.skipped++
			continue
		}
		tx, err := chain.DecodeTx(body)
		if err != nil {
			r.skipped++
			continue
		}
		r.txs = append(r.txs, tx)
	}
	return r, nil
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) } // the library keeps it

func appendRecord(out []byte, tx *chain.Tx) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(tx.Size()))
	out = binary.BigEndian.AppendUint32(out, crc32.Checksum(tx.Raw(), castagnoli()))
	return append(out, tx.Raw()...)
}

// openJournal reads the journal at path, or makes one, and leaves it open for appending.
func openJournal(path string, syncEvery time.Duration) (*journal, replayed, error) {
	var r replayed
	raw, err := os.ReadFile(path)
	fresh := errors.Is(err, fs.ErrNotExist) || err == nil && len(raw) < len(journalMagic) && journalMagic[:len(raw)] == string(raw)
	switch {
	case fresh:
	case err != nil:
		return nil, r, fmt.Errorf("read journal: %w", err)
	default:
		if r, err = decodeJournal(raw); err != nil {
			return nil, r, fmt.Errorf("journal %s: %w: move it away to start with an empty pool", path, err)
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, r, fmt.Errorf("open journal: %w", err)
	}
	j := &journal{path: path, every: syncEvery, f: f, size: r.size}
	if fresh {
		r.size = int64(len(journalMagic))
		_, err = f.WriteAt([]byte(journalMagic), 0)
		j.size = r.size
	}
	if err == nil {
		err = f.Truncate(j.size) // a torn tail would hide what is appended after it
	}
	if err == nil {
		_, err = f.Seek(j.size, io.SeekStart)
	}
	if err == nil && fresh {
		err = errors.Join(f.Sync(), syncDir(path))
	}
	if err != nil {
		return nil, r, errors.Join(fmt.Errorf("open journal: %w", err), f.Close())
	}
	return j, r, nil
}

// append writes the records of txs in one write and, with group commit, waits for the fsync.
func (j *journal) append(txs []*chain.Tx) error {
	var out []byte
	for _, tx := range txs {
		out = appendRecord(out, tx)
	}
	j.mu.Lock()
	_, err := j.f.Write(out)
	if err != nil {
		// Take half a record back, so that the next one can be found.
		if terr := j.f.Truncate(j.size); terr == nil {
			_, terr = j.f.Seek(j.size, io.SeekStart)
			err = errors.Join(err, terr)
		}
		j.mu.Unlock()
		return fmt.Errorf("write journal: %w", err)
	}
	j.size += int64(len(out))
	if j.every == 0 {
		j.mu.Unlock()
		return nil
	}
	g, first := j.group, false
	if g == nil {
		g, first = &commit{done: make(chan struct{})}, true
		j.group = g
	}
	j.mu.Unlock()
	if first {
		time.Sleep(j.every) // others join meanwhile
		j.commit(g)
	}
	<-g.done
	return g.err
}

// commit ends a group: whoever comes now begins the next one.
func (j *journal) commit(g *commit) {
	j.mu.Lock()
	j.group = nil
	f := j.f
	j.mu.Unlock()
	if err := f.Sync(); err != nil && !errors.Is(err, os.ErrClosed) { // closed: a rotation has synced all of it
		g.err = fmt.Errorf("sync journal: %w", err)
	}
	close(g.done)
}

// rotate rewrites the journal with what is pooled, when it has grown to more than twice that. list
// is called under the journal's lock, so that no record is written between the list and the file.
func (j *journal) rotate(pooled int, list func() []*chain.Tx) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.size < rotateAtLeast || j.size < 2*int64(pooled) {
		return nil
	}
	tmp := j.path + ".new"
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("rotate journal: %w", err)
	}
	out := []byte(journalMagic)
	for _, tx := range list() {
		out = appendRecord(out, tx)
	}
	_, err = f.Write(out)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(tmp, j.path)
	}
	if err == nil {
		err = syncDir(j.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("rotate journal: %w", err), f.Close())
	}
	old := j.f
	j.f, j.size = f, int64(len(out))
	return old.Close()
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return errors.Join(j.f.Sync(), j.f.Close())
}

// syncDir makes a new or renamed file's name durable.
func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
