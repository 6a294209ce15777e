package main

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/spf13/cobra"

	"github.com/pheme-net/pheme/devnet/accounts"
	"github.com/pheme-net/pheme/rpc"
)

func txCommand() *cobra.Command {
	return group("tx", "send transactions", txSendCommand(), txLoadCommand())
}

// txSend holds the flags of `pheme tx send`.
type txSend struct {
	where   endpoint
	keyFile string
	account int
	to      string
	value   string
	data    string
	wait    time.Duration
	asJSON  bool
}

// sentTx is a transfer as an object.
type sentTx struct {
	Hash    common.Hash `json:"hash"`
	Block   *uint64     `json:"block"` // null: not waited for
	GasUsed *uint64     `json:"gas_used"`
}

func txSendCommand() *cobra.Command {
	var s txSend
	cmd := &cobra.Command{
		Use:   "send --to ADDRESS --value AMOUNT (--key FILE | --account N)",
		Short: "sign a transfer here, send it to a node and wait for its block",
		Example: `  pheme tx send --account 0 --to 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 --value 1ether
  pheme tx send --key my.key --to 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 --value 5gwei --data 0xc0ffee
  pheme tx send --account 0 --to 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 --value 1 --json | jq .block`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return s.run(cmd) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	s.where.flags(cmd)
	f.StringVar(&s.keyFile, "key", "", "file of the sender's key (hex); it never leaves this process")
	f.IntVar(&s.account, "account", -1, "send from a devnet's funded account, 0 to 9 (their keys are public)")
	f.StringVar(&s.to, "to", "", "recipient")
	f.StringVar(&s.value, "value", "0", "amount: wei, or a number with gwei or ether, such as 1.5ether")
	f.StringVar(&s.data, "data", "", "bytes to carry, hex")
	f.DurationVar(&s.wait, "wait", 30*time.Second, "how long to wait for the block; 0 returns once the node has taken it")
	f.BoolVar(&s.asJSON, "json", false, "print one JSON object")
	return cmd
}

func (s *txSend) run(cmd *cobra.Command) error {
	key, err := s.key()
	if err != nil {
		return err
	}
	if !common.IsHexAddress(s.to) {
		return usagef("--to %q is not an address: it has 40 hex digits after 0x", s.to)
	}
	value, err := parseAmount(s.value)
	if err != nil {
		return err
	}
	data, err := parseData(s.data)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), callTimeout+s.wait)
	defer cancel()
	c, err := s.where.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	hash, err := c.SendTransfer(ctx, key, common.HexToAddress(s.to), value, data)
	if err != nil {
		return fmt.Errorf("send: %w", unreached(c.Target(), err))
	}
	sent := sentTx{Hash: hash}
	if !s.asJSON {
		fmt.Fprintln(cmd.OutOrStdout(), hash.Hex())
	}
	if s.wait > 0 {
		err = s.await(ctx, cmd, c, &sent)
	}
	if s.asJSON { // with the hash also when no block came: the node keeps the transaction
		return errors.Join(json.NewEncoder(cmd.OutOrStdout()).Encode(sent), err)
	}
	return err
}

func (s *txSend) await(ctx context.Context, cmd *cobra.Command, c *rpc.Client, sent *sentTx) error {
	fmt.Fprintln(cmd.ErrOrStderr(), "taken; waiting for its block")
	wait, cancel := context.WithTimeout(ctx, s.wait)
	defer cancel()
	r, err := c.WaitReceipt(wait, sent.Hash)
	if err != nil {
		return fmt.Errorf("not in a block after %s (%w): the node keeps it; 'pheme status' shows whether blocks are made", s.wait, err)
	}
	block := r.BlockNumber.Uint64()
	sent.Block, sent.GasUsed = &block, &r.GasUsed
	fmt.Fprintf(cmd.ErrOrStderr(), "in block %d, %d gas\n", r.BlockNumber, r.GasUsed)
	return nil
}

func (s *txSend) key() (*ecdsa.PrivateKey, error) {
	switch {
	case s.keyFile != "" && s.account >= 0:
		return nil, usagef("--key and --account exclude each other")
	case s.keyFile != "":
		key, err := crypto.LoadECDSA(s.keyFile)
		if err != nil {
			return nil, usagef("read key %s: %w: 'pheme key new FILE' makes one", s.keyFile, err)
		}
		return key, nil
	case s.account < 0:
		return nil, usagef("no sender: pass --key FILE, or --account N on a devnet")
	case s.account > 9:
		return nil, usagef("--account %d: a devnet funds the accounts 0 to 9", s.account)
	}
	all, err := accounts.Derive(accounts.Mnemonic, s.account+1)
	if err != nil {
		return nil, err
	}
	return all[s.account].Key, nil
}

// parseData reads hex with 0x before it or without.
func parseData(text string) ([]byte, error) {
	digits := text
	if !strings.HasPrefix(text, "0x") {
		digits = "0x" + text
	}
	data, err := hexutil.Decode(digits)
	if err != nil {
		return nil, usagef("--data %q: %w: write two hex digits a byte, such as 0xc0ffee", text, err)
	}
	return data, nil
}

// parseAmount reads wei, or a decimal number followed by gwei or ether.
func parseAmount(text string) (*big.Int, error) {
	number, unit := text, 0
	for suffix, digits := range map[string]int{"gwei": 9, "ether": 18} {
		if rest, ok := strings.CutSuffix(text, suffix); ok {
			number, unit = strings.TrimSpace(rest), digits
		}
	}
	r, ok := new(big.Rat).SetString(number)
	if ok && !strings.ContainsAny(number, "/eExXpP") {
		r.Mul(r, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(unit)), nil)))
		if r.IsInt() && r.Sign() >= 0 {
			return r.Num(), nil
		}
	}
	return nil, usagef("--value %q: write wei, or a number with gwei or ether, such as 1.5ether", text)
}
