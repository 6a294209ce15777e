package link

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWorld(t *testing.T) {
	w, err := ParseLatency("world")
	if err != nil {
		t.Fatal(err)
	}
	if len(w.Regions) < 8 {
		t.Fatalf("world has %d regions, want at least 8", len(w.Regions))
	}
	for i := range w.Regions {
		for j := range w.Regions {
			p := w.Path(0, 0, i, 1, j)
			if p.Min <= 0 || p.Jitter <= 0 || p.Median() > 170*time.Millisecond || p != w.Path(0, 1, j, 0, i) {
				t.Errorf("%s to %s: %+v", w.Regions[i], w.Regions[j], p)
			}
		}
	}
	if p := w.Path(0, 0, 0, 1, 1); math.Abs(p.Median().Seconds()-0.0321) > 1e-6 {
		t.Fatalf("us-east to us-west: median %s, want 32.1ms", p.Median())
	}
	counts := make([]int, len(w.Regions))
	for _, r := range w.Assign(1000, rand.New(rand.NewPCG(1, 1))) {
		counts[r]++
	}
	if counts[0] != 260 || counts[9] != 10 {
		t.Fatalf("1000 nodes over the regions: %v, want 260 first and 10 last", counts)
	}
	counts = make([]int, len(w.Regions))
	for _, r := range w.Assign(10, rand.New(rand.NewPCG(1, 1))) {
		counts[r]++
	}
	if fmt.Sprint(counts) != "[3 1 2 2 1 1 0 0 0 0]" {
		t.Fatalf("10 nodes over the regions: %v", counts)
	}
}

func TestParseLatency(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "t.csv")
	if err := os.WriteFile(file, []byte("from,to,rtt_ms,rtt_jitter_ms\na,a,10,1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name        string
		min, median time.Duration // of nodes 1 and 2; min 0: only the median is fixed
	}{
		{"lan", 0, 150 * time.Microsecond},
		{"uniform:50ms", 0, 50 * time.Millisecond},
		{"uniform:50ms:0s", 50 * time.Millisecond, 50 * time.Millisecond},
		{file, 0, 5 * time.Millisecond},
	} {
		table, err := ParseLatency(c.name)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		p := table.Path(7, 1, 0, 2, 0)
		if off := p.Median() - c.median; off.Abs() > time.Microsecond || c.min > 0 && p.Min != c.min || c.min == 0 && p.Jitter <= 0 {
			t.Errorf("%s: %+v, median %s, want %s", c.name, p, p.Median(), c.median)
		}
	}
	ranged, err := ParseLatency("uniform:50ms-100ms:0s")
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for i := range 1000 {
		p, q := ranged.Path(1, i, 0, i+1, 0), ranged.Path(1, i+1, 0, i, 0)
		if p != q || p.Min < 50*time.Millisecond || p.Min > 100*time.Millisecond {
			t.Fatalf("pair %d: %+v and back %+v", i, p, q)
		}
		sum += p.Min.Seconds()
	}
	if mean := sum / 1000; math.Abs(mean-0.075) > 0.002 {
		t.Fatalf("mean of 1000 pairs = %.4f s, want 0.075", mean)
	}
	for _, bad := range []string{"", "mars", "uniform:", "uniform:5", "uniform:-5ms", "uniform:9ms-5ms", "uniform:1ms:1h", "uniform:1ms:5ms", "no/such.csv", "../table"} {
		if _, err := ParseLatency(bad); err == nil {
			t.Errorf("ParseLatency(%q) passed", bad)
		}
	}
}

