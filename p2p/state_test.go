package p2p

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/recon"
	"github.com/pheme-net/pheme/p2p/trace"
)

// spread makes n blocks that each pay k new accounts.
func (w *world) spread(n, k int) (out []*chain.Block) {
	for i := range n {
		var txs []*chain.Tx
		for j := range k {
			txs = append(txs, w.pay((i+j)%len(w.users), common.BytesToAddress(fmt.Appendf(nil, "new %d %d", i, j))))
		}
		out = append(out, w.block(txs...))
	}
	return out
}

// stateConfig has patience: where a peer answers, a slow machine must not look
// like a peer that does not.
func stateConfig(c *Config) {
	c.StateBlocks, c.NoRepair = 100, true
	c.FetchTimeout = time.Second
}

// soon is stateConfig for a peer that will not answer.
func soon(c *Config) {
	stateConfig(c)
	c.FetchTimeout = 300 * time.Millisecond
}

// TestStateSync: a node that starts cold takes over a state, checked against a
// header, and executes only the blocks after it.
func TestStateSync(t *testing.T) {
	w := newWorld(t, "state")
	blocks := w.spread(300, 3)
	head := blocks[len(blocks)-1]
	a, b := w.node("a", stateConfig), w.node("b", stateConfig)
	a.give(blocks...)
	b.give(blocks...)
	cold := w.node("cold", stateConfig)
	link(cold, a)
	link(cold, b)
	cold.reaches(head)
	if got, want := cold.chain.State().Root(), head.Header().Root; got != want {
		t.Fatalf("state %s, want %s", got, want)
	}
	pivot := head.Number() / w.genesis.PivotEvery() * w.genesis.PivotEvery()
	if n := len(cold.rec.all(kind(trace.BlockImported, common.Hash{}))); n != int(head.Number()-pivot) {
		t.Errorf("%d blocks executed, want those after %d", n, pivot)
	}
	if cold.chain.BlockByNumber(10) != nil || cold.chain.HeaderByNumber(10) == nil {
		t.Error("headers are there and bodies are not")
	}
	if _, err := cold.chain.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	next := w.block(w.tx(0, 10))
	a.propose(next)
	cold.reaches(next)
	// It serves others what it has, and they go on to whoever has the rest.
	second := w.node("second", stateConfig, func(c *Config) { c.FullSync = true })
	link(second, cold)
	link(second, a)
	second.reaches(next)
	if second.chain.BlockByNumber(10) == nil {
		t.Error("a full sync has no bodies")
	}
}

// TestStateSyncOfABranchFromBelowTheWindow: a node whose branch was left below
// what it can undo takes the heavier one's state over.
func TestStateSyncOfABranchFromBelowTheWindow(t *testing.T) {
	w, o := newWorld(t, "fork"), newWorld(t, "fork")
	o.genesis, o.builder = w.genesis, openChain(t, w.genesis)
	a, b := w.node("a", stateConfig), w.node("b", stateConfig)
	small, err := chain.Open(chain.Config{UndoBlocks: 16}, w.genesis, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = small.Close() })
	a.stop()
	a.chain = small
	a.start()
	a.give(w.spread(60, 1)...)
	o.slot = 1 // other slots: another branch
	better := o.spread(90, 2)
	b.give(better...)
	link(a, b)
	a.reaches(better[89])
	if a.chain.State().Root() != better[89].Header().Root || a.chain.Low() < 64 {
		t.Errorf("root %s, window from %d", a.chain.State().Root(), a.chain.Low())
	}
	if _, err := a.chain.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestBlocksComeWhileAStateIsAskedFor: when the last block of a catch-up has been imported from elsewhere meanwhile,
// nothing is left to be done.
func TestBlocksComeWhileAStateIsAskedFor(t *testing.T) {
	w := newWorld(t, "overtaken")
	blocks := w.spread(130, 1)
	a, cold := w.node("a", stateConfig), w.node("cold", stateConfig)
	a.give(blocks...)
	var elsewhere sync.Once
	a.host.SetStreamHandler(stateProtocol, func(s network.Stream) {
		elsewhere.Do(func() {
			for _, b := range blocks {
				if _, err := cold.chain.Add(b); err != nil {
					t.Errorf("Add(%d) = %v", b.Number(), err)
				}
			}
		})
		_ = s.Reset()
	})
	link(cold, a)
	cold.reaches(blocks[len(blocks)-1])
	cold.until("catch-up ends", func() bool { return !cold.net.sync.busy.Load() })
	if n := len(cold.rec.all(kind(trace.BlockAccepted, common.Hash{}))); n != 0 {
		t.Errorf("%d blocks fetched that were there", n)
	}
}

