package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/recorder"
)

var carried = regexp.MustCompile(`href="data:[^"]*"`)

// withoutFiles is a page without the files it carries, whose letters are arbitrary.
func withoutFiles(page string) string { return carried.ReplaceAllString(page, "") }

// richResults have everything that a page can show: losses, regions, floors, faults, expectations
// and a baseline.
func richResults(t testing.TB) *Results {
	t.Helper()
	r, runs := syntheticResults(t, 8, 9, "a note")
	for i := range runs[0].Record.Nodes {
		runs[0].Record.Nodes[i].Region = []string{"north", "south"}[i%2]
	}
	for _, m := range runs[0].Record.Blocks {
		for i := range m.Deliveries {
			m.Deliveries[i].Floor, m.Deliveries[i].Direct = 2+float64(m.Deliveries[i].Node)/4, 2
		}
	}
	spec := r.Experiment
	spec.Engine, spec.Net.Latency, spec.Net.Rate, spec.Net.Relay = "virtual", "world", "50mbit", "coded"
	spec.Expect = map[string]experiment.Expectation{"block.p50_ms": "< 800", "block.coverage": ">= 1"}
	rich := New(spec, r.Environment, runs, r.Notes)
	rich.Expected = Judge(spec.Expect, rich.Summary)
	withFaults(rich)
	base, _ := syntheticResults(t, 8, 0)
	rich.Digest, base.Digest = "01234567", "89abcdef" // the golden files shall not change with every new key of an experiment
	if err := rich.LayOver(base); err != nil {
		t.Fatal(err)
	}
	return rich
}

// The golden file holds what the page says, but for its drawings.
func TestPageModel(t *testing.T) {
	p, err := pageOf(richResults(t))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	show := func(tables []table) {
		for _, tb := range tables {
			say("  [%s]", tb.Summary)
			var head []string
			for _, h := range tb.Head {
				head = append(head, h.Name)
			}
			say("  %s", strings.Join(head, " | "))
			for i, row := range tb.Rows {
				if i == 12 {
					say("  and %d more", len(tb.Rows)-i)
					break
				}
				var texts []string
				for _, c := range row {
					texts = append(texts, c.Text+map[bool]string{true: "!"}[c.Bad])
				}
				if len(texts) != len(head) {
					t.Errorf("%s: row %d has %d cells under %d headings", tb.Summary, i, len(texts), len(head))
				}
				say("  %s", strings.Join(texts, " | "))
			}
		}
	}
	say("%s\n%s\n%s\n%v\n%v\n%v", p.Title, p.Heading, p.Plan, p.Chips, p.Verdicts, p.Notes)
	for _, c := range p.Cards {
		say("card %s: %s (%s)", c.Label, c.Value, c.Interval)
	}
	show([]table{p.Figures})
	for _, s := range p.Sections {
		say("\n# %s (%s)\n%s", s.Title, s.ID, s.Lead)
		for _, e := range s.Exhibits {
			say("\n## %s\n%s %v, drawn: %v", e.Title, e.Lead, e.Key, e.Chart != "")
			show(e.Tables)
		}
	}
	for _, f := range p.Repeat.Facts {
		say("%s: %s", f.Name, f.Value)
	}
	golden(t, "page.txt", []byte(b.String()))
}

// A section's chart always has a table below it.
func TestEveryChartHasItsTable(t *testing.T) {
	p, err := pageOf(richResults(t))
	if err != nil {
		t.Fatal(err)
	}
	charts := 0
	for _, s := range p.Sections {
		for _, e := range s.Exhibits {
			if e.Chart != "" {
				charts++
			}
			if len(e.Tables) == 0 || len(e.Tables[0].Rows) == 0 {
				t.Errorf("%s: %q has no table", s.Title, e.Title)
			}
		}
	}
	if charts < 11 {
		t.Errorf("%d charts, want at least 11", charts)
	}
}

// figures is results.json as anybody else reads it.
type figures struct {
	t    *testing.T
	tree any
}

