package rpc

import (
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// maxAddresses bounds the addresses whose rate is known at once; 4,096 take 400 KB.
const maxAddresses = 4096

// rates holds each client address to a number of calls a second, by a bucket that fills
// at that rate and holds a second's worth.
type rates struct {
	perSecond int

	mu sync.Mutex
	by map[netip.Addr]*bucket
}

type bucket struct {
	left float64 // calls
	at   time.Time
}

func newRates(perSecond int) *rates {
	return &rates{perSecond: perSecond, by: make(map[netip.Addr]*bucket)}
}

// take takes n calls of an address and reports whether they were there; a batch larger
// than a bucket takes a full one. The zero address, a client on the unix socket, is free.
func (r *rates) take(now time.Time, from netip.Addr, n int) bool {
	from, limited := clientOf(from)
	if !limited {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.by[from]
	if b == nil {
		r.makeRoom(now)
		b = &bucket{left: float64(r.perSecond), at: now}
		r.by[from] = b
	}
	r.fill(b, now)
	need := float64(min(n, r.perSecond))
	if b.left < need {
		return false
	}
	b.left -= need
	return true
}

func (r *rates) fill(b *bucket, now time.Time) {
	b.left = min(float64(r.perSecond), b.left+now.Sub(b.at).Seconds()*float64(r.perSecond))
	b.at = now
}

// makeRoom forgets, when no more addresses may be known, those that have been idle for a second, and where that
// does not free an eighth of the places, others, whichever come first: so that not every new address costs a look
// at all.
func (r *rates) makeRoom(now time.Time) {
	if len(r.by) < maxAddresses {
		return
	}
	for addr, b := range r.by {
		if now.Sub(b.at) >= time.Second {
			delete(r.by, addr)
		}
	}
	for addr := range r.by {
		if len(r.by) <= maxAddresses/8*7 {
			return
		}
		delete(r.by, addr)
	}
}

// clientOf returns what the client at an address counts by, and whether it is limited: addresses of this machine are
// not, and an IPv6 client counts by its /64, which is what one gets at the least.
func clientOf(from netip.Addr) (client netip.Addr, limited bool) {
	if from = from.Unmap(); !from.IsValid() || from.IsLoopback() {
		return from, false
	}
	if from.Is6() {
		wide, _ := from.WithZone("").Prefix(64) // 64 is a length it has
		from = wide.Addr()
	}
	return from, true
}

// shares counts what each client address holds of something that there is a limited number of, so that none
// holds more than its share. It is guarded by its owner.
type shares struct {
	each  int
	alone int // an address that has nothing takes so many at once
	by    map[netip.Addr]int
}

// newShares gives each address a quarter.
func newShares(all int) shares {
	each := max(1, all/4)
	return shares{each: each, alone: each, by: make(map[netip.Addr]int)}
}

// take counts n more of an address, and reports whether it may hold them.
func (s *shares) take(from netip.Addr, n int) bool {
	client, limited := clientOf(from)
	if !limited || n == 0 {
		return true
	}
	limit := s.each
	if s.by[client] == 0 {
		limit = s.alone
	}
	if s.by[client]+n > limit {
		return false
	}
	s.by[client] += n
	return true
}

// give undoes takes of n together.
func (s *shares) give(from netip.Addr, n int) {
	client, limited := clientOf(from)
	if !limited || n == 0 {
		return
	}
	if s.by[client] -= n; s.by[client] == 0 {
		delete(s.by, client)
	}
}

// tooHasty is the answer to a call above the rate.
func (s *Server) tooHasty() error {
	return &codeError{codeBusy, fmt.Sprintf("too many calls from your address: send at most %d a second, or use a node of your own", s.cfg.MaxRate)}
}

// addressOf returns the client's address, the zero one if it has none.
func addressOf(remote string) netip.Addr {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr()
}
