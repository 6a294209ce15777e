package experiment

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/pheme-net/pheme/p2p/link"
)

// Limits of what one host and one chain can carry; Validate names them.
const (
	maxNodes     = 64                     // processes on one machine; more is the virtual engine's work
	maxVirtual   = 5000                   // nodes in virtual time: about 2 MB each before the first block
	minSlot      = 100 * time.Millisecond // the chain's own floor
	maxBlock     = 4 << 20                // the chain's body limit
	maxTx        = 32 << 10               // the pool's and the wire's limit
	minTx        = 128                    // a signed transfer without data
	maxMessages  = 100_000                // counted blocks, bounds the memory of a run
	defaultFloor = 1.0                    // a local network without faults must lose nothing
)

// Spec is one experiment. A zero field means the default; [Spec.Resolve] writes the defaults in.
type Spec struct {
	// Name begins the folder of the run: lower-case letters, digits and dashes.
	Name string `toml:"name" json:"name" comment:"begins the name of the run's folder"`
	// Engine says what runs the nodes: "process" is one real process a node, "virtual" has all of
	// them in one process in virtual time.
	Engine string `toml:"engine" json:"engine" comment:"process: one real process a node; virtual: all nodes in one process in virtual time"`
	// Seeds holds one run each; a seed fixes topology, keys, schedule and resampling.
	Seeds []int64 `toml:"seeds" json:"seeds" comment:"one run for each"`

	Net    Net    `toml:"net" json:"net"`
	Chain  Chain  `toml:"chain" json:"chain"`
	Load   Load   `toml:"load" json:"load"`
	Report Report `toml:"report" json:"report"`
}

// Net is the network: how many nodes, connected how.
type Net struct {
	Nodes     int    `toml:"nodes" json:"nodes"`
	Topology  string `toml:"topology" json:"topology" comment:"random, full, ring, line or star"`
	Degree    int    `toml:"degree" json:"degree" comment:"connections a node in the random topology"`
	Transport string `toml:"transport" json:"transport" comment:"tcp or quic"`
	Relay     string `toml:"relay" json:"relay" comment:"how blocks travel: gossip"`
	// The link model, in virtual time only.
	Latency string  `toml:"latency,omitempty" json:"latency,omitempty" comment:"lan, world, uniform:50ms or a CSV file; virtual engine"`
	Rate    string  `toml:"rate,omitempty" json:"rate,omitempty" comment:"up and down of every node, such as 50mbit; virtual engine"`
	Loss    float64 `toml:"loss,omitempty" json:"loss,omitempty" comment:"share of packets lost; virtual engine"`
}

// Chain is the rhythm and size of blocks.
type Chain struct {
	Slot      Duration `toml:"slot" json:"slot"`
	BlockSize Bytes    `toml:"block_size" json:"block_size" comment:"the encoded transactions of a block"`
}

// Load is the open-loop workload: what is sent when is fixed before the first transaction leaves.
type Load struct {
	Blocks int   `toml:"blocks" json:"blocks" comment:"counted blocks for each seed"`
	Warmup int   `toml:"warmup" json:"warmup" comment:"blocks before them that never count"`
	TxSize Bytes `toml:"tx_size" json:"tx_size" comment:"trimmed so that whole transactions fill a block"`
	// TxRate 0 becomes the rate at which every block is full.
	TxRate float64  `toml:"tx_rate" json:"tx_rate" comment:"transactions a second over all nodes"`
	Tick   Duration `toml:"tick" json:"tick" comment:"a node's submissions within one tick share one call"`
}

// Report is what makes a run fit to report and how its intervals are drawn.
type Report struct {
	CoverageFloor float64 `toml:"coverage_floor" json:"coverage_floor" comment:"a run below it is refused with exit code 5"`
	Draws         int     `toml:"draws" json:"draws" comment:"bootstrap draws"`
	Strict        bool    `toml:"strict" json:"strict" comment:"refuse a run on a saturated host"`
}

// Default is the resolved experiment that `pheme devnet measure` runs when told nothing.
func Default() Spec {
	var s Spec
	s.Resolve()
	return s
}

