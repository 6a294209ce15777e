package rpc

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"math/rand"
	"slices"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/ethereum/go-ethereum/trie"
	"github.com/holiman/uint256"

	"github.com/pheme-net/pheme/chain"
)

// everyKind puts transactions of every type and shape into the pool and a block.
func everyKind(r *rig, n int) *chain.Block {
	rnd := rand.New(rand.NewSource(1))
	nonces := map[int]uint64{}
	var txs []*chain.Tx
	for k := range n {
		i := k % rigAccounts
		data := make([]byte, rnd.Intn(100)*(k%3))
		rnd.Read(data)
		to := common.Address{byte(k), 19: byte(k >> 8)}
		list := types.AccessList{{Address: to, StorageKeys: []common.Hash{{1}, {31: 2}}}, {Address: common.Address{}}}
		value := new(big.Int).Lsh(big.NewInt(int64(k%2)), uint(k%70))
		price := big.NewInt(1_000_000_000 + int64(k))
		var inner types.TxData
		switch k % 4 {
		case 0:
			inner = &types.LegacyTx{Nonce: nonces[i], GasPrice: price, Gas: 60_000, To: &to, Value: value, Data: data}
		case 1:
			inner = &types.AccessListTx{ChainID: big.NewInt(1337), Nonce: nonces[i], GasPrice: price, Gas: 60_000, To: &to, Value: value, Data: data, AccessList: list}
		case 2:
			inner = &types.DynamicFeeTx{ChainID: big.NewInt(1337), Nonce: nonces[i], GasFeeCap: price, GasTipCap: big.NewInt(3), Gas: 60_000, To: &to, Value: value, Data: data, AccessList: list[:1]}
		default:
			inner = &types.DynamicFeeTx{ChainID: big.NewInt(1337), Nonce: nonces[i], GasFeeCap: price, GasTipCap: price, Gas: 60_000, To: &to, Value: value, Data: data}
		}
		nonces[i]++
		t, err := chain.NewTx(r.sign(i, inner))
		must(r.tb, err)
		txs = append(txs, t)
	}
	for _, err := range r.pool.SubmitTxs(r.tb.Context(), txs) {
		must(r.tb, err)
	}
	b := r.seal()
	if len(b.Txs()) != n {
		r.tb.Fatalf("the block holds %d transactions, want %d", len(b.Txs()), n)
	}
	return b
}

// within checks that every field of go-ethereum's JSON that is not null is in ours with
// the same value, but for those named: its nodes leave them out too.
func within(t *testing.T, what string, ours, oracle []byte, but ...string) {
	t.Helper()
	var got, want map[string]json.RawMessage
	must(t, json.Unmarshal(ours, &got))
	must(t, json.Unmarshal(oracle, &want))
	for key, value := range want {
		if string(value) == "null" || slices.Contains(but, key) {
			continue
		}
		if got[key] == nil || compact(t, got[key]) != compact(t, value) {
			t.Errorf("%s: field %s = %s, want %s", what, key, got[key], value)
		}
	}
}

// TestJSONAgreesWithGoEthereum compares what we append with go-ethereum's own JSON of
// headers, transactions and receipts, and reads ours back by its decoders.
func TestJSONAgreesWithGoEthereum(t *testing.T) {
	r := newRig(t, Config{})
	b := everyKind(r, 40)
	block := r.ask("eth_getBlockByNumber", "latest", true)
	header, err := json.Marshal(b.Header())
	must(t, err)
	within(t, "header", block, header)

	var parsed struct {
		Hash         common.Hash
		Size         hexutil.Uint64
		Transactions []json.RawMessage
		Uncles       []common.Hash
	}
	must(t, json.Unmarshal(block, &parsed))
	if parsed.Hash != b.ID() || int(parsed.Size) != b.Size() || parsed.Uncles == nil {
		t.Errorf("block hash %s size %d uncles %v, want %s %d []", parsed.Hash, parsed.Size, parsed.Uncles, b.ID(), b.Size())
	}
	receipts := r.ask("eth_getBlockReceipts", "latest")
	var each []json.RawMessage
	must(t, json.Unmarshal(receipts, &each))
	want, err := r.chain.Receipts(b.ID())
	must(t, err)
	for i, tx := range b.Txs() {
		what := fmt.Sprintf("transaction %d type %d", i, tx.Inner().Type())
		oracle, err := json.Marshal(tx.Inner())
		must(t, err)
		within(t, what, parsed.Transactions[i], oracle)
		var back types.Transaction
		must(t, json.Unmarshal(parsed.Transactions[i], &back))
		if back.Hash() != tx.Hash() {
			t.Errorf("%s read back has hash %s, want %s", what, back.Hash(), tx.Hash())
		}
		checkPlace(t, r, what, parsed.Transactions[i], b, i)

		oracle, err = json.Marshal(want[i])
		must(t, err)
		within(t, "receipt of "+what, each[i], oracle, "root", "contractAddress")
		var receipt types.Receipt
		must(t, json.Unmarshal(each[i], &receipt))
		if single := r.ask("eth_getTransactionReceipt", tx.Hash()); string(single) != string(each[i]) {
			t.Errorf("receipt of %s alone = %s, in its block %s", what, single, each[i])
		}
		if single := r.ask("eth_getTransactionByHash", tx.Hash()); string(single) != string(parsed.Transactions[i]) {
			t.Errorf("%s alone = %s, in its block %s", what, single, parsed.Transactions[i])
		}
	}
}

