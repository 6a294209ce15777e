package node

import (
	"bytes"
	"flag"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/pheme-net/pheme/p2p"
)

var update = flag.Bool("update", false, "rewrite what is generated from the code")

// TestExampleConfig: the example decodes to the defaults, says every key with a comment, and stands in
// the documentation word for word.
func TestExampleConfig(t *testing.T) {
	text, err := ExampleConfig()
	if err != nil {
		t.Fatal(err)
	}
	c, err := DecodeConfig("example", text)
	if err != nil {
		t.Fatalf("the example does not decode: %v\n%s", err, text)
	}
	if got, want := sectionOf(c.P2P), sectionOf(p2p.Defaults()); !reflect.DeepEqual(got, want) {
		t.Errorf("the example's network side is %+v, the defaults %+v", got, want)
	}
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		if regexp.MustCompile(`^\s*\w+ = `).MatchString(line) && !strings.HasPrefix(strings.TrimSpace(lines[i-1]), "# ") {
			t.Errorf("no comment above %q", line)
		}
	}
	const path = "../docs/configuration.md"
	doc, err := os.ReadFile(path)
	if err != nil && !*update {
		t.Fatal(err)
	}
	want := []byte(configurationHead + "```toml\n" + string(text) + "```\n")
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(doc, want) {
		t.Errorf("%s is not what the code says: go test ./node -run ExampleConfig -update, and read the diff", path)
	}
}

const configurationHead = `# Configuration of a node

A node is set by flags, by a TOML file (` + "`pheme node --config FILE`" + `), or by both: flags win. ` + "`pheme node --help`" + ` lists the flags. A file needs to say only what differs from
the defaults; an unknown key is an error that names its line. This is the whole file with every default, as ` + "`pheme node --example-config`" + ` prints it:

`
