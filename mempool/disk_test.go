package mempool

import (
	"bytes"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
)

// memDisk is a disk in memory that can fail and lose power. Data is durable after
// Sync of the file, a name after SyncDir of its folder.
type memDisk struct {
	mu      sync.Mutex
	names   map[string]*node
	durable map[string]*node
	ops     map[string]int
	// fail, if set, is asked before every operation, by its name and how often it was called before.
	fail func(op string, before int) error
	// slow, if set, runs in every Sync.
	slow func()
}

type node struct{ data, synced []byte }

func newMemDisk() *memDisk {
	return &memDisk{names: make(map[string]*node), durable: make(map[string]*node), ops: make(map[string]int)}
}

// op counts an operation and fails it if it shall fail. It is called with the lock.
func (d *memDisk) op(name string) error {
	before := d.ops[name]
	d.ops[name]++
	if d.fail != nil {
		return d.fail(name, before)
	}
	return nil
}

func (d *memDisk) count(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops[name]
}

func (d *memDisk) setFail(fail func(op string, before int) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = fail
}

// powerCut is the disk as it comes up after a loss of power now: of what was not
// synced, any first part may be there.
func (d *memDisk) powerCut(r *rand.Rand) *memDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	up := newMemDisk()
	for name, n := range d.durable {
		data := bytes.Clone(n.synced)
		if more := len(n.data) - len(n.synced); more > 0 {
			data = append(data, n.data[len(n.synced):len(n.synced)+r.IntN(more+1)]...)
		}
		up.names[name] = &node{data: data, synced: data}
	}
	return up
}

// killed is the disk as another process finds it after a kill: nothing is lost.
func (d *memDisk) killed() *memDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	up := newMemDisk()
	for name, n := range d.names {
		up.names[name] = &node{data: bytes.Clone(n.data), synced: bytes.Clone(n.synced)}
	}
	return up
}

func (d *memDisk) put(path string, data []byte) {
	d.names[path] = &node{data: bytes.Clone(data), synced: bytes.Clone(data)}
	d.durable[path] = d.names[path]
}

func (d *memDisk) get(path string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.names[path]; n != nil {
		return bytes.Clone(n.data)
	}
	return nil
}

func (d *memDisk) Open(path string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op("open"); err != nil {
		return nil, err
	}
	if d.names[path] == nil {
		d.names[path] = &node{}
	}
	return &memFile{d: d, n: d.names[path]}, nil
}

func (d *memDisk) Create(path string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op("create"); err != nil {
		return nil, err
	}
	d.names[path] = &node{}
	return &memFile{d: d, n: d.names[path]}, nil
}

func (d *memDisk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op("rename"); err != nil {
		return err
	}
	d.names[to] = d.names[from]
	delete(d.names, from)
	return nil
}

func (d *memDisk) SyncDir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op("syncdir"); err != nil {
		return err
	}
	d.durable = make(map[string]*node)
	for name, n := range d.names {
		if filepath.Dir(name) == dir {
			d.durable[name] = n
		}
	}
	return nil
}

type memFile struct {
	d   *memDisk
	n   *node
	pos int
}

func (f *memFile) Read(p []byte) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.pos >= len(f.n.data) {
		return 0, io.EOF
	}
	k := copy(p, f.n.data[f.pos:])
	f.pos += k
	return k, nil
}

// WriteAt that fails leaves half of its bytes, as a full disk does.
func (f *memFile) WriteAt(p []byte, at int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	err := f.d.op("write")
	if err != nil {
		p = p[:len(p)/2]
	}
	if grow := int(at) + len(p) - len(f.n.data); grow > 0 {
		f.n.data = append(f.n.data, make([]byte, grow)...)
	}
	return copy(f.n.data[at:], p), err
}

func (f *memFile) Truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.op("truncate"); err != nil {
		return err
	}
	f.n.data = f.n.data[:size]
	return nil
}

func (f *memFile) Sync() error {
	if f.d.slow != nil {
		f.d.slow()
	}
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.op("sync"); err != nil {
		return err
	}
	f.n.synced = bytes.Clone(f.n.data)
	return nil
}

func (f *memFile) Close() error { return nil }
