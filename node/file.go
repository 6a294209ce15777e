package node

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/pheme-net/pheme/p2p"
)

// maxConfigFile bounds a configuration file before it is parsed.
const maxConfigFile = 1 << 20

// file is the form of a configuration file; what it leaves out stays zero and so takes its default.
type file struct {
	Name        string `toml:"name"`
	DataDir     string `toml:"data_dir"`
	Genesis     string `toml:"genesis"`
	ProposerKey string `toml:"proposer_key"`
	HTTP        string `toml:"http"`
	Metrics     string `toml:"metrics"`
	BlockBytes  int    `toml:"block_bytes"`
	Trace       bool   `toml:"trace"`
	LogLevel    string `toml:"log_level"`

	Chain struct {
		UndoBlocks  uint64 `toml:"undo_blocks"`
		PruneBodies uint64 `toml:"prune_bodies"`
		Extra       string `toml:"extra"`
	} `toml:"chain"`
	Pool struct {
		MaxCount    int      `toml:"max_count"`
		MaxBytes    int      `toml:"max_bytes"`
		MaxFuture   int      `toml:"max_future"`
		PerSender   int      `toml:"per_sender"`
		TTL         duration `toml:"ttl"`
		JournalSync bool     `toml:"journal_sync"`
	} `toml:"pool"`
	P2P p2pSection `toml:"p2p"`
	RPC struct {
		Hosts       []string `toml:"hosts"`
		Origins     []string `toml:"origins"`
		MaxBody     int      `toml:"max_body"`
		MaxBatch    int      `toml:"max_batch"`
		MaxResponse int      `toml:"max_response"`
		MaxConns    int      `toml:"max_conns"`
	} `toml:"rpc"`
}

type p2pSection struct {
	Listen    []string `toml:"listen"`
	Bootstrap []string `toml:"bootstrap"`
	Static    []string `toml:"static"`
	MDNS      bool     `toml:"mdns"`
	MaxPeers  int      `toml:"max_peers"`
	Relay     string   `toml:"relay"`

	D              int      `toml:"d"`
	Dlo            int      `toml:"d_lo"`
	Dhi            int      `toml:"d_hi"`
	Dout           int      `toml:"d_out"`
	Dlazy          int      `toml:"d_lazy"`
	Heartbeat      duration `toml:"heartbeat"`
	FloodPublish   bool     `toml:"flood_publish"`
	IDontWantBytes int      `toml:"idontwant_bytes"`
	OutboundQueue  int      `toml:"outbound_queue"`
	ValidateQueue  int      `toml:"validate_queue"`
	BatchBytes     int      `toml:"batch_bytes"`
	BatchDelay     duration `toml:"batch_delay"`

	Members           *bool    `toml:"members"`
	ProbeInterval     duration `toml:"probe_interval"`
	NewsInterval      duration `toml:"news_interval"`
	AggregateInterval duration `toml:"aggregate_interval"`
	Discovery         *bool    `toml:"discovery"`
	Outbound          int      `toml:"outbound"`

	Repair         *bool    `toml:"repair"`
	RepairInterval duration `toml:"repair_interval"`
	RepairFanout   int      `toml:"repair_fanout"`
	RepairMode     string   `toml:"repair_mode"`

	StateBlocks uint64 `toml:"state_blocks"`
	FullSync    bool   `toml:"full_sync"`
}

// duration is a time.Duration written as "700ms".
type duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is not a duration such as 700ms", text)
	}
	*d = duration(v)
	return nil
}

// ReadConfig reads a TOML file; an unknown key is an error that gives its line.
func ReadConfig(path string) (Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("%w: %w: check --config", ErrConfig, err)
	}
	return DecodeConfig(path, text)
}

// DecodeConfig parses the text of a configuration file; name stands in its errors, with the line.
func DecodeConfig(name string, text []byte) (Config, error) {
	if len(text) > maxConfigFile {
		return Config{}, fmt.Errorf("%w: %s is %d bytes: a configuration has at most %d", ErrConfig, name, len(text), maxConfigFile)
	}
	var f file
	err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&f)
	var unknown *toml.StrictMissingError
	var syntax *toml.DecodeError
	switch {
	case err == nil:
		return f.config(), nil
	case errors.As(err, &unknown):
		var keys []string
		for i := range unknown.Errors {
			row, _ := unknown.Errors[i].Position()
			keys = append(keys, fmt.Sprintf("%s:%d: unknown key %q", name, row, strings.Join(unknown.Errors[i].Key(), ".")))
		}
		return Config{}, fmt.Errorf("%w: %s", ErrConfig, strings.Join(keys, "; "))
	case errors.As(err, &syntax):
		row, col := syntax.Position()
		return Config{}, fmt.Errorf("%w: %s:%d:%d: %s", ErrConfig, name, row, col, strings.TrimPrefix(syntax.Error(), "toml: "))
	}
	return Config{}, fmt.Errorf("%w: %s: %w", ErrConfig, name, err)
}

func (f *file) config() Config {
	c := Config{
		Name: f.Name, DataDir: f.DataDir, Genesis: f.Genesis, ProposerKey: f.ProposerKey,
		HTTP: f.HTTP, Metrics: f.Metrics, BlockBytes: f.BlockBytes, Trace: f.Trace, LogLevel: f.LogLevel, P2P: f.P2P.config(),
	}
	c.Chain.UndoBlocks, c.Chain.PruneBodies, c.Chain.Extra = f.Chain.UndoBlocks, f.Chain.PruneBodies, f.Chain.Extra
	c.Pool.MaxCount, c.Pool.MaxBytes, c.Pool.MaxFuture = f.Pool.MaxCount, f.Pool.MaxBytes, f.Pool.MaxFuture
	c.Pool.PerSender, c.Pool.TTL, c.Pool.JournalSync = f.Pool.PerSender, time.Duration(f.Pool.TTL), f.Pool.JournalSync
	c.RPC.Hosts, c.RPC.Origins = f.RPC.Hosts, f.RPC.Origins
	c.RPC.MaxBody, c.RPC.MaxBatch, c.RPC.MaxResponse, c.RPC.MaxConns = f.RPC.MaxBody, f.RPC.MaxBatch, f.RPC.MaxResponse, f.RPC.MaxConns
	return c
}

func (s p2pSection) config() p2p.Config {
	return p2p.Config{
		Listen: s.Listen, Bootstrap: s.Bootstrap, Static: s.Static, MDNS: s.MDNS, MaxPeers: s.MaxPeers, Relay: s.Relay,
		D: s.D, Dlo: s.Dlo, Dhi: s.Dhi, Dout: s.Dout, Dlazy: s.Dlazy, Heartbeat: time.Duration(s.Heartbeat), FloodPublish: s.FloodPublish,
		IDontWantBytes: s.IDontWantBytes, OutboundQueue: s.OutboundQueue, ValidateQueue: s.ValidateQueue,
		BatchBytes: s.BatchBytes, BatchDelay: time.Duration(s.BatchDelay),
		NoMembers: s.Members != nil && !*s.Members, ProbeInterval: time.Duration(s.ProbeInterval), NewsInterval: time.Duration(s.NewsInterval),
		AggregateInterval: time.Duration(s.AggregateInterval), NoDiscovery: s.Discovery != nil && !*s.Discovery, Outbound: s.Outbound,
		NoRepair: s.Repair != nil && !*s.Repair, RepairInterval: time.Duration(s.RepairInterval), RepairFanout: s.RepairFanout, RepairMode: s.RepairMode,
		StateBlocks: s.StateBlocks, FullSync: s.FullSync,
	}
}
