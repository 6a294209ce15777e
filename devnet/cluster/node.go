package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pheme-net/pheme/node"
	"github.com/pheme-net/pheme/rpc"
)

// ErrExited is wrapped when a member's process ended although nobody asked it to; the message ends
// with what it last wrote to its standard error.
var ErrExited = errors.New("cluster: node exited")

// pollEvery is how often a file or a status that a condition waits for is looked at.
const pollEvery = 20 * time.Millisecond

// Node is one member. Its data stay in its folder from start to start.
type Node struct {
	cluster *Cluster
	name    string
	index   int
	dir     string
	keyFile string // "" for one that proposes nothing
	tail    *tail

	mu     sync.Mutex
	child  *child // nil: not running
	ready  node.Ready
	client *rpc.Client // JSON-RPC over HTTP
	admin  *rpc.Client // over the socket
	usage  Usage       // of the children that ended
	exit   string      // of the last of them
	traces []string    // recordings of former lives
}

// child is one life of a member's process.
type child struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process is gone and err is set
	err   error
	asked bool // to stop: its end is no accident; guarded by Node.mu
}

// Usage is what a member's processes used so far, those that ended.
type Usage struct {
	CPU    time.Duration
	MaxRSS int64 // bytes, of the largest
}

// Name is the member's name, n0 and so on.
func (n *Node) Name() string { return n.name }

// Dir is the member's data folder.
func (n *Node) Dir() string { return n.dir }

// Proposes says whether the member has slots of its own.
func (n *Node) Proposes() bool { return n.keyFile != "" }

// Ready is where the member is to be found, as of its last start.
func (n *Node) Ready() node.Ready {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ready
}

// Client calls the member over HTTP. It is nil before the first start and follows a restart.
func (n *Node) Client() *rpc.Client {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.client
}

// Usage is what the member's ended processes used.
func (n *Node) Usage() Usage {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.usage
}

// PID is the process id while the member runs, else 0.
func (n *Node) PID() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.child == nil {
		return 0
	}
	return n.child.cmd.Process.Pid
}

// Start starts the process and waits until it serves. It fails at once when the process ends, with
// what that wrote last.
func (n *Node) Start(ctx context.Context) error {
	if n.PID() != 0 {
		return fmt.Errorf("%s runs already", n.name)
	}
	readyFile := filepath.Join(n.dir, node.ReadyFile)
	if err := os.Remove(readyFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: remove what a killed process left: %w", n.name, err)
	}
	c, err := n.launch()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, n.cluster.cfg.Ready)
	defer cancel()
	if err := n.awaitReady(ctx, c, readyFile); err != nil {
		return errors.Join(err, n.Stop())
	}
	if err := n.dial(ctx, c); err != nil {
		return errors.Join(err, n.Stop())
	}
	return nil
}

// launch starts the process and the goroutine that waits for its end.
func (n *Node) launch() (*child, error) {
	cmd := exec.Command(n.cluster.cfg.Binary, n.args()...)
	cmd.Stdout, cmd.Stderr = n.tail, n.tail
	cmd.SysProcAttr = OwnGroup(syscall.SIGTERM)
	c := &child{cmd: cmd, ended: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", n.name, err)
	}
	n.child = c
	n.cluster.waits.Go(func() { n.wait(c) })
	return c, nil
}

// args is the command line of the member.
func (n *Node) args() []string {
	cfg := &n.cluster.cfg
	port := 0
	if cfg.Port != 0 {
		port = cfg.Port + n.index
	}
	listen := "/ip4/127.0.0.1/tcp/0"
	if cfg.Transport == "quic" {
		listen = "/ip4/127.0.0.1/udp/0/quic-v1"
	}
	args := []string{"node"}
	if cfg.Settings != "" {
		args = append(args, "--config", n.cluster.settingsPath())
	}
	args = append(args,
		"--data-dir", n.dir, "--genesis", n.cluster.genesisPath(), "--name", n.name,
		"--http", fmt.Sprintf("127.0.0.1:%d", port), "--listen", listen, "--log-level", "warn",
	)
	if n.keyFile != "" {
		args = append(args, "--proposer-key", n.keyFile)
	}
	if n.index < len(cfg.Relays) {
		args = append(args, "--relay", cfg.Relays[n.index])
	}
	if first := n.cluster.Node(0).Ready().P2P; cfg.Grown > 0 && n.index > 0 && len(first) > 0 {
		args = append(args, "--bootstrap", first[0])
	}
	if cfg.BlockSize > 0 {
		args = append(args, "--block-size", fmt.Sprint(cfg.BlockSize))
	}
	if cfg.Shaped {
		args = append(args, "--links", n.cluster.LinksPath(), "--link-node", fmt.Sprint(n.index))
	}
	if cfg.Bendable {
		args = append(args, "--bendable")
	}
	if cfg.Trace {
		args = append(args, "--trace")
	}
	return args
}

