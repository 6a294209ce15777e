package report

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"
)

// written puts a made-up run into a folder.
func written(t *testing.T, lossEvery int) (string, *Results, []Run) {
	t.Helper()
	r, runs := syntheticResults(t, 12, lossEvery)
	dir, err := NewFolder(t.TempDir(), r.Experiment)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range runs[0].Record.Blocks { // as over shaped links
		for i := range m.Deliveries {
			m.Deliveries[i].Floor, m.Deliveries[i].Direct = 80.5, 50.25
		}
	}
	if err := Write(dir, r, runs); err != nil {
		t.Fatal(err)
	}
	return dir, r, runs
}

func hexOf(id [32]byte) string { return hex.EncodeToString(id[:]) }

// What deliveries.csv holds is what the recorder found, to the nanosecond.
func TestDeliveriesReadBack(t *testing.T) {
	_, runs := syntheticResults(t, 6, 5)
	var text bytes.Buffer
	if err := Deliveries(&text, runs); err != nil {
		t.Fatal(err)
	}
	rows, lost := map[[2]string]DeliveryRow{}, 0
	if err := DecodeDeliveries(&text, func(d *DeliveryRow) error {
		if rows[[2]string{d.ID, d.Node}] = *d; math.IsInf(d.Latency, 1) {
			lost++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	seen, rec := 0, runs[0].Record
	for _, m := range rec.Blocks {
		for i := range m.Deliveries {
			d := &m.Deliveries[i]
			got, ok := rows[[2]string{"0x" + hexOf(m.ID), rec.Nodes[d.Node].Name}]
			seen++
			if !ok || !got.Block || got.Number != m.Number || got.Size != m.Size || got.Hops != d.Hops || math.Abs(got.Latency-d.Latency) > 1e-6 || got.First != float64(d.First) {
				t.Fatalf("row %+v of %+v", got, d)
			}
			if d.Delivered() && (got.From != rec.Nodes[d.Parent].Name || math.Abs(got.Hop.Total()-d.Hop.Total()) > 1e-5) {
				t.Fatalf("row %+v of %+v", got, d)
			}
		}
	}
	if seen == 0 || lost == 0 || len(rows) <= seen {
		t.Errorf("%d deliveries of blocks, %d rows, %d lost", seen, len(rows), lost)
	}
}

func explained(t *testing.T, dir string, q Question) string {
	t.Helper()
	var text strings.Builder
	if err := Explain(&text, dir, q); err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	return text.String()
}

func TestExplain(t *testing.T) {
	dir, r, runs := written(t, 0)
	slowest := explained(t, dir, Question{Block: Slowest})
	golden(t, "explain.txt", []byte(slowest))
	var worst *BlockResult
	for i, m := range r.Runs[0].Messages {
		if worst == nil || m.C100 > worst.C100 {
			worst = &r.Runs[0].Messages[i]
		}
	}
	if !strings.Contains(slowest, worst.ID) {
		t.Errorf("the slowest block is %s:\n%s", worst.ID, slowest)
	}
	if byHash := explained(t, dir, Question{Block: worst.ID[:12]}); byHash != slowest {
		t.Errorf("by its hash it has another story:\n%s", byHash)
	}
	if bySeed := explained(t, dir, Question{Block: Slowest, Seed: 1}); bySeed != slowest {
		t.Errorf("by its seed it has another story:\n%s", bySeed)
	}
	m := runs[0].Record.Blocks[0]
	near := explained(t, dir, Question{Block: "0x" + hexOf(m.ID), Node: runs[0].Record.Nodes[m.Deliveries[0].Node].Name})
	if !strings.Contains(near, "its way to "+runs[0].Record.Nodes[m.Deliveries[0].Node].Name+",") {
		t.Errorf("the way to a node that was asked for:\n%s", near)
	}
	for want, q := range map[string]Question{
		`no counted block "999999"`:          {Block: "999999"},
		`no counted block "0xdead"`:          {Block: "0xdead"},
		`no counted block "slowest" of seed`: {Block: Slowest, Seed: 9},
		`was not meant for "n99"`:            {Block: Slowest, Node: "n99"},
	} {
		if err := Explain(&strings.Builder{}, dir, q); !errors.Is(err, ErrRun) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", q, err, want)
		}
	}
	if err := Explain(&strings.Builder{}, filepath.Join(dir, "absent"), Question{Block: Slowest}); !errors.Is(err, ErrRun) {
		t.Errorf("an absent run: %v", err)
	}
}

func TestExplainOfALostBlock(t *testing.T) {
	dir, _, _ := written(t, 5)
	if text := explained(t, dir, Question{Block: Slowest}); !strings.Contains(text, "nodes never had it") || !strings.Contains(text, "all                after inf") {
		t.Errorf("a block that missed a node:\n%s", text)
	}
}

// Rows that decode have what the columns promise; nothing else comes through.
func FuzzDecodeDeliveries(f *testing.F) {
	_, runs := syntheticResults(f, 3, 2)
	runs[0].Record.Blocks, runs[0].Record.Txs = runs[0].Record.Blocks[:2], runs[0].Record.Txs[:2]
	var text bytes.Buffer
	if err := Deliveries(&text, runs); err != nil {
		f.Fatal(err)
	}
	f.Add(text.Bytes())
	f.Add([]byte(strings.Join(deliveryColumns, ",") + "\n1,block,0x,1,1,n0,n1,inf,inf,,0,,,0,0,0,0,0,0,0,,\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		err := DecodeDeliveries(bytes.NewReader(text), func(d *DeliveryRow) error {
			if d.Node == d.Origin && d.Node == "never" {
				return errors.New("stop")
			}
			return nil
		})
		if err != nil && !errors.Is(err, ErrRun) && err.Error() != "stop" {
			t.Fatalf("error %v does not wrap ErrRun", err)
		}
	})
}
