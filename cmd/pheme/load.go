package main

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/spf13/cobra"

	"github.com/pheme-net/pheme/devnet"
	"github.com/pheme-net/pheme/devnet/accounts"
	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/load"
	"github.com/pheme-net/pheme/devnet/stats"
	"github.com/pheme-net/pheme/rpc"
)

// txLoad holds the flags of `pheme tx load`.
type txLoad struct {
	urls     []string
	keyFiles []string
	accounts int
	data     experiment.Bytes
	cfg      load.Config
	submit   bool
	asJSON   bool
}

func txLoadCommand() *cobra.Command {
	var l txLoad
	cmd := &cobra.Command{
		Use:   "load --rate R --duration T",
		Short: "send transfers at a fixed rate and time answers and blocks",
		Long: `Send signed transfers at a fixed rate and say how long they took to be answered and to be in a
block. The schedule does not wait for answers: latency counts from the moment a transaction was
due, so that a node which stalls is charged for all that had to wait. Only Ethereum's methods are
used: any Ethereum node whose accounts you hold keys of can be loaded.`,
		Example: `  pheme tx load --rate 500 --duration 10s
  pheme tx load --rpc http://127.0.0.1:8545 --rpc http://127.0.0.1:8546 --rate 2000 --batch 100
  pheme tx load --rate 50 --data 16KiB --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return l.run(cmd) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringArrayVar(&l.urls, "rpc", []string{defaultRPC}, "JSON-RPC URL of a node; repeat to spread the load")
	f.StringArrayVar(&l.keyFiles, "key", nil, "file of a sender's key (hex); repeat for more (default: a devnet's funded accounts)")
	f.IntVar(&l.accounts, "accounts", 10, "how many of a devnet's funded accounts send, 1 to 10 (their keys are public)")
	f.Float64Var(&l.cfg.Rate, "rate", 100, "transactions a second over all accounts")
	f.DurationVar(&l.cfg.Duration, "duration", 10*time.Second, "how long to send")
	f.Var(&l.data, "data", "bytes each transfer carries, such as 1KiB")
	f.IntVar(&l.cfg.Batch, "batch", 1, fmt.Sprintf("transactions a call, at most %d; fewer with much --data", load.MaxBatch))
	f.BoolVar(&l.submit, "submit-only", false, "do not wait for blocks")
	f.BoolVar(&l.asJSON, "json", false, "print one JSON object")
	return cmd
}

func (l *txLoad) run(cmd *cobra.Command) error {
	var err error
	if l.cfg.Keys, err = l.keys(); err != nil {
		return err
	}
	for _, url := range l.urls {
		c, err := rpc.Dial(cmd.Context(), url)
		if err != nil {
			return unreached(url, err)
		}
		defer c.Close()
		l.cfg.Targets = append(l.cfg.Targets, c)
	}
	l.cfg.Data, l.cfg.Include = int(l.data), !l.submit
	result, err := devnet.Load(cmd.Context(), l.cfg, cmd.ErrOrStderr())
	switch {
	case errors.Is(err, load.ErrConfig):
		return usageError{err}
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	case err != nil:
		return unreached(strings.Join(l.urls, ", "), err)
	case l.asJSON:
		err = json.NewEncoder(cmd.OutOrStdout()).Encode(result)
	default:
		printLoad(cmd.OutOrStdout(), result)
	}
	if err == nil && result.Accepted == 0 {
		err = errors.New("nothing was accepted: the reasons are in the result")
	}
	return err
}

func (l *txLoad) keys() (keys []*ecdsa.PrivateKey, err error) {
	for _, file := range l.keyFiles {
		key, err := crypto.LoadECDSA(file)
		if err != nil {
			return nil, usagef("read key %s: %w: 'pheme key new FILE' makes one", file, err)
		}
		keys = append(keys, key)
	}
	if len(keys) > 0 {
		return keys, nil
	}
	if l.accounts < 1 || l.accounts > 10 {
		return nil, usagef("--accounts %d: a devnet funds 10", l.accounts)
	}
	all, err := accounts.Derive(accounts.Mnemonic, l.accounts)
	for _, a := range all {
		keys = append(keys, a.Key)
	}
	return keys, err
}

func printLoad(w io.Writer, r *load.Result) {
	fmt.Fprintf(w, "sent       %d, accepted %d, in blocks %d\n", r.Sent, r.Accepted, r.Included)
	for _, why := range slices.Sorted(maps.Keys(r.Refused)) {
		fmt.Fprintf(w, "refused    %d: %s\n", r.Refused[why], why)
	}
	fmt.Fprintf(w, "rate       %.1f/s accepted, %.1f/s wanted, the latest call %.1f ms behind its time\n", r.Rate, r.Wanted, r.Late)
	fmt.Fprintf(w, "answered   %s\n", latencyText(r.Submit))
	if r.Include.P50.Valid() {
		fmt.Fprintf(w, "in a block %s  (seen every %.0f ms)\n", latencyText(r.Include), r.Watch)
	}
}

func latencyText(l load.Latency) string {
	one := func(n stats.Number) string {
		switch v := float64(n); {
		case math.IsInf(v, 1):
			return "never"
		case v >= 1000:
			return fmt.Sprintf("%.2f s", v/1000)
		default:
			return fmt.Sprintf("%.2f ms", v)
		}
	}
	return fmt.Sprintf("p50 %s  p95 %s  p99 %s  max %s", one(l.P50), one(l.P95), one(l.P99), one(l.Max))
}
