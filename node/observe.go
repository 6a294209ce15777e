package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pheme-net/pheme/chain"
)

// observer serves what operators and their machines ask of a node, apart from JSON-RPC:
//
//	/metrics  Prometheus
//	/livez    200 while the process answers
//	/readyz   200 while the API and the network serve and no catch-up is under way, else 503 and why
//
// It is for trusted networks: it has no authentication, and reveals nothing but figures.
func (n *Node) observer() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(n.metrics.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if why := n.unready(); why != "" {
			http.Error(w, why, http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

// unready says what is missing before a client should be sent here, or nothing.
func (n *Node) unready() string {
	select {
	case <-n.rpc.Stopping():
		return "the node is stopping"
	default:
	}
	for name, ready := range map[string]<-chan struct{}{"network": n.net.Ready(), "API": n.rpc.Ready()} {
		select {
		case <-ready:
		default:
			return "the " + name + " does not serve yet"
		}
	}
	if n.net.Stats().Syncing {
		return fmt.Sprintf("catching up: at block %d, slot %d of %d", n.chain.Head().Number, chain.SlotOf(n.chain.Head()), n.presentSlot())
	}
	return ""
}

// presentSlot is the slot at this moment, 0 before the first.
func (n *Node) presentSlot() uint64 {
	g, now := n.chain.Genesis(), time.Now()
	if now.Before(g.SlotStart(0)) {
		return 0
	}
	return g.SlotAt(now)
}

// observe serves the observer until ctx ends.
func (n *Node) observe(ctx context.Context) error {
	server := &http.Server{
		Handler:           n.observer(),
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          stdlog.New(io.Discard, "", 0), // a line for every client that breaks off
	}
	unhook := context.AfterFunc(ctx, func() { server.Close() })
	defer unhook()
	if err := server.Serve(n.observeAt); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}
