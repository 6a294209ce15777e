package devnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	gethrpc "github.com/ethereum/go-ethereum/rpc"
	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/report"
	"github.com/pheme-net/pheme/devnet/stats"
	"github.com/pheme-net/pheme/p2p/trace"
	"github.com/pheme-net/pheme/rpc"
)

const (
	attachBuffer = 1024             // batches of events that may wait for us
	attachLead   = time.Second      // between the subscriptions and the first counted event
	attachWithin = 10 * time.Second // one answer
	maxAttached  = 256
	// unsure is the share of the median latency that the clocks' bound may reach.
	unsure = 0.1
)

// AttachConfig is one call of [Attach].
type AttachConfig struct {
	URLs     []string      // JSON-RPC of the nodes
	Duration time.Duration // of the counted window, cut to whole slots
	Measure  MeasureConfig // where results go and what stands beside them; its experiment is not used
}

// attached is one node we listen to.
type attached struct {
	url    string
	client *rpc.Client
	status rpc.Status
	clock  clockMap

	mu     sync.Mutex
	events []trace.Event
	lost   uint64
}

// Attach measures nodes that somebody else started: it subscribes to their events, reads their clocks
// before and after, changes nothing, and reports like [Measure]. Only blocks and transactions that
// began at one of the nodes count.
func Attach(ctx context.Context, cfg AttachConfig, out io.Writer) (*report.Results, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	p := newProgress(out)
	defer p.clear()
	ours := trace.NewClock()
	nodes, err := attachAll(ctx, ours, cfg.URLs)
	defer func() {
		for _, n := range nodes {
			n.client.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	asked := cfg.Duration
	if cfg.Duration, err = wholeSlots(asked, nodes[0].slot()); err != nil {
		return nil, err
	}
	p.say("listening to %d nodes for %v", len(cfg.URLs), cfg.Duration)
	spec := attachedSpec(cfg, nodes)
	began := time.Now()
	input, err := listenTo(ctx, cfg, ours, nodes, spec.Horizon(), p)
	if err != nil {
		return nil, err
	}
	record, err := recorder.Join(input)
	if err != nil {
		return nil, err
	}
	seen := &observation{input: input, wall: time.Since(began)}
	describe(&spec, record)
	if err := fit(spec, seen, record); err != nil {
		return nil, err
	}
	note, err := clockNote(nodes, record)
	if err != nil {
		return nil, err
	}
	runs := []report.Run{{Seed: 1, Record: record, Slots: int(cfg.Duration / spec.Chain.Slot.D()), Wall: seen.wall, Host: untold()}}
	env := environment(cfg.Measure)
	env.Clock = note
	notes := []string{note + ".", "Only blocks and transactions that began at one of these nodes count."}
	if cfg.Duration < asked {
		notes = append(notes, fmt.Sprintf("The window is %v, whole slots of %v, not the %v that were asked for.", cfg.Duration, spec.Chain.Slot, asked))
	}
	if record.Left > 0 {
		notes = append(notes, fmt.Sprintf("%d transactions were left out: the node they were sent to did not take them, or a node had them before.", record.Left))
	}
	results := report.New(spec, env, runs, notes)
	p.clear()
	return results, publish(cfg.Measure, results, runs)
}

func (c *AttachConfig) validate() error {
	bad := func(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }
	switch {
	case len(c.URLs) < 2:
		return bad("%d node: a latency needs two, pass the JSON-RPC URL of each", len(c.URLs))
	case len(c.URLs) > maxAttached:
		return bad("%d nodes: attach to %d at most", len(c.URLs), maxAttached)
	case c.Duration < time.Second || c.Duration > 24*time.Hour:
		return bad("--duration %v: use 1s to 24h", c.Duration)
	}
	return nil
}

// wholeSlots is as much of a duration as whole slots fill: rates are sums over slots.
func wholeSlots(d, slot time.Duration) (time.Duration, error) {
	if d < slot {
		return 0, &UsageError{fmt.Sprintf("--duration %v: a slot of these nodes takes %v, use that at least", d, slot)}
	}
	return d.Truncate(slot), nil
}

// slot is how long a slot of the node takes.
func (n *attached) slot() time.Duration { return time.Duration(n.status.SlotMS) * time.Millisecond }

// attachAll connects to every node and reads its clock and status.
func attachAll(ctx context.Context, ours trace.Clock, urls []string) ([]*attached, error) {
	nodes := make([]*attached, 0, len(urls))
	for _, url := range urls {
		where := url
		if rest, ok := strings.CutPrefix(url, "http"); ok { // http and https: the same address takes WebSocket
			where = "ws" + rest
		}
		within, cancel := context.WithTimeout(ctx, attachWithin)
		defer cancel()
		c, err := rpc.Dial(within, where)
		if err != nil {
			return nodes, unattached(within, where, err)
		}
		n := &attached{url: url, client: c}
		nodes = append(nodes, n)
		if n.status, err = c.Status(within); err != nil {
			return nodes, fmt.Errorf("ask %s what it is: %w", url, err)
		}
		if n.clock.before, err = readClock(within, ours, c); err != nil {
			return nodes, err
		}
		switch first := nodes[0]; {
		case n.status.Genesis != first.status.Genesis:
			return nodes, &UsageError{fmt.Sprintf("%s is of network %s and %s of %s: attach to nodes of one network", url, n.status.Network, first.url, first.status.Network)}
		case slices.ContainsFunc(nodes[:len(nodes)-1], func(o *attached) bool { return o.status.PeerID == n.status.PeerID }):
			return nodes, &UsageError{fmt.Sprintf("%s is a node that was named before: name each once", url)}
		}
	}
	return nodes, nil
}

// unattached says what to do about a WebSocket that was not to be had. The error of a handshake has the status as text only, so
// a call asks for it.
func unattached(ctx context.Context, where string, err error) error {
	todo := "is the node running, and is this its JSON-RPC URL?"
	if u, bad := url.Parse(where); bad == nil && (u.Scheme == "ws" || u.Scheme == "wss") && forbids(ctx, "http"+strings.TrimPrefix(where, "ws")) {
		todo = fmt.Sprintf("add %q to hosts in the [rpc] section of the node's --config and start it again, or use its address", u.Hostname())
	}
	return &UsageError{fmt.Sprintf("%v: %s", err, todo)}
}

// forbids says whether the node answers calls by 403, as it does to a name that it does not know as its own.
func forbids(ctx context.Context, where string) bool {
	c, err := rpc.Dial(ctx, where)
	if err != nil {
		return false
	}
	defer c.Close()
	_, err = c.Status(ctx)
	var answer gethrpc.HTTPError
	return errors.As(err, &answer) && answer.StatusCode == http.StatusForbidden
}

// listenTo records every node's events through the window and the horizon after it, in our time.
func listenTo(ctx context.Context, cfg AttachConfig, ours trace.Clock, nodes []*attached, horizon time.Duration, p *progress) (recorder.Input, error) {
	listening, stop := context.WithCancel(ctx)
	defer stop()
	g, listening := errgroup.WithContext(listening)
	for _, n := range nodes {
		events := make(chan []rpc.TraceEvent, attachBuffer)
		sub, err := n.client.SubscribeTrace(listening, events)
		if err != nil {
			return recorder.Input{}, errors.Join(fmt.Errorf("follow the events of %s: %w", n.url, err), stopAll(stop, g))
		}
		g.Go(func() error {
			defer sub.Unsubscribe()
			for {
				select {
				case batch := <-events:
					n.take(batch)
				case err := <-sub.Err():
					if listening.Err() != nil {
						return nil
					}
					return fmt.Errorf("%s ended the stream of events: %w", n.url, err)
				case <-listening.Done():
					return nil
				}
			}
		})
	}
	from := ours.Now() + int64(attachLead)
	window := recorder.Span{From: from, To: from + int64(cfg.Duration)}
	end := time.Now().Add(attachLead + cfg.Duration + horizon)
	for left := time.Until(end); left > 0; left = time.Until(end) {
		p.now("listening, %v left, %d blocks so far", left.Round(time.Second), sealed(nodes))
		if err := until(listening, time.Now().Add(min(left, time.Second))); err != nil {
			return recorder.Input{}, errors.Join(g.Wait(), context.Cause(ctx))
		}
	}
	for _, n := range nodes {
		within, cancel := context.WithTimeout(ctx, attachWithin)
		after, err := readClock(within, ours, n.client)
		cancel()
		if err != nil {
			return recorder.Input{}, errors.Join(err, stopAll(stop, g))
		}
		n.clock.after = after
	}
	if err := stopAll(stop, g); err != nil {
		return recorder.Input{}, err
	}
	input := recorder.Input{Window: window, Horizon: horizon, Slot: nodes[0].slot(), Foreign: true}
	for _, n := range nodes {
		input.Nodes = append(input.Nodes, n.recording())
	}
	return input, nil
}

func stopAll(stop context.CancelFunc, g *errgroup.Group) error {
	stop()
	return g.Wait()
}

func (n *attached) take(batch []rpc.TraceEvent) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range batch {
		n.lost += e.Lost
		var kind trace.Kind
		var class trace.Class
		if kind.UnmarshalText([]byte(e.Kind)) != nil || class.UnmarshalText([]byte(e.Class)) != nil {
			continue // of a newer version: nothing here asks for it
		}
		n.events = append(n.events, trace.Event{At: e.At, Kind: kind, Class: class, Hash: e.Hash, Peer: e.Peer, Size: e.Size, Aux: e.Aux})
	}
}

// recording is what the node told, in our time.
func (n *attached) recording() recorder.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.events {
		n.events[i].At = n.clock.ours(n.events[i].At)
	}
	return recorder.Node{Name: n.status.Name, Tag: trace.PeerTag(n.status.PeerID), Events: n.events, Lost: n.lost}
}

