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
	Name        string `toml:"name" comment:"shown in status and traces; empty: from the peer id"`
	DataDir     string `toml:"data_dir" comment:"identity, chain and journal; made if absent"`
	Genesis     string `toml:"genesis" comment:"path of the network's genesis file"`
	ProposerKey string `toml:"proposer_key" comment:"path of a hex private key; empty: this node proposes nothing"`
	HTTP        string `toml:"http" comment:"JSON-RPC over HTTP and WebSocket; port 0 lets the system choose"`
	Metrics     string `toml:"metrics" comment:"address of /metrics, /livez and /readyz; empty: not served"`
	BlockBytes  int    `toml:"block_bytes" comment:"bytes our own blocks are filled to, 1024 to the genesis limit; 0: that limit"`
	Trace       bool   `toml:"trace" comment:"record every event in trace.bin of the data dir"`
	LogLevel    string `toml:"log_level" comment:"debug, info, warn or error"`

	Chain struct {
		UndoBlocks  uint64 `toml:"undo_blocks" comment:"deepest reorganisation; 0: 4096 blocks or 10 minutes of slots, whichever is more"`
		PruneBodies uint64 `toml:"prune_bodies" comment:"keep the transactions of this many newest blocks only, at least undo_blocks; 0 keeps all"`
		Extra       string `toml:"extra" comment:"extraData of our blocks, at most 32 bytes"`
	} `toml:"chain"`
	Pool struct {
		MaxCount    int      `toml:"max_count" comment:"transactions"`
		MaxBytes    int      `toml:"max_bytes" comment:"encoded transactions"`
		MaxFuture   int      `toml:"max_future" comment:"transactions that wait for an earlier nonce"`
		PerSender   int      `toml:"per_sender" comment:"transactions of one account"`
		TTL         duration `toml:"ttl" comment:"a transaction that waited so long is dropped"`
		JournalSync bool     `toml:"journal_sync" comment:"fsync before answering: acknowledged transactions survive power loss"`
	} `toml:"pool"`
	P2P p2pSection `toml:"p2p"`
	RPC struct {
		Hosts       []string `toml:"hosts" comment:"names in the Host header besides addresses and localhost"`
		Origins     []string `toml:"origins" comment:"web origins that may call"`
		MaxBody     int      `toml:"max_body" comment:"bytes of a request"`
		MaxBatch    int      `toml:"max_batch" comment:"calls of a batch"`
		MaxResponse int      `toml:"max_response" comment:"bytes of an answer"`
		MaxConns    int      `toml:"max_conns" comment:"connections"`
		MaxRate     int      `toml:"max_rate" comment:"calls a second of one address, unless it is this machine's; a batch counts its calls"`
	} `toml:"rpc"`
}

type p2pSection struct {
	Listen    []string `toml:"listen" comment:"multiaddrs to take peers at"`
	Bootstrap []string `toml:"bootstrap" comment:"multiaddrs of peers to start from"`
	Static    []string `toml:"static" comment:"multiaddrs of peers to stay connected to"`
	MDNS      bool     `toml:"mdns" comment:"find peers on the local network"`
	MaxPeers  int      `toml:"max_peers" comment:"connections"`
	Relay     string   `toml:"relay" comment:"how blocks of ours travel"`

	D              int      `toml:"d" comment:"GossipSub: mesh degree"`
	Dlo            int      `toml:"d_lo" comment:"below it peers are grafted"`
	Dhi            int      `toml:"d_hi" comment:"above it peers are pruned"`
	Dout           int      `toml:"d_out" comment:"at least so many of the mesh we dialled"`
	Dlazy          int      `toml:"d_lazy" comment:"peers that are told what we have (IHAVE)"`
	TxD            int      `toml:"tx_d" comment:"degree of the mesh for transactions; its bounds are one less and one more"`
	Heartbeat      duration `toml:"heartbeat" comment:"of GossipSub, at a random phase"`
	FloodPublish   bool     `toml:"flood_publish" comment:"send what we originate to every peer, not only to the mesh"`
	IDontWantBytes int      `toml:"idontwant_bytes" comment:"payloads from this size on are announced by IDONTWANT"`
	OutboundQueue  int      `toml:"outbound_queue" comment:"RPCs that may wait for a peer"`
	ValidateQueue  int      `toml:"validate_queue" comment:"messages that may wait to be judged"`
	BatchBytes     int      `toml:"batch_bytes" comment:"a batch of transactions leaves when it is so large"`
	BatchDelay     duration `toml:"batch_delay" comment:"or so old"`

	Members           *bool    `toml:"members" comment:"membership and failure detection"`
	ProbeInterval     duration `toml:"probe_interval" comment:"one member is probed"`
	NewsInterval      duration `toml:"news_interval" comment:"some are told what is new"`
	AggregateInterval duration `toml:"aggregate_interval" comment:"averages are exchanged with one"`
	Discovery         *bool    `toml:"discovery" comment:"choose and dial peers among the members"`
	Outbound          int      `toml:"outbound" comment:"connections chosen so; max_peers less these may dial us"`

	Repair         *bool    `toml:"repair" comment:"reconcile pools with peers"`
	RepairInterval duration `toml:"repair_interval" comment:"between two rounds"`
	RepairFanout   int      `toml:"repair_fanout" comment:"peers a round"`
	RepairMode     string   `toml:"repair_mode" comment:"push, pull or push-pull"`

	StateBlocks uint64 `toml:"state_blocks" comment:"further behind than this, take over a state instead of executing the blocks"`
	FullSync    bool   `toml:"full_sync" comment:"never do"`
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

// MarshalText implements encoding.TextMarshaler.
func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

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
	c.RPC.MaxBody, c.RPC.MaxBatch, c.RPC.MaxResponse, c.RPC.MaxConns, c.RPC.MaxRate = f.RPC.MaxBody, f.RPC.MaxBatch, f.RPC.MaxResponse, f.RPC.MaxConns, f.RPC.MaxRate
	return c
}

func (s p2pSection) config() p2p.Config {
	return p2p.Config{
		Listen: s.Listen, Bootstrap: s.Bootstrap, Static: s.Static, MDNS: s.MDNS, MaxPeers: s.MaxPeers, Relay: s.Relay,
		D: s.D, Dlo: s.Dlo, Dhi: s.Dhi, Dout: s.Dout, Dlazy: s.Dlazy, TxD: s.TxD, Heartbeat: time.Duration(s.Heartbeat), FloodPublish: s.FloodPublish,
		IDontWantBytes: s.IDontWantBytes, OutboundQueue: s.OutboundQueue, ValidateQueue: s.ValidateQueue,
		BatchBytes: s.BatchBytes, BatchDelay: time.Duration(s.BatchDelay),
		NoMembers: s.Members != nil && !*s.Members, ProbeInterval: time.Duration(s.ProbeInterval), NewsInterval: time.Duration(s.NewsInterval),
		AggregateInterval: time.Duration(s.AggregateInterval), NoDiscovery: s.Discovery != nil && !*s.Discovery, Outbound: s.Outbound,
		NoRepair: s.Repair != nil && !*s.Repair, RepairInterval: time.Duration(s.RepairInterval), RepairFanout: s.RepairFanout, RepairMode: s.RepairMode,
		StateBlocks: s.StateBlocks, FullSync: s.FullSync,
	}
}
