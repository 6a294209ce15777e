package rpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/ethclient"
	gethrpc "github.com/ethereum/go-ethereum/rpc"
	"github.com/ethereum/go-ethereum/trie"

	"github.com/pheme-net/pheme/chain"
)

// TestEthclient does with go-ethereum's own client what a wallet does: ask, send, wait,
// and check what comes back by recomputing it.
func TestEthclient(t *testing.T) {
	r := startRig(t, Config{})
	c, err := ethclient.DialContext(t.Context(), r.ws())
	must(t, err)
	defer c.Close()
	ctx := t.Context()

	heads := make(chan *types.Header, 8)
	sub, err := c.SubscribeNewHead(ctx, heads)
	must(t, err)
	defer sub.Unsubscribe()

	id, err := c.ChainID(ctx)
	must(t, err)
	network, err := c.NetworkID(ctx)
	must(t, err)
	if id.Uint64() != 1337 || network.Uint64() != 1337 {
		t.Fatalf("ChainID() = %d, NetworkID() = %d, want 1337", id, network)
	}
	from, to := r.addressOf(1), common.Address{7}
	nonce, err := c.PendingNonceAt(ctx, from)
	must(t, err)
	tip, err := c.SuggestGasTipCap(ctx)
	must(t, err)
	price, err := c.SuggestGasPrice(ctx)
	must(t, err)
	gas, err := c.EstimateGas(ctx, ethereum.CallMsg{From: from, To: &to, Value: big.NewInt(5)})
	must(t, err)
	tx := r.sign(1, &types.DynamicFeeTx{ChainID: id, Nonce: nonce, GasTipCap: tip, GasFeeCap: price, Gas: gas, To: &to, Value: big.NewInt(5)})
	must(t, c.SendTransaction(ctx, tx))

	if _, pending, err := c.TransactionByHash(ctx, tx.Hash()); err != nil || !pending {
		t.Fatalf("TransactionByHash() pending = %v, %v, want true", pending, err)
	}
	if n, err := c.PendingNonceAt(ctx, from); err != nil || n != nonce+1 {
		t.Fatalf("PendingNonceAt() = %d, %v, want %d", n, err, nonce+1)
	}
	if n, err := c.PendingTransactionCount(ctx); err != nil || n != 1 {
		t.Fatalf("PendingTransactionCount() = %d, %v, want 1", n, err)
	}
	if _, err := c.TransactionReceipt(ctx, tx.Hash()); !errors.Is(err, ethereum.NotFound) {
		t.Fatalf("TransactionReceipt() before the block = %v, want not found", err)
	}
	sealed := r.seal()
	if h := <-heads; h.Hash() != sealed.ID() {
		t.Fatalf("new head %s, want %s", h.Hash(), sealed.ID())
	}
	receipt, err := c.TransactionReceipt(ctx, tx.Hash())
	must(t, err)
	if receipt.Status != 1 || receipt.BlockHash != sealed.ID() || receipt.GasUsed != 21_000 {
		t.Fatalf("receipt %+v", receipt)
	}
	block, err := c.BlockByNumber(ctx, nil)
	must(t, err)
	if block.Hash() != sealed.ID() {
		t.Errorf("hash of the block recomputed = %s, want %s", block.Hash(), sealed.ID())
	}
	if root := types.DeriveSha(block.Transactions(), trie.NewStackTrie(nil)); root != block.TxHash() {
		t.Errorf("transactions root recomputed = %s, want %s", root, block.TxHash())
	}
	receipts, err := c.BlockReceipts(ctx, gethrpc.BlockNumberOrHashWithHash(sealed.ID(), true))
	must(t, err)
	if root := types.DeriveSha(types.Receipts(receipts), trie.NewStackTrie(nil)); root != block.ReceiptHash() {
		t.Errorf("receipts root recomputed = %s, want %s", root, block.ReceiptHash())
	}
	if sender, err := c.TransactionSender(ctx, tx, sealed.ID(), 0); err != nil || sender != from {
		t.Errorf("TransactionSender() = %s, %v, want %s", sender, err, from)
	}
	if have, err := c.BalanceAt(ctx, to, nil); err != nil || have.Int64() != 5 {
		t.Errorf("BalanceAt() = %d, %v, want 5", have, err)
	}
	if p, err := c.SyncProgress(ctx); err != nil || p != nil {
		t.Errorf("SyncProgress() = %v, %v, want nil", p, err)
	}
	if code, err := c.CodeAt(ctx, to, nil); err != nil || len(code) != 0 {
		t.Errorf("CodeAt() = %x, %v, want none", code, err)
	}
	if slot, err := c.StorageAt(ctx, to, common.Hash{}, nil); err != nil || common.BytesToHash(slot) != (common.Hash{}) {
		t.Errorf("StorageAt() = %x, %v, want zero", slot, err)
	}
	history, err := c.FeeHistory(ctx, 10, nil, []float64{20, 80})
	must(t, err)
	if len(history.BaseFee) != 3 || len(history.Reward) != 2 || history.Reward[1][0].Int64() != tip.Int64() {
		t.Errorf("FeeHistory() = %+v, want two blocks, the second paying %d", history, tip)
	}
	if out, err := c.CallContract(ctx, ethereum.CallMsg{From: from, To: &to}, nil); err != nil || len(out) != 0 {
		t.Errorf("CallContract() = %x, %v, want none", out, err)
	}
}

