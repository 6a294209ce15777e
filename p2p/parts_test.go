package p2p

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/pheme-net/pheme/chain"
)

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Verdict
	}{
		{nil, Accept},
		{chain.ErrInvalidBlock, Reject}, {chain.ErrBodyMismatch, Reject}, {chain.ErrInvalidTx, Reject}, {chain.ErrBlobTx, Reject},
		{chain.ErrSignature, Reject}, {chain.ErrChainID, Reject}, {ErrBatch, Reject}, {ErrProtocol, Reject},
		{fmt.Errorf("%w: member 3: %w", ErrBatch, chain.ErrSignature), Reject},
		{chain.ErrKnown, Ignore}, {chain.ErrUnknownParent, Ignore}, {chain.ErrTooOld, Ignore}, {chain.ErrSecondBlock, Ignore},
		{chain.ErrEquivocation, Ignore}, {chain.ErrInvalidAncestor, Ignore}, {chain.ErrBadBlock, Ignore},
		{chain.ErrEarly{Hold: true}, Ignore}, {fmt.Errorf("check: %w", chain.ErrEarly{}), Ignore},
		{chain.ErrStorage, Ignore}, {chain.ErrCorrupt, Ignore}, {chain.ErrClosed, Ignore}, {ErrBusy, Ignore}, {errUnwanted, Ignore},
		{errors.New("something of our own"), Ignore}, {context.Canceled, Ignore},
		// Both at once: nobody is punished on a doubt.
		{fmt.Errorf("%w: %w", chain.ErrInvalid, chain.ErrUnknownParent), Ignore},
	} {
		if got := verdict(c.err); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
}

func TestHolder(t *testing.T) {
	h := newHolder(4, 2, 1000)
	at := time.Unix(100, 0)
	id := func(n byte) common.Hash { return common.Hash{n} }
	m := func(from string, block, parent byte, due time.Duration, size int) held {
		return held{from: peer.ID(from), payload: make([]byte, size), block: id(block), parent: id(parent), due: at.Add(due)}
	}
	for i, c := range []struct {
		m    held
		want bool
	}{
		{m("a", 1, 100, 30*time.Second, 10), true},
		{m("a", 1, 100, 30*time.Second, 10), true}, // twice is once
		{m("a", 2, 100, 30*time.Second, 10), true},
		{m("a", 3, 100, 30*time.Second, 10), false}, // a has its share
		{m("b", 3, 101, 40*time.Second, 10), true},
		{m("b", 4, 0, time.Second, 980), false}, // bytes
		{m("b", 4, 0, time.Second, 10), true},   // early: no parent
		{m("c", 5, 102, time.Second, 10), false},
	} {
		if got := h.add(c.m); got != c.want {
			t.Errorf("add %d: %v", i, got)
		}
	}
	if when, ok := h.next(); !ok || !when.Equal(at.Add(time.Second)) {
		t.Errorf("next %v %v", when, ok)
	}
	if got := h.ready(at); len(got) != 0 {
		t.Errorf("ready too soon: %d", len(got))
	}
	if got := h.ready(at.Add(time.Second)); len(got) != 1 || got[0].block != id(4) {
		t.Errorf("ready: %v", got)
	}
	if got := h.children(common.Hash{}); len(got) != 0 {
		t.Errorf("children of nothing: %d", len(got))
	}
	if got := h.children(id(100)); len(got) != 2 || h.len() != 1 {
		t.Errorf("children: %d, left %d", len(got), h.len())
	}
	if got := h.expired(at.Add(time.Minute)); len(got) != 1 || h.len() != 0 || h.used != 0 || len(h.peer) != 0 {
		t.Errorf("expired: %d; left %d, %d bytes, %d peers", len(got), h.len(), h.used, len(h.peer))
	}
	if _, ok := h.next(); ok {
		t.Error("next of an empty holder")
	}
}

func TestBucket(t *testing.T) {
	at := time.Unix(0, 0)
	b := newBucket(10, 1000, at)
	for i := range 10 {
		if !b.take(1, 0, at) {
			t.Fatalf("request %d refused", i)
		}
	}
	if b.take(1, 0, at) {
		t.Fatal("the eleventh was granted")
	}
	if at = at.Add(time.Second); !b.take(1, 5000, at) { // one token a second; bytes go below zero
		t.Fatal("refused after a second")
	}
	if at = at.Add(10 * time.Second); b.take(1, 0, at) {
		t.Fatal("granted in debt")
	}
	if at = at.Add(40 * time.Second); !b.take(1, 0, at) {
		t.Fatal("refused after the debt was paid")
	}
}

func TestDialerBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialer("self", 100*time.Millisecond, time.Second)
		nobody := func(peer.ID) bool { return false }
		dials := func(few bool) []peer.AddrInfo {
			out, _ := d.due(time.Now(), nobody, few)
			return out
		}
		d.add(peer.AddrInfo{ID: "self"}, originStatic)
		d.add(peer.AddrInfo{ID: "found"}, originFound)
		if len(dials(false)) != 0 {
			t.Fatal("a found peer is dialled although we have enough")
		}
		d.add(peer.AddrInfo{ID: "kept"}, originStatic)
		if got := dials(false); len(got) != 1 || got[0].ID != "kept" {
			t.Fatalf("due %v", got)
		}
		if len(dials(false)) != 0 {
			t.Fatal("dialled twice at once")
		}
		var waits []time.Duration
		for range 8 {
			d.done("kept", false, time.Now())
			_, next := d.due(time.Now(), nobody, false)
			waits = append(waits, time.Until(next))
			time.Sleep(time.Until(next))
			if len(dials(false)) != 1 {
				t.Fatal("not dialled when due")
			}
		}
		if waits[0] < 100*time.Millisecond || waits[0] > 200*time.Millisecond || waits[1] < 200*time.Millisecond || waits[7] > 2*time.Second || waits[7] < time.Second {
			t.Errorf("waits %v", waits)
		}
		// A good connection that is lost is dialled at once again; one that drops at once is not.
		d.done("kept", true, time.Now())
		time.Sleep(time.Minute)
		d.lost("kept")
		if _, next := d.due(time.Now(), nobody, false); time.Until(next) > 200*time.Millisecond {
			t.Errorf("redial after %v", time.Until(next))
		}
		// A peer found by mDNS that does not answer is forgotten.
		for range foundTries {
			time.Sleep(2 * time.Second)
			if len(dials(true)) == 0 {
				t.Fatal("found peer not dialled")
			}
			d.done("found", false, time.Now())
			d.done("kept", true, time.Now())
		}
		if d.targets["found"] != nil {
			t.Error("found peer is tried for ever")
		}
	})
}

// TestDialerMissesNoLoss: a bootstrap peer that was lost while there were peers enough is dialled when others are lost,
// too, and one whose connection ended before its dial was reported is dialled again.
func TestDialerMissesNoLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialer("self", 100*time.Millisecond, time.Second)
		nudged := func() bool {
			select {
			case <-d.wake:
				return true
			default:
				return false
			}
		}
		dials := func(few bool) (ids []peer.ID, next time.Time) {
			infos, next := d.due(time.Now(), func(peer.ID) bool { return false }, few)
			for _, i := range infos {
				ids = append(ids, i.ID)
			}
			return ids, next
		}
		d.add(peer.AddrInfo{ID: "boot"}, originBootstrap)
		if got, _ := dials(true); len(got) != 1 || !nudged() {
			t.Fatalf("due %v", got)
		}
		d.done("boot", true, time.Now())
		time.Sleep(time.Minute)
		d.lost("boot")
		if got, next := dials(false); !nudged() || len(got) != 0 || !next.IsZero() {
			t.Fatalf("due %v, next %v, while there are enough", got, next)
		}
		time.Sleep(time.Second)
		d.lost("another") // no target of ours, and now they are few
		if !nudged() {
			t.Fatal("the loss of a peer that is no target wakes nobody")
		}
		if got, _ := dials(true); len(got) != 1 {
			t.Fatalf("due %v", got)
		}
		d.lost("boot") // before the dial is reported
		d.done("boot", true, time.Now())
		_, next := dials(true)
		if !nudged() || next.IsZero() {
			t.Fatal("a loss during the dial is forgotten")
		}
		time.Sleep(time.Until(next))
		if got, _ := dials(true); len(got) != 1 {
			t.Fatalf("due %v", got)
		}
		d.done("boot", true, time.Now()) // and this one lasts
		if x := d.targets["boot"]; nudged() || x.tries != 0 || x.next.After(time.Now()) {
			t.Errorf("after a good dial: %+v", x)
		}
		if got, _ := dials(true); len(got) != 1 {
			t.Fatalf("due %v", got)
		}
		d.foreign("boot") // its status came before the dial is reported, and we hung up
		d.lost("boot")
		d.done("boot", true, time.Now())
		if _, next := dials(true); time.Until(next) != 6*time.Second {
			t.Errorf("a peer of another network is dialled after %v", time.Until(next))
		}
	})
}

