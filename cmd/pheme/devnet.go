package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pheme-net/pheme/devnet"
	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/node"
)

func devnetCommand() *cobra.Command {
	return group("devnet", "networks of real nodes on this machine",
		upCommand(), measureCommand(), sweepCommand(), compareCommand(), explainCommand(), attachCommand())
}

func upCommand() *cobra.Command {
	var cfg devnet.UpConfig
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "a chain to play with until Ctrl-C: RPC URLs, funded accounts",
		Long: `Start real nodes on this machine, connect them, and let them make blocks until Ctrl-C. What is
printed is all that a wallet or a program needs; the live page shows blocks spreading, sends a
transfer and cuts a link.`,
		Example: `  pheme devnet up
  pheme devnet up --nodes 8 --slot 500ms
  pheme devnet up --port 8545 --page 127.0.0.1:8080     always at the same addresses
  pheme devnet up --json | jq -r '.nodes[0].rpc'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.Nodes < 1 { // 0 is the default of the config, not of who typed it
				return usagef("--nodes %d: a network has one node at least", cfg.Nodes)
			}
			if cfg.Slot <= 0 {
				return usagef("--slot %v: use 100ms or more", cfg.Slot)
			}
			out := cmd.OutOrStdout()
			if asJSON {
				cfg.JSON, out = out, cmd.ErrOrStderr()
			}
			return usageOf(devnet.Up(cmd.Context(), cfg, out))
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.IntVar(&cfg.Nodes, "nodes", 4, "how many nodes, each a process")
	f.DurationVar(&cfg.Slot, "slot", time.Second, "time between two blocks, at least 100ms")
	f.IntVar(&cfg.Port, "port", 0, "port of the first node's JSON-RPC, the others follow; 0 lets the system choose")
	f.StringVar(&cfg.Page, "page", "127.0.0.1:0", "loopback address of the live page; port 0 lets the system choose, off serves none")
	f.StringVar(&cfg.Dir, "dir", "", "keep the nodes' data here (default: a temporary folder, removed at the end)")
	f.BoolVar(&asJSON, "json", false, "print URLs and accounts as one JSON object once the network is up")
	return cmd
}

// virtualChildCommand is what a virtual run starts this program as.
func virtualChildCommand() *cobra.Command {
	return &cobra.Command{
		Use:    devnet.VirtualCommand,
		Hidden: true,
		Args:   noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usageOf(devnet.RunVirtualChild(cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()))
		},
	}
}

// readExperiment is the text of a file, or of what comes with the program under that name.
func readExperiment(name string) (label string, text []byte, err error) {
	if !strings.ContainsAny(name, "./") {
		if text, ok := devnet.Shipped(name); ok {
			return name, text, nil
		}
		var names []string
		for _, s := range devnet.AllShipped() {
			names = append(names, s.Name)
		}
		return "", nil, fmt.Errorf("no experiment %q comes with pheme: name a .toml file, or one of %s", name, strings.Join(names, ", "))
	}
	if text, err = os.ReadFile(name); err != nil {
		return "", nil, fmt.Errorf("read experiment: %w", err)
	}
	return name, text, nil
}

// shipped lists the experiments, or the sweeps, that come with the program, one a line.
func shipped(sweeps bool) string {
	var b strings.Builder
	for _, s := range devnet.AllShipped() {
		if s.Sweep == sweeps {
			fmt.Fprintf(&b, "  %-17s%s\n", s.Name, s.About)
		}
	}
	return b.String()
}

// measureFlags are the settings of an experiment that have a flag; a zero value leaves the file's
// or the default, and where it can mean nothing else nobody may type it.
type measureFlags struct {
	spec     experiment.Spec
	seeds    int
	out      string
	baseline string
	asJSON   bool
	slot     time.Duration
	warmups  int
}

func measureCommand() *cobra.Command {
	var m measureFlags
	cmd := &cobra.Command{
		Use:   "measure [EXPERIMENT]",
		Short: "how fast a block reaches every node: one table, one page",
		Long: `Start a network of real nodes, load it with signed transactions over JSON-RPC, and measure
how fast its blocks and transactions reach every node. Settings come from the experiment file
and from flags, which win. The run's folder holds the report, the figures and every default.

EXPERIMENT is a TOML file, or the name of one that comes with pheme:
` + shipped(false) + `
Exit codes: 0 done, 1 failed, 2 bad usage or input, 3 an expectation was missed,
5 run not fit to report.`,
		Example: `  pheme devnet measure
  pheme devnet measure --nodes 4 --block-size 1MiB --blocks 5
  pheme devnet measure --engine virtual --nodes 100 --latency world --rate 50mbit
  pheme devnet measure --engine virtual --nodes 50 --loss 0.01 --d 6 --seeds 5
  pheme devnet measure my.toml --seeds 10 --json > results.json

What may stand in a file shows experiment.toml in the folder of any run: every key with
its default. An [expect] table makes an experiment a test:

  [expect]
  "block.c99_ms" = "< 800"`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("%q after %q: name one experiment: see '%s --help'", args[1], args[0], cmd.CommandPath())
			}
			return nil
		},
		ValidArgsFunction: shippedNames(false),
		RunE:              func(cmd *cobra.Command, args []string) error { return m.run(cmd, args) },
	}
	m.flags(cmd.Flags())
	return cmd
}

func (m *measureFlags) flags(f *pflag.FlagSet) {
	d := experiment.Default()
	f.SortFlags = false
	f.StringVar(&m.spec.Engine, "engine", "", fmt.Sprintf("what runs the nodes: process or virtual (default %s)", d.Engine))
	f.IntVar(&m.spec.Net.Nodes, "nodes", 0, fmt.Sprintf("how many nodes (default %d)", d.Net.Nodes))
	f.StringVar(&m.spec.Net.Relay, "relay", "", fmt.Sprintf("how blocks travel: gossip, compact, coded or auto (default %s)", d.Net.Relay))
	f.IntVar(&m.spec.Gossip.D, "d", 0, fmt.Sprintf("GossipSub's mesh degree (default %d)", d.Gossip.D))
	f.StringVar(&m.spec.Net.Transport, "transport", "", fmt.Sprintf("tcp or quic (default %s)", d.Net.Transport))
	f.StringVar(&m.spec.Net.Latency, "latency", "", "lan, world, uniform:50ms or a CSV file (default world; processes are unshaped unless told)")
	f.StringVar(&m.spec.Net.Rate, "rate", "", "up and down of every node, such as 50mbit (default 50mbit; processes are unshaped unless told)")
	f.Float64Var(&m.spec.Net.Loss, "loss", 0, "share of packets lost, such as 0.01")
	f.IntVar(&m.spec.Load.Blocks, "blocks", 0, fmt.Sprintf("counted blocks a seed (default %d)", d.Load.Blocks))
	f.IntVar(&m.warmups, "warmup", 0, fmt.Sprintf("blocks before them that do not count (default %d)", d.Load.Warmup))
	f.Var(&m.spec.Chain.BlockSize, "block-size", fmt.Sprintf("size of a block (default %s)", d.Chain.BlockSize))
	f.Var(&m.spec.Load.TxSize, "tx-size", fmt.Sprintf("size of a transaction (default %s)", d.Load.TxSize))
	f.Lookup("block-size").DefValue, f.Lookup("tx-size").DefValue = "", "" // the text names the default
	f.StringVar(&m.spec.Load.Pools, "pools", "", fmt.Sprintf("what pools know of a block before it comes: warm, half or cold; the last two in virtual time (default %s)", d.Load.Pools))
	f.StringVar(&m.spec.CPU.Mode, "cpu", "", "what computing costs in virtual time: charge, off, or measure it here first (default charge)")
	f.Float64Var(&m.spec.Load.TxRate, "txs", 0, "transactions a second over all nodes (default: what fills every block)")
	f.DurationVar(&m.slot, "slot", 0, fmt.Sprintf("time between two blocks (default %s)", d.Chain.Slot))
	f.IntVar(&m.seeds, "seeds", 0, fmt.Sprintf("run the seeds 1 to K (default %d)", len(d.Seeds)))
	f.StringVar(&m.out, "out", "runs", "folder that keeps the runs")
	f.StringVar(&m.baseline, "baseline", "", "folder of a finished run to lay over this one's report (default: the same with --relay gossip by this program, if it is in --out; in virtual time it is run if not)")
	f.BoolVar(&m.spec.Report.Strict, "strict", false, "refuse to report from a saturated machine")
	f.BoolVar(&m.asJSON, "json", false, "print the results as one JSON object")
}

func (m *measureFlags) run(cmd *cobra.Command, args []string) error {
	if err := m.checkTyped(cmd.Flags()); err != nil {
		return err
	}
	spec := m.spec
	if len(args) == 1 {
		name, text, err := readExperiment(args[0])
		if err != nil {
			return usageError{err}
		}
		if spec, err = experiment.Decode(name, text); err != nil {
			return usageError{err}
		}
		m.overlay(&spec, cmd.Flags().Changed)
	}
	m.rest(&spec)
	cfg := devnet.MeasureConfig{
		Experiment: spec, Out: m.out, Baseline: m.baseline, Twin: true, Version: node.Version, Revision: node.Revision(),
		Command: "pheme " + strings.Join(os.Args[1:], " "),
	}
	if !m.asJSON {
		cfg.Table = cmd.OutOrStdout()
	}
	results, err := devnet.Measure(cmd.Context(), cfg, cmd.ErrOrStderr())
	if results != nil && m.asJSON {
		if err := json.NewEncoder(cmd.OutOrStdout()).Encode(results); err != nil {
			return err
		}
	}
	return usageOf(err)
}

// checkTyped refuses a number that was typed and is none to run with: its zero would leave the file's or the default.
func (m *measureFlags) checkTyped(set *pflag.FlagSet) error {
	for _, f := range []struct {
		name string
		bad  bool
	}{
		{"nodes", m.spec.Net.Nodes <= 0}, {"d", m.spec.Gossip.D <= 0}, {"blocks", m.spec.Load.Blocks <= 0}, {"warmup", m.warmups <= 0},
		{"block-size", m.spec.Chain.BlockSize <= 0}, {"tx-size", m.spec.Load.TxSize <= 0}, {"txs", m.spec.Load.TxRate <= 0},
		{"slot", m.slot <= 0}, {"seeds", m.seeds <= 0},
	} {
		if f.bad && set.Changed(f.name) {
			return usagef("--%s %s: must be above 0; leave the flag out for what the file or the default says", f.name, set.Lookup(f.name).Value)
		}
	}
	return nil
}

// overlay lays the flags over an experiment, those that were given with a zero too.
func (m *measureFlags) overlay(spec *experiment.Spec, given func(flag string) bool) {
	over(&spec.Engine, m.spec.Engine)
	over(&spec.Net.Nodes, m.spec.Net.Nodes)
	over(&spec.Net.Relay, m.spec.Net.Relay)
	over(&spec.Gossip.D, m.spec.Gossip.D)
	over(&spec.Net.Transport, m.spec.Net.Transport)
	over(&spec.Net.Latency, m.spec.Net.Latency)
	if given("rate") { // a file may say the same in two keys
		spec.Net.Rate, spec.Net.Up, spec.Net.Down = m.spec.Net.Rate, "", ""
	}
	if given("loss") {
		spec.Net.Loss = m.spec.Net.Loss
	}
	over(&spec.Load.Blocks, m.spec.Load.Blocks)
	over(&spec.Load.TxSize, m.spec.Load.TxSize)
	over(&spec.Load.TxRate, m.spec.Load.TxRate)
	over(&spec.Load.Pools, m.spec.Load.Pools)
	if given("cpu") && m.spec.CPU.Mode != spec.CPU.Mode { // the other mode's prices and cores are not this one's
		spec.CPU = experiment.CPU{Mode: m.spec.CPU.Mode}
	}
	over(&spec.Chain.BlockSize, m.spec.Chain.BlockSize)
	if given("strict") {
		spec.Report.Strict = m.spec.Report.Strict
	}
}

// rest sets what has another type as a flag.
func (m *measureFlags) rest(spec *experiment.Spec) {
	over(&spec.Chain.Slot, experiment.Duration(m.slot))
	over(&spec.Load.Warmup, m.warmups)
	if m.seeds > 0 {
		spec.Seeds = nil
		for s := range m.seeds {
			spec.Seeds = append(spec.Seeds, int64(s+1))
		}
	}
}

func over[T comparable](field *T, flag T) {
	var zero T
	if flag != zero {
		*field = flag
	}
}

// usageOf marks an experiment that cannot be run as the caller's mistake.
func usageOf(err error) error {
	if errors.Is(err, experiment.ErrInvalid) {
		return usageError{err}
	}
	return err
}