func TestSendIsRefusedByName(t *testing.T) {
	r := newRig(t, Config{})
	to := common.Address{1}
	price := big.NewInt(2_000_000_000)
	known := r.transfer(1, 0, nil)
	r.ask("eth_sendRawTransaction", rawOf(t, known))
	blob := append(hexutil.Bytes{types.BlobTxType}, 0xc0)
	setCode := append(hexutil.Bytes{types.SetCodeTxType}, 0xc0)
	for _, c := range []struct {
		name string
		raw  hexutil.Bytes
		text string
	}{
		{"known", rawOf(t, known), "already known"},
		{"creation", rawOf(t, r.sign(2, &types.LegacyTx{GasPrice: price, Gas: 90_000, Data: []byte{1}})), "contract creation is not supported"},
		{"blob", blob, "blob transactions (type 3) are not supported"},
		{"set code", setCode, "set-code transactions (type 4) are not supported"},
		{"little gas", rawOf(t, r.sign(2, &types.LegacyTx{GasPrice: price, Gas: 20_999, To: &to})), "intrinsic gas too low: have 20999, want 21000"},
		{"poor", rawOf(t, r.sign(2, &types.LegacyTx{GasPrice: price, Gas: 21_000, To: &to, Value: new(big.Int).Lsh(price, 90)})), "insufficient funds for gas * price + value"},
		{"cheap", rawOf(t, r.sign(2, &types.LegacyTx{GasPrice: big.NewInt(1), Gas: 21_000, To: &to})), "max fee per gas less than block base fee"},
		{"garbage", hexutil.Bytes{0x7f, 1, 2}, "transaction type not supported"},
		{"empty", hexutil.Bytes{}, "empty"},
		{"huge", make(hexutil.Bytes, 33<<10), "oversized data"},
	} {
		_, fault := r.try("eth_sendRawTransaction", c.raw)
		if fault == nil || fault.Code != -32000 || !strings.HasPrefix(fault.Message, c.text) {
			t.Errorf("%s: error %+v, want -32000 %q", c.name, fault, c.text)
		}
	}
	foreign, err := types.SignNewTx(r.keys[2], types.LatestSignerForChainID(big.NewInt(1)), &types.LegacyTx{GasPrice: price, Gas: 21_000, To: &to})
	must(t, err)
	if _, fault := r.try("eth_sendRawTransaction", rawOf(t, foreign)); fault == nil || !strings.Contains(fault.Message, "chain id") {
		t.Errorf("foreign chain: error %+v, want one that names the chain id", fault)
	}
}

