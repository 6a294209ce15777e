package experiment

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// LawPrefix begins the names of what is expected of a sweep's laws. Expectations that begin with
// neither it nor [RatioPrefix] are each cell's own.
const LawPrefix = "law."

// maxCells bounds a sweep.
const maxCells = 2000

// Sweep is a grid of experiments. Its file is an experiment file with a table [sweep], or several
// [[sweep]], in which each key is a key of the file and each value a list: every combination is a
// cell. Cells of several tables are put together; a cell that stands in two counts once. The table
// with holds settings of all cells of its [[sweep]], which are no keys of the sweep: what must follow
// from the others, such as slots long enough for a large block.
//
//	[[sweep]]
//	gossip.d = [4, 6, 8, 12]
//	net.nodes = [50, 100]
//	with = { chain.slot = "2s" }
type Sweep struct {
	Name     string
	Keys     []string // whose values differ between cells, sorted
	Cells    []Cell
	Variants []Variant
	Laws     []Law
	Ratios   []Ratio
	// Expect holds what the laws and ratios must come to.
	Expect map[string]Expectation
}

// Cell is one experiment of a sweep, resolved and valid.
type Cell struct {
	Values []string // one for each of the sweep's keys; "" where its table does not name the key
	Spec   Spec
}

// Law is how a figure must follow from a swept key: a straight line over a scale of it.
type Law struct {
	Name  string `toml:"name" json:"name"`
	X     string `toml:"x" json:"x"`         // the swept key, whose values are numbers
	Y     string `toml:"y" json:"y"`         // the figure, by its name in results.json
	Scale string `toml:"scale" json:"scale"` // linear, log2 or log10, of X
}

// Scaled is x on the law's scale.
func (l Law) Scaled(x float64) float64 {
	switch l.Scale {
	case "log2":
		return math.Log2(x)
	case "log10":
		return math.Log10(x)
	}
	return x
}

// sweepFile is what a sweep's file holds besides an experiment.
type sweepFile struct {
	Spec    `toml:",inline"`
	Sweep   any            `toml:"sweep"`
	Variant map[string]any `toml:"variant"`
	Law     []Law          `toml:"law"`
	Ratio   []Ratio        `toml:"ratio"`
}

// DecodeSweep reads a sweep's file strictly. change, if not nil, is laid over each cell before it is
// resolved: what flags say. Errors wrap [ErrInvalid] and name the key, or the cell and its key.
func DecodeSweep(name string, text []byte, change func(*Spec)) (*Sweep, error) {
	bad := func(format string, args ...any) (*Sweep, error) {
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, name, fmt.Errorf(format, args...))
	}
	var file sweepFile
	if err := decode(name, text, &file); err != nil {
		return nil, err
	}
	var tree map[string]any
	if err := toml.Unmarshal(text, &tree); err != nil {
		return bad("%w", err)
	}
	for _, own := range []string{"sweep", "variant", "law", "ratio"} {
		delete(tree, own)
	}
	grids, err := gridsOf(file.Sweep)
	if err != nil {
		return bad("%w", err)
	}
	s := &Sweep{Name: file.Name, Laws: file.Law, Ratios: file.Ratio, Expect: sweepExpected(tree)}
	if s.Variants, err = variantsOf(file.Variant); err != nil {
		return bad("%w", err)
	}
	if s.Name == "" {
		s.Name = "sweep"
		tree["name"] = s.Name
	}
	if err := s.fill(name, tree, grids, change); err != nil {
		return nil, err
	}
	for _, check := range []func() error{s.checkVariants, s.checkLaws, s.checkRatios} {
		if err := check(); err != nil {
			return bad("%w", err)
		}
	}
	return s, nil
}

