package swim

import "slices"

// news is one thing to tell others: a record, or an accusation.
type news struct {
	record *Record
	accuse accusation
	stale  bool // something newer is known
}

// size is what the news takes in a message.
func (n *news) size() int {
	if n.record != nil {
		return len(n.record.raw)
	}
	return minNews
}

// minNews is the size of the smallest news, an accusation.
const minNews = 28

// maxMisfits is how many news that do not fit are passed over before a message
// is taken for full.
const maxMisfits = 8

// queue holds the news to pass on, in tiers by how often each was sent: the
// least sent goes first, and of those the latest.
type queue struct {
	tiers [][]*news
}

func (q *queue) empty() bool {
	for _, tier := range q.tiers {
		if len(tier) > 0 {
			return false
		}
	}
	return true
}

// maxQueue bounds the records that wait to be sent for the first time. In a storm
// of joins push-pull brings the rest, for less.
const maxQueue = 128

func (q *queue) add(n *news) {
	if len(q.tiers) == 0 {
		q.tiers = make([][]*news, 1)
	}
	if n.record != nil && len(q.tiers[0]) >= maxQueue {
		return
	}
	q.tiers[0] = append(q.tiers[0], n)
}

// take fills m with news up to a number of bytes, and forgets what has been sent
// limit times. It returns the room that is left.
func (q *queue) take(m *message, room, limit int) int {
	sent := make([][]*news, len(q.tiers))
	misfits := 0
	for t := range q.tiers {
		tier := q.tiers[t]
		for i := len(tier) - 1; i >= 0 && room >= minNews && misfits < maxMisfits; i-- {
			n := tier[i]
			if !n.stale && !m.fits(n, room) {
				misfits++
				continue
			}
			tier = slices.Delete(tier, i, i+1)
			if !n.stale {
				if !m.says(n) {
					m.add(n)
					room -= n.size()
				}
				sent[t] = append(sent[t], n)
			}
		}
		q.tiers[t] = tier
	}
	for t, ns := range sent {
		if t+1 >= limit || len(ns) == 0 {
			continue
		}
		if t+1 == len(q.tiers) {
			q.tiers = append(q.tiers, nil)
		}
		q.tiers[t+1] = append(q.tiers[t+1], ns...)
	}
	return room
}

func (m *message) fits(n *news, room int) bool {
	if n.record != nil {
		return len(m.Records) < maxRecords && n.size() <= room
	}
	return len(m.Accusations) < maxAccusations && n.size() <= room
}

// says tells whether m has the news already, for its receiver in particular.
func (m *message) says(n *news) bool {
	return n.record == nil && slices.Contains(m.Accusations, n.accuse)
}

func (m *message) add(n *news) {
	if n.record != nil {
		m.Records = append(m.Records, n.record.raw)
	} else {
		m.Accusations = append(m.Accusations, n.accuse)
	}
}
