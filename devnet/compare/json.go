package compare

import (
	"encoding/json"

	"github.com/pheme-net/pheme/devnet/report"
	"github.com/pheme-net/pheme/devnet/stats"
)

type jsonComparison struct {
	A           jsonSide            `json:"a"`
	B           jsonSide            `json:"b"`
	Differences []report.Difference `json:"differences"` // of the experiments; here is A's value, theirs B's
	Seeds       int                 `json:"seeds"`
	Blocks      int                 `json:"blocks"` // pairs
	Txs         int                 `json:"txs"`
	LeftOut     int                 `json:"left_out"` // messages without a partner
	Figures     []jsonLine          `json:"figures"`
	Verdict     Verdict             `json:"verdict"`
	Why         string              `json:"why"`
	Notes       []string            `json:"notes"`
}

type jsonSide struct {
	Folder   string `json:"folder"`
	Digest   string `json:"digest"`
	Engine   string `json:"engine"`
	Version  string `json:"version"`
	Revision string `json:"revision"`
}

type jsonLine struct {
	Metric     string       `json:"metric"`
	A          stats.Number `json:"a"`
	B          stats.Number `json:"b"`
	Difference stats.Number `json:"difference"`
	Lo         stats.Number `json:"lo"`
	Hi         stats.Number `json:"hi"`
	CouldShow  stats.Number `json:"could_show"`
	Verdict    Verdict      `json:"verdict"`
}

// MarshalJSON writes what the table shows, for scripts: figures in the units of results.json, null for an
// interval that there is not.
func (c *Comparison) MarshalJSON() ([]byte, error) {
	side := func(r *report.Results) jsonSide {
		return jsonSide{r.Folder, r.Digest, r.Experiment.Engine, r.Environment.Version, r.Environment.Revision}
	}
	out := jsonComparison{
		A: side(c.A), B: side(c.B), Differences: c.Differ, Seeds: c.Seeds, Blocks: c.Blocks, Txs: c.Txs, LeftOut: c.Lonely,
		Verdict: c.Verdict, Why: c.Why, Notes: c.notes(),
	}
	for _, l := range c.Lines {
		out.Figures = append(out.Figures, jsonLine{
			l.Metric, stats.Number(l.A), stats.Number(l.B), stats.Number(l.Diff), stats.Number(l.Lo), stats.Number(l.Hi), stats.Number(l.Shows), l.Verdict,
		})
	}
	return json.Marshal(out)
}