// at is the number at a dotted path; list elements are numbers, keys may hold spaces.
func (f figures) at(format string, args ...any) float64 {
	f.t.Helper()
	v, path := f.tree, fmt.Sprintf(format, args...)
	for _, step := range strings.Split(path, ".") {
		switch node := v.(type) {
		case map[string]any:
			v = node[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(node) {
				f.t.Fatalf("%s: no element %s", path, step)
			}
			v = node[i]
		}
	}
	switch v := v.(type) {
	case float64:
		return v
	case string:
		if v == "inf" {
			return math.Inf(1)
		}
	case nil:
		return math.NaN()
	}
	f.t.Fatalf("%s is %v, no number", path, v)
	return 0
}

// Charts draw what results.json holds, and compute nothing a second time.
func TestChartsHoldTheResults(t *testing.T) {
	r := richResults(t)
	text, err := r.JSON()
	if err != nil {
		t.Fatal(err)
	}
	f := figures{t: t}
	if err := json.Unmarshal(text, &f.tree); err != nil {
		t.Fatal(err)
	}
	compared := 0
	same := func(what string, drawn, held float64) {
		t.Helper()
		compared++
		if drawn != held && !(math.IsNaN(drawn) && math.IsNaN(held)) && !(math.Abs(drawn-held) <= 1e-6) {
			t.Errorf("%s: drawn %v, results.json has %v", what, drawn, held)
		}
	}
	for _, kind := range []string{"block", "tx"} {
		lines := coverageLines(r, kind)
		if len(lines) != 2 {
			t.Fatalf("%s: %d curves, want this run's and the baseline's", kind, len(lines))
		}
		for i, path := range []string{kind, "overlays.0." + kind} {
			for k, p := range lines[i].points {
				same(path, p.MS, f.at("%s.curve.%d.ms", path, k))
				same(path, p.Share, f.at("%s.curve.%d.share", path, k))
			}
			same(path, float64(lines[i].lost), f.at("%s.not_delivered", path))
		}
		for k, s := range lines[0].band {
			same(kind+" band", float64(s.P5), f.at("%s.band.%d.p5_ms", kind, k))
			same(kind+" band", float64(s.P95), f.at("%s.band.%d.p95_ms", kind, k))
		}
	}
	for i, p := range regionPanels(r.Block.Regions) {
		for k := range p.points {
			same("region", p.points[k].MS, f.at("block.regions.%d.curve.%d.ms", i, k))
		}
	}
	drawn := 0
	for i, s := range r.Block.Split {
		if s.N == 0 {
			continue
		}
		for k, name := range stageNames() {
			same("split", splitBars(r.Block.Split)[drawn].parts[k].value, f.at("block.split.%d.stages_ms.%s", i, name))
		}
		drawn++
	}
	for i, b := range pathBars(r.Runs[0].Slowest) {
		same("path", b.start, f.at("runs.0.slowest_path.%d.start_ms", i))
		for k, name := range stageNames() {
			same("path", b.parts[k].value, f.at("runs.0.slowest_path.%d.stages_ms.%s", i, name))
		}
	}
	for i, p := range r.Stretch.Points {
		same("floor", p.Floor, f.at("stretch.points.%d.floor_ms", i))
		same("floor", p.MS, f.at("stretch.points.%d.ms", i))
	}
	sameBytes(r, f, same)
	for i, c := range copyColumns(r) {
		same("copies", c.parts[0].value+c.parts[1].value, f.at("runs.0.messages.%d.copies", i))
	}
	for i, s := range lifeSpans(r.Lifecycle) {
		same("life", s.lo, f.at("tx_lifecycle.%d.p5_ms", i))
		same("life", s.mid, f.at("tx_lifecycle.%d.p50_ms", i))
		same("life", s.hi, f.at("tx_lifecycle.%d.p95_ms", i))
	}
	if compared < 1500 {
		t.Errorf("%d figures compared, want those of every chart", compared)
	}
}

// sameBytes compares the charts of bytes, which hold totals and are drawn as rates by their scale.
func sameBytes(r *Results, f figures, same func(string, float64, float64)) {
	for i, c := range nodeColumns(nodeRows(r)) {
		same("node", c.mark, f.at("runs.0.nodes.%d.bytes_out", i))
		for k := range recorder.NumKinds {
			same("node", c.parts[k].value, f.at("runs.0.nodes.%d.bytes_in_by_kind.%s", i, k))
		}
	}
	for i, c := range timeColumns(r.Runs[0], 1) {
		for k := range recorder.NumKinds {
			same("slot", c.parts[k].value, f.at("runs.0.timeline.%d.bytes_in_by_kind.%s", i, k))
		}
	}
	for i, c := range proposerColumns(r.Runs[0]) {
		same("proposer", c.mark, f.at("runs.0.timeline.%d.origin_bytes_out", i))
		same("proposer", c.parts[0].value, f.at("runs.0.timeline.%d.relay_bytes_out", i))
	}
}

func stageNames() (names []string) {
	for s := range recorder.NumStages {
		names = append(names, s.String())
	}
	return names
}

var drawnRect = regexp.MustCompile(`<rect class="fill (\w+)" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"`)

// Bars are as long as their values say.
func TestBarsAreDrawnToScale(t *testing.T) {
	bars := []bar{{label: "a", parts: []part{{class: "s1", value: 30}, {class: "s2", value: 60}}}, {label: "b", start: 30, parts: []part{{class: "s3", value: 120}}}}
	c := &canvas{width: wideWidth}
	drawBars(c, "ms", bars)
	x, width := map[string]float64{}, map[string]float64{}
	for _, m := range drawnRect.FindAllStringSubmatch(c.b.String(), -1) {
		x[m[1]], _ = strconv.ParseFloat(m[2], 64)
		width[m[1]], _ = strconv.ParseFloat(m[3], 64)
	}
	unit := (width["s1"] + 1) / 30 // a hairline is cut off each
	if unit < 3 || math.Abs(width["s2"]+1-60*unit) > 0.2 || math.Abs(width["s3"]+1-120*unit) > 0.2 || math.Abs(x["s3"]-x["s2"]) > 0.11 {
		t.Errorf("widths %v at %v: want 30, 60 and 120 times one unit, the last beginning with the second", width, x)
	}
}

// However much was measured, the page stays small, and says what it left out.
func TestPageOfMuchStaysSmall(t *testing.T) {
	r := richResults(t)
	one := r.Runs[0]
	for len(one.Messages) < 1000 {
		one.Messages = append(one.Messages, r.Runs[0].Messages...)
	}
	for i := range 1000 - len(one.Nodes) {
		n := one.Nodes[i%8]
		n.Name = fmt.Sprintf("node-%d", i+8)
		one.Nodes = append(one.Nodes, n)
	}
	for len(one.Timeline) < 1000 {
		one.Timeline = append(one.Timeline, r.Runs[0].Timeline...)
	}
	for k := range one.Timeline {
		one.Timeline[k].AtMS = float64(k) * 1000
	}
	r.Runs = nil
	for seed := range 5 {
		one.Seed = int64(seed)
		r.Runs = append(r.Runs, one)
	}
	for _, s := range []*Shape{&r.Block, &r.Tx} {
		for k := range maxPoints {
			s.Curve = append(s.Curve, Point{MS: 20 + float64(k)*1.2345, Share: min(1, .5+float64(k)/1000)})
		}
		s.Curve = s.Curve[len(s.Curve)-maxPoints:]
		for len(s.Regions) < maxRegions {
			s.Regions = append(s.Regions, Region{Name: fmt.Sprint("region", len(s.Regions)), Deliveries: 1000, Lost: 1, Curve: fewer(s.Curve, maxSmall)})
		}
	}
	for len(r.Stretch.Points) < maxScatter {
		r.Stretch.Points = append(r.Stretch.Points, r.Stretch.Points...)
	}
	r.Stretch.Points = r.Stretch.Points[:maxScatter]
	var b bytes.Buffer
	if err := Page(&b, r); err != nil {
		t.Fatal(err)
	}
	if b.Len() > 500_000 {
		t.Errorf("%d bytes, want under 500 KB", b.Len())
	}
	for _, wanted := range []string{"the 100 slowest of 5000 counted blocks", "The 64 slowest of 5000 nodes"} {
		if !strings.Contains(b.String(), wanted) {
			t.Errorf("the page lacks %q", wanted)
		}
	}
}
