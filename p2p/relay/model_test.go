package relay

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// model is a network of swarms and nothing else: every node has one serial
// uplink and one serial downlink, links have a constant delay, what a node got
// is told to its neighbours after a while. It is what the scheduler was tuned
// with.
type model struct {
	n, degree, size, chunk int
	parity                 float64
	budget, root           int
	delay, tell            time.Duration
	rate                   float64 // bytes a second
	window                 int     // bytes under way to a peer; 0: no limit
	silent                 float64 // share of nodes that send nothing
	seed                   uint64

	rng         *rand.Rand
	nodes       []*modelNode
	agenda      modelAgenda
	now         time.Duration
	service     time.Duration
	data, total int
}

type modelNode struct {
	s        *swarm
	links    []int
	turn     int
	busy     bool
	silent   bool
	downFree time.Duration
	flying   map[int]int
	fresh    []int
	telling  bool
	done     time.Duration
	bytesIn  int
	sent     int
}

type modelStep struct {
	at  time.Duration
	seq int
	do  func()
}

type modelAgenda []modelStep

func (a modelAgenda) Len() int { return len(a) }
func (a modelAgenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].seq < a[j].seq
}
func (a modelAgenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *modelAgenda) Push(x any)   { *a = append(*a, x.(modelStep)) }
func (a *modelAgenda) Pop() any {
	last := len(*a) - 1
	x := (*a)[last]
	*a = (*a)[:last]
	return x
}

func (m *model) after(d time.Duration, do func()) {
	heap.Push(&m.agenda, modelStep{m.now + d, len(m.agenda) + m.rng.IntN(1<<40), do})
}

// regular is a random graph of one degree.
func regular(n, d int, rng *rand.Rand) [][]int {
	for {
		var stubs []int
		for i := range n {
			for range d {
				stubs = append(stubs, i)
			}
		}
		links := make([]map[int]bool, n)
		for i := range links {
			links[i] = map[int]bool{}
		}
		ok := true
		for len(stubs) > 0 && ok {
			ok = false
			for range 200 {
				i, j := rng.IntN(len(stubs)), rng.IntN(len(stubs))
				a, b := stubs[i], stubs[j]
				if a == b || links[a][b] {
					continue
				}
				links[a][b], links[b][a] = true, true
				hi, lo := max(i, j), min(i, j)
				stubs = slices.Delete(stubs, hi, hi+1)
				stubs = slices.Delete(stubs, lo, lo+1)
				ok = true
				break
			}
		}
		if ok {
			out := make([][]int, n)
			for i := range links {
				for j := range links[i] {
					out[i] = append(out[i], j)
				}
				slices.Sort(out[i])
			}
			return out
		}
	}
}

type modelResult struct {
	p50, p95, p100 time.Duration
	copies, root   float64
	missing        int
}

func (m *model) run() modelResult {
	m.rng = rand.New(rand.NewPCG(m.seed, 1))
	m.data = (m.size + m.chunk - 1) / m.chunk
	m.total = m.data + int(float64(m.data)*m.parity)
	m.service = time.Duration(float64(m.chunk) / m.rate * 1e9)
	links := regular(m.n, m.degree, m.rng)
	for i := range m.n {
		b := m.budget
		if i == 0 {
			b = m.root
		}
		m.nodes = append(m.nodes, &modelNode{s: newSwarm(m.data, m.total, b, m.rng.Uint64()), links: links[i], flying: map[int]int{}, silent: i > 0 && m.rng.Float64() < m.silent, done: -1})
	}
	for c := range m.total {
		m.nodes[0].s.add(c, 0)
	}
	m.nodes[0].done = 0
	m.pump(0)
	for m.agenda.Len() > 0 {
		step := heap.Pop(&m.agenda).(modelStep)
		m.now = step.at
		step.do()
	}
	var all []time.Duration
	var r modelResult
	for _, n := range m.nodes[1:] {
		if n.done < 0 {
			r.missing++
			continue
		}
		all = append(all, n.done)
		r.copies += float64(n.bytesIn) / float64(m.size) / float64(m.n-1)
	}
	slices.Sort(all)
	r.p50, r.p95, r.p100 = all[len(all)/2], all[len(all)*95/100], all[len(all)-1]
	r.root = float64(m.nodes[0].sent*m.chunk) / float64(m.size)
	return r
}

