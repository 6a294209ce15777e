package node

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/rpc"
)

// scrape reads a node's metrics as Prometheus does.
func scrape(t *testing.T, url string) map[string]*dto.MetricFamily {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		t.Fatalf("the answer of %s is not Prometheus's text: %v", url, err)
	}
	return families
}

// observed is the number of observations of a histogram with a label of the given value.
func observed(f *dto.MetricFamily, value string) uint64 {
	for _, m := range f.GetMetric() {
		if len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == value {
			return m.GetHistogram().GetSampleCount()
		}
	}
	return 0
}

// TestMetrics: a node that gets another's blocks by gossip shows each stage of them, is ready, and has
// every metric that the dashboard and the alerts ask for.
func TestMetrics(t *testing.T) {
	net := newTestNet(t)
	other := net.start(net.config(0))
	cfg := net.config(1)
	cfg.Metrics, cfg.P2P.Static = "127.0.0.1:0", other.P2P[:1]
	n := net.start(cfg)
	var got map[string]*dto.MetricFamily
	eventually(t, "blocks by gossip are timed", func(context.Context) bool {
		got = scrape(t, n.Metrics)
		return observed(got["pheme_block_stage_seconds"], "import") > 2
	})
	for _, stage := range []string{"slot", "receive", "validate"} {
		if observed(got["pheme_block_stage_seconds"], stage) < 2 {
			t.Errorf("stage %s was not observed", stage)
		}
	}
	if copies := got["pheme_block_copies"].GetMetric()[0].GetHistogram(); copies.GetSampleSum() < float64(copies.GetSampleCount()) {
		t.Errorf("copies sum to %v over %d blocks: each takes at least one", copies.GetSampleSum(), copies.GetSampleCount())
	}
	if peers := got["pheme_peers"].GetMetric()[0].GetGauge().GetValue(); peers != 1 {
		t.Errorf("pheme_peers = %v, want 1", peers)
	}
	for path, want := range map[string]int{"/livez": 200, "/readyz": 200, "/debug/pprof/": 404} {
		resp, err := http.Get(strings.TrimSuffix(n.Metrics, "/metrics") + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("GET %s = %d %s, want %d", path, resp.StatusCode, body, want)
		}
	}
	for name := range askedFor(t) {
		if got[name] == nil && !rare[name] {
			t.Errorf("the dashboard or an alert asks for %s, which a node does not have", name)
		}
	}
}

// TestStoppingIsNotReady: once the API refuses calls, /readyz sends clients elsewhere.
func TestStoppingIsNotReady(t *testing.T) {
	raw, err := os.ReadFile(newTestNet(t).genesis)
	if err != nil {
		t.Fatal(err)
	}
	g, err := chain.DecodeGenesis(raw)
	if err != nil {
		t.Fatal(err)
	}
	store, err := chain.Open(chain.Config{}, g, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	n := new(Node)
	if n.rpc, err = rpc.New(rpc.Config{}, store, rpc.Deps{Pool: poolView{}, Net: netView{}, Submit: n}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := n.rpc.Run(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if why := n.unready(); why != "the node is stopping" {
		t.Errorf("unready() = %q after the API has stopped, want that the node is stopping", why)
	}
}

// rare have no sample before the first of what they count.
var rare = map[string]bool{"pheme_network_dropped_messages_total": true}

// askedFor is every metric that docs/monitoring names.
func askedFor(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	for _, file := range []string{"dashboard.json", "alerts.yml"} {
		text, err := os.ReadFile("../docs/monitoring/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, ".json") && !json.Valid(text) {
			t.Errorf("%s is not JSON", file)
		}
		for _, name := range regexp.MustCompile(`\b(pheme|process|go)_[a-z_]+`).FindAllString(string(text), -1) {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				name = strings.TrimSuffix(name, suffix)
			}
			names[name] = true
		}
	}
	if len(names) < 20 {
		t.Fatalf("found only %d metrics in docs/monitoring", len(names))
	}
	return names
}

// TestMetricsPortTaken: the error names the flag to change.
func TestMetricsPortTaken(t *testing.T) {
	net := newTestNet(t)
	first := net.config(0)
	first.Metrics = "127.0.0.1:0"
	n := net.start(first)
	var port int
	if _, err := fmt.Sscanf(n.Metrics, "http://127.0.0.1:%d/metrics", &port); err != nil {
		t.Fatal(err)
	}
	second := net.config(1)
	second.Metrics = fmt.Sprintf("127.0.0.1:%d", port)
	err := Serve(context.Background(), second, nil)
	if err == nil || !strings.Contains(err.Error(), "--metrics") || !strings.Contains(err.Error(), "taken") {
		t.Errorf("Serve with a taken metrics port = %v, want an error that names --metrics", err)
	}
}
