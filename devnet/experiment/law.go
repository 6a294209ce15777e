package experiment

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// lawFigures are what can be expected of a law, behind its name.
const lawFigures = "slope intercept r2 spread growth"

func (s *Sweep) checkLaws() error {
	names := map[string]bool{}
	for i := range s.Laws {
		l := &s.Laws[i]
		fill(&l.Scale, "linear")
		switch {
		case !nameForm.MatchString(l.Name) || names[l.Name]:
			return fmt.Errorf("law %d: name = %q: use lower-case letters, digits and dashes, each name once", i+1, l.Name)
		case l.Scale != "linear" && l.Scale != "log2" && l.Scale != "log10":
			return fmt.Errorf("law %s: scale = %q: must be linear, log2 or log10", l.Name, l.Scale)
		case l.Y == "":
			return fmt.Errorf("law %s: y: name a figure, such as block.c99_ms", l.Name)
		}
		names[l.Name] = true
		if err := s.checkAxis(l); err != nil {
			return fmt.Errorf("law %s: %w", l.Name, err)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.Expect)) {
		if strings.HasPrefix(key, RatioPrefix) {
			continue
		}
		name, figure, _ := strings.Cut(strings.TrimPrefix(key, LawPrefix), ".")
		if !names[name] || !slices.Contains(strings.Fields(lawFigures), figure) {
			return fmt.Errorf("expect %q: want law.NAME.FIGURE with the name of a [[law]] and one of %s", key, lawFigures)
		}
		if err := s.Expect[key].check(); err != nil {
			return fmt.Errorf("expect %q = %q: %w", key, s.Expect[key], err)
		}
	}
	return nil
}

// checkAxis wants the law's key to be the only one that varies, over numbers, above 0 on a log scale.
func (s *Sweep) checkAxis(l *Law) error {
	if len(s.Keys) != 1 || s.Keys[0] != l.X {
		return fmt.Errorf("x = %q: must be the one key that the sweep varies, which are %q: a line through cells that differ in more would mix them", l.X, s.Keys)
	}
	if len(s.Cells) < 3 {
		return fmt.Errorf("x = %q: has %d values: at least 3 show a law", l.X, len(s.Cells))
	}
	for _, c := range s.Cells {
		if _, err := c.X(l); err != nil {
			return err
		}
	}
	return nil
}

// X is the cell's place on a law's axis.
func (c *Cell) X(l *Law) (float64, error) {
	v, err := strconv.ParseFloat(c.Values[0], 64)
	if err != nil {
		var size Bytes
		if err := size.UnmarshalText([]byte(c.Values[0])); err != nil {
			return 0, fmt.Errorf("x = %q: %q is not a number", l.X, c.Values[0])
		}
		v = float64(size)
	}
	if l.Scale != "linear" && v <= 0 {
		return 0, fmt.Errorf("x = %q: %v has no logarithm", l.X, v)
	}
	return v, nil
}
