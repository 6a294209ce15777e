package chain

import (
	"bytes"
	"errors"
	"math/big"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/ethereum/go-ethereum/trie"
	"github.com/holiman/uint256"
)

var to7 = common.Address{7}

func TestTxFields(t *testing.T) {
	w := newWorld(1, 1)
	list := types.AccessList{{Address: to7, StorageKeys: []common.Hash{{1}, {2}}}}
	fee, tip := big.NewInt(3e9), big.NewInt(1e9)
	chainID := big.NewInt(1337)
	for name, tc := range map[string]struct {
		data types.TxData
		gas  uint64
		tip  uint64 // effective, at a base fee of 1 gwei
	}{
		"legacy":   {&types.LegacyTx{Nonce: 4, To: &to7, Value: common.Big1, Gas: 30000, GasPrice: fee}, 21000, 2e9},
		"eip-2930": {&types.AccessListTx{ChainID: chainID, Nonce: 4, To: &to7, Value: common.Big1, Gas: 30000, GasPrice: fee, AccessList: list}, 27200, 2e9},
		"eip-1559": {&types.DynamicFeeTx{ChainID: chainID, Nonce: 4, To: &to7, Value: common.Big1, Gas: 30000, GasFeeCap: fee, GasTipCap: tip, Data: []byte{0, 1, 2}}, 21036, 1e9},
	} {
		inner := types.MustSignNewTx(w.users[0], w.signer, tc.data)
		raw, err := inner.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		tx, err := DecodeTx(raw)
		if err != nil {
			t.Fatal(err)
		}
		baseTip := tx.EffectiveTip(w.g.BaseFee)
		if !bytes.Equal(tx.Raw(), raw) || tx.Size() != len(raw) || tx.Hash() != inner.Hash() || tx.To() != to7 || tx.Nonce() != 4 ||
			tx.GasUsed() != tc.gas || tx.Cost().ToBig().Cmp(inner.Cost()) != 0 || baseTip.Uint64() != tc.tip || tx.Value().Uint64() != 1 {
			t.Errorf("%s: %+v", name, tx)
		}
		if from, err := tx.Sender(1337); err != nil || from != w.user(0) {
			t.Errorf("%s: Sender = %s, %v", name, from, err)
		}
		if err := CheckTx(tx, w.g); err != nil {
			t.Errorf("%s: CheckTx = %v", name, err)
		}
		raw[len(raw)-1] ^= 1
		if tx.Raw()[len(raw)-1] == raw[len(raw)-1] {
			t.Errorf("%s: DecodeTx keeps the bytes of its caller", name)
		}
	}
}

