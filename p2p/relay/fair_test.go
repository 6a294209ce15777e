package relay

import (
	"bufio"
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
)

// These tests are of what honest nodes must never do to each other: send what is refused, wait
// for who is slow, hold what nobody takes.

// TestNothingIsAskedInVain: while the last answer is being judged nobody is asked for nothing, which no
// honest peer does.
func TestNothingIsAskedInVain(t *testing.T) {
	b := sampleOf(t, 20, 2<<10)
	var most []int
	for i := 1; i < 20; i++ {
		most = append(most, i)
	}
	_, e, x := solver(t, b, most...)
	if f := e.next("a"); f == nil || f.kind != frameAsk {
		t.Fatalf("the announcer is told %+v, want a question", f)
	}
	x.puzzle.set(0, b.Txs()[0])
	x.opening = true
	e.links["b"].urgent = nil
	if err := e.handle("b", &frame{kind: frameHave, tag: x.tag, flags: flagDone}); err != nil {
		t.Fatal(err)
	}
	e.askElsewhere(x, time.Now().Add(time.Minute))
	x.opening = false
	e.ask(x, "b")
	if n := len(e.links["b"].urgent); n != 0 {
		t.Errorf("%d questions, the first %+v", n, e.links["b"].urgent[0].frame)
	}
}

// TestLongestAnswer: what is answered at once fits into a frame that the asker reads.
func TestLongestAnswer(t *testing.T) {
	brim, sum := 0, 0 // transactions that fill a frame, so that one as long as any can follow
	for _, x := range sampleOf(t, 700, 0).Txs() {
		if sum += len(x.Raw()); sum > maxTxsBytes-chain.MaxTxBytes {
			break
		}
		brim++
	}
	b := sampleBy(t, 700, func(i int) int {
		if i == brim {
			return chain.MaxTxBytes - 128
		}
		return 0
	})
	if n := len(b.Txs()[brim].Raw()); n > chain.MaxTxBytes || n < chain.MaxTxBytes-64 {
		t.Fatalf("the long one has %d bytes", n)
	}
	var all []int
	for i := range b.Txs() {
		all = append(all, i)
	}
	_, e, x := told(t, b, announceCompact(t, b), all...)
	if err := e.handle("b", &frame{kind: frameAsk, tag: x.tag, asked: all}); err != nil {
		t.Fatal(err)
	}
	got := 0
	for _, p := range e.links["b"].urgent {
		raw := p.frame.encode()
		r := bufio.NewReader(bytes.NewReader(raw))
		if _, err := readFrame(r, r); err != nil {
			t.Fatalf("%d bytes of %d transactions: %v", len(raw), len(p.frame.txs), err)
		}
		got += len(p.frame.txs)
	}
	if got != len(all) {
		t.Errorf("%d of %d answered", got, len(all))
	}
}

// TestUnreadAnswers: what waits for a peer that asks and does not read is bounded, and holds no block.
func TestUnreadAnswers(t *testing.T) {
	b := sampleOf(t, 40, 10<<10)
	var all []int
	for i := range b.Txs() {
		all = append(all, i)
	}
	_, e, x := told(t, b, announceCompact(t, b), all...)
	waiting := func() (n int) {
		for _, p := range e.links["b"].urgent {
			if p.of != nil {
				t.Fatal("an answer holds its block")
			}
			n += len(p.frame.encode())
		}
		return n
	}
	most := 0
	for range 100 { // blocks
		x.parked = map[int]*question{}
		if err := e.handle("b", &frame{kind: frameAsk, tag: x.tag, asked: all}); err != nil {
			t.Fatal(err)
		}
		most = max(most, waiting())
	}
	if len(e.links["b"].urgent) > maxUrgent || most > maxUrgent*maxFrame || most < b.Size() {
		t.Errorf("%d frames and %d bytes wait", len(e.links["b"].urgent), most)
	}
}

