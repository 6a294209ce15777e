package experiment

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// Limits of what one host and one chain can carry; Validate names them.
const (
	maxNodes     = 64                     // processes on one machine; more is the virtual engine's work
	maxVirtual   = 5000                   // nodes in virtual time: about 2 MB each before the first block
	minSlot      = 100 * time.Millisecond // the chain's own floor
	maxSlot      = 6 * time.Minute        // the horizon is ten slots, and at most 1h
	maxBlock     = 4 << 20                // the chain's body limit
	maxTx        = 32 << 10               // the pool's and the wire's limit
	minTx        = 128                    // a signed transfer without data
	maxMessages  = 100_000                // counted blocks, bounds the memory of a run
	defaultFloor = 1.0                    // a local network without faults must lose nothing
	maxFaults    = 1000                   // entries of the schedule
	maxAdd       = time.Minute            // the longest delay a fault adds, the link model's limit
	maxPooled    = 48 << 20               // bytes that wait in a pool of 64 MiB
)

// relays are the names of the block relays; a node refuses any other.
var relays = []string{"gossip", "compact", "coded", "auto"}

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
	Gossip Gossip `toml:"gossip" json:"gossip"`
	Repair Repair `toml:"repair" json:"repair"`
	Chain  Chain  `toml:"chain" json:"chain"`
	Load   Load   `toml:"load" json:"load"`
	CPU    CPU    `toml:"cpu,omitempty" json:"cpu,omitzero"`
	Report Report `toml:"report" json:"report"`
	// Fault is what goes wrong when, see [Fault].
	Fault []Fault `toml:"fault,omitempty" json:"fault,omitempty"`
	// Expect holds what the figures must come to, by their names in results.json; a run that misses
	// one ends with exit code 3.
	Expect map[string]Expectation `toml:"expect,omitempty" json:"expect,omitempty" comment:"figures by name: < <= > >= or = and a number"`
	// Files says what the files that the experiment names held when it was resolved.
	Files Files `toml:"-" json:"files,omitzero"`
}

// Discovery is the topology of nodes that are told one address and find each other.
const Discovery = "discovery"

// Net is the network: how many nodes, connected how.
type Net struct {
	Nodes     int    `toml:"nodes" json:"nodes"`
	Topology  string `toml:"topology" json:"topology" comment:"random, full, ring, line, star, discovery (each told one address) or file:PATH (two node numbers a line)"`
	Degree    int    `toml:"degree" json:"degree" comment:"connections a node in the random topology"`
	Transport string `toml:"transport" json:"transport" comment:"tcp or quic"`
	Members   string `toml:"members" json:"members" comment:"off; on: nodes find out by SWIM who is there, at memberlist's pace; full: at a node's own, five times that. off by default in virtual time, full with discovery"`
	Relay     string `toml:"relay" json:"relay" comment:"how blocks travel: gossip, compact, coded or auto"`
	Mixed     Mixed  `toml:"mixed,omitempty" json:"mixed,omitzero" comment:"a share of the nodes, drawn by seed, that publish by another relay"`
	// The link model: in virtual time always, on processes where one of these is set.
	Latency string  `toml:"latency,omitempty" json:"latency,omitempty" comment:"lan, world, uniform:50ms, uniform:20ms-80ms or a CSV file with rtt_ms or oneway_ms in its header"`
	Jitter  string  `toml:"jitter,omitempty" json:"jitter,omitempty" comment:"p90 - p50 of every link's delay instead of the table's, such as 2ms"`
	Rate    string  `toml:"rate,omitempty" json:"rate,omitempty" comment:"up and down of every node, such as 50mbit or unlimited"`
	Up      string  `toml:"up,omitempty" json:"up,omitempty" comment:"up alone"`
	Down    string  `toml:"down,omitempty" json:"down,omitempty" comment:"down alone"`
	Supers  Supers  `toml:"supers,omitempty" json:"supers,omitzero" comment:"a share of the nodes, drawn by seed, with other rates"`
	Loss    float64 `toml:"loss,omitempty" json:"loss,omitempty" comment:"share of packets lost"`
	LossCC  string  `toml:"loss_cc,omitempty" json:"loss_cc,omitempty" comment:"what senders do about loss: reno, or none (sent again after one round trip: idealised)"`
	Reorder float64 `toml:"reorder,omitempty" json:"reorder,omitempty" comment:"share of packets that are overtaken"`
	Window  string  `toml:"window,omitempty" json:"window,omitempty" comment:"slow-start, or open: connections send at their rates from the start"`
}

// Mixed are the nodes with another relay than the rest.
type Mixed struct {
	Share float64 `toml:"share" json:"share"`
	Relay string  `toml:"relay" json:"relay"`
}

