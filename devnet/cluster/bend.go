package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pheme-net/pheme/node"
	"github.com/pheme-net/pheme/rpc"
)

// errNotRunning is for what only a running member can do.
var errNotRunning = errors.New("cluster: node does not run")

// stopWithin is how long a stopped process may take to be seen as such: its threads stop when they
// are next scheduled.
const stopWithin = 5 * time.Second

// Pause stops the process where it is, and says what the system shows of that.
func (n *Node) Pause() (seen string, err error) {
	pid, err := n.send(syscall.SIGSTOP)
	if err != nil {
		return "", err
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return "stopped by SIGSTOP", nil // a system without /proc
		}
		_, after, _ := strings.Cut(string(stat), ") ")
		if strings.HasPrefix(after, "T ") {
			return "stopped by SIGSTOP, state T", nil
		}
		if time.Since(began) > stopWithin {
			return "", fmt.Errorf("%s runs %v after SIGSTOP", n.name, stopWithin)
		}
	}
}

// Resume lets a paused process go on.
func (n *Node) Resume() error {
	_, err := n.send(syscall.SIGCONT)
	return err
}

// send signals the running process without asking it to end.
func (n *Node) send(s syscall.Signal) (pid int, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.child == nil {
		return 0, fmt.Errorf("%w: %s", errNotRunning, n.name)
	}
	pid = n.child.cmd.Process.Pid
	if err := n.child.cmd.Process.Signal(s); err != nil {
		return 0, fmt.Errorf("signal %s: %w", n.name, err)
	}
	return pid, nil
}

// LastExit is how the last process that ended did, in the system's words.
func (n *Node) LastExit() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.exit
}

// KeepTrace puts the recording of the last life aside, so that the next one does not overwrite it.
func (n *Node) KeepTrace() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	aside := filepath.Join(n.dir, fmt.Sprintf("life%d-%s", len(n.traces), node.TraceFile))
	if err := os.Rename(filepath.Join(n.dir, node.TraceFile), aside); err != nil {
		return fmt.Errorf("keep the trace of %s: %w", n.name, err)
	}
	n.traces = append(n.traces, aside)
	return nil
}

// Traces are the files with the recordings of all lives, the present one last.
func (n *Node) Traces() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append(append([]string(nil), n.traces...), filepath.Join(n.dir, node.TraceFile))
}

// Links has the member take up what the plan of the links has gained and returns what they have
// carried.
func (n *Node) Links(ctx context.Context) (rpc.LinkCount, error) {
	admin, err := n.socket()
	if err != nil {
		return rpc.LinkCount{}, err
	}
	return admin.Links(ctx)
}

// Bend deforms the member; nil only asks what it is.
func (n *Node) Bend(ctx context.Context, b *rpc.Bend) (rpc.BendCount, error) {
	admin, err := n.socket()
	if err != nil {
		return rpc.BendCount{}, err
	}
	return admin.Bend(ctx, b)
}

func (n *Node) socket() (*rpc.Client, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.admin == nil {
		return nil, fmt.Errorf("%w: %s", errNotRunning, n.name)
	}
	return n.admin, nil
}
