package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pheme-net/pheme/chain"
)

// Verify opens the chain in cfg's data dir, reads all of it and checks it against itself. No other
// process may use the data dir. Errors: ErrConfig, chain.ErrCorrupt, chain.ErrInUse.
func Verify(ctx context.Context, cfg Config) (v chain.Verified, err error) {
	genesis, dir, err := cfg.stored()
	if err != nil {
		return v, err
	}
	c, err := chain.Open(cfg.Chain, genesis, dir, nil)
	if err != nil {
		return v, err
	}
	defer c.Close()
	return c.Verify(ctx)
}

// Repair brings the chain in cfg's data dir back to the longest prefix that verifies; what is lost
// comes back from peers. No other process may use the data dir.
func Repair(ctx context.Context, cfg Config) (chain.Repaired, error) {
	genesis, dir, err := cfg.stored()
	if err != nil {
		return chain.Repaired{}, err
	}
	return chain.Repair(ctx, cfg.Chain, genesis, dir)
}

// store is where cfg's chain lies and what network it belongs to.
func (c *Config) store() (*chain.Genesis, string, error) {
	if err := c.validate(); err != nil {
		return nil, "", err
	}
	genesis, err := chain.ReadGenesis(c.Genesis)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err := c.validateIn(genesis); err != nil {
		return nil, "", err
	}
	return genesis, filepath.Join(c.DataDir, chainDir), nil
}

// stored is the store of a chain that is there.
func (c *Config) stored() (*chain.Genesis, string, error) {
	genesis, dir, err := c.store()
	if err != nil {
		return nil, "", err
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("%w: no chain in %s: check --data-dir", ErrConfig, c.DataDir)
	}
	return genesis, dir, nil
}
