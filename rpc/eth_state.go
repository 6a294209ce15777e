package rpc

import (
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	gethrpc "github.com/ethereum/go-ethereum/rpc"

	"github.com/pheme-net/pheme/chain"
)

var errNoHeader = errors.New("header not found")

// header returns the header of the block that ref names, nil for the head's state.
func (s *Server) header(ref *gethrpc.BlockNumberOrHash) (h *types.Header, err error) {
	if ref == nil {
		return nil, nil
	}
	if hash, ok := ref.Hash(); ok {
		if h = s.chain.HeaderByID(hash); h == nil {
			err = errors.New("header for hash not found")
		}
		return h, err
	}
	switch number, _ := ref.Number(); number {
	case gethrpc.LatestBlockNumber, gethrpc.PendingBlockNumber:
	case gethrpc.SafeBlockNumber, gethrpc.FinalizedBlockNumber:
		_, _, err = s.canonical(number)
	default:
		if h = s.chain.HeaderByNumber(uint64(max(number, 0))); h == nil { // "earliest" is below zero
			err = errNoHeader
		}
	}
	return h, err
}

// account returns the account of addr after the block that ref names: the head, one that
// has the head's state, or a canonical one not too far below it.
func (s *Server) account(addr common.Address, ref *gethrpc.BlockNumberOrHash) (chain.Account, error) {
	h, err := s.header(ref)
	if err != nil {
		return chain.Account{}, err
	}
	if st := s.chain.State(); h == nil || h.Root == st.Root() {
		return st.Account(addr), nil
	}
	defer s.load()()
	a, id, err := s.chain.AccountAt(h.Number.Uint64(), addr)
	hash, byHash := ref.Hash()
	switch {
	case errors.Is(err, chain.ErrNotFound):
		err = errNoHeader // the block becomes the head in a moment
	case errors.Is(err, chain.ErrPruned):
		err = fmt.Errorf("missing trie node: %s", strings.TrimPrefix(err.Error(), chain.ErrPruned.Error()+": "))
	case err == nil && byHash && id != hash:
		err = fmt.Errorf("missing trie node: the state of block %d is not available: %s is not canonical", h.Number, hash)
	}
	return a, err
}

// ChainId returns the chain id that transactions are signed for.
func (a *ethAPI) ChainId() hexutil.Uint64 {
	return hexutil.Uint64(a.s.chain.Genesis().ChainID)
}

// GetBalance returns the balance of addr in wei.
func (a *ethAPI) GetBalance(addr common.Address, ref *gethrpc.BlockNumberOrHash) (*hexutil.Big, error) {
	account, err := a.s.account(addr, ref)
	if err != nil {
		return nil, err
	}
	return (*hexutil.Big)(account.Balance.ToBig()), nil
}

// GetTransactionCount returns the next nonce of addr; for "pending" with its pooled
// transactions.
func (a *ethAPI) GetTransactionCount(addr common.Address, ref *gethrpc.BlockNumberOrHash) (*hexutil.Uint64, error) {
	account, err := a.s.account(addr, ref)
	if err != nil {
		return nil, err
	}
	n := hexutil.Uint64(account.Nonce)
	if ref != nil && ref.BlockNumber != nil && *ref.BlockNumber == gethrpc.PendingBlockNumber {
		n = max(n, hexutil.Uint64(a.s.deps.Pool.Nonce(addr)))
	}
	return &n, nil
}

// GetCode returns no code of any block that there is: there are no contracts.
func (a *ethAPI) GetCode(_ common.Address, ref *gethrpc.BlockNumberOrHash) (hexutil.Bytes, error) {
	_, err := a.s.header(ref)
	return hexutil.Bytes{}, err
}

// GetStorageAt returns zero of any block that there is: there are no contracts.
func (a *ethAPI) GetStorageAt(_ common.Address, key string, ref *gethrpc.BlockNumberOrHash) (hexutil.Bytes, error) {
	if err := checkSlot(key); err != nil {
		return nil, err
	}
	_, err := a.s.header(ref)
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
