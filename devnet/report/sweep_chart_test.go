package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"math"
	"strings"
	"testing"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/stats"
)

// variants is a sweep of three variants over two sizes and two losses: one cell was not delivered to
// enough nodes, one failed, one has not been run.
func variants(t testing.TB) *Sweep {
	t.Helper()
	r, _ := syntheticResults(t, 8, 0)
	s := &Sweep{Schema: SweepSchema, Name: "sides", Digest: "01234567", Environment: r.Environment, Keys: []string{"chain.block_size", "net.loss", "variant"}, Whole: 12}
	s.Variants = []Variant{{"coded", "net.relay = coded"}, {"gossip", "net.relay = gossip"}, {"tuned", "gossip.d = 4 | 5"}}
	for _, size := range []string{"128KiB", "1MiB"} {
		for _, loss := range []string{"0", "0.01"} {
			for i, v := range []string{"tuned", "gossip", "coded"} {
				at := float64(len(size)*1000/(i+1)) + 500*float64(len(loss))
				c := Cell{Values: []string{size, loss, v}, Experiment: r.Experiment, Links: "uniform:50ms, 50mbit", Runs: 1, Summary: map[string]stats.Figure{
					"block.p95_ms":       {Value: stats.Number(at), Lo: stats.Number(at - 100), Hi: stats.Number(at + 100), N: 114},
					"block.floor_p95_ms": {Value: 120, Lo: 120, Hi: 120, N: 114}, "block.stretch_p95": {Value: stats.Number(at / 120), N: 114}, "block.copies": {Value: 4.25, N: 114},
				}}
				if v == "tuned" {
					c.Summary["block.copies_with_tx"] = stats.Figure{Value: 5.5, N: 114}
				}
				switch f := c.Summary["block.p95_ms"]; {
				case size == "1MiB" && loss == "0.01" && v == "tuned":
					continue
				case size == "1MiB" && loss == "0.01" && v == "gossip":
					f.Value, f.Lo, f.Hi = stats.Number(math.Inf(1)), stats.None(), stats.None()
					c.Summary["block.p95_ms"] = f
				case size == "1MiB" && v == "tuned":
					c.Summary, c.Runs, c.Error = nil, 0, "the moon | fell down"
				case size == "128KiB" && v == "coded":
					c.Summary["block.p95_ms"] = stats.Figure{Value: f.Value, Lo: stats.None(), Hi: stats.None(), N: 20, Why: stats.FewAbove}
				}
				s.Cells = append(s.Cells, c)
			}
		}
	}
	return s
}

func TestSweepMarkdown(t *testing.T) {
	var b bytes.Buffer
	sweepMarkdown(&b, variants(t))
	golden(t, "sweep-table.md", bytes.Clone(b.Bytes()))
	b.Reset()
	sweepMarkdown(&b, syntheticSweep(t)) // without variants: the key with most values stands above
	if text := b.String(); !strings.Contains(text, "\n| d | 50 | 100 | 200 | 500 | 1000 |\n") || !strings.Contains(text, "| failed |") {
		t.Errorf("a table over a number:\n%s", text)
	}
}

// TestSweepChart: it is well-formed, needs nothing from outside, is drawn for light and dark, and has a
// mark for each cell with a figure and a whisker for each interval.
func TestSweepChart(t *testing.T) {
	s := variants(t)
	text := SweepChart(s)
	in := xml.NewDecoder(bytes.NewReader(text))
	marks, whiskers, lost, heads := 0, 0, 0, []string{}
	for class := ""; ; {
		token, err := in.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			class = ""
			for _, a := range token.Attr {
				if a.Name.Local == "class" {
					class = a.Value
				}
			}
			switch {
			case class == "whisker":
				whiskers++
			case class == "lost":
				lost++
			case strings.HasPrefix(class, "k"):
				marks++
			}
		case xml.CharData:
			if class == "head mid" && len(strings.TrimSpace(string(token))) > 0 {
				heads = append(heads, string(token))
			}
		}
	}
	if want := 9 + 3; marks != want || whiskers != 7 || lost != 1 || strings.Join(heads, " ") != "128KiB 1MiB" { // three of the legend
		t.Errorf("%d marks, %d whiskers, %d lost, panels %q, want %d, 7, 1, 128KiB and 1MiB", marks, whiskers, lost, heads, want)
	}
	for _, banned := range []string{"href", "url(", "<script", "NaN", "Inf", "%!"} {
		if bytes.Contains(text, []byte(banned)) {
			t.Errorf("the chart contains %q", banned)
		}
	}
	if !bytes.Contains(text, []byte("prefers-color-scheme: dark")) || !bytes.Contains(text, []byte("--blue: #")) {
		t.Error("the chart has no dark scheme")
	}
	if empty := SweepChart(&Sweep{Name: "none"}); xml.Unmarshal(empty, new(struct{})) != nil {
		t.Errorf("a sweep without cells is drawn as %s", empty)
	}
}

// TestCompare: a ratio is over the pairs that have been run; one that lacks a figure is unknown and
// misses, one that has no pair yet is not judged. Without a second cell it is a figure in its own unit.
func TestCompare(t *testing.T) {
	s := variants(t)
	places := make([]int, 12)
	for i := range places {
		places[i] = i
	}
	places[9], places[10], places[11] = -1, 9, 10 // tuned at 1MiB and 1 % loss
	e := &experiment.Sweep{Ratios: []experiment.Ratio{
		{Name: "faster", Figure: "block.p95_ms", Pairs: [][2]int{{1, 2}, {7, 8}}},
		{Name: "lossy", Figure: "block.p95_ms", Pairs: [][2]int{{10, 11}}},
		{Name: "failed", Figure: "block.p95_ms", Pairs: [][2]int{{6, 8}, {1, 2}}},
		{Name: "later", Figure: "block.p95_ms", Pairs: [][2]int{{9, 11}}},
		{Name: "copies", Figure: "block.copies", Pairs: [][2]int{{0, -1}, {1, -1}, {9, -1}}},
		{Name: "one", Figure: "block.p95_ms", Pairs: [][2]int{{1, -1}}},
		{Name: "times", Figure: "block.p95_ms", Pairs: [][2]int{{1, -1}, {3, -1}}},
		{Name: "lost", Figure: "block.p95_ms", Pairs: [][2]int{{1, -1}, {10, -1}}},
		{Name: "unknown", Figure: "block.copies", Pairs: [][2]int{{0, -1}, {6, -1}}},
		{Name: "future", Figure: "block.copies", Pairs: [][2]int{{9, -1}}},
	}}
	want := map[string]experiment.Expectation{"ratio.faster.min": ">= 1", "ratio.faster.max": "<= 1.4", "ratio.lossy.min": ">= 3", "ratio.failed.min": ">= 0", "ratio.later.min": ">= 1"}
	maps.Copy(want, map[string]experiment.Expectation{"ratio.copies.max": "<= 4", "ratio.unknown.max": "<= 5", "ratio.future.max": "<= 1", "ratio.one.min": "> 3000"})
	figures := Compare(s, e, places, want)
	var lines []string
	for _, e := range Judge(want, figures) {
		lines = append(lines, e.String())
	}
	for _, r := range s.Ratios {
		lines = append(lines, r.text())
	}
	golden(t, "ratios.txt", []byte(strings.Join(lines, "\n")+"\n"))
}
