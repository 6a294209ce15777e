package experiment

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Bytes is a size written as "128KiB", "1MiB", "250B" or a plain number of bytes.
type Bytes int64

// byteUnits are tried in order, so that "KiB" is not read as "B".
var byteUnits = []struct {
	name string
	size int64
}{
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1},
}

// UnmarshalText reads b; it is what TOML and the flags call.
func (b *Bytes) UnmarshalText(text []byte) error {
	s, unit := strings.TrimSpace(string(text)), int64(1)
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			s, unit = strings.TrimSpace(rest), u.size
			break
		}
	}
	v, err := strconv.ParseFloat(s, 64)
	if n := v * float64(unit); err != nil || math.IsNaN(v) || n < 0 || n > math.MaxInt32*1024 || n != math.Trunc(n) {
		return fmt.Errorf("%q is not a size: write it as 128KiB, 1MiB or 131072", text)
	}
	*b = Bytes(v * float64(unit))
	return nil
}

// MarshalText writes b in the largest binary unit that divides it.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// String is the text form, which UnmarshalText reads back to the same value.
func (b Bytes) String() string {
	for _, u := range byteUnits[:3] {
		if int64(b) >= u.size && int64(b)%u.size == 0 {
			return fmt.Sprintf("%d%s", int64(b)/u.size, u.name)
		}
	}
	return fmt.Sprintf("%dB", int64(b))
}

// Set and Type make *Bytes a command-line flag value.
func (b *Bytes) Set(s string) error { return b.UnmarshalText([]byte(s)) }

// Type names the value in a command's help.
func (b *Bytes) Type() string { return "size" }

// Duration is a time.Duration written as "1s" or "250ms".
type Duration time.Duration

// UnmarshalText reads d in the syntax of [time.ParseDuration].
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("%q is not a duration: write it as 1s or 250ms", text)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes d as [time.Duration] prints it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String is the text form, which UnmarshalText reads back to the same value.
func (d Duration) String() string { return time.Duration(d).String() }

// D is d as the standard library's type.
func (d Duration) D() time.Duration { return time.Duration(d) }