// Digest names the sweep by its cells, laws and ratios. A figure that nothing divides is not in it: a
// sweep that gets one goes on in its folder.
func (s *Sweep) Digest() string {
	h := sha256.New()
	for i := range s.Cells {
		fmt.Fprintln(h, s.Cells[i].Spec.Digest())
	}
	for _, l := range s.Laws {
		fmt.Fprintln(h, l)
	}
	for _, r := range s.Ratios {
		if len(r.Over) > 0 {
			fmt.Fprintln(h, r.Name, r.Figure, r.Pairs)
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:4])
}

// sweepExpected takes what is expected of laws and ratios out of the tree of an experiment.
func sweepExpected(tree map[string]any) map[string]Expectation {
	out := map[string]Expectation{}
	expect, _ := tree["expect"].(map[string]any)
	for key, v := range expect {
		if text, ok := v.(string); ok && (strings.HasPrefix(key, LawPrefix) || strings.HasPrefix(key, RatioPrefix)) {
			out[key] = Expectation(text)
			delete(expect, key)
		}
	}
	return out
}

// grid is one table of a sweep: keys, sorted, and the values of each.
type grid struct {
	keys   []string
	values [][]any
	with   map[string]any // by dotted key
}

// withKey is the key of a [sweep] that holds settings of all its cells.
const withKey = "with"

// gridsOf reads [sweep] or [[sweep]].
func gridsOf(v any) ([]grid, error) {
	var tables []map[string]any
	switch v := v.(type) {
	case map[string]any:
		tables = append(tables, v)
	case []any:
		for _, t := range v {
			table, ok := t.(map[string]any)
			if !ok {
				return nil, fmt.Errorf("sweep: want a table of keys and lists of values")
			}
			tables = append(tables, table)
		}
	}
	if len(tables) == 0 {
		return nil, fmt.Errorf(`no [sweep]: add one with lists of values, such as "gossip.d" = [4, 6, 8]; 'devnet measure' runs a single experiment`)
	}
	var out []grid
	cells := 0
	for _, nested := range tables {
		t, with := map[string]any{}, map[string]any{}
		if nested[withKey] != nil {
			table, ok := nested[withKey].(map[string]any)
			if !ok {
				return nil, fmt.Errorf(`sweep: with: want a table of keys and values, such as with = { chain.slot = "2s" }`)
			}
			flatten("", table, with)
			delete(nested, withKey)
		}
		flatten("", nested, t)
		g := grid{keys: slices.Sorted(maps.Keys(t)), with: with}
		size := 1
		for _, k := range g.keys {
			list, ok := t[k].([]any)
			if !ok {
				return nil, fmt.Errorf("sweep: %q: want a list of values, of one if it does not vary", k)
			}
			if size *= len(list); size == 0 || size > maxCells {
				return nil, fmt.Errorf("sweep: %q: a table has 1 to %d combinations", k, maxCells)
			}
			g.values = append(g.values, list)
		}
		if cells += size; cells > maxCells {
			return nil, fmt.Errorf("sweep: more than %d combinations", maxCells)
		}
		out = append(out, g)
	}
	return out, nil
}

// flatten writes the values of nested tables under dotted keys, so that a key may stand unquoted.
func flatten(prefix string, from, into map[string]any) {
	for k, v := range from {
		if table, ok := v.(map[string]any); ok {
			flatten(prefix+k+".", table, into)
			continue
		}
		into[prefix+k] = v
	}
}

// each calls f with every combination of the grid's values, the last key's changing fastest.
func (g grid) each(f func(values []any) error) error {
	at := make([]int, len(g.keys))
	for {
		values := make([]any, len(at))
		for i, k := range at {
			values[i] = g.values[i][k]
		}
		if err := f(values); err != nil {
			return err
		}
		i := len(at) - 1
		for ; i >= 0; i-- {
			if at[i]++; at[i] < len(g.values[i]) {
				break
			}
			at[i] = 0
		}
		if i < 0 {
			return nil
		}
	}
}

