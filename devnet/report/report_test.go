package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/stats"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// promised are the metrics that every results.json holds.
var promised = strings.Fields(`block.p50_ms block.p95_ms block.p99_ms block.c50_ms block.c90_ms block.c99_ms block.c100_ms
	block.coverage block.copies block.copies_with_tx block.duplicates block.hops_max block.floor_p95_ms block.stretch_p95 tx.p50_ms tx.p95_ms tx.p99_ms
	tx.coverage tx.copies net.bytes_per_node_per_s net.multiplier run.events_lost run.wall_s run.max_rss_bytes`)

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from %s: run go test -update and read the diff", name, path)
	}
}

// The schema is what a reader of results.json relies on: every key with the type of its value.
func TestResultsSchema(t *testing.T) {
	r, _ := syntheticResults(t, 8, 0, "a note")
	text, err := r.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	lines := map[string]bool{}
	schemaOf("", tree, lines)
	var sorted []string
	for l := range lines {
		sorted = append(sorted, l)
	}
	slices.Sort(sorted)
	golden(t, "schema.txt", []byte(strings.Join(sorted, "\n")+"\n"))
}

// schemaOf writes one line for every path of a JSON tree; the elements of a list share a path.
func schemaOf(path string, v any, out map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for k, child := range v {
			schemaOf(path+"."+k, child, out)
		}
	case []any:
		for _, child := range v {
			schemaOf(path+"[]", child, out)
		}
	case nil:
		out[path+" null"] = true
	case string:
		out[path+" string"] = true
	case float64:
		out[path+" number"] = true
	case bool:
		out[path+" bool"] = true
	}
}

func TestSummaryHoldsEveryPromisedMetric(t *testing.T) {
	r, _ := syntheticResults(t, 8, 0)
	text, _ := r.JSON()
	var back struct {
		Schema  string
		Summary map[string]map[string]any
	}
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if back.Schema != "pheme.results/1" {
		t.Errorf("schema %q", back.Schema)
	}
	for _, name := range promised {
		f, ok := back.Summary[name]
		if !ok {
			t.Errorf("%s is missing", name)
			continue
		}
		for _, key := range []string{"value", "lo", "hi", "n"} {
			if _, ok := f[key]; !ok {
				t.Errorf("%s has no %q", name, key)
			}
		}
	}
	for _, name := range []string{"block.floor_p95_ms", "block.stretch_p95"} {
		if f := back.Summary[name]; f["value"] != nil || f["why"] != "links not shaped" {
			t.Errorf("%s = %v, want null because links are not shaped", name, f)
		}
	}
}

// The figures of the summary must be those that anybody computes from deliveries.csv.
func TestSummaryAgreesWithTheDeliveries(t *testing.T) {
	for _, lossEvery := range []int{0, 9} {
		r, runs := syntheticResults(t, 8, lossEvery)
		var b bytes.Buffer
		if err := Deliveries(&b, runs); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(&b).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		var all []float64
		delivered, bytes := 0.0, 0.0
		for _, row := range rows[1:] {
			if row[1] != "block" {
				continue
			}
			v, err := strconv.ParseFloat(row[8], 64)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, v)
			if !math.IsInf(v, 1) {
				delivered++
			}
			first, _ := strconv.ParseFloat(row[13], 64)
			again, _ := strconv.ParseFloat(row[14], 64)
			bytes += first + again
		}
		slices.Sort(all)
		if len(all) != 140 {
			t.Fatalf("%d block deliveries, want 20 blocks to 7 nodes", len(all))
		}
		near := func(name string, want float64) {
			if got := float64(r.Summary[name].Value); math.Abs(got-want) > 1e-5 && got != want {
				t.Errorf("loss every %d: %s = %v, the deliveries give %v", lossEvery, name, got, want)
			}
		}
		near("block.p50_ms", all[69])
		near("block.p95_ms", all[132])
		near("block.p99_ms", all[138])
		near("block.coverage", delivered/140)
		near("block.copies", bytes/(131_000*140))
	}
}