// TestFoundAddressesAreBounded: whatever is said by mDNS, a peer is dialled at its configured addresses and at a few that
// were found last.
func TestFoundAddressesAreBounded(t *testing.T) {
	d := newDialer("self", 100*time.Millisecond, time.Second)
	at := func(port int) ma.Multiaddr { return ma.StringCast(fmt.Sprintf("/ip4/10.0.0.1/tcp/%d", port)) }
	for port := 1; port <= 2; port++ {
		d.add(peer.AddrInfo{ID: "kept", Addrs: []ma.Multiaddr{at(port)}}, originStatic)
	}
	var many []ma.Multiaddr
	for port := range 1000 {
		many = append(many, at(1000+port))
		d.add(peer.AddrInfo{ID: "kept", Addrs: many[port:]}, originFound)
	}
	d.add(peer.AddrInfo{ID: "kept", Addrs: many}, originFound)
	dial, _ := d.due(time.Now(), func(peer.ID) bool { return false }, true)
	if len(dial) != 1 || len(dial[0].Addrs) != 2+maxFoundAddrs {
		t.Fatalf("dialled: %v", dial)
	}
	for i, want := range []ma.Multiaddr{at(1), at(2), at(1000)} {
		if got := dial[0].Addrs[i]; !got.Equal(want) {
			t.Errorf("address %d is %v, want %v", i, got, want)
		}
	}
}

// TestHeadersOfOneBranch: when the chain changes to another branch between two reads, what was read of the one before is
// given alone.
func TestHeadersOfOneBranch(t *testing.T) {
	w, o := newWorld(t, "branches"), newWorld(t, "branches")
	o.genesis, o.builder = w.genesis, openChain(t, w.genesis)
	o.slot = 1 // other slots: another branch
	before, after := w.blocks(5, 0), o.blocks(5, 0)
	base := w.builder.SignedHeaderByNumber(0)
	for turn := range uint64(5) { // block turn+1 is the last that is read of the branch before
		got := following(base, func(number uint64) *chain.SignedHeader {
			from := before
			if number > turn+1 {
				from = after
			}
			if number > 5 {
				return nil
			}
			return from[number-1].SignedHeader
		})
		if len(got) != int(turn)+1 || w.builder.CheckHeaders(base, got, time.Now()) != nil {
			t.Errorf("%d headers, want the %d of one branch", len(got), turn+1)
		}
	}
}

func TestPenaltiesFade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeers()
		p.punish("x", 40, time.Now())
		if sum := p.punish("x", 40, time.Now()); sum != 80 || p.penalty("x") != -80 || p.penalty("y") != 0 {
			t.Errorf("sum %v, penalty %v", sum, p.penalty("x"))
		}
		time.Sleep(offenceHalf)
		if got := p.penalty("x"); got < -40.1 || got > -39.9 {
			t.Errorf("after a half-life: %v", got)
		}
		for i := range maxOffences + 10 {
			p.punish(peer.ID(fmt.Sprint(i)), 50, time.Now())
		}
		if len(p.offences) != maxOffences || p.offences["x"].points != 0 {
			t.Errorf("%d offences kept, x among them: %v", len(p.offences), p.offences["x"])
		}
	})
}

func TestRecent(t *testing.T) {
	var r recent[int]
	for i := range 3 * recentSize {
		if !r.add(i) || r.add(i) {
			t.Fatalf("%d", i)
		}
	}
	if len(r.has) != recentSize || !r.add(0) {
		t.Errorf("%d remembered", len(r.has))
	}
}