// Resolve writes the default into every field that is zero. It does not validate.
func (s *Spec) Resolve() {
	fill(&s.Name, "default")
	fill(&s.Engine, "process")
	if len(s.Seeds) == 0 {
		s.Seeds = []int64{1}
		if s.Virtual() {
			s.Seeds = []int64{1, 2, 3, 4, 5} // enough to draw seeds too
		}
	}
	if s.Virtual() {
		fill(&s.Net.Latency, "world")
		fill(&s.Net.Rate, "50mbit") // a home or a small server; EIP-7870's node
	}
	fill(&s.Net.Nodes, 8)
	fill(&s.Net.Topology, "random")
	fill(&s.Net.Degree, max(1, min(s.Net.Nodes-1, 10))) // all to all while small; 10 gives GossipSub's D=8 a choice
	fill(&s.Net.Transport, "tcp")                       // QUIC costs 2.4-3x its CPU on loopback
	fill(&s.Net.Relay, "gossip")
	fill(&s.Chain.Slot, Duration(time.Second))
	fill(&s.Chain.BlockSize, 128<<10)
	fill(&s.Load.Blocks, 20)
	fill(&s.Load.Warmup, 3)
	fill(&s.Load.TxSize, 16<<10)
	fill(&s.Load.TxRate, float64(s.TxsPerBlock())/s.Chain.Slot.D().Seconds())
	fill(&s.Load.Tick, Duration(50*time.Millisecond)) // one call a tick and node keeps HTTP off the measured CPU
	fill(&s.Report.CoverageFloor, defaultFloor)
	fill(&s.Report.Draws, 2000)
}

// Virtual says whether the run is in virtual time, over modelled links.
func (s *Spec) Virtual() bool { return s.Engine == "virtual" }

// Links describes the links in a few words.
func (s *Spec) Links() string {
	if !s.Virtual() {
		return "unshaped"
	}
	text := s.Net.Latency + ", " + s.Net.Rate
	if s.Net.Loss > 0 {
		text += fmt.Sprintf(", %g %% loss (reno)", 100*s.Net.Loss)
	}
	return text
}

// TxsPerBlock is how many transactions of about TxSize fill a block, at least one.
func (s *Spec) TxsPerBlock() int {
	if s.Load.TxSize <= 0 {
		return 1
	}
	return max(1, int((s.Chain.BlockSize+s.Load.TxSize/2)/s.Load.TxSize))
}

// Horizon is how long after its publication a message may still be delivered: ten slots, but no
// less than 10 s.
func (s *Spec) Horizon() time.Duration { return max(10*time.Second, 10*s.Chain.Slot.D()) }

// Expected is how long the run of all seeds takes, from start to report. On processes: about 2 s
// and 30 ms a node until the mesh is formed, one block ahead, the slots, and the drain. In virtual
// time: what the nodes compute, on a core of about 3 GHz that nothing else uses.
func (s *Spec) Expected() time.Duration {
	blocks := s.Load.Warmup + s.Load.Blocks
	if s.Virtual() {
		each := 3*time.Millisecond + time.Duration(float64(10*time.Millisecond)*float64(s.Chain.BlockSize)/(128<<10))
		run := time.Second + time.Duration(s.Net.Nodes)*(5*time.Millisecond+time.Duration(blocks+1)*each)
		return time.Duration(len(s.Seeds)) * run
	}
	setup := 4*time.Second + time.Duration(s.Net.Nodes)*60*time.Millisecond
	slots := time.Duration(blocks+3) * s.Chain.Slot.D()
	return time.Duration(len(s.Seeds)) * (setup + slots + 2*time.Second)
}

// Digest names the resolved experiment: the first 8 hex digits of the SHA-256 of its JSON form,
// which has every key and no comments.
func (s *Spec) Digest() string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("experiment: a Spec has a JSON form: %v", err)) // only plain values in it
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:4])
}

// Encode is the TOML form of s with every key, each with its comment.
func (s *Spec) Encode() ([]byte, error) {
	out, err := toml.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode experiment: %w", err)
	}
	return out, nil
}

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