func TestEstimateAndCall(t *testing.T) {
	r := newRig(t, Config{})
	from, to := r.addressOf(1), common.Address{1}
	for _, c := range []struct {
		name string
		args map[string]any
		gas  string // of eth_estimateGas, or
		text string // of its error
	}{
		{"transfer", map[string]any{"from": from, "to": to, "value": "0x5"}, `"0x5208"`, ""},
		{"no sender", map[string]any{"to": to}, `"0x5208"`, ""},
		{"data", map[string]any{"from": from, "to": to, "data": "0x0001"}, `"0x521c"`, ""},
		{"input", map[string]any{"from": from, "to": to, "input": "0x0001"}, `"0x521c"`, ""},
		{"access list", map[string]any{"from": from, "to": to, "accessList": []any{map[string]any{"address": to, "storageKeys": []any{common.Hash{}}}}}, `"0x62d4"`, ""},
		{"both", map[string]any{"from": from, "to": to, "input": "0x01", "data": "0x02"}, "", `both "data" and "input" are set`},
		{"two prices", map[string]any{"from": from, "to": to, "gasPrice": "0x1", "maxFeePerGas": "0x1"}, "", "both gasPrice and"},
		{"creation", map[string]any{"from": from, "data": "0x01"}, "", "contract creation is not supported"},
		{"blobs", map[string]any{"from": from, "to": to, "blobVersionedHashes": []any{common.Hash{}}}, "", "blob transactions"},
		{"set code", map[string]any{"from": from, "to": to, "authorizationList": []any{map[string]any{}}}, "", "set-code transactions"},
		{"too much", map[string]any{"from": from, "to": to, "value": "0xffffffffffffffffffffffff"}, "", "insufficient funds for gas * price + value"},
		{"too little gas", map[string]any{"from": from, "to": to, "gas": "0x10"}, "", "intrinsic gas too low"},
	} {
		for method, want := range map[string]string{"eth_estimateGas": c.gas, "eth_call": `"0x"`} {
			got, fault := r.try(method, c.args, "latest")
			if c.text == "" && (fault != nil || string(got) != want) {
				t.Errorf("%s of %s = %s, %+v, want %s", method, c.name, got, fault, want)
			}
			if c.text != "" && (fault == nil || fault.Code != -32000 || !strings.HasPrefix(fault.Message, c.text)) {
				t.Errorf("%s of %s: error %+v, want %q", method, c.name, fault, c.text)
			}
		}
	}
}

// pastRig is a rig that remembers what its accounts were after each block.
type pastRig struct {
	*rig
	ids    []common.Hash
	states []chain.State
}

func newPastRig(t *testing.T) *pastRig {
	r := newRig(t, Config{})
	return &pastRig{r, []common.Hash{r.chain.HeadID()}, []chain.State{r.chain.State()}}
}

// add makes a block in a slot of transfers with these nonces.
func (r *pastRig) add(slot uint64, nonces ...uint64) {
	for _, nonce := range nonces {
		r.ask("eth_sendRawTransaction", rawOf(r.tb, r.transfer(1, nonce, nil)))
	}
	r.ids = append(r.ids, r.sealAt(slot).ID())
	r.states = append(r.states, r.chain.State())
}

// side makes a block in a slot that is not the head's child when it is added.
func (r *pastRig) side(slot, nonce uint64) *chain.Block {
	r.ask("eth_sendRawTransaction", rawOf(r.tb, r.transfer(1, nonce, []byte{1})))
	b, _, err := r.chain.Build(slot, r.keys[0], r.pool.executable(), 0)
	must(r.tb, err)
	r.pool.clear()
	return b
}

// check compares accounts after block n, asked for by its hash and by refs.
func (r *pastRig) check(n int, refs ...any) {
	r.tb.Helper()
	for _, addr := range []common.Address{r.addressOf(0), r.addressOf(1), {19: 1, 18: 0xaa}, {1}} {
		want := r.states[n].Account(addr)
		for _, ref := range append(refs, r.ids[n], map[string]any{"blockHash": r.ids[n], "requireCanonical": true}) {
			if got := r.ask("eth_getTransactionCount", addr, ref); string(got) != fmt.Sprintf(`"%#x"`, want.Nonce) {
				r.tb.Errorf("nonce of %s at %v = %s, want %#x", addr, ref, got, want.Nonce)
			}
			if got := r.ask("eth_getBalance", addr, ref); string(got) != fmt.Sprintf("%q", want.Balance.Hex()) {
				r.tb.Errorf("balance of %s at %v = %s, want %s", addr, ref, got, want.Balance.Hex())
			}
		}
	}
}

