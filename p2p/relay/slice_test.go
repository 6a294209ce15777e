package relay

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/pheme-net/pheme/chain"
)

// TestSlices: slices give the chunk back, in any order and twice, of every size that a
// block can have, and fit a datagram.
func TestSlices(t *testing.T) {
	for _, size := range []int{64, maxSlice, maxSlice + 1, 4 << 10, 8 << 10, shapeOf(chain.MaxBlockBytes).chunk} {
		f := &frame{kind: frameChunk, tag: tag{1}, hops: 3, chunk: 300, bytes: filler(size, size)}
		cut := f.slices()
		var d desk
		var whole *frame
		for i := range cut {
			b := cut[(i*7+len(cut)-1)%len(cut)] // 7 divides no number of slices there is
			if len(b) > maxDatagram {
				t.Fatalf("%d bytes: a datagram of %d", size, len(b))
			}
			s, err := decodeSlice(b)
			if err != nil {
				t.Fatal(err)
			}
			if i < len(cut)-1 {
				d.add(time.Now(), s, len(b)) // and again below
			}
			if got, _ := d.add(time.Now(), s, len(b)); got != nil {
				whole = got
			}
		}
		if whole == nil || whole.tag != f.tag || whole.hops != 3 || whole.chunk != 300 || !bytes.Equal(whole.bytes, f.bytes) {
			t.Errorf("%d bytes in %d slices came back as %v", size, len(cut), whole)
		}
		if len(d.open) != 0 || d.bytes != 0 {
			t.Errorf("%d bytes: %d chunks and %d bytes are left", size, len(d.open), d.bytes)
		}
	}
}

// TestDesk: a chunk with a lost slice is whole once it is sent again, and no peer has
// more kept than deskBytes or for longer than deskTime.
func TestDesk(t *testing.T) {
	now := time.Unix(0, 0)
	var d desk
	put := func(chunk int, which ...int) (whole *frame) {
		cut := (&frame{kind: frameChunk, tag: tag{1}, chunk: chunk, bytes: filler(chunk, 4<<10)}).slices()
		for _, i := range which {
			s, err := decodeSlice(cut[i])
			if err != nil {
				t.Fatal(err)
			}
			if f, _ := d.add(now, s, len(cut[i])); f != nil {
				whole = f
			}
		}
		return whole
	}
	if put(1, 0, 1, 3) != nil {
		t.Fatal("whole without a slice")
	}
	if f := put(1, 2); f == nil || !bytes.Equal(f.bytes, filler(1, 4<<10)) {
		t.Fatalf("not whole with the slice that was lost: %v", f)
	}
	kept, off := 0, 0
	for c := range 400 {
		put(c, 0, 1, 2)
		for _, x := range d.clear(now) {
			off += x.bytes
		}
		if kept = d.bytes; kept > deskBytes {
			t.Fatalf("%d bytes kept", kept)
		}
	}
	if len(d.open) < 30 {
		t.Errorf("only %d chunks kept", len(d.open))
	}
	now = now.Add(deskTime + 1)
	for _, x := range d.clear(now) {
		off += x.bytes
	}
	if want := 400 * 3 * (sliceHeader + 1<<10); d.bytes != 0 || len(d.open) != 0 || off != want {
		t.Errorf("%d bytes of %d chunks kept for ever; %d given up, want all %d", d.bytes, len(d.open), off, want)
	}
}

// TestSliceFormat: what stands before the bytes of a slice.
func TestSliceFormat(t *testing.T) {
	f := &frame{kind: frameChunk, tag: tag{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, hops: 9, chunk: 0x0a0b, bytes: make([]byte, 4<<10)}
	want := []byte{5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0x0a, 0x0b, 9, 3, 4}
	if got := f.slices()[3]; !bytes.Equal(got[:sliceHeader], want) || len(got) != sliceHeader+1<<10 {
		t.Errorf("the last slice begins %x and has %d bytes, want %x and %d", got[:sliceHeader], len(got), want, sliceHeader+1<<10)
	}
}

func FuzzDecodeSlice(f *testing.F) {
	for _, b := range (&frame{kind: frameChunk, chunk: 3, hops: 1, bytes: make([]byte, 3000)}).slices() {
		f.Add(b)
	}
	f.Add([]byte{frameSlice})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeSlice(b)
		if err != nil {
			if !errors.Is(err, chain.ErrInvalid) {
				t.Fatalf("%v is not the sender's fault", err)
			}
			return
		}
		var d desk
		whole, c := d.add(time.Unix(0, 0), s, len(b))
		if (whole != nil) != (s.of == 1) || c.got != 1 || len(c.parts) > maxSlices {
			t.Fatalf("slice %d of %d: %v", s.no, s.of, whole)
		}
		if whole != nil && !bytes.Equal(whole.slices()[0], b) {
			t.Fatalf("%x is cut to %x", b, whole.slices()[0])
		}
	})
}
