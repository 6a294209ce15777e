package relay

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
)

// TestScripts plays the scripts of testdata/scripts on one node. A line is what
// happens, and what the node does about it follows, indented by ">":
//
//	peers a b         the mesh
//	block 20 2048     the block has 20 transactions with 2,048 bytes of data
//	pool 1-19         the node has pooled these of them
//	hear a compact    peer a announces it
//	chunks a 0-3      it brings chunks;         wrong a 2    other bytes as chunk 2
//	txs a 0           it brings transactions;   foreign a 0  another as transaction 0
//	ask a 0,1         it asks for transactions
//	have a done 0-3   it tells flags, joined by +, and chunks
//	taken             the block comes whole, from elsewhere
//	give a            the node may send chunks to a until it has no more
//	wait 600ms        time passes
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/scripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var got string
			synctest.Test(t, func(t *testing.T) { got = play(t, string(text)) })
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got != string(text) {
				t.Errorf("it went otherwise: run go test -update and read the diff\n%s", got)
			}
		})
	}
}

// stage is the node of a script.
type stage struct {
	t     *testing.T
	n     *node
	e     *engine
	b     *chain.Block
	x     *transfer
	coded [][]byte // its chunks
	whole int      // blocks told of
	out   strings.Builder
}

// play runs a script and returns it with what came of each line.
func play(t *testing.T, text string) string {
	s := &stage{t: t, n: &node{pool: make(map[common.Hash]*chain.Tx)}}
	s.e = s.n.relay(t, "coded").(*coded).engine
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, ">") {
			continue
		}
		s.out.WriteString(line + "\n")
		if words := strings.Fields(line); len(words) > 0 && words[0] != "#" {
			s.do(words[0], words[1:])
			s.tell()
		}
	}
	return s.out.String()
}

func (s *stage) say(format string, args ...any) { fmt.Fprintf(&s.out, "> "+format+"\n", args...) }

func (s *stage) do(verb string, args []string) {
	s.t.Helper()
	who := func() peer.ID { return peer.ID(args[0]) }
	switch verb {
	case "peers":
		for _, a := range args {
			s.n.mesh = append(s.n.mesh, peer.ID(a))
		}
	case "block":
		s.b = sampleOf(s.t, number(s.t, args[0]), number(s.t, args[1]))
		var err error
		if s.coded, err = shapeOf(len(s.b.TxList())).encode(s.b.TxList()); err != nil {
			s.t.Fatal(err)
		}
		s.say("%d data and %d parity chunks", shapeOf(len(s.b.TxList())).data, shapeOf(len(s.b.TxList())).parity)
	case "pool":
		for _, i := range list(s.t, args[0]) {
			s.n.pool[s.b.Txs()[i].Hash()] = s.b.Txs()[i]
		}
	case "hear":
		payload := announce(s.t, "coded", s.b)
		if args[1] == "compact" {
			payload = announceCompact(s.t, s.b)
		}
		s.verdict(s.e.Receive(Message{From: who(), Payload: payload}))
		s.x = s.e.byID(s.b.ID())
	case "chunks":
		for _, i := range list(s.t, args[1]) {
			s.verdict(s.e.handle(who(), s.x.frame(i, s.coded[i], 1)))
		}
	case "wrong":
		i := number(s.t, args[1])
		s.verdict(s.e.handle(who(), s.x.frame(i, s.coded[(i+1)%len(s.coded)], 1)))
	case "txs", "foreign":
		f := &frame{kind: frameTxs, tag: s.x.tag}
		for _, i := range list(s.t, args[1]) {
			from := i
			if verb == "foreign" {
				from = (i + 1) % len(s.b.Txs())
			}
			f.txs = append(f.txs, numbered{i, s.b.Txs()[from].Raw()})
		}
		s.verdict(s.e.handle(who(), f))
	case "ask":
		s.verdict(s.e.handle(who(), &frame{kind: frameAsk, tag: s.x.tag, asked: list(s.t, args[1])}))
	case "have":
		f := &frame{kind: frameHave, tag: s.x.tag}
		for _, name := range strings.Split(args[1], "+") {
			f.flags |= 1 << slices.Index(flagNames, name)
		}
		if len(args) > 2 {
			f.held = list(s.t, args[2])
		}
		s.verdict(s.e.handle(who(), f))
	case "taken":
		s.e.Taken(s.b)
	case "give":
		s.say("%s gets %d chunks", args[0], len(s.e.sends(s.t, who())))
	case "wait":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(d)
		fetch, _ := s.e.review(time.Now())
		for _, x := range fetch {
			s.say("fetches the whole block, from %s first", string(s.e.giver(x)))
		}
	default:
		s.t.Fatalf("no %q in a script", verb)
	}
}

// verdict says what was wrong with what a peer said.
func (s *stage) verdict(err error) {
	if err != nil {
		s.say("error: %s", strings.ReplaceAll(err.Error(), s.b.ID().String(), "B"))
	}
}

// flagNames are the flags of news in the order of their bits.
var flagNames = []string{"done", "want", "starved", "all"}

// tell says what became of the block and what waits for each peer.
func (s *stage) tell() {
	for ; s.whole < len(s.n.whole); s.whole++ {
		w := s.n.ways[s.whole]
		s.say("complete: hops %d, of the pool %v", w.Hops, w.Pool)
	}
	for _, p := range s.n.mesh {
		if s.e.links[p] == nil {
			continue
		}
		for f := s.e.next(p); f != nil; f = s.e.next(p) {
			switch f.kind {
			case frameHave:
				var flags []string
				for i, name := range flagNames {
					if f.flags>>i&1 != 0 {
						flags = append(flags, name)
					}
				}
				s.say("tells %s [%s] acks %s, holds %s", string(p), strings.Join(flags, "+"), ranges(f.acks), ranges(f.held))
			case frameAsk:
				s.say("asks %s for transactions %s", string(p), ranges(f.asked))
			case frameTxs:
				var places []int
				for _, n := range f.txs {
					places = append(places, n.index)
				}
				s.say("answers %s with transactions %s", string(p), ranges(places))
			}
		}
	}
}

func number(t *testing.T, text string) int {
	v, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// list reads 0,3-5.
func list(t *testing.T, text string) (out []int) {
	for part := range strings.SplitSeq(text, ",") {
		from, to, span := strings.Cut(part, "-")
		if !span {
			to = from
		}
		for i := number(t, from); i <= number(t, to); i++ {
			out = append(out, i)
		}
	}
	return out
}

// ranges writes what list reads, in order; "-" is none.
func ranges(v []int) string {
	if len(v) == 0 {
		return "-"
	}
	v = slices.Sorted(slices.Values(v))
	var parts []string
	for i := 0; i < len(v); {
		k := i
		for k+1 < len(v) && v[k+1] == v[k]+1 {
			k++
		}
		part := strconv.Itoa(v[i])
		if k > i {
			part += "-" + strconv.Itoa(v[k])
		}
		parts, i = append(parts, part), k+1
	}
	return strings.Join(parts, ",")
}
