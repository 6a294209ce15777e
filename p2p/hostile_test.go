package p2p

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/trie"
	"github.com/holiman/uint256"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"google.golang.org/protobuf/proto"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/relay"
	"github.com/pheme-net/pheme/p2p/trace"
)

// hostileGossip connects a bare host to n that publishes whatever it likes.
func (w *world) hostileGossip(ctx context.Context, n *testNode, name string, topic int) (*testNode, *pubsub.Topic) {
	w.t.Helper()
	e := w.evil(name, w.claim(0, common.Hash{}), func(s network.Stream) { _ = s.Reset() })
	if err := n.net.AddPeer(e.addr()); err != nil {
		w.t.Fatal(err)
	}
	n.until("the hostile peer is up", func() bool { return n.net.peers.isUp(e.host.ID()) })
	return e, e.topic(ctx, w.t, n, topic)
}

// topic makes a bare host take part in a topic without any checks, and waits
// until it has n there.
func (e *testNode) topic(ctx context.Context, t testing.TB, n *testNode, number int) *pubsub.Topic {
	t.Helper()
	id, name := gossipProtocol(n.net.network, number), n.net.tracers[number].name
	ps, err := pubsub.NewGossipSub(ctx, e.host, pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign), pubsub.WithNoAuthor(),
		pubsub.WithMessageIdFn(messageID), pubsub.WithMaxMessageSize(16<<20), pubsub.WithFloodPublish(true),
		pubsub.WithGossipSubProtocols([]protocol.ID{id}, func(f pubsub.GossipSubFeature, _ protocol.ID) bool {
			return f == pubsub.GossipSubFeatureMesh
		}))
	if err != nil {
		t.Fatal(err)
	}
	topic, err := ps.Join(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := topic.Relay(); err != nil {
		t.Fatal(err)
	}
	n.until("the bare host knows the node's topic", func() bool { return len(ps.ListPeers(name)) > 0 })
	return topic
}

// bent is a block like b with another header and body.
func (w *world) bent(b *chain.Block, txs []*chain.Tx, bend func(*types.Header)) *chain.Block {
	w.t.Helper()
	return w.bentBy(w.key, b, txs, bend)
}