// Supers are the nodes with other rates than the rest.
type Supers struct {
	Share float64 `toml:"share" json:"share"`
	Up    string  `toml:"up" json:"up"`
	Down  string  `toml:"down" json:"down"`
}

// Gossip is GossipSub's parameters at every node.
type Gossip struct {
	D            int      `toml:"d" json:"d" comment:"mesh degree, and its bounds"`
	Dlo          int      `toml:"d_lo" json:"d_lo"`
	Dhi          int      `toml:"d_hi" json:"d_hi"`
	Dout         int      `toml:"d_out,omitempty" json:"d_out,omitempty" comment:"of these at least so many dialled by the node itself"`
	Dlazy        int      `toml:"d_lazy" json:"d_lazy" comment:"peers outside the mesh that get IHAVE at a heartbeat"`
	TxD          int      `toml:"tx_d" json:"tx_d" comment:"degree of the mesh for transactions; its bounds are one less and one more"`
	Heartbeat    Duration `toml:"heartbeat" json:"heartbeat"`
	FloodPublish bool     `toml:"flood_publish" json:"flood_publish" comment:"a message of one's own goes to every peer, not to the mesh alone"`
	IDontWant    Bytes    `toml:"idontwant" json:"idontwant" comment:"smallest message announced by IDONTWANT; 1GiB turns it off"`
}

// Repair is how every node finds what gossip missed.
type Repair struct {
	Off      bool     `toml:"off,omitempty" json:"off,omitempty" comment:"no node reconciles its pool"`
	Interval Duration `toml:"interval" json:"interval" comment:"between two rounds of a node"`
	Fanout   int      `toml:"fanout" json:"fanout" comment:"peers it reconciles with in a round"`
	Mode     string   `toml:"mode" json:"mode" comment:"push, pull or push-pull: which way what is missing moves"`
}

// Chain is the rhythm and size of blocks.
type Chain struct {
	Slot      Duration `toml:"slot" json:"slot"`
	BlockSize Bytes    `toml:"block_size" json:"block_size" comment:"the encoded transactions of a block"`
}

// What a workload is made of.
const (
	WorkBlocks = "blocks"       // proposers fill blocks with the transactions
	WorkTxs    = "transactions" // no block is ever proposed: transactions are the only messages
)

// What pools know of a block before it comes.
const (
	PoolsWarm = "warm" // its transactions were submitted somewhere and gossiped
	PoolsHalf = "half" // each of its transactions with probability 1/2, independent of all others, by seed
	PoolsCold = "cold" // nothing, but for the proposer's
)

// Load is the open-loop workload: what is sent when is fixed before the first transaction leaves.
type Load struct {
	Work     string   `toml:"work" json:"work" comment:"blocks (filled with transactions), or transactions alone"`
	Blocks   int      `toml:"blocks,omitempty" json:"blocks,omitempty" comment:"counted blocks for each seed"`
	Duration Duration `toml:"duration,omitempty" json:"duration,omitempty" comment:"of the counted stretch, in whole slots, where there are no blocks to count"`
	Warmup   int      `toml:"warmup" json:"warmup" comment:"slots before it whose blocks and transactions never count"`
	Origin   string   `toml:"origin,omitempty" json:"origin,omitempty" comment:"rotate: the nodes propose in turn; fixed: n0 proposes every block"`
	Pools    string   `toml:"pools" json:"pools" comment:"what pools know of a block before it comes: warm (its transactions are gossiped), half (each with probability 1/2) or cold"`
	TxSize   Bytes    `toml:"tx_size" json:"tx_size" comment:"trimmed so that whole transactions fill a block"`
	// TxRate 0 becomes the rate at which every block is full.
	TxRate  float64  `toml:"tx_rate" json:"tx_rate" comment:"transactions a second over all nodes"`
	Arrival string   `toml:"arrival" json:"arrival" comment:"uniform: evenly over the stretch; poisson: at random"`
	Tick    Duration `toml:"tick" json:"tick" comment:"a node's submissions within one tick share one call"`
	Drain   Duration `toml:"drain" json:"drain" comment:"after the last slot, how long at most until all is delivered"`
}

