package p2p

import (
	"context"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
)

// The blocks protocol. A client opens a stream, writes one request frame and
// closes its side; the server writes the answer and closes. A server that will
// not answer, for the peer asked too much or is of another network, resets.

// serve is the handler of the blocks protocol.
func (n *Net) serve(s network.Stream) {
	n.serveOne(s, maxRequestBytes, func(s *countedStream, b []byte) (sent int, err error) {
		r, err := decodeRequest(b)
		if err != nil {
			return 0, err
		}
		return n.answer(s, r)
	})
}

// serveOne reads one request of at most limit bytes and has it answered, if the peer
// may ask now. answer returns the bytes that count for what the peer may ask later.
func (n *Net) serveOne(raw network.Stream, limit int, answer func(*countedStream, []byte) (int, error)) {
	s := n.counted(raw)
	if !n.tasks.begin(s) {
		_ = s.Reset()
		return
	}
	defer n.tasks.end(s)
	p := s.Conn().RemotePeer()
	_ = s.SetReadDeadline(time.Now().Add(n.cfg.RequestTimeout))
	// A peer may ask as soon as it has our status, and we may get its question
	// before its status.
	ctx, cancel := context.WithTimeout(n.tasks.ctx, n.cfg.StatusTimeout)
	defer cancel()
	if n.silent.Load() || !n.peers.wait(ctx, p) || !n.peers.begin(p, time.Now()) {
		_ = s.Reset()
		return
	}
	sent := 0
	defer func() { n.peers.finish(p, sent, time.Now()) }()
	b, err := readFrame(s, limit)
	if err == nil {
		sent, err = answer(s, b)
	}
	if err != nil {
		_ = s.Reset()
		if verdict(err) == Reject {
			n.punish(p, offenceProtocol, err)
		}
		return
	}
	_ = s.Close()
}

// writeAnswer writes one frame of an answer. For all of them there is RequestTimeout, from
// when the stream was opened, and as long as a client waits for so many bytes.
func (n *Net) writeAnswer(s *countedStream, b []byte) error {
	slowest := time.Duration(s.out.Load()+int64(len(b))) * n.cfg.FetchTimeout / minProgress
	_ = s.SetWriteDeadline(s.Stat().Opened.Add(n.cfg.RequestTimeout + slowest))
	return writeFrame(s, b)
}

// answer writes the answer to a request and returns the bytes of blocks in it.
func (n *Net) answer(s *countedStream, r request) (sent int, err error) {
	if r.Kind != askBlocks {
		return n.answerHeaders(s, r)
	}
	for _, id := range r.IDs {
		raw := n.fresh.raw(id)
		if raw == nil {
			raw = n.chain.RawBlock(id)
		}
		if raw == nil || sent > 0 && sent+len(raw) > maxAnswerBytes {
			return sent, nil
		}
		begin := n.clock.Now()
		if err := n.writeAnswer(s, raw); err != nil {
			return sent, err
		}
		end := n.clock.Now()
		n.hook.Emit(trace.Event{At: end, Kind: trace.MsgWritten, Class: trace.ClassSync, Hash: id, Peer: s.tag, Size: uint32(len(raw)), Aux: end - begin})
		sent += len(raw)
	}
	return sent, nil
}

// answerHeaders writes the frames of headers that were asked for.
func (n *Net) answerHeaders(s *countedStream, r request) (sent int, err error) {
	frames := map[uint64]int{askAfter: 1, askPath: maxFrames}[r.Kind]
	for locator := r.IDs; frames > 0; frames-- {
		headers := n.after(locator)
		raw := newAnswer(headers).encode()
		if err := n.writeAnswer(s, raw); err != nil {
			return sent, err
		}
		sent += len(raw)
		if len(headers) < maxHeaders {
			break
		}
		locator = []common.Hash{headers[len(headers)-1].ID()}
	}
	return sent, nil
}

// after is a frame of headers: what follows the first block of the locator that is on
// our canonical chain. Without any, and so with another genesis, it is empty.
func (n *Net) after(locator []common.Hash) []*chain.SignedHeader {
	for _, id := range locator {
		h := n.chain.SignedHeaderByID(id)
		if h == nil {
			continue
		}
		if c := n.chain.SignedHeaderByNumber(h.Number()); c == nil || c.ID() != id {
			continue
		}
		return following(h, n.chain.SignedHeaderByNumber)
	}
	return nil
}

// following are the headers after h, at most a frame of them. The chain may change to another branch while it is read: then
// they end before the first that does not follow.
func following(h *chain.SignedHeader, at func(number uint64) *chain.SignedHeader) (headers []*chain.SignedHeader) {
	for len(headers) < maxHeaders {
		next := at(h.Number() + 1)
		if next == nil || next.Parent() != h.ID() {
			break
		}
		headers = append(headers, next)
		h = next
	}
	return headers
}

// locator lists ids of our canonical chain, newest first, each step back twice
// as long as the one before, down to genesis.
func (n *Net) locator() []common.Hash {
	var ids []common.Hash
	number, step := n.chain.Head().Number.Uint64(), uint64(1)
	for len(ids) < maxLocator-1 {
		if h := n.chain.SignedHeaderByNumber(number); h != nil {
			ids = append(ids, h.ID())
		}
		if number == 0 {
			return ids
		}
		number -= min(step, number)
		if len(ids) > 8 {
			step *= 2
		}
	}
	return append(ids, n.genesisID)
}
