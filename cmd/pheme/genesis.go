package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"
	"github.com/spf13/cobra"

	"github.com/pheme-net/pheme/chain"
)

func genesisCommand() *cobra.Command {
	var out, label string
	var proposers, alloc []string
	var chainID uint64
	var slot, start time.Duration
	cmd := &cobra.Command{
		Use:   "genesis --proposer ADDRESS...",
		Short: "write the genesis file of a new network",
		Example: `  pheme key new proposer.key
  pheme genesis --proposer $(pheme key show proposer.key) --alloc 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266=1000000000000000000 --out genesis.json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			g := chain.Genesis{
				ChainID: chainID, Label: label,
				TimeMS: uint64(time.Now().Add(start).UnixMilli()), SlotMS: uint64(slot.Milliseconds()),
			}
			if err := fillGenesis(&g, proposers, alloc); err != nil {
				return err
			}
			return writeGenesis(cmd, &g, out)
		},
	}
	f := cmd.Flags()
	f.StringVar(&out, "out", "genesis.json", "file to write; - for standard output")
	f.StringVar(&label, "label", "", "extraData of block 0, at most 32 bytes")
	f.StringArrayVar(&proposers, "proposer", nil, "address of a proposer, in the order of their turns; repeat for more")
	f.StringArrayVar(&alloc, "alloc", nil, "ADDRESS=WEI of a funded account; repeat for more")
	f.Uint64Var(&chainID, "chain-id", 1337, "chain id that transactions sign")
	f.DurationVar(&slot, "slot", 2*time.Second, "time between two proposers' turns, at least 100ms")
	f.DurationVar(&start, "in", 0, "slot 0 begins so long from now")
	return cmd
}

func fillGenesis(g *chain.Genesis, proposers, alloc []string) error {
	if len(proposers) == 0 {
		return usagef("no proposer: pass --proposer ADDRESS ('pheme key new FILE' makes a key and prints its address)")
	}
	for _, p := range proposers {
		if !common.IsHexAddress(p) {
			return usagef("--proposer %q is not an address: it has 40 hex digits after 0x", p)
		}
		g.Proposers = append(g.Proposers, common.HexToAddress(p))
	}
	g.Alloc = make(map[common.Address]*uint256.Int, len(alloc))
	for _, a := range alloc {
		address, amount, ok := strings.Cut(a, "=")
		if !ok || !common.IsHexAddress(address) {
			return usagef("--alloc %q: write ADDRESS=WEI", a)
		}
		wei, err := uint256.FromDecimal(amount)
		if err != nil {
			return usagef("--alloc %q: %q is not a decimal number of wei", a, amount)
		}
		g.Alloc[common.HexToAddress(address)] = wei
	}
	return nil
}

func writeGenesis(cmd *cobra.Command, g *chain.Genesis, out string) error {
	g, err := chain.DecodeGenesis(g.Encode()) // defaults filled, every rule checked
	if err != nil {
		return usageError{err}
	}
	if out == "-" {
		_, err := cmd.OutOrStdout().Write(g.Encode())
		return err
	}
	f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return usagef("%s exists: nodes of a running network may need it; pass another --out", out)
	}
	if err != nil {
		return fmt.Errorf("write genesis: %w", err)
	}
	_, err = f.Write(g.Encode())
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write genesis: %w", err)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "wrote %s: chain id %d, network %s, %d proposers, a slot every %s\n", out, g.ChainID, g.Network(), len(g.Proposers), g.SlotDuration())
	return nil
}
