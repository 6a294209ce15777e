package experiment

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const variantSweep = `name = "sides"
engine = "virtual"
[load]
blocks = 5
[variant.wide]
gossip.d = 12
gossip.d_hi = 14
[variant.coded]
net.relay = "coded"
load.pools = "cold"
[[sweep]]
variant = ["wide", "coded"]
net.nodes = [20, 50]
[[sweep]]
variant = ["coded"]
net.nodes = [64]
gossip.d_hi = [16]
with = { chain.slot = "3s", seeds = [4] }
[[ratio]]
name = "faster"
figure = "block.p95_ms"
of = { variant = "wide" }
over = { variant = "coded" }
[[ratio]]
name = "growth"
figure = "block.p95_ms"
of = { net.nodes = 50 }
over = { net.nodes = 20 }
where = { variant = ["wide", "coded"] }
[expect]
"ratio.faster.min" = ">= 5"
"block.coverage" = "= 1"
`

func TestVariantsAndRatios(t *testing.T) {
	s, err := DecodeSweep("s.toml", []byte(variantSweep), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{{"", "20", "wide"}, {"", "20", "coded"}, {"", "50", "wide"}, {"", "50", "coded"}, {"16", "64", "coded"}}
	var got [][]string
	for _, c := range s.Cells {
		got = append(got, c.Values)
	}
	if !reflect.DeepEqual(s.Keys, []string{"gossip.d_hi", "net.nodes", "variant"}) || !reflect.DeepEqual(got, want) {
		t.Fatalf("cells %q of %q, want %q", got, s.Keys, want)
	}
	if a, b, c := s.Cells[0].Spec, s.Cells[1].Spec, s.Cells[4].Spec; a.Gossip.D != 12 || a.Gossip.Dhi != 14 || a.Net.Relay == "coded" || b.Net.Relay != "coded" || b.Load.Pools != "cold" || b.Gossip.D != 8 || c.Gossip.Dhi != 16 || c.Chain.Slot != 3*sec || c.Seeds[0] != 4 {
		t.Errorf("cells %+v, %+v, %+v", a, b, c)
	}
	if v := s.Variants[1]; v.Name != "wide" || v.Text() != "gossip.d = 12, gossip.d_hi = 14" {
		t.Errorf("variant %+v: %q", v, v.Text())
	}
	if r := s.Ratios[0].Pairs; !reflect.DeepEqual(r, [][2]int{{0, 1}, {2, 3}}) {
		t.Errorf("pairs %v", r)
	}
	if r := s.Ratios[1].Pairs; !reflect.DeepEqual(r, [][2]int{{2, 0}, {3, 1}}) {
		t.Errorf("pairs %v", r)
	}
	if len(s.Expect) != 1 || s.Cells[0].Spec.Expect["block.coverage"] != "= 1" || len(s.Cells[0].Spec.Expect) != 1 {
		t.Errorf("expected of the sweep %v, of a cell %v", s.Expect, s.Cells[0].Spec.Expect)
	}
	other, err := DecodeSweep("s.toml", []byte(strings.Replace(variantSweep, `where = { variant = ["wide", "coded"] }`, "", 1)), nil)
	if err != nil || other.Digest() != s.Digest() {
		t.Errorf("the same pairs in other words: %v, %v, want %v", err, other, s.Digest())
	}
}

// Without over a ratio is the figure of each cell that matches; to look at one makes no other sweep.
func TestFigureOfCells(t *testing.T) {
	plain, err := DecodeSweep("s.toml", []byte(variantSweep), nil)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(variantSweep, "[expect]", "[[ratio]]\nname = \"wide\"\nfigure = \"block.copies\"\nof = { variant = \"wide\" }\nwhere = { net.nodes = [20, 50] }\n[expect]\n\"ratio.wide.max\" = \"<= 3\"", 1)
	s, err := DecodeSweep("s.toml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	if r := s.Ratios[2].Pairs; !reflect.DeepEqual(r, [][2]int{{0, -1}, {2, -1}}) || s.Expect["ratio.wide.max"] != "<= 3" {
		t.Errorf("cells %v, expected %v", r, s.Expect)
	}
	if s.Digest() != plain.Digest() {
		t.Errorf("the sweep is %s, %s without the figure", s.Digest(), plain.Digest())
	}
}

func TestMatching(t *testing.T) {
	s, err := DecodeSweep("s.toml", []byte(variantSweep), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		where []string
		want  []bool
	}{
		{nil, []bool{true, true, true, true, true}},
		{[]string{"nodes=20"}, []bool{true, true, false, false, false}},
		{[]string{"net.nodes=20,64", "variant=coded"}, []bool{false, true, false, false, true}},
	} {
		if got, err := s.Matching(c.where); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("Matching(%q) = %v, %v, want %v", c.where, got, err, c.want)
		}
	}
	for where, want := range map[string]string{
		"nodes": "write KEY=VALUE", "des=20": `the sweep varies ["gossip.d_hi" "net.nodes" "variant"]`, "nodes=21": `net.nodes has the values ["20" "50" "64"]`,
	} {
		if _, err := s.Matching([]string{where}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("Matching(%q): %v, want %q", where, err, want)
		}
	}
	if _, err := s.Matching([]string{"nodes=64", "variant=wide"}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "no cell has nodes=64 and variant=wide") {
		t.Errorf("conditions that exclude each other: %v", err)
	}
}