func TestDecodeTable(t *testing.T) {
	good := "# c\nfrom, to, rtt_ms, share\na,a,2,3\nb,b,4,1\na,b,100,\nb,a,80,\n"
	table, err := DecodeTable("t", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if p := table.Path(0, 0, 0, 1, 1); p.Median().Round(time.Microsecond) != 50*time.Millisecond {
		t.Fatalf("a to b: median %s, want half of 100 ms", p.Median())
	}
	if p := table.Path(0, 0, 1, 1, 0); p.Median().Round(time.Microsecond) != 40*time.Millisecond || p.Jitter <= 0 {
		t.Fatalf("b to a: %+v, want a median of 40 ms and jitter by default", p)
	}
	if table.shares[0] != 0.75 {
		t.Fatalf("share of a = %g, want 0.75", table.shares[0])
	}
	for want, bad := range map[string]string{
		"header":               "",
		"no from and to":       "from,oneway_ms\n",
		"rtt_ms (halved":       "from,to\na,a\n",
		"only one of them":     "from,to,rtt_ms,oneway_ms\n",
		"both be of":           "from,to,rtt_ms,jitter_ms\n",
		`"delay" is unknown`:   "from,to,delay\n",
		`"to" is unknown or`:   "from,to,to\n",
		"line 3: a to a":       "from,to,rtt_ms\na,a,1\na,a,1\n",
		"no row between a":     "from,to,rtt_ms\na,a,1\nb,b,1\n",
		"line 2: no oneway_ms": "from,to,oneway_ms\na,a,\n",
		`rtt_ms is "x"`:        "from,to,rtt_ms\na,a,x\n",
		`rtt_ms is "NaN"`:      "from,to,rtt_ms\na,a,NaN\n",
		`rtt_ms is "-1"`:       "from,to,rtt_ms\na,a,-1\n",
		"impossible":           "from,to,oneway_ms,jitter_ms\na,a,1,9\n",
		"itself":               "from,to,rtt_ms,share\na,b,1,1\n",
		"add up to nothing":    "from,to,rtt_ms,share\na,a,1,0\n",
		"1 to 64":              "from,to,rtt_ms\n,a,1\n",
		"no rows":              "from,to,rtt_ms\n",
		"wrong number":         "from,to,rtt_ms\na,a\n",
		`loss is "1"`:          "from,to,rtt_ms,loss\na,a,1,1\n",
	} {
		_, err := DecodeTable("t", []byte(bad))
		if !errors.Is(err, ErrTable) || !strings.Contains(err.Error(), want) {
			t.Errorf("DecodeTable(%q) = %v, want %q", bad, err, want)
		}
	}
}

func FuzzDecodeTable(f *testing.F) {
	for _, name := range []string{"lan", "world"} {
		raw, err := tables.ReadFile("tables/" + name + ".csv")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte("from,to,rtt_ms,rtt_jitter_ms,loss,share\na,a,1,0.1,0.1,2\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		table, err := DecodeTable("f", raw)
		if err != nil {
			return
		}
		n := len(table.Regions)
		if got := len(table.Assign(37, rand.New(rand.NewPCG(1, 2)))); got != 37 {
			t.Fatalf("Assign(37) dealt %d", got)
		}
		for i := range n {
			for j := range n {
				if p := table.Path(1, i, i, j, j); p.Min < 0 || p.Jitter < 0 || p.Loss < 0 || p.Loss > maxLoss {
					t.Fatalf("%s to %s: %+v", table.Regions[i], table.Regions[j], p)
				}
			}
		}
	})
}

func FuzzParseLatency(f *testing.F) {
	for _, s := range []string{"lan", "uniform:50ms", "uniform:50ms-100ms:2ms", "uniform:1h", "50mbit"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsAny(s, "./\\") {
			return // a file's name
		}
		if table, err := ParseLatency(s); err == nil {
			if p := table.Path(1, 2, 0, 3, 0); p.Min < 0 || p.Jitter < 0 {
				t.Fatalf("%q: %+v", s, p)
			}
		}
		if r, err := ParseRate(s); err == nil && (r < 0 || r > maxRate) {
			t.Fatalf("rate %q = %d", s, r)
		}
	})
}

func TestRate(t *testing.T) {
	for s, want := range map[string]Rate{"50mbit": 50 * Mbit, "1.5gbit": 1500 * Mbit, "800kbit": 800 * Kbit, "9600bit": 9600, "unlimited": 0} {
		r, err := ParseRate(s)
		if err != nil || r != want {
			t.Errorf("ParseRate(%q) = %d, %v, want %d", s, r, err, want)
		}
		if back, err := ParseRate(r.String()); err != nil || back != r {
			t.Errorf("%q written as %q reads back as %d, %v", s, r, back, err)
		}
	}
	for _, bad := range []string{"", "50", "50mb", "-1mbit", "NaNmbit", "1e9gbit", "0mbit", "mbit"} {
		if r, err := ParseRate(bad); err == nil {
			t.Errorf("ParseRate(%q) = %d", bad, r)
		}
	}
	if got := (50 * Mbit).Time(131072); got != 20971520*time.Nanosecond {
		t.Fatalf("128 KiB at 50 Mbit/s take %s", got)
	}
}