// TestHedge runs requests to slow, silent and broken sources in virtual time.
func TestHedge(t *testing.T) {
	const patience = 400 * time.Millisecond
	never := time.Hour
	type source struct {
		after  time.Duration // answers, or fails, then
		fail   bool
		drip   int64 // bytes of progress every 100 ms
		others int64 // bytes of other answers every 100 ms
	}
	for _, c := range []struct {
		name    string
		sources []source
		want    peer.ID
		err     error
		took    time.Duration
		asked   int64
	}{
		{"the first answers", []source{{after: 50 * time.Millisecond}, {}}, "0", nil, 50 * time.Millisecond, 1},
		{"the first is silent", []source{{after: never}, {after: 50 * time.Millisecond}}, "1", nil, 450 * time.Millisecond, 2},
		{"the first fails", []source{{fail: true}, {after: 50 * time.Millisecond}}, "1", nil, 50 * time.Millisecond, 2},
		{"slow but steady is left alone", []source{{after: 5 * time.Second, drip: 8 << 10}, {}}, "0", nil, 5 * time.Second, 1},
		{"a drip is no progress", []source{{after: never, drip: 10}, {after: time.Second}}, "1", nil, 1400 * time.Millisecond, 2},
		{"other things come first", []source{{after: 1500 * time.Millisecond, others: 8 << 10}, {}}, "0", nil, 1500 * time.Millisecond, 1},
		{"only other things come", []source{{after: never, others: 8 << 10}, {after: 50 * time.Millisecond}}, "1", nil, 2450 * time.Millisecond, 2},
		{"the oldest of three makes room", []source{{after: never}, {after: never}, {after: never}, {}}, "3", nil, 2 * time.Second, 4},
		{"and the next one", []source{{after: never}, {after: never}, {after: never}, {after: never}, {}}, "4", nil, 3200 * time.Millisecond, 5},
		{"four silent", []source{{after: never}, {after: never}, {after: never}, {after: never}}, "", errStalled, 3200 * time.Millisecond, 4},
		{"all silent", []source{{after: never}, {after: never}}, "", errStalled, 2 * time.Second, 2},
		{"all fail", []source{{fail: true}, {fail: true, after: time.Second}}, "", errNoSource, time.Second, 2},
		{"nobody", nil, "", errNoSource, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var ids []peer.ID
				for i := range c.sources {
					ids = append(ids, peer.ID(fmt.Sprint(i)))
				}
				var asked, running, most atomic.Int64
				start := time.Now()
				others := make([]atomic.Int64, len(c.sources))
				heard := func(p peer.ID) int64 { return others[p[0]-'0'].Load() }
				got, from, err := hedge(t.Context(), ids, patience, heard, func(ctx context.Context, p peer.ID, progress *atomic.Int64) (peer.ID, error) {
					asked.Add(1)
					most.Store(max(most.Load(), running.Add(1)))
					defer running.Add(-1)
					s := c.sources[p[0]-'0']
					end := time.Now().Add(s.after)
					for time.Now().Before(end) {
						if sleep(ctx, min(100*time.Millisecond, time.Until(end))) != nil {
							return "", ctx.Err()
						}
						progress.Add(s.drip)
						others[p[0]-'0'].Add(s.others)
					}
					if s.fail {
						return "", errMissing
					}
					return p, nil
				})
				if got != c.want || from != c.want || !errors.Is(err, c.err) || c.err == nil && err != nil {
					t.Errorf("%q from %q, %v; want %q, %v", got, from, err, c.want, c.err)
				}
				if most.Load() > parallel {
					t.Errorf("%d asked at once", most.Load())
				}
				if d := time.Since(start); d != c.took || asked.Load() != c.asked || running.Load() != 0 {
					t.Errorf("took %v, want %v; asked %d, want %d; %d still running", d, c.took, asked.Load(), c.asked, running.Load())
				}
			})
		})
	}
}

func TestBatcherKeepsOrderAndSize(t *testing.T) {
	w := newWorld(t, "batcher")
	b := batcher{limit: 4000}
	var in, out []*chain.Tx
	for i := range 60 {
		x := w.tx(i%3, 10+i*30)
		in = append(in, x)
		full := b.add(x)
		if full != nil {
			raws := make([][]byte, len(full))
			for k, y := range full {
				raws[k] = y.Raw()
			}
			if n := len(encodeBatch(nonce{}, raws)); n > b.limit && len(full) > 1 {
				t.Errorf("batch of %d bytes", n)
			}
		}
		out = append(out, full...)
	}
	out = append(out, b.take()...)
	if fmt.Sprint(in) != fmt.Sprint(out) || b.body != 0 {
		t.Error("order or transactions lost")
	}
}

func TestConfig(t *testing.T) {
	if err := (Config{}).fill().validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
	for _, c := range []Config{
		{Listen: []string{"127.0.0.1:4001"}}, {Static: []string{"/ip4/127.0.0.1/tcp/1"}}, {Bootstrap: []string{"nobody"}},
		{D: 4, Dlo: 5}, {D: 20, Dhi: 12}, {Heartbeat: -1}, {HoldTotal: -1}, {FetchTimeout: -time.Second},
	} {
		if err := c.fill().validate(); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
	h, err := NewHost(testConfig(), identity("params"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for d := 2; d <= 16; d++ { // the library takes the parameters of every degree
		cfg := Config{D: d}.fill()
		if err := cfg.validate(); err != nil {
			t.Error(err)
		}
		cfg.TxD = d
		for topic := range numTopics {
			ctx, cancel := context.WithCancel(t.Context())
			if _, err := pubsub.NewGossipSub(ctx, h, pubsub.WithGossipSubParams(gossipParams(cfg, topic, h.ID()))); err != nil {
				t.Errorf("D=%d, %s: %v", d, topicNames[topic], err)
			}
			cancel()
		}
	}
	if err := (Config{D: 1}).fill().validate(); err == nil {
		t.Error("D=1 was taken")
	}
}