func TestVariantAndRatioErrors(t *testing.T) {
	for change, want := range map[[2]string]string{
		{`["wide", "coded"]`, `["wide", "codec"]`}:                                `variant codec: there is no [variant.codec]: there are ["coded" "wide"]`,
		{"[variant.wide]", "[variant.spare]\nnet.nodes = 3\n[variant.wide]"}:      "variant spare: no [sweep] names it",
		{"[variant.wide]\ngossip.d = 12\ngossip.d_hi = 14\n", "variant = 3\n"}:    "variant",
		{"gossip.d = 12", "gossip.dd = 12"}:                                       `unknown key "gossip.dd"`,
		{`name = "faster"`, `name = "Faster"`}:                                    `ratio 1: name = "Faster"`,
		{`name = "growth"`, `name = "faster"`}:                                    `ratio 2: name = "faster"`,
		{`figure = "block.p95_ms"`, ``}:                                           "ratio faster: figure: name one",
		{`of = { variant = "wide" }`, ``}:                                         "ratio faster: of: name the cells",
		{"over = { net.nodes = 20 }\nwhere = {", "where = { gossip.d_hi = 16,"}:   "ratio growth: no cell is as of and where say",
		{`of = { variant = "wide" }`, `of = { net.degree = 3 }`}:                  `ratio faster: "net.degree" is none of the keys that vary`,
		{`over = { variant = "coded" }`, `over = { variant = "gossip" }`}:         "ratio faster: no cell has variant = gossip",
		{`where = { variant = ["wide", "coded"] }`, `where = { net.nodes = 50 }`}: "ratio growth: where: net.nodes stands in of or over already",
		{`over = { net.nodes = 20 }`, `over = { net.nodes = 64 }`}:                "ratio growth: no two cells differ as of and over say",
		{"ratio.faster.min", "ratio.faster.p50"}:                                  `expect "ratio.faster.p50": want ratio.NAME.min`,
		{"ratio.faster.min", "ratio.fast.min"}:                                    `expect "ratio.fast.min": want ratio.NAME.min`,
		{`with = {`, `with = 3 #`}:                                                "sweep: with: want a table",
		{`with = { chain.slot`, `with = { chain.slots`}:                           `unknown key "chain.slots"`,
		{`">= 5"`, `"5"`}: `expect "ratio.faster.min" = "5": write <`,
	} {
		text := strings.Replace(variantSweep, change[0], change[1], 1)
		if text == variantSweep {
			t.Fatalf("the file lacks %q", change[0])
		}
		if _, err := DecodeSweep("s.toml", []byte(text), nil); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", change[1], err, want)
		}
	}
}