// TestStateSyncResumes: the peer goes away in the middle; with another one the
// rest is fetched, and not again what had come.
func TestStateSyncResumes(t *testing.T) {
	w := newWorld(t, "resume")
	blocks := w.spread(200, 5)
	cold, good := w.node("cold", soon), w.node("good", stateConfig)
	good.give(blocks...)
	var served atomic.Int32
	gone := w.node("gone", stateConfig)
	gone.give(blocks...)
	gone.host.SetStreamHandler(stateProtocol, func(s network.Stream) { // the digests and some parts, then nothing
		defer s.Close()
		b, err := readFrame(s, maxStateRequest)
		if err != nil {
			return
		}
		r, trees, err := decodeStateRequest(b)
		st, ok := gone.chain.PivotState(r.Block)
		if err != nil || !ok {
			return
		}
		for _, tree := range trees {
			raw := st.Children(tree)
			if r.Kind == askParts {
				if served.Add(1) > 100 {
					<-t.Context().Done()
					return
				}
				raw = st.Part(tree, maxPartBytes)
			}
			_ = writeFrame(s, raw)
		}
	})
	if err := cold.net.AddPeer(gone.addr()); err != nil {
		t.Fatal(err)
	}
	cold.rec.wait(t, "the first peer is up", kind(trace.PeerUp, common.Hash{}))
	cold.until("something is staged", func() bool {
		s, err := cold.chain.Stage()
		return err == nil && s.State().Root() != cold.chain.State().Root()
	})
	gone.stop()
	cold.until("the first peer is gone, and what it brought is staged", func() bool { return cold.net.peers.count() == 0 && !cold.net.sync.busy.Load() })
	staged, err := cold.chain.Stage()
	if err != nil {
		t.Fatal(err)
	}
	pivot, _ := good.chain.PivotState(blocks[191].ID())
	lacking, all := 0, 0
	for i := range 4096 {
		part := subtree(recon.Node{Depth: 3, Index: uint32(i)})
		if pivot.Digest(part) != (common.Hash{}) {
			all++
		}
		if staged.State().Digest(part) != pivot.Digest(part) {
			lacking++
		}
	}
	var asked atomic.Int32
	good.host.SetStreamHandler(stateProtocol, func(s network.Stream) {
		defer s.Close()
		b, err := readFrame(s, maxStateRequest)
		if err != nil {
			return
		}
		if r, trees, err := decodeStateRequest(b); err == nil {
			if r.Kind == askParts {
				asked.Add(int32(len(trees)))
			}
			_, _ = good.net.answerState(good.net.counted(s), r, trees, maxPartBytes)
		}
	})
	link(cold, good)
	cold.reaches(blocks[len(blocks)-1])
	// One of the lacking has accounts of the genesis: it is compared bucket by bucket.
	if got := int(asked.Load()); got < lacking || got > lacking+16*len(w.users) || lacking > all-50 {
		t.Errorf("%d parts fetched after the interruption, %d of %d were lacking", got, lacking, all)
	}
}