// TestTakenOtherwise: a block that came whole ends a transfer whose chunks give something else, and is not
// fetched again.
func TestTakenOtherwise(t *testing.T) {
	b := sampleOf(t, 6, 8<<10)
	n, e, x := told(t, b, announce(t, "coded", b))
	x.failed = true
	if fetch, _ := e.review(time.Now().Add(5 * time.Second)); len(fetch) != 1 {
		t.Fatalf("%d fetched, want the one that failed", len(fetch))
	}
	e.Taken(b)
	if fetch, busy := e.review(time.Now().Add(10 * time.Second)); len(fetch) > 0 || busy || len(n.blamed) > 0 {
		t.Errorf("%d fetched again, busy %v, blamed %q", len(fetch), busy, n.blamed)
	}
}

// TestLateChunks: who sends a chunk of a block that is over, or that was here before it was announced, is told so at
// once: what is not acknowledged takes its place from the next block.
func TestLateChunks(t *testing.T) {
	b := sampleOf(t, 6, 8<<10)
	_, e, x, chunks := receiver(t, b)
	e.drop(x)
	heard := func(p peer.ID, chunk int) {
		t.Helper()
		u := e.links[p].urgent
		if len(u) != 1 {
			t.Fatalf("%s hears %d frames", p, len(u))
		}
		if f := u[0].frame; f.kind != frameHave || f.tag != x.tag || f.flags != flagDone || len(f.acks) != 1 || f.acks[0] != chunk {
			t.Errorf("%s hears %+v", p, f)
		}
	}
	if err := e.handle("b", x.frame(3, chunks[3], 0)); err != nil {
		t.Fatal(err)
	}
	heard("b", 3)

	n := &node{mesh: []peer.ID{"a", "b"}, header: chain.ErrKnown}
	e = n.relay(t, "coded").(*coded).engine
	if err := e.handle("b", x.frame(4, chunks[4], 0)); err != nil {
		t.Fatal(err)
	}
	if err := e.Receive(Message{From: "a", Payload: announce(t, "coded", b)}); err == nil {
		t.Fatal("announced though it is here")
	}
	heard("b", 4)
	if len(e.early.order) > 0 || len(n.blamed) > 0 {
		t.Errorf("%d frames are kept, blamed %q", len(e.early.order), n.blamed)
	}
}

// TestEarlyAndBad: a chunk before its announcement is judged when that comes.
func TestEarlyAndBad(t *testing.T) {
	b := sampleOf(t, 6, 8<<10)
	_, _, x, chunks := receiver(t, b)
	n := &node{mesh: []peer.ID{"a"}}
	e := n.relay(t, "coded").(*coded).engine
	if err := e.handle("b", x.frame(0, chunks[1], 0)); err != nil {
		t.Fatal(err)
	}
	if err := e.Receive(Message{From: "a", Payload: announce(t, "coded", b)}); err != nil {
		t.Fatal(err)
	}
	if len(n.blamed) != 1 || n.blamed[0] != "b" {
		t.Errorf("blamed %q", n.blamed)
	}
}

// TestSlowPeer: a peer that acknowledges after seconds holds up nobody else's block.
func TestSlowPeer(t *testing.T) {
	b := sampleOf(t, 6, 8<<10)
	_, e, _, _ := receiver(t, b)
	e.links["b"].pace.note(time.Now(), 9*time.Second)
	if p := e.patience(); p > 2*slowest {
		t.Errorf("waits %v", p)
	}
}

// TestWhatGoesFirst: among too many blocks one that is complete goes before one that is not.
func TestWhatGoesFirst(t *testing.T) {
	b := sampleOf(t, 6, 8<<10)
	_, e, x, _ := receiver(t, b)
	for i := range maxLive {
		y := newTransfer(x.ann, "a", 3, 0, time.Now())
		y.tag, y.id = tag{byte(i + 1)}, common.Hash{byte(i + 1)}
		if i == 7 {
			y.block = b
		}
		e.mu.Lock()
		e.enter(y)
		e.mu.Unlock()
	}
	if e.live[x.tag] != x || e.live[tag{8}] != nil || len(e.order) != maxLive {
		t.Errorf("%d are left, the first %v, the complete one %v", len(e.order), e.live[x.tag] == x, e.live[tag{8}] != nil)
	}
}

