package rpc

import (
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// BenchmarkHonestClient is what abuse costs a client that behaves: the p99 of its calls to a server that is
// abused, over that of its calls to one that is not, made by turns. C2: 500 connections that send a byte a
// second, never read or are silent, begun again when they are cut off. C6: 5,000 submissions a second of one
// other address, three fifths of which are refused. The machine is shared with those who abuse: at C6 their own
// work is most of what is measured.
func BenchmarkHonestClient(b *testing.B) {
	for _, c := range []struct {
		name  string
		abuse func(b *testing.B, r *rig, stop <-chan struct{}, abusers *sync.WaitGroup)
	}{{"beside=500slow", dripAll}, {"beside=5000submits", submitMany}} {
		b.Run(c.name, func(b *testing.B) {
			var servers []*rig
			var clients []*http.Client
			for range 2 {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				must(b, err)
				r := newRig(b, Config{})
				r.addr = l.Addr().String()
				r.run(&farListener{Listener: l})
				servers = append(servers, r)
				clients = append(clients, &http.Client{Transport: &http.Transport{}})
			}
			stop := make(chan struct{})
			var abusers sync.WaitGroup
			var took [2][]time.Duration
			call := func(i int) {
				began := time.Now()
				resp, err := clients[i].Post(servers[i].url(), "application/json", strings.NewReader(chainIDCall))
				must(b, err)
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if took[i] = append(took[i], time.Since(began)); resp.StatusCode != http.StatusOK {
					b.Fatalf("the honest client got %d, want 200", resp.StatusCode)
				}
			}
			call(0)
			call(1) // the first connection: see farListener
			c.abuse(b, servers[1], stop, &abusers)
			due := time.NewTicker(4 * time.Millisecond)
			defer due.Stop()
			for first := 0; b.Loop(); first = 1 - first { // the first after a wait takes longer
				<-due.C
				call(first)
				call(1 - first)
			}
			close(stop)
			abusers.Wait()
			var p99 [2]float64
			for i := range took {
				slices.Sort(took[i])
				p99[i] = float64(took[i][len(took[i])*99/100].Microseconds())
			}
			b.ReportMetric(p99[0], "alone-p99-us")
			b.ReportMetric(p99[1], "abused-p99-us")
			b.ReportMetric(p99[1]/p99[0], "ratio")
		})
	}
}

// farListener says of every connection that it comes from another machine: the first from one, all others from a
// second one.
type farListener struct {
	net.Listener
	first sync.Once
}

func (l *farListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	addr := "203.0.113.7:1"
	l.first.Do(func() { addr = "203.0.113.8:1" })
	return from{conn, addr}, err
}

// dripAll holds 500 connections in the ways of C2.
func dripAll(b *testing.B, r *rig, stop <-chan struct{}, abusers *sync.WaitGroup) {
	for i := range 500 {
		kind := slowKinds[i%len(slowKinds)]
		abusers.Go(func() {
			for {
				conn, err := net.Dial("tcp", r.addr)
				if err != nil {
					b.Errorf("connection %d: %v", i, err)
					return
				}
				gone := make(chan struct{})
				go func() {
					defer close(gone)
					if kind.reads {
						io.Copy(io.Discard, conn)
					} else {
						<-stop
					}
				}()
				_, err = io.WriteString(conn, kind.sends)
				second := time.NewTicker(time.Second)
				for more := true; more; {
					select {
					case <-second.C:
						if kind.drips {
							_, err = io.WriteString(conn, "x")
						}
						more = err == nil
					case <-gone:
						more = false
					case <-stop:
						more = false
					}
				}
				second.Stop()
				conn.Close()
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
}

// submitMany submits 5,000 transactions a second over eight connections, signed beforehand and submitted again
// once all were.
func submitMany(b *testing.B, r *rig, stop <-chan struct{}, abusers *sync.WaitGroup) {
	const workers, batch = 8, 25
	calls := make([][]string, workers)
	for i := range 20_000 {
		calls[i%workers] = append(calls[i%workers], sendCall(b, r.transfer(i%rigAccounts, uint64(i/rigAccounts), nil)))
	}
	for _, mine := range calls {
		abusers.Go(func() {
			c := &http.Client{Transport: &http.Transport{}}
			due := time.NewTicker(workers * batch * time.Second / 5000)
			defer due.Stop()
			for next := 0; ; {
				select {
				case <-due.C:
				case <-stop:
					return
				}
				for range batch {
					resp, err := c.Post(r.url(), "application/json", strings.NewReader(mine[next%len(mine)]))
					if err != nil {
						b.Error(err)
						return
					}
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					next++
				}
			}
		})
	}
}