// Where blocks are put together from pools, what filled the pools is added to the copies.
func TestCopiesWithTransactions(t *testing.T) {
	_, runs := syntheticResults(t, 8, 0)
	silent, _ := syntheticResults(t, 8, 0)
	for _, tt := range []struct {
		relay, mixed, pools, why string
	}{
		{"auto", "", "", ""}, {"compact", "", "", ""}, {"gossip", "compact", "", ""},
		{"gossip", "", "", notFromPools}, {"coded", "gossip", "", notFromPools}, {"auto", "", experiment.PoolsHalf, NotSent},
	} {
		spec := silent.Experiment
		spec.Net.Relay, spec.Load.Pools = tt.relay, tt.pools
		if tt.mixed != "" {
			spec.Net.Mixed = experiment.Mixed{Share: .5, Relay: tt.mixed}
		}
		out := summarize(spec, runs)
		f, sum := out["block.copies_with_tx"], out["block.copies"].Value+out["tx.copies"].Value
		if tt.why == "" && (f.Value != sum || f.N != out["block.copies"].N || f.HasInterval()) {
			t.Errorf("%+v: %+v, want %v without an interval", tt, f, sum)
		}
		if tt.why != "" && (f.Value.Valid() || f.Why != tt.why) {
			t.Errorf("%+v: %+v, want none", tt, f)
		}
		r := &Results{Experiment: spec, Summary: out}
		if shown := slices.ContainsFunc(r.headline(), func(h row) bool { return h.metric == "block.copies_with_tx" }); shown != (tt.why == "") {
			t.Errorf("%+v: in the table: %v", tt, shown)
		}
	}
}

// TestNothingIsInvented: of nodes that somebody else started it is said what is not known, and why.
func TestNothingIsInvented(t *testing.T) {
	unknown := Host{Busy: stats.None(), Wait: stats.None(), Waited: stats.None()}
	hosts := []string{"run.host_busy", "run.cpu_wait"}
	blocks := []string{"chain.interval_p50_ms", "chain.missed_slots", "chain.stale_blocks"}
	for _, tt := range []struct {
		engine  string
		strange bool
		host    Host
		missing []string
	}{
		{"process", true, Host{Busy: .4, Wait: .2}, nil},
		{"process", false, unknown, hosts},
		{"virtual", false, unknown, hosts},
		{"attach", false, unknown, append([]string{"net.peers_min", "net.peers_max"}, hosts...)},
		{"attach", true, unknown, slices.Concat([]string{"net.peers_min", "net.peers_max"}, hosts, blocks)},
	} {
		r, runs := syntheticResults(t, 8, 0)
		runs[0].Host, runs[0].Record.Strange = tt.host, tt.strange
		spec := r.Experiment
		spec.Engine = tt.engine
		r = New(spec, r.Environment, runs, nil)
		for _, name := range append([]string{"net.peers_min", "net.peers_max"}, append(hosts, blocks...)...) {
			if f, want := r.Summary[name], !slices.Contains(tt.missing, name); f.Value.Valid() != want || f.Why == "" && !want {
				t.Errorf("%s engine, strange blocks %v: %s = %+v, want a value: %v", tt.engine, tt.strange, name, f, want)
			}
		}
		if got, want := r.Runs[0].Missed.Valid(), tt.engine != "attach" || !tt.strange; got != want || r.Runs[0].Stale.Valid() != want {
			t.Errorf("%s engine: missed %v, stale %v", tt.engine, r.Runs[0].Missed, r.Runs[0].Stale)
		}
		var page bytes.Buffer
		if err := Page(&page, r); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(page.String(), "of all cores in use"); got != tt.host.Busy.Valid() {
			t.Errorf("%s engine: the page tells of the host: %v", tt.engine, got)
		}
		if got := strings.Contains(page.String(), "CPU and memory are of"); got != (tt.engine == "process") {
			t.Errorf("%s engine: the page tells of processes: %v", tt.engine, got)
		}
	}
}

func TestLossIsWrittenAsInf(t *testing.T) {
	r, runs := syntheticResults(t, 8, 9)
	text, _ := r.JSON()
	if !bytes.Contains(text, []byte(`"block.p99_ms": {
      "value": "inf"`)) {
		t.Error("an undelivered p99 is not \"inf\" in results.json")
	}
	if got := r.Summary["block.dnf"].Value; got < 10 {
		t.Errorf("%v blocks did not finish, want most of 20", got)
	}
	var b bytes.Buffer
	if err := Deliveries(&b, runs); err != nil || !strings.Contains(b.String(), ",inf,inf,0,,,") {
		t.Errorf("deliveries.csv drops what was not delivered: %v", err)
	}
	last := r.Block.Curve[len(r.Block.Curve)-1]
	if want := 1 - float64(r.Block.Lost)/140; r.Block.Lost == 0 || math.Abs(last.Share-want) > 1e-6 {
		t.Errorf("the curve ends at %v with %d lost, want %v", last.Share, r.Block.Lost, want)
	}
}

