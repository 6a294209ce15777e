package report

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/pheme-net/pheme/devnet/stats"
)

// LayOver puts another run's curves and headline figures beside r's, as a baseline or to hold
// virtual time against real processes. The runs may differ in anything; what differs is listed.
func (r *Results) LayOver(other *Results) error {
	differences, err := Differences(r, other)
	if err != nil {
		return err
	}
	o := Overlay{
		Name: overlayName(differences, other), Digest: other.Digest, Command: other.Environment.Command, Revision: other.Environment.Revision,
		Differences: differences, Summary: map[string]stats.Figure{},
		Block: overlayCurve(r, other, "block", r.Block, other.Block), Tx: overlayCurve(r, other, "tx", r.Tx, other.Tx),
	}
	for _, h := range headline {
		if f, ok := other.Summary[h.metric]; ok {
			o.Summary[h.metric] = f
		}
	}
	r.Overlays = append(r.Overlays, o)
	return nil
}

func overlayCurve(r, other *Results, kind string, here, there Shape) OverlayCurve {
	ratio := func(metric string) stats.Number {
		a, b := r.Summary[kind+metric].Value, other.Summary[kind+metric].Value
		if math.IsInf(float64(a), 1) || math.IsInf(float64(b), 1) {
			return stats.None() // a percentile that was not delivered has no ratio
		}
		return a / b
	}
	return OverlayCurve{
		Deliveries: there.Deliveries, Lost: there.Lost, Curve: there.Curve,
		KS: stats.Number(distance(here.Curve, there.Curve)), P50: ratio(".p50_ms"), P99: ratio(".p99_ms"),
	}
}

// distance is the Kolmogorov-Smirnov distance of two curves: the largest difference of their
// shares at any time. It is exact to one step of the curves.
func distance(a, b []Point) (most float64) {
	if len(a) == 0 || len(b) == 0 {
		return math.NaN()
	}
	for _, at := range slices.Concat(a, b) {
		most = max(most, math.Abs(shareAt(a, at.MS)-shareAt(b, at.MS)))
	}
	return round(most)
}

// shareAt is what a curve has reached at a time.
func shareAt(curve []Point, ms float64) float64 {
	i, found := slices.BinarySearchFunc(curve, ms, func(p Point, ms float64) int {
		if p.MS <= ms {
			return -1 // all points up to ms have happened: find the first later one
		}
		return 1
	})
	if i == 0 && !found {
		return 0
	}
	return curve[i-1].Share
}

// overlayName says in the fewest words what the other run is: the values of the keys that tell
// engines and relays apart if they differ, else its name.
func overlayName(differences []Difference, other *Results) string {
	var words []string
	for _, d := range differences {
		switch d.Key {
		case "engine":
			words = append(words, d.Theirs+" engine")
		case "net.relay":
			words = append(words, d.Theirs)
		}
	}
	if len(words) == 0 {
		return other.Experiment.Name + " " + other.Digest
	}
	return strings.Join(words, ", ")
}

// Differences lists the keys of the resolved experiments that differ, but for their names.
func Differences(r, other *Results) ([]Difference, error) {
	here, err := flatten(r.Experiment)
	if err != nil {
		return nil, err
	}
	theirs, err := flatten(other.Experiment)
	if err != nil {
		return nil, err
	}
	out := []Difference{}
	for _, key := range slices.Sorted(keysOf(here, theirs)) {
		if here[key] != theirs[key] && key != "name" {
			out = append(out, Difference{Key: key, Here: here[key], Theirs: theirs[key]})
		}
	}
	return out, nil
}

// keysOf yields each key of the two once.
func keysOf(a, b map[string]string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range a {
			if !yield(k) {
				return
			}
		}
		for k := range b {
			if _, both := a[k]; !both && !yield(k) {
				return
			}
		}
	}
}

// flatten writes a value's JSON tree as dotted keys with their values.
func flatten(v any) (map[string]string, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("compare experiments: %w", err)
	}
	var tree map[string]any
	if err := json.Unmarshal(text, &tree); err != nil {
		return nil, fmt.Errorf("compare experiments: %w", err)
	}
	out := map[string]string{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		if m, ok := v.(map[string]any); ok {
			for k, child := range m {
				walk(strings.TrimPrefix(path+"."+k, "."), child)
			}
			return
		}
		out[path] = strings.Trim(fmt.Sprint(v), "[]")
	}
	walk("", tree)
	return out, nil
}
