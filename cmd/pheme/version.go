package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pheme-net/pheme/node"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "print the version, the Go toolchain and the main modules",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fmt.Fprintln(cmd.OutOrStdout(), node.BuildInfo())
			return nil
		},
	}
}
