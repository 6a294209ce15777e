package report

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/stats"
)

// Slowest names, for [Explain], the block that took longest to its last node.
const Slowest = "slowest"

// Question is what [Explain] is asked.
type Question struct {
	Block string // a number, the beginning of a hash, or [Slowest]
	Node  string // whose delivery; "" is the last one
	Seed  int64  // of the run; 0 is the first in which there is such a block
	JSON  bool   // answer with one object, not in words
}

// story is one block with its deliveries.
type story struct {
	seed   int64
	id     string
	number int64
	size   int64
	origin string
	born   float64
	rows   map[string]*DeliveryRow // by node
	last   *DeliveryRow            // the latest that was made; nil without one
	lost   int
}

// slowness orders blocks by how long they took to their last node; not reaching one is slowest.
func (s *story) slowness() float64 {
	if s.lost > 0 || s.last == nil {
		return math.Inf(1)
	}
	return s.last.Latency
}

// Explain writes how one block of a run came to a node: hop by hop, where the time of each went, and
// what physics would have allowed.
func Explain(w io.Writer, dir string, q Question) error {
	r, err := ReadResults(dir)
	if err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(dir, DeliveriesFile))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRun, err)
	}
	defer f.Close()
	s, err := findStory(r, bufio.NewReaderSize(f, 1<<20), q)
	if err != nil {
		return err
	}
	end := s.last
	if q.Node != "" {
		if end = s.rows[q.Node]; end == nil {
			return fmt.Errorf("%w: block %d was not meant for %q: it is its proposer, was down, or the run has no such node", ErrRun, s.number, q.Node)
		}
	}
	if q.JSON {
		return json.NewEncoder(w).Encode(s.object(end))
	}
	var b strings.Builder
	s.write(&b, r, end)
	_, err = io.WriteString(w, b.String())
	return err
}

