package virtual

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/p2p/link"
)

// TestAgainstPackets compares the model with go-libp2p's real QUIC over packets
// of the same network, first on a cold connection, then on one that has carried
// two such messages. QUIC paces and adds its headers, hence the tolerance.
func TestAgainstPackets(t *testing.T) {
	measure := func(stack Stack, size int) (d [3]time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			play(t, uniformConfig(t, 2, "uniform:50ms:0s", 50*link.Mbit, 1), stack, func(w *field) {
				out, in := w.pipe(0, 1)
				for i := range d {
					time.Sleep(time.Second)
					d[i] = transfer(w, out, in, size)
				}
			})
		})
		return d
	}
	for _, size := range []int{1000, 16 << 10, 200_000, 1 << 20} {
		model, real := measure(Direct, size), measure(QUIC, size)
		t.Logf("size=%d model=%v quic=%v", size, model, real)
		for i, what := range []string{"cold", "second", "third"} {
			near(t, fmt.Sprintf("%d bytes, %s", size, what), model[i], real[i], 0.12)
		}
	}
}

// TestQUICStack runs the streams' tests' essentials over real QUIC, with loss,
// and cuts it for longer than it bears.
func TestQUICStack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := uniformConfig(t, 2, "world", 50*link.Mbit, 1)
		cfg.Loss = 0.02
		play(t, cfg, QUIC, func(w *field) {
			out, in := w.pipe(0, 1)
			for range 3 {
				transfer(w, out, in, 300<<10)
				transfer(w, in, out, 300<<10)
			}
			if sum, _ := w.net.Total(); sum.Lost == 0 || sum.Resent != 0 {
				t.Errorf("%+v: want losses, and none repaired by the model", sum)
			}
			if err := w.net.Apply(link.Partition{Groups: [][]int{{0}}}); err != nil {
				t.Fatal(err)
			}
			if _, err := in.Read(make([]byte, 1)); err == nil {
				t.Error("read across a cut")
			}
			time.Sleep(30 * time.Second) // each end gives up by itself
			if err := w.net.Apply(link.Heal{}); err != nil {
				t.Fatal(err)
			}
			w.pipe(0, 1)
		})
	})
}

// TestClosedHostsSendNothing: a host that is closed says no goodbye, whatever still runs in it, and hears nothing.
func TestClosedHostsSendNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		play(t, uniformConfig(t, 2, "uniform:50ms", 50*link.Mbit, 1), Direct, func(w *field) {
			var got [2][]string
			for i, h := range w.hosts {
				if _, err := h.OpenPackets(nil, func(_ peer.ID, b []byte) { got[i] = append(got[i], string(b)) }); err != nil {
					t.Fatal(err)
				}
			}
			send := func(from, to int, text string) {
				addr := netip.AddrPortFrom(netip.MustParseAddr(w.net.udpAddr(to).IP.String()), port)
				w.hosts[from].SendPacket(w.hosts[to].ID(), addr, []byte(text), false)
				time.Sleep(time.Second)
				synctest.Wait() // got is read next
			}
			send(0, 1, "alive")
			send(1, 0, "alive")
			if err := w.hosts[0].Close(); err != nil {
				t.Fatal(err)
			}
			send(0, 1, "goodbye")
			send(1, 0, "are you there?")
			for i := range got {
				if !slices.Equal(got[i], []string{"alive"}) {
					t.Errorf("host %d got %q", i, got[i])
				}
			}
		})
	})
}