// fill makes the cells: the tree with a combination's values in it, decoded as strictly as a file.
func (s *Sweep) fill(name string, tree map[string]any, grids []grid, change func(*Spec)) error {
	type raw struct {
		values map[string]string
		spec   Spec
	}
	var cells []raw
	seen := map[string]bool{}
	varies := map[string]map[string]bool{}
	for _, g := range grids {
		err := g.each(func(values []any) error {
			c := raw{values: map[string]string{}}
			var label []string
			copied := clone(tree)
			if err := s.lay(copied, g, values); err != nil {
				return fmt.Errorf("%w: %s: sweep: %w", ErrInvalid, name, err)
			}
			for i, k := range g.keys {
				c.values[k] = text(values[i])
				label = append(label, k+"="+c.values[k])
			}
			spec, err := decodeCell(fmt.Sprintf("%s (cell %s)", name, strings.Join(label, " ")), copied, change)
			if err != nil {
				return err
			}
			if c.spec = spec; seen[spec.Digest()] {
				return nil
			}
			seen[spec.Digest()] = true
			cells = append(cells, c)
			for k, v := range c.values {
				if varies[k] == nil {
					varies[k] = map[string]bool{}
				}
				varies[k][v] = true
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for k, values := range varies {
		named := 0
		for _, c := range cells {
			if _, ok := c.values[k]; ok {
				named++
			}
		}
		if len(values) > 1 || named < len(cells) {
			s.Keys = append(s.Keys, k)
		}
	}
	slices.Sort(s.Keys)
	for _, c := range cells {
		cell := Cell{Spec: c.spec}
		for _, k := range s.Keys {
			cell.Values = append(cell.Values, c.values[k])
		}
		s.Cells = append(s.Cells, cell)
	}
	return nil
}

// lay puts the settings of a cell into the tree of an experiment: its variant's, over them its table's,
// over both its own.
func (s *Sweep) lay(tree map[string]any, g grid, values []any) error {
	if i := slices.Index(g.keys, VariantKey); i >= 0 {
		if err := s.settle(tree, values[i]); err != nil {
			return err
		}
	}
	for _, k := range slices.Sorted(maps.Keys(g.with)) {
		if err := set(tree, k, g.with[k]); err != nil {
			return err
		}
	}
	for i, k := range g.keys {
		if k != VariantKey {
			if err := set(tree, k, values[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func decodeCell(name string, tree map[string]any, change func(*Spec)) (Spec, error) {
	out, err := toml.Marshal(tree)
	if err != nil {
		return Spec{}, fmt.Errorf("%w: %s: %w", ErrInvalid, name, err)
	}
	spec, err := Decode(name, out)
	if err != nil {
		return spec, err
	}
	if change != nil {
		change(&spec)
	}
	spec.Resolve()
	if err := spec.Validate(); err != nil {
		return spec, fmt.Errorf("%s: %w", name, err)
	}
	return spec, nil
}

// clone copies the tables of a tree; what is not a table is shared and never changed.
func clone(tree map[string]any) map[string]any {
	out := make(map[string]any, len(tree))
	for k, v := range tree {
		if table, ok := v.(map[string]any); ok {
			v = clone(table)
		}
		out[k] = v
	}
	return out
}

// set puts a value under a dotted key.
func set(tree map[string]any, key string, v any) error {
	for {
		head, rest, nested := strings.Cut(key, ".")
		if !nested {
			tree[key] = v
			return nil
		}
		next, ok := tree[head].(map[string]any)
		if !ok {
			if tree[head] != nil {
				return fmt.Errorf("%q: %s is no table", key, head)
			}
			next = map[string]any{}
			tree[head] = next
		}
		tree, key = next, rest
	}
}

// text is a value as a column of a table shows it.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = text(v[i])
		}
		return "[" + strings.Join(parts, " ") + "]"
	case map[string]any:
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, k+"="+text(v[k]))
		}
		return strings.Join(parts, " ")
	}
	return fmt.Sprint(v)
}
