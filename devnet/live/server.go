package live

import (
	"context"
	"crypto/ecdsa"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	stdlog "log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/rpc"
)

//go:embed page
var page embed.FS

const (
	maxRequest  = 4 << 10 // bytes of a POST
	maxViewers  = 64      // open pages
	receiptWait = 30 * time.Second
	maxSeconds  = 3600 // of a cut
)

// Config says what to show.
type Config struct {
	Targets []Target
	// Key signs the page's test transfers; nil: it cannot send.
	Key *ecdsa.PrivateKey
}

// Server serves the page. It runs once.
type Server struct {
	cfg   Config
	hub   *hub
	slots chan struct{} // one a viewer
	done  context.Context
	stop  context.CancelFunc
}

// New returns a server over targets.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, hub: newHub(), slots: make(chan struct{}, maxViewers)}
	s.hub.lone, s.hub.sends = len(cfg.Targets) == 1, cfg.Key != nil
	s.done, s.stop = context.WithCancel(context.Background())
	return s
}

// Run follows the targets and serves the page on l, which it closes, until ctx ends.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: stdlog.New(io.Discard, "", 0), // a line for every browser that leaves
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, t := range s.cfg.Targets {
		f := &follower{target: t, hub: s.hub}
		g.Go(func() error { f.run(ctx); return nil })
	}
	g.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve the page: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		s.stop() // open pages end
		server.Close()
		return nil
	})
	return g.Wait()
}

func (s *Server) handler() http.Handler {
	files, err := fs.Sub(page, "page")
	if err != nil {
		panic(err) // the folder is embedded
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(files))
	mux.HandleFunc("GET /events", s.events)
	mux.HandleFunc("POST /send", s.send)
	mux.HandleFunc("POST /cut", s.cut)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if why := foreign(r); why != "" {
			http.Error(w, why, http.StatusForbidden)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
}

// foreign says why a request must not pass: a name that is not this machine's (DNS rebinding), or a
// page from elsewhere that wants to change something.
func foreign(r *http.Request) string {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if a, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !a.IsLoopback()) {
		return "the page is for this machine only: open it as http://127.0.0.1 or http://localhost"
	}
	if r.Method != http.MethodPost {
		return ""
	}
	if r.Header.Get("Content-Type") != "application/json" {
		return "send application/json"
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		if u, err := url.Parse(origin); err != nil || u.Host != r.Host {
			return "another page must not do this"
		}
	}
	return ""
}

// events streams the state and every change of it.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		http.Error(w, fmt.Sprintf("%d pages are open already: close one", maxViewers), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	ch, leave := s.hub.join()
	defer leave()
	for {
		select {
		case text, ok := <-ch:
			if !ok {
				return // it lagged: the browser connects again
			}
			_ = out.SetWriteDeadline(time.Now().Add(askWithin))
			if _, err := w.Write(text); err != nil || out.Flush() != nil {
				return
			}
		case <-r.Context().Done():
			return
		case <-s.done.Done():
			return
		}
	}
}

// answer writes a result, or an error with words for a person.
func answer(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		v = map[string]string{"error": err.Error()}
	}
	_ = json.NewEncoder(w).Encode(v)
}

func request(r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxRequest))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	return nil
}

// client dials a node by the name the page gives it.
func (s *Server) client(ctx context.Context, name string) (*rpc.Client, error) {
	for _, t := range s.cfg.Targets {
		if t.Name == name {
			return rpc.Dial(ctx, t.Where)
		}
	}
	return nil, fmt.Errorf("there is no node %q", name)
}

// send makes a transfer of one gwei through a node and waits for its block.
func (s *Server) send(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		Node string `json:"node"`
	}
	result, err := func() (any, error) {
		if err := request(r, &ask); err != nil {
			return nil, err
		}
		if s.cfg.Key == nil {
			return nil, errors.New("no funded account is known here: only 'pheme devnet up' has one")
		}
		ctx, cancel := context.WithTimeout(r.Context(), receiptWait)
		defer cancel()
		c, err := s.client(ctx, ask.Node)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		began := time.Now()
		hash, err := c.SendTransfer(ctx, s.cfg.Key, common.Address{19: 1}, big.NewInt(1e9), nil)
		if err != nil {
			return nil, err
		}
		receipt, err := c.WaitReceipt(ctx, hash)
		if err != nil {
			return nil, err
		}
		return map[string]any{"hash": hash, "block": receipt.BlockNumber.Uint64(), "ms": millis(int64(time.Since(began)))}, nil
	}()
	answer(w, result, err)
}

// cut closes the connection of two nodes and keeps them apart for a while.
func (s *Server) cut(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		A       string  `json:"a"`
		B       string  `json:"b"`
		Seconds float64 `json:"seconds"`
	}
	err := func() error {
		if err := request(r, &ask); err != nil {
			return err
		}
		other := s.hub.find(ask.B)
		switch {
		case other == nil || other.PeerID == "" || ask.A == ask.B:
			return fmt.Errorf("%s and %s are not two running nodes", ask.A, ask.B)
		case ask.Seconds < 0 || ask.Seconds > maxSeconds:
			return fmt.Errorf("cut for %g s: use 0 to %d", ask.Seconds, maxSeconds)
		}
		c, err := s.client(r.Context(), ask.A)
		if err != nil {
			return err
		}
		defer c.Close()
		return c.CutPeer(r.Context(), other.PeerID, time.Duration(ask.Seconds*float64(time.Second)))
	}()
	answer(w, map[string]bool{"ok": true}, err)
}
