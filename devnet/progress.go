package devnet

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// pipeEvery is how often a pipe is told where a long wait stands.
const pipeEvery = 5 * time.Second

// progress says where a run stands: on a terminal one line that is written over, elsewhere plain
// lines, seldom. It is safe for concurrent use.
type progress struct {
	w   io.Writer
	tty bool
	up  func(text string) // of one run among several: who is told instead, see board

	mu    sync.Mutex
	open  bool // a line is waiting to be written over
	spoke time.Time
}

func newProgress(w io.Writer) *progress {
	if w == nil {
		w = io.Discard
	}
	p := &progress{w: w}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		p.tty = err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
	}
	return p
}

// say writes a line that stays.
func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wipe()
	fmt.Fprintf(p.w, format+"\n", args...)
	p.spoke = time.Now()
}

// now writes where the run stands, until the next word.
func (p *progress) now(format string, args ...any) {
	if p.up != nil {
		p.up(fmt.Sprintf(format, args...))
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tty {
		p.wipe()
		fmt.Fprintf(p.w, format, args...)
		p.open = true
	} else if time.Since(p.spoke) >= pipeEvery {
		fmt.Fprintf(p.w, format+"\n", args...)
		p.spoke = time.Now()
	}
}

// clear takes away the line that was to be written over.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wipe()
}

func (p *progress) wipe() {
	if p.open {
		fmt.Fprint(p.w, "\r\x1b[2K")
		p.open = false
	}
}
