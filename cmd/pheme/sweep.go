package main

import (
	"encoding/json"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pheme-net/pheme/devnet"
	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/node"
)

func sweepCommand() *cobra.Command {
	var m measureFlags
	var where []string
	var to string
	cmd := &cobra.Command{
		Use:   "sweep SWEEP",
		Short: "a grid of experiments, resumable: one table over all",
		Long: `Run every cell of a grid of experiments: several at a time in virtual time, as far as cores
and memory allow. Cells that are done are kept: the same command goes on where it stopped.
A cell that fails is said and the rest goes on.

SWEEP is a TOML file, an experiment with lists of values, or the name of one that comes
with pheme:
` + shipped(true) + `
Exit codes: 0 done, 1 a cell failed, 2 bad usage or input, 3 an expectation was missed,
5 a cell was not fit to report.`,
		Example: `  pheme devnet sweep degree
  pheme devnet sweep laws --out /data/runs
  pheme devnet sweep relay --where nodes=20 --where variant=gossip,coded
  pheme devnet sweep my.toml --seeds 5 --json > sweep.json

A sweep's file is an experiment's and a grid; two [[sweep]] tables are two grids in one:

  engine = "virtual"
  [net]
  nodes = 50
  [sweep]
  "gossip.d" = [4, 6, 8, 12]
  "chain.block_size" = ["128KiB", "1MiB"]

A [variant.NAME] is a name for several settings, to be varied as one:

  [variant.tuned]
  net.relay = "gossip"
  gossip.d = 4
  [sweep]
  variant = ["tuned", "coded"]

A [[ratio]] divides a figure of cells by that of others which are alike in all other keys;
without over it is the figure itself. [expect] can hold the least and the greatest of them:

  [[ratio]]
  name = "faster"
  figure = "block.p95_ms"
  of = { variant = "tuned" }
  over = { variant = "coded" }
  [expect]
  "ratio.faster.min" = ">= 5"

A [[law]] fits a figure to the one key that varies, and [expect] can hold it to its fit:

  [[law]]
  name = "c99"
  x = "net.nodes"
  y = "block.c99_ms"
  scale = "log2"
  [expect]
  "law.c99.r2" = ">= 0.95"`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("name one sweep: see 'pheme devnet sweep --help'")
			}
			return nil
		},
		ValidArgsFunction: shippedNames(true),
		RunE:              func(cmd *cobra.Command, args []string) error { return m.sweep(cmd, args[0], where, to) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringArrayVar(&where, "where", nil, "only cells with `KEY=VALUE` or one of KEY=VALUE,VALUE, such as nodes=20; several must all hold")
	f.StringVar(&to, "copy", "", "`folder` that gets the table and the chart, too, such as one of documents")
	f.IntVar(&m.seeds, "seeds", 0, "run the seeds 1 to K in every cell (default: the file's)")
	f.StringVar(&m.out, "out", "runs", "folder that keeps the runs")
	f.BoolVar(&m.asJSON, "json", false, "print the figures of all cells as one JSON object")
	return cmd
}

func (m *measureFlags) sweep(cmd *cobra.Command, arg string, where []string, to string) error {
	if err := m.checkTyped(cmd.Flags()); err != nil {
		return err
	}
	name, text, err := readExperiment(arg)
	if err != nil {
		return usageError{err}
	}
	sweep, err := experiment.DecodeSweep(name, text, m.rest)
	if err != nil {
		return usageError{err}
	}
	cfg := devnet.SweepConfig{
		Sweep: sweep, Where: where, Copy: to, Out: m.out, Version: node.Version, Revision: node.Revision(), Command: "pheme " + strings.Join(os.Args[1:], " "),
	}
	if !m.asJSON {
		cfg.Table = cmd.OutOrStdout()
	}
	results, err := devnet.Sweep(cmd.Context(), cfg, cmd.ErrOrStderr())
	if results != nil && m.asJSON {
		if err := json.NewEncoder(cmd.OutOrStdout()).Encode(results); err != nil {
			return err
		}
	}
	return usageOf(err)
}
