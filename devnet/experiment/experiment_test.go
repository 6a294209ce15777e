package experiment

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/quick"
	"time"
)

func TestDefaultIsTheDocumentedExperiment(t *testing.T) {
	s := Default()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	want := Spec{
		Name: "default", Engine: "process", Seeds: []int64{1},
		Net:    Net{Nodes: 8, Topology: "random", Degree: 7, Transport: "tcp", Relay: "gossip"},
		Chain:  Chain{Slot: Duration(time.Second), BlockSize: 128 << 10},
		Load:   Load{Blocks: 20, Warmup: 3, TxSize: 16 << 10, TxRate: 8, Tick: Duration(50 * time.Millisecond)},
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
	s := Default()
	s.Seeds = []int64{3, 1}
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
	}
	for _, tt := range tests {
		s := Default()
		tt.bend(&s)
		if err := s.Validate(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Validate() = %v, want a complaint about %q", err, tt.want)
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
