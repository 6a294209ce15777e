package p2p

// recentSize is how many values a recent remembers: many times the blocks that
// are under way at once.
const recentSize = 512

// recent remembers the last recentSize values added. The zero value is empty; the
// caller guards it.
type recent[T comparable] struct {
	order []T
	next  int
	has   map[T]struct{}
}

// add remembers v; false means that it is remembered already.
func (r *recent[T]) add(v T) bool {
	if _, have := r.has[v]; have {
		return false
	}
	if r.has == nil {
		r.has = make(map[T]struct{})
	}
	r.has[v] = struct{}{}
	if len(r.order) < recentSize {
		r.order = append(r.order, v)
		return true
	}
	delete(r.has, r.order[r.next])
	r.order[r.next] = v
	r.next = (r.next + 1) % recentSize
	return true
}
