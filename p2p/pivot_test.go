package p2p

import (
	"crypto/ecdsa"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	ethcrypto "github.com/ethereum/go-ethereum/crypto"
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
)

// TestFalseRoot: a state for which one of three proposers signed alone is not taken over; one on which all of them built is.
func TestFalseRoot(t *testing.T) {
	w := newWorld(t, "false root")
	keys := []*ecdsa.PrivateKey{testKey("first"), testKey("second"), testKey("third")}
	w.genesis.Proposers = nil
	for _, k := range keys {
		w.genesis.Proposers = append(w.genesis.Proposers, ethcrypto.PubkeyToAddress(k.PublicKey))
	}
	w.builder = openChain(t, w.genesis)
	var blocks []*chain.Block
	for range 130 {
		w.key = keys[(w.slot+1)%3]
		blocks = append(blocks, w.spread(1, 2)...)
	}
	head := blocks[129]
	other := newWorld(t, "made up")
	other.spread(3, 40)
	madeUp := other.builder.State()
	lie := w.bentBy(keys[blocks[127].Slot()%3], blocks[127], blocks[127].Txs(), func(h *types.Header) { h.Root = madeUp.Root() })
	var headers []*chain.SignedHeader
	for _, b := range append(slices.Clone(blocks[:127]), lie) {
		headers = append(headers, b.SignedHeader)
	}
	evil := w.evil("evil", w.claim(128, lie.ID()), func(s network.Stream) {
		defer s.Close()
		b, err := readFrame(s, maxRequestBytes)
		if err != nil {
			return
		}
		switch r, err := decodeRequest(b); {
		case err == nil && r.Kind != askBlocks:
			_ = writeFrame(s, newAnswer(headers).encode())
		case err == nil && r.IDs[0] == lie.ID():
			_ = writeFrame(s, lie.Raw())
		}
	})
	asks := make(chan struct{}, 1)
	evil.host.SetStreamHandler(stateProtocol, func(s network.Stream) {
		defer s.Close()
		b, err := readFrame(s, maxStateRequest)
		if err != nil {
			return
		}
		select {
		case asks <- struct{}{}:
		default:
		}
		r, trees, err := decodeStateRequest(b)
		if err != nil || r.Block != lie.ID() {
			return
		}
		for _, tree := range trees {
			raw := madeUp.Children(tree)
			if r.Kind == askParts {
				raw = madeUp.Part(tree, maxPartBytes)
			}
			_ = writeFrame(s, raw)
		}
	})
	cold, good := w.node("cold", stateConfig), w.node("good", stateConfig)
	good.give(blocks...)
	if err := cold.net.AddPeer(evil.addr()); err != nil {
		t.Fatal(err)
	}
	<-asks
	cold.until("the lie was followed", func() bool { return !cold.net.sync.busy.Load() })
	if cold.chain.HeadID() == lie.ID() {
		t.Fatal("a made-up state was taken over")
	}
	link(cold, good)
	cold.reaches(head)
	if len(cold.rec.all(kind(trace.HeadChanged, lie.ID()))) > 0 {
		t.Error("a made-up state was taken over")
	}
	if n := len(cold.rec.all(kind(trace.BlockImported, common.Hash{}))); n != 2 || cold.chain.State().Root() != head.Header().Root {
		t.Errorf("%d blocks executed, want those after 128; root %s", n, cold.chain.State().Root())
	}
}

// TestPivotOf: more than half of the proposers have signed the pivot or what follows it, and it is one of the newest two.
func TestPivotOf(t *testing.T) {
	w := newWorld(t, "pivot")
	headers := func(n int, step uint64) (out []*chain.SignedHeader) {
		for i := range n {
			h := &types.Header{Number: big.NewInt(int64(i + 1)), Difficulty: new(big.Int), BaseFee: big.NewInt(7)}
			binary.BigEndian.PutUint64(h.Nonce[:], step*uint64(i+1))
			sh, err := chain.SignHeader(h, w.key)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, sh)
		}
		return out
	}
	steps := map[uint64][]*chain.SignedHeader{1: headers(200, 1), 3: headers(200, 3)}
	for _, c := range []struct {
		proposers, last int
		step            uint64 // slots from one block to the next
		want            int    // 0: none
	}{
		{1, 63, 1, 0},
		{1, 128, 1, 128},
		{2, 128, 1, 64},
		{2, 129, 1, 128},
		{3, 128, 1, 64},
		{3, 129, 1, 128},
		{100, 178, 1, 128},
		{100, 177, 1, 64},
		{100, 100, 1, 0},
		{1024, 128, 1, 64}, // 65 of them
		{3, 200, 3, 0},     // all by one of them
	} {
		n := &Net{genesis: &chain.Genesis{SlotMS: 1000, Proposers: make([]common.Address, c.proposers)}, chain: w.builder}
		for i := range n.genesis.Proposers {
			n.genesis.Proposers[i] = common.BytesToAddress(fmt.Appendf(nil, "proposer %d", i))
		}
		way, err := n.pivotOf(steps[c.step][:c.last])
		if len(way) != c.want || (err != nil) != (c.want == 0) || err != nil && !errors.Is(err, errNoPivot) {
			t.Errorf("%d proposers, head %d, a block every %d slots: pivot %d, %v, want %d", c.proposers, c.last, c.step, len(way), err, c.want)
		}
	}
}

// TestTooLongEndsAnAnswer: after a subtree that is longer than a frame nothing more is encoded, and it counts.
func TestTooLongEndsAnAnswer(t *testing.T) {
	const limit = 50
	w := newWorld(t, "too long")
	a := w.node("a")
	blocks := w.spread(64, 4)
	a.give(blocks...)
	counted := make(chan int, 1)
	a.host.SetStreamHandler(stateProtocol, func(s network.Stream) {
		defer s.Close()
		b, err := readFrame(s, maxStateRequest)
		if err != nil {
			return
		}
		if r, trees, err := decodeStateRequest(b); err == nil {
			sent, _ := a.net.answerState(a.net.counted(s), r, trees, limit)
			counted <- sent
		}
	})
	e := w.evil("asks", w.claim(0, common.Hash{}), func(s network.Stream) { _ = s.Reset() })
	if err := a.net.AddPeer(e.addr()); err != nil {
		t.Fatal(err)
	}
	a.until("up", func() bool { return a.net.peers.isUp(e.host.ID()) })
	s, err := e.host.NewStream(t.Context(), a.host.ID(), stateProtocol)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Reset()
	if err := writeFrame(s, stateRequest{Block: blocks[63].ID(), Kind: askParts, Nodes: make([]treeNode, maxStateNodes)}.encode()); err != nil {
		t.Fatal(err)
	}
	frames := 0
	for {
		b, err := readFrame(s, maxPartBytes)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || string(b) != tooLong {
			t.Fatalf("frame %d: %x, %v", frames, b, err)
		}
		frames++
	}
	if sent := <-counted; frames != 1 || sent < limit {
		t.Errorf("%d frames, %d bytes count, want 1 and at least %d", frames, sent, limit)
	}
}
