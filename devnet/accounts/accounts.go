package accounts

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

// Mnemonic is the one that local Ethereum chains share. It is public.
const Mnemonic = "test test test test test test test test test test test junk"

// Account is a key and its address.
type Account struct {
	Key     *ecdsa.PrivateKey
	Address common.Address
}

// hardened marks a BIP-32 child that is derived from the private key.
const hardened = 1 << 31

// seedRounds is BIP-39's number of PBKDF2 rounds.
const seedRounds = 2048

// Derive returns the first n accounts of the mnemonic at m/44'/60'/0'/0/i. The mnemonic is taken
// as it is: its checksum is not verified and it must be plain ASCII.
func Derive(mnemonic string, n int) ([]Account, error) {
	seed, err := pbkdf2.Key(sha512.New, mnemonic, []byte("mnemonic"), seedRounds, 64)
	if err != nil {
		return nil, fmt.Errorf("derive seed: %w", err)
	}
	branch := master(seed)
	for _, index := range []uint32{hardened + 44, hardened + 60, hardened, 0} {
		if branch, err = branch.child(index); err != nil {
			return nil, err
		}
	}
	out := make([]Account, n)
	for i := range out {
		leaf, err := branch.child(uint32(i))
		if err != nil {
			return nil, err
		}
		key, err := crypto.ToECDSA(leaf.key)
		if err != nil {
			return nil, fmt.Errorf("account %d: %w", i, err)
		}
		out[i] = Account{Key: key, Address: crypto.PubkeyToAddress(key.PublicKey)}
	}
	return out, nil
}

// node is a private key with its chain code in the tree of BIP-32.
type node struct{ key, chain []byte }

func master(seed []byte) node { return split(digest([]byte("Bitcoin seed"), seed)) }

// errChild happens once in 2^127 children: the index yields no key.
var errChild = errors.New("accounts: this index yields no key")

// child is CKDpriv of BIP-32: the left half of HMAC-SHA512 is added to the parent's key modulo the
// order of the curve.
func (n node) child(index uint32) (node, error) {
	var data []byte
	if index >= hardened {
		data = append([]byte{0}, n.key...)
	} else {
		parent, err := crypto.ToECDSA(n.key)
		if err != nil {
			return node{}, fmt.Errorf("derive child %d: %w", index, err)
		}
		data = crypto.CompressPubkey(&parent.PublicKey)
	}
	c := split(digest(n.chain, binary.BigEndian.AppendUint32(data, index)))
	order := crypto.S256().Params().N
	left := new(big.Int).SetBytes(c.key)
	sum := new(big.Int).Add(left, new(big.Int).SetBytes(n.key))
	sum.Mod(sum, order)
	if left.Cmp(order) >= 0 || sum.Sign() == 0 {
		return node{}, errChild
	}
	c.key = sum.FillBytes(make([]byte, 32))
	return c, nil
}

func digest(key, data []byte) []byte {
	h := hmac.New(sha512.New, key)
	h.Write(data)
	return h.Sum(nil)
}

func split(sum []byte) node { return node{key: sum[:32], chain: sum[32:]} }