func TestIntervalsHoldTheirValue(t *testing.T) {
	r, _ := syntheticResults(t, 8, 0)
	with := 0
	for name, f := range r.Summary {
		if f.HasInterval() {
			with++
			if f.Lo > f.Value || f.Hi < f.Value {
				t.Errorf("%s = %+v: the value is outside its interval", name, f)
			}
		}
	}
	if with < 20 {
		t.Errorf("%d figures carry an interval, want the headline ones", with)
	}
	if f := r.Summary["block.p99_ms"]; f.HasInterval() || f.Why != stats.FewAbove {
		t.Errorf("block.p99_ms of 140 = %+v: one sample above cannot carry an interval", f)
	}
}

// A stretch is a ratio of two p95: it has an interval where they have one.
func TestStretchNeedsFiveAbove(t *testing.T) {
	r, runs := syntheticResults(t, 8, 0)
	spec := r.Experiment
	spec.Net.Latency = "uniform:50ms"
	for _, m := range runs[0].Record.Blocks {
		for i := range m.Deliveries {
			m.Deliveries[i].Floor, m.Deliveries[i].Direct = 2, 1
		}
	}
	for _, blocks := range []int{20, 14} { // 7 and 4 deliveries above p95
		runs[0].Record.Blocks = runs[0].Record.Blocks[:blocks]
		out := summarize(spec, runs)
		p95 := out["block.p95_ms"]
		for name, floor := range map[string]stats.Number{"block.stretch_p95": 2, "block.stretch_net_p95": 1} {
			if f := out[name]; f.Value != p95.Value/floor || f.HasInterval() != p95.HasInterval() || f.Why != p95.Why || f.HasInterval() != (blocks == 20) {
				t.Errorf("%d blocks: %s = %+v, p95 is %+v", blocks, name, f, p95)
			}
		}
	}
}

func TestSplitBarsAddUp(t *testing.T) {
	r, _ := syntheticResults(t, 8, 0)
	for _, bar := range r.Block.Split {
		sum := 0.0
		for _, v := range bar.Stages {
			sum += v
		}
		if math.Abs(sum-bar.Total) > 1e-4 || bar.N != 20 || bar.Total <= 0 {
			t.Errorf("%s: parts make %v, the total is %v over %d blocks", bar.Coverage, sum, bar.Total, bar.N)
		}
	}
	for _, run := range r.Runs {
		end := 0.0
		for _, h := range run.Slowest {
			if math.Abs(h.StartMS-end) > 1e-4 {
				t.Errorf("hop %s to %s starts at %v, the one before ended at %v", h.From, h.To, h.StartMS, end)
			}
			for _, v := range h.Stages {
				end += v
			}
		}
		if want := float64(r.Summary["block.max_ms"].Value); math.Abs(end-want) > 1e-4 {
			t.Errorf("the slowest way ends at %v, the slowest delivery is %v", end, want)
		}
	}
}

func TestTable(t *testing.T) {
	quiet, _ := syntheticResults(t, 8, 0, "CPU-bound: the cores were 97 % busy while blocks travelled, so these latencies are the machine's, not the network's.")
	coded, _ := syntheticResults(t, 8, 0)
	coded.Experiment.Net.Relay = "coded"
	gossip, _ := syntheticResults(t, 8, 5)
	gossip.Experiment.Net.Relay = "gossip"
	if err := coded.LayOver(gossip); err != nil {
		t.Fatal(err)
	}
	for file, r := range map[string]*Results{"table.txt": quiet, "table-rich.txt": richResults(t), "table-beside.txt": coded} {
		var b bytes.Buffer
		if err := Table(&b, r); err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(b.String(), "\n") {
			if len([]rune(line)) > 80 {
				t.Errorf("%s: line %d is %d wide: %q", file, i+1, len([]rune(line)), line)
			}
		}
		golden(t, file, b.Bytes())
	}
}

