package experiment

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"github.com/pheme-net/pheme/p2p/link"
)

func TestDefaultIsTheDocumentedExperiment(t *testing.T) {
	s := Default()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	want := Spec{
		Name: "default", Engine: "process", Seeds: []int64{1},
		Net:    Net{Nodes: 8, Topology: "random", Degree: 7, Transport: "tcp", Members: "on", Relay: "auto"},
		Gossip: Gossip{D: 8, Dlo: 6, Dhi: 12, Dout: 2, Dlazy: 6, TxD: 4, Heartbeat: Duration(700 * time.Millisecond), IDontWant: 4 << 10},
		Repair: Repair{Interval: Duration(2 * time.Second), Fanout: 2, Mode: "push-pull"},
		Chain:  Chain{Slot: Duration(time.Second), BlockSize: 128 << 10},
		Load: Load{
			Work: WorkBlocks, Blocks: 20, Warmup: 3, Origin: "rotate", Pools: "warm", TxSize: 16 << 10, TxRate: 8, Arrival: "uniform",
			Tick: Duration(50 * time.Millisecond), Drain: Duration(10 * time.Second),
		},
		Report: Report{CoverageFloor: 1, Draws: 2000},
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("Default() = %+v, want %+v", s, want)
	}
	if got := s.Expected(); got < 25*time.Second || got > 45*time.Second {
		t.Errorf("Expected() = %v, want about half a minute", got)
	}
}

func TestResolveKeepsWhatIsSet(t *testing.T) {
	s := Spec{Net: Net{Nodes: 20}, Chain: Chain{Slot: Duration(500 * time.Millisecond)}, Load: Load{TxSize: 2048}}
	s.Resolve()
	if s.Net.Nodes != 20 || s.Net.Degree != 10 || s.Load.TxRate != 128 || s.TxsPerBlock() != 64 {
		t.Errorf("resolved to %+v: want 20 nodes of degree 10, 64 transactions a block, 128 a second", s)
	}
	once := s
	s.Resolve()
	if !reflect.DeepEqual(s, once) {
		t.Errorf("resolving twice changed %+v to %+v", once, s)
	}
}

func TestResolvedFileRepeatsTheExperiment(t *testing.T) {
	s := Spec{Engine: "virtual", Seeds: []int64{3, 1}, Expect: map[string]Expectation{"block.c99_ms": "< 800", "block.coverage": ">= 1"}}
	s.Net.Supers.Share, s.Net.Loss, s.Report.UntilCI = .2, .01, .05
	s.Fault = []Fault{{At: Duration(time.Second), For: Duration(5 * time.Second), Partition: []Nodes{"0-3", "4-7"}}, {Kill: "10%"}}
	s.Resolve()
	text, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Decode("experiment.toml", text)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if !reflect.DeepEqual(back, s) {
		t.Errorf("read back %+v, want %+v from\n%s", back, s, text)
	}
	if back.Digest() != s.Digest() {
		t.Error("the digest changed on the way through the file")
	}
	other := s
	other.Load.Blocks++
	if other.Digest() == s.Digest() {
		t.Error("two experiments share a digest")
	}
}

