package chain

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"

	"github.com/syndtr/goleveldb/leveldb/storage"
)

var errPower = errors.New("power is off")

// disk is a simulated disk under LevelDB and the head marker. What was not synced
// when the power goes is lost in part: bytes of a file are dropped, cut at any
// place, or reordered in sectors; a new name, a rename or a removal may not have
// happened. It can also be full.
type disk struct {
	mu      sync.Mutex
	files   map[storage.FileDesc]*diskFile
	durable map[storage.FileDesc]*diskFile // names as of the last sync of the folder
	current storage.FileDesc
	mark    []byte // as it is on the disk
	marking []byte // as it is written, before its fsync; nil: the same
	ops     int    // operations that change something, so far
	cutAt   int    // the power goes at this one; 0 never
	off     bool
	full    bool
	locked  bool

	// What faults did, for the test to assert that they happened.
	lostNames, lostBytes, tornFiles, reordered, tornMarks int
}

type diskFile struct {
	data   []byte
	synced int // bytes that survive a power cut
}

func newDisk() *disk {
	return &disk{files: map[storage.FileDesc]*diskFile{}, durable: map[storage.FileDesc]*diskFile{}}
}

// step counts an operation and cuts the power when its time has come. The caller
// holds mu.
func (d *disk) step() error {
	if d.off {
		return errPower
	}
	d.ops++
	if d.cutAt > 0 && d.ops >= d.cutAt {
		d.off = true
		return errPower
	}
	return nil
}

// powerCut turns the disk off and on: only what is durable is left, and of the
// rest whatever chance leaves.
func (d *disk) powerCut(rng *rand.Rand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	left := map[storage.FileDesc]*diskFile{}
	for _, fd := range d.names() {
		now, was := d.files[fd], d.durable[fd]
		f := was
		if now != was && rng.IntN(2) == 0 { // the change of the name may have reached the disk
			f = now
		}
		if f != now {
			d.lostNames++
		}
		if f == nil {
			continue
		}
		left[fd] = &diskFile{data: d.tear(f, rng)}
		left[fd].synced = len(left[fd].data)
	}
	d.files, d.durable = left, maps.Clone(left)
	d.tearMark(rng)
	d.off, d.cutAt, d.locked, d.full = false, 0, false, false
}

// tearMark is what a power cut leaves of a marker that was being written.
func (d *disk) tearMark(rng *rand.Rand) {
	if d.marking == nil {
		return
	}
	switch now := d.marking; rng.IntN(3) {
	case 0:
		d.mark = now
	case 1: // cut at any place of the slot
		n := rng.IntN(markBytes)
		d.mark = bytes.Clone(d.mark)
		for _, at := range []int{0, markSlot} {
			copy(d.mark[at:at+n], now[at:])
		}
		d.tornMarks++
	}
	d.marking = nil
}

// names lists every name there is or was, in a fixed order.
func (d *disk) names() []storage.FileDesc {
	all := map[storage.FileDesc]bool{}
	for fd := range d.files {
		all[fd] = true
	}
	for fd := range d.durable {
		all[fd] = true
	}
	return slices.SortedFunc(maps.Keys(all), func(a, b storage.FileDesc) int {
		if a.Type != b.Type {
			return int(a.Type) - int(b.Type)
		}
		return int(a.Num - b.Num)
	})
}

// tear is what a power cut leaves of a file.
func (d *disk) tear(f *diskFile, rng *rand.Rand) []byte {
	out := bytes.Clone(f.data[:f.synced])
	tail := f.data[f.synced:]
	if len(tail) == 0 {
		return out
	}
	switch rng.IntN(3) {
	case 0: // all of the tail is lost
		d.lostBytes += len(tail)
		return out
	case 1: // it is cut at any place
		n := rng.IntN(len(tail) + 1)
		d.tornFiles++
		return append(out, tail[:n]...)
	}
	const sector = 512
	tail = bytes.Clone(tail)
	for at := 0; at < len(tail); at += sector { // some sectors were not written before later ones
		if rng.IntN(2) == 0 {
			clear(tail[at:min(at+sector, len(tail))])
			d.reordered++
		}
	}
	return append(out, tail...)
}

// syncNames makes names durable, as fsync of the folder does.
func (d *disk) syncNames() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(); err != nil {
		return err
	}
	d.durable = maps.Clone(d.files)
	return nil
}

