package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/pheme-net/pheme/devnet/stats"
)

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

// Bounds of the page's tables, which keep it small; results.json has everything.
const (
	maxBlockRows = 100 // the slowest to their last node
	maxNodeRows  = 64  // those with the highest p95
)

// page is what the template is given: figures as text, charts as drawings.
type page struct {
	Style    template.CSS
	Title    string
	Mark     string
	Heading  string
	Plan     string
	Chips    []chip
	Verdicts []verdict
	Cards    []card
	Notes    []string
	Figures  table
	Sections []section
	Repeat   repeat
	Footer   string
}

// chip is a word on the run as a whole.
type chip struct {
	Text string
	Warn bool
}

// verdict is one sentence on whether the figures may be read, or are what was expected.
type verdict struct {
	Good bool
	Text string
}

// card is one figure of the verdict strip.
type card struct{ Label, Value, Interval, About string }

// section is a part of the page with a heading.
type section struct {
	ID, Title, Lead string
	Exhibits        []exhibit
}

// exhibit is a chart, or words in its place, with the tables that hold its figures.
type exhibit struct {
	Title  string
	Lead   string
	Key    []legendItem
	Chart  template.HTML
	Tables []table
}

// table is figures as text. Where Summary is empty it stands open.
type table struct {
	Summary string
	Head    []heading
	Rows    [][]cell
}

// Class is how cell c of column i is set.
func (t table) Class(i int, c cell) string {
	class := ""
	if !t.Head[i].Text {
		class = "r"
	}
	if c.Bad {
		class += " bad"
	}
	return strings.TrimSpace(class)
}

type heading struct {
	Name string
	Text bool // a column of words, to the left
}

type cell struct {
	Text string
	Bad  bool
}

// repeat is what somebody needs to make the figures again.
type repeat struct {
	Command  string
	Facts    []fact
	Resolved string
	Which    string // where Resolved is one experiment of several
	Files    []attachment
	Beside   []string // files in the page's folder
}

type fact struct{ Name, Value string }

// words are headings of words, then behind the last "||" of figures: "node|region||p50|p95".
func words(names string) (head []heading) {
	text, figures := names, ""
	if i := strings.LastIndex(names, "||"); i >= 0 {
		text, figures = names[:i], names[i+2:]
	}
	for _, n := range strings.Split(text, "|") {
		head = append(head, heading{n, true})
	}
	for _, n := range strings.Split(figures, "|") {
		if figures != "" {
			head = append(head, heading{n, false})
		}
	}
	return head
}

// cells makes a row of texts.
func cells(texts ...string) (row []cell) {
	for _, t := range texts {
		row = append(row, cell{Text: t})
	}
	return row
}

// Page writes report.html: one file without scripts that needs no network.
func Page(w io.Writer, r *Results) error {
	p, err := pageOf(r)
	if err != nil {
		return err
	}
	return p.write(w, func() []attachment { return attachments(r) })
}

// pageOf is everything that a run's page says.
func pageOf(r *Results) (page, error) {
	resolved, err := r.Experiment.Encode()
	if err != nil {
		return page{}, err
	}
	return page{
		Title: r.Experiment.Name + " " + r.Digest + ": block propagation measured by pheme", Mark: "pheme · block propagation", Heading: r.Experiment.Name,
		Plan: plan(r), Chips: chips(r), Verdicts: verdicts(r), Cards: cards(r), Notes: r.Notes, Figures: figureTable(r), Sections: sections(r),
		Repeat: repeatOf(r, string(resolved)),
		Footer: fmt.Sprintf("Definitions: not delivered counts as infinity in every percentile; intervals are 95 %% by a bootstrap over messages, %d draws; "+
			"the figures behind this page are in results.json and deliveries.csv beside it.", r.Experiment.Report.Draws),
	}, nil
}