// checkPlace checks the fields that go-ethereum's JSON of a transaction does not have.
func checkPlace(t *testing.T, r *rig, what string, raw []byte, b *chain.Block, i int) {
	t.Helper()
	var got struct {
		BlockHash                                     common.Hash
		BlockNumber, BlockTimestamp, TransactionIndex hexutil.Uint64
		From                                          common.Address
		GasPrice                                      *hexutil.Big
	}
	must(t, json.Unmarshal(raw, &got))
	tx := b.Txs()[i]
	from, err := types.Sender(types.LatestSignerForChainID(big.NewInt(1337)), tx.Inner())
	must(t, err)
	price, err := tx.Inner().EffectiveGasTip(b.Header().BaseFee)
	must(t, err)
	price.Add(price, b.Header().BaseFee)
	if got.BlockHash != b.ID() || uint64(got.BlockNumber) != b.Number() || uint64(got.BlockTimestamp) != b.Header().Time ||
		int(got.TransactionIndex) != i || got.From != from || got.GasPrice.ToInt().Cmp(price) != 0 {
		t.Errorf("%s: place %+v, want block %s number %d index %d from %s price %d", what, got, b.ID(), b.Number(), i, from, price)
	}
}

func TestBlockForms(t *testing.T) {
	r := newRig(t, Config{})
	b := everyKind(r, 9)
	var hashes struct{ Transactions []common.Hash }
	must(t, json.Unmarshal(r.ask("eth_getBlockByHash", b.ID(), false), &hashes))
	for i, tx := range b.Txs() {
		if hashes.Transactions[i] != tx.Hash() {
			t.Errorf("hash %d = %s, want %s", i, hashes.Transactions[i], tx.Hash())
		}
	}
	for _, same := range [][2]json.RawMessage{
		{r.ask("eth_getBlockByHash", b.ID(), true), r.ask("eth_getBlockByNumber", "0x1", true)},
		{r.ask("eth_getBlockByHash", b.ID(), true), r.ask("eth_getBlockByNumber", "latest", true)},
		{r.ask("eth_getBlockReceipts", b.ID()), r.ask("eth_getBlockReceipts", map[string]any{"blockHash": b.ID()})},
		{r.ask("eth_getTransactionByBlockHashAndIndex", b.ID(), "0x3"), r.ask("eth_getTransactionByBlockNumberAndIndex", "0x1", "0x3")},
		{r.ask("eth_getTransactionByBlockHashAndIndex", b.ID(), "0x3"), r.ask("eth_getTransactionByHash", b.Txs()[3].Hash())},
		{r.ask("eth_getBlockTransactionCountByHash", b.ID()), json.RawMessage(`"0x9"`)},
		{r.ask("eth_getBlockTransactionCountByNumber", "0x1"), json.RawMessage(`"0x9"`)},
		{r.ask("eth_getUncleCountByBlockNumber", "0x1"), json.RawMessage(`"0x0"`)},
		{r.ask("eth_getRawTransactionByHash", b.Txs()[3].Hash()), mustMarshal(t, hexutil.Bytes(b.Txs()[3].Raw()))},
	} {
		if string(same[0]) != string(same[1]) {
			t.Errorf("got %s, want %s", same[0], same[1])
		}
	}
	for _, absent := range []json.RawMessage{
		r.ask("eth_getBlockByNumber", "0x2", true),
		r.ask("eth_getBlockByHash", common.Hash{1}, true),
		r.ask("eth_getBlockReceipts", common.Hash{1}),
		r.ask("eth_getTransactionByHash", common.Hash{1}),
		r.ask("eth_getTransactionReceipt", common.Hash{1}),
		r.ask("eth_getTransactionByBlockHashAndIndex", b.ID(), "0x9"),
		r.ask("eth_getTransactionByBlockNumberAndIndex", "0x1", "0xffffffffffffffff"),
		r.ask("eth_getBlockTransactionCountByHash", common.Hash{1}),
		r.ask("eth_getUncleByBlockHashAndIndex", b.ID(), "0x0"),
	} {
		if string(absent) != "null" {
			t.Errorf("got %s, want null", absent)
		}
	}
}

