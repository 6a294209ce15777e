package report

import (
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/p2p/trace"
)

// deliveryColumns head deliveries.csv and are its version: a reader refuses others. Times are in
// milliseconds; "inf" is not delivered, and an empty field is not known or does not apply.
var deliveryColumns = []string{
	"seed", "kind", "id", "number", "size_bytes", "origin", "node", "born_ms", "latency_ms", "import_ms", "hops", "from", "path",
	"first_bytes", "duplicate_bytes", "wait_ms", "queue_ms", "serialise_ms", "wire_ms", "validate_ms",
	"floor_ms", "direct_floor_ms", "way",
}

// paths name the way a block came, by the value of its events.
var paths = []string{trace.PathGossip: "gossip", trace.PathHeld: "held", trace.PathFetch: "fetch", trace.PathSync: "sync", trace.PathChunks: "chunks", trace.PathCompact: "compact"}

// Deliveries writes one row for every counted message and node expected to receive it.
func Deliveries(w io.Writer, runs []Run) error {
	out := csv.NewWriter(w)
	if err := out.Write(deliveryColumns); err != nil {
		return err
	}
	for _, run := range runs {
		for _, m := range run.Record.Blocks {
			if err := writeMessage(out, run, "block", m); err != nil {
				return err
			}
		}
		for _, m := range run.Record.Txs {
			if err := writeMessage(out, run, "tx", m); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return out.Error()
}

func writeMessage(out *csv.Writer, run Run, kind string, m *recorder.Message) error {
	nodes := run.Record.Nodes
	for i := range m.Deliveries {
		d := &m.Deliveries[i]
		from, path := "", ""
		if d.Parent >= 0 {
			from = nodes[d.Parent].Name
		}
		if kind == "block" && d.Delivered() && d.Path >= 0 && int(d.Path) < len(paths) {
			path = paths[d.Path]
		}
		row := []string{
			strconv.FormatInt(run.Seed, 10), kind, "0x" + hex.EncodeToString(m.ID[:]), strconv.FormatInt(m.Number, 10),
			strconv.FormatInt(m.Size, 10), nodes[m.Origin].Name, nodes[d.Node].Name,
			millis(float64(m.Born-run.Record.From) / 1e6), millis(d.Latency), importOf(kind, d), strconv.Itoa(d.Hops), from, path,
			strconv.FormatInt(d.First, 10), millis(d.Again),
		}
		for _, v := range d.Hop {
			if kind == "tx" { // its hops are not split
				row = append(row, "")
				continue
			}
			row = append(row, millis(v))
		}
		row = append(row, floorOf(d.Floor), floorOf(d.Direct), wayOf(nodes, d))
		if err := out.Write(row); err != nil {
			return err
		}
	}
	return nil
}

func importOf(kind string, d *recorder.Delivery) string {
	if kind == "tx" {
		return ""
	}
	return millis(d.Import)
}

// floorOf is empty where there is none: links are not shaped, or it is a transaction.
func floorOf(v float64) string {
	if v == 0 {
		return ""
	}
	return millis(v)
}

// wayOf names the nodes from which the pieces of a block came one after the other, from its origin on,
// with ">" between; empty for a copy that came whole.
func wayOf(nodes []recorder.Load, d *recorder.Delivery) string {
	names := make([]string, len(d.Steps))
	for i, s := range d.Steps {
		names[i] = nodes[s.From].Name
	}
	return strings.Join(names, ">")
}

func millis(v float64) string {
	if math.IsInf(v, 1) {
		return "inf"
	}
	return strconv.FormatFloat(round(v), 'f', -1, 64)
}

// DeliveryRow is a row of deliveries.csv. What is not known or does not apply is NaN, or "".
type DeliveryRow struct {
	Seed           int64
	Block          bool // else a transaction
	ID             string
	Number, Size   int64
	Origin, Node   string
	Born           float64 // ms since the window began
	Latency        float64 // ms; +Inf when not delivered
	Import         float64
	Hops           int
	From, Path     string
	First, Again   float64         // bytes
	Hop            recorder.Stages // of the last hop; where there is a way, of all of it
	Way            string          // of a block that came in pieces: by whom they came, from its origin on, with ">" between
	Floor, Network float64         // ms: over the open connections, and over direct paths
}

// DecodeDeliveries reads deliveries.csv and calls each with every row. A line
// holds at most a few hundred bytes; the first that does not is an error that wraps [ErrRun].
func DecodeDeliveries(r io.Reader, each func(*DeliveryRow) error) error {
	in := csv.NewReader(r)
	in.ReuseRecord, in.FieldsPerRecord = true, -1
	head, err := in.Read()
	if err != nil || !slices.Equal(head, deliveryColumns) {
		return fmt.Errorf("%w: %s: its columns are not %s: measure again with this program", ErrRun, DeliveriesFile, strings.Join(deliveryColumns, ","))
	}
	for {
		record, err := in.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrRun, DeliveriesFile, err)
		}
		line, _ := in.FieldPos(0)
		row, err := decodeDelivery(record)
		if err != nil {
			return fmt.Errorf("%w: %s: line %d: %w", ErrRun, DeliveriesFile, line, err)
		}
		if err := each(row); err != nil {
			return err
		}
	}
}

func decodeDelivery(f []string) (*DeliveryRow, error) {
	if len(f) != len(deliveryColumns) {
		return nil, fmt.Errorf("%d fields, want %d", len(f), len(deliveryColumns))
	}
	if f[1] != "block" && f[1] != "tx" {
		return nil, fmt.Errorf("kind %q", f[1])
	}
	d := &DeliveryRow{Block: f[1] == "block", ID: f[2], Origin: f[5], Node: f[6], From: f[11], Path: f[12], Way: f[len(f)-1]}
	var err error
	integer := func(text string) int64 {
		v, bad := strconv.ParseInt(text, 10, 64)
		err = errors.Join(err, bad)
		return v
	}
	number := func(text string) float64 {
		if text == "" {
			return math.NaN()
		}
		v, bad := strconv.ParseFloat(text, 64)
		err = errors.Join(err, bad)
		return v
	}
	d.Seed, d.Number, d.Size, d.Hops = integer(f[0]), integer(f[3]), integer(f[4]), int(integer(f[10]))
	d.Born, d.Latency, d.Import, d.First, d.Again = number(f[7]), number(f[8]), number(f[9]), number(f[13]), number(f[14])
	for i := range d.Hop {
		d.Hop[i] = number(f[15+i])
	}
	d.Floor, d.Network = number(f[15+len(d.Hop)]), number(f[16+len(d.Hop)])
	return d, err
}