// What a file holds is part of the experiment that names it, and must stay so until the experiment has run.
func TestFilesAreOfTheDigest(t *testing.T) {
	for _, tt := range []struct {
		key, one, other string
		name            func(s *Spec, path string)
	}{
		{"net.latency", "from,to,rtt_ms,share\na,a,10,100\n", "from,to,rtt_ms,share\na,a,20,100\n", func(s *Spec, path string) { s.Net.Latency = path }},
		{"net.topology", "0 1\n1 2\n", "0 1\n0 2\n", func(s *Spec, path string) { s.Net.Topology = "file:" + path }},
	} {
		path := filepath.Join(t.TempDir(), "file.csv")
		of := func(text string) (s Spec) {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			s.Engine, s.Net.Nodes = "virtual", 3
			tt.name(&s, path)
			s.Resolve()
			if err := s.Validate(); err != nil {
				t.Fatal(err)
			}
			return s
		}
		one, same, other := of(tt.one), of(tt.one), of(tt.other)
		if one.Digest() != same.Digest() || one.Digest() == other.Digest() {
			t.Errorf("%s: digests %s, %s and %s: want the last another", tt.key, one.Digest(), same.Digest(), other.Digest())
		}
		if err := one.Validate(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.key+": "+path+" has changed") {
			t.Errorf("%s: a file that has changed since: %v", tt.key, err)
		}
		one.Net.Latency, one.Net.Topology = "uniform:0.5ms", "ring"
		if one.Resolve(); one.Files != (Files{}) {
			t.Errorf("%s: %+v without a file", tt.key, one.Files)
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"unknown key", "name = \"x\"\n[net]\nnods = 8\n", `e.toml:3:1: unknown key "net.nods"`},
		{"unknown table", "[nett]\nnodes = 8\n", `e.toml:1:2: unknown key "nett"`},
		{"two unknown keys", "a = 1\nb = 2\n", `e.toml:2:1: unknown key "b"`},
		{"syntax", "name = \n", "e.toml:1:8: "},
		{"wrong type", "[net]\nnodes = \"eight\"\n", "e.toml:2:9: "},
		{"bad size", "[chain]\nblock_size = \"128 potatoes\"\n", `e.toml:2:14: "128 potatoes" is not a size`},
		{"bad duration", "[chain]\nslot = \"fast\"\n", `e.toml:2:8: "fast" is not a duration`},
	}
	for _, tt := range tests {
		_, err := Decode("e.toml", []byte(tt.text))
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := Decode("e.toml", make([]byte, maxFile+1)); !errors.Is(err, ErrInvalid) {
		t.Errorf("a file over the limit: %v", err)
	}
}

func TestValidateNamesTheField(t *testing.T) {
	tests := []struct {
		bend func(*Spec)
		want string
	}{
		{func(s *Spec) { s.Name = "../x" }, "name = ../x:"},
		{func(s *Spec) { s.Engine = "magic" }, "engine = magic:"},
		{func(s *Spec) { s.Seeds = []int64{1, 2, 1} }, "seeds = [1 2 1]:"},
		{func(s *Spec) { s.Net.Nodes = 1 }, "net.nodes = 1:"},
		{func(s *Spec) { s.Net.Nodes = 1000 }, "net.nodes = 1000:"},
		{func(s *Spec) { s.Net.Topology = "torus" }, "net.topology = torus:"},
		{func(s *Spec) { s.Net.Degree = 8 }, "net.degree = 8:"},
		{func(s *Spec) { s.Net.Degree = 1 }, "net.degree = 1:"},
		{func(s *Spec) { s.Net.Transport = "udp" }, "net.transport = udp:"},
		{func(s *Spec) { s.Net.Relay = "pigeon" }, "net.relay = pigeon:"},
		{func(s *Spec) { s.Chain.Slot = Duration(time.Millisecond) }, "chain.slot = 1ms:"},
		{func(s *Spec) { s.Chain.Slot = Duration(time.Second + 1) }, "chain.slot = 1.000000001s:"},
		{func(s *Spec) { s.Chain.BlockSize = 5 << 20 }, "chain.block_size = 5MiB:"},
		{func(s *Spec) { s.Chain.BlockSize = 16 << 10 }, "chain.block_size = 16KiB:"},
		{func(s *Spec) { s.Load.TxSize = 64 << 10 }, "load.tx_size = 64KiB:"},
		{func(s *Spec) { s.Load.TxSize = 100 }, "load.tx_size = 100B:"},
		{func(s *Spec) { s.Load.Blocks = -1 }, "load.blocks = -1:"},
		{func(s *Spec) { s.Load.Warmup = -1 }, "load.warmup = -1:"},
		{func(s *Spec) { s.Load.TxRate = -1 }, "load.tx_rate = -1:"},
		{func(s *Spec) { s.Load.Tick = Duration(time.Hour) }, "load.tick = 1h0m0s:"},
		{func(s *Spec) { s.Report.CoverageFloor = 2 }, "report.coverage_floor = 2:"},
		{func(s *Spec) { s.Report.Draws = 10 }, "report.draws = 10:"},
		{func(s *Spec) { s.Net.Topology = "discovery" }, "net.members = on: must be full for the topology discovery"},
		{func(s *Spec) { s.Net.Jitter, s.Net.Window = "1ms", "wide" }, "net.window = wide:"},
		{func(s *Spec) { s.Gossip.D = 1 }, "gossip.d = 1:"},
		{func(s *Spec) { s.Gossip.Dlo = 9 }, "gossip.d_lo = 9:"},
		{func(s *Spec) { s.Gossip.Dhi = 7 }, "gossip.d_hi = 7:"},
		{func(s *Spec) { s.Gossip.Dout = 6 }, "gossip.d_out = 6:"},
		{func(s *Spec) { s.Gossip.Dlazy = -1 }, "gossip.d_lazy = -1:"},
		{func(s *Spec) { s.Gossip.TxD = 1 }, "gossip.tx_d = 1:"},
		{func(s *Spec) { s.Gossip.Heartbeat = 1 }, "gossip.heartbeat = 1ns:"},
		{func(s *Spec) { s.Gossip.IDontWant = -1 }, "gossip.idontwant = -1B:"},
		{func(s *Spec) { s.Repair.Interval = 1 }, "repair.interval = 1ns:"},
		{func(s *Spec) { s.Repair.Fanout = -1 }, "repair.fanout = -1:"},
		{func(s *Spec) { s.Repair.Mode = "shove" }, "repair.mode = shove:"},
		{func(s *Spec) { s.Load.Work = "hard" }, "load.work = hard:"},
		{func(s *Spec) { s.Load.Duration = Duration(time.Second) }, "load.duration = 1s:"},
		{func(s *Spec) { s.Load.Origin = "moon" }, "load.origin = moon:"},
		{func(s *Spec) { s.Load.Arrival = "bursts" }, "load.arrival = bursts:"},
		{func(s *Spec) { s.Net.Members = "some" }, "net.members = some:"},
		{func(s *Spec) { s.CPU.Cores = 1 }, "cpu = map[cores:1 mode:]: real processes"},
		{func(s *Spec) { s.Engine, s.CPU.Mode = "virtual", "free"; s.Resolve() }, "cpu.mode = free:"},
		{func(s *Spec) { s.Engine, s.CPU = "virtual", CPU{Mode: CPUOff, Cores: 2}; s.Resolve() }, "cpu = map[cores:2 mode:off]: has prices"},
		{func(s *Spec) { s.Engine, s.CPU = "virtual", CPU{Mode: CPUMeasure, HashUS: 2}; s.Resolve() }, "has prices that mode"},
		{func(s *Spec) { s.Engine, s.Net.Transport = "virtual", "quic"; s.Resolve() }, "net.transport = quic: virtual time has one modelled transport"},
		{func(s *Spec) { s.Engine, s.CPU.Cores = "virtual", -1; s.Resolve() }, "cpu.cores = -1:"},
		{func(s *Spec) { s.Engine, s.CPU.HashUS = "virtual", -1; s.Resolve() }, "cpu.hash_us = -1:"},
		{func(s *Spec) { s.Load.Pools = "hot" }, "load.pools = hot: must be warm, half or cold"},
		{func(s *Spec) { s.Load.Pools = PoolsCold }, "load.pools = cold: only the virtual engine"},
		{func(s *Spec) { s.Engine, s.Load.Pools, s.Load.TxRate = "virtual", PoolsHalf, 3; s.Net.resolve(true) }, "load.tx_rate = 3: nothing is submitted"},
		{func(s *Spec) {
			s.Engine, s.Load = "virtual", Load{Work: WorkTxs, Pools: PoolsCold}
			s.Resolve()
		}, "load.pools = cold: is about blocks"},
		{func(s *Spec) { s.Load.Drain = Duration(time.Second) }, "load.drain = 1s: must be at least 10s"},
		{func(s *Spec) { s.Load.Work, s.Load.Blocks = WorkTxs, 0 }, "load.duration = nothing:"},
		{func(s *Spec) { s.Load.Work = WorkTxs }, "load.blocks = 20: there are none"},
		{func(s *Spec) {
			s.Load = Load{Work: WorkTxs, TxRate: 1000, TxSize: 32 << 10}
			s.Resolve()
		}, "load.tx_rate = 1000: fills the pools"},
		{func(s *Spec) { s.Report.UntilCI = 2 }, "report.until_ci = 2:"},
		{func(s *Spec) { s.Report.UntilSeeds = 9 }, "report.until_figure = nothing: has no report.until_ci"},
		{func(s *Spec) { s.Report.UntilCI, s.Report.UntilSeeds = .1, 0 }, "report.until_seeds = nothing:"},
		{func(s *Spec) { s.Expect = map[string]Expectation{"block.c99_ms": "fast"} }, `expect "block.c99_ms" = "fast": write <`},
		{func(s *Spec) { s.Fault = []Fault{{}} }, "fault 1: kind: must be exactly one of partition"},
	}
	for _, tt := range tests {
		s := Default()
		tt.bend(&s)
		if err := s.Validate(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Validate() = %v, want a complaint about %q", err, tt.want)
		}
	}
}

func TestValidateOfLinks(t *testing.T) {
	tests := []struct {
		bend func(*Net)
		want string
	}{
		{func(n *Net) { n.Latency = "mars" }, "net.latency: "},
		{func(n *Net) { n.Jitter = "often" }, "net.latency: jitter \"often\" is not a time"},
		{func(n *Net) { n.Jitter = "1s" }, "net.latency: link: latency \"world\": a jitter of 1s is impossible"},
		{func(n *Net) { n.Rate = "fast" }, "net.rate: "},
		{func(n *Net) { n.Up = "50" }, "net.up: "},
		{func(n *Net) { n.Down = "-1mbit" }, "net.down: "},
		{func(n *Net) { n.LossCC = "cubic" }, "net.loss_cc: "},
		{func(n *Net) { n.Loss = .9 }, "net.loss = 0.9:"},
		{func(n *Net) { n.Reorder = 1 }, "net.reorder = 1:"},
		{func(n *Net) { n.Window = "broken" }, "net.window = broken:"},
		{func(n *Net) { n.Relay = "pigeon" }, "net.relay = pigeon:"},
		{func(n *Net) { n.Mixed = Mixed{1.5, "auto"} }, "net.mixed = map["},
		{func(n *Net) { n.Mixed = Mixed{.5, "pigeon"} }, "relay must be one of"},
		{func(n *Net) { n.Mixed.Relay = "auto" }, "has a relay for a share of 0"},
		{func(n *Net) { n.Supers.Share = 1.5 }, "net.supers = map["},
		{func(n *Net) { n.Supers.Up = "1gbit" }, "has rates for a share of 0"},
		{func(n *Net) { n.Supers = Supers{.2, "1gbit", "much"} }, "net.supers.down: "},
	}
	for _, tt := range tests {
		s := Spec{Engine: "virtual"}
		s.Resolve()
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		tt.bend(&s.Net)
		if err := s.Validate(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Validate() = %v, want a complaint about %q", err, tt.want)
		}
	}
}

func TestRelayOf(t *testing.T) {
	s := Spec{Engine: "virtual", Net: Net{Nodes: 40, Relay: "coded", Mixed: Mixed{.25, "gossip"}}}
	s.Resolve()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	first, again, other := s.RelayOf(1), s.RelayOf(1), s.RelayOf(2)
	count := 0
	for _, r := range first {
		if r == "gossip" {
			count++
		}
	}
	if count != 10 || len(first) != 40 || !reflect.DeepEqual(first, again) || reflect.DeepEqual(first, other) {
		t.Errorf("%d of %d nodes gossip: %v, %v, %v", count, len(first), first, again, other)
	}
}

func TestLinkConfig(t *testing.T) {
	s := Spec{Engine: "virtual", Net: Net{Nodes: 40, Up: "10mbit", Jitter: "0s", Loss: .01, LossCC: "none", Window: "open", Supers: Supers{Share: .2}}}
	s.Resolve()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	if got, want := s.Links(), "world jitter 0s, 10mbit up 50mbit down, 20 % of nodes 1gbit/1gbit, 1 % loss (none), open windows, idealised (loss_cc = none)"; got != want {
		t.Errorf("Links() = %q, want %q", got, want)
	}
	cfg, err := s.LinkConfig(7)
	if err != nil {
		t.Fatal(err)
	}
	supers := 0
	for i, n := range cfg.Nodes {
		switch {
		case n.Up == link.Gbit && n.Down == link.Gbit:
			supers++
		case n.Up != 10*link.Mbit || n.Down != 50*link.Mbit:
			t.Errorf("node %d has the rates %s and %s", i, n.Up, n.Down)
		}
	}
	if supers != 8 || cfg.Loss != .01 || cfg.LossCC != link.None || cfg.Window != link.NoWindow || cfg.Seed != 7 {
		t.Errorf("%d of 40 nodes are super, want 8; %+v", supers, cfg)
	}
	if p := cfg.Table.Path(7, 0, 0, 1, 1); p.Jitter != 0 || p.Min < 10*time.Millisecond {
		t.Errorf("a path without jitter is %+v", p)
	}
	again, err := s.LinkConfig(7)
	if err != nil || !reflect.DeepEqual(cfg, again) {
		t.Errorf("the same seed gave other links, %v", err)
	}
}

func TestExpectation(t *testing.T) {
	for text, met := range map[Expectation]map[float64]bool{
		"< 800":    {799: true, 800: false, math.Inf(1): false},
		"<=2.5":    {2.5: true, 2.6: false},
		"> 0":      {0: false, 1: true},
		">= 1":     {1: true, .999: false, math.NaN(): false},
		" = 0 ":    {0: true, 1: false},
		"== 3":     {3: false},
		"faster!":  {1: false},
		"> 1, < 3": {1: false, 2: true, 3: false},
		"> 1,":     {2: false},
	} {
		for v, want := range met {
			if text.Met(v) != want {
				t.Errorf("%v %s = %v, want %v", v, text, !want, want)
			}
		}
	}
}

func TestBytesText(t *testing.T) {
	for text, want := range map[string]Bytes{
		"128KiB": 128 << 10, "1MiB": 1 << 20, "1.5MiB": 3 << 19, "250B": 250, "131072": 131072, " 2 kB ": 2000, "0": 0,
	} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil || b != want {
			t.Errorf("%q = %d, %v, want %d", text, b, err, want)
		}
	}
	for _, text := range []string{"", "KiB", "-1B", "0.3B", "1e300GiB", "NaN", "12 parsecs"} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %d", text, b)
		}
	}
	law := func(n uint32) bool {
		var back Bytes
		return back.UnmarshalText([]byte(Bytes(n).String())) == nil && back == Bytes(n)
	}
	if err := quick.Check(law, nil); err != nil {
		t.Error(err)
	}
}

