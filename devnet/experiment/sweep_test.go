package experiment

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

const lawSweep = `name = "grow"
engine = "virtual"
[load]
blocks = 5
[sweep]
"net.nodes" = [50, 100, 200]
[[law]]
name = "c99"
x = "net.nodes"
y = "block.c99_ms"
scale = "log2"
[expect]
"law.c99.r2" = ">= 0.95"
"block.coverage" = ">= 1"
`

func TestDecodeSweep(t *testing.T) {
	s, err := DecodeSweep("s.toml", []byte(`name = "d-and-size"
[load]
blocks = 5
[[sweep]]
gossip.d = [4, 8]
"chain.block_size" = ["128KiB", "1MiB"]
[[sweep]]
gossip.d = [8]
chain.block_size = ["128KiB"]
net.nodes = [8, 4]
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got [][]string
	for _, c := range s.Cells {
		got = append(got, c.Values)
		if c.Spec.Name != "d-and-size" || c.Spec.Load.Blocks != 5 || c.Spec.Chain.Slot != sec {
			t.Errorf("cell %v is %+v", c.Values, c.Spec)
		}
	}
	// 8 nodes are the default: that cell of the second table stands in the first already.
	want := [][]string{{"128KiB", "4", ""}, {"128KiB", "8", ""}, {"1MiB", "4", ""}, {"1MiB", "8", ""}, {"128KiB", "8", "4"}}
	if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(s.Keys, []string{"chain.block_size", "gossip.d", "net.nodes"}) {
		t.Errorf("cells %q of %q, want %q", got, s.Keys, want)
	}
	if d := s.Cells[3].Spec; d.Gossip.D != 8 || d.Chain.BlockSize != 1<<20 || d.Gossip.Dlo != 6 {
		t.Errorf("the cell of D=8 and 1MiB is %+v", d)
	}
}

func TestDecodeSweepOfALaw(t *testing.T) {
	change := func(s *Spec) { s.Seeds = []int64{7} }
	s, err := DecodeSweep("s.toml", []byte(lawSweep), change)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Cells) != 3 || len(s.Laws) != 1 || s.Expect["law.c99.r2"] != ">= 0.95" || len(s.Expect) != 1 {
		t.Errorf("%d cells, laws %v, expected %v", len(s.Cells), s.Laws, s.Expect)
	}
	for i, want := range []float64{50, 100, 200} {
		c := &s.Cells[i]
		if x, err := c.X(&s.Laws[0]); err != nil || x != want || c.Spec.Expect["block.coverage"] != ">= 1" || len(c.Spec.Expect) != 1 || c.Spec.Seeds[0] != 7 {
			t.Errorf("cell %d: x = %v, %v, expected of it %v, seeds %v", i, x, err, c.Spec.Expect, c.Spec.Seeds)
		}
	}
	other, err := DecodeSweep("s.toml", []byte(strings.Replace(lawSweep, "log2", "log10", 1)), change)
	if err != nil || s.Digest() == other.Digest() {
		t.Errorf("two sweeps with different laws share the digest %s, %v", s.Digest(), err)
	}
}

func TestDecodeSweepErrors(t *testing.T) {
	law := func(old, new string) string {
		if !strings.Contains(lawSweep, old) {
			t.Fatalf("the file lacks %q", old)
		}
		return strings.Replace(lawSweep, old, new, 1)
	}
	for text, want := range map[string]string{
		"name = \"x\"\n":                                               "no [sweep]",
		"sweep = 3\n":                                                  "no [sweep]",
		"sweep = [3]\n":                                                "want a table",
		"[sweep]\n\"net.nodes\" = 3\n":                                 `"net.nodes": want a list`,
		"[sweep]\n\"net.nodes\" = []\n":                                `"net.nodes": a table has 1 to`,
		"[sweep]\n\"net.nods\" = [3]\n":                                `unknown key "net.nods"`,
		"name = \"x\"\n[sweep]\n\"name.y\" = [1]\n":                    "name is no table",
		"[sweep]\n\"net.nodes\" = [4, 1]\n":                            "(cell net.nodes=1): experiment: net.nodes = 1:",
		"[swep]\n":                                                     `s.toml:1:2: unknown key "swep"`,
		law("x = \"net.nodes\"", "x = \"net.degree\""):                 "must be the one key that the sweep varies",
		law("[50, 100, 200]", "[50, 100]"):                             "at least 3 show a law",
		law("log2", "sqrt"):                                            `scale = "sqrt": must be`,
		law("\"c99\"", "\"C 99\""):                                     `name = "C 99"`,
		law("y = \"block.c99_ms\"\n", ""):                              "law c99: y: name a figure",
		law("law.c99.r2", "law.c98.r2"):                                `expect "law.c98.r2": want law.NAME.FIGURE`,
		law("law.c99.r2", "law.c99.r3"):                                `expect "law.c99.r3": want law.NAME.FIGURE`,
		law(">= 0.95", "good"):                                         `expect "law.c99.r2" = "good": write <`,
		law("[50, 100, 200]", "[50, 100, 200]\n\"gossip.d\" = [4, 8]"): "must be the one key",
		strings.NewReplacer("\"net.nodes\" =", "\"net.topology\" =", "[50, 100, 200]", "[\"ring\", \"full\", \"line\"]", "x = \"net.nodes\"", "x = \"net.topology\"").Replace(lawSweep): "is not a number",
	} {
		if _, err := DecodeSweep("s.toml", []byte(text), nil); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := DecodeSweep("s.toml", []byte("[sweep]\n\"load.blocks\" = [1,2,3,4,5,6,7,8,9,10]\n\"load.warmup\" = [1,2,3,4,5,6,7,8,9,10]\n\"gossip.d\" = [2,3,4,5,6,7,8,9,10,11]\n\"gossip.d_lazy\" = [2,3,4,5,6,7,8,9,10,11]\n\"net.degree\" = [4,5]\n"), nil); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "1 to 2000 combinations") {
		t.Errorf("a sweep of twenty thousand cells: %v", err)
	}
}

// Every cell of what decodes is a valid experiment, and repeats from its resolved file.
func FuzzDecodeSweep(f *testing.F) {
	f.Add([]byte(lawSweep))
	f.Add([]byte(variantSweep))
	f.Add([]byte("[[sweep]]\n\"gossip.d\" = [4]\n[[sweep]]\nfault = [[], [{at = \"1s\"}]]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := DecodeSweep("f", text, nil)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("error %v does not wrap ErrInvalid", err)
			}
			return
		}
		for _, c := range s.Cells {
			if err := c.Spec.Validate(); err != nil || len(c.Values) != len(s.Keys) {
				t.Fatalf("cell %v of keys %v: %v", c.Values, s.Keys, err)
			}
		}
	})
}
