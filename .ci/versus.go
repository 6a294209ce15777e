//go:build ignore

// Command versus compares what a submitted transaction costs pheme and other local Ethereum nodes:
// processor time of the server for each accepted transaction, with one client, `pheme tx load`, in
// interleaved rounds on one machine.
//
//	go build -o /tmp/pheme ./cmd/pheme
//	go run .ci/versus.go -pheme /tmp/pheme -anvil PATH -geth PATH [-rounds 5]
//
// A peer whose path is empty is left out. pheme runs no EVM: it does less with a transaction than the
// others, and the table must say so wherever it is shown.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The ten funded accounts of the mnemonic that all these nodes and `pheme tx load` know.
var accounts = strings.Fields(`0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266 0x70997970C51812dc3A010C7d01b50e0d17dc79C8
 0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC 0x90F79bf6EB2c4f870365E785982E1f101E93b906 0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65
 0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc 0x976EA74026E726554dB657fA54763abd0C3a0aa9 0x14dC79964da2C08b23698B3D3cc7Ca32193d9955
 0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f 0xa0Ee7A142d267C1f36714E4a8F75612F20a79720`)

type server struct {
	name string
	url  string
	cmd  *exec.Cmd
}

// figure is one round's.
type figure struct{ cpu, rate, p50, p99 float64 } // us a transaction, accepted a second, ms

func main() {
	pheme := flag.String("pheme", "", "the pheme binary")
	anvil := flag.String("anvil", "", "the anvil binary")
	geth := flag.String("geth", "", "the geth binary")
	rounds := flag.Int("rounds", 5, "rounds of every node, interleaved")
	single := flag.Float64("single", 1000, "single sends a second")
	batched := flag.Float64("batched", 2500, "sends a second in batches of 100")
	seconds := flag.Duration("duration", 8*time.Second, "of each load")
	flag.Parse()
	dir, err := os.MkdirTemp("", "versus")
	check(err)
	defer os.RemoveAll(dir)
	servers := []*server{startPheme(*pheme, dir)}
	if *anvil != "" {
		url := "http://127.0.0.1:" + freePort()
		servers = append(servers, start("anvil", url, *anvil, "--port", url[strings.LastIndex(url, ":")+1:], "--block-time", "1", "--order", "fifo", "--gas-limit", "1000000000", "--silent"))
	}
	if *geth != "" {
		url := "http://127.0.0.1:" + freePort()
		s := start("geth", url, *geth, "--dev", "--dev.period", "1", "--dev.gaslimit", "1000000000", "--http", "--http.port", url[strings.LastIndex(url, ":")+1:], "--verbosity", "1",
			"--txpool.globalslots", "100000", "--txpool.accountslots", "20000", "--txpool.globalqueue", "100000", "--txpool.accountqueue", "20000", "--datadir", filepath.Join(dir, "geth"))
		fund(s)
		servers = append(servers, s)
	}
	defer func() {
		for _, s := range servers {
			s.cmd.Process.Kill()
			s.cmd.Wait()
		}
	}()
	for _, load := range []struct {
		name  string
		rate  float64
		batch int
	}{{"single sends", *single, 1}, {"batches of 100", *batched, 100}} {
		all := make(map[string][]figure)
		for range *rounds {
			for _, s := range servers {
				all[s.name] = append(all[s.name], s.round(*pheme, load.rate, load.batch, *seconds))
			}
		}
		fmt.Printf("\n%s, %.0f a second wanted, median of %d rounds\n", load.name, load.rate, *rounds)
		fmt.Printf("%-8s %14s %12s %10s %10s %22s\n", "node", "CPU us/tx", "accepted/s", "p50 ms", "p99 ms", "CPU against pheme's")
		for _, s := range servers {
			m, ratios := median(all[s.name]), []float64{}
			for i, f := range all[s.name] { // pairs of one round
				ratios = append(ratios, f.cpu/all["pheme"][i].cpu)
			}
			slices.Sort(ratios)
			fmt.Printf("%-8s %14.0f %12.0f %10.2f %10.2f %10.2fx (%.2f - %.2f)\n", s.name, m.cpu, m.rate, m.p50, m.p99, ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1])
		}
	}
}

