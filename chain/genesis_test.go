package chain

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"
)

func TestGenesisRoundTrip(t *testing.T) {
	w := newWorld(3, 4)
	path := filepath.Join(t.TempDir(), "genesis.json")
	if err := os.WriteFile(path, w.g.Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := ReadGenesis(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(g, w.g) || g.Hash() != w.g.Hash() {
		t.Fatalf("ReadGenesis = %+v, want %+v", g, w.g)
	}
	if id := g.Hash(); len(g.Network()) != 8 || !strings.HasPrefix(id.Hex(), "0x"+g.Network()) {
		t.Fatalf("Network() = %q of %s", g.Network(), id)
	}
}

// TestGenesisHashCommits: a change of any field makes another network.
func TestGenesisHashCommits(t *testing.T) {
	seen := map[common.Hash]string{}
	for name, change := range map[string]func(*Genesis){
		"nothing":       func(*Genesis) {},
		"chainId":       func(g *Genesis) { g.ChainID++ },
		"timeMs":        func(g *Genesis) { g.TimeMS++ },
		"slotMs":        func(g *Genesis) { g.SlotMS++ },
		"proposers":     func(g *Genesis) { g.Proposers = g.Proposers[:1] },
		"their order":   func(g *Genesis) { g.Proposers[0], g.Proposers[1] = g.Proposers[1], g.Proposers[0] },
		"baseFee":       func(g *Genesis) { g.BaseFee = uint256.NewInt(1) },
		"gasLimit":      func(g *Genesis) { g.GasLimit++ },
		"maxBlockBytes": func(g *Genesis) { g.MaxBlockBytes-- },
		"label":         func(g *Genesis) { g.Label = "other" },
		"alloc":         func(g *Genesis) { g.Alloc[common.Address{1}] = uint256.NewInt(1) },
	} {
		w := newWorld(2, 2)
		change(w.g)
		id := w.g.Hash()
		if other, ok := seen[id]; ok {
			t.Errorf("%q and %q give one id", name, other)
		}
		seen[id] = name
	}
}

const tinyGenesis = `{
  "chainId": 7,
  "timeMs": 1700000000000,
  "proposers": ["0x00000000000000000000000000000000000000aa"]
}`

func TestGenesisDefaults(t *testing.T) {
	g, err := DecodeGenesis([]byte(tinyGenesis))
	if err != nil {
		t.Fatal(err)
	}
	if g.SlotMS != 2000 || g.BaseFee.Uint64() != 1e9 || g.GasLimit != 1e9 || g.MaxBlockBytes != 4<<20 {
		t.Fatalf("defaults: %+v", g)
	}
}

// TestGenesisErrors: what is wrong, where, and under which name.
func TestGenesisErrors(t *testing.T) {
	edit := func(old, new string) string { return strings.Replace(tinyGenesis, old, new, 1) }
	alloc := func(s string) string { return edit(`"chainId": 7,`, `"chainId": 7, "alloc": {`+s+`},`) }
	for _, tc := range []struct{ in, want string }{
		{"", "not JSON"},
		{"[]", "want an object"},
		{tinyGenesis + "x", "after the closing brace"},
		{tinyGenesis[:40], "line 3"},
		{edit("chainId", "chainID"), `line 2, column 12: unknown key "chainID"`},
		{edit(`"timeMs"`, `"chainId"`), `key "chainId" appears twice`},
		{edit("7,", `"7",`), "chainId"},
		{edit("7,", "-7,"), "chainId"},
		{edit("7,", "0,"), "chainId 0 must be between"},
		{edit("1700000000000", "1700000000000.5"), "timeMs"},
		{edit("0x00000000000000000000000000000000000000aa", "0xaa"), "proposers"},
		{edit(`["0x00000000000000000000000000000000000000aa"]`, "[]"), "proposers has 0 addresses"},
		{edit(`["0x00000000000000000000000000000000000000aa"]`, `["0x00000000000000000000000000000000000000aa","0x00000000000000000000000000000000000000AA"]`), "twice"},
		{edit("7,", `7, "slotMs": 99,`), "slotMs 99 must be between 100"},
		{edit("7,", `7, "gasLimit": 20999,`), "gasLimit"},
		{edit("7,", `7, "maxBlockBytes": 4194305,`), "maxBlockBytes"},
		{edit("7,", `7, "baseFee": "1.5",`), "whole number of wei"},
		{edit("7,", `7, "baseFee": "0x1`+strings.Repeat("0", 32)+`",`), "baseFee must be"},
		{edit("7,", `7, "label": "`+strings.Repeat("x", 33)+`",`), "label has 33 bytes"},
		{alloc(`"aa": "1"`), "is not an address"},
		{alloc(`"0x00000000000000000000000000000000000000aa": "1", "0x00000000000000000000000000000000000000AA": "1"`), "is named twice"},
		{alloc(`"0x00000000000000000000000000000000000000aa": null`), "has no amount"},
		{alloc(`"0x00000000000000000000000000000000000000aa": "-1"`), "whole number of wei"},
		{alloc(`"0x00000000000000000000000000000000000000aa": "0xf` + strings.Repeat("f", 63) + `", "0x00000000000000000000000000000000000000ab": 1`), "2^256"},
	} {
		_, err := DecodeGenesis([]byte(tc.in))
		if !errors.Is(err, ErrInvalidGenesis) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s\ngives %v, want %q", tc.in, err, tc.want)
		}
	}
	_, err := ReadGenesis(filepath.Join(t.TempDir(), "none.json"))
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "pheme genesis") {
		t.Errorf("a missing file: %v", err)
	}
}

func TestSlots(t *testing.T) {
	g := newWorld(3, 0).g
	g.SlotMS = 250
	for _, tc := range []struct {
		ms   int64
		slot uint64
	}{{-1000, 0}, {-1, 0}, {0, 0}, {249, 0}, {250, 1}, {1000, 4}} {
		if got := g.SlotAt(time.UnixMilli(int64(g.TimeMS) + tc.ms)); got != tc.slot {
			t.Errorf("SlotAt(%d ms) = %d, want %d", tc.ms, got, tc.slot)
		}
	}
	for slot := range uint64(10) {
		if got := g.SlotAt(g.SlotStart(slot)); got != slot {
			t.Errorf("SlotAt(SlotStart(%d)) = %d", slot, got)
		}
		if g.Proposer(slot) != g.Proposers[slot%3] || !g.IsProposer(g.Proposer(slot)) {
			t.Errorf("Proposer(%d)", slot)
		}
	}
	if g.SlotStart(^uint64(0)).Before(g.SlotStart(1)) {
		t.Error("SlotStart overflows")
	}
}
