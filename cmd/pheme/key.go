package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/spf13/cobra"

	"github.com/pheme-net/pheme/node"
)

func keyCommand() *cobra.Command {
	return group("key", "make and show proposer or account keys", keyNewCommand(), keyShowCommand())
}

func keyNewCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "new FILE",
		Short:   "write a new private key (hex, mode 0600) and print its address",
		Example: "  pheme key new proposer.key",
		Args:    oneArg("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := node.RefuseReplay(); err != nil {
				return err
			}
			key, err := crypto.GenerateKey()
			if err != nil {
				return fmt.Errorf("make key: %w", err)
			}
			f, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if errors.Is(err, fs.ErrExist) {
				return usagef("%s exists: choose another name, or remove it if you are sure nobody needs that key", args[0])
			}
			if err != nil {
				return fmt.Errorf("write key: %w", err)
			}
			_, err = fmt.Fprintf(f, "%x\n", crypto.FromECDSA(key))
			if err := errors.Join(err, f.Close()); err != nil {
				return fmt.Errorf("write key: %w", err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), crypto.PubkeyToAddress(key.PublicKey).Hex())
			return nil
		},
	}
}

func keyShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show FILE",
		Short:   "print the address of a key file",
		Example: "  pheme genesis --proposer $(pheme key show proposer.key)",
		Args:    oneArg("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := crypto.LoadECDSA(args[0])
			if err != nil {
				return usagef("read key %s: %w: 'pheme key new FILE' makes one", args[0], err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), crypto.PubkeyToAddress(key.PublicKey).Hex())
			return nil
		},
	}
}

// oneArg requires exactly one argument and calls it by name when it is absent.
func oneArg(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usagef("%s takes one argument, %s: see '%s --help'", cmd.CommandPath(), name, cmd.CommandPath())
		}
		return nil
	}
}
