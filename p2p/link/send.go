package link

// This file moves trains: from a flow's turn on its node's uplink, over the
// path, through the receiver's downlink, and back as an acknowledgement.

// offerPipe puts a pipe in its flow's turn if it can send.
func (n *Net) offerPipe(at int64, p *Pipe) {
	if p.sendable() && !p.listed {
		p.listed, p.since = true, at
		p.flow.ready.pushBefore(p, func(q *Pipe) bool { return q.since == at && q.id > p.id })
	}
	n.offer(at, p.flow)
}

// offer puts a flow in its node's turn if it can send. Those offered at one
// instant stand in the order of their keys, and an idle uplink looks a nanosecond
// later, when all of them are there: so that it does not matter which goroutine
// was first.
func (n *Net) offer(at int64, f *flow) {
	a := &n.nodes[f.from]
	if f.inRing || a.current == f || !f.sendable() {
		return
	}
	f.inRing, f.turn, f.since = true, 0, at
	a.ring.pushBefore(f, func(g *flow) bool { return g.since == at && g.key > f.key })
	if !a.busy && !a.waking {
		a.waking = true
		n.agenda.push(at+1, stepWake, f.from, nil)
	}
}

// pump lets an idle uplink send its next train.
func (n *Net) pump(at int64, node int) {
	a := &n.nodes[node]
	if a.busy {
		return
	}
	limit := n.burst(n.links.Node(node).Up)
	for {
		f := a.current
		if f == nil {
			if a.ring.len() == 0 {
				return
			}
			f = a.ring.pop()
			f.inRing, f.turn = false, 0
		}
		a.current = nil
		if f.sendable() {
			a.current = f
			n.transmit(at, f, max(limit-f.turn, PacketBytes))
			return
		}
	}
}

// transmit sends one train. Its first packet reaches the downlink while the last
// is still being sent: the two rates overlap as they do on a real path.
func (n *Net) transmit(at int64, f *flow, limit int) {
	a := &n.nodes[f.from]
	up := n.links.Node(f.from).Up
	b, size := f.take(limit)
	t := &train{flow: f, burst: b, size: size, sentAt: at, leftAt: at + int64(up.Time(size))}
	reach := f.reach(at, at+int64(up.Time(min(size, PacketBytes))), Packets(size))
	f.drop(t)
	f.turn += size
	if !f.datagram {
		f.window.Sent(size)
	}
	a.busy = true
	a.count.Sent += uint64(size)
	a.count.Lost += uint64(t.lost)
	if f.path.Cut {
		a.count.Cut += uint64(t.lost)
	}
	n.agenda.push(t.leftAt, stepUplink, f.from, nil)
	t.lastAt = reach + t.leftAt - at - int64(up.Time(min(size, PacketBytes)))
	if t.passing() > 0 {
		n.agenda.push(reach, stepArrive, f.to, t)
	}
	switch {
	case t.lost == 0 || f.datagram:
	case f.path.Cut:
		n.stall(at, t, t.lost)
	default:
		n.agenda.push(t.leftAt+f.rtt(), stepLoss, f.from, t)
	}
}

func (n *Net) uplinkFree(at int64, node int) {
	a := &n.nodes[node]
	a.busy = false
	if f := a.current; f != nil && (f.turn+PacketBytes > n.burst(n.links.Node(node).Up) || !f.sendable()) {
		a.current = nil
		n.offer(at, f)
	}
	n.pump(at, node)
}

// arrive hands a train to the downlink.
func (n *Net) arrive(at int64, t *train) {
	f := t.flow
	if f.currentPath().Cut {
		c := &n.nodes[f.from].count
		c.Lost += uint64(t.passing())
		c.Cut += uint64(t.passing())
		n.stall(at, t, t.passing())
		return
	}
	a := &n.nodes[f.to]
	down := n.links.Node(f.to).Down
	if !n.cfg.FairDown {
		// The work is taken in the order of first packets; a train whose sender is
		// slower than the downlink leaves room for others and is done with its last packet.
		a.downFree = max(at, a.downFree) + int64(down.Time(t.passing()))
		n.agenda.push(max(a.downFree, t.lastAt+int64(down.Time(min(t.passing(), PacketBytes)))), stepDeliver, f.to, t)
		return
	}
	f.arrived.push(t)
	if !f.inDownRing {
		f.inDownRing = true
		a.downRing.push(f)
	}
	n.serveDown(at, f.to)
}

