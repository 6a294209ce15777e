package virtual

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/pheme-net/pheme/p2p/link"
)

// passed is when what happened to a row of messages.
type passed struct{ written, first, last []time.Duration }

// passAll writes messages one after another and reads them, the third one late, and says when a write was over and when the
// reader had a message's first and last byte.
func passAll(w *field, whole bool, sizes []int) (p passed) {
	const least = 16 << 10
	out, in := w.pipe(0, 1)
	began := time.Now()
	var mu sync.Mutex
	done := func() {
		mu.Lock()
		defer mu.Unlock()
		p.written = append(p.written, time.Since(began))
	}
	if whole && !out.(interface{ PassWhole(int, func(error)) bool }).PassWhole(least, func(err error) {
		if err != nil {
			w.tb.Errorf("a message was not sent: %v", err)
		}
		done()
	}) {
		w.tb.Fatal("the stack does not pass messages on whole")
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, slices.Max(sizes))
		waited := false
		for i, size := range sizes {
			rand.NewChaCha8([32]byte{byte(i)}).Read(buf[:size])
			called := time.Now()
			w.must(out.Write(buf[:size]))
			waited = waited || time.Since(called) > 0
			clear(buf) // the stream has a copy
			if !whole || size < least {
				done()
			}
		}
		if !waited {
			w.tb.Error("no write ever waited: there was nothing to see")
		}
	})
	for i, size := range sizes {
		if i == 2 {
			time.Sleep(20 * time.Second)
		}
		got, want := make([]byte, size), make([]byte, size)
		w.must(io.ReadFull(in, got[:1]))
		p.first = append(p.first, time.Since(began))
		w.must(io.ReadFull(in, got[1:]))
		p.last = append(p.last, time.Since(began))
		if rand.NewChaCha8([32]byte{byte(i)}).Read(want); !bytes.Equal(got, want) {
			w.tb.Errorf("message %d of %d bytes came as something else", i, size)
		}
	}
	wg.Wait()
	return p
}

// TestPassWhole: what is passed on whole leaves and arrives at the same instants as what is not, also where its reader is late
// and the message is larger than what may be under way.
func TestPassWhole(t *testing.T) {
	sizes := []int{100, 300 << 10, 8 << 20, 1, 40 << 10, 40 << 10, 40 << 10, 1 << 20, 5}
	for _, loss := range []float64{0, 0.01} {
		var runs [2]passed
		for i, whole := range []bool{false, true} {
			inBubble(t, 2, Direct, 8*link.Mbit, func(w *field) { runs[i] = passAll(w, whole, sizes) }, func(cfg *link.Config) { cfg.Loss = loss })
		}
		plain, whole := runs[0], runs[1]
		if !slices.Equal(plain.written, whole.written) || !slices.Equal(plain.first, whole.first) || !slices.Equal(plain.last, whole.last) {
			t.Errorf("loss %g: plain\n%v\nwhole\n%v", loss, plain, whole)
		}
	}
}

// TestPassWholeFails: a message that is not through by its deadline resets the stream, and whoever resets the stream or closes
// the connection ends it.
func TestPassWholeFails(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(out network.Stream) error
		want error
	}{
		"deadline": {func(network.Stream) error { return nil }, os.ErrDeadlineExceeded},
		"reset":    {network.Stream.Reset, network.ErrReset},
		"closed":   {func(out network.Stream) error { return out.Conn().Close() }, network.ErrReset},
	} {
		inBubble(t, 2, Direct, 8*link.Mbit, func(w *field) {
			out, in := w.pipe(0, 1)
			told := make(chan error, 2)
			if !out.(interface{ PassWhole(int, func(error)) bool }).PassWhole(1, func(err error) { told <- err }) {
				t.Fatal("the stack does not pass messages on whole")
			}
			_ = out.SetWriteDeadline(time.Now().Add(2 * time.Second))
			began := time.Now()
			w.must(out.Write(make([]byte, 4<<20))) // 4 s
			if time.Since(began) != 0 {
				t.Errorf("%s: Write took %v", name, time.Since(began))
			}
			time.Sleep(time.Second)
			if err := c.end(out); err != nil {
				t.Error(err)
			}
			if err := <-told; !errors.Is(err, c.want) && !isClosed(err) {
				t.Errorf("%s: told %v, want %v", name, err, c.want)
			}
			if _, err := out.Write([]byte{1}); err == nil {
				t.Errorf("%s: the stream still takes something", name)
			}
			if n, err := io.Copy(io.Discard, in); err == nil || n > 1 {
				t.Errorf("%s: the reader got %d bytes of what never came whole, and %v", name, n, err)
			}
			if len(told) != 0 {
				t.Errorf("%s: told twice", name)
			}
		})
	}
}

func isClosed(err error) bool {
	var c *network.ConnError
	return errors.As(err, &c)
}

// TestPassWholeNeedsDirect: under Yamux a stream is no pipe of its own.
func TestPassWholeNeedsDirect(t *testing.T) {
	inBubble(t, 2, Secured, 8*link.Mbit, func(w *field) {
		out, _ := w.pipe(0, 1)
		if out.(interface{ PassWhole(int, func(error)) bool }).PassWhole(1, nil) {
			t.Error("a stream of Yamux passes messages on whole")
		}
	})
}
