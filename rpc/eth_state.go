package rpc

import (
	"errors"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	gethrpc "github.com/ethereum/go-ethereum/rpc"

	"github.com/pheme-net/pheme/chain"
)

// state returns the state of the block that ref names. Only the head's is kept.
func (s *Server) state(ref *gethrpc.BlockNumberOrHash) (chain.State, error) {
	st, err := s.chain.State(), error(nil)
	if ref == nil {
		return st, nil
	}
	head := s.chain.Head()
	if hash, ok := ref.Hash(); ok {
		h := s.chain.HeaderByID(hash)
		switch {
		case h == nil:
			err = errors.New("header for hash not found")
		case h.Root != st.Root():
			err = historic(h.Number.Uint64(), head.Number.Uint64())
		}
		return st, err
	}
	switch number, _ := ref.Number(); number {
	case gethrpc.LatestBlockNumber, gethrpc.PendingBlockNumber:
	case gethrpc.SafeBlockNumber, gethrpc.FinalizedBlockNumber:
		_, _, err = s.canonical(number)
	default:
		n := uint64(max(number, 0)) // "earliest" is below zero
		if h := s.chain.HeaderByNumber(n); h == nil {
			err = errors.New("header not found")
		} else if h.Root != st.Root() {
			err = historic(n, head.Number.Uint64())
		}
	}
	return st, err
}

func historic(n, head uint64) error {
	return fmt.Errorf("the state of block %d is not kept: only that of the head, now block %d, is: ask for \"latest\"", n, head)
}

// ChainId returns the chain id that transactions are signed for.
func (a *ethAPI) ChainId() hexutil.Uint64 {
	return hexutil.Uint64(a.s.chain.Genesis().ChainID)
}

// GetBalance returns the balance of addr in wei.
func (a *ethAPI) GetBalance(addr common.Address, ref *gethrpc.BlockNumberOrHash) (*hexutil.Big, error) {
	st, err := a.s.state(ref)
	if err != nil {
		return nil, err
	}
	return (*hexutil.Big)(st.Balance(addr).ToBig()), nil
}

// GetTransactionCount returns the next nonce of addr; for "pending" with its pooled
// transactions.
func (a *ethAPI) GetTransactionCount(addr common.Address, ref *gethrpc.BlockNumberOrHash) (*hexutil.Uint64, error) {
	st, err := a.s.state(ref)
	if err != nil {
		return nil, err
	}
	n := hexutil.Uint64(st.Nonce(addr))
	if ref != nil && ref.BlockNumber != nil && *ref.BlockNumber == gethrpc.PendingBlockNumber {
		n = max(n, hexutil.Uint64(a.s.deps.Pool.Nonce(addr)))
	}
	return &n, nil
}

// GetCode returns no code: there are no contracts.
func (a *ethAPI) GetCode(_ common.Address, ref *gethrpc.BlockNumberOrHash) (hexutil.Bytes, error) {
	_, err := a.s.state(ref)
	return hexutil.Bytes{}, err
}

// GetStorageAt returns zero: there are no contracts.
func (a *ethAPI) GetStorageAt(_ common.Address, key string, ref *gethrpc.BlockNumberOrHash) (hexutil.Bytes, error) {
	if err := checkSlot(key); err != nil {
		return nil, err
	}
	_, err := a.s.state(ref)
	return make(hexutil.Bytes, 32), err
}

// checkSlot accepts a storage key as geth does: hex of at most 32 bytes, with or
// without leading zeros.
func checkSlot(key string) error {
	digits, ok := cutHex(key)
	if !ok || len(digits) > 64 {
		return invalidParams("invalid argument 1: a storage key is 0x and at most 64 hex digits")
	}
	return nil
}

func cutHex(s string) (digits string, ok bool) {
	if len(s) < 2 || s[0] != '0' || s[1] != 'x' && s[1] != 'X' {
		return "", false
	}
	for _, c := range s[2:] {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
			return "", false
		}
	}
	return s[2:], true
}

// Accounts returns none: the node holds no keys.
func (a *ethAPI) Accounts() []common.Address { return []common.Address{} }

// Syncing returns false. A node that is behind still serves its own head.
func (a *ethAPI) Syncing() bool { return false }

func bigNext(n *big.Int) *big.Int { return new(big.Int).Add(n, big.NewInt(1)) }
