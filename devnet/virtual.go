package devnet

import (
	"bufio"
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/pheme-net/pheme/devnet/cluster"
	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/report"
)

// VirtualCommand is the hidden command of the binary that is the child of a virtual run: it reads a
// task on standard input, runs it in virtual time, writes where it stands on standard error and
// what it saw on standard output.
const VirtualCommand = "virtual-child"

// virtualTask is what the child is told.
type virtualTask struct {
	Spec experiment.Spec
	Seed int64
	Dir  string // for the proposers' last signed slots; the parent's, which removes it
}

// virtualSight is what the child saw: the exported form of an observation.
type virtualSight struct {
	Input   recorder.Input
	Warmup  recorder.Span
	Floors  floors
	Refused int
	Why     string
	Late    time.Duration
	Faults  []report.Fault
	Unfit   *UnfitError // there is nothing to see: why
}

// virtualEngine runs every node in one child process in virtual time.
func virtualEngine(binary string) engine {
	return func(ctx context.Context, spec experiment.Spec, seed int64, p *progress) (*observation, error) {
		program := binary
		if program == "" {
			self, err := os.Executable()
			if err != nil {
				return nil, fmt.Errorf("find this program: %w", err)
			}
			program = self
		}
		dir, err := os.MkdirTemp("", "pheme-virtual-")
		if err != nil {
			return nil, fmt.Errorf("make temporary folder: %w", err)
		}
		defer os.RemoveAll(dir)
		task, err := json.Marshal(virtualTask{spec, seed, dir})
		if err != nil {
			return nil, fmt.Errorf("encode experiment: %w", err)
		}
		began := time.Now()
		child := exec.CommandContext(ctx, program, VirtualCommand)
		child.Env = append(os.Environ(), "GOMAXPROCS=1") // a bubble has one lock: more cores slow it down
		// It dies with us, not of the terminal's Ctrl-C, and by force: what it computes heeds no other signal.
		child.SysProcAttr = cluster.OwnGroup(syscall.SIGKILL)
		child.Stdin = bytes.NewReader(task)
		sight, last, err := follow(child, p)
		if err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return nil, brokenOff(spec, err, last)
		}
		if sight.Unfit != nil {
			return nil, sight.Unfit
		}
		usage := cluster.UsageOf(child.ProcessState)
		seen := &observation{
			input: sight.Input, warmup: sight.Warmup, wall: time.Since(began), floors: sight.Floors, faults: sight.Faults,
			refused: sight.Refused, late: sight.Late, host: untold(),
			processes: []report.Process{{Name: fmt.Sprintf("seed %d", seed), CPU: usage.CPU.Seconds(), MaxRSS: usage.MaxRSS}},
		}
		if sight.Why != "" {
			seen.why = errors.New(sight.Why)
		}
		return seen, nil
	}
}

// brokenOff says why a child handed nothing over, and what to do where its last words do not.
func brokenOff(spec experiment.Spec, err error, last string) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
			return fmt.Errorf("virtual run: %w, by the system if there was no memory left: a seed takes about %.1f GiB: use fewer nodes or smaller blocks, or stop other programs",
				err, float64(spec.Memory())/(1<<30))
		}
	}
	return fmt.Errorf("virtual run: %w: %s", err, last)
}

// follow runs the child, passes its progress on and decodes what it saw. last is what it wrote
// after its last progress line, which explains a failure.
func follow(child *exec.Cmd, p *progress) (sight virtualSight, last string, err error) {
	out, err := child.StdoutPipe()
	if err != nil {
		return sight, "", err
	}
	words, err := child.StderrPipe()
	if err != nil {
		return sight, "", err
	}
	runtime.LockOSThread() // a child loses its parent when the thread that started it ends
	defer runtime.UnlockOSThread()
	if err := child.Start(); err != nil {
		return sight, "", err
	}
	said := make(chan string, 1)
	go func() { said <- listen(words, p) }()
	decodeErr := gob.NewDecoder(bufio.NewReaderSize(out, 1<<20)).Decode(&sight)
	_, _ = io.Copy(io.Discard, out)
	last = <-said
	if err := child.Wait(); err != nil {
		return sight, last, err
	}
	return sight, last, decodeErr
}

// progressMark begins a line of the child that says where it stands.
const progressMark = "~ "

// maxWords bounds what is kept of a child's last words.
const maxWords = 16 << 10

func listen(r io.Reader, p *progress) string {
	var other strings.Builder
	var run pace
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if where, ok := strings.CutPrefix(lines.Text(), progressMark); ok {
			p.now("%s", run.told(time.Now(), where))
		} else if other.Len() < maxWords {
			fmt.Fprintln(&other, lines.Text())
		}
	}
	_, _ = io.Copy(io.Discard, r)
	return strings.TrimSpace(other.String())
}

// RunVirtualChild is the child's whole work: task in, what was seen out.
func RunVirtualChild(in io.Reader, out, words io.Writer) error {
	var task virtualTask
	if err := json.NewDecoder(in).Decode(&task); err != nil {
		return fmt.Errorf("%w: %s is for the program itself: use 'pheme devnet measure --engine virtual'", experiment.ErrInvalid, VirtualCommand)
	}
	sight, err := runVirtual(task, func(format string, args ...any) { fmt.Fprintf(words, progressMark+format+"\n", args...) })
	if unfit := new(UnfitError); errors.As(err, &unfit) {
		sight = &virtualSight{Unfit: unfit}
	} else if err != nil {
		return err
	}
	w := bufio.NewWriterSize(out, 1<<20)
	if err := gob.NewEncoder(w).Encode(sight); err != nil {
		return fmt.Errorf("hand over what was seen: %w", err)
	}
	return w.Flush()
}
