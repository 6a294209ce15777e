package link

// step is something that will happen inside a Net at an instant.
type step struct {
	at   int64 // nanoseconds since the start
	seq  uint64
	kind stepKind
	node int32
	what any // *train, *flow, *Pipe, *Conn or nil, by kind
}

type stepKind uint8

const (
	stepUplink  stepKind = iota // the uplink of node has sent its train
	stepWake                    // the idle uplink of node has been offered something
	stepArrive                  // the first packet of a train has reached the receiver's downlink
	stepDown                    // the downlink of node is free (fair downlinks only)
	stepDeliver                 // the downlink has passed a train on
	stepAck                     // the sender learns that a train arrived
	stepLoss                    // later packets could show the sender a loss
	stepTimeout                 // nothing did
	stepProbe                   // a flow on a cut path tries again
	stepCredit                  // the sender learns that the receiver has read
	stepClose                   // the other end learns of a close
	stepDead                    // a connection may have been cut for too long
	stepChange                  // the schedule's next entry is due
)

// agenda is a binary heap of steps: by instant, then by node, then in the order
// they were put. What several goroutines put for different nodes at one instant
// comes in the same order in every run.
type agenda struct {
	steps []step
	seq   uint64
}

func (a *agenda) less(i, j int) bool {
	x, y := &a.steps[i], &a.steps[j]
	if x.at != y.at {
		return x.at < y.at
	}
	return x.node < y.node || x.node == y.node && x.seq < y.seq
}

func (a *agenda) push(at int64, kind stepKind, node int, what any) {
	a.seq++
	a.steps = append(a.steps, step{at: at, seq: a.seq, kind: kind, node: int32(node), what: what})
	for i := len(a.steps) - 1; i > 0; {
		up := (i - 1) / 2
		if !a.less(i, up) {
			return
		}
		a.steps[i], a.steps[up] = a.steps[up], a.steps[i]
		i = up
	}
}

// pop takes the earliest step; there must be one.
func (a *agenda) pop() step {
	first := a.steps[0]
	last := len(a.steps) - 1
	a.steps[0] = a.steps[last]
	a.steps[last] = step{}
	a.steps = a.steps[:last]
	for i := 0; ; {
		down := 2*i + 1
		if down >= last {
			return first
		}
		if down+1 < last && a.less(down+1, down) {
			down++
		}
		if !a.less(down, i) {
			return first
		}
		a.steps[i], a.steps[down] = a.steps[down], a.steps[i]
		i = down
	}
}

// fifo is a queue that reuses its memory.
type fifo[T any] struct {
	items []T
	head  int
}

func (q *fifo[T]) len() int { return len(q.items) - q.head }

func (q *fifo[T]) push(v T) { q.items = append(q.items, v) }

func (q *fifo[T]) first() *T { return &q.items[q.head] }

func (q *fifo[T]) last() *T { return &q.items[len(q.items)-1] }

func (q *fifo[T]) pop() T {
	var zero T
	v := q.items[q.head]
	q.items[q.head] = zero
	q.head++
	switch {
	case q.head == len(q.items):
		q.items, q.head = q.items[:0], 0
	case q.head >= 32 && q.head > len(q.items)/2:
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	return v
}

// popLast takes back what was pushed last.
func (q *fifo[T]) popLast() T {
	var zero T
	last := len(q.items) - 1
	v := q.items[last]
	q.items[last] = zero
	q.items = q.items[:last]
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return v
}

// pushBefore puts v behind all but the last items for which after is true.
func (q *fifo[T]) pushBefore(v T, after func(T) bool) {
	q.items = append(q.items, v)
	for i := len(q.items) - 1; i > q.head && after(q.items[i-1]); i-- {
		q.items[i-1], q.items[i] = q.items[i], q.items[i-1]
	}
}

func (q *fifo[T]) clear() {
	clear(q.items)
	q.items, q.head = q.items[:0], 0
}
