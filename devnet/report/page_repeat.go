package report

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"html/template"
	"strconv"
)

// maxPage bounds report.html in bytes, files carried along included.
const maxPage = 480_000

// attachment is a file that the page carries along, saved by a click.
type attachment struct {
	Name string
	Href template.HTMLAttr // the whole attribute: in it, base64 is not escaped again
}

// attachments are a run's files in the order in which they are worth their place: the blocks as
// CSV, and the whole results.
func attachments(r *Results) (out []attachment) {
	if text, err := blocksCSV(r); err == nil {
		out = append(out, attach("blocks.csv", "text/csv", text))
	}
	return append(out, packed(ResultsFile, r)...)
}

func attach(name, kind string, content []byte) attachment {
	return attachment{name, template.HTMLAttr(`href="data:` + kind + ";base64," + base64.StdEncoding.EncodeToString(content) + `"`)}
}

// packed is a value's JSON as an attachment, compressed.
func packed(name string, v any) []attachment {
	text, err := json.Marshal(v)
	if err != nil {
		return nil // it was written to its own file before, or nothing was
	}
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // only an unknown level fails
	if _, err := w.Write(text); err != nil || w.Close() != nil {
		return nil
	}
	return []attachment{attach(name+".gz", "application/gzip", b.Bytes())}
}

// blocksCSV is one row for every counted block.
func blocksCSV(r *Results) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	rows := [][]string{{"seed", "number", "id", "origin", "size_bytes", "born_ms", "c50_ms", "c90_ms", "c95_ms", "c99_ms", "c100_ms", "n", "not_delivered", "copies", "hops_max"}}
	for _, run := range r.Runs {
		for _, m := range run.Messages {
			row := []string{strconv.FormatInt(run.Seed, 10), strconv.FormatInt(m.Number, 10), m.ID, m.Origin, strconv.FormatInt(m.Size, 10), millis(m.BornMS)}
			for _, c := range []float64{float64(m.C50), float64(m.C90), float64(m.C95), float64(m.C99), float64(m.C100)} {
				row = append(row, millis(c))
			}
			rows = append(rows, append(row, strconv.Itoa(m.N), strconv.Itoa(m.Lost), millis(m.Copies), strconv.Itoa(m.HopsMax)))
		}
	}
	if err := w.WriteAll(rows); err != nil {
		return nil, fmt.Errorf("write blocks: %w", err)
	}
	return b.Bytes(), nil
}

// repeatOf lists where and with what a run was made.
func repeatOf(r *Results, resolved string) repeat {
	e := r.Environment
	out := repeat{Command: e.Command, Resolved: resolved, Beside: []string{ResultsFile, DeliveriesFile, ExperimentFile}, Facts: []fact{{"experiment digest", r.Digest}}}
	for _, run := range r.Runs {
		out.Facts = append(out.Facts, fact{fmt.Sprintf("fingerprint, seed %d", run.Seed), run.Fingerprint})
	}
	out.Facts = append(out.Facts, environmentFacts(e)...)
	for _, run := range r.Runs {
		if run.Host.Busy.Valid() && !r.Experiment.Virtual() {
			out.Facts = append(out.Facts, fact{fmt.Sprintf("host, seed %d", run.Seed),
				fmt.Sprintf("%s of all cores in use; nodes waited for a core %s of the time they wanted one", share.figure(float64(run.Host.Busy)), share.figure(float64(run.Host.Wait)))})
		}
	}
	for _, m := range e.Modules {
		out.Facts = append(out.Facts, fact{m.Path, m.Version})
	}
	return out
}

func environmentFacts(e Environment) []fact {
	load := e.Load
	if load == "" {
		load = "unknown"
	}
	return []fact{
		{"pheme", e.Version + ", revision " + e.Revision}, {"toolchain", e.Go + ", " + e.Platform}, {"kernel", e.Kernel},
		{"machine", fmt.Sprintf("%s, %d cores, %s", e.CPU, e.Cores, binary(float64(e.Memory)))}, {"clock", e.Clock}, {"load before", load},
	}
}
