package rpc

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// openRPC is the execution-apis document of Ethereum's clients, which is kept beside
// the checkout and not in it.
var openRPC = filepath.Join("..", "..", "shared", "execution-apis", "openrpc.json")

// documentDefects are calls whose answer the document refuses from every client: a
// pending transaction has null block fields, and [] matches two arms of a oneOf.
var documentDefects = []string{
	"eth_getTransactionByHash pending", "eth_getFilterChanges empty", "eth_getFilterLogs empty", "eth_getLogs empty",
}

// TestSchemas validates live answers against the schemas of execution-apis.
func TestSchemas(t *testing.T) {
	raw, err := os.ReadFile(openRPC)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("SKIPPED: %s is not there, so answers are not checked against Ethereum's schemas", openRPC)
	}
	must(t, err)
	schemas := resultSchemas(t, raw)
	r := newRig(t, Config{})
	b := everyKind(r, 12)
	pending, future := r.transfer(7, r.chain.State().Nonce(r.addressOf(7)), []byte{1, 0}), r.transfer(6, 100, nil)
	r.ask("eth_sendRawTransaction", rawOf(t, pending))
	r.ask("eth_sendRawTransaction", rawOf(t, future))
	fresh := rawOf(t, r.transfer(5, r.chain.State().Nonce(r.addressOf(5)), nil))
	addr, to := r.addressOf(1), common.Address{1}
	blockFilter, txFilter := idOf(t, r.ask("eth_newBlockFilter")), idOf(t, r.ask("eth_newPendingTransactionFilter"))
	r.s.filters.blocks([]common.Hash{b.ID()})
	call := map[string]any{"from": addr, "to": to, "value": "0x1"}
	checked, defects := map[string]bool{}, 0
	check := func(name string, params ...any) {
		t.Helper()
		method, _, _ := strings.Cut(name, " ")
		schema := schemas[method]
		if schema == nil {
			t.Errorf("%s is not in the document", method)
			return
		}
		checked[method] = true
		var answer any
		must(t, json.Unmarshal(r.ask(method, params...), &answer))
		err := schema.Validate(answer)
		defect := false
		for _, d := range documentDefects {
			defect = defect || d == name
		}
		switch {
		case err != nil && !defect:
			t.Errorf("%s: %v", name, err)
		case err == nil && defect:
			t.Errorf("%s conforms now: take it off the list of the document's defects", name)
		case defect:
			defects++
		}
	}
	for _, method := range []string{"eth_accounts", "eth_baseFee", "eth_blobBaseFee", "eth_blockNumber", "eth_chainId", "eth_gasPrice",
		"eth_maxPriorityFeePerGas", "eth_syncing", "net_version", "txpool_status", "txpool_content"} {
		check(method)
	}
	check("txpool_contentFrom", r.addressOf(7))
	check("eth_getBalance", addr, "latest")
	check("eth_getTransactionCount", addr, "pending")
	check("eth_getCode", addr, "latest")
	check("eth_getStorageAt", addr, "0x0", "latest")
	check("eth_call", call, "latest")
	check("eth_estimateGas", call)
	check("eth_feeHistory", "0x5", "latest", []float64{10, 50})
	check("eth_feeHistory plain", "0x5", "latest", []float64{})
	for _, full := range []bool{true, false} {
		check("eth_getBlockByNumber", "0x1", full)
		check("eth_getBlockByNumber genesis", "0x0", full)
		check("eth_getBlockByNumber absent", "0x99", full)
		check("eth_getBlockByHash", b.ID(), full)
	}
	check("eth_getBlockReceipts", "0x1")
	check("eth_getBlockReceipts empty", "0x0")
	check("eth_getBlockReceipts absent", common.Hash{1})
	check("eth_getBlockTransactionCountByHash", b.ID())
	check("eth_getBlockTransactionCountByNumber", "0x1")
	for i, tx := range b.Txs() {
		check("eth_getTransactionByHash", tx.Hash())
		check("eth_getTransactionByBlockHashAndIndex", b.ID(), hexutil.Uint(i))
		check("eth_getTransactionByBlockNumberAndIndex", "0x1", hexutil.Uint(i))
		check("eth_getTransactionReceipt", tx.Hash())
	}
	check("eth_getTransactionByHash pending", pending.Hash())
	check("eth_getTransactionByHash absent", common.Hash{1})
	check("eth_getTransactionReceipt absent", common.Hash{1})
	check("eth_sendRawTransaction", fresh)
	for _, method := range []string{"debug_getRawHeader", "debug_getRawBlock", "debug_getRawReceipts"} {
		check(method, "0x1")
	}
	check("debug_getRawTransaction", b.Txs()[0].Hash())
	check("eth_newBlockFilter")
	check("eth_newPendingTransactionFilter")
	check("eth_newFilter", map[string]any{})
	check("eth_getFilterChanges", blockFilter)
	check("eth_getFilterChanges empty", txFilter)
	check("eth_getFilterLogs empty", idOf(t, r.ask("eth_newFilter", map[string]any{})))
	check("eth_getLogs empty", map[string]any{})
	check("eth_uninstallFilter", blockFilter)
	t.Logf("%d methods conform; %d answers are refused by defects of the document", len(checked), defects)
}

func idOf(t *testing.T, raw json.RawMessage) (id string) {
	t.Helper()
	must(t, json.Unmarshal(raw, &id))
	return id
}

// resultSchemas compiles the schema of each method's result.
func resultSchemas(t *testing.T, document []byte) map[string]*jsonschema.Schema {
	t.Helper()
	var doc struct {
		Methods []struct {
			Name   string
			Result struct{ Schema json.RawMessage }
		}
	}
	must(t, json.Unmarshal(document, &doc))
	schemas := make(map[string]*jsonschema.Schema, len(doc.Methods))
	for _, m := range doc.Methods {
		if prefix, _, _ := strings.Cut(m.Name, "_"); prefix == "engine" || prefix == "testing" {
			continue
		}
		schema, err := jsonschema.UnmarshalJSON(strings.NewReader(string(m.Result.Schema)))
		must(t, err)
		c := jsonschema.NewCompiler()
		must(t, c.AddResource(m.Name, schema))
		if schemas[m.Name], err = c.Compile(m.Name); err != nil {
			t.Fatalf("schema of %s: %v", m.Name, err)
		}
	}
	return schemas
}
