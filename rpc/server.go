package rpc

import (
	"context"
	"errors"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ipfs/go-log/v2"
	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/chain"
)

var logger = log.Logger("pheme/rpc")

// Server serves the API of one node.
//
// Stages: New allocates; Run serves until its context ends, then refuses new calls,
// answers those in flight and returns. A Server runs once.
type Server struct {
	cfg     Config
	chain   *chain.Chain
	deps    Deps
	public  *dispatcher // HTTP and WebSocket
	local   *dispatcher // unix socket: the same and admin_
	broker  *broker
	filters *filters
	cache   *blockCache
	recent  *recent
	genesis common.Hash // its id; costs a state root to compute
	guard   guard
	rates   *rates

	loads  chan struct{} // a place for each block that may be read and decoded at once
	memory *memory       // leased by flights, kept blocks and events that wait
	traces atomic.Int64  // trace subscriptions

	calls     atomic.Uint64
	panics    atomic.Uint64
	streams   sync.WaitGroup  // connections of WebSocket, which net/http forgets, and of the socket
	wsBuffers sync.Pool       // their write buffers
	stop      context.Context // ends when the server begins to stop
	beginStop context.CancelFunc
	ready     chan struct{} // closed when calls are taken
}

// New returns a server over a chain and the other parts of the node.
func New(cfg Config, c *chain.Chain, deps Deps) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if c == nil || deps.Pool == nil || deps.Net == nil || deps.Submit == nil {
		return nil, errors.New("rpc: the chain, Pool, Net and Submit are needed")
	}
	cfg = cfg.fill()
	g, err := newGuard(cfg.Hosts, cfg.Origins)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:     cfg,
		chain:   c,
		deps:    deps,
		filters: newFilters(cfg.MaxFilters, cfg.FilterTimeout),
		cache:   newBlockCache(cfg.MaxCache),
		recent:  newRecent(c.HeadID()),
		loads:   make(chan struct{}, 4), // a full block takes 20 MB decoded
		genesis: c.GenesisID(),
		guard:   g,
		rates:   newRates(cfg.MaxRate),
		memory:  newMemory(cfg.MaxMemory),
		ready:   make(chan struct{}),
	}
	s.stop, s.beginStop = context.WithCancel(context.Background())
	s.broker = newBroker(c, deps.Pool, s.filters, s.recent)
	if s.public, err = s.newDispatcher(false); err != nil {
		return nil, err
	}
	s.local, err = s.newDispatcher(true)
	return s, err
}

// services are the receivers of methods by namespace.
func (s *Server) services(admin bool) map[string]any {
	services := map[string]any{
		"rpc":    new(rpcAPI),
		"eth":    &ethAPI{s},
		"net":    &netAPI{s},
		"web3":   &web3API{s},
		"txpool": &txpoolAPI{s},
		"debug":  &debugAPI{s},
		"pheme":  &phemeAPI{s},
	}
	if admin {
		services["admin"] = &adminAPI{s}
		services["pheme"] = &phemeAdminAPI{&phemeAPI{s}}
	}
	return services
}

// Counts returns how many calls were answered, each of a batch that was run and a refused one as one, and
// how many of them crashed.
func (s *Server) Counts() (calls, panics uint64) { return s.calls.Load(), s.panics.Load() }

// Ready is closed once Run takes calls, on the unix socket too.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Stopping is closed once Run refuses new calls; those in flight are still answered.
func (s *Server) Stopping() <-chan struct{} { return s.stop.Done() }

// Run serves HTTP and WebSocket on l, which it closes and which may be nil, and the
// unix socket if the configuration names one. It returns nil when ctx has ended and
// every call in flight was answered, or cut off after StopTimeout.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	socket, err := listenSocket(s.cfg.IPC)
	if err != nil {
		if l != nil {
			l.Close()
		}
		return err
	}
	close(s.ready)
	calls, cut := context.WithCancel(context.WithoutCancel(ctx)) // outlives ctx by the time to answer
	defer cut()
	hs := &http.Server{
		Handler:           http.HandlerFunc(s.serveHTTP),
		MaxHeaderBytes:    max(1, s.cfg.MaxHeader-4096), // net/http allows 4096 more
		ReadHeaderTimeout: s.cfg.HeaderTimeout,
		ReadTimeout:       s.cfg.ReadTimeout,
		WriteTimeout:      s.cfg.WriteTimeout,
		IdleTimeout:       s.cfg.IdleTimeout,
		BaseContext:       func(net.Listener) context.Context { return calls },
		ErrorLog:          stdlog.New(io.Discard, "", 0), // a line for every client that breaks off
	}
	g, ctx := errgroup.WithContext(ctx)
	broker := s.broker.watch()
	g.Go(func() error { return broker(ctx) })
	if l != nil {
		g.Go(func() error {
			return endOfServe(hs.Serve(newLimitListener(l, s.cfg.MaxConns, refuseHTTP)))
		})
	}
	if socket != nil {
		g.Go(func() error {
			return endOfServe(s.serveSocket(calls, newLimitListener(socket, s.cfg.MaxConns, refuseJSON)))
		})
	}
	g.Go(func() error {
		<-ctx.Done()
		s.beginStop()
		late := time.AfterFunc(s.cfg.StopTimeout, cut)
		defer late.Stop()
		if socket != nil {
			socket.Close()
		}
		if hs.Shutdown(calls) != nil {
			hs.Close()
		}
		s.streams.Wait()
		return nil
	})
	return g.Wait()
}

func endOfServe(err error) error {
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
