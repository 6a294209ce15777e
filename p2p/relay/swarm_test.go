package relay

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// swarmProperty drives a swarm at random and holds it to its promises.
func swarmProperty(t *rapid.T) {
	data := rapid.IntRange(1, 128).Draw(t, "data")
	total := data + (data+1)/2
	budget := rapid.IntRange(1, 4).Draw(t, "budget")
	s := newSwarm(data, total, budget, rapid.Uint64().Draw(t, "seed"))
	has := map[[2]int]bool{} // peer and chunk
	sent, budgets := make([]int, total), make([]int, total)
	hungry := map[int]bool{}
	done := map[int]bool{}
	holders := func(chunk int) (n int) {
		for p := range 4 {
			if has[[2]int{p, chunk}] {
				n++
			}
		}
		return n
	}
	for range rapid.IntRange(1, 400).Draw(t, "steps") {
		peer, chunk := rapid.IntRange(0, 3).Draw(t, "peer"), rapid.IntRange(0, total-1).Draw(t, "chunk")
		switch rapid.IntRange(0, 7).Draw(t, "do") {
		case 0, 1:
			if hops := rapid.Uint8Range(0, 3).Draw(t, "hops"); s.add(chunk, hops) {
				if budgets[chunk] = budget; hops == 1 {
					budgets[chunk] = 2 * budget
				}
			}
		case 2:
			s.heard(peer, chunk)
			has[[2]int{peer, chunk}] = true
		case 3:
			s.lost(peer, chunk)
			delete(has, [2]int{peer, chunk})
		case 4:
			s.view(peer).hungry, hungry[peer] = true, true
		case 5:
			if rapid.Bool().Draw(t, "leave") {
				s.leave(peer)
				hungry[peer], done[peer] = false, false
				for c := range total {
					delete(has, [2]int{peer, c})
				}
			}
		default:
			c, ok := s.next(peer)
			if !ok {
				for i := range total {
					if v := s.view(peer); s.have.get(i) && !has[[2]int{peer, i}] && (sent[i] < budgets[i] || hungry[peer]) && !v.done && v.given < maxGiven*total {
						t.Fatalf("chunk %d is held back from peer %d", i, peer)
					}
				}
				continue
			}
			if !s.have.get(c) || has[[2]int{peer, c}] || sent[c] >= budgets[c] && !hungry[peer] {
				t.Fatalf("chunk %d for peer %d: held %v, has it %v, sent %d times", c, peer, s.have.get(c), has[[2]int{peer, c}], sent[c])
			}
			for i := range total {
				if s.have.get(i) && !has[[2]int{peer, i}] && (sent[i] < budgets[i] || hungry[peer]) && (holders(i) < holders(c) || holders(i) == holders(c) && sent[i] < sent[c]) {
					t.Fatalf("chunk %d, sent %d times and held by %d, goes before %d, sent %d times and held by %d", c, sent[c], holders(c), i, sent[i], holders(i))
				}
			}
			has[[2]int{peer, c}] = true
			sent[c]++
		}
		for i := range total {
			if int(s.known[i]) != holders(i) {
				t.Fatalf("%d peers hold chunk %d, known %d", holders(i), i, s.known[i])
			}
		}
		for p, v := range s.views {
			if v.done && v.count < total {
				t.Fatalf("peer %d needs no more, and holds %d of %d", p, v.count, total)
			}
		}
	}
}

func TestSwarmLaws(t *testing.T) { rapid.Check(t, swarmProperty) }

// FuzzSwarm is TestSwarmLaws with a course that the fuzzer writes.
func FuzzSwarm(f *testing.F) {
	addCourses(f)
	f.Fuzz(rapid.MakeFuzz(swarmProperty))
}

// addCourses gives a fuzzer bytes enough for some dozens of steps of a property.
func addCourses(f *testing.F) {
	r := rand.NewChaCha8([32]byte{1})
	for range 10 {
		course := make([]byte, 6000)
		_, _ = r.Read(course)
		f.Add(course)
	}
}