// at asks everything that takes a block: what needs the accounts after it, and what does not.
func (r *pastRig) at(ref any) (needy, free map[string]*fault) {
	r.tb.Helper()
	addr := r.addressOf(1)
	call := func(method string, params ...any) *fault {
		_, f := r.try(method, append(params, ref)...)
		return f
	}
	pays, plain := map[string]any{"from": addr, "to": addr, "value": "0x1"}, map[string]any{"from": addr, "to": addr}
	return map[string]*fault{
			"eth_getBalance": call("eth_getBalance", addr), "eth_getTransactionCount": call("eth_getTransactionCount", addr),
			"eth_call": call("eth_call", pays), "eth_estimateGas": call("eth_estimateGas", pays),
		}, map[string]*fault{
			"eth_getCode": call("eth_getCode", addr), "eth_getStorageAt": call("eth_getStorageAt", addr, "0x0"),
			"eth_call": call("eth_call", plain), "eth_estimateGas": call("eth_estimateGas", plain),
		}
}

// wantFaults: all of them, or none where text is empty.
func wantFaults(t *testing.T, ref any, faults map[string]*fault, text string) {
	t.Helper()
	for method, f := range faults {
		if (f != nil) != (text != "") || f != nil && (f.Code != -32000 || !strings.HasPrefix(f.Message, text)) {
			t.Errorf("%s at %v: error %+v, want %q", method, ref, f, text)
		}
	}
}

// TestStateOfPastBlocks: balance and nonce are those that were the head's at the time, by number, hash and tag, on the
// branch that won, as far down as the chain has them. What needs no accounts is answered of every block.
func TestStateOfPastBlocks(t *testing.T) {
	r := newPastRig(t)
	r.add(1, 0, 1, 2)
	lost := r.side(3, 3)
	r.add(2, 3)
	r.add(4)
	r.add(5, 4, 5)
	_, err := r.chain.Add(lost)
	must(t, err)
	r.check(0, "earliest", "0x0", map[string]any{"blockNumber": "0x0"})
	r.check(1, "0x1", map[string]any{"blockNumber": "0x1"})
	r.check(2, "0x2")
	r.check(3, "0x3")
	r.check(4, "0x4", "latest", "pending", nil)
	needy, free := r.at(lost.ID())
	wantFaults(t, "a side block", needy, "missing trie node: the state of block 2 is not available: "+lost.ID().Hex()+" is not canonical")
	wantFaults(t, "a side block", free, "")

	for len(r.ids) <= 4+chain.PastBlocks {
		r.add(chain.SlotOf(r.chain.Head()) + 1)
	}
	r.add(chain.SlotOf(r.chain.Head())+1, 6)
	r.check(5, "0x5")
	for _, ref := range []any{"0x4", r.ids[4]} {
		needy, free := r.at(ref)
		wantFaults(t, ref, needy, "missing trie node: the state of block 4 is not available: the newest 129 are, of blocks 5 to 133")
		wantFaults(t, ref, free, "")
	}
}

func TestStateOfUnknownBlocks(t *testing.T) {
	r := newPastRig(t)
	r.add(1, 0)
	for _, c := range []struct {
		ref  any
		text string
	}{
		{"0x2", "header not found"},
		{common.Hash{1}, "header for hash not found"},
		{map[string]any{"blockHash": common.Hash{1}}, "header for hash not found"},
		{"finalized", "finalized block not found"},
		{"safe", "safe block not found"},
	} {
		needy, free := r.at(c.ref)
		wantFaults(t, c.ref, needy, c.text)
		wantFaults(t, c.ref, free, c.text)
	}
}

