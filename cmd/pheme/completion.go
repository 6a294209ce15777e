package main

import (
	"github.com/spf13/cobra"

	"github.com/pheme-net/pheme/devnet"
)

// choices are what a shell offers for flags that take one of a few words.
var choices = map[string][]string{
	"engine":    {"process", "virtual"},
	"relay":     {"auto", "gossip", "compact", "coded"},
	"transport": {"tcp", "quic"},
	"latency":   {"lan", "world", "uniform:50ms"},
	"pools":     {"warm", "half", "cold"},
	"cpu":       {"charge", "off", "measure"},
	"log-level": {"debug", "info", "warn", "error"},
}

// complete tells the shell what may stand for the flags of a command and of those below it.
func complete(cmd *cobra.Command) error {
	for flag, words := range choices {
		if cmd.Flags().Lookup(flag) == nil {
			continue
		}
		if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveDefault)); err != nil {
			return err
		}
	}
	for _, child := range cmd.Commands() {
		if err := complete(child); err != nil {
			return err
		}
	}
	return nil
}

// shippedNames offers the experiments, or the sweeps, that come with the program, each with what it is about, and files.
func shippedNames(sweeps bool) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) (names []cobra.Completion, next cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		for _, s := range devnet.AllShipped() {
			if s.Sweep == sweeps {
				names = append(names, cobra.CompletionWithDesc(s.Name, s.About))
			}
		}
		return names, cobra.ShellCompDirectiveDefault
	}
}
