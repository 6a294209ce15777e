package devnet

import (
	"context"
	"fmt"
	"time"

	"github.com/pheme-net/pheme/devnet/fault"
	"github.com/pheme-net/pheme/node"
	"github.com/pheme-net/pheme/p2p/link"
)

// virtualRig is what a virtual run does to its nodes: a kill closes the host and then all the rest,
// a start opens a new host on the same chain storage, a pause cuts the links and seals nothing.
type virtualRig struct{ *virtualRun }

func (r virtualRig) follow(_ context.Context, changes []link.Timed, begin time.Time) error {
	more := make([]link.Timed, len(changes))
	for i, c := range changes {
		more[i] = link.Timed{At: begin.Sub(r.began) + c.At, Do: c.Do}
	}
	r.history = more
	return r.net.Extend(more)
}

func (r virtualRig) kill(i int) (string, error) {
	m := r.members[i]
	conns := len(m.host.Network().Conns())
	err := m.host.Close() // the links end first: no goodbye
	m.stop()
	<-m.ended
	m.closers = m.closers[1:] // the host
	if closed := m.close(); err == nil {
		err = closed
	}
	return fmt.Sprintf("%d connections broken", conns), err
}

func (r virtualRig) start(_ context.Context, i int) error {
	if err := r.open(i); err != nil {
		return err
	}
	r.launch(i)
	return nil
}

func (r virtualRig) connect(_ context.Context, i int, up []bool) error {
	for _, j := range r.graph[i] {
		if up[j] && !grown(r.spec) {
			if err := r.dial(i, j); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r virtualRig) lacks(_ context.Context, i int, up []bool) (string, error) {
	if grown(r.spec) {
		return r.ungrown(i, up), nil
	}
	return r.virtualRun.lacks(i, up), nil
}

func (r virtualRig) bend(_ context.Context, i int, b fault.Bend) error {
	return r.change(i, func(now *node.Bend) { now.Skew, now.Silent, now.Equivocate = b.Skew, b.Silent, b.Equivocate })
}

func (r virtualRig) pause(i int) (string, error) {
	return "cut off and idle", r.change(i, func(now *node.Bend) { now.Paused = true })
}

func (r virtualRig) resume(i int) error {
	return r.change(i, func(now *node.Bend) { now.Paused = false })
}

func (r virtualRig) change(i int, f func(*node.Bend)) error {
	m := r.members[i]
	f(&m.bend)
	m.node.SetBend(m.bend)
	return nil
}

func (r virtualRig) tally(_ context.Context, i int) (tally, error) {
	m := r.members[i]
	c := r.net.Count(i)
	t := tally{
		Cut: c.Cut, Lost: c.Lost, Received: c.Received, Evidence: uint64(len(m.chain.Evidence())), Changes: int(r.changed.Load()),
		Bend: fault.Bend{Skew: m.bend.Skew, Silent: m.bend.Silent, Equivocate: m.bend.Equivocate},
	}
	t.Withheld, t.Second = m.node.Bends()
	return t, nil
}
