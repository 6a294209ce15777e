package link

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// PacketBytes is the size of one packet: what is lost, reordered and counted
// towards a loss event as a whole. QUIC's smallest allowed datagram rounded to
// what go-libp2p sends.
const PacketBytes = 1280

// Rate is a transfer rate in bits a second. Zero means unlimited.
type Rate int64

// Units of Rate.
const (
	Kbit Rate = 1000
	Mbit Rate = 1000 * Kbit
	Gbit Rate = 1000 * Mbit
)

// Time returns how long n bytes take at the rate; nothing at an unlimited one.
func (r Rate) Time(n int) time.Duration {
	if r <= 0 || n <= 0 {
		return 0
	}
	if n < 1<<30 {
		return time.Duration(int64(n) * 8e9 / int64(r))
	}
	return time.Duration(float64(n) * 8e9 / float64(r))
}

// String writes the rate as ParseRate reads it, for example "50mbit".
func (r Rate) String() string {
	switch {
	case r <= 0:
		return "unlimited"
	case r%Gbit == 0:
		return strconv.FormatInt(int64(r/Gbit), 10) + "gbit"
	case r%Mbit == 0:
		return strconv.FormatInt(int64(r/Mbit), 10) + "mbit"
	case r%Kbit == 0:
		return strconv.FormatInt(int64(r/Kbit), 10) + "kbit"
	}
	return strconv.FormatInt(int64(r), 10) + "bit"
}

// maxRate is where a rate stops being one: 1 Tbit/s.
const maxRate = 1000 * Gbit

// ParseRate reads a rate such as "50mbit", "1.5gbit", "800kbit", "9600bit" or
// "unlimited". The unit is required, so that bits and bytes are never mistaken.
func ParseRate(s string) (Rate, error) {
	if s == "unlimited" {
		return 0, nil
	}
	for _, u := range []struct {
		name string
		rate Rate
	}{{"gbit", Gbit}, {"mbit", Mbit}, {"kbit", Kbit}, {"bit", 1}} {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(digits, 64)
		r := Rate(v * float64(u.rate))
		if err != nil || !(v*float64(u.rate) >= 1 && v*float64(u.rate) <= float64(maxRate)) {
			return 0, fmt.Errorf("link: rate %q: want a number from 1bit to 1000gbit", s)
		}
		return r, nil
	}
	return 0, fmt.Errorf(`link: rate %q: want a number with bit, kbit, mbit or gbit (a second), for example "50mbit", or "unlimited"`, s)
}
