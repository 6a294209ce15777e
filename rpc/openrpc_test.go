package rpc

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// document is what a client finds when it discovers the API.
type document struct {
	OpenRPC string
	Methods []struct {
		Name, Summary string
		Params        []struct {
			Name     string
			Required bool
			Schema   any
		}
		Result struct{ Schema any }
	}
}

// TestDiscover: the document has exactly the methods that answer, in both spellings and in a batch, and
// the admin_ methods only on the socket.
func TestDiscover(t *testing.T) {
	r := startRig(t, Config{})
	var doc document
	must(t, json.Unmarshal(r.ask("rpc.discover"), &doc))
	if doc.OpenRPC != "1.3.2" {
		t.Errorf("openrpc = %q", doc.OpenRPC)
	}
	var names []string
	for _, m := range doc.Methods {
		names = append(names, m.Name)
		if m.Summary == "" {
			t.Errorf("%s has no summary", m.Name)
		}
		schemas := []any{m.Result.Schema}
		for _, p := range m.Params {
			schemas = append(schemas, p.Schema)
		}
		for _, schema := range schemas {
			url := "mem:///" + m.Name
			compiler := jsonschema.NewCompiler()
			must(t, compiler.AddResource(url, schema))
			if _, err := compiler.Compile(url); err != nil {
				t.Errorf("%s: a schema does not compile: %v", m.Name, err)
			}
		}
		// A method that is in the document is served: asked with no or wrong parameters it may refuse them, but not itself.
		if strings.HasPrefix(m.Name, "admin_") {
			t.Errorf("%s is in the public document", m.Name)
		}
		if _, fault := r.try(m.Name); fault != nil && fault.Code == codeNoMethod {
			t.Errorf("%s is in the document and not served", m.Name)
		}
	}
	for _, want := range []string{"eth_sendRawTransactionSync", "rpc_discover", "rpc_modules", "pheme_status", "txpool_inspect"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not in the document", want)
		}
	}
	if _, got := r.post(`[{"jsonrpc":"2.0","id":7,"method":"rpc.discover"},{"jsonrpc":"2.0","id":8,"method":"eth_chainId"}]`); !strings.Contains(got, `"openrpc"`) || !strings.Contains(got, `"0x539"`) {
		t.Errorf("a batch with rpc.discover answered %.200s", got)
	}
}

// TestDocsNameEveryMethod: no entry of methodDocs is left over, on either dispatcher.
func TestDocsNameEveryMethod(t *testing.T) {
	s := newRig(t, Config{}).s
	all := s.local.methods
	for name := range methodDocs() {
		if _, ok := all[name]; !ok {
			t.Errorf("methodDocs has %s, which no handler serves", name)
		}
	}
	for name := range all {
		if name == discoverName {
			continue
		}
		if _, ok := methodDocs()[name]; !ok {
			t.Errorf("%s is served and not in methodDocs", name)
		}
	}
	if _, err := describe("test", methodsOf(map[string]any{"x": new(netAPI)})); err == nil {
		t.Error("a handler without an entry was documented")
	}
}

// TestSetLogLevel: only on the socket, and what the node refuses comes back as invalid parameters.
func TestSetLogLevel(t *testing.T) {
	r := startRig(t, Config{})
	var got [2]string
	r.s.deps.SetLogLevel = func(pkg, level string) error {
		if level == "loud" {
			return errors.New("no such level")
		}
		got = [2]string{pkg, level}
		return nil
	}
	c := r.dial(r.ipc)
	must(t, c.SetLogLevel(t.Context(), "p2p", "debug"))
	if got != [2]string{"p2p", "debug"} {
		t.Errorf("admin_setLogLevel set %v", got)
	}
	if err := c.SetLogLevel(t.Context(), "p2p", "loud"); err == nil || !strings.Contains(err.Error(), "no such level") {
		t.Errorf("a bad level: %v", err)
	}
	if _, fault := r.try("admin_setLogLevel", "p2p", "debug"); fault == nil || fault.Code != codeNoMethod {
		t.Errorf("over HTTP it answered %v, want %d", fault, codeNoMethod)
	}
}
