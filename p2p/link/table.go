package link

import (
	"embed"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"
)

//go:embed tables/*.csv
var tables embed.FS

// maxRegions bounds a table: a matrix of a thousand squared is 40 MB.
const maxRegions = 1024

// defaultSpread is the jitter (p90 - p50) of a delay stated without one, as a
// share of it: what long paths of the world table show. Never zero unless asked
// for, because nodes in lockstep behave unlike any real network.
const defaultSpread = 0.03

// Table holds the delay between regions and the share of nodes in each. It does
// not change after it is made.
type Table struct {
	Name    string
	Regions []string
	shares  []float64 // sum 1
	paths   []Path    // len(Regions) squared, row by row: from, to
	// A ranged table gives each pair of nodes its own median between lo and hi;
	// spread < 0 is the default share.
	ranged         bool
	lo, hi, spread time.Duration
}

// ParseLatency returns the table that s names: "lan", "world", "uniform:50ms"
// (every pair the same median), "uniform:50ms-100ms" (each pair its own, drawn
// by seed), either with ":2ms" behind it for the jitter (p90 - p50), or the path
// of a CSV file.
func ParseLatency(s string) (*Table, error) {
	if spec, ok := strings.CutPrefix(s, "uniform:"); ok {
		return parseUniform(s, spec)
	}
	if strings.ContainsAny(s, "./\\") {
		raw, err := os.ReadFile(s)
		if err != nil {
			return nil, fmt.Errorf("link: latency table: %w", err)
		}
		return DecodeTable(s, raw)
	}
	raw, err := tables.ReadFile("tables/" + s + ".csv")
	if err != nil {
		return nil, fmt.Errorf(`link: latency %q: want "lan", "world", "uniform:50ms", "uniform:50ms-100ms:2ms" or the path of a CSV file`, s)
	}
	return DecodeTable(s, raw)
}

func parseUniform(name, spec string) (*Table, error) {
	delay, jitter, hasJitter := strings.Cut(spec, ":")
	low, high, ranged := strings.Cut(delay, "-")
	if !ranged {
		high = low
	}
	t := &Table{Name: name, Regions: []string{"all"}, shares: []float64{1}, ranged: ranged, spread: -1}
	var err error
	for _, d := range []struct {
		text string
		into *time.Duration
		used bool
	}{{low, &t.lo, true}, {high, &t.hi, true}, {jitter, &t.spread, hasJitter}} {
		if !d.used {
			continue
		}
		if *d.into, err = time.ParseDuration(d.text); err != nil || *d.into < 0 || *d.into > maxDelay {
			return nil, fmt.Errorf(`link: latency %q: %q is not a time from 0 to %s such as "50ms"`, name, d.text, maxDelay)
		}
	}
	if t.hi < t.lo || t.spread > maxSpread(t.lo) {
		return nil, fmt.Errorf("link: latency %q: want low-high, and a jitter of at most %s for a median of %s", name, maxSpread(t.lo), t.lo)
	}
	t.paths = []Path{t.between(t.lo)}
	return t, nil
}

func (t *Table) between(median time.Duration) Path {
	spread := t.spread
	if spread < 0 {
		spread = time.Duration(defaultSpread * float64(median))
	}
	return NewPath(median, spread)
}

// WithJitter returns the table with one jitter (p90 - p50) for all its paths; the
// medians stay. It is an error where a median is too small for it.
func (t *Table) WithJitter(spread time.Duration) (*Table, error) {
	if spread < 0 || spread > maxDelay {
		return nil, fmt.Errorf("link: a jitter of %s: want 0 to %s", spread, maxDelay)
	}
	out := *t
	out.spread = spread
	out.paths = slices.Clone(t.paths)
	for i, p := range t.paths {
		median := p.Median()
		if spread > maxSpread(median) {
			return nil, fmt.Errorf("link: latency %q: a jitter of %s is impossible around a median of %s: the smallest delay would be negative (at most %s)", t.Name, spread, median, maxSpread(median))
		}
		loss := p.Loss
		out.paths[i] = NewPath(median, spread)
		out.paths[i].Loss = loss
	}
	return &out, nil
}

// Path returns the path between two nodes of the given regions; the nodes and
// the seed matter only to a ranged table.
func (t *Table) Path(seed uint64, from, fromRegion, to, toRegion int) Path {
	if !t.ranged {
		return t.paths[fromRegion*len(t.Regions)+toRegion]
	}
	h := fnv.New64a()
	var b [24]byte
	for i, v := range []uint64{seed, uint64(min(from, to)), uint64(max(from, to))} { // both ways alike
		for k := range 8 {
			b[8*i+k] = byte(v >> (8 * k))
		}
	}
	h.Write(b[:])
	r := rand.New(rand.NewPCG(h.Sum64(), seed))
	return t.between(t.lo + time.Duration(r.Float64()*float64(t.hi-t.lo)))
}

// Assign deals n nodes to regions by share: the counts are exact to less than
// one node, the order is drawn from rng.
func (t *Table) Assign(n int, rng *rand.Rand) []int {
	regions := make([]int, 0, n)
	rest := make([]float64, len(t.shares))
	for r, share := range t.shares {
		whole := math.Floor(share*float64(n) + 1e-9)
		rest[r] = share*float64(n) - whole
		for range min(int(whole), n-len(regions)) {
			regions = append(regions, r)
		}
	}
	for len(regions) < n { // the largest remainders get what is left
		r := 0
		for i := range rest {
			if rest[i] > rest[r] {
				r = i
			}
		}
		rest[r] -= 1
		regions = append(regions, r)
	}
	rng.Shuffle(n, func(i, j int) { regions[i], regions[j] = regions[j], regions[i] })
	return regions
}