func mustMarshal(tb testing.TB, v any) json.RawMessage {
	tb.Helper()
	raw, err := json.Marshal(v)
	must(tb, err)
	return raw
}

func TestHexRules(t *testing.T) {
	for _, v := range []uint64{0, 1, 15, 16, 0x400, math.MaxInt64, math.MaxUint64} {
		want := string(mustMarshal(t, hexutil.Uint64(v)))
		for _, got := range []string{
			string(appendQuantity(nil, v)),
			string(appendBig(nil, new(big.Int).SetUint64(v))),
			string(appendUint256(nil, uint256.NewInt(v))),
		} {
			if got != want {
				t.Errorf("quantity %d = %s, want %s", v, got, want)
			}
		}
	}
	for shift := range uint(253) {
		for _, odd := range []int64{1, 5, 7} {
			wide := new(big.Int).Lsh(big.NewInt(odd), shift)
			want := string(mustMarshal(t, (*hexutil.Big)(wide)))
			if got := string(appendBig(nil, wide)); got != want {
				t.Errorf("quantity %d = %s, want %s", wide, got, want)
			}
			if got := string(appendUint256(nil, uint256.MustFromBig(wide))); got != want {
				t.Errorf("quantity %d = %s, want %s", wide, got, want)
			}
		}
	}
	if got := string(appendBig(nil, nil)); got != `"0x0"` {
		t.Errorf("no quantity = %s, want \"0x0\"", got)
	}
	if got := string(appendBytes(nil, nil)); got != `"0x"` {
		t.Errorf("no bytes = %s, want \"0x\"", got)
	}
	if got := string(appendBytes(nil, []byte{0, 10})); got != `"0x000a"` {
		t.Errorf("bytes = %s, want \"0x000a\"", got)
	}
}

// TestRawChainData: what debug_ hands out is what hashes to the ids and roots.
func TestRawChainData(t *testing.T) {
	r := newRig(t, Config{})
	b := everyKind(r, 12)
	bytesOf := func(method string) (raw hexutil.Bytes) {
		must(t, json.Unmarshal(r.ask(method, "latest"), &raw))
		return raw
	}
	if got := crypto.Keccak256Hash(bytesOf("debug_getRawHeader")); got != b.ID() {
		t.Errorf("hash of the raw header = %s, want %s", got, b.ID())
	}
	var block types.Block
	must(t, rlp.DecodeBytes(bytesOf("debug_getRawBlock"), &block))
	if root := types.DeriveSha(block.Transactions(), trie.NewStackTrie(nil)); block.Hash() != b.ID() || root != b.Header().TxHash {
		t.Errorf("raw block %s with root %s, want %s with %s", block.Hash(), root, b.ID(), b.Header().TxHash)
	}
	var raws []hexutil.Bytes
	must(t, json.Unmarshal(r.ask("debug_getRawReceipts", b.ID()), &raws))
	receipts := make(types.Receipts, len(raws))
	for i, raw := range raws {
		receipts[i] = new(types.Receipt)
		must(t, receipts[i].UnmarshalBinary(raw))
	}
	if root := types.DeriveSha(receipts, trie.NewStackTrie(nil)); root != b.Header().ReceiptHash {
		t.Errorf("root of the raw receipts = %s, want %s", root, b.Header().ReceiptHash)
	}
	if _, fault := r.try("debug_getRawBlock", "0x9"); fault == nil || fault.Message != "block not found" {
		t.Errorf("an absent block: %+v, want that it is not found", fault)
	}
}

func TestEvidence(t *testing.T) {
	r, other := newRig(t, Config{}), newRig(t, Config{})
	if got := r.ask("pheme_evidence"); string(got) != "[]" {
		t.Errorf("evidence = %s, want []", got)
	}
	r.ask("eth_sendRawTransaction", rawOf(t, r.transfer(1, 0, nil)))
	first, second := r.sealAt(3), other.sealAt(3)
	_, err := r.chain.Add(second)
	must(t, err)
	var got []Evidence
	must(t, json.Unmarshal(r.ask("pheme_evidence"), &got))
	if len(got) != 1 || got[0].Slot != 3 || got[0].Proposer != r.addressOf(0) || !slices.Contains(got[0].Blocks, first.ID()) || !slices.Contains(got[0].Blocks, second.ID()) {
		t.Errorf("evidence = %+v, want %s and %s of slot 3", got, first.ID(), second.ID())
	}
}