// findStory picks the block that was asked for. Which one is slowest is known only at the end, so all
// blocks are kept; transactions are passed over.
func findStory(r *Results, in io.Reader, q Question) (*story, error) {
	type name struct {
		seed int64
		id   string
	}
	all := map[name]*story{}
	err := DecodeDeliveries(in, func(d *DeliveryRow) error {
		if !d.Block || q.Seed != 0 && d.Seed != q.Seed || !named(q.Block, d) {
			return nil
		}
		k := name{d.Seed, d.ID}
		s := all[k]
		if s == nil {
			s = &story{seed: d.Seed, id: d.ID, number: d.Number, size: d.Size, origin: d.Origin, born: d.Born, rows: map[string]*DeliveryRow{}}
			all[k] = s
		}
		s.rows[d.Node] = d
		switch {
		case math.IsInf(d.Latency, 1):
			s.lost++
		case s.last == nil || d.Latency > s.last.Latency:
			s.last = d
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var stories []*story
	for _, s := range all {
		stories = append(stories, s)
	}
	order := slices.Index(seedsOf(r), q.Seed)
	if len(stories) == 0 {
		return nil, fmt.Errorf("%w: no counted block %q%s: blocks have the numbers %s", ErrRun, q.Block, map[bool]string{true: fmt.Sprintf(" of seed %d", q.Seed)}[order >= 0 || q.Seed != 0], numbers(r))
	}
	slices.SortFunc(stories, func(a, b *story) int {
		if q.Block == Slowest {
			return cmp.Or(-cmp.Compare(a.slowness(), b.slowness()), cmp.Compare(a.seed, b.seed), cmp.Compare(a.number, b.number))
		}
		return cmp.Or(cmp.Compare(slices.Index(seedsOf(r), a.seed), slices.Index(seedsOf(r), b.seed)), cmp.Compare(a.born, b.born))
	})
	return stories[0], nil
}

// named says whether a delivery is of a block that text may name.
func named(text string, d *DeliveryRow) bool {
	if text == Slowest || text == strconv.FormatInt(d.Number, 10) {
		return true
	}
	prefix := strings.ToLower(strings.TrimPrefix(text, "0x"))
	return len(prefix) >= 4 && strings.HasPrefix(strings.TrimPrefix(d.ID, "0x"), prefix)
}

func seedsOf(r *Results) (seeds []int64) {
	for _, run := range r.Runs {
		seeds = append(seeds, run.Seed)
	}
	return seeds
}

// numbers says which blocks counted.
func numbers(r *Results) string {
	var low, high int64
	for _, run := range r.Runs {
		for _, m := range run.Messages {
			if low == 0 || m.Number < low {
				low = m.Number
			}
			high = max(high, m.Number)
		}
	}
	return fmt.Sprintf("%d to %d", low, high)
}

// write tells the story up to one delivery.
func (s *story) write(b *strings.Builder, r *Results, end *DeliveryRow) {
	fmt.Fprintf(b, "block %d  %s\n%s, sealed by %s %s after the window began, seed %d\n", s.number, s.id,
		byteCount.figure(float64(s.size)), s.origin, millisecond.figure(s.born), s.seed)
	var times []float64
	for _, d := range s.rows {
		times = append(times, d.Latency)
	}
	for _, c := range []struct {
		label string
		q     float64
	}{{"half of its nodes", .5}, {"90 %", .9}, {"99 %", .99}, {"all", 1}} {
		fmt.Fprintf(b, "  %-18s after %s\n", c.label, millisecond.figure(stats.CoverageTime(times, c.q)))
	}
	if s.lost > 0 {
		fmt.Fprintf(b, "  %d of %d nodes never had it\n", s.lost, len(s.rows))
	}
	if end == nil || math.IsInf(end.Latency, 1) {
		fmt.Fprintf(b, "\nNo way to tell: it was not delivered there.\n")
		return
	}
	fmt.Fprintf(b, "\nits way to %s, which had it after %s; in milliseconds\n\n", end.Node, millisecond.figure(end.Latency))
	trail := s.trail(end)
	if trail == nil {
		fmt.Fprintf(b, "The way is not known whole: a sender on it is not of the run or has no record of the block.\n")
		return
	}
	s.hops(b, trail)
	if f := end.Floor; !math.IsNaN(f) {
		fmt.Fprintf(b, "\nphysical floor %s over the open connections: it took %s times that\n               %s on the direct path: %s times that\n",
			millisecond.figure(f), significant(end.Latency/f), millisecond.figure(end.Network), significant(end.Latency/end.Network))
	} else {
		fmt.Fprintf(b, "\nphysical floor: none, links are not shaped\n")
	}
	if !math.IsNaN(end.Import) && !math.IsInf(end.Import, 1) {
		fmt.Fprintf(b, "imported %s after that\n", millisecond.figure(end.Import-end.Latency))
	}
	at, stage, most := blame(trail)
	fmt.Fprintf(b, "most of it: %s of %s (%.0f %%) went into %q on hop %d,\n%s\n",
		millisecond.figure(most), millisecond.figure(end.Latency), 100*most/end.Latency, stage, at+1, trail[at].passage())
}

// trail is the way to a delivery from the proposer, each row the next one's sender; nil where it is
// not known whole. A delivery in pieces is one row, whose way begins at the proposer.
func (s *story) trail(end *DeliveryRow) (trail []*DeliveryRow) {
	for d := end; ; d = s.rows[d.From] {
		if d == nil || math.IsInf(d.Latency, 1) || d.From == "" || len(trail) > len(s.rows) {
			return nil
		}
		trail = append(trail, d)
		if d.From == s.origin || d.Way != "" {
			slices.Reverse(trail)
			return trail
		}
	}
}

// hops writes the way as a table, its sums below.
func (s *story) hops(b *strings.Builder, trail []*DeliveryRow) {
	rows := [][]string{{"hop", "way", "by", "begins", "wait", "queue", "serialise", "wire", "validate", "together"}} // short names of the stages
	var sum recorder.Stages
	start := 0.0
	for i, d := range trail {
		row := []string{strconv.Itoa(i + 1), d.passage(), d.Path, significant(start)}
		for _, v := range d.Hop {
			row = append(row, significant(v))
		}
		rows = append(rows, append(row, significant(d.Hop.Total())))
		sum.Add(d.Hop)
		start = d.Latency
	}
	row := []string{"", "all", "", ""}
	for _, v := range sum {
		row = append(row, significant(v))
	}
	align(b, append(rows, append(row, significant(sum.Total()))), 3)
}

// passage is from where to where a delivery came; of one in pieces, all on whose way they were.
func (d *DeliveryRow) passage() string {
	if d.Way == "" {
		return d.From + " to " + d.Node
	}
	return strings.ReplaceAll(d.Way, ">", " to ") + " to " + d.Node
}

// blame is the hop and the stage that took longest.
func blame(trail []*DeliveryRow) (hop int, stage string, most float64) {
	for i, d := range trail {
		for st, v := range d.Hop {
			if v > most || stage == "" {
				hop, stage, most = i, recorder.Stage(st).String(), v
			}
		}
	}
	return hop, stage, most
}
