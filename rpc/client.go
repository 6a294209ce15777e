package rpc

import (
	"context"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	gethrpc "github.com/ethereum/go-ethereum/rpc"
)

// Client calls one node. It is safe for concurrent use.
type Client struct {
	raw    *gethrpc.Client
	kept   *http.Transport
	target string
}

// idleConns is how many connections a client keeps for its next calls; net/http's two
// make a client with more calls at once open a connection for almost each.
const idleConns = 64

// Dial returns a client of the node at target: an http, https, ws or wss URL, or the
// path of its unix socket. Over HTTP nothing is sent yet. The options are
// go-ethereum's; WithHTTPClient gives it another transport.
func Dial(ctx context.Context, target string, opts ...gethrpc.ClientOption) (*Client, error) {
	kept := &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: idleConns, IdleConnTimeout: 90 * time.Second}
	opts = append([]gethrpc.ClientOption{gethrpc.WithHTTPClient(&http.Client{Transport: kept})}, opts...)
	raw, err := gethrpc.DialOptions(ctx, target, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", target, err)
	}
	return &Client{raw: raw, kept: kept, target: target}, nil
}

// DialHTTP is Dial over an HTTP client of the caller's, such as one whose connections stay inside
// the process.
func DialHTTP(ctx context.Context, url string, c *http.Client) (*Client, error) {
	return Dial(ctx, url, gethrpc.WithHTTPClient(c))
}

// Close ends the connection and every subscription of it.
func (c *Client) Close() {
	c.raw.Close()
	c.kept.CloseIdleConnections()
}

// Raw returns the library client underneath, for example for ethclient.NewClient.
func (c *Client) Raw() *gethrpc.Client { return c.raw }

// Target returns the URL or path that was dialled.
func (c *Client) Target() string { return c.target }

// Call runs any method and decodes its result into result, a pointer or nil.
func (c *Client) Call(ctx context.Context, result any, method string, args ...any) error {
	return c.raw.CallContext(ctx, result, method, args...)
}

// Status returns pheme_status.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.Call(ctx, &s, "pheme_status")
	return s, err
}

// Clock returns pheme_clock.
func (c *Client) Clock(ctx context.Context) (ClockReading, error) {
	var r ClockReading
	err := c.Call(ctx, &r, "pheme_clock")
	return r, err
}

// Peers returns pheme_peers.
func (c *Client) Peers(ctx context.Context) ([]Peer, error) {
	var p []Peer
	err := c.Call(ctx, &p, "pheme_peers")
	return p, err
}

// Members returns pheme_members.
func (c *Client) Members(ctx context.Context) ([]Member, error) {
	var m []Member
	err := c.Call(ctx, &m, "pheme_members")
	return m, err
}

// Network returns pheme_network.
func (c *Client) Network(ctx context.Context) (Aggregates, error) {
	var a Aggregates
	err := c.Call(ctx, &a, "pheme_network")
	return a, err
}

// SetMetadata calls pheme_setMetadata, which is served on the unix socket only.
func (c *Client) SetMetadata(ctx context.Context, entries map[string]string) error {
	return c.Call(ctx, nil, "pheme_setMetadata", entries)
}

// ChainID returns eth_chainId.
func (c *Client) ChainID(ctx context.Context) (*big.Int, error) {
	var id hexutil.Big
	err := c.Call(ctx, &id, "eth_chainId")
	return id.ToInt(), err
}

// BlockNumber returns the number of the head block.
func (c *Client) BlockNumber(ctx context.Context) (uint64, error) {
	var n hexutil.Uint64
	err := c.Call(ctx, &n, "eth_blockNumber")
	return uint64(n), err
}

// Balance returns the balance of addr in wei in the state of the head.
func (c *Client) Balance(ctx context.Context, addr common.Address) (*big.Int, error) {
	var b hexutil.Big
	err := c.Call(ctx, &b, "eth_getBalance", addr, "latest")
	return b.ToInt(), err
}

// Nonce returns the next nonce of addr, its pooled transactions included.
func (c *Client) Nonce(ctx context.Context, addr common.Address) (uint64, error) {
	var n hexutil.Uint64
	err := c.Call(ctx, &n, "eth_getTransactionCount", addr, "pending")
	return uint64(n), err
}

// AddPeer asks the node to connect to a multiaddr that ends in /p2p/<id>. Only over
// the unix socket.
func (c *Client) AddPeer(ctx context.Context, multiaddr string) error {
	return c.admin(ctx, nil, "admin_addPeer", multiaddr)
}

// Bend deforms a node that was started with --bendable; nil only asks what it is. Only
// over the unix socket.
func (c *Client) Bend(ctx context.Context, b *Bend) (n BendCount, err error) {
	err = c.admin(ctx, &n, "admin_bend", b)
	return n, err
}

// Links has the node read the plan of its shaped links again and returns what they
// have carried. Only over the unix socket.
func (c *Client) Links(ctx context.Context) (n LinkCount, err error) {
	err = c.admin(ctx, &n, "admin_links")
	return n, err
}

// CutPeer has the node close its connections to a peer and keep it away for d. Only over the unix socket.
func (c *Client) CutPeer(ctx context.Context, id string, d time.Duration) error {
	return c.admin(ctx, nil, "admin_cutPeer", id, d.Milliseconds())
}

// SetLogLevel sets the level (debug, info, warn, error) of a package's log at run time, of all with
// "*". Only over the unix socket.
func (c *Client) SetLogLevel(ctx context.Context, pkg, level string) error {
	return c.admin(ctx, nil, "admin_setLogLevel", pkg, level)
}

// Shutdown asks the node to stop. Only over the unix socket.
func (c *Client) Shutdown(ctx context.Context) error {
	return c.admin(ctx, nil, "admin_shutdown")
}

func (c *Client) admin(ctx context.Context, result any, method string, args ...any) error {
	if strings.Contains(c.target, "://") {
		return fmt.Errorf("%s is served only on the node's unix socket: dial <data dir>/node.ipc, not %s", method, c.target)
	}
	return c.Call(ctx, result, method, args...)
}

// SubscribeTrace sends the node's events to ch, in batches, until the subscription
// is ended by Unsubscribe or its Err channel gives an error. WebSocket or socket
// only. Events the node dropped because this client lagged are counted in Lost.
func (c *Client) SubscribeTrace(ctx context.Context, ch chan<- []TraceEvent) (*gethrpc.ClientSubscription, error) {
	return c.raw.Subscribe(ctx, "pheme", ch, "trace")
}