// round loads the server once and reads what it used.
func (s *server) round(pheme string, rate float64, batch int, d time.Duration) figure {
	before := ticks(s.cmd.Process.Pid)
	out, err := exec.Command(pheme, "tx", "load", "--rpc", s.url, "--rate", fmt.Sprint(rate), "--duration", d.String(), "--batch", fmt.Sprint(batch), "--submit-only", "--json").Output()
	check(err)
	used := ticks(s.cmd.Process.Pid) - before
	var r struct {
		Sent, Accepted int
		Refused        map[string]int
		Rate           float64                    `json:"rate_accepted"`
		Submit         struct{ P50, P99 float64 } `json:"submit_ms"`
	}
	check(json.Unmarshal(out, &r))
	if r.Accepted < r.Sent {
		fmt.Fprintf(os.Stderr, "%s refused %d of %d: %v\n", s.name, r.Sent-r.Accepted, r.Sent, r.Refused)
	}
	time.Sleep(2500 * time.Millisecond) // what was taken gets into blocks, and is not charged to the next round
	return figure{used * 1e6 / float64(max(1, r.Accepted)), r.Rate, r.Submit.P50, r.Submit.P99}
}

// ticks is the processor time of a process in seconds.
func ticks(pid int) float64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	check(err)
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+2:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

func median(all []figure) figure {
	pick := func(of func(figure) float64) float64 {
		var v []float64
		for _, f := range all {
			v = append(v, of(f))
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	return figure{pick(func(f figure) float64 { return f.cpu }), pick(func(f figure) float64 { return f.rate }),
		pick(func(f figure) float64 { return f.p50 }), pick(func(f figure) float64 { return f.p99 })}
}

func startPheme(binary, dir string) *server {
	run := func(args ...string) string {
		out, err := exec.Command(binary, args...).Output()
		check(err)
		return strings.TrimSpace(string(out))
	}
	key, genesis := filepath.Join(dir, "key"), filepath.Join(dir, "genesis.json")
	proposer := strings.Fields(run("key", "new", key))[0]
	args := []string{"genesis", "--slot", "1s", "--proposer", proposer, "--out", genesis}
	for _, a := range accounts {
		args = append(args, "--alloc", a+"=10000000000000000000000")
	}
	run(args...)
	url := "http://127.0.0.1:" + freePort()
	return start("pheme", url, binary, "node", "--data-dir", filepath.Join(dir, "pheme"), "--genesis", genesis, "--proposer-key", key, "--http", strings.TrimPrefix(url, "http://"), "--log-level", "error")
}

// start runs a node and waits until it answers.
func start(name, url, binary string, args ...string) *server {
	s := &server{name, url, exec.Command(binary, args...)}
	s.cmd.Stderr = os.Stderr
	check(s.cmd.Start())
	for range 600 {
		if call(url, "eth_chainId", "[]") != "" {
			return s
		}
		time.Sleep(100 * time.Millisecond)
	}
	check(fmt.Errorf("%s does not answer at %s", name, url))
	return nil
}

// fund moves ether from geth's own developer account, which it signs for, to the ten.
func fund(s *server) {
	from := strings.Trim(call(s.url, "eth_accounts", "[]"), `["]`)
	for _, a := range accounts {
		call(s.url, "eth_sendTransaction", fmt.Sprintf(`[{"from":%q,"to":%q,"value":"0x21e19e0c9bab2400000"}]`, from, a))
	}
	for range 100 {
		if b := call(s.url, "eth_getBalance", fmt.Sprintf(`[%q,"latest"]`, accounts[9])); len(b) > 6 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	check(fmt.Errorf("geth did not fund the accounts"))
}

// call returns the result of a JSON-RPC call as text, "" on any failure.
func call(url, method, params string) string {
	resp, err := http.Post(url, "application/json", strings.NewReader(fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":%s}`, method, params)))
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	var answer struct{ Result json.RawMessage }
	if json.NewDecoder(resp.Body).Decode(&answer) != nil {
		return ""
	}
	return string(answer.Result)
}

func freePort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "versus:", err)
		os.Exit(1)
	}
}
