package rpc

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/common/math"
	gethrpc "github.com/ethereum/go-ethereum/rpc"
)

// methodDoc is what reflection cannot see of a method: what it is for and what its parameters are
// called. Which methods there are, how many parameters they take, of which types, and what they
// return is read from the handlers.
type methodDoc struct {
	summary string
	params  string // names in order, apart by spaces
}

// methodDocs has an entry for each served method; a test holds it against the handlers.
func methodDocs() map[string]methodDoc {
	return map[string]methodDoc{
		"eth_accounts":                            {"accounts the node holds keys of: none, ever", ""},
		"eth_baseFee":                             {"base fee of the next block in wei", ""},
		"eth_blobBaseFee":                         {"1: blobs are not carried", ""},
		"eth_blockNumber":                         {"number of the head block", ""},
		"eth_call":                                {"what a value transfer would return: nothing, or why it would fail", "transaction block"},
		"eth_chainId":                             {"chain id of EIP-155", ""},
		"eth_estimateGas":                         {"intrinsic gas of a transfer", "transaction block"},
		"eth_feeHistory":                          {"base fees, fill and tips of past blocks", "blockCount newestBlock rewardPercentiles"},
		"eth_gasPrice":                            {"base fee and suggested tip in wei", ""},
		"eth_getBalance":                          {"wei of an account, now or after a block not far below the head", "address block"},
		"eth_getBlockByHash":                      {"a block, or null", "hash hydratedTransactions"},
		"eth_getBlockByNumber":                    {"a canonical block, or null", "block hydratedTransactions"},
		"eth_getBlockReceipts":                    {"receipts of a block, or null", "block"},
		"eth_getBlockTransactionCountByHash":      {"transactions in a block, or null", "hash"},
		"eth_getBlockTransactionCountByNumber":    {"transactions in a canonical block, or null", "block"},
		"eth_getCode":                             {"code of an account: always empty", "address block"},
		"eth_getFilterChanges":                    {"what a filter collected since the last call", "filterId"},
		"eth_getFilterLogs":                       {"no logs: there are no contracts", "filterId"},
		"eth_getLogs":                             {"no logs: there are no contracts", "filter"},
		"eth_getRawTransactionByHash":             {"encoded bytes of a pooled or included transaction", "hash"},
		"eth_getStorageAt":                        {"a storage word: always zero", "address slot block"},
		"eth_getTransactionByBlockHashAndIndex":   {"a transaction by its place, or null", "hash index"},
		"eth_getTransactionByBlockNumberAndIndex": {"a transaction by its place, or null", "block index"},
		"eth_getTransactionByHash":                {"a pooled or included transaction, or null", "hash"},
		"eth_getTransactionCount":                 {"next nonce of an account, as eth_getBalance; \"pending\" counts the pool", "address block"},
		"eth_getTransactionReceipt":               {"receipt of an included transaction, or null", "hash"},
		"eth_getUncleByBlockHashAndIndex":         {"null: there are no uncles", "hash index"},
		"eth_getUncleByBlockNumberAndIndex":       {"null: there are no uncles", "block index"},
		"eth_getUncleCountByBlockHash":            {"0, or null for an unknown block", "hash"},
		"eth_getUncleCountByBlockNumber":          {"0, or null for an unknown block", "block"},
		"eth_maxPriorityFeePerGas":                {"suggested tip in wei", ""},
		"eth_newBlockFilter":                      {"collect ids of blocks that become canonical", ""},
		"eth_newFilter":                           {"a filter for logs, which finds none", "filter"},
		"eth_newPendingTransactionFilter":         {"collect hashes of transactions that become executable", ""},
		"eth_sendRawTransaction":                  {"admit a signed transaction, record and publish it", "transaction"},
		"eth_sendRawTransactionSync":              {"send, wait for the block, return the receipt (EIP-7966)", "transaction timeoutMs"},
		"eth_syncing":                             {"false", ""},
		"eth_uninstallFilter":                     {"end a filter", "filterId"},
		"net_listening":                           {"true", ""},
		"net_peerCount":                           {"number of connected peers", ""},
		"net_version":                             {"chain id in decimal", ""},
		"web3_clientVersion":                      {"name and version of the node", ""},
		"web3_sha3":                               {"Keccak-256", "data"},
		"txpool_content":                          {"all pooled transactions by sender and nonce", ""},
		"txpool_contentFrom":                      {"one sender's pooled transactions by nonce", "address"},
		"txpool_inspect":                          {"all pooled transactions as one line each", ""},
		"txpool_status":                           {"how many transactions are pooled", ""},
		"debug_getRawBlock":                       {"RLP of a block", "block"},
		"debug_getRawHeader":                      {"RLP of a header", "block"},
		"debug_getRawReceipts":                    {"consensus encoding of a block's receipts", "block"},
		"debug_getRawTransaction":                 {"encoded bytes of an included transaction", "hash"},
		"pheme_clock":                             {"the clock that stamps the node's events", ""},
		"pheme_evidence":                          {"offences of proposers", ""},
		"pheme_members":                           {"members of the network with state, addresses and metadata", ""},
		"pheme_network":                           {"how many nodes there are, and means and maxima of head, pool and load over all", ""},
		"pheme_setMetadata":                       {"write entries of this node's record; an empty value removes one; unix socket only", "entries"},
		"pheme_peers":                             {"connected peers with score, mesh, round trip and head", ""},
		"pheme_status":                            {"the node at this moment, and what its relay and its repair have done", ""},
		"pheme_waitReceipt":                       {"the receipt once there is one, or null after the time", "hash timeoutMs"},
		"rpc_discover":                            {"this document, also as rpc.discover", ""},
		"rpc_modules":                             {"versions of the namespaces", ""},
		"admin_addPeer":                           {"connect to a peer and keep it connected; unix socket only", "multiaddr"},
		"admin_bend":                              {"deform a node started with --bendable, to measure faults; unix socket only", "bend"},
		"admin_cutPeer":                           {"close the connections to a peer and keep it away for a time; unix socket only", "peerId ms"},
		"admin_links":                             {"take up what the plan of shaped links has gained, and bytes carried; unix socket only", ""},
		"admin_setLogLevel":                       {"level (debug, info, warn, error) of a package's log, or of all with \"*\"; unix socket only", "package level"},
		"admin_shutdown":                          {"stop the node; unix socket only", ""},
	}
}