// Validate reports the first field of a resolved s that cannot be run honestly, by its key, with
// what to write instead.
func (s *Spec) Validate() error {
	checks := []struct {
		bad bool
		key string
		why string
	}{
		{!nameForm.MatchString(s.Name), "name", "use lower-case letters, digits and dashes"},
		{s.Engine != "process" && !s.Virtual(), "engine", `must be "process" or "virtual"`},
		{len(s.Seeds) > 1000 || repeated(s.Seeds), "seeds", "must be at most 1000, each once"},
		{s.Net.Nodes < 2 || !s.Virtual() && s.Net.Nodes > maxNodes, "net.nodes", fmt.Sprintf("must be 2 to %d: every node is a process here; the virtual engine takes more", maxNodes)},
		{s.Net.Nodes > maxVirtual, "net.nodes", fmt.Sprintf("must be at most %d", maxVirtual)},
		{!s.Virtual() && (s.Net.Latency != "" || s.Net.Rate != "" || s.Net.Loss != 0), "net", "latency, rate and loss shape the links of the virtual engine: set engine = \"virtual\""},
		{!(s.Net.Loss >= 0 && s.Net.Loss <= 0.5), "net.loss", "must be 0 to 0.5"},
		{!slices.Contains([]string{"random", "full", "ring", "line", "star"}, s.Net.Topology), "net.topology", "must be random, full, ring, line or star"},
		{s.Net.Degree < 1 || s.Net.Degree > s.Net.Nodes-1, "net.degree", "must be 1 to net.nodes - 1"},
		{s.Net.Topology == "random" && s.Net.Degree < 2 && s.Net.Nodes > 2, "net.degree", "must be at least 2, or the random network falls apart"},
		{!slices.Contains([]string{"tcp", "quic"}, s.Net.Transport), "net.transport", "must be tcp or quic"},
		{s.Net.Relay != "gossip", "net.relay", `must be "gossip"`},
		{s.Chain.Slot.D() < minSlot || s.Chain.Slot.D() > time.Minute, "chain.slot", "must be 100ms to 1m"},
		{s.Chain.Slot.D()%time.Millisecond != 0, "chain.slot", "must be whole milliseconds"},
		{s.Load.TxSize < minTx || s.Load.TxSize > maxTx, "load.tx_size", fmt.Sprintf("must be %d to %d bytes", minTx, maxTx)},
		{s.Chain.BlockSize > maxBlock, "chain.block_size", "must be at most 4MiB"},
		{s.Chain.BlockSize < s.Load.TxSize+1024, "chain.block_size", "must hold one transaction of load.tx_size and 1KiB of header"},
		{s.Load.Blocks < 1 || s.Load.Blocks > maxMessages, "load.blocks", fmt.Sprintf("must be 1 to %d", maxMessages)},
		{s.Load.Warmup < 1 || s.Load.Warmup > maxMessages, "load.warmup", "must be at least 1: cold connections would count"},
		{!(s.Load.TxRate > 0 && s.Load.TxRate <= 1e5), "load.tx_rate", "must be above 0 and at most 100000 a second"},
		{s.Load.Tick.D() < time.Millisecond || s.Load.Tick.D() > s.Chain.Slot.D(), "load.tick", "must be 1ms to one slot"},
		{!(s.Report.CoverageFloor > 0 && s.Report.CoverageFloor <= 1), "report.coverage_floor", "must be above 0 and at most 1"},
		{s.Report.Draws < 200 || s.Report.Draws > 100_000, "report.draws", "must be 200 to 100000"},
	}
	if s.Virtual() {
		if _, err := link.ParseLatency(s.Net.Latency); err != nil {
			return fmt.Errorf("%w: net.latency: %w", ErrInvalid, err)
		}
		if _, err := link.ParseRate(s.Net.Rate); err != nil {
			return fmt.Errorf("%w: net.rate: %w", ErrInvalid, err)
		}
	}
	for _, c := range checks {
		if c.bad {
			return fmt.Errorf("%w: %s = %s: %s", ErrInvalid, c.key, s.value(c.key), c.why)
		}
	}
	return nil
}

// value is what s holds under a dotted key, for an error message.
func (s *Spec) value(key string) string {
	text, err := s.Encode()
	var tree map[string]any
	if err != nil || toml.Unmarshal(text, &tree) != nil {
		return "?"
	}
	section, name, nested := strings.Cut(key, ".")
	if !nested {
		return fmt.Sprintf("%v", tree[section])
	}
	fields, _ := tree[section].(map[string]any)
	return fmt.Sprintf("%v", fields[name])
}

func repeated(seeds []int64) bool {
	sorted := slices.Clone(seeds)
	slices.Sort(sorted)
	return len(slices.Compact(sorted)) != len(seeds)
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
