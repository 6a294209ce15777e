package rpc

import (
	"fmt"
	"time"
)

// Config holds what may be set. A zero field takes its default.
type Config struct {
	// Hosts are the names accepted in the Host header beside "localhost" and IP
	// literals: a web page that points its own name at this machine (DNS rebinding)
	// has neither. "*" accepts every name.
	Hosts []string
	// Origins are the web pages that may call the node from a browser, such as
	// "https://app.example.org" or "http://localhost:3000". "*" accepts every page.
	// Requests without an Origin header, of the page's own host, and of browser
	// extensions are not restricted.
	Origins []string
	// IPC is the path of the unix socket, the only place that serves admin_ methods.
	// Empty: no socket.
	IPC string
	// ClientVersion is the answer of web3_clientVersion.
	ClientVersion string

	MaxHeader   int // bytes of a request's headers
	MaxBody     int // bytes of a request's body, of a WebSocket frame and of a message on the socket
	MaxBatch    int // calls in a batch
	MaxResponse int // bytes of the answers of a batch; the answer that passes it ends the batch
	MaxConns    int // open connections to the port, and as many to the socket; a quarter from one address that is not of this machine
	MaxRate     int // calls a second of one client address that is not of this machine, and at once; a batch counts its calls
	MaxInFlight int // calls running at once on one WebSocket or socket connection; the next is not read
	MaxSubs     int // subscriptions of one connection
	MaxQueue    int // events waiting on one connection; with more it counts as lagging and is closed
	MaxFilters  int // polled filters of all clients together; a quarter from one address that is not of this machine
	MaxMemory   int // bytes of requests and answers above 64 KiB on their way at once, of all clients; a quarter of one address, as above
	MaxCache    int // bytes of encoded recent blocks and receipts

	HeaderTimeout  time.Duration // to send the headers of a request
	ReadTimeout    time.Duration // to send a whole request
	WriteTimeout   time.Duration // to run a call and take its answer
	IdleTimeout    time.Duration // between two requests on one connection
	FilterTimeout  time.Duration // a filter not polled for so long is dropped
	SyncTimeout    time.Duration // eth_sendRawTransactionSync and pheme_waitReceipt, when the call does not say
	MaxSyncTimeout time.Duration // the longest a call may ask to wait
	StopTimeout    time.Duration // to finish the calls in flight when the server stops
}

// Defaults is what a server uses that is told nothing.
func Defaults() Config { return Config{}.fill() }

func (c Config) fill() Config {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	dur := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	if c.ClientVersion == "" {
		c.ClientVersion = "pheme (no EVM: value transfers only)"
	}
	def(&c.MaxHeader, 16<<10)
	def(&c.MaxBody, 1<<20)      // 15 transactions of the greatest size, in hex
	def(&c.MaxBatch, 100)       // what ethers sends at most
	def(&c.MaxResponse, 16<<20) // two full blocks of 5,000 transactions with their receipts: 2 x (3.5 + 5) MB
	def(&c.MaxConns, 2048)      // a thousand subscribers and as many callers
	def(&c.MaxRate, 2000)       // a tenth of what a core checks of transactions in a second
	def(&c.MaxInFlight, 16)
	def(&c.MaxSubs, 16)
	def(&c.MaxQueue, watchTxs) // a burst that the pool tells whole is not lost here either
	def(&c.MaxFilters, 1024)
	// a hundred full requests, or six full batches of answers; a share has room for one
	def(&c.MaxMemory, max(128<<20, 4*c.MaxBody, 5*c.MaxResponse))
	def(&c.MaxCache, 32<<20) // three full blocks of 5,000 transactions in every form
	dur(&c.HeaderTimeout, 5*time.Second)
	dur(&c.ReadTimeout, 30*time.Second)
	dur(&c.WriteTimeout, 30*time.Second)
	dur(&c.IdleTimeout, time.Minute)
	dur(&c.FilterTimeout, 5*time.Minute)               // as geth
	dur(&c.SyncTimeout, 20*time.Second)                // as geth
	dur(&c.MaxSyncTimeout, c.WriteTimeout-time.Second) // the answer must leave before the connection is cut
	dur(&c.StopTimeout, 5*time.Second)
	return c
}

func (c Config) validate() error {
	for _, f := range []struct {
		name string
		v    int
	}{
		{"MaxHeader", c.MaxHeader}, {"MaxBody", c.MaxBody}, {"MaxBatch", c.MaxBatch}, {"MaxResponse", c.MaxResponse},
		{"MaxConns", c.MaxConns}, {"MaxRate", c.MaxRate}, {"MaxInFlight", c.MaxInFlight}, {"MaxSubs", c.MaxSubs}, {"MaxQueue", c.MaxQueue},
		{"MaxFilters", c.MaxFilters}, {"MaxMemory", c.MaxMemory}, {"MaxCache", c.MaxCache},
		{"HeaderTimeout", int(c.HeaderTimeout)}, {"ReadTimeout", int(c.ReadTimeout)}, {"WriteTimeout", int(c.WriteTimeout)},
		{"IdleTimeout", int(c.IdleTimeout)}, {"FilterTimeout", int(c.FilterTimeout)}, {"SyncTimeout", int(c.SyncTimeout)},
		{"MaxSyncTimeout", int(c.MaxSyncTimeout)}, {"StopTimeout", int(c.StopTimeout)},
	} {
		if f.v < 0 {
			return fmt.Errorf("rpc config: %s is negative: leave it out for the default", f.name)
		}
	}
	if len(c.IPC) > maxSocketPath {
		return fmt.Errorf("rpc config: the path of the unix socket has %d bytes and the system takes %d: use a shorter data dir (%s)",
			len(c.IPC), maxSocketPath, c.IPC)
	}
	return nil
}
