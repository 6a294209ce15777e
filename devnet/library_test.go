package devnet

import (
	"strings"
	"testing"

	"github.com/pheme-net/pheme/devnet/experiment"
)

// Every experiment that comes with the program can be run by it, under its own name.
func TestShippedExperimentsAreValid(t *testing.T) {
	all := AllShipped()
	if len(all) < 3 {
		t.Fatalf("shipped: %+v", all)
	}
	for _, s := range all {
		text, ok := Shipped(s.Name)
		if !ok || s.About == "" || len(s.About) > 120 || !strings.HasPrefix(string(text), "# ") {
			t.Errorf("%s: about %q", s.Name, s.About)
		}
		specs := make([]experiment.Spec, 1)
		var name string
		if s.Sweep {
			sweep, err := experiment.DecodeSweep(s.Name, text, nil)
			if err == nil {
				err = checkFigures(sweep)
			}
			if err != nil {
				t.Error(err)
				continue
			}
			specs, name = nil, sweep.Name
			for _, c := range sweep.Cells {
				specs = append(specs, c.Spec)
			}
		} else {
			var err error
			if specs[0], err = experiment.Decode(s.Name, text); err != nil {
				t.Error(err)
				continue
			}
			specs[0].Resolve()
			name = specs[0].Name
		}
		for _, spec := range specs {
			if err := validate(spec); err != nil {
				t.Errorf("%s: %v", s.Name, err)
			}
		}
		if name != s.Name {
			t.Errorf("%s.toml calls itself %q", s.Name, name)
		}
	}
	if _, ok := Shipped("../library"); ok {
		t.Error("a path was taken for a name")
	}
}
