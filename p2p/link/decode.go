package link

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxDelay is the longest delay or jitter a table may state.
const maxDelay = time.Minute

// ErrTable is wrapped by every complaint about a latency table.
var ErrTable = errors.New("link: bad latency table")

// columns are the names a header may hold. Delay and jitter are stated either
// both as round trips or both one way.
var columns = []string{"from", "to", "rtt_ms", "rtt_jitter_ms", "oneway_ms", "jitter_ms", "loss", "share"}

// DecodeTable reads a latency table: comma-separated, '#' begins a comment line,
// the first line names the columns.
//
//	from, to       names of two regions (or nodes); a row counts both ways unless the other way has its own
//	oneway_ms      median one-way delay          | or   rtt_ms         median round trip, halved here
//	jitter_ms      its p90 - p50, optional       | or   rtt_jitter_ms  that of the round trip, halved here
//	loss           share of packets lost, optional
//	share          on rows from a region to itself: its share of the nodes, any scale, optional
//
// Unknown columns, doubled rows and missing pairs are errors that name the line
// or the pair. Without a share column all regions have the same.
func DecodeTable(name string, raw []byte) (*Table, error) {
	r := csv.NewReader(bytes.NewReader(raw))
	r.Comment, r.TrimLeadingSpace, r.ReuseRecord = '#', true, true
	head, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("%w: %s: header: %w", ErrTable, name, err)
	}
	d := decoder{name: name, regions: map[string]int{}, rows: map[[2]int]row{}}
	if err := d.header(head); err != nil {
		return nil, err
	}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrTable, name, err)
		}
		line, _ := r.FieldPos(0)
		if err := d.row(line, record); err != nil {
			return nil, err
		}
	}
	return d.table()
}

type row struct {
	path  Path
	share float64 // < 0: none stated
}

// decoder gathers the rows of a table.
type decoder struct {
	name    string
	column  map[string]int
	halve   float64 // 2 where round trips are stated
	names   []string
	regions map[string]int
	rows    map[[2]int]row
}

func (d *decoder) errorf(line int, format string, args ...any) error {
	return fmt.Errorf("%w: %s: line %d: %s", ErrTable, d.name, line, fmt.Sprintf(format, args...))
}

func (d *decoder) header(head []string) error {
	d.column = map[string]int{}
	for i, h := range head {
		h = strings.TrimSpace(strings.TrimPrefix(h, "\ufeff"))
		if _, twice := d.column[h]; twice || !slices.Contains(columns, h) {
			return fmt.Errorf("%w: %s: column %q is unknown or doubled: the columns are %s", ErrTable, d.name, h, strings.Join(columns, ", "))
		}
		d.column[h] = i
	}
	has := func(name string) bool { _, ok := d.column[name]; return ok }
	switch {
	case !has("from") || !has("to"):
		return fmt.Errorf("%w: %s: no from and to in the header", ErrTable, d.name)
	case has("rtt_ms") == has("oneway_ms"):
		return fmt.Errorf("%w: %s: the header must say rtt_ms (halved on loading) or oneway_ms, and only one of them", ErrTable, d.name)
	case has("rtt_ms") && has("jitter_ms"), has("oneway_ms") && has("rtt_jitter_ms"):
		return fmt.Errorf("%w: %s: delay and jitter must both be of the round trip (rtt_ms, rtt_jitter_ms) or both one way (oneway_ms, jitter_ms)", ErrTable, d.name)
	}
	d.halve = 1
	if has("rtt_ms") {
		d.halve = 2
	}
	return nil
}

func (d *decoder) row(line int, record []string) error {
	from, err := d.region(line, record[d.column["from"]])
	if err != nil {
		return err
	}
	to, err := d.region(line, record[d.column["to"]])
	if err != nil {
		return err
	}
	if _, twice := d.rows[[2]int{from, to}]; twice {
		return d.errorf(line, "%s to %s stands there twice", d.names[from], d.names[to])
	}
	delay, jitter := "oneway_ms", "jitter_ms"
	if d.halve == 2 {
		delay, jitter = "rtt_ms", "rtt_jitter_ms"
	}
	maxMS := float64(maxDelay/time.Millisecond) * d.halve
	ms, _, err := d.number(line, record, delay, maxMS)
	if err != nil {
		return err
	}
	if ms < 0 {
		return d.errorf(line, "no %s", delay)
	}
	spread, stated, err := d.number(line, record, jitter, maxMS)
	if err != nil {
		return err
	}
	if !stated {
		spread = defaultSpread * ms
	}
	oneway, half := milliseconds(ms/d.halve), milliseconds(spread/d.halve)
	if half > maxSpread(oneway) {
		return d.errorf(line, "a jitter of %s is impossible around a median of %s: the smallest delay would be negative (at most %s)", half, oneway, maxSpread(oneway))
	}
	p := NewPath(oneway, half)
	if loss, ok, err := d.number(line, record, "loss", maxLoss); err != nil {
		return err
	} else if ok {
		p.Loss = loss
	}
	share, stated, err := d.number(line, record, "share", math.MaxFloat32)
	if err != nil {
		return err
	}
	if stated && from != to {
		return d.errorf(line, "a share belongs on the row from a region to itself")
	}
	d.rows[[2]int{from, to}] = row{path: p, share: share}
	return nil
}

func milliseconds(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

func (d *decoder) region(line int, name string) (int, error) {
	name = strings.TrimSpace(name)
	if name == "" || len(name) > 64 {
		return 0, d.errorf(line, "a region's name must have 1 to 64 characters")
	}
	i, ok := d.regions[name]
	if !ok {
		if i = len(d.names); i == maxRegions {
			return 0, d.errorf(line, "more than %d regions", maxRegions)
		}
		d.regions[name] = i
		d.names = append(d.names, name)
	}
	return i, nil
}

// number returns a column's value from 0 to limit, or -1 and false where the
// column or the value is absent.
func (d *decoder) number(line int, record []string, column string, limit float64) (float64, bool, error) {
	i, ok := d.column[column]
	if !ok || strings.TrimSpace(record[i]) == "" {
		return -1, false, nil
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(record[i]), 64)
	if err != nil || !(v >= 0 && v <= limit) {
		return 0, false, d.errorf(line, "%s is %q: want a number from 0 to %g", column, record[i], limit)
	}
	return v, true, nil
}

func (d *decoder) table() (*Table, error) {
	n := len(d.names)
	if n == 0 {
		return nil, fmt.Errorf("%w: %s: no rows", ErrTable, d.name)
	}
	t := &Table{Name: d.name, Regions: d.names, shares: make([]float64, n), paths: make([]Path, n*n)}
	sum, stated := 0.0, false
	for i := range n {
		for j := range n {
			r, ok := d.rows[[2]int{i, j}]
			if !ok {
				r, ok = d.rows[[2]int{j, i}]
			}
			if !ok {
				return nil, fmt.Errorf("%w: %s: no row between %s and %s", ErrTable, d.name, d.names[i], d.names[j])
			}
			t.paths[i*n+j] = r.path
		}
		if s := d.rows[[2]int{i, i}].share; s >= 0 {
			t.shares[i], stated = s, true
			sum += s
		}
	}
	if stated && sum <= 0 {
		return nil, fmt.Errorf("%w: %s: the shares add up to nothing", ErrTable, d.name)
	}
	for i := range n {
		if stated {
			t.shares[i] /= sum
		} else {
			t.shares[i] = 1 / float64(n)
		}
	}
	return t, nil
}