// Report is what makes a run fit to report and how its intervals are drawn.
type Report struct {
	CoverageFloor float64 `toml:"coverage_floor" json:"coverage_floor" comment:"a run below it is refused with exit code 5"`
	Draws         int     `toml:"draws" json:"draws" comment:"bootstrap draws"`
	Strict        bool    `toml:"strict" json:"strict" comment:"refuse a run on a saturated host"`
	// UntilCI goes on with further seeds until the 95 % interval of UntilFigure is no wider than
	// this share of it to either side, or UntilSeeds have run.
	UntilCI     float64 `toml:"until_ci,omitempty" json:"until_ci,omitempty" comment:"add seeds until the interval of until_figure is within this share of it, such as 0.05"`
	UntilFigure string  `toml:"until_figure,omitempty" json:"until_figure,omitempty"`
	UntilSeeds  int     `toml:"until_seeds,omitempty" json:"until_seeds,omitempty" comment:"but at most so many"`
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
	switch {
	case s.Net.Topology == Discovery:
		fill(&s.Net.Members, "full")
	case s.Virtual():
		fill(&s.Net.Members, "off") // it would be half of the work
	}
	fill(&s.Net.Members, "on")
	s.Net.resolve(s.Shaped())
	s.Gossip.resolve()
	s.Repair.resolve()
	s.Files.resolve(&s.Net)
	fill(&s.Chain.Slot, Duration(time.Second))
	fill(&s.Chain.BlockSize, 128<<10)
	s.Load.resolve(s)
	s.CPU.resolve(s.Virtual())
	fill(&s.Report.CoverageFloor, defaultFloor)
	fill(&s.Report.Draws, 2000)
	if s.Report.UntilCI != 0 {
		fill(&s.Report.UntilFigure, "block.p95_ms")
		fill(&s.Report.UntilSeeds, 20)
	}
}

func (n *Net) resolve(shaped bool) {
	fill(&n.Nodes, 8)
	fill(&n.Topology, "random")
	fill(&n.Degree, max(1, min(n.Nodes-1, 10))) // all to all while small; 10 gives GossipSub's D=8 a choice
	fill(&n.Transport, "tcp")                   // QUIC costs 2.4-3x its CPU on loopback
	fill(&n.Relay, "auto")
	if !shaped {
		return
	}
	fill(&n.Latency, "world")
	fill(&n.Rate, "50mbit") // a home or a small server; EIP-7870's node
	fill(&n.Up, n.Rate)
	fill(&n.Down, n.Rate)
	fill(&n.LossCC, "reno")
	fill(&n.Window, "slow-start")
	if n.Supers.Share != 0 {
		fill(&n.Supers.Up, "1gbit") // a data centre
		fill(&n.Supers.Down, "1gbit")
	}
}

// resolve writes the node's own defaults in; a test holds them against package p2p's.
func (g *Gossip) resolve() {
	fill(&g.D, 8)
	fill(&g.Dlo, min(6, g.D))
	fill(&g.Dhi, max(12, g.D))
	fill(&g.Dout, max(0, min(2, g.Dlo-1, g.D/2-1))) // the library wants it below Dlo and D/2
	fill(&g.Dlazy, 6)
	fill(&g.TxD, min(4, g.D))
	fill(&g.Heartbeat, Duration(700*time.Millisecond))
	fill(&g.IDontWant, 4<<10)
}

// resolve writes the node's own defaults in; a test holds them against package p2p's.
func (r *Repair) resolve() {
	fill(&r.Interval, Duration(2*time.Second))
	fill(&r.Fanout, 2)
	fill(&r.Mode, "push-pull")
}

func (l *Load) resolve(s *Spec) {
	fill(&l.Work, WorkBlocks)
	if l.Work == WorkTxs {
		fill(&l.Duration, Duration(10*time.Second))
		fill(&l.TxSize, 2<<10) // the GossipSub paper's messages,
		fill(&l.TxRate, 120)   // and their rate
	} else {
		fill(&l.Blocks, 20)
		fill(&l.Origin, "rotate")
	}
	fill(&l.Warmup, 3)
	fill(&l.Pools, PoolsWarm)
	fill(&l.TxSize, 16<<10)
	fill(&l.TxRate, s.fullRate())
	fill(&l.Arrival, "uniform")
	fill(&l.Tick, Duration(50*time.Millisecond)) // one call a tick and node keeps HTTP off the measured CPU
	fill(&l.Drain, Duration(s.Horizon()))
}

// Virtual says whether the run is in virtual time, over modelled links.
func (s *Spec) Virtual() bool { return s.Engine == "virtual" }

// Shaped says whether the link model is in force: always in virtual time, and on processes where
// the experiment says anything of their links.
func (s *Spec) Shaped() bool {
	n := &s.Net
	return s.Virtual() || n.Latency != "" || n.Jitter != "" || n.Rate != "" || n.Up != "" || n.Down != "" || n.Supers != Supers{} ||
		n.Loss != 0 || n.LossCC != "" || n.Reorder != 0 || n.Window != ""
}

