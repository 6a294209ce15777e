package chain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"
)

// genesisJSON is the file format: camel case, amounts as decimal or 0x strings.
type genesisJSON struct {
	ChainID       uint64           `json:"chainId"`
	TimeMS        uint64           `json:"timeMs"`
	SlotMS        uint64           `json:"slotMs"`
	Proposers     []common.Address `json:"proposers"`
	BaseFee       *amount          `json:"baseFee"`
	GasLimit      uint64           `json:"gasLimit"`
	MaxBlockBytes uint64           `json:"maxBlockBytes"`
	Label         string           `json:"label"`
	Alloc         allocJSON        `json:"alloc"`
}

// amount is a number of wei, written as a decimal string so that no reader of
// the file rounds it.
type amount struct{ v uint256.Int }

// MarshalJSON implements json.Marshaler.
func (a amount) MarshalJSON() ([]byte, error) { return json.Marshal(a.v.Dec()) }

// UnmarshalJSON accepts "123", "0x7b" and 123.
func (a *amount) UnmarshalJSON(raw []byte) error {
	text := strings.Trim(string(raw), `"`)
	if strings.HasPrefix(text, "0x") {
		if err := a.v.SetFromHex(text); err != nil {
			return fmt.Errorf("amount %q: %w", text, err)
		}
		return nil
	}
	if err := a.v.SetFromDecimal(text); err != nil {
		return fmt.Errorf("amount %q is not a whole number of wei below 2^256", text)
	}
	return nil
}

// allocJSON refuses an address that is named twice, in whatever case.
type allocJSON map[common.Address]*uint256.Int

// UnmarshalJSON implements json.Unmarshaler.
func (a *allocJSON) UnmarshalJSON(raw []byte) error {
	*a = allocJSON{}
	return eachField(raw, func(key string, dec *json.Decoder) error {
		var addr common.Address
		if err := addr.UnmarshalText([]byte(key)); err != nil {
			return fmt.Errorf("alloc: %q is not an address: want 0x and 40 hex digits", key)
		}
		if (*a)[addr] != nil {
			return fmt.Errorf("alloc: %s is named twice", key)
		}
		var v *amount
		if err := dec.Decode(&v); err != nil {
			return fmt.Errorf("alloc: %s: %w", key, err)
		}
		if v == nil {
			return fmt.Errorf("alloc: %s has no amount", key)
		}
		(*a)[addr] = &v.v
		return nil
	})
}

// DecodeGenesis reads the JSON of a genesis strictly: an unknown, repeated or
// misspelt key, a wrong type and trailing bytes are errors that give the
// position. Absent optional fields get their defaults.
func DecodeGenesis(raw []byte) (*Genesis, error) {
	if len(raw) > maxGenesisBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrInvalidGenesis, len(raw), maxGenesisBytes)
	}
	var f genesisJSON
	fields := map[string]any{
		"chainId": &f.ChainID, "timeMs": &f.TimeMS, "slotMs": &f.SlotMS, "proposers": &f.Proposers, "baseFee": &f.BaseFee,
		"gasLimit": &f.GasLimit, "maxBlockBytes": &f.MaxBlockBytes, "label": &f.Label, "alloc": &f.Alloc,
	}
	seen := map[string]bool{}
	err := eachField(raw, func(key string, dec *json.Decoder) error {
		to, ok := fields[key]
		if !ok {
			return fmt.Errorf("unknown key %q", key)
		}
		if seen[key] {
			return fmt.Errorf("key %q appears twice", key)
		}
		seen[key] = true
		if err := dec.Decode(to); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidGenesis, err)
	}
	g := &Genesis{
		ChainID: f.ChainID, TimeMS: f.TimeMS, SlotMS: f.SlotMS, Proposers: f.Proposers, GasLimit: f.GasLimit,
		MaxBlockBytes: f.MaxBlockBytes, Label: f.Label, Alloc: f.Alloc,
	}
	if f.BaseFee != nil {
		g.BaseFee = &f.BaseFee.v
	}
	g.setDefaults()
	if err := g.Validate(); err != nil {
		return nil, err
	}
	return g, nil
}

// Encode writes the genesis as indented JSON that DecodeGenesis reads back.
func (g *Genesis) Encode() []byte {
	full := *g
	full.setDefaults()
	var b bytes.Buffer
	proposers, _ := json.MarshalIndent(full.Proposers, "  ", "  ")
	label, _ := json.Marshal(full.Label)
	fmt.Fprintf(&b, "{\n  \"chainId\": %d,\n  \"timeMs\": %d,\n  \"slotMs\": %d,\n", full.ChainID, full.TimeMS, full.SlotMS)
	fmt.Fprintf(&b, "  \"proposers\": %s,\n  \"baseFee\": %q,\n", proposers, full.BaseFee.Dec())
	fmt.Fprintf(&b, "  \"gasLimit\": %d,\n  \"maxBlockBytes\": %d,\n  \"label\": %s,\n", full.GasLimit, full.MaxBlockBytes, label)
	b.WriteString("  \"alloc\": {")
	addrs := make([]common.Address, 0, len(full.Alloc))
	for addr := range full.Alloc {
		addrs = append(addrs, addr)
	}
	slices.SortFunc(addrs, common.Address.Cmp)
	for i, addr := range addrs {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "\n    %q: %q", addr.Hex(), full.Alloc[addr].Dec())
	}
	b.WriteString("\n  }\n}\n")
	return b.Bytes()
}

// eachField calls f for every key of the JSON object raw, with the decoder
// standing before the value. Errors carry the line and column.
func eachField(raw []byte, f func(key string, dec *json.Decoder) error) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	at := func(err error) error {
		line, col := position(raw, dec.InputOffset())
		return fmt.Errorf("line %d, column %d: %w", line, col, err)
	}
	tok, err := dec.Token()
	if err != nil {
		return at(fmt.Errorf("not JSON: %w", err))
	}
	if tok != json.Delim('{') {
		return at(fmt.Errorf("want an object, have %v", tok))
	}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return at(err)
		}
		key, ok := tok.(string)
		if !ok {
			return at(fmt.Errorf("want a key, have %v", tok))
		}
		if err := f(key, dec); err != nil {
			return at(err)
		}
	}
	if _, err := dec.Token(); err != nil {
		return at(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return at(fmt.Errorf("bytes after the closing brace"))
	}
	return nil
}

// position turns a byte offset into a line and a column, both from 1.
func position(raw []byte, offset int64) (line, col int) {
	before := raw[:min(int(offset), len(raw))]
	return bytes.Count(before, []byte("\n")) + 1, len(before) - bytes.LastIndexByte(before, '\n')
}
