package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/stats"
)

// Expected is one expectation and what came of it.
type Expected struct {
	Figure string                 `json:"figure"`
	Want   experiment.Expectation `json:"want"`
	Value  stats.Number           `json:"value"`
	Met    bool                   `json:"met"`
}

// String is e as a line of a table: "missed  block.c99_ms < 800: 912".
func (e Expected) String() string {
	verdict := "met"
	if !e.Met {
		verdict = "missed"
	}
	return fmt.Sprintf("%-8s%s %s: %s", verdict, e.Figure, e.Want, plain.figure(float64(e.Value)))
}

// Judge holds figures against what was expected of them, in the order of their names. A figure that
// is not there or has no value is missed.
func Judge(want map[string]experiment.Expectation, figures map[string]stats.Figure) (out []Expected) {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		value := stats.None()
		if f, ok := figures[name]; ok {
			value = f.Value
		}
		out = append(out, Expected{Figure: name, Want: want[name], Value: value, Met: want[name].Met(float64(value))})
	}
	return out
}

// Missed are those of all that were not met.
func Missed(all []Expected) (out []Expected) {
	for _, e := range all {
		if !e.Met {
			out = append(out, e)
		}
	}
	return out
}

// UnknownFigure is the first name among names that no results of spec can hold, with the names that
// resemble it, or "" where all are known.
func UnknownFigure(spec experiment.Spec, names []string) string {
	known := slices.Sorted(maps.Keys(summarize(spec, nil)))
	for _, name := range names {
		if slices.Contains(known, name) {
			continue
		}
		kind, _, _ := strings.Cut(name, ".")
		var near []string
		for _, k := range known {
			if strings.HasPrefix(k, kind+".") {
				near = append(near, k)
			}
		}
		if near == nil {
			near = known
		}
		return fmt.Sprintf("%q is no figure: there are %s", name, strings.Join(near, ", "))
	}
	return ""
}