func TestFigures(t *testing.T) {
	tests := []struct {
		u    unit
		v    float64
		want string
	}{
		{millisecond, 0.8312, "0.831 ms"}, {millisecond, 12.34, "12.3 ms"}, {millisecond, 1234.5, "1234 ms"}, {millisecond, 12_345, "12.3 s"},
		{millisecond, math.Inf(1), "inf"}, {percent, 1, "100 %"}, {percent, 0.99996, "99.99 %"}, {percent, 0.5, "50.00 %"},
		{byteCount, 131_072, "128 KiB"}, {byteRate, 1_500_000, "1.43 MiB/s"}, {times, 4.567, "4.57x"}, {plain, 3, "3"}, {plain, math.NaN(), "-"},
	}
	for _, tt := range tests {
		if got := tt.u.figure(tt.v); got != tt.want {
			t.Errorf("figure(%v) = %q, want %q", tt.v, got, tt.want)
		}
	}
	for _, tt := range []struct {
		u      unit
		lo, hi float64
		want   string
	}{
		{millisecond, 11.93, 13.02, "11.9 - 13.0 ms"}, {millisecond, 900, 12_000, "0.900 - 12.0 s"}, {millisecond, 5, math.Inf(1), "5.00 ms - inf"},
		{millisecond, math.Inf(1), math.Inf(1), "not delivered"}, {byteRate, 990_000, 1_170_000, "0.944 - 1.12 MiB/s"},
		{percent, .98, 1, "98.00 - 100 %"}, {times, 2.9, 3, "2.90x - 3.00x"}, {millisecond, math.NaN(), math.NaN(), ""},
	} {
		if got := tt.u.interval(stats.Figure{Lo: stats.Number(tt.lo), Hi: stats.Number(tt.hi)}); got != tt.want {
			t.Errorf("interval %v to %v = %q, want %q", tt.lo, tt.hi, got, tt.want)
		}
	}
}

func TestFolderIsNeverOverwritten(t *testing.T) {
	r, runs := syntheticResults(t, 4, 0)
	out := filepath.Join(t.TempDir(), "runs")
	var made []string
	for range 3 {
		dir, err := NewFolder(out, r.Experiment)
		if err != nil {
			t.Fatal(err)
		}
		if err := Write(dir, r, runs); err != nil {
			t.Fatal(err)
		}
		made = append(made, filepath.Base(dir))
	}
	base := "default-" + r.Digest
	if want := []string{base, base + "-2", base + "-3"}; !slices.Equal(made, want) {
		t.Errorf("folders %v, want %v", made, want)
	}
	if to, err := os.Readlink(filepath.Join(out, LatestLink)); err != nil || to != made[2] {
		t.Errorf("latest points to %q, %v, want %q", to, err, made[2])
	}
	entries, err := os.ReadDir(out)
	if err != nil || len(entries) != 4 {
		t.Errorf("%d entries in %s, %v, want three runs and the link", len(entries), out, err)
	}
	for _, name := range []string{ResultsFile, DeliveriesFile, ExperimentFile, PageFile} {
		if info, err := os.Stat(filepath.Join(out, LatestLink, name)); err != nil || info.Size() == 0 {
			t.Errorf("latest/%s: %v", name, err)
		}
	}
}

func TestPageStandsAlone(t *testing.T) {
	r, _ := syntheticResults(t, 8, 0, `a note with <script>alert("x")</script>`)
	r.Runs[0].Nodes[0].Name = `<b>bold</b>`
	var b bytes.Buffer
	if err := Page(&b, r); err != nil {
		t.Fatal(err)
	}
	page := withoutFiles(b.String())
	if b.Len() > 500_000 {
		t.Errorf("%d bytes, want under 500 KB", b.Len())
	}
	for _, banned := range []string{"http://", "https://", "<script", "src=", "@import", "url(", "<b>bold", "ZgotmplZ", "NaN", "%!"} {
		if strings.Contains(page, banned) {
			t.Errorf("the page contains %q", banned)
		}
	}
	for _, wanted := range []string{
		millisecond.figure(float64(r.Summary["block.p50_ms"].Value)), r.Digest, r.Fingerprint, "pheme devnet measure", "links unshaped",
		"Where the time goes", "Coverage", "prefers-color-scheme", "go-libp2p-pubsub", "</html>",
	} {
		if !strings.Contains(page, wanted) {
			t.Errorf("the page lacks %q", wanted)
		}
	}
}

func TestPageOfNothing(t *testing.T) {
	r, runs := syntheticResults(t, 8, 0)
	runs[0].Record.Blocks, runs[0].Record.Txs, runs[0].Record.Slots = nil, nil, nil
	empty := New(r.Experiment, r.Environment, runs, nil)
	if err := Page(&bytes.Buffer{}, empty); err != nil {
		t.Errorf("a run without messages cannot be drawn: %v", err)
	}
	if _, err := empty.JSON(); err != nil {
		t.Errorf("a run without messages cannot be written: %v", err)
	}
}

func BenchmarkPage(b *testing.B) {
	r, _ := syntheticResults(b, 8, 0)
	for b.Loop() {
		var out bytes.Buffer
		if err := Page(&out, r); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(out.Len()))
	}
}
