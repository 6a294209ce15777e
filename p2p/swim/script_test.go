package swim

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDialogues plays the scripts in testdata/dialogue-*.txt: the lines above ----
// are commands, those below are what members then say and see. Members have
// numbers; links take 10 ms and lose what a script cuts.
//
//	members N       N members that know each other
//	run D           time passes
//	quiet D         time passes and nothing of it is shown
//	crash I         member I stops
//	restart I J     member I starts anew and joins at J
//	join I J        a new member, which must become I, joins at J
//	deaf I J        what I sends to J is lost from now on, and the other way; J may be *
//	heal            nothing is lost any more
//	set I K V       member I writes an entry
//	leave I         member I says goodbye and stops
//	lie I J K       I tells J that K is dead
func TestDialogues(t *testing.T) {
	paths, err := filepath.Glob("testdata/dialogue-*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("scripts: %v, %v", paths, err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			commands, _, _ := strings.Cut(string(text), "----\n")
			golden(t, filepath.Base(path), commands+"----\n"+play(t, commands))
		})
	}
}

// stage is a sim that writes down what happens.
type stage struct {
	*sim
	out   strings.Builder
	shown []int // changes of each member
	cuts  map[[2]int]bool
	quiet bool
}

func play(t *testing.T, commands string) string {
	l := newLinks(1, 0)
	l.jitter = 0
	// Slow rounds, so that a dialogue has few lines, and no aggregation.
	cfg := Config{ProbeInterval: time.Second, GossipInterval: 200 * time.Millisecond, GossipNodes: 1, AggregateInterval: time.Hour, Verifiers: 1}
	st := &stage{sim: newSim(t, 1, cfg, l), cuts: map[[2]int]bool{}}
	st.cut = func(from, to int) bool { return st.cuts[[2]int{from, to}] }
	st.log = st.packet
	for line := range strings.Lines(commands) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fmt.Fprintf(&st.out, "> %s\n", line)
		st.command(strings.Fields(line))
		st.changes()
	}
	return st.out.String()
}

func (st *stage) command(words []string) {
	arg := func(i int) (v int) {
		if _, err := fmt.Sscan(words[i], &v); err != nil {
			st.t.Fatalf("%v: %v", words, err)
		}
		return v
	}
	switch words[0] {
	case "members":
		st.settled(arg(1))
	case "run", "quiet":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			st.t.Fatal(err)
		}
		st.quiet = words[0] == "quiet"
		for end := st.now.Add(d); st.now.Before(end); {
			st.sim.run(10 * time.Millisecond)
			st.changes()
		}
		st.quiet = false
	case "crash":
		st.crash(arg(1))
	case "restart":
		st.boot(st.nodes[arg(1)])
		st.sync(st.nodes[arg(1)], st.nodes[arg(2)])
	case "join":
		if n := st.add(); n.index != arg(1) {
			st.t.Fatalf("%v: it is %d", words, n.index)
		}
		st.sync(st.nodes[arg(1)], st.nodes[arg(2)])
	case "deaf":
		for j := range st.nodes {
			if words[2] == "*" || arg(2) == j {
				st.cuts[[2]int{arg(1), j}], st.cuts[[2]int{j, arg(1)}] = true, true
			}
		}
	case "heal":
		clear(st.cuts)
	case "set":
		if err := st.nodes[arg(1)].Set(st.now, map[string]string{words[2]: words[3]}); err != nil {
			st.t.Fatal(err)
		}
		st.flush(st.nodes[arg(1)])
	case "leave":
		if err := st.nodes[arg(1)].Leave(st.now); err != nil {
			st.t.Fatal(err)
		}
		st.flush(st.nodes[arg(1)])
		st.crash(arg(1))
	case "lie":
		k := st.nodes[arg(3)]
		a := accusation{Dead: true, Subject: k.tag, Incarnation: k.self.Incarnation, Accuser: st.nodes[arg(1)].tag}
		b := (&message{Kind: kindGossip, Accusations: []accusation{a}}).encode()
		st.packet(st.nodes[arg(1)], st.nodes[arg(2)], b, false)
		if err := st.nodes[arg(2)].Receive(st.now, st.nodes[arg(1)].id, b); err != nil {
			st.t.Fatal(err)
		}
		st.flush(st.nodes[arg(2)])
	default:
		st.t.Fatalf("no command %q", words[0])
	}
}

func (st *stage) at() string { return fmt.Sprintf("%6.2f", st.now.Sub(st.start).Seconds()) }

// number is the member of a tag.
func (st *stage) number(tag uint64) int {
	for _, n := range st.nodes {
		if n.tag == tag {
			return n.index
		}
	}
	return -1
}

func (st *stage) packet(from, to *simNode, b []byte, lost bool) {
	if st.quiet {
		return
	}
	m, err := DecodeMessage(b)
	if err != nil {
		st.t.Fatal(err)
	}
	fmt.Fprintf(&st.out, "%s %d->%d %v", st.at(), from.index, to.index, m.Kind)
	if m.Target != 0 {
		fmt.Fprintf(&st.out, " of %d", st.number(m.Target))
	}
	for _, a := range m.Accusations {
		fmt.Fprintf(&st.out, " [%d is %s, says %d]", st.number(a.Subject), map[bool]string{false: "suspect", true: "dead"}[a.Dead], st.number(a.Accuser))
	}
	for _, raw := range m.Records {
		r, err := DecodeRecord(raw)
		if err != nil {
			st.t.Fatal(err)
		}
		fmt.Fprintf(&st.out, " [%d: incarnation %d", st.number(r.ID.Tag()), r.Incarnation-uint64(st.start.UnixMilli()))
		if r.Left {
			fmt.Fprint(&st.out, ", left")
		}
		for _, e := range r.Entries {
			fmt.Fprintf(&st.out, ", %s=%s", e.Key, e.Value)
		}
		fmt.Fprint(&st.out, "]")
	}
	if lost {
		fmt.Fprint(&st.out, " (lost)")
	}
	fmt.Fprintln(&st.out)
}

// changes shows what members saw since the last time.
func (st *stage) changes() {
	for i, n := range st.nodes {
		if i == len(st.shown) {
			st.shown = append(st.shown, 0)
		}
		for _, e := range n.events[st.shown[i]:] {
			if !st.quiet {
				fmt.Fprintf(&st.out, "%6.2f %d: %d is %v\n", e.at.Sub(st.start).Seconds(), i, st.byID[e.ID].index, e.State)
			}
		}
		st.shown[i] = len(n.events)
	}
}