// serveDown lets an idle fair downlink take the next flow's train.
func (n *Net) serveDown(at int64, node int) {
	a := &n.nodes[node]
	if a.downBusy || a.downRing.len() == 0 {
		return
	}
	f := a.downRing.pop()
	t := f.arrived.pop()
	if f.inDownRing = f.arrived.len() > 0; f.inDownRing {
		a.downRing.push(f)
	}
	down := n.links.Node(node).Down
	done := at + int64(down.Time(t.passing()))
	a.downBusy = true
	n.agenda.push(done, stepDown, node, nil)
	n.agenda.push(max(done, t.lastAt+int64(down.Time(min(t.passing(), PacketBytes)))), stepDeliver, node, t)
}

// deliver counts a train in and passes on what it completes.
func (n *Net) deliver(at int64, t *train) {
	f, b := t.flow, t.burst
	n.nodes[f.to].count.Received += uint64(t.passing())
	if f.datagram {
		n.out = append(n.out, Event{Kind: Packet, To: f.to, Tag: b.pipe.Tag})
		return
	}
	if b.missing -= t.passing(); b.missing == 0 {
		n.complete(b)
	}
	switch {
	case f.dead:
	case f.window.Open() && f.currentPath().Loss == 0: // nobody waits for it
		f.window.Acked(t.sentAt, t.passing())
	default:
		n.agenda.push(at+int64(f.back().travel()), stepAck, f.from, t)
	}
}

func (n *Net) acked(at int64, t *train) {
	f := t.flow
	if f.dead {
		return
	}
	if f.currentPath().Cut { // a later acknowledgement will cover it
		n.agenda.push(at+minTimeout, stepAck, f.from, t)
		return
	}
	f.window.Acked(t.sentAt, t.passing())
	n.offer(at, f)
}

// noticeLoss is one round trip after the train left: the answers to later
// packets, if there are enough, have shown the loss.
func (n *Net) noticeLoss(at int64, t *train) {
	f := t.flow
	if f.dead {
		return
	}
	if n.cfg.LossCC == Reno && f.sent-1-t.lastBad < reorderPackets {
		n.agenda.push(t.leftAt+f.timeout(t.burst.tries), stepTimeout, f.from, t)
		return
	}
	n.sendAgain(at, t, false)
}

func (n *Net) timedOut(at int64, t *train) {
	if !t.flow.dead {
		t.burst.tries++
		n.sendAgain(at, t, true)
	}
}

func (n *Net) sendAgain(at int64, t *train, timeout bool) {
	t.flow.window.Lost(at, t.sentAt, t.lost, timeout)
	t.flow.repeat(t.burst, t.lost)
	n.offer(at, t.flow)
}

// repeat queues bytes of a burst to be sent again, unless nobody waits for them.
func (f *flow) repeat(b *burst, size int) {
	if !f.dead && (!b.pipe.reset || b.aborting) {
		f.again.push(resend{burst: b, size: size})
	}
}

// stall is what a cut does to a sender: the bytes are gone, and it stays silent
// but for probes whose distance doubles.
func (n *Net) stall(at int64, t *train, lost int) {
	f := t.flow
	if f.datagram || f.dead {
		return
	}
	f.window.CutOff(lost)
	f.repeat(t.burst, lost)
	if !f.stalled {
		f.stalled, f.backoff = true, 0
		n.agenda.push(at+f.timeout(0), stepProbe, f.from, f)
	}
}

func (n *Net) probe(at int64, f *flow) {
	if f.dead {
		return
	}
	if f.currentPath().Cut {
		if n.cfg.LossCC == Reno {
			f.backoff++
		}
		n.agenda.push(at+f.timeout(f.backoff), stepProbe, f.from, f)
		return
	}
	f.stalled = false
	f.window.Restart(at)
	n.offer(at, f)
}
