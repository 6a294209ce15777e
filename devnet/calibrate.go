package devnet

import (
	"crypto/sha256"
	"fmt"
	"math/big"
	"os"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/devnet/accounts"
	"github.com/pheme-net/pheme/devnet/cluster"
	"github.com/pheme-net/pheme/devnet/experiment"
)

// What calibration does each time, and how many times. The best time counts: what is above it, others took.
const (
	calibrations   = 5
	calibrateBatch = 1024 // transfers in a block
	calibrateBig   = 16   // transactions of 16 KiB in a block
)

// calibrate measures on one core of this machine what computing costs, with the code that every node runs and a store on disk.
func calibrate(cores int) (prices experiment.CPU, err error) {
	dir, err := os.MkdirTemp("", "pheme-calibration-")
	if err != nil {
		return prices, fmt.Errorf("make temporary folder: %w", err)
	}
	defer os.RemoveAll(dir)
	c, err := newCalibration(dir)
	if err != nil {
		return prices, err
	}
	defer c.chain.Close()
	prices = experiment.CPU{Mode: experiment.CPUCharge, Cores: cores}
	for range calibrations {
		if err := c.round(&prices); err != nil {
			return prices, fmt.Errorf("measure what computing costs: %w", err)
		}
	}
	return prices, nil
}

// calibration is a chain on which blocks are timed.
type calibration struct {
	chain  *chain.Chain
	sender accounts.Account
	signer types.Signer
	nonce  uint64
	slot   uint64
}

func newCalibration(dir string) (*calibration, error) {
	all, err := accounts.Derive(accounts.Mnemonic, 1)
	if err != nil {
		return nil, err
	}
	g := chain.Genesis{
		ChainID: cluster.ChainID, TimeMS: uint64(time.Now().Add(-time.Hour).UnixMilli()), SlotMS: 1000, Alloc: fund(all), Label: "calibration",
		Proposers: []common.Address{all[0].Address},
	}
	genesis, err := chain.DecodeGenesis(g.Encode())
	if err != nil {
		return nil, err
	}
	c := &calibration{sender: all[0], signer: types.LatestSignerForChainID(big.NewInt(cluster.ChainID))}
	c.chain, err = chain.Open(chain.Config{}, genesis, dir, nil)
	return c, err
}

// round takes each price once and keeps it if it is the lowest.
func (c *calibration) round(prices *experiment.CPU) error {
	keep := func(price *float64, took time.Duration, units float64) {
		if us := float64(took) / float64(time.Microsecond) / units; *price == 0 || us < *price {
			*price = us
		}
	}
	txs, err := c.sign(calibrateBatch, 0)
	if err != nil {
		return err
	}
	began := time.Now()
	for _, tx := range txs {
		if err := chain.CheckTx(tx, c.chain.Genesis()); err != nil {
			return err
		}
	}
	keep(&prices.SignatureUS, time.Since(began), calibrateBatch)
	b, err := c.build(txs)
	if err != nil {
		return err
	}
	began = time.Now()
	if _, err := c.chain.Add(b); err != nil {
		return err
	}
	keep(&prices.TransferUS, time.Since(began), calibrateBatch)
	if txs, err = c.sign(calibrateBig, 16<<10); err != nil {
		return err
	}
	if b, err = c.build(txs); err != nil {
		return err
	}
	began = time.Now()
	_ = sha256.Sum256(b.Raw()) // the message id
	again, err := chain.DecodeBlock(b.Raw(), nil)
	if err != nil {
		return err
	}
	if _, err := chain.NewBlock(again.SignedHeader, again.Txs()); err != nil {
		return err
	}
	keep(&prices.HashUS, time.Since(began), float64(b.Size())/1024)
	_, err = c.chain.Add(b)
	return err
}

// sign makes transfers with so many bytes of data.
func (c *calibration) sign(n, data int) ([]*chain.Tx, error) {
	txs := make([]*chain.Tx, n)
	for i := range txs {
		to := common.BigToAddress(new(big.Int).SetUint64((c.nonce + 1) * 0x9e3779b97f4a7c15)) // each to another account, all over the state
		inner, err := types.SignNewTx(c.sender.Key, c.signer, &types.DynamicFeeTx{
			ChainID: c.signer.ChainID(), Nonce: c.nonce, GasTipCap: big.NewInt(1e9), GasFeeCap: big.NewInt(10e9),
			Gas: 21_000 + 16*uint64(data), To: &to, Value: big.NewInt(1), Data: bytesOf(data),
		})
		if err != nil {
			return nil, err
		}
		if txs[i], err = chain.NewTx(inner); err != nil {
			return nil, err
		}
		c.nonce++
	}
	return txs, nil
}

// bytesOf makes data that is not zero, whose gas differs.
func bytesOf(n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(i%255 + 1)
	}
	return out
}

// build makes the next block, of all of txs.
func (c *calibration) build(txs []*chain.Tx) (*chain.Block, error) {
	c.slot++
	b, _, err := c.chain.Build(c.slot, c.sender.Key, txs, 0)
	if err == nil && len(b.Txs()) != len(txs) {
		err = fmt.Errorf("a block took %d of %d transactions", len(b.Txs()), len(txs))
	}
	return b, err
}