func sealed(nodes []*attached) (count int) {
	for _, n := range nodes {
		n.mu.Lock()
		for _, e := range n.events {
			if e.Kind == trace.BlockSealed {
				count++
			}
		}
		n.mu.Unlock()
	}
	return count
}

// attachedSpec describes the nodes in the terms of an experiment; describe adds what was seen.
func attachedSpec(cfg AttachConfig, nodes []*attached) experiment.Spec {
	s := experiment.Spec{Name: "attached", Engine: "attach", Seeds: []int64{1}}
	peers, relays := 0, []string{}
	for _, n := range nodes {
		peers += n.status.Peers
		if !slices.Contains(relays, n.status.Relay) {
			relays = append(relays, n.status.Relay)
		}
	}
	s.Net.Nodes, s.Net.Degree, s.Net.Relay = len(nodes), peers/len(nodes), strings.Join(relays, "+")
	s.Net.Topology, s.Net.Transport = "as it is", "libp2p"
	s.Chain.Slot = experiment.Duration(nodes[0].slot())
	s.Load.Duration = experiment.Duration(cfg.Duration)
	s.Report.CoverageFloor, s.Report.Draws = 0.5, 2000
	s.Load.Drain = experiment.Duration(s.Horizon())
	return s
}

// describe writes the mean sizes of what was seen into the description.
func describe(s *experiment.Spec, run *recorder.Run) {
	mean := func(messages []*recorder.Message) experiment.Bytes {
		total := int64(0)
		for _, m := range messages {
			total += m.Size
		}
		return experiment.Bytes(total / int64(max(1, len(messages))))
	}
	s.Load.Blocks = len(run.Blocks)
	s.Chain.BlockSize, s.Load.TxSize = mean(run.Blocks), mean(run.Txs)
	s.Load.TxRate = float64(len(run.Txs)) / s.Load.Duration.D().Seconds()
}

// clockNote says how well the clocks are known, and refuses figures that the clocks could have made.
func clockNote(nodes []*attached, run *recorder.Run) (string, error) {
	var worst, furthest time.Duration
	for _, n := range nodes {
		worst = max(worst, n.clock.bound())
		furthest = max(furthest, time.Duration(abs(n.clock.before.offset)))
	}
	var all []float64
	for _, m := range run.Blocks {
		all = append(all, m.Latencies()...)
	}
	slices.Sort(all)
	u := 2 * worst // of a difference between two nodes
	note := fmt.Sprintf("the nodes' clocks, up to %v apart from ours, each known to within ±%v: a latency to within ±%v",
		furthest.Round(time.Millisecond), worst.Round(time.Microsecond), u.Round(time.Microsecond))
	p50 := stats.Percentile(all, .5)
	if !math.IsInf(p50, 1) && float64(u)/float64(time.Millisecond) > unsure*p50 {
		return note, &UnfitError{
			fmt.Sprintf("latencies are known to within ±%v only, more than a tenth of their median, %.2f ms", u.Round(time.Microsecond), p50),
			"attach from a machine nearer to the nodes, or while less runs on it",
		}
	}
	return note, nil
}

func abs(v int64) int64 { return max(v, -v) }