// TestNobodyFollows: chunks that no announcement follows in time, or for which there is no room, are acknowledged: their
// sender must not wait for them for seconds.
func TestNobodyFollows(t *testing.T) {
	_, e, _, chunks := receiver(t, sampleOf(t, 6, 8<<10))
	const sent = 200
	for i := range sent {
		if err := e.handle("b", &frame{kind: frameChunk, tag: tag{7}, chunk: i, bytes: chunks[0]}); err != nil {
			t.Fatal(err)
		}
	}
	acked := make(map[int]bool)
	hear := func() {
		for f := e.next("b"); f != nil; f = e.next("b") {
			if f.kind != frameHave || f.tag != (tag{7}) || f.flags != 0 || len(f.held) > 0 {
				t.Fatalf("it hears %+v", f)
			}
			for _, c := range f.acks {
				acked[c] = true
			}
		}
	}
	if hear(); len(acked) != sent-len(e.early.order) || len(acked) == 0 {
		t.Errorf("%d acknowledged at once of %d, %d wait", len(acked), sent, len(e.early.order))
	}
	e.expire(time.Now().Add(2 * earlyTime))
	if hear(); len(acked) != sent {
		t.Errorf("%d acknowledged in the end of %d", len(acked), sent)
	}
}

// TestDeclined: who sent chunks before an announcement that is not followed hears that none are needed.
func TestDeclined(t *testing.T) {
	b, other := sampleOf(t, 6, 8<<10), sampleOf(t, 7, 8<<10)
	for name, payload := range map[string][]byte{
		"another root":        bent(t, announce(t, "coded", b), func(a *announced) { a.Leaves[0] ^= 1 }),
		"a third of the slot": announce(t, "coded", sampleOf(t, 8, 8<<10)),
	} {
		_, e, _, chunks := receiver(t, b)
		if err := e.Receive(Message{From: "a", Payload: announce(t, "coded", other)}); !errors.Is(err, chain.ErrSecondBlock) {
			t.Fatal(err)
		}
		a, err := decodeAnnouncement(payload, 4<<20)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.handle("b", &frame{kind: frameChunk, tag: a.tag, chunk: 2, bytes: chunks[2]}); err != nil {
			t.Fatal(err)
		}
		if err := e.Receive(Message{From: "a", Payload: payload}); err == nil {
			t.Fatalf("%s is followed", name)
		}
		if f := e.next("b"); f == nil || f.kind != frameHave || f.tag != a.tag || f.flags != flagDone || !slices.Equal(f.acks, []int{2}) {
			t.Errorf("%s: b hears %+v", name, f)
		}
	}
}

// TestLateAcknowledgements: those of a block that is over here count as any.
func TestLateAcknowledgements(t *testing.T) {
	_, e, x, chunks := receiver(t, sampleOf(t, 6, 8<<10))
	if err := e.handle("a", x.frame(0, chunks[0], 0)); err != nil {
		t.Fatal(err)
	}
	if lane, _, _ := e.pick(time.Now()); lane == nil {
		t.Fatal("nothing is sent")
	}
	e.drop(x)
	if err := e.handle("b", &frame{kind: frameHave, tag: x.tag, acks: []int{0}}); err != nil {
		t.Fatal(err)
	}
	if p := &e.links["b"].pace; p.flying != 0 || len(p.flight) != 0 || p.rtt() == 0 {
		t.Errorf("%d bytes are under way, a round trip of %v", p.flying, p.rtt())
	}
}