// What decodes must, once resolved, either be refused by name or survive its own resolved file.
func FuzzDecode(f *testing.F) {
	text, _ := new(Spec).Encode()
	f.Add(text)
	f.Add([]byte("seeds = [1,2]\n[net]\nnodes = 20\n[chain]\nslot = \"250ms\"\nblock_size = 1048576\n"))
	f.Add([]byte("engine = \"virtual\"\n[load]\nwork = \"transactions\"\n[net.supers]\nshare = 0.5\n[[fault]]\nat = \"1s\"\npartition = [\"0-3\", \"region:tokyo,7\"]\n[expect]\n\"tx.p50_ms\" = \"< 9\"\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Decode("f", text)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("error %v does not wrap ErrInvalid", err)
			}
			return
		}
		s.Resolve()
		if s.Validate() != nil {
			return
		}
		out, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Decode("f", out); err != nil || back.Digest() != s.Digest() {
			t.Fatalf("resolved file does not repeat: %v\n%s", err, out)
		}
	})
}

// TestMemory holds the estimate against resident sets that were measured, in GiB: never below one, and at most twice as much.
func TestMemory(t *testing.T) {
	for _, m := range []struct {
		nodes    int
		block    Bytes
		relay    string
		pools    string
		measured float64
	}{
		{200, 1 << 20, "gossip", PoolsCold, 1.51},
		{300, 128 << 10, "gossip", PoolsCold, 1.52},
		{1000, 1 << 20, "gossip", PoolsCold, 3.18},
		{100, 4 << 20, "gossip", PoolsCold, 1.75},
		{100, 128 << 10, "gossip", PoolsWarm, 1.33},
		{300, 1 << 20, "coded", PoolsCold, 3.91},
		{300, 128 << 10, "auto", PoolsWarm, 1.59},
	} {
		s := Spec{Engine: "virtual", Net: Net{Nodes: m.nodes, Relay: m.relay}, Chain: Chain{BlockSize: m.block}, Load: Load{Pools: m.pools}}
		s.Resolve()
		if got := float64(s.Memory()) / (1 << 30); got < m.measured || got > 2*m.measured {
			t.Errorf("%d nodes, %s, %s, %s pools: Memory() = %.2f GiB, measured %.2f", m.nodes, m.block, m.relay, m.pools, got, m.measured)
		}
	}
}