func TestPool(t *testing.T) {
	r := newRig(t, Config{})
	r.ask("eth_sendRawTransaction", rawOf(t, r.transfer(1, 0, nil)))
	r.ask("eth_sendRawTransaction", rawOf(t, r.transfer(1, 2, nil)))
	if got := compact(t, r.ask("txpool_status")); got != `{"pending":"0x1","queued":"0x1"}` {
		t.Errorf("txpool_status = %s", got)
	}
	var content, from map[string]json.RawMessage
	must(t, json.Unmarshal(r.ask("txpool_content"), &content))
	must(t, json.Unmarshal(r.ask("txpool_contentFrom", r.addressOf(1)), &from))
	for kind, nonce := range map[string]string{"pending": "0", "queued": "2"} {
		var all map[common.Address]map[string]*types.Transaction
		var own map[string]*types.Transaction
		must(t, json.Unmarshal(content[kind], &all))
		must(t, json.Unmarshal(from[kind], &own))
		if len(own) != 1 || own[nonce] == nil || all[r.addressOf(1)][nonce].Hash() != own[nonce].Hash() {
			t.Errorf("%s: %s and %s, want one transaction with nonce %s", kind, content[kind], from[kind], nonce)
		}
	}
	var pending struct {
		Number       string
		Hash         *common.Hash
		Transactions []json.RawMessage
	}
	must(t, json.Unmarshal(r.ask("eth_getBlockByNumber", "pending", true), &pending))
	if pending.Number != "0x1" || pending.Hash != nil || len(pending.Transactions) != 1 {
		t.Errorf("pending block = %+v, want number 1, no hash, one transaction", pending)
	}
}

func TestConstants(t *testing.T) {
	r := newRig(t, Config{ClientVersion: "pheme/test"})
	for method, want := range map[string]string{
		"eth_chainId": `"0x539"`, "eth_blockNumber": `"0x0"`, "eth_accounts": `[]`, "eth_syncing": `false`,
		"eth_gasPrice": `"0x3baa0c40"`, "eth_maxPriorityFeePerGas": `"0xf4240"`, "eth_baseFee": `"0x3b9aca00"`, "eth_blobBaseFee": `"0x1"`,
		"net_version": `"1337"`, "net_listening": `true`, "net_peerCount": `"0x0"`, "web3_clientVersion": `"pheme/test"`,
	} {
		if got := r.ask(method); string(got) != want {
			t.Errorf("%s = %s, want %s", method, got, want)
		}
	}
	if got := r.ask("web3_sha3", "0x68656c6c6f20776f726c64"); string(got) != `"0x47173285a8d7341e5e972fc677286384f802f8ef42a5ec5f03bbfa254cb01fad"` {
		t.Errorf("web3_sha3 = %s", got)
	}
	if got := r.ask("eth_getLogs", map[string]any{}); string(got) != "[]" {
		t.Errorf("eth_getLogs = %s, want []", got)
	}
	// Libraries fall back when they see that a method is not there.
	for _, method := range []string{"eth_fillTransaction", "eth_sendTransaction", "eth_sign", "eth_signTransaction", "personal_unlockAccount",
		"eth_getProof", "debug_traceTransaction", "admin_addPeer", "admin_shutdown", "nonsense", "eth_", "_"} {
		if _, fault := r.try(method); fault == nil || fault.Code != -32601 {
			t.Errorf("%s: error %+v, want -32601", method, fault)
		}
	}
}

