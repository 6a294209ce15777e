package main

import (
	"encoding/json"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pheme-net/pheme/devnet"
	"github.com/pheme-net/pheme/node"
)

func attachCommand() *cobra.Command {
	var cfg devnet.AttachConfig
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "attach URL URL...",
		Short: "measure nodes that somebody else started",
		Long: `Follow the events of running nodes over their JSON-RPC for a while and report how fast blocks and
transactions went from one to the others. Nothing is sent to them but questions. Their clocks are
read before and after; latencies are given with what the clocks leave uncertain, and not at all
when that is more than a tenth of their median.

A node answers to addresses and localhost. To reach it by another name, have that name in hosts
in the [rpc] section of its --config.

Exit codes: 0 done, 1 failed, 2 bad usage or input, 5 run not fit to report.`,
		Example: `  pheme devnet attach http://192.0.2.1:8545 http://192.0.2.2:8545 --duration 1m
  pheme devnet attach http://127.0.0.1:8545 http://127.0.0.1:8546 --json`,
		RunE: func(cmd *cobra.Command, urls []string) error {
			cfg.URLs = urls
			cfg.Measure.Version, cfg.Measure.Revision = node.Version, node.Revision()
			cfg.Measure.Command = "pheme " + strings.Join(os.Args[1:], " ")
			if !asJSON {
				cfg.Measure.Table = cmd.OutOrStdout()
			}
			results, err := devnet.Attach(cmd.Context(), cfg, cmd.ErrOrStderr())
			if err == nil && asJSON {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(results)
			}
			return usageOf(err)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.DurationVar(&cfg.Duration, "duration", 30*time.Second, "how long blocks and transactions count; cut to whole slots")
	f.StringVar(&cfg.Measure.Out, "out", "runs", "folder that keeps the runs")
	f.BoolVar(&asJSON, "json", false, "print the results as one JSON object")
	return cmd
}
