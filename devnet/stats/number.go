package stats

import (
	"encoding/json"
	"math"
	"strconv"
)

// Number is a figure in JSON: infinity, which is what an undelivered message takes, is the string
// "inf", a difference from it may be "-inf", and NaN, which stands for "no figure", is null.
type Number float64

// None is the Number without a figure.
func None() Number { return Number(math.NaN()) }

// Valid says whether n is a figure, finite or not.
func (n Number) Valid() bool { return !math.IsNaN(float64(n)) }

// MarshalJSON writes n to six significant decimals after the point at most.
func (n Number) MarshalJSON() ([]byte, error) {
	switch v := float64(n); {
	case math.IsNaN(v):
		return []byte("null"), nil
	case math.IsInf(v, 1):
		return []byte(`"inf"`), nil
	case math.IsInf(v, -1):
		return []byte(`"-inf"`), nil
	default:
		return strconv.AppendFloat(nil, math.Round(v*1e6)/1e6, 'f', -1, 64), nil
	}
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (n *Number) UnmarshalJSON(text []byte) error {
	switch string(text) {
	case "null":
		*n = None()
		return nil
	case `"inf"`:
		*n = Number(math.Inf(1))
		return nil
	case `"-inf"`:
		*n = Number(math.Inf(-1))
		return nil
	}
	return json.Unmarshal(text, (*float64)(n))
}

// Figure is one measured value with its 95 % interval. Lo and Hi are NaN where an interval would
// claim more than the samples show; Why says so, or why there is no value at all.
type Figure struct {
	Value Number `json:"value"`
	Lo    Number `json:"lo"`
	Hi    Number `json:"hi"`
	N     int    `json:"n"`
	Why   string `json:"why,omitempty"`
}

// Missing is the Figure that could not be measured, and why.
func Missing(why string) Figure { return Figure{Value: None(), Lo: None(), Hi: None(), Why: why} }

// Bare is a value of n samples without an interval.
func Bare(v float64, n int, why string) Figure {
	return Figure{Value: Number(v), Lo: None(), Hi: None(), N: n, Why: why}
}

// HasInterval says whether f carries one.
func (f Figure) HasInterval() bool { return f.Lo.Valid() && f.Hi.Valid() }
