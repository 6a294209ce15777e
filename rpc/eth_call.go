package rpc

import (
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	gethrpc "github.com/ethereum/go-ethereum/rpc"

	"github.com/pheme-net/pheme/chain"
)

// callArgs is the transaction object of eth_estimateGas and eth_call.
type callArgs struct {
	From       *common.Address   `json:"from"`
	To         *common.Address   `json:"to"`
	Gas        *hexutil.Uint64   `json:"gas"`
	GasPrice   *hexutil.Big      `json:"gasPrice"`
	FeeCap     *hexutil.Big      `json:"maxFeePerGas"`
	TipCap     *hexutil.Big      `json:"maxPriorityFeePerGas"`
	Value      *hexutil.Big      `json:"value"`
	Data       *hexutil.Bytes    `json:"data"`
	Input      *hexutil.Bytes    `json:"input"`
	AccessList *types.AccessList `json:"accessList"`
	Blobs      []common.Hash     `json:"blobVersionedHashes"`
	SetCode    []any             `json:"authorizationList"`
}

// tx returns an unsigned transaction that does what the arguments say, or why pheme
// would refuse it.
func (c callArgs) tx() (*chain.Tx, error) {
	switch {
	case c.Blobs != nil:
		return nil, chain.ErrBlobTx
	case c.SetCode != nil:
		return nil, chain.ErrSetCodeTx
	case c.To == nil:
		return nil, chain.ErrContractCreation
	case c.GasPrice != nil && (c.FeeCap != nil || c.TipCap != nil):
		return nil, fmt.Errorf("both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified")
	}
	inner := &types.DynamicFeeTx{To: c.To, Value: c.Value.ToInt(), GasFeeCap: c.FeeCap.ToInt(), GasTipCap: c.TipCap.ToInt()}
	if c.GasPrice != nil {
		inner.GasFeeCap, inner.GasTipCap = c.GasPrice.ToInt(), c.GasPrice.ToInt()
	}
	if c.Gas != nil {
		inner.Gas = uint64(*c.Gas)
	}
	if c.AccessList != nil {
		inner.AccessList = *c.AccessList
	}
	switch {
	case c.Input != nil && c.Data != nil && string(*c.Input) != string(*c.Data):
		return nil, fmt.Errorf(`both "data" and "input" are set and not equal. Please use "input" to pass transaction call data`)
	case c.Input != nil:
		inner.Data = *c.Input
	case c.Data != nil:
		inner.Data = *c.Data
	}
	return chain.NewTx(types.NewTx(inner))
}

// simulate checks a call against the state and returns the gas it would use. What costs
// nothing needs no balance, so it can be asked of any block that there is.
func (s *Server) simulate(c callArgs, ref *gethrpc.BlockNumberOrHash) (uint64, error) {
	t, err := c.tx()
	if err != nil {
		return 0, plain(err)
	}
	gas := t.GasUsed()
	cost := new(big.Int).Mul(t.FeeCap().ToBig(), new(big.Int).SetUint64(gas))
	cost.Add(cost, t.Value().ToBig())
	var from common.Address
	if c.From != nil {
		from = *c.From
	}
	var have chain.Account
	if cost.Sign() == 0 {
		_, err = s.header(ref)
	} else {
		have, err = s.account(from, ref)
	}
	if err != nil {
		return 0, err
	}
	limit := s.chain.Genesis().GasLimit
	if c.Gas != nil && uint64(*c.Gas) < limit {
		limit = uint64(*c.Gas)
	}
	if gas > limit {
		return 0, fmt.Errorf("intrinsic gas too low: have %d, want %d", limit, gas)
	}
	if balance := have.Balance.ToBig(); balance.Cmp(cost) < 0 {
		return 0, fmt.Errorf("insufficient funds for gas * price + value: address %s have %d want %d", from, balance, cost)
	}
	return gas, nil
}

// EstimateGas returns the gas that the transfer uses: Ethereum's intrinsic gas.
func (a *ethAPI) EstimateGas(c callArgs, ref *gethrpc.BlockNumberOrHash) (hexutil.Uint64, error) {
	gas, err := a.s.simulate(c, ref)
	return hexutil.Uint64(gas), err
}

// Call answers as an account without code does: with no data, or why the transfer
// would fail.
func (a *ethAPI) Call(c callArgs, ref *gethrpc.BlockNumberOrHash) (hexutil.Bytes, error) {
	_, err := a.s.simulate(c, ref)
	return hexutil.Bytes{}, err
}
