package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/common/math"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/pheme-net/pheme/chain"
)

// netAPI is the net_ namespace.
type netAPI struct{ s *Server }

// Version returns the chain id in decimal, as geth does.
func (a *netAPI) Version() string {
	return strconv.FormatUint(a.s.chain.Genesis().ChainID, 10)
}

// Listening returns true: a node always listens for peers.
func (a *netAPI) Listening() bool { return true }

// PeerCount returns the number of connected peers.
func (a *netAPI) PeerCount() hexutil.Uint {
	return hexutil.Uint(len(a.s.deps.Net.Peers()))
}

// web3API is the web3_ namespace.
type web3API struct{ s *Server }

// ClientVersion returns name and version of the node.
func (a *web3API) ClientVersion() string { return a.s.cfg.ClientVersion }

// Sha3 returns the Keccak-256 hash of data.
func (a *web3API) Sha3(data hexutil.Bytes) hexutil.Bytes { return crypto.Keccak256(data) }

// txpoolAPI is the txpool_ namespace.
type txpoolAPI struct{ s *Server }

// Status counts executable ("pending") and future ("queued") transactions.
func (a *txpoolAPI) Status() map[string]hexutil.Uint {
	st := a.s.deps.Pool.Stats()
	return map[string]hexutil.Uint{"pending": hexutil.Uint(st.Executable), "queued": hexutil.Uint(st.Future)}
}

// Content returns all pooled transactions by sender and nonce.
func (a *txpoolAPI) Content(ctx context.Context) (json.RawMessage, error) {
	st := a.s.deps.Pool.Stats()
	if err := reserve(ctx, 2*(2*st.Bytes+(st.Executable+st.Future)*roomTx)); err != nil {
		return nil, &codeError{codeBusy, "the content of the pool is too large an answer now: try txpool_contentFrom"}
	}
	c := a.s.deps.Pool.Content()
	b := append([]byte{}, `{"pending":`...)
	b = appendSenders(b, c.Executable, a.s.chain.Genesis())
	b = append(b, `,"queued":`...)
	b = appendSenders(b, c.Future, a.s.chain.Genesis())
	return append(b, '}'), nil
}

// Inspect returns a line for each pooled transaction by sender and nonce, in geth's words.
func (a *txpoolAPI) Inspect(ctx context.Context) (map[string]map[string]map[string]string, error) {
	st := a.s.deps.Pool.Stats()
	if err := reserve(ctx, 2*(st.Executable+st.Future)*roomTx); err != nil {
		return nil, &codeError{codeBusy, "the content of the pool is too large an answer now: try txpool_contentFrom"}
	}
	c := a.s.deps.Pool.Content()
	return map[string]map[string]map[string]string{"pending": inspected(c.Executable), "queued": inspected(c.Future)}, nil
}

func inspected(by map[common.Address][]*chain.Tx) map[string]map[string]string {
	out := make(map[string]map[string]string, len(by))
	for addr, txs := range by {
		lines := make(map[string]string, len(txs))
		for _, t := range txs {
			tx := t.Inner()
			lines[strconv.FormatUint(tx.Nonce(), 10)] = fmt.Sprintf("%s: %v wei + %v gas × %v wei", tx.To().Hex(), tx.Value(), tx.Gas(), tx.GasPrice())
		}
		out[addr.Hex()] = lines
	}
	return out
}

// ContentFrom returns the pooled transactions of one sender by nonce.
func (a *txpoolAPI) ContentFrom(ctx context.Context, addr common.Address) (json.RawMessage, error) {
	executable, future := a.s.deps.Pool.ContentFrom(addr)
	size := 0
	for _, list := range [][]*chain.Tx{executable, future} {
		for _, t := range list {
			size += 2*t.Size() + roomTx
		}
	}
	if err := reserve(ctx, 2*size); err != nil {
		return nil, err
	}
	b := append([]byte{}, `{"pending":`...)
	b = appendNonces(b, executable, a.s.chain.Genesis())
	b = append(b, `,"queued":`...)
	b = appendNonces(b, future, a.s.chain.Genesis())
	return append(b, '}'), nil
}

// phemeAPI is the pheme_ namespace.
type phemeAPI struct{ s *Server }

// Status describes the node at this moment.
func (a *phemeAPI) Status(ctx context.Context) Status {
	s := a.s
	var members map[string]int
	for _, m := range s.deps.Net.Members(ctx) {
		if members == nil {
			members = make(map[string]int)
		}
		members[m.State]++
	}
	g, net, head := s.chain.Genesis(), s.deps.Net.Info(), s.chain.Head()
	return Status{
		Version: s.cfg.ClientVersion,
		Name:    net.Name,
		PeerID:  net.PeerID,
		Listen:  net.Listen,
		ChainID: g.ChainID,
		Network: common.Bytes2Hex(s.genesis[:4]),
		Genesis: s.genesis,
		SlotMS:  g.SlotMS,
		Relay:   net.Relay,
		Relayed: net.Relayed,
		Repairs: net.Repairs,
		Head: HeadStatus{
			Number:    head.Number.Uint64(),
			ID:        head.Hash(),
			Root:      head.Root,
			Slot:      chain.SlotOf(head),
			Timestamp: head.Time,
		},
		Peers:       len(s.deps.Net.Peers()),
		Members:     members,
		Mesh:        net.Mesh,
		Pool:        s.deps.Pool.Stats(),
		Subscribers: s.broker.count(),
		Calls:       s.calls.Load(),
		Panics:      s.panics.Load(),
	}
}