// TestPendingBlock: ethclient takes it with and without transactions, whatever the head has; without, its roots
// are those of the block that is sealed.
func TestPendingBlock(t *testing.T) {
	r := startRig(t, Config{})
	c := ethclient.NewClient(r.dial(r.url()).Raw())
	for i := range 3 {
		if i != 1 { // a full head before an empty pending block, and the other way round
			r.ask("eth_sendRawTransaction", rawOf(t, r.transfer(1, r.chain.State().Nonce(r.addressOf(1)), []byte{1})))
		}
		pending, err := c.BlockByNumber(t.Context(), big.NewInt(-1))
		must(t, err)
		sealed := r.seal()
		h := sealed.Header()
		if pending.GasUsed() != h.GasUsed || len(pending.Transactions()) != len(sealed.Txs()) {
			t.Errorf("pending block %d: %d transactions, gas %d, sealed %d and %d", i, len(pending.Transactions()), pending.GasUsed(), len(sealed.Txs()), h.GasUsed)
		}
		if i == 1 && (pending.TxHash() != h.TxHash || pending.ReceiptHash() != h.ReceiptHash || pending.Root() != h.Root) {
			t.Errorf("roots of an empty pending block = %s, %s, %s, sealed %s, %s, %s", pending.TxHash(), pending.ReceiptHash(), pending.Root(), h.TxHash, h.ReceiptHash, h.Root)
		}
	}
}

// TestFeeHistoryIsBounded: for tips fewer blocks are read, and none when the time to answer is over.
func TestFeeHistoryIsBounded(t *testing.T) {
	r := newRig(t, Config{})
	for range maxTipBlocks + 2 {
		r.seal()
	}
	for _, c := range []struct {
		percentiles []float64
		blocks      int
	}{{nil, maxTipBlocks + 3}, {[]float64{50}, maxTipBlocks}} {
		var h FeeHistory
		must(t, json.Unmarshal(r.ask("eth_feeHistory", 1024, "latest", c.percentiles), &h))
		if len(h.GasUsedRatio) != c.blocks || int(h.OldestBlock) != maxTipBlocks+3-c.blocks {
			t.Errorf("percentiles %v: %d blocks from %d on, want %d up to the head", c.percentiles, len(h.GasUsedRatio), h.OldestBlock, c.blocks)
		}
	}
	r = newRig(t, Config{WriteTimeout: timeToWrite})
	if _, fault := r.try("eth_feeHistory", 1, "latest", []float64{50}); fault == nil || fault.Code != codeTimeout {
		t.Errorf("without time: %+v, want -32002", fault)
	}
}

func TestFeeHistory(t *testing.T) {
	r := newRig(t, Config{})
	b := everyKind(r, 12)
	var h FeeHistory
	must(t, json.Unmarshal(r.ask("eth_feeHistory", "0xa", "latest", []float64{0, 50, 100}), &h))
	if h.OldestBlock != 0 || len(h.BaseFeePerGas) != 3 || len(h.GasUsedRatio) != 2 || len(h.Reward) != 2 {
		t.Fatalf("fee history = %+v, want two blocks", h)
	}
	if want := float64(b.Header().GasUsed) / 1e9; h.GasUsedRatio[1] != want {
		t.Errorf("gas used ratio = %v, want %v", h.GasUsedRatio[1], want)
	}
	low, high := new(big.Int).Lsh(big.NewInt(1), 200), new(big.Int)
	for _, tx := range b.Txs() {
		tip, err := tx.Inner().EffectiveGasTip(b.Header().BaseFee)
		must(t, err)
		if tip.Cmp(low) < 0 {
			low = tip
		}
		if tip.Cmp(high) > 0 {
			high = tip
		}
	}
	if got := h.Reward[1]; got[0].ToInt().Cmp(low) != 0 || got[2].ToInt().Cmp(high) != 0 {
		t.Errorf("rewards = %v, want from %d to %d", got, low, high)
	}
	for _, bad := range [][]any{{"0x1", "latest", []float64{50, 50}}, {"0x1", "latest", []float64{-1}}, {"0x1", "latest", []float64{101}}, {"0x1", "0x5", nil}} {
		if _, fault := r.try("eth_feeHistory", bad...); fault == nil || fault.Code != -32000 {
			t.Errorf("eth_feeHistory%v: error %+v, want -32000", bad, fault)
		}
	}
}

func rawOf(tb testing.TB, tx *types.Transaction) hexutil.Bytes {
	tb.Helper()
	raw, err := tx.MarshalBinary()
	must(tb, err)
	return raw
}
