package node_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/pheme-net/pheme/"

// layers is the map of the house: each package and the packages of ours that it may import; p2p/* means those below p2p, * all.
// mempool, p2p and rpc stand side by side above chain and never see each other; node alone puts them together. A new edge or
// package is a decision: change the map in the commit that needs it and say why there.
var layers = map[string]string{
	"chain":            "",
	"mempool":          "chain",
	"p2p/swim":         "",
	"p2p/recon":        "",
	"p2p/trace":        "",
	"p2p/link":         "p2p/trace",
	"p2p/link/virtual": "p2p/link p2p/trace",
	"p2p/link/live":    "p2p/link p2p/link/virtual p2p/trace",
	"p2p/relay":        "chain p2p/recon p2p/trace",
	"p2p":              "chain p2p/*",
	"rpc":              "chain",
	"node":             "chain mempool p2p p2p/* rpc",
	"devnet":           "chain mempool p2p p2p/* rpc node devnet/*",

	"devnet/accounts":   "",
	"devnet/bubble":     "",
	"devnet/experiment": "p2p/link",
	"devnet/fault":      "p2p/link devnet/experiment",
	"devnet/stats":      "",
	"devnet/topology":   "",
	"devnet/host":       "",
	"devnet/live":       "rpc",
	"devnet/load":       "rpc devnet/stats",
	"devnet/replay":     "",
	"devnet/workload":   "chain rpc devnet/accounts devnet/experiment",
	"devnet/recorder":   "p2p/trace devnet/stats",
	"devnet/cluster":    "chain rpc node devnet/accounts devnet/topology",
	"devnet/compare":    "devnet/experiment devnet/report devnet/stats",
	"devnet/report":     "p2p/trace devnet/experiment devnet/recorder devnet/stats",

	"cmd/pheme": "chain rpc node devnet devnet/accounts devnet/compare devnet/experiment devnet/load devnet/live devnet/report devnet/stats", // chain for its types: a genesis, a transaction
}

// fences says which packages may import a path from outside (or one below it), in the words of layers. The longest matching path
// decides. Tests are free.
var fences = map[string]string{
	"testing":                                    "devnet/bubble", // whose time is virtual
	"net/http":                                   "rpc node devnet devnet/* cmd/pheme",
	"github.com/ethereum/go-ethereum":            "", // a library, not a base: only the parts named below
	"github.com/ethereum/go-ethereum/rpc":        "rpc devnet",
	"github.com/ethereum/go-ethereum/common":     "*",
	"github.com/ethereum/go-ethereum/core/types": "*",
	"github.com/ethereum/go-ethereum/crypto":     "*",
	"github.com/ethereum/go-ethereum/rlp":        "*",
	"github.com/libp2p":                          "p2p p2p/* node devnet devnet/*",
	"github.com/libp2p/go-libp2p-pubsub":         "p2p p2p/*",
	"github.com/pelletier/go-toml":               "node devnet/experiment",
	"github.com/prometheus":                      "node",
	"github.com/spf13/cobra":                     "cmd/pheme",
	"github.com/syndtr/goleveldb":                "chain node devnet",
}

type listed struct {
	ImportPath, Dir                             string
	GoFiles, Imports, TestImports, XTestImports []string
}

func TestLayers(t *testing.T) {
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		allowed, ok := layers[name]
		if !ok {
			t.Errorf("package %s is not in the layer map: add it to layers with what it may import", name)
			continue
		}
		for _, at := range edges(name, allowed, p) {
			t.Error(at)
		}
		if n := docs(t, p); n != 1 {
			t.Errorf("package %s has %d package comments: keep exactly one, in doc.go", name, n)
		}
	}
}

// edges returns one complaint for each import of p that the maps do not allow.
func edges(name, allowed string, p listed) (bad []string) {
	all := slices.Concat(p.Imports, p.TestImports, p.XTestImports)
	for i, path := range all {
		if ours, ok := strings.CutPrefix(path, module); ok && ours != name && !allows(allowed, ours) {
			bad = append(bad, name+" imports "+ours+": that edge is not in layers; move the code, or change the map and say why")
		}
		if f := fence(path); i < len(p.Imports) && f != "" && !allows(fences[f], name) {
			bad = append(bad, name+" imports "+path+": fences allows that only in ["+fences[f]+"]")
		}
	}
	return bad
}

