package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	logging "github.com/ipfs/go-log/v2"
	p2pcrypto "github.com/libp2p/go-libp2p/core/crypto"
	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/mempool"
	"github.com/pheme-net/pheme/p2p"
	"github.com/pheme-net/pheme/p2p/trace"
)

// Names of what a node keeps in its data dir.
const (
	identityFile = "node.key"
	chainDir     = "chain"
	journalFile  = "journal"
	anchorFile   = "anchors"
	slotFile     = "slot"
	ReadyFile    = "node.json" // there while the node serves; see Ready
	SocketFile   = "node.ipc"
	TraceFile    = "trace.bin"
)

// Ready is what ReadyFile holds: where the node is to be found.
type Ready struct {
	PID     int      `json:"pid"`
	Name    string   `json:"name"`
	PeerID  string   `json:"peer_id"`
	P2P     []string `json:"p2p"` // multiaddrs with /p2p/<peer id>
	RPC     string   `json:"rpc"`
	WS      string   `json:"ws"`
	IPC     string   `json:"ipc"`
	Metrics string   `json:"metrics,omitempty"`
}

// Serve opens everything cfg names, serves until ctx ends, and closes it in the reverse order. It
// returns nil after an orderly stop. ready, which may be nil, is called once the node serves.
func Serve(ctx context.Context, cfg Config, ready func(Ready)) error {
	if err := RefuseReplay(); err != nil {
		return err
	}
	cfg.fill()
	if err := cfg.validate(); err != nil {
		return err
	}
	if err := setPackageLevel("*", cfg.LogLevel); err != nil {
		return err
	}
	genesis, dir, err := cfg.store()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("make data dir: %w", err)
	}
	d := Deps{Clock: trace.NewClock()}
	if d.Chain, err = chain.Open(cfg.Chain, genesis, dir, nil); err != nil {
		return err
	}
	defer d.Chain.Close()
	// The data dir is ours now: what a killed node left there says where nobody serves.
	if err := os.Remove(filepath.Join(cfg.DataDir, ReadyFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove old %s: %w", ReadyFile, err)
	}
	cfg.Pool.JournalPath = filepath.Join(cfg.DataDir, journalFile)
	cfg.P2P.Anchors = filepath.Join(cfg.DataDir, anchorFile)
	d.Pool, err = mempool.Open(cfg.Pool, genesis, d.Chain.State())
	if errors.Is(err, mempool.ErrConfig) {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err != nil {
		return err
	}
	defer d.Pool.Close()
	if err := openProposer(&cfg, &d); err != nil {
		return err
	}
	identity, err := loadIdentity(filepath.Join(cfg.DataDir, identityFile))
	if err != nil {
		return err
	}
	if d.Listener, err = listen("--http", cfg.HTTP); err != nil {
		return err
	}
	defer d.Listener.Close()
	if cfg.Metrics != "" {
		if d.Observe, err = listen("--metrics", cfg.Metrics); err != nil {
			return err
		}
		defer d.Observe.Close()
	}
	if d.Links, err = openLinks(cfg.Links, cfg.LinkNode); err != nil {
		return err
	}
	defer d.Links.Close()
	if d.Host, err = p2p.NewShapedHost(cfg.P2P, identity, d.Links.Shaper()); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err) // addresses that are none, or not to be had: as in listen
	}
	defer d.Host.Close()
	if cfg.Name == "" {
		id := d.Host.ID().String()
		cfg.Name = id[len(id)-6:]
	}
	cfg.RPC.IPC = filepath.Join(cfg.DataDir, SocketFile)
	cfg.RPC.ClientVersion = fmt.Sprintf("pheme/%s (no EVM: value transfers only)", Version)
	return serve(ctx, cfg, d, ready)
}

// serve runs the node beside the ring that records its events.
func serve(ctx context.Context, cfg Config, d Deps, ready func(Ready)) error {
	ring, closeTrace, err := openTrace(cfg, d)
	if err != nil {
		return err
	}
	defer closeTrace()
	if ring != nil {
		d.Hook = ring.Emit
	}
	n, err := New(cfg, d)
	if err != nil {
		return err
	}
	ringCtx, stopRing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRing()
	var g errgroup.Group
	if ring != nil {
		g.Go(func() error { return ring.Run(ringCtx) })
	}
	path := filepath.Join(cfg.DataDir, ReadyFile)
	err = n.Run(ctx, func() error {
		r := n.ready(cfg)
		if err := writeReady(path, r); err != nil {
			return err
		}
		log.Infow("serving", "name", r.Name, "rpc", r.RPC, "p2p", r.P2P, "network", d.Chain.Network(), "head", d.Chain.Head().Number)
		if ready != nil {
			ready(r)
		}
		return nil
	})
	os.Remove(path)
	stopRing() // after the last event
	return errors.Join(err, g.Wait())
}