// TestHostileStates: nothing a peer says of a state moves the chain, lies cost it
// its score, and an honest peer brings the true one.
func TestHostileStates(t *testing.T) {
	w := newWorld(t, "hostile states")
	blocks := w.spread(140, 2)
	head := blocks[len(blocks)-1]
	other := newWorld(t, "another state")
	other.spread(3, 40)
	wrongState := other.builder.State()
	asked := func(s network.Stream) (stateRequest, []chain.Subtree, bool) {
		b, err := readFrame(s, maxStateRequest)
		if err != nil {
			return stateRequest{}, nil, false
		}
		r, trees, err := decodeStateRequest(b)
		return r, trees, err == nil
	}
	for name, c := range map[string]struct {
		serve  func(n *testNode, s network.Stream)
		scored bool
	}{
		"gone":   {func(_ *testNode, s network.Stream) { _ = s.Close() }, false},
		"silent": {func(_ *testNode, s network.Stream) { <-t.Context().Done(); _ = s.Reset() }, false},
		"other digests": {func(_ *testNode, s network.Stream) {
			if _, trees, ok := asked(s); ok {
				for _, tree := range trees {
					_ = writeFrame(s, wrongState.Children(tree))
				}
			}
			_ = s.Close()
		}, true},
		"true digests, other buckets": {func(n *testNode, s network.Stream) {
			r, trees, ok := asked(s)
			st, have := n.chain.PivotState(r.Block)
			if ok && have {
				for _, tree := range trees {
					raw := st.Children(tree)
					if r.Kind == askParts {
						raw = wrongState.Part(tree, maxPartBytes)
					}
					_ = writeFrame(s, raw)
				}
			}
			_ = s.Close()
		}, true},
		"a frame too large": {func(_ *testNode, s network.Stream) { _, _ = s.Write([]byte{0xff, 0xff, 0xff, 0x7f}) }, true},
		"a byte at a time": {func(_ *testNode, s network.Stream) {
			_, _ = s.Write([]byte{0xff, 0x7f})
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for range tick.C {
				if _, err := s.Write([]byte{1}); err != nil {
					return
				}
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			config := stateConfig
			if !c.scored {
				config = soon
			}
			n, e, good := w.node("victim "+name, config), w.node("evil "+name, stateConfig), w.node("good "+name, stateConfig)
			defer n.stop()
			defer e.stop()
			defer good.stop()
			e.give(blocks...)
			good.give(blocks...)
			asks := make(chan struct{}, 64)
			e.host.SetStreamHandler(stateProtocol, func(s network.Stream) {
				select {
				case asks <- struct{}{}:
				default:
				}
				c.serve(e, s)
			})
			if err := n.net.AddPeer(e.addr()); err != nil {
				t.Fatal(err)
			}
			<-asks // the fault is there
			if c.scored {
				n.until("its score", func() bool { return n.net.peers.penalty(e.host.ID()) < 0 })
			}
			link(n, good)
			n.reaches(head)
			if n.chain.State().Root() != head.Header().Root {
				t.Error("another state")
			}
			if !n.net.peers.isUp(good.host.ID()) || n.net.peers.penalty(good.host.ID()) < 0 {
				t.Error("the honest peer is punished")
			}
		})
	}
}

// TestStateLongerThanAFrame: of a subtree that is longer than a frame the buckets come one
// by one; where a bucket is longer, all blocks come instead. The server is honest either way.
func TestStateLongerThanAFrame(t *testing.T) {
	w := newWorld(t, "long parts")
	blocks := w.spread(140, 4)
	head := blocks[len(blocks)-1]
	for name, c := range map[string]struct {
		limit    int // a new account has 22 bytes, a user's some 33
		executed int
	}{
		"a subtree": {50, len(blocks) - 128},
		"a bucket":  {30, len(blocks)},
	} {
		t.Run(name, func(t *testing.T) {
			cold, a := w.node("cold "+name, stateConfig), w.node("a "+name, stateConfig)
			defer cold.stop()
			defer a.stop()
			a.give(blocks...)
			pivot, ok := a.chain.PivotState(blocks[127].ID())
			if !ok {
				t.Fatal("no state of block 128")
			}
			var long [5]atomic.Int32 // asked for, by depth
			a.host.SetStreamHandler(stateProtocol, func(s network.Stream) {
				defer s.Close()
				b, err := readFrame(s, maxStateRequest)
				if err != nil {
					return
				}
				r, trees, err := decodeStateRequest(b)
				if err != nil {
					return
				}
				for _, tree := range trees {
					if r.Kind == askParts && pivot.Part(tree, c.limit) == nil {
						long[tree.Depth].Add(1)
					}
				}
				_, _ = a.net.answerState(a.net.counted(s), r, trees, c.limit)
			})
			link(cold, a)
			cold.reaches(head)
			if long[3].Load() == 0 || (long[4].Load() > 0) != (name == "a bucket") {
				t.Fatalf("too long: %d subtrees, %d buckets", long[3].Load(), long[4].Load())
			}
			if n := len(cold.rec.all(kind(trace.BlockImported, common.Hash{}))); n != c.executed {
				t.Errorf("%d blocks executed, want %d", n, c.executed)
			}
			if cold.chain.State().Root() != head.Header().Root {
				t.Error("another state")
			}
			if cold.net.peers.penalty(a.host.ID()) < 0 {
				t.Error("the honest peer is punished")
			}
		})
	}
}

// TestStateRequestsAreBounded: what no honest client asks is refused and scored.
func TestStateRequestsAreBounded(t *testing.T) {
	many := make([]treeNode, maxStateNodes+1)
	for name, r := range map[string]stateRequest{
		"nothing":             {Kind: askParts},
		"too much":            {Kind: askParts, Nodes: many},
		"another kind":        {Kind: 2, Nodes: many[:1]},
		"below buckets":       {Kind: askParts, Nodes: []treeNode{{5, 0}}},
		"a bucket's children": {Kind: askChildren, Nodes: []treeNode{{4, 0}}},
		"no such node":        {Kind: askParts, Nodes: []treeNode{{1, 16}}},
	} {
		if _, _, err := decodeStateRequest(r.encode()); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecodeStateRequest(f *testing.F) {
	f.Add(stateRequest{Kind: askParts, Nodes: []treeNode{{3, 4095}}}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, trees, err := decodeStateRequest(b)
		roundTrip(t, b, err, r.encode)
		for _, tree := range trees {
			if !tree.Valid() {
				t.Fatalf("%+v", tree)
			}
		}
	})
}

// TestHeadersInOneRequest: the headers of a long way come frame after frame on one stream,
// what is false in a later frame is scored, and an honest peer brings the rest.
func TestHeadersInOneRequest(t *testing.T) {
	w := newWorld(t, "long way")
	for range 2*maxHeaders + 100 {
		w.block()
	}
	head := w.builder.HeadID()
	for name, second := range map[string]func(first answer) []byte{ // what the first peer's second frame is; nil answers truly
		"true":        nil,
		"garbage":     func(answer) []byte { return []byte("garbage") },
		"first again": answer.encode,
		"none":        func(answer) []byte { return answer{}.encode() },
	} {
		t.Run(name, func(t *testing.T) {
			cold, serving := w.node("cold "+name, stateConfig), w.node("serving "+name, stateConfig)
			good := w.node("good "+name, stateConfig)
			defer cold.stop()
			defer serving.stop()
			defer good.stop()
			for _, n := range []*testNode{serving, good} {
				for i := range w.builder.Weight() {
					n.give(w.builder.BlockByNumber(i + 1))
				}
			}
			var paths atomic.Int32
			serving.host.SetStreamHandler(blocksProtocol, func(s network.Stream) {
				defer s.Close()
				b, err := readFrame(s, maxRequestBytes)
				if err != nil {
					return
				}
				r, err := decodeRequest(b)
				if err != nil {
					return
				}
				if r.Kind == askPath {
					paths.Add(1)
				}
				if r.Kind == askBlocks || second == nil {
					_, _ = serving.net.answer(serving.net.counted(s), r)
					return
				}
				first := newAnswer(serving.net.after(r.IDs))
				_ = writeFrame(s, first.encode())
				_ = writeFrame(s, second(first))
			})
			if err := cold.net.AddPeer(serving.addr()); err != nil {
				t.Fatal(err)
			}
			if second == nil {
				cold.until("the head", func() bool { return cold.chain.HeadID() == head })
				if n := paths.Load(); n != 1 || cold.chain.HeaderByNumber(maxHeaders+10) == nil {
					t.Errorf("%d requests for the way, want 1", n)
				}
				return
			}
			cold.until("a request", func() bool { return paths.Load() > 0 })
			if name != "none" { // a shorter branch than claimed is no lie
				cold.until("its score", func() bool { return cold.net.peers.penalty(serving.host.ID()) < 0 })
			}
			link(cold, good)
			cold.until("the head", func() bool { return cold.chain.HeadID() == head })
			if cold.net.peers.penalty(good.host.ID()) < 0 {
				t.Error("the honest peer is punished")
			}
		})
	}
}

// TestPace: requests grow while they are short, shrink when they are long, and one of
// another size than the present moves nothing.
func TestPace(t *testing.T) {
	f := newStateFetcher(nil, common.Hash{}, nil, nil)
	at := func(want int64) {
		t.Helper()
		if got := f.size.Load(); got != want {
			t.Fatalf("%d subtrees in a request, want %d", got, want)
		}
	}
	f.pace(stateFirst, requestLeast-1)
	f.pace(stateFirst, requestLeast-1) // was sent beside the first one
	at(2 * stateFirst)
	f.pace(2*stateFirst, requestLeast)
	f.pace(2*stateFirst, requestMost)
	at(2 * stateFirst)
	for range 10 {
		f.pace(int(f.size.Load()), 0)
	}
	at(stateChunk)
	for range 10 {
		f.pace(int(f.size.Load()), time.Minute)
	}
	at(1)
}
