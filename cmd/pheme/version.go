package main

import (
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/pheme-net/pheme/node"
)

func versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "print the version, the Go toolchain and the main modules",
		Example: "  pheme version --json | jq -r .revision",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				modules := map[string]string{}
				for _, m := range node.Modules() {
					modules[m.Path] = m.Version
				}
				return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{
					"version": node.Version, "revision": node.Revision(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH, "modules": modules,
				})
			}
			fmt.Fprintln(cmd.OutOrStdout(), node.BuildInfo())
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}