// fence returns the longest path of fences that holds path, or "".
func fence(path string) (longest string) {
	for f := range fences {
		if (path == f || strings.HasPrefix(path, f+"/")) && len(f) > len(longest) {
			longest = f
		}
	}
	return longest
}

// allows reports whether a word of list is name or, ending in *, begins it.
func allows(list, name string) bool {
	return slices.ContainsFunc(strings.Fields(list), func(word string) bool {
		above, wild := strings.CutSuffix(word, "*")
		return word == name || wild && strings.HasPrefix(name, above)
	})
}

// docs counts the files of p with a comment on their package clause.
func docs(t *testing.T, p listed) (n int) {
	for _, f := range p.GoFiles {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if file.Doc != nil {
			n++
		}
	}
	return n
}

func listPackages(t *testing.T) (ps []listed) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports,TestImports,XTestImports", module+"...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return ps
		} else if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
}

// TestLayersFinds shows that the two maps can refuse.
func TestLayersFinds(t *testing.T) {
	p := listed{Imports: []string{"fmt", module + "p2p", "testing/synctest", "github.com/ethereum/go-ethereum/core/vm"}}
	p.XTestImports = []string{module + "rpc", "testing", module + "p2p/trace"}
	got := edges("mempool", "chain p2p/*", p)
	for i, want := range []string{"imports p2p:", "imports testing/synctest:", "imports github.com/ethereum/go-ethereum/core/vm:", "imports rpc:"} {
		if i >= len(got) || !strings.Contains(got[i], want) {
			t.Fatalf("edges = %q, want %q at %d", got, want, i)
		}
	}
	if len(got) != 4 {
		t.Fatalf("edges = %q, want four", got)
	}
}

// floors are the lowest versions that go.mod may require, kept by hand where no vulnerability list would speak up.
var floors = map[string]string{
	"github.com/libp2p/go-libp2p-pubsub": "v0.17.0", // before: memory lost to a remote peer, ignored messages lost
	"github.com/pion/dtls/v3":            "v3.1.4",
	"github.com/pion/stun/v3":            "v3.1.5",
}

// goleveldb is required exactly: later commits are known to corrupt, and geth and Cosmos pin the same one.
const goleveldb = "github.com/syndtr/goleveldb v1.0.1-0.20210819022825-2ae1ddf74ef7\n"

func TestModuleVersions(t *testing.T) {
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, complaint := range badVersions(string(mod)) {
		t.Error(complaint)
	}
	bad := "github.com/libp2p/go-libp2p-kad-dht v0.1.0\nreplace a => b\ngithub.com/libp2p/go-libp2p-pubsub v0.9.3\n"
	if got := badVersions(bad); len(got) != 4 {
		t.Fatalf("badVersions(%q) = %q, want four complaints", bad, got)
	}
}

func badVersions(mod string) (bad []string) {
	for path, floor := range floors {
		if _, v, ok := strings.Cut(mod, path+" "); ok && slices.Compare(numbers(v), numbers(floor)) < 0 {
			bad = append(bad, "go.mod requires "+path+" below "+floor+": raise it")
		}
	}
	if !strings.Contains(mod, goleveldb) {
		bad = append(bad, "go.mod must require exactly "+goleveldb)
	}
	if strings.Contains(mod, "go-libp2p-kad-dht") {
		bad = append(bad, "go.mod requires go-libp2p-kad-dht: it carries an unfixed CVE and membership makes it unnecessary")
	}
	if strings.Contains(mod, "replace ") {
		bad = append(bad, "go.mod replaces a module: require a published version, so that go install works")
	}
	return bad
}

// numbers reads the three numbers of a version at the start of v.
func numbers(v string) []int {
	n := make([]int, 3)
	fmt.Sscanf(v, "v%d.%d.%d", &n[0], &n[1], &n[2])
	return n
}