func TestTxRefusals(t *testing.T) {
	w := newWorld(1, 1)
	chainID, fee := big.NewInt(1337), big.NewInt(3e9)
	dynamic := func(f func(*types.DynamicFeeTx)) types.TxData {
		d := &types.DynamicFeeTx{ChainID: chainID, To: &to7, Value: common.Big1, Gas: 21000, GasFeeCap: fee, GasTipCap: common.Big1}
		f(d)
		return d
	}
	huge := new(big.Int).Lsh(common.Big1, 256)
	sign := func(s types.Signer, d types.TxData) []byte {
		raw, err := types.MustSignNewTx(w.users[0], s, d).MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	all := types.NewPragueSigner(chainID)
	blob := &types.BlobTx{ChainID: uint256.NewInt(1337), BlobHashes: []common.Hash{{1}}}
	setCode := &types.SetCodeTx{ChainID: uint256.NewInt(1337), AuthList: []types.SetCodeAuthorization{{}}}
	good := sign(w.signer, dynamic(func(*types.DynamicFeeTx) {}))
	for name, tc := range map[string]struct {
		raw  []byte
		want error
	}{
		"empty":           {nil, ErrInvalidTx},
		"garbage":         {[]byte("hello"), ErrInvalidTx},
		"unknown type":    {[]byte{5, 0xc0}, ErrInvalidTx},
		"cut short":       {good[:len(good)-1], ErrInvalidTx},
		"bytes after":     {append(bytes.Clone(good), 0), ErrInvalidTx},
		"blob":            {sign(all, blob), ErrBlobTx},
		"set code":        {sign(all, setCode), ErrSetCodeTx},
		"contract":        {sign(w.signer, dynamic(func(d *types.DynamicFeeTx) { d.To = nil })), ErrContractCreation},
		"unprotected":     {sign(types.HomesteadSigner{}, &types.LegacyTx{To: &to7, Gas: 21000, GasPrice: fee}), ErrUnprotectedTx},
		"foreign":         {sign(types.NewLondonSigner(big.NewInt(5)), dynamic(func(d *types.DynamicFeeTx) { d.ChainID = big.NewInt(5) })), ErrChainID},
		"foreign legacy":  {sign(types.NewLondonSigner(big.NewInt(5)), &types.LegacyTx{To: &to7, Gas: 21000, GasPrice: fee}), ErrChainID},
		"too little gas":  {sign(w.signer, dynamic(func(d *types.DynamicFeeTx) { d.Gas = 20999 })), ErrIntrinsicGas},
		"gas over limit":  {sign(w.signer, dynamic(func(d *types.DynamicFeeTx) { d.Gas = w.g.GasLimit + 1 })), ErrGasLimit},
		"tip above cap":   {sign(w.signer, dynamic(func(d *types.DynamicFeeTx) { d.GasTipCap = big.NewInt(4e9) })), ErrTipAboveFeeCap},
		"below base fee":  {sign(w.signer, dynamic(func(d *types.DynamicFeeTx) { d.GasFeeCap, d.GasTipCap = big.NewInt(1e9-1), common.Big0 })), ErrFeeCapTooLow},
		"last nonce":      {sign(w.signer, dynamic(func(d *types.DynamicFeeTx) { d.Nonce = ^uint64(0) })), ErrInvalidTx},
		"value 2^256":     {sign(w.signer, dynamic(func(d *types.DynamicFeeTx) { d.Value = huge })), ErrInvalidTx},
		"cost over 2^256": {sign(w.signer, dynamic(func(d *types.DynamicFeeTx) { d.Value = new(big.Int).Sub(huge, common.Big1) })), ErrInvalidTx},
		"oversized":       {sign(w.signer, dynamic(func(d *types.DynamicFeeTx) { d.Data, d.Gas = make([]byte, MaxTxBytes), 1e6 })), ErrOversizedTx},
		"high s":          {highS(t, good), ErrSignature},
		"typed as string": {encodeRLP(good), ErrInvalidTx},
	} {
		tx, err := DecodeTx(tc.raw)
		if err == nil {
			err = CheckTx(tx, w.g)
		}
		if !errors.Is(err, tc.want) || !errors.Is(err, ErrInvalidTx) || !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

// highS turns the signature of an EIP-1559 transaction into its other form.
func highS(t *testing.T, raw []byte) []byte {
	t.Helper()
	inner := new(types.Transaction)
	if err := inner.UnmarshalBinary(raw); err != nil {
		t.Fatal(err)
	}
	v, r, s := inner.RawSignatureValues()
	high := new(big.Int).Sub(crypto.S256().Params().N, s)
	out, err := types.NewTx(&types.DynamicFeeTx{
		ChainID: inner.ChainId(), Nonce: inner.Nonce(), GasTipCap: inner.GasTipCap(), GasFeeCap: inner.GasFeeCap(), Gas: inner.Gas(),
		To: inner.To(), Value: inner.Value(), V: new(big.Int).Xor(v, common.Big1), R: r, S: high,
	}).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRecoverSenders(t *testing.T) {
	w := newWorld(1, 3)
	var txs []*Tx
	for i := range 100 {
		tx, err := DecodeTx(w.transfer(i%3, uint64(i), to7, 1).Raw())
		if err != nil {
			t.Fatal(err)
		}
		txs = append(txs, tx)
	}
	RecoverSenders(txs, w.g)
	for i, tx := range txs {
		if s := tx.sender.Load(); s == nil || *s != w.user(i%3) {
			t.Fatalf("sender of %d is %v", i, s)
		}
	}
}

// TestRoots holds our roots against go-ethereum's own over whole values.
func TestRoots(t *testing.T) {
	w := newWorld(1, 5)
	for _, n := range []int{0, 1, 2, 127, 128, 129, 300} {
		b := w.run(w.genesis(), 1, n, 1)[0]
		var txs types.Transactions
		for _, tx := range b.txs {
			txs = append(txs, tx.inner)
		}
		receipts := b.Receipts()
		for i, r := range receipts {
			if r.TxHash != b.txs[i].hash || r.EffectiveGasPrice.Uint64() != 2e9 || r.GasUsed != b.txs[i].gas {
				t.Fatalf("receipt %d: %+v", i, r)
			}
		}
		if got, want := b.header.TxHash, types.DeriveSha(txs, trie.NewStackTrie(nil)); got != want {
			t.Errorf("%d transactions: root %s, want %s", n, got, want)
		}
		if got, want := b.header.ReceiptHash, types.DeriveSha(receipts, trie.NewStackTrie(nil)); got != want {
			t.Errorf("%d receipts: root %s, want %s", n, got, want)
		}
		if got := types.NewBlock(b.header, &types.Body{Transactions: txs}, receipts, trie.NewStackTrie(nil)); got.Hash() != b.ID() {
			t.Errorf("%d transactions: Ethereum's block hash is %s, ours %s", n, got.Hash(), b.ID())
		}
	}
}

func TestBlockCodec(t *testing.T) {
	w := newWorld(1, 3)
	b := w.run(w.genesis(), 1, 7, 1)[0]
	// What we append by hand is what the RLP library encodes.
	type envelope struct {
		Header *types.Header
		Txs    [][]byte
		Sig    []byte
	}
	e := envelope{Header: b.header, Sig: b.sig[:]}
	for _, tx := range b.txs {
		e.Txs = append(e.Txs, tx.raw)
	}
	if want := encodeRLP(e); !bytes.Equal(b.Raw(), want) {
		t.Fatalf("Raw() = %x, want %x", b.Raw(), want)
	}
	shared := map[common.Hash]*Tx{b.txs[2].hash: b.txs[2]}
	got, err := DecodeBlock(b.Raw(), func(h common.Hash) *Tx { return shared[h] })
	if err != nil {
		t.Fatal(err)
	}
	if got.txs[2] != b.txs[2] || got.txs[1] == b.txs[1] || got.ID() != b.ID() || got.BodySize() != b.BodySize() {
		t.Fatalf("DecodeBlock = %+v", got)
	}
	sh, err := DecodeSignedHeader(b.Encode())
	if err != nil || sh.ID() != b.ID() || !bytes.Equal(sh.Encode(), b.Encode()) {
		t.Fatalf("DecodeSignedHeader = %+v, %v", sh, err)
	}
	for name, raw := range map[string][]byte{
		"empty":           nil,
		"oversized":       make([]byte, MaxEnvelopeBytes+1),
		"a string":        encodeRLP("block"),
		"bytes after":     append(bytes.Clone(b.Raw()), 0),
		"cut short":       b.Raw()[:len(b.Raw())-1],
		"short signature": encodeRLP(envelope{e.Header, e.Txs, e.Sig[:64]}),
		"no signature":    encodeRLP([]any{e.Header, e.Txs}),
		"fourth item":     encodeRLP([]any{e.Header, e.Txs, e.Sig, "x"}),
		"bad transaction": encodeRLP(envelope{e.Header, [][]byte{{1, 2, 3}}, e.Sig}),
		"tx as a list":    encodeRLP([]any{e.Header, []any{[]byte{1}, []any{}}, e.Sig}),
		"huge header":     encodeRLP([]any{append(bytes.Clone(b.raw), make([]byte, 2000)...), e.Txs, e.Sig}),
	} {
		if _, err := DecodeBlock(raw, nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if n, err := rlp.CountValues(b.body); err != nil || n != 1 {
		t.Fatalf("body is %d values, %v", n, err)
	}
}
