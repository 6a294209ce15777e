package experiment

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Expectation is what a figure must come to: "<", "<=", ">", ">=" or "=" and a number in the
// figure's own unit, such as "< 800".
type Expectation string

// parse splits e into its relation and number.
func (e Expectation) parse() (relation string, bound float64, err error) {
	text := strings.TrimSpace(string(e))
	for _, r := range []string{"<=", ">=", "<", ">", "="} {
		rest, ok := strings.CutPrefix(text, r)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			break
		}
		return r, v, nil
	}
	return "", 0, fmt.Errorf(`write <, <=, >, >= or = and a number, such as "< 800"`)
}

func (e Expectation) check() error {
	_, _, err := e.parse()
	return err
}

// Met says whether v is what was expected. NaN, which stands for no figure, never is.
func (e Expectation) Met(v float64) bool {
	relation, bound, err := e.parse()
	if err != nil {
		return false
	}
	switch relation {
	case "<":
		return v < bound
	case "<=":
		return v <= bound
	case ">":
		return v > bound
	case ">=":
		return v >= bound
	}
	return v == bound
}
