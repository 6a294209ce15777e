package experiment

import (
	"fmt"
	"slices"
	"strings"
)

// RatioPrefix begins the names of what is expected of a sweep's ratios.
const RatioPrefix = "ratio."

// ratioFigures are what can be expected of a ratio, behind its name: the least and the greatest over
// its pairs or cells.
const ratioFigures = "min max"

// Ratio holds cells of a sweep against each other: a figure of those that match Of, each divided by
// that of the cell which matches Over and has the same values of all other keys. Without Over it is the
// figure itself of each that matches Of. Where leaves out cells. A value may be a list: any of it.
type Ratio struct {
	Name   string         `toml:"name"`
	Figure string         `toml:"figure"` // by its name in results.json
	Of     map[string]any `toml:"of"`
	Over   map[string]any `toml:"over"`
	Where  map[string]any `toml:"where"`

	Pairs [][2]int `toml:"-"` // the cells, by their places in the sweep; the second is -1 without Over
}

// pair finds the pairs of a ratio. There is at least one.
func (s *Sweep) pair(r *Ratio) error {
	of, over, where, err := r.conditions()
	if err != nil {
		return err
	}
	for _, c := range []map[string][]string{of, over, where} {
		for key, values := range c {
			k := slices.Index(s.Keys, key)
			if k < 0 {
				return fmt.Errorf("%q is none of the keys that vary, which are %q", key, s.Keys)
			}
			for _, v := range values {
				if !slices.Contains(s.values(k), v) {
					return fmt.Errorf("no cell has %s = %s", key, v)
				}
			}
		}
	}
	matches := func(cell int, conditions ...map[string][]string) bool {
		for _, c := range conditions {
			for key, values := range c {
				if !slices.Contains(values, s.Cells[cell].Values[slices.Index(s.Keys, key)]) {
					return false
				}
			}
		}
		return true
	}
	same := func(a, b int) bool {
		for k, key := range s.Keys {
			if of[key] == nil && over[key] == nil && s.Cells[a].Values[k] != s.Cells[b].Values[k] {
				return false
			}
		}
		return true
	}
	for a := range s.Cells {
		switch {
		case !matches(a, of, where):
		case len(over) == 0:
			r.Pairs = append(r.Pairs, [2]int{a, -1})
		default:
			for b := range s.Cells {
				if matches(b, over, where) && same(a, b) {
					r.Pairs = append(r.Pairs, [2]int{a, b})
				}
			}
		}
	}
	switch {
	case len(r.Pairs) > 0:
		return nil
	case len(over) == 0:
		return fmt.Errorf("no cell is as of and where say")
	}
	return fmt.Errorf("no two cells differ as of and over say and are alike else")
}

// conditions are Of, Over and Where with dotted keys and the texts of their values.
func (r *Ratio) conditions() (of, over, where map[string][]string, err error) {
	read := func(from map[string]any) map[string][]string {
		flat, out := map[string]any{}, map[string][]string{}
		flatten("", from, flat)
		for k, v := range flat {
			list, ok := v.([]any)
			if !ok {
				list = []any{v}
			}
			for _, v := range list {
				out[k] = append(out[k], text(v))
			}
		}
		return out
	}
	of, over, where = read(r.Of), read(r.Over), read(r.Where)
	if len(of) == 0 {
		return nil, nil, nil, fmt.Errorf(`of: name the cells, such as of = { variant = "gossip" }, and in over those to divide by, such as over = { variant = "coded" }`)
	}
	for key := range where {
		if of[key] != nil || over[key] != nil {
			return nil, nil, nil, fmt.Errorf("where: %s stands in of or over already", key)
		}
	}
	return of, over, where, nil
}

func (s *Sweep) checkRatios() error {
	names := map[string]bool{}
	for i := range s.Ratios {
		r := &s.Ratios[i]
		switch {
		case !nameForm.MatchString(r.Name) || names[r.Name]:
			return fmt.Errorf("ratio %d: name = %q: use lower-case letters, digits and dashes, each name once", i+1, r.Name)
		case r.Figure == "":
			return fmt.Errorf("ratio %s: figure: name one, such as block.p95_ms", r.Name)
		}
		names[r.Name] = true
		if err := s.pair(r); err != nil {
			return fmt.Errorf("ratio %s: %w", r.Name, err)
		}
	}
	for key, e := range s.Expect {
		name, ok := strings.CutPrefix(key, RatioPrefix)
		if !ok {
			continue
		}
		name, figure, _ := strings.Cut(name, ".")
		if !names[name] || !slices.Contains(strings.Fields(ratioFigures), figure) {
			return fmt.Errorf("expect %q: want ratio.NAME.min or .max with the name of a [[ratio]]", key)
		}
		if err := e.check(); err != nil {
			return fmt.Errorf("expect %q = %q: %w", key, e, err)
		}
	}
	return nil
}
