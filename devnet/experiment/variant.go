package experiment

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// VariantKey is the key of a [sweep] whose values are names of variants.
const VariantKey = "variant"

// Variant is a name for several settings together, so that a sweep can vary them as one: what would
// be cells that exclude each other, such as the sizes of a mesh for one relay alone.
//
//	[variant.tuned]
//	net.relay = "gossip"
//	gossip.d = 4
//	[sweep]
//	variant = ["tuned", "coded"]
type Variant struct {
	Name     string
	Keys     []string // sorted
	values   []any
	inSweeps bool
}

// Text is the variant's settings as a file has them.
func (v *Variant) Text() string {
	parts := make([]string, len(v.Keys))
	for i, k := range v.Keys {
		parts[i] = k + " = " + text(v.values[i])
	}
	return strings.Join(parts, ", ")
}

// variantsOf reads the tables [variant.NAME], in the order of their names.
func variantsOf(tables map[string]any) ([]Variant, error) {
	var out []Variant
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		table, ok := tables[name].(map[string]any)
		if !ok || len(table) == 0 {
			return nil, fmt.Errorf("variant %q: want a table of keys and values", name)
		}
		flat := map[string]any{}
		flatten("", table, flat)
		v := Variant{Name: name, Keys: slices.Sorted(maps.Keys(flat))}
		for _, k := range v.Keys {
			v.values = append(v.values, flat[k])
		}
		out = append(out, v)
	}
	return out, nil
}

// settle puts the settings of a named variant into the tree of an experiment.
func (s *Sweep) settle(tree map[string]any, name any) error {
	i := slices.IndexFunc(s.Variants, func(v Variant) bool { return v.Name == name })
	if i < 0 {
		var names []string
		for _, v := range s.Variants {
			names = append(names, v.Name)
		}
		return fmt.Errorf("variant %v: there is no [variant.%v]: there are %q", name, name, names)
	}
	v := &s.Variants[i]
	v.inSweeps = true
	for k, key := range v.Keys {
		if err := set(tree, key, v.values[k]); err != nil {
			return fmt.Errorf("variant %s: %w", v.Name, err)
		}
	}
	return nil
}

// checkVariants refuses those that no [sweep] names.
func (s *Sweep) checkVariants() error {
	for _, v := range s.Variants {
		if !v.inSweeps {
			return fmt.Errorf("variant %s: no [sweep] names it", v.Name)
		}
	}
	return nil
}

// Matching says of each cell whether all conditions hold for it. A condition is KEY=VALUE or
// KEY=VALUE,VALUE with a key of the sweep or the last part of one, such as nodes=20. Errors wrap
// [ErrInvalid]: a key that does not vary, a value that no cell has.
func (s *Sweep) Matching(conditions []string) ([]bool, error) {
	out := make([]bool, len(s.Cells))
	for i := range out {
		out[i] = true
	}
	for _, c := range conditions {
		name, values, ok := strings.Cut(c, "=")
		if !ok {
			return nil, fmt.Errorf("%w: %q: write KEY=VALUE, such as nodes=20", ErrInvalid, c)
		}
		k := slices.IndexFunc(s.Keys, func(key string) bool { return key == name || strings.HasSuffix(key, "."+name) })
		if k < 0 {
			return nil, fmt.Errorf("%w: %q: the sweep varies %q", ErrInvalid, c, s.Keys)
		}
		wanted := strings.Split(values, ",")
		for _, v := range wanted {
			if !slices.ContainsFunc(s.Cells, func(c Cell) bool { return c.Values[k] == v }) {
				return nil, fmt.Errorf("%w: %q: %s has the values %q", ErrInvalid, c, s.Keys[k], s.values(k))
			}
		}
		for i := range out {
			out[i] = out[i] && slices.Contains(wanted, s.Cells[i].Values[k])
		}
	}
	if !slices.Contains(out, true) {
		return nil, fmt.Errorf("%w: no cell has %s", ErrInvalid, strings.Join(conditions, " and "))
	}
	return out, nil
}

// values are the different values of a key, in the order of the cells.
func (s *Sweep) values(key int) (out []string) {
	for i := range s.Cells {
		if v := s.Cells[i].Values[key]; !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}