// storage is the disk as the file storage of pheme sees it.
func (d *disk) storage() storage.Storage { return &namedStorage{Storage: d, syncNames: d.syncNames} }

// read and write make the disk a marker. The first is write, fsync, rename, fsync
// of the folder: four places at which the power may go; later ones write in place
// and fsync.
func (d *disk) read() ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mark == nil {
		return nil, fs.ErrNotExist
	}
	if d.marking != nil {
		return d.marking, nil
	}
	return d.mark, nil
}

func (d *disk) write(m headMark) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full {
		return syscall.ENOSPC
	}
	if d.mark != nil {
		if d.marking == nil {
			d.marking = bytes.Clone(d.mark)
		}
		copy(d.marking[m.at():], m.encode())
		for range 2 {
			if err := d.step(); err != nil {
				return err
			}
		}
		d.mark, d.marking = d.marking, nil
		return nil
	}
	for range 3 {
		if err := d.step(); err != nil {
			return err
		}
	}
	d.mark = markFile(m)
	return d.step()
}

func (d *disk) setFull(full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = full
}

func (d *disk) isOff() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.off
}

type diskLock struct{ d *disk }

func (l diskLock) Unlock() {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	l.d.locked = false
}

// Lock implements storage.Storage.
func (d *disk) Lock() (storage.Locker, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.locked {
		return nil, storage.ErrLocked
	}
	d.locked = true
	return diskLock{d}, nil
}

// Log implements storage.Storage.
func (d *disk) Log(string) {}

// Close implements storage.Storage.
func (d *disk) Close() error { return nil }

// SetMeta implements storage.Storage; LevelDB's own syncs the folder.
func (d *disk) SetMeta(fd storage.FileDesc) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(); err != nil {
		return err
	}
	if d.full {
		return syscall.ENOSPC
	}
	d.current = fd
	d.durable = maps.Clone(d.files)
	return nil
}

// GetMeta implements storage.Storage.
func (d *disk) GetMeta() (storage.FileDesc, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files[d.current] == nil {
		return storage.FileDesc{}, fs.ErrNotExist
	}
	return d.current, nil
}

// List implements storage.Storage.
func (d *disk) List(ft storage.FileType) ([]storage.FileDesc, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []storage.FileDesc
	for fd := range d.files {
		if fd.Type&ft != 0 {
			out = append(out, fd)
		}
	}
	return out, nil
}

// Open implements storage.Storage.
func (d *disk) Open(fd storage.FileDesc) (storage.Reader, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.files[fd]
	if f == nil {
		return nil, fs.ErrNotExist
	}
	return diskReader{bytes.NewReader(f.data)}, nil
}

// Create implements storage.Storage.
func (d *disk) Create(fd storage.FileDesc) (storage.Writer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(); err != nil {
		return nil, err
	}
	f := &diskFile{}
	d.files[fd] = f
	return &diskWriter{d, f}, nil
}

// Remove implements storage.Storage.
func (d *disk) Remove(fd storage.FileDesc) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(); err != nil {
		return err
	}
	delete(d.files, fd)
	return nil
}

// Rename implements storage.Storage.
func (d *disk) Rename(from, to storage.FileDesc) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(); err != nil {
		return err
	}
	d.files[to] = d.files[from]
	delete(d.files, from)
	return nil
}

// diskReader reads what a file held when it was opened, which for LevelDB is all.
type diskReader struct{ *bytes.Reader }

// Close implements io.Closer.
func (diskReader) Close() error { return nil }

type diskWriter struct {
	d *disk
	f *diskFile
}

// Write implements io.Writer. A power cut may come in the middle of it, and a
// full disk takes a part.
func (w *diskWriter) Write(p []byte) (int, error) {
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	if w.d.off {
		return 0, errPower
	}
	n, err := len(p), w.d.step()
	if w.d.full {
		n, err = len(p)/2, syscall.ENOSPC
	} else if err != nil {
		n = len(p) / 2
	}
	w.f.data = append(w.f.data, p[:n]...)
	return n, err
}

// Sync implements storage.Syncer.
func (w *diskWriter) Sync() error {
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	if err := w.d.step(); err != nil {
		return err
	}
	w.f.synced = len(w.f.data)
	return nil
}

// Close implements io.Closer.
func (w *diskWriter) Close() error { return nil }

var (
	_ storage.Storage = (*disk)(nil)
	_ marker          = (*disk)(nil)
	_ io.Writer       = (*diskWriter)(nil)
)
