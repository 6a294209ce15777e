package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/pheme-net/pheme/devnet/compare"
	"github.com/pheme-net/pheme/devnet/report"
)

// verdictError ends a comparison with its exit code; the table has said the rest.
type verdictError struct{ verdict compare.Verdict }

func (e verdictError) Error() string { return "B against A: " + string(e.verdict) }
func (e verdictError) ExitCode() int { return e.verdict.ExitCode() }

func compareCommand() *cobra.Command {
	var markdown, asJSON bool
	cmd := &cobra.Command{
		Use:   "compare RUN_A RUN_B",
		Short: "is B better than A: message for message, with intervals",
		Long: `Hold run B against run A. Both need the same seeds, nodes, links and load, so that their
messages can be paired; they may differ in GossipSub's settings, repair, relay, topology and
transport, and in the program that made them.

The interval of each difference comes from drawing the pairs again and again; "could show" is
the smallest difference that these runs could have told from none. "same" means: whatever
difference there is, it is below 5 % (coverage: 0.5 %).

Exit codes: 0 same or better, 2 the runs cannot be compared, 3 worse, 4 cannot tell.`,
		Example: `  pheme devnet measure --engine virtual --nodes 50 --out before
  pheme devnet measure --engine virtual --nodes 50 --d 6 --out after
  pheme devnet compare before/latest after/latest
  pheme devnet compare --md runs/before runs/after > comment.md
  pheme devnet compare --json runs/before runs/after | jq -r .verdict`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("name the folders of two runs: see 'pheme devnet compare --help'")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := compare.Read(args[0])
			if err != nil {
				return runError(err)
			}
			b, err := compare.Read(args[1])
			if err != nil {
				return runError(err)
			}
			c, err := compare.Compare(a, b)
			if err != nil {
				return runError(err)
			}
			write := c.Table
			switch {
			case markdown && asJSON:
				return usagef("--md and --json exclude each other")
			case markdown:
				write = c.Markdown
			case asJSON:
				write = func(w io.Writer) error { return json.NewEncoder(w).Encode(c) }
			}
			if err := write(cmd.OutOrStdout()); err != nil {
				return err
			}
			if c.Verdict.ExitCode() != 0 {
				return verdictError{c.Verdict}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&markdown, "md", false, "write Markdown, for a comment on a change")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// runError marks a folder that holds no such run, or two that do not belong together, as the
// caller's mistake.
func runError(err error) error {
	if errors.Is(err, report.ErrRun) || errors.Is(err, compare.ErrMismatch) {
		return usageError{err}
	}
	return err
}

func explainCommand() *cobra.Command {
	var q report.Question
	cmd := &cobra.Command{
		Use:   "explain RUN BLOCK",
		Short: "one block's way to its last node, hop by hop",
		Long: fmt.Sprintf(`Show how one block of a run came to a node: over which hops, where the time of each went,
and what the links would have allowed. BLOCK is a number, the beginning of a hash (four hex
digits at least), or %q: the one that took longest to its last node.`, report.Slowest),
		Example: `  pheme devnet explain runs/latest slowest
  pheme devnet explain runs/latest 12 --node n7
  pheme devnet explain runs/latest 0x3fa9 --seed 2
  pheme devnet explain runs/latest slowest --json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("name the folder of a run and a block: see 'pheme devnet explain --help'")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Block = args[1]
			return runError(report.Explain(cmd.OutOrStdout(), args[0], q))
		},
	}
	cmd.Flags().StringVar(&q.Node, "node", "", "whose delivery (default: the last node's)")
	cmd.Flags().BoolVar(&q.JSON, "json", false, "print one JSON object")
	cmd.Flags().Int64Var(&q.Seed, "seed", 0, "which seed's run (default: the first with such a block)")
	return cmd
}