// rpcAPI is the rpc_ namespace.
type rpcAPI struct {
	document   json.RawMessage
	namespaces []string
}

// Modules returns the versions of the namespaces.
func (a *rpcAPI) Modules() map[string]string {
	versions := make(map[string]string, len(a.namespaces))
	for _, name := range a.namespaces {
		versions[name] = "1.0"
	}
	return versions
}

// Discover returns the OpenRPC document of the methods this server has (service discovery of the
// OpenRPC specification 1.3.2, where it is called rpc.discover).
func (a *rpcAPI) Discover() json.RawMessage { return a.document }

// describe builds the document from the table of methods.
func describe(version string, table map[string]*method) (json.RawMessage, error) {
	type param struct {
		Name     string `json:"name"`
		Required bool   `json:"required"`
		Schema   schema `json:"schema"`
	}
	type result struct {
		Name   string `json:"name"`
		Schema schema `json:"schema"`
	}
	type entry struct {
		Name    string  `json:"name"`
		Summary string  `json:"summary"`
		Params  []param `json:"params"`
		Result  result  `json:"result"`
		By      string  `json:"paramStructure"`
	}
	docs := methodDocs()
	methods := []entry{}
	for name, h := range table {
		doc, ok := docs[name]
		names := strings.Fields(doc.params)
		if !ok || len(names) != len(h.params) {
			return nil, fmt.Errorf("rpc: %s has %d parameters, its entry in methodDocs names %d", name, len(h.params), len(names))
		}
		m := entry{Name: name, Summary: doc.summary, Params: []param{}, By: "by-position", Result: result{name + " result", schemaOf(h.result)}}
		for i, t := range h.params {
			m.Params = append(m.Params, param{names[i], t.Kind() != reflect.Pointer, schemaOf(t)})
		}
		methods = append(methods, m)
	}
	slices.SortFunc(methods, func(a, b entry) int { return strings.Compare(a.Name, b.Name) })
	return json.Marshal(map[string]any{
		"openrpc": "1.3.2",
		"info": map[string]any{
			"title": "pheme JSON-RPC", "version": version, "license": map[string]string{"name": "Apache-2.0"},
			"description": "Value transfers without an EVM. Over WebSocket also eth_subscribe newHeads and newPendingTransactions, and pheme_subscribe trace.",
		},
		"methods": methods,
	})
}

// schema is a JSON schema.
type schema map[string]any

func pattern(title, regex string) schema {
	return schema{"title": title, "type": "string", "pattern": regex}
}

// schemaOf describes a parameter or result by its Go type; a pointer may be null.
func schemaOf(t reflect.Type) schema {
	switch t {
	case nil:
		return schema{"type": "null"}
	case reflect.TypeFor[common.Hash]():
		return pattern("32 bytes", "^0x[0-9a-fA-F]{64}$")
	case reflect.TypeFor[common.Address]():
		return pattern("address", "^0x[0-9a-fA-F]{40}$")
	case reflect.TypeFor[hexutil.Bytes]():
		return pattern("bytes", "^0x([0-9a-fA-F]{2})*$")
	case reflect.TypeFor[hexutil.Uint64](), reflect.TypeFor[hexutil.Uint](), reflect.TypeFor[hexutil.Big]():
		return pattern("quantity", "^0x(0|[1-9a-f][0-9a-f]*)$")
	case reflect.TypeFor[math.HexOrDecimal64]():
		return schema{"title": "number or quantity", "type": []string{"integer", "string"}}
	case reflect.TypeFor[gethrpc.BlockNumber]():
		return pattern("block number or tag", "^(0x(0|[1-9a-f][0-9a-f]*)|latest|earliest|pending|safe|finalized)$")
	case reflect.TypeFor[gethrpc.BlockNumberOrHash]():
		return schema{"title": "block number, tag, hash or {blockNumber, blockHash}", "type": []string{"string", "object"}}
	case reflect.TypeFor[json.RawMessage]():
		return schema{}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schema{"oneOf": []schema{{"type": "null"}, schemaOf(t.Elem())}}
	case reflect.Slice, reflect.Array:
		return schema{"type": "array", "items": schemaOf(t.Elem())}
	case reflect.Map:
		return schema{"type": "object", "additionalProperties": schemaOf(t.Elem())}
	case reflect.Struct:
		return structSchema(t)
	case reflect.Bool:
		return schema{"type": "boolean"}
	case reflect.String:
		return schema{"type": "string"}
	case reflect.Float64, reflect.Float32:
		return schema{"type": "number"}
	case reflect.Int, reflect.Int64, reflect.Uint64, reflect.Uint32:
		return schema{"type": "integer"}
	}
	return schema{}
}

func structSchema(t reflect.Type) schema {
	properties := schema{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			properties[name] = schemaOf(t.Field(i).Type)
		}
	}
	return schema{"title": t.Name(), "type": "object", "properties": properties}
}

// discoverName is how OpenRPC calls the method.
const discoverName = "rpc.discover"