// pump lets an idle uplink send its next chunk.
func (m *model) pump(i int) {
	n := m.nodes[i]
	if n.busy || n.silent {
		return
	}
	for range n.links {
		p := n.links[n.turn%len(n.links)]
		n.turn++
		if m.window > 0 && n.flying[p] >= m.window {
			continue
		}
		c, ok := n.s.next(p)
		if !ok {
			continue
		}
		n.busy = true
		n.sent++
		n.flying[p] += m.chunk
		m.after(m.service, func() { n.busy = false; m.pump(i) })
		begin := m.now
		m.after(m.delay, func() {
			t := m.nodes[p]
			t.downFree = max(t.downFree, begin+m.delay) + m.service
			m.after(t.downFree-m.now, func() { m.arrive(i, p, c) })
		})
		return
	}
}

func (m *model) arrive(from, to, c int) {
	n := m.nodes[to]
	n.bytesIn += m.chunk
	m.after(m.delay+m.tell/2, func() { m.nodes[from].flying[to] -= m.chunk; m.pump(from) })
	n.s.heard(from, c)
	if n.done >= 0 || !n.s.add(c, m.nodes[from].s.hops[c]+1) {
		return
	}
	n.fresh = append(n.fresh, c)
	if n.s.complete() {
		n.done = m.now
		for i := range m.total {
			n.s.add(i, n.s.farthest())
		}
	}
	if !n.telling {
		n.telling = true
		wait := m.tell
		if n.done >= 0 {
			wait = 0
		}
		m.after(wait, func() { m.report(to) })
	}
	m.pump(to)
}

func (m *model) report(i int) {
	n := m.nodes[i]
	n.telling = false
	fresh, done := n.fresh, n.done >= 0
	n.fresh = nil
	for _, p := range n.links {
		m.after(m.delay, func() {
			for _, c := range fresh {
				m.nodes[p].s.heard(i, c)
			}
			if done {
				m.nodes[p].s.view(i).done = true
			}
		})
	}
}

// maxUpload is what the origin of a block may send of it, in its sizes.
const maxUpload = 4.0

// TestModel holds the scheduler to what it was chosen for, over a perfect network.
func TestModel(t *testing.T) {
	base := model{
		n: 60, degree: 8, size: 1 << 20, parity: 0.5, budget: Config{}.fill().Budget, root: originBudget,
		delay: 50 * time.Millisecond, tell: 5 * time.Millisecond, rate: 50e6 / 8, window: 80 << 10, seed: 1,
	}
	p95 := make(map[string]time.Duration)
	for _, c := range []struct {
		name   string
		bend   func(*model)
		p95    time.Duration
		copies float64
	}{
		{"1 MiB", func(*model) {}, 500 * time.Millisecond, 2.4},
		{"1 MiB in chunks of 8 KiB", func(m *model) { m.chunk = 8 << 10 }, 520 * time.Millisecond, 2.4},
		{"128 KiB", func(m *model) { m.size = 128 << 10 }, 260 * time.Millisecond, 4.8},
		{"a fifth is silent", func(m *model) { m.silent = 0.2; m.size = 256 << 10 }, 400 * time.Millisecond, 3.9},
	} {
		m := base
		c.bend(&m)
		if m.chunk == 0 {
			m.chunk = shapeOf(m.size).chunk
		}
		r := m.run()
		p95[c.name] = r.p95
		t.Logf("%s: p50 %v, p95 %v, p100 %v, copies %.2f, origin %.2f", c.name, r.p50, r.p95, r.p100, r.copies, r.root)
		if r.p95 > c.p95 || r.copies > c.copies || r.root > maxUpload || r.missing > 0 {
			t.Errorf("%s: p95 %v, copies %.2f, origin sent %.2f, %d missing; want at most %v, %.1f, %.1f, 0",
				c.name, r.p95, r.copies, r.root, r.missing, c.p95, c.copies, maxUpload)
		}
	}
	if small, large := p95["1 MiB"], p95["1 MiB in chunks of 8 KiB"]; small >= large {
		t.Errorf("p95 %v in chunks of 4 KiB, %v in chunks of 8 KiB: want the smaller ones sooner", small, large)
	}
}
