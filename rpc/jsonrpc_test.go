package rpc

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestJSONRPC holds the points of JSON-RPC 2.0 and what geth does where the
// specification is silent: the same bytes go over HTTP and WebSocket. With TestLargeBatch it is C3: arrays nested
// 20,000 deep, a number of a million digits, keys twice, an object as id, notifications, a byte order mark,
// bytes that are not UTF-8.
func TestJSONRPC(t *testing.T) {
	r := startRig(t, Config{})
	call := `{"jsonrpc":"2.0","id":%s,"method":"eth_chainId","params":[]}`
	ok := func(id string) string { return `{"id":` + id + `,"jsonrpc":"2.0","result":"0x539"}` }
	bad := func(id string, code int) string { return fmt.Sprintf(`{"id":%s,"code":%d}`, id, code) }
	for _, c := range []struct{ name, body, want string }{
		{"number id", fmt.Sprintf(call, "1"), ok("1")},
		{"text id", fmt.Sprintf(call, `"a\u00e9b"`), ok(`"aéb"`)},
		{"wide id", fmt.Sprintf(call, "12345678901234567890"), ok("12345678901234567890")},
		{"fraction id", fmt.Sprintf(call, "1.5"), ok("1.5")},
		{"null id", fmt.Sprintf(call, "null"), ok("null")},
		{"object id", fmt.Sprintf(call, "{}"), bad("null", -32600)},
		{"array id", fmt.Sprintf(call, "[1]"), bad("null", -32600)},
		{"no params", `{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}`, ok("1")},
		{"null params", `{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":null}`, ok("1")},
		{"object params", `{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":{"a":1}}`, bad("1", -32602)},
		{"too many params", `{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[1]}`, bad("1", -32602)},
		{"missing params", `{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":[]}`, bad("1", -32602)},
		{"wrong params", `{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":["0x1","latest"]}`, bad("1", -32602)},
		{"odd hex", `{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction","params":["0x123"]}`, bad("1", -32602)},
		{"unknown method", `{"jsonrpc":"2.0","id":1,"method":"eth_nonsense","params":[]}`, bad("1", -32601)},
		{"method number", `{"jsonrpc":"2.0","id":1,"method":7}`, bad("1", -32600)},
		{"no method", `{"jsonrpc":"2.0","id":1}`, bad("1", -32600)},
		{"no version", `{"id":1,"method":"eth_chainId"}`, bad("1", -32600)},
		{"version 1", `{"jsonrpc":"1.0","id":1,"method":"eth_chainId"}`, bad("1", -32600)},
		{"duplicate keys", `{"jsonrpc":"2.0","id":1,"id":2,"method":"nonsense","method":"eth_chainId"}`, ok("2")},
		{"notification", `{"jsonrpc":"2.0","method":"eth_chainId"}`, ""},
		{"broken", `{"jsonrpc":"2.0","id":1,`, bad("null", -32700)},
		{"text", `hello`, bad("null", -32700)},
		{"byte order mark", "\ufeff" + fmt.Sprintf(call, "1"), bad("null", -32700)},
		{"number", `5`, bad("null", -32600)},
		{"null", `null`, bad("null", -32600)},
		{"empty batch", `[]`, bad("null", -32600)},
		{"batch", "[" + fmt.Sprintf(call, "1") + "," + fmt.Sprintf(call, "2") + "]", "[" + ok("1") + "," + ok("2") + "]"},
		{"junk in a batch", "[1," + fmt.Sprintf(call, "2") + ",null,{}]", "[" + bad("null", -32600) + "," + ok("2") + "," + bad("null", -32600) + "," + bad("null", -32600) + "]"},
		{"notification in a batch", `[{"jsonrpc":"2.0","method":"eth_chainId"},` + fmt.Sprintf(call, "2") + "]", "[" + ok("2") + "]"},
		{"invalid UTF-8", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_\xff\"}", bad("1", -32601)},
		{"deep", strings.Repeat("[", 20_000), bad("null", -32700)},
		{"long number", `{"jsonrpc":"2.0","id":1,"method":"eth_getBlockByNumber","params":[` + strings.Repeat("9", 1_000_000) + `,true]}`, bad("1", -32602)},
	} {
		status, answer := r.post(c.body)
		if got := outline(t, answer); status != 200 || got != c.want {
			t.Errorf("%s: %d %s, want 200 %s", c.name, status, got, c.want)
		}
	}
	if status, answer := r.post(""); status != 200 || answer != "" {
		t.Errorf("empty body: %d %q, want 200 and nothing", status, answer)
	}
}

// outline keeps of errors the id and the code, and sorts the keys.
func outline(t *testing.T, answer string) string {
	t.Helper()
	if answer == "" {
		return ""
	}
	strip := func(raw json.RawMessage) string {
		var m struct {
			ID    json.RawMessage
			Error *struct {
				Code    int
				Message string
			}
		}
		must(t, json.Unmarshal(raw, &m))
		if m.Error == nil {
			return compact(t, raw)
		}
		if m.Error.Message == "" {
			t.Errorf("an error without a text: %s", raw)
		}
		return fmt.Sprintf(`{"id":%s,"code":%d}`, m.ID, m.Error.Code)
	}
	if answer[0] != '[' {
		return strip(json.RawMessage(answer))
	}
	var all []json.RawMessage
	must(t, json.Unmarshal([]byte(answer), &all))
	parts := make([]string, len(all))
	for i, raw := range all {
		parts[i] = strip(raw)
	}
	return "[" + strings.Join(parts, ",") + "]"
}
