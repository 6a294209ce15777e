package trace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/quick"
	"testing/synctest"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden file")

func sampleHeader() Header {
	return Header{Name: "n0", PeerTag: PeerTag("12D3KooWexample"), MonoBase: 1_000_000, WallBase: 1_700_000_000_000_000_000}
}

func sampleEvents() []Event {
	var out []Event
	for k := TxSubmitted; k < kindEnd; k++ {
		e := Event{At: 1_000_000 + int64(k), Kind: k, Class: Class(k) % NumClasses, Peer: uint64(k) << 40, Size: uint32(k) * 1000, Aux: -int64(k)}
		for i := range e.Hash {
			e.Hash[i] = byte(k) + byte(i)
		}
		out = append(out, e)
	}
	return out
}

// record runs a ring over events and returns the file's bytes.
func record(t *testing.T, cfg RingConfig, h Header, events []Event) []byte {
	t.Helper()
	var buf bytes.Buffer
	r, err := NewRing(cfg, &buf, h)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		r.Emit(e)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestGolden(t *testing.T) {
	got := record(t, RingConfig{}, sampleHeader(), sampleEvents())
	path := filepath.Join("testdata", "sample.trace")
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
		t.Fatalf("the format changed: %d bytes, golden file has %d; if meant, raise Version and run with -update", len(got), len(want))
	}
	h, events, lost, err := ReadFile(path)
	if err != nil || lost != 0 || !h.Ended {
		t.Fatalf("ReadFile: lost %d, ended %v, err %v", lost, h.Ended, err)
	}
	h.Ended = false
	if h != sampleHeader() {
		t.Fatalf("header %+v, want %+v", h, sampleHeader())
	}
	want2 := sampleEvents()
	if len(events) != len(want2) {
		t.Fatalf("%d events, want %d", len(events), len(want2))
	}
	for i := range events {
		if events[i] != want2[i] {
			t.Fatalf("event %d = %+v, want %+v", i, events[i], want2[i])
		}
	}
}

func TestRecordRoundTrip(t *testing.T) {
	law := func(e Event) bool {
		e.Kind = 1 + e.Kind%(kindEnd-1)
		e.Class %= NumClasses
		b := AppendRecord(nil, e)
		got, err := DecodeRecord(b)
		return len(b) == RecordSize && err == nil && got == e
	}
	if err := quick.Check(law, nil); err != nil {
		t.Fatal(err)
	}
}

func TestReadBroken(t *testing.T) {
	good := record(t, RingConfig{}, sampleHeader(), sampleEvents())
	edit := func(at int, v byte) []byte {
		b := bytes.Clone(good)
		b[at] = v
		return b
	}
	for _, c := range []struct {
		name string
		in   []byte
		want error
	}{
		{"empty", nil, ErrFormat},
		{"short", good[:HeaderSize-1], ErrFormat},
		{"magic", edit(0, 'x'), ErrFormat},
		{"version", edit(4, 2), ErrVersion},
		{"record size", edit(5, 32), ErrVersion},
		{"name length", edit(6, 63), ErrFormat},
		{"kind", edit(HeaderSize+8, byte(kindEnd)), ErrRecord},
		{"kind zero", edit(HeaderSize+8, 0), ErrRecord},
		{"class", edit(HeaderSize+9, byte(NumClasses)), ErrRecord},
		{"padding", edit(HeaderSize+10, 1), ErrRecord},
	} {
		if _, _, _, err := Decode(c.in); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	cut := good[:HeaderSize+3*RecordSize+17] // what kill -9 leaves
	h, events, _, err := Decode(cut)
	if err != nil || len(events) != 3 || h.Ended {
		t.Fatalf("torn tail: %d events, ended %v, %v", len(events), h.Ended, err)
	}
}

func TestLostIsCounted(t *testing.T) {
	events := make([]Event, 10)
	for i := range events {
		events[i] = Event{Kind: MsgRead, Aux: int64(i)}
	}
	b := record(t, RingConfig{Capacity: 4}, sampleHeader(), events)
	_, got, lost, err := Decode(b)
	if err != nil || len(got) != 4 || lost != 6 {
		t.Fatalf("%d events, %d lost, %v; want 4 and 6", len(got), lost, err)
	}
}

func TestRunFlushesInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var buf bytes.Buffer
		r, err := NewRing(RingConfig{}, &buf, sampleHeader())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := r.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		r.Emit(Event{Kind: PeerUp})
		synctest.Wait()
		if r.Written() != 0 {
			t.Fatalf("%d events were written at once, want none: they wait for company", r.Written())
		}
		time.Sleep(FlushInterval)
		synctest.Wait()
		if r.Written() != 1 || buf.Len() != HeaderSize+RecordSize {
			t.Fatalf("written %d, %d bytes", r.Written(), buf.Len())
		}
		r.Emit(Event{Kind: BlockSealed})
		synctest.Wait()
		if r.Written() != 2 {
			t.Fatalf("written %d, want 2: the birth of a block must outlive its proposer", r.Written())
		}
		cancel()
		wg.Wait()
		r.Emit(Event{Kind: PeerUp}) // after the end: lost, not kept
		if r.Lost() != 1 {
			t.Fatalf("lost %d, want 1", r.Lost())
		}
	})
}

func TestWakesWhenHalfFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var buf bytes.Buffer
		r, err := NewRing(RingConfig{Capacity: 8, Interval: time.Hour}, &buf, sampleHeader())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = r.Run(ctx) })
		for range 40 {
			r.Emit(Event{Kind: PeerUp})
			synctest.Wait()
		}
		if r.Lost() != 0 {
			t.Fatalf("lost %d although the writer was free", r.Lost())
		}
		cancel()
		wg.Wait()
	})
}

// brokenDisk takes the header and a few records, then fails.
type brokenDisk struct{ left int }

func (d *brokenDisk) Write(b []byte) (int, error) {
	if len(b) > d.left {
		return 0, io.ErrShortWrite
	}
	d.left -= len(b)
	return len(b), nil
}

func TestWriteErrorIsReportedAndCounted(t *testing.T) {
	r, err := NewRing(RingConfig{}, &brokenDisk{left: HeaderSize}, sampleHeader())
	if err != nil {
		t.Fatal(err)
	}
	r.Emit(Event{Kind: PeerUp})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Run(ctx); !errors.Is(err, io.ErrShortWrite) {
		t.Fatalf("Run() = %v", err)
	}
	if r.Lost() != 1 {
		t.Fatalf("lost %d, want 1", r.Lost())
	}
}

func TestNames(t *testing.T) {
	for k := KindNone; k < kindEnd; k++ {
		b, err := json.Marshal(k)
		var back Kind
		if err == nil {
			err = json.Unmarshal(b, &back)
		}
		if err != nil || back != k || k.String() == "" {
			t.Errorf("%v: %s, %v", k, b, err)
		}
	}
	for c := ClassNone; c < NumClasses; c++ {
		b, err := json.Marshal(c)
		var back Class
		if err == nil {
			err = json.Unmarshal(b, &back)
		}
		if err != nil || back != c || c.String() == "" {
			t.Errorf("%v: %s, %v", c, b, err)
		}
	}
	if BlockSealed.String() != "block.sealed" || HeadChanged.String() != "head.changed" || ClassOther.String() != "other" {
		t.Error("names moved against their constants")
	}
	var k Kind
	if err := k.UnmarshalText([]byte("nothing")); err == nil {
		t.Error("an unknown name was taken")
	}
}

func TestClock(t *testing.T) {
	a, b := NewClock(), NewClock()
	x, y := a.Now(), b.Now()
	if d := time.Duration(y - x); d < -100*time.Microsecond || d > time.Second {
		t.Errorf("two clocks of one host differ by %v", d)
	}
	if d := time.Duration(a.Wall(a.Now()) - time.Now().UnixNano()); d.Abs() > time.Second {
		t.Errorf("wall time off by %v", d)
	}
	synctest.Test(t, func(t *testing.T) {
		c := ClockAt(time.Now(), 7)
		time.Sleep(time.Second)
		if got := c.Now(); got != 7+int64(time.Second) {
			t.Errorf("virtual clock reads %d", got)
		}
	})
}

func TestTee(t *testing.T) {
	n := 0
	count := func(Event) { n++ }
	Tee().Emit(Event{})
	Tee(nil, count).Emit(Event{})
	Tee(count, nil, count).Emit(Event{})
	if n != 3 || Tee(nil) != nil {
		t.Fatalf("%d calls, want 3", n)
	}
}

func FuzzDecodeRecord(f *testing.F) {
	for _, e := range sampleEvents() {
		f.Add(AppendRecord(nil, e))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeRecord(b)
		if err == nil && !bytes.Equal(AppendRecord(nil, e), b[:RecordSize]) {
			t.Fatal("decode then encode differs")
		}
	})
}

func FuzzDecodeHeader(f *testing.F) {
	f.Add(AppendHeader(nil, sampleHeader()))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := DecodeHeader(b)
		if err == nil && !bytes.Equal(AppendHeader(nil, h), b[:HeaderSize]) {
			t.Fatal("decode then encode differs")
		}
	})
}

func FuzzDecode(f *testing.F) {
	b := AppendHeader(nil, sampleHeader())
	for _, e := range sampleEvents() {
		b = AppendRecord(b, e)
	}
	f.Add(b)
	f.Add(appendRecord(b, recordEnd, Event{Aux: 3}))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, events, _, err := Decode(b)
		if err == nil && len(events) > len(b)/RecordSize {
			t.Fatal("more events than the bytes can hold")
		}
	})
}

func BenchmarkEmit(b *testing.B) {
	r, err := NewRing(RingConfig{Capacity: 1 << 20}, io.Discard, sampleHeader())
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Run(ctx) })
	e := Event{Kind: MsgRead, Class: ClassTx, Size: 1000}
	b.ReportAllocs()
	for b.Loop() {
		r.Emit(e)
	}
	cancel()
	wg.Wait()
	b.ReportMetric(float64(r.Lost())/float64(b.N), "lost/op")
}
