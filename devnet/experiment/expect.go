package experiment

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Expectation is what a figure must come to: "<", "<=", ">", ">=" or "=" and a number in the
// figure's own unit, such as "< 800", or several of these with commas between: ">= -0.1, <= 0.1".
type Expectation string

// condition is one relation to a number.
type condition struct {
	relation string
	bound    float64
}

// parse splits e into its conditions.
func (e Expectation) parse() (out []condition, err error) {
	for text := range strings.SplitSeq(string(e), ",") {
		c, ok := parseCondition(strings.TrimSpace(text))
		if !ok {
			return nil, fmt.Errorf(`write <, <=, >, >= or = and a number, such as "< 800" or ">= -0.1, <= 0.1"`)
		}
		out = append(out, c)
	}
	return out, nil
}

func parseCondition(text string) (condition, bool) {
	for _, r := range []string{"<=", ">=", "<", ">", "="} {
		rest, ok := strings.CutPrefix(text, r)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
		return condition{r, v}, err == nil && !math.IsNaN(v) && !math.IsInf(v, 0)
	}
	return condition{}, false
}

func (e Expectation) check() error {
	_, err := e.parse()
	return err
}

// Met says whether v is what was expected. NaN, which stands for no figure, never is.
func (e Expectation) Met(v float64) bool {
	all, err := e.parse()
	for _, c := range all {
		if !c.met(v) {
			return false
		}
	}
	return err == nil
}

func (c condition) met(v float64) bool {
	switch c.relation {
	case "<":
		return v < c.bound
	case "<=":
		return v <= c.bound
	case ">":
		return v > c.bound
	case ">=":
		return v >= c.bound
	}
	return v == c.bound
}