// Links describes the links in a few words.
func (s *Spec) Links() string {
	n := &s.Net
	switch {
	case s.Engine == "attach":
		return "as they are"
	case n.Latency == "":
		return "unshaped"
	}
	text := n.Latency
	if n.Jitter != "" {
		text += " jitter " + n.Jitter
	}
	if text += ", " + n.Up; n.Up != n.Down {
		text += " up " + n.Down + " down"
	}
	if p := &n.Supers; p.Share > 0 {
		text += fmt.Sprintf(", %g %% of nodes %s/%s", 100*p.Share, p.Up, p.Down)
	}
	if n.Loss > 0 {
		text += fmt.Sprintf(", %g %% loss (%s)", 100*n.Loss, n.LossCC)
	}
	if n.Reorder > 0 {
		text += fmt.Sprintf(", %g %% reordered", 100*n.Reorder)
	}
	if n.Window == "open" {
		text += ", open windows"
	}
	if n.LossCC == "none" {
		text += ", idealised (loss_cc = none)"
	}
	return text
}

// Proposers is how many of the nodes, the first ones, propose blocks.
func (s *Spec) Proposers() int {
	switch {
	case s.Load.Work == WorkTxs:
		return 0
	case s.Load.Origin == "fixed":
		return 1
	}
	return s.Net.Nodes
}

// Slots is how many slots count: each should bring one block, where there are blocks.
func (s *Spec) Slots() int {
	if s.Load.Work == WorkTxs {
		return int(s.Load.Duration / max(1, s.Chain.Slot))
	}
	return s.Load.Blocks
}

// TxsPerBlock is how many transactions of about TxSize fill a block, at least one.
func (s *Spec) TxsPerBlock() int {
	if s.Load.TxSize <= 0 {
		return 1
	}
	return max(1, int((s.Chain.BlockSize+s.Load.TxSize/2)/s.Load.TxSize))
}

// Placed says whether transactions are put into pools instead of being submitted.
func (l *Load) Placed() bool { return l.Pools == PoolsHalf || l.Pools == PoolsCold }

// fullRate is the rate of transactions a second that fills every block.
func (s *Spec) fullRate() float64 { return float64(s.TxsPerBlock()) / s.Chain.Slot.D().Seconds() }

// Horizon is how long after its publication a message may still be delivered: ten slots, but no
// less than 10 s.
func (s *Spec) Horizon() time.Duration { return max(10*time.Second, 10*s.Chain.Slot.D()) }

// Expected is how long the run of all seeds takes, from start to report. On processes: about 2 s
// and 30 ms a node until the mesh is formed, one block ahead, the slots, and the drain. In virtual
// time: what the nodes compute, on a core of about 3 GHz that nothing else uses.
func (s *Spec) Expected() time.Duration {
	blocks := s.Load.Warmup + s.Slots()
	if s.Virtual() {
		seconds := s.seconds()
		ms := 5 + 0.4*seconds // to set up; heartbeats, status, repair
		if s.Proposers() > 0 {
			ms += float64(blocks+1) * (1.5 + 10*float64(s.Chain.BlockSize)/(1<<20))
			if s.Net.Relay != "gossip" {
				ms += float64(blocks+1) * (6 + 24*float64(s.Chain.BlockSize)/(1<<20)) // chunks, and news of them
			}
		}
		if !s.Load.Placed() {
			ms += s.Load.TxRate * seconds * (0.4 + 0.02*float64(s.Load.TxSize)/1024) // gossiped to each
		}
		run := time.Second + time.Duration(float64(s.Net.Nodes)*ms*float64(time.Millisecond))
		return time.Duration(len(s.Seeds)) * run
	}
	setup := 4*time.Second + time.Duration(s.Net.Nodes)*60*time.Millisecond
	slots := time.Duration(blocks+3) * s.Chain.Slot.D()
	return time.Duration(len(s.Seeds)) * (setup + slots + 2*time.Second)
}

// Memory is about how much the run of one seed takes at its peak, in bytes, rather too much than too little: TestMemory has what was
// measured.
func (s *Spec) Memory() int64 {
	if !s.Virtual() {
		return int64(s.Net.Nodes) * (65 << 20) // a node each, as processes
	}
	node := int64(2 << 20) // idle but connected
	switch {
	case s.Proposers() == 0:
	case s.Net.Relay == "gossip":
		node += 2 * int64(s.Chain.BlockSize) // of the copies that it is sending and receiving at the peak all nodes share one
	default:
		node += 10 * int64(s.Chain.BlockSize) // chunks are in nobody else's hands
	}
	if !s.Load.Placed() {
		// What each records of every copy of a transaction, and remembers so as not to take it twice: 3.4 KiB with a mesh of four.
		node += int64(s.Load.TxRate*s.seconds()) * int64(1200+650*s.Gossip.TxD)
	}
	return 5<<28 + int64(s.Net.Nodes)*node // the first is the program, and what the collector lets grow before it works
}

// seconds is how long the run of a seed is in virtual time.
func (s *Spec) seconds() float64 {
	return float64(s.Load.Warmup+s.Slots()+3) * s.Chain.Slot.D().Seconds()
}

// Digest names the resolved experiment: the first 8 hex digits of the SHA-256 of its JSON form,
// which has every key, what its files hold, and no comments.
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

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