func (w *world) bentBy(key *ecdsa.PrivateKey, b *chain.Block, txs []*chain.Tx, bend func(*types.Header)) *chain.Block {
	w.t.Helper()
	h := types.CopyHeader(b.Header())
	inner := make(types.Transactions, len(txs))
	for i, x := range txs {
		inner[i] = x.Inner()
	}
	h.TxHash = types.DeriveSha(inner, trie.NewStackTrie(nil))
	bend(h)
	sh, err := chain.SignHeader(h, key)
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := chain.NewBlock(sh, txs)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// TestBlockTopicVerdicts sends everything that can be wrong with a block.
func TestBlockTopicVerdicts(t *testing.T) {
	w := newWorld(t, "hostile blocks")
	n := w.node("n")
	n.net.grace = time.Hour // no catch-up
	known := w.block(w.tx(0, 10))
	n.give(known)
	good := w.block(w.tx(1, 300), w.tx(2, 300))
	orphan := w.blocks(2, 10)[1]
	same := func(*types.Header) {}
	slot := func(at time.Time) func(*types.Header) {
		return func(h *types.Header) {
			s := w.genesis.SlotAt(at)
			binary.BigEndian.PutUint64(h.Nonce[:], s)
			h.Time = uint64(w.genesis.SlotStart(s).Unix())
		}
	}
	var many []*chain.Tx
	for range 40 {
		many = append(many, w.tx(3, 30<<10))
	}
	raw := relay.EncodeGossip(good)
	flip := func(at int) []byte {
		b := bytes.Clone(raw)
		b[at] ^= 1
		return b
	}
	cases := []struct {
		name    string
		payload []byte
		want    Verdict
	}{
		{"empty", []byte{}, Reject},
		{"garbage", []byte("garbage"), Reject},
		{"another kind", append([]byte{9}, raw[1:]...), Reject},
		{"cut", raw[:len(raw)-1], Reject},
		{"tail", append(bytes.Clone(raw), 0), Reject},
		{"broken signature", flip(len(raw) - 2), Reject},
		{"broken transaction", flip(len(raw) - 100), Reject},
		{"another's key", relay.EncodeGossip(w.bentBy(w.users[0], good, good.Txs(), same)), Reject},
		{"body too large", relay.EncodeGossip(w.bent(good, many[:35], same)), Reject},
		{"another proposer", relay.EncodeGossip(w.bent(good, good.Txs(), func(h *types.Header) { h.Coinbase = common.Address{1} })), Reject},
		{"another number", relay.EncodeGossip(w.bent(good, good.Txs(), func(h *types.Header) { h.Number = big.NewInt(7) })), Reject},
		{"slot of its parent", relay.EncodeGossip(w.bent(good, good.Txs(), func(h *types.Header) { h.Nonce = types.BlockNonce(known.Header().Nonce) })), Reject},
		{"known", relay.EncodeGossip(known), Ignore},
		{"unknown parent", relay.EncodeGossip(orphan), Ignore},
		{"an hour early", relay.EncodeGossip(w.bent(good, good.Txs(), slot(time.Now().Add(time.Hour)))), Ignore},
		{"good", raw, Accept},
		{"second block of its slot", relay.EncodeGossip(w.bent(good, good.Txs()[:1], same)), Ignore},
		{"third block of its slot", relay.EncodeGossip(w.bent(good, good.Txs()[1:], same)), Ignore},
	}
	w.verdicts(n, topicBlock, len(cases), func(i int) (string, []byte, Verdict) { return cases[i].name, cases[i].payload, cases[i].want })
	n.reaches(good)
	w.stillServes(n)
}

// TestTxTopicVerdicts sends everything that can be wrong with a batch.
func TestTxTopicVerdicts(t *testing.T) {
	w := newWorld(t, "hostile batches")
	n := w.node("n")
	raws := func(txs ...*chain.Tx) (out [][]byte) {
		for _, x := range txs {
			out = append(out, x.Raw())
		}
		return out
	}
	signed := func(data types.TxData, chainID int64) []byte {
		raw, err := types.MustSignNewTx(w.users[7], types.LatestSignerForChainID(big.NewInt(chainID)), data).MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	to := common.Address{1}
	fee := big.NewInt(3_000_000_000)
	a, b, c := w.tx(0, 100), w.tx(0, 100), w.tx(1, 1000)
	broken, err := types.NewTx(&types.DynamicFeeTx{
		ChainID: big.NewInt(1337), To: &to, Gas: 21000, GasFeeCap: fee, GasTipCap: fee, V: new(big.Int), R: new(big.Int), S: big.NewInt(1),
	}).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	innocent := w.tx(3, 10)
	batch := func(raws ...[]byte) []byte { return encodeBatch(nonce{byte(len(raws))}, raws) }
	cases := []struct {
		name    string
		payload []byte
		want    Verdict
	}{
		{"empty", []byte{}, Reject},
		{"garbage", []byte("garbage"), Reject},
		{"no transactions", batch(), Reject},
		{"tail", append(batch(a.Raw()), 0), Reject},
		{"too large", batch(bytes.Repeat([]byte{2}, 65<<10)), Reject},
		{"garbage member", batch(a.Raw(), []byte("garbage")), Reject},
		{"broken signature", batch(innocent.Raw(), broken), Reject},
		{"another chain", batch(signed(&types.DynamicFeeTx{ChainID: big.NewInt(5), To: &to, Gas: 21000, GasFeeCap: fee, GasTipCap: fee}, 5)), Reject},
		{"contract creation", batch(signed(&types.DynamicFeeTx{ChainID: big.NewInt(1337), Gas: 60000, GasFeeCap: fee, GasTipCap: fee}, 1337)), Reject},
		{"blob", batch(signed(&types.BlobTx{ChainID: uint256.NewInt(1337), Gas: 21000, To: to, BlobHashes: []common.Hash{{1}}}, 1337)), Reject},
		{"too little gas", batch(signed(&types.DynamicFeeTx{ChainID: big.NewInt(1337), To: &to, Gas: 20999, GasFeeCap: fee, GasTipCap: fee}, 1337)), Reject},
		{"good", batch(raws(a, b)...), Accept},
		{"known", encodeBatch(nonce{99}, raws(a, b)), Ignore},
		{"more than half new", batch(raws(a, b, c)...), Accept},
		{"less than half new", encodeBatch(nonce{98}, raws(c, w.tx(4, 100))), Ignore},
	}
	w.verdicts(n, topicTx, len(cases), func(i int) (string, []byte, Verdict) { return cases[i].name, cases[i].payload, cases[i].want })
	if n.back.Tx(innocent.Hash()) != nil {
		t.Error("a member of a rejected batch was admitted")
	}
	w.stillServes(n)
}

// verdicts sends each payload from a peer of its own and wants its verdict.
func (w *world) verdicts(n *testNode, topic, count int, get func(int) (string, []byte, Verdict)) {
	w.t.Helper()
	for i := range count {
		name, payload, want := get(i)
		ctx, cancel := context.WithCancel(context.Background())
		before := n.net.Stats().Verdicts[topicNames[topic]]
		e, hostile := w.hostileGossip(ctx, n, name, topic)
		if err := hostile.Publish(ctx, payload); err != nil {
			w.t.Fatalf("%s: %v", name, err)
		}
		n.until(name+": "+want.String(), func() bool {
			return n.net.Stats().Verdicts[topicNames[topic]][want.String()] == before[want.String()]+1
		})
		after := n.net.Stats().Verdicts[topicNames[topic]]
		for v := range numVerdicts {
			if v != want && after[v.String()] != before[v.String()] {
				w.t.Errorf("%s: also %v", name, v)
			}
		}
		cancel()
		_ = e.host.Close()
	}
}

// stillServes connects an honest peer: what it sends arrives, and it is not put out.
func (w *world) stillServes(n *testNode) {
	w.t.Helper()
	honest := w.node(fmt.Sprintf("honest %d", time.Now().UnixNano()))
	for _, b := range n.heads() {
		honest.give(b)
	}
	link(honest, n)
	x := w.tx(6, 50)
	if err := honest.net.PublishTx([]*chain.Tx{x}); err != nil {
		w.t.Fatal(err)
	}
	n.rec.wait(w.t, "an honest transaction", kind(trace.TxAdmitted, x.Hash()))
	slot := chain.SlotOf(honest.chain.Head()) + 100
	b, _, err := honest.chain.Build(slot, w.key, nil, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	honest.propose(b)
	n.reaches(b)
	if !n.net.peers.isUp(honest.host.ID()) || n.net.peers.penalty(honest.host.ID()) != 0 {
		w.t.Error("the honest peer was punished")
	}
}

// heads are the canonical blocks of a node's chain.
func (n *testNode) heads() (out []*chain.Block) {
	for i := uint64(1); ; i++ {
		b := n.chain.BlockByNumber(i)
		if b == nil {
			return out
		}
		out = append(out, b)
	}
}

// TestSpammerIsPutOut: a peer that goes on sending invalid messages is
// disconnected and not let in again.
func TestSpammerIsPutOut(t *testing.T) {
	w := newWorld(t, "spam")
	n := w.node("n")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	e, topic := w.hostileGossip(ctx, n, "spammer", topicTx)
	for i := range 10 {
		if err := topic.Publish(ctx, []byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	n.until("put out", func() bool { return !n.connected(e) })
	if got := n.net.Stats().Verdicts["tx"]["reject"]; got < 4 || got > 10 {
		t.Errorf("%d rejected", got)
	}
	w.stillServes(n)
}

func (n *testNode) connected(e *testNode) bool { return n.net.connected(e.host.ID()) }

// TestGarbageOnStreams writes nonsense to every protocol.
func TestGarbageOnStreams(t *testing.T) {
	w := newWorld(t, "streams")
	n := w.node("n")
	n.give(w.blocks(3, 100)...)
	gossipID := gossipProtocol(n.net.network, topicTx)
	frame := func(b []byte) []byte { return append(binary.AppendUvarint(nil, uint64(len(b))), b...) }
	rpc := func(r *pb.RPC) []byte {
		b, err := proto.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return frame(b)
	}
	subs := &pb.RPC{}
	for i := range 1000 {
		subs.Subscriptions = append(subs.Subscriptions, &pb.RPC_SubOpts{Subscribe: proto.Bool(true), Topicid: proto.String(fmt.Sprint("junk", i))})
	}
	ihave := &pb.RPC{Control: &pb.ControlMessage{Ihave: []*pb.ControlIHave{{TopicID: proto.String("t"), MessageIDs: make([]string, 100_000)}}}}
	authored := &pb.RPC{Publish: []*pb.Message{{From: []byte("me"), Seqno: []byte{1}, Data: []byte{1}, Topic: &n.net.tracers[topicTx].name}}}
	elsewhere := &pb.RPC{Publish: []*pb.Message{{Data: []byte{1}, Topic: proto.String("/pheme/elsewhere")}}}
	late := w.claim(1<<60, common.Hash{1})
	late.Version = 9
	for _, c := range []struct {
		name     string
		protocol protocol.ID
		bytes    []byte
		ends     bool // the stream or the connection is ended by n
	}{
		{"garbage rpc", gossipID, frame([]byte("garbage garbage")), true},
		{"endless rpc", gossipID, []byte{0xff, 0xff, 0xff, 0xff, 0x7f}, true},
		{"rpc above the limit", gossipID, frame(make([]byte, 2<<20)), true},
		{"control above the limit", gossipID, rpc(ihave), true},
		{"too many subscriptions", gossipID, rpc(subs), false},
		{"a message with an author", gossipID, rpc(authored), false},
		{"a message elsewhere", gossipID, rpc(elsewhere), false},
		{"garbage status", statusProtocol, frame([]byte("garbage")), true},
		{"long status", statusProtocol, frame(make([]byte, 4096)), true},
		{"another version", statusProtocol, frame(late.encode()), true},
		{"garbage request", blocksProtocol, frame([]byte("garbage")), true},
		{"long request", blocksProtocol, frame(make([]byte, 1<<20)), true},
		{"empty request", blocksProtocol, frame(request{}.encode()), true},
		{"half a request", blocksProtocol, []byte{200, 1, 2}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := w.evil(c.name, w.claim(0, common.Hash{}), func(s network.Stream) { _ = s.Reset() })
			if err := n.net.AddPeer(e.addr()); err != nil {
				t.Fatal(err)
			}
			n.until("up", func() bool { return n.net.peers.isUp(e.host.ID()) })
			before := n.net.Stats()
			s, err := e.host.NewStream(t.Context(), n.host.ID(), c.protocol)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Write(c.bytes); err != nil && !c.ends {
				t.Fatal(err)
			}
			if c.ends {
				_ = s.CloseWrite()
				_ = s.SetReadDeadline(time.Now().Add(patience))
				if _, err := s.Read(make([]byte, 64)); err == nil {
					t.Error("it was answered")
				}
			} else {
				n.until("bytes read", func() bool { return n.net.Stats().In != before.In })
				if c.name == "a message with an author" { // judged after it was read: wait for it before its sender goes
					n.until("rejected", func() bool { return n.net.Stats().Verdicts["tx"]["reject"] == 1 })
				}
				if !n.connected(e) {
					t.Error("put out")
				}
			}
			_ = e.host.Close()
		})
	}
	if got := n.net.Stats().Verdicts["tx"]["reject"]; got != 1 {
		t.Errorf("the message with an author was rejected %d times", got)
	}
	w.stillServes(n)
}

// TestRequestFlood: one peer asks more than its share; it is refused, another is served.
func TestRequestFlood(t *testing.T) {
	w := newWorld(t, "flood")
	n := w.node("n", func(c *Config) { c.ServeRequests = 20 })
	blocks := w.blocks(3, 100)
	n.give(blocks...)
	e := w.evil("flooder", w.claim(0, common.Hash{}), func(s network.Stream) { _ = s.Reset() })
	if err := n.net.AddPeer(e.addr()); err != nil {
		t.Fatal(err)
	}
	n.until("up", func() bool { return n.net.peers.isUp(e.host.ID()) })
	served := 0
	for range 60 {
		s, err := e.host.NewStream(t.Context(), n.host.ID(), blocksProtocol)
		if err != nil {
			t.Fatal(err)
		}
		_ = s.SetDeadline(time.Now().Add(patience))
		if err := writeFrame(s, request{Kind: askBlocks, IDs: []common.Hash{blocks[0].ID()}}.encode()); err != nil {
			continue
		}
		if b, err := readFrame(s, 1<<20); err == nil && bytes.Equal(b, blocks[0].Raw()) {
			served++
		}
		_ = s.Reset()
	}
	if served < 20 || served > 30 {
		t.Errorf("%d of 60 served, want about 20", served)
	}
	other := w.node("other")
	link(other, n)
	other.reaches(blocks[2])
}

// TestHungryReader: a peer that asks and does not read holds a bounded part of us.
func TestHungryReader(t *testing.T) {
	w := newWorld(t, "hungry")
	n := w.node("n")
	var txs []*chain.Tx
	for i := range 25 {
		txs = append(txs, w.tx(i%8, 30<<10))
	}
	blk := w.block(txs...)
	n.give(blk)
	ids := slices.Repeat([]common.Hash{blk.ID()}, maxAsked)
	e := w.evil("hungry", w.claim(0, common.Hash{}), func(s network.Stream) { _ = s.Reset() })
	if err := n.net.AddPeer(e.addr()); err != nil {
		t.Fatal(err)
	}
	n.until("up", func() bool { return n.net.peers.isUp(e.host.ID()) })
	refused := 0
	for range 3 * maxServing {
		s, err := e.host.NewStream(t.Context(), n.host.ID(), blocksProtocol)
		if err != nil {
			t.Fatal(err)
		}
		_ = s.SetDeadline(time.Now().Add(patience))
		if err := writeFrame(s, request{Kind: askBlocks, IDs: ids}.encode()); err == nil {
			if _, err = s.Read(make([]byte, 1)); err == nil {
				continue // being served, and we read no more
			}
		}
		refused++
	}
	if refused != 2*maxServing {
		t.Errorf("%d of %d refused, want all but %d", refused, 3*maxServing, maxServing)
	}
	other := w.node("other")
	link(other, n)
	other.reaches(blk)
}

// TestSippingReader: for all frames of an answer there is one time, however soon each of them is read.
func TestSippingReader(t *testing.T) {
	w := newWorld(t, "sips")
	n := w.node("n", func(c *Config) { c.FetchTimeout, c.RequestTimeout = 4*time.Millisecond, 500*time.Millisecond })
	blk := w.block(w.tx(0, 30<<10), w.tx(1, 30<<10), w.tx(2, 30<<10))
	n.give(blk)
	e := w.evil("sips", w.claim(0, common.Hash{}), func(s network.Stream) { _ = s.Reset() })
	if err := n.net.AddPeer(e.addr()); err != nil {
		t.Fatal(err)
	}
	n.until("up", func() bool { return n.net.peers.isUp(e.host.ID()) })
	s, err := e.host.NewStream(t.Context(), n.host.ID(), blocksProtocol)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeFrame(s, request{Kind: askBlocks, IDs: slices.Repeat([]common.Hash{blk.ID()}, maxAsked)}.encode()); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	size, got := maxAsked*len(blk.Raw()), 0
	for sip := make([]byte, len(blk.Raw())); err == nil; got += len(sip) {
		<-tick.C
		_, err = io.ReadFull(s, sip)
	}
	if got > size/2 {
		t.Errorf("who sips has %d of %d bytes, then %v", got, size, err)
	}
}

// TestNoticeFlood: head notices without end cost the peer its connection.
func TestNoticeFlood(t *testing.T) {
	w := newWorld(t, "notices")
	n := w.node("n")
	h, err := NewHost(testConfig(), identity("noisy"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	h.SetStreamHandler(statusProtocol, func(s network.Stream) {
		for i := range uint64(100_000) {
			if writeFrame(s, w.claim(i, common.Hash{byte(i), byte(i >> 8)}).encode()) != nil {
				return
			}
		}
	})
	if err := n.net.AddPeer((&testNode{t: t, host: h}).addr()); err != nil {
		t.Fatal(err)
	}
	n.rec.wait(t, "up", kind(trace.PeerUp, common.Hash{}))
	n.rec.wait(t, "cut off", kind(trace.PeerDown, common.Hash{}))
	if n.net.peers.penalty(h.ID()) == 0 {
		t.Error("not punished")
	}
}

// TestForeignProtocolIsNamed: a host that does not speak pheme is let go.
func TestForeignProtocolIsNamed(t *testing.T) {
	w := newWorld(t, "stranger")
	n := w.node("n", func(c *Config) { c.StatusTimeout = 200 * time.Millisecond })
	h, err := NewHost(testConfig(), identity("stranger"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	came, went := make(chan struct{}, 16), make(chan struct{}, 16)
	h.Network().Notify(&network.NotifyBundle{
		ConnectedF:    func(network.Network, network.Conn) { came <- struct{}{} },
		DisconnectedF: func(network.Network, network.Conn) { went <- struct{}{} },
	})
	if err := n.net.AddPeer((&testNode{t: t, host: h}).addr()); err != nil {
		t.Fatal(err)
	}
	<-came
	<-went
	// The other way round: it dials and says nothing.
	if err := h.Connect(t.Context(), addrInfo(n)); err != nil {
		t.Fatal(err)
	}
	<-came
	<-went
	if n.net.Stats().Peers != 0 {
		t.Error("a stranger is a peer")
	}
}
