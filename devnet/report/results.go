package report

import (
	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/stats"
)

// Schema names the form of results.json; a change that breaks a reader raises the number.
const Schema = "pheme.results/1"

// Results is everything a measurement found, as results.json holds it.
type Results struct {
	Schema     string                  `json:"schema"`
	Experiment experiment.Spec         `json:"experiment"`
	Summary    map[string]stats.Figure `json:"summary"`
}