func (n *Node) ready(cfg Config) Ready {
	addr := n.listener.Addr().String()
	r := Ready{
		PID: os.Getpid(), Name: n.name, PeerID: n.host.ID().String(), P2P: addrsOf(n.host),
		RPC: "http://" + addr, WS: "ws://" + addr, IPC: cfg.RPC.IPC,
	}
	if n.observeAt != nil {
		r.Metrics = "http://" + n.observeAt.Addr().String() + "/metrics"
	}
	return r
}

// writeReady replaces the file in one step, so that a reader never sees half of it.
func writeReady(path string, r Ready) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", ReadyFile, err)
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", ReadyFile, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write %s: %w", ReadyFile, err)
	}
	return nil
}

// openProposer loads the proposer's key and its last signed slot, when a key is configured.
func openProposer(cfg *Config, d *Deps) error {
	if cfg.ProposerKey == "" {
		return nil
	}
	key, err := crypto.LoadECDSA(cfg.ProposerKey)
	if err != nil {
		return fmt.Errorf("%w: proposer key %s: %w: 'pheme key new FILE' makes one", ErrConfig, cfg.ProposerKey, err)
	}
	guard, err := chain.OpenSlotGuard(filepath.Join(cfg.DataDir, slotFile))
	if err != nil {
		return err
	}
	d.Proposer, d.Guard = key, guard
	return nil
}

func addressOf(key *ecdsa.PrivateKey) common.Address { return crypto.PubkeyToAddress(key.PublicKey) }

// openTrace makes the ring over the trace file, or nothing when tracing is off.
func openTrace(cfg Config, d Deps) (*trace.Ring, func() error, error) {
	if !cfg.Trace {
		return nil, func() error { return nil }, nil
	}
	f, err := trace.CreateFile(filepath.Join(cfg.DataDir, TraceFile))
	if err != nil {
		return nil, nil, err
	}
	now := d.Clock.Now()
	ring, err := trace.NewRing(trace.RingConfig{}, f, trace.Header{
		Name: cfg.Name, PeerTag: trace.PeerTag(d.Host.ID().String()), MonoBase: now, WallBase: d.Clock.Wall(now),
	})
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return ring, f.Close, nil
}

// loadIdentity reads the host's key, or makes one on the first start.
func loadIdentity(path string) (p2pcrypto.PrivKey, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newIdentity(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read identity: %w", err)
	}
	key, err := p2pcrypto.UnmarshalPrivateKey(raw)
	if err != nil {
		return nil, fmt.Errorf("identity %s is damaged (%w): restore it, or remove it to become a new peer", path, err)
	}
	return key, nil
}

func newIdentity(path string) (p2pcrypto.PrivKey, error) {
	key, _, err := p2pcrypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make identity: %w", err)
	}
	raw, err := p2pcrypto.MarshalPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode identity: %w", err)
	}
	if err := chain.ReplaceFile(path, raw); err != nil {
		return nil, fmt.Errorf("write identity: %w", err)
	}
	return key, nil
}

// listen opens the address that flag gave.
func listen(flag, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%w: %s is taken by another program: pass another %s, or port 0 to let the system choose", ErrConfig, address, flag)
	case err != nil:
		return nil, fmt.Errorf("%w: %s: %w", ErrConfig, flag, err)
	}
	return l, nil
}

// setPackageLevel sets the level of one of our packages' logs, or of all with "*".
func setPackageLevel(pkg, level string) error {
	names := []string{"node", "p2p", "chain", "mempool", "rpc"}
	switch {
	case pkg == "*":
	case slices.Contains(names, pkg):
		names = []string{pkg}
	default:
		return fmt.Errorf("%w: no log %q: there are %s, and * for all", ErrConfig, pkg, strings.Join(names, ", "))
	}
	if _, err := logging.Parse(level); err != nil {
		return fmt.Errorf("%w: log level %q: use debug, info, warn or error", ErrConfig, level)
	}
	for _, ours := range names {
		if ours == "rpc" {
			ours = "pheme/rpc" // go-ethereum's is called rpc too
		}
		if err := logging.SetLogLevel(ours, level); err != nil && !errors.Is(err, logging.ErrNoSuchLogger) {
			return fmt.Errorf("set log level of %s: %w", ours, err)
		}
	}
	return nil
}