// write fills in the template, and carries as many of the files along as keep the page small.
func (p page) write(w io.Writer, files func() []attachment) error {
	t, err := template.New("page").Parse(pageText)
	if err != nil {
		return fmt.Errorf("parse page: %w", err)
	}
	p.Style = template.CSS(pageStyle)
	var b strings.Builder
	if err := t.Execute(&b, p); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	size := b.Len()
	for _, f := range files() {
		if size+len(f.Href) < maxPage {
			size += len(f.Href)
			p.Repeat.Files = append(p.Repeat.Files, f)
		}
	}
	return t.Execute(w, p)
}

// sections are the page's, in order; those without anything to show are left out.
func sections(r *Results) (out []section) {
	for _, s := range []section{
		coverageSection(r), overlaySection(r), stageSection(r), floorSection(r), bandwidthSection(r), courseSection(r), lifeSection(r), nodeSection(r),
	} {
		if len(s.Exhibits) > 0 {
			out = append(out, s)
		}
	}
	return out
}

func chips(r *Results) []chip {
	out := []chip{{Text: r.Experiment.Engine + " engine"}, {Text: seedList(r.Runs)}, {Text: "links " + r.Links}}
	for _, run := range r.Runs {
		if run.Host.CPUBound {
			out = append(out, chip{"CPU-bound", true})
			break
		}
	}
	return append(out, chip{Text: r.Environment.Started.UTC().Format("2006-01-02 15:04:05 UTC")})
}

// verdicts say why the figures may be read.
func verdicts(r *Results) []verdict {
	kind, shape := "block", r.Block
	if shape.Deliveries == 0 {
		kind, shape = "tx", r.Tx
	}
	fit := verdict{true, fmt.Sprintf("Fit to report: coverage %s of %d deliveries, %s trace events lost, %s warm-up blocks left out.",
		percent.figure(float64(r.Summary[kind+".coverage"].Value)), shape.Deliveries,
		plain.figure(float64(r.Summary["run.events_lost"].Value)), plain.figure(float64(r.Summary["run.warmup_blocks"].Value)))}
	return append([]verdict{fit}, expectations(r.Expected)...)
}

// cards are the verdict strip: the first six of these figures that there are.
func cards(r *Results) (out []card) {
	for _, c := range []struct{ metric, label string }{
		{"block.p50_ms", "block p50"}, {"block.p95_ms", "block p95"}, {"block.c99_ms", "block to 99 % of nodes"},
		{"block.stretch_p95", "block p95 / physical floor"}, {"block.coverage", "block coverage"}, {"block.copies", "copies of a block"},
		{"tx.p50_ms", "transaction p50"}, {"tx.p95_ms", "transaction p95"}, {"tx.coverage", "transaction coverage"},
		{"tx.copies", "copies of a transaction"}, {"net.bytes_per_node_per_s", "a node receives"},
	} {
		h, f := headlineOf(c.metric), r.Summary[c.metric]
		if f.N > 0 && f.Value.Valid() && len(out) < 6 {
			out = append(out, card{Label: c.label, Value: h.unit.figure(float64(f.Value)), Interval: intervalText(h.unit, f), About: h.about})
		}
	}
	return out
}

// headlineOf is the line of a metric; one that the table has not stands under its own name, in the
// unit that its name tells.
func headlineOf(metric string) row {
	for _, h := range headline {
		if h.metric == metric {
			return h
		}
	}
	return row{metric: metric, label: metric, unit: unitOf(metric), about: metric}
}

func intervalText(u unit, f stats.Figure) string {
	switch text := u.interval(f); {
	case text != "":
		return text
	case f.Why == stats.FewAbove:
		return "too few samples above it"
	}
	return ""
}

func figureTable(r *Results) table {
	t := table{Summary: "All headline figures, with 95 % intervals", Head: words("figure|||value|95 % interval|n")}
	t.Head = append(t.Head, heading{"", true})
	for _, h := range r.headline() {
		f := r.Summary[h.metric]
		t.Rows = append(t.Rows, cells(h.group, h.label, h.unit.figure(float64(f.Value)), intervalText(h.unit, f), fmt.Sprint(f.N), h.about))
	}
	if f := r.Summary["block.stretch_p95"]; f.Why == NotShaped {
		t.Rows = append(t.Rows, cells("floor", "stretch p95", "-", "", "0", "distance to the physical floor: "+f.Why))
	}
	return t
}