// wait collects one process and notes what it used.
func (n *Node) wait(c *child) {
	err := c.cmd.Wait()
	n.mu.Lock()
	if n.child == c {
		n.child = nil
	}
	used := UsageOf(c.cmd.ProcessState)
	n.exit = c.cmd.ProcessState.String()
	n.usage.CPU += used.CPU
	n.usage.MaxRSS = max(n.usage.MaxRSS, used.MaxRSS)
	asked := c.asked
	if !asked || err != nil {
		c.err = fmt.Errorf("%w: %s: %s%s", ErrExited, n.name, c.cmd.ProcessState, n.tail.quote())
	}
	n.mu.Unlock()
	close(c.ended)
	if !asked && n.cluster.cfg.Exited != nil {
		n.cluster.cfg.Exited(n.name, c.err)
	}
}

// UsageOf is what a process that has ended used; nothing for one that never ran.
func UsageOf(state *os.ProcessState) (u Usage) {
	if state == nil {
		return u
	}
	u.CPU = state.UserTime() + state.SystemTime()
	if ru, ok := state.SysUsage().(*syscall.Rusage); ok {
		u.MaxRSS = maxRSS(ru)
	}
	return u
}

// awaitReady waits for the file a node writes when it serves.
func (n *Node) awaitReady(ctx context.Context, c *child, path string) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		text, err := os.ReadFile(path)
		if err == nil {
			var r node.Ready
			if err := json.Unmarshal(text, &r); err != nil {
				return fmt.Errorf("%s: read %s: %w", n.name, node.ReadyFile, err)
			}
			n.mu.Lock()
			n.ready = r
			n.mu.Unlock()
			return nil
		}
		select {
		case <-tick.C:
		case <-c.ended:
			return c.err
		case <-ctx.Done():
			return fmt.Errorf("%s does not serve after %v: %w%s", n.name, n.cluster.cfg.Ready, ctx.Err(), n.tail.quote())
		}
	}
}

// dial opens clients to the process that just became ready. Its socket may open an instant after
// it said where it is, so that is tried until ctx ends.
func (n *Node) dial(ctx context.Context, c *child) error {
	r := n.Ready()
	client, err := rpc.Dial(ctx, r.RPC)
	if err != nil {
		return err
	}
	var admin *rpc.Client
	err = Await(ctx, func(ctx context.Context) (string, error) {
		select {
		case <-c.ended:
			return "", c.err
		default:
		}
		if admin, err = rpc.Dial(ctx, r.IPC); err != nil {
			return err.Error(), nil
		}
		return "", nil
	})
	if err != nil {
		client.Close()
		return err
	}
	n.hangUp()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.client, n.admin = client, admin
	return nil
}

// hangUp closes the clients of a former start.
func (n *Node) hangUp() {
	n.mu.Lock()
	client, admin := n.client, n.admin
	n.client, n.admin = nil, nil
	n.mu.Unlock()
	if client != nil {
		client.Close()
		admin.Close()
	}
}

// ConnectTo lets the member dial another and keep the connection.
func (n *Node) ConnectTo(ctx context.Context, to *Node) error {
	n.mu.Lock()
	admin := n.admin
	n.mu.Unlock()
	addrs := to.Ready().P2P
	if admin == nil || len(addrs) == 0 {
		return fmt.Errorf("connect %s to %s: both must run", n.name, to.name)
	}
	if err := admin.AddPeer(ctx, addrs[0]); err != nil {
		return fmt.Errorf("connect %s to %s: %w", n.name, to.name, err)
	}
	return nil
}

// Stop asks the process to stop and waits for its end; nil when it does not run. One that does not
// stop in time is killed, which is an error.
func (n *Node) Stop() error {
	c := n.signal(syscall.SIGTERM)
	if c == nil {
		return nil
	}
	_, _ = n.send(syscall.SIGCONT) // one that is paused would not hear it; one that is gone need not
	limit := time.NewTimer(n.cluster.cfg.Stop)
	defer limit.Stop()
	select {
	case <-c.ended:
		return c.err
	case <-limit.C:
		n.signal(syscall.SIGKILL)
		<-c.ended
		return fmt.Errorf("%s did not stop within %v and was killed", n.name, n.cluster.cfg.Stop)
	}
}

// Kill ends the process at once, as a power cut would, and waits until it is gone. It reports
// whether there was one to kill.
func (n *Node) Kill() bool {
	c := n.signal(syscall.SIGKILL)
	if c == nil {
		return false
	}
	<-c.ended
	return true
}

// Restart stops the member if it runs and starts it again on its data. The other side of each of
// its connections redials only what it dialled itself: the caller connects the member anew.
func (n *Node) Restart(ctx context.Context) error {
	if err := n.Stop(); err != nil {
		return err
	}
	return n.Start(ctx)
}

// signal marks the running process as asked to end and signals it; nil when none runs.
func (n *Node) signal(s syscall.Signal) *child {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.child
	if c == nil {
		return nil
	}
	c.asked = true
	if err := c.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return c // it is ours and alive; waiting for its end decides
	}
	return c
}

// tail keeps the end of what a member writes. It is safe for concurrent use.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// maxTail is how much of a member's output is kept: some tens of lines.
const maxTail = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - maxTail; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

// quote is the tail as the end of an error message, or "".
func (t *tail) quote() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimSpace(string(t.text))
	if text == "" {
		return ""
	}
	return "; it wrote last:\n" + text
}