// Clock reads the clock that stamps the node's events.
func (a *phemeAPI) Clock() (ClockReading, error) {
	if a.s.deps.Trace == nil {
		return ClockReading{}, notServed("pheme_clock")
	}
	return a.s.deps.Trace.Clock(), nil
}

// Peers lists the connected peers.
func (a *phemeAPI) Peers() []Peer {
	return append([]Peer{}, a.s.deps.Net.Peers()...)
}

// Members lists the members of the network and what each says of itself.
func (a *phemeAPI) Members(ctx context.Context) []Member {
	return append([]Member{}, a.s.deps.Net.Members(ctx)...)
}

// Network returns what the members have computed together of all of them.
func (a *phemeAPI) Network(ctx context.Context) Aggregates {
	return a.s.deps.Net.Aggregates(ctx)
}

// WaitReceipt returns the receipt of a transaction as soon as it is in a canonical
// block, or null when that takes longer than the given milliseconds.
func (a *phemeAPI) WaitReceipt(ctx context.Context, hash common.Hash, timeoutMS *math.HexOrDecimal64) (json.RawMessage, error) {
	return a.s.waitReceipt(ctx, hash, a.s.waitTime(timeoutMS))
}

// Evidence lists what proposers did that no honest one does: two blocks signed for one
// slot, and signed blocks that break the full rules.
func (a *phemeAPI) Evidence() []Evidence {
	out := []Evidence{}
	for _, e := range a.s.chain.Evidence() {
		out = append(out, Evidence{Slot: e.Slot, Proposer: e.Proposer, Blocks: []common.Hash{e.First.ID(), e.Second.ID()}, Reason: "two blocks for one slot"})
	}
	for _, i := range a.s.chain.Invalid() {
		out = append(out, Evidence{Slot: i.Header.Slot(), Proposer: i.Header.Proposer(), Blocks: []common.Hash{i.Header.ID()}, Reason: i.Reason})
	}
	return out
}

// phemeAdminAPI is the part of the pheme_ namespace that is served on the unix socket
// only.
type phemeAdminAPI struct{ *phemeAPI }

// SetMetadata writes entries of this node's record, which every member sees; an empty
// value removes a key. The whole record has at most 256 bytes of keys and values.
func (a *phemeAdminAPI) SetMetadata(ctx context.Context, entries map[string]string) (bool, error) {
	if len(entries) > maxMetadata {
		return false, invalidParams("%d entries: use at most %d", len(entries), maxMetadata)
	}
	if err := a.s.deps.Net.SetMetadata(ctx, entries); err != nil {
		return false, invalidParams("%v", err)
	}
	return true, nil
}

// maxMetadata bounds what one call may write: more cannot fit.
const maxMetadata = 128

// adminAPI is the admin_ namespace, served on the unix socket only.
type adminAPI struct{ s *Server }

// AddPeer connects to a multiaddr that ends in /p2p/<id> and keeps it connected.
func (a *adminAPI) AddPeer(multiaddr string) (bool, error) {
	err := a.s.deps.Net.AddPeer(multiaddr)
	return err == nil, err
}

// CutPeer closes the connections to a peer and keeps it away for some milliseconds; 0
// lets it come back.
func (a *adminAPI) CutPeer(id string, ms math.HexOrDecimal64) (bool, error) {
	if uint64(ms) > maxCutMS {
		return false, invalidParams("%d ms: use at most %d", uint64(ms), maxCutMS)
	}
	if err := a.s.deps.Net.CutPeer(id, time.Duration(ms)*time.Millisecond); err != nil {
		return false, invalidParams("%v", err)
	}
	return true, nil
}

// maxCutMS is one day.
const maxCutMS = 24 * 3600 * 1000

// SetLogLevel sets the level of a package's log at run time, of all with "*".
func (a *adminAPI) SetLogLevel(pkg, level string) (bool, error) {
	if a.s.deps.SetLogLevel == nil {
		return false, notServed("admin_setLogLevel")
	}
	if err := a.s.deps.SetLogLevel(pkg, level); err != nil {
		return false, invalidParams("%v", err)
	}
	return true, nil
}

// Bend deforms the node for measuring faults; without an argument it only says what the
// node is.
func (a *adminAPI) Bend(bend *Bend) (BendCount, error) {
	if a.s.deps.Bend == nil {
		return BendCount{}, notServed("admin_bend")
	}
	return a.s.deps.Bend(bend)
}

// Links takes up what the plan of the node's shaped links has gained and says what
// they have carried.
func (a *adminAPI) Links() (LinkCount, error) {
	if a.s.deps.Links == nil {
		return LinkCount{}, notServed("admin_links")
	}
	return a.s.deps.Links()
}

// Shutdown asks the node to stop.
func (a *adminAPI) Shutdown() (bool, error) {
	if a.s.deps.Shutdown == nil {
		return false, notServed("admin_shutdown")
	}
	a.s.deps.Shutdown()
	return true, nil
}
