package report

import (
	"math"
	"strconv"
	"strings"

	"github.com/pheme-net/pheme/devnet/stats"
)

// unit says how a metric's numbers are written.
type unit int

const (
	plain unit = iota // 3, 1.92
	millisecond
	percent // of deliveries: never rounded up to all
	share   // of time or cores
	byteCount
	byteRate
	times // a factor
)

// longTime is from where on milliseconds are written as seconds.
const longTime = 10_000

// figure writes one number in a unit, three significant digits, without losing an infinity.
func (u unit) figure(v float64) string {
	switch {
	case math.IsNaN(v):
		return "-"
	case math.IsInf(v, 1):
		return "inf"
	}
	switch u {
	case millisecond:
		if v >= longTime {
			return significant(v/1000) + " s"
		}
		return significant(v) + " ms"
	case percent:
		return percentage(v)
	case share:
		return significant(v*100) + " %"
	case byteCount:
		return binary(v)
	case byteRate:
		return binary(v) + "/s"
	case times:
		return significant(v) + "x"
	}
	return count(v)
}

// FormatFigure writes a value of the figure with a name as tables do.
func FormatFigure(metric string, v float64) string {
	if math.IsInf(v, -1) {
		return "-inf"
	}
	return unitOf(metric).figure(v)
}

// unitOf is the unit of a metric by its name.
func unitOf(metric string) unit {
	for _, c := range []struct {
		end string
		u   unit
	}{
		{"_per_node_per_s", byteRate}, {"_ms", millisecond}, {"_bytes", byteCount}, {"coverage", percent}, {"copies", times},
		{"duplicates", times}, {"multiplier", times}, {"stretch_p95", times}, {"stretch_net_p95", times},
	} {
		if strings.HasSuffix(metric, c.end) {
			return c.u
		}
	}
	return plain
}

// axis is what one unit of an axis that reaches most stands for, and what to write there.
func (u unit) axis(most float64) (scale float64, name string) {
	switch u {
	case millisecond:
		if most >= longTime {
			return 1000, "seconds"
		}
		return 1, "milliseconds"
	case percent, share:
		return 0.01, "percent"
	case byteCount, byteRate:
		scale, name = binaryUnit(most)
		if u == byteRate {
			name += " a second"
		}
		return scale, name
	case times:
		return 1, "times"
	}
	return 1, ""
}

// interval writes "lo - hi unit", both ends in the unit of the larger.
func (u unit) interval(f stats.Figure) string {
	lo, hi := float64(f.Lo), float64(f.Hi)
	switch {
	case !f.HasInterval():
		return ""
	case math.IsInf(lo, 1):
		return "not delivered"
	case math.IsInf(hi, 1):
		return u.figure(lo) + " - inf"
	case u == byteCount || u == byteRate:
		size, _ := binaryUnit(hi)
		return significant(lo/size) + " - " + u.figure(hi)
	case u == millisecond && hi >= longTime:
		return significant(lo/1000) + " - " + u.figure(hi)
	}
	low := u.figure(lo)
	if head, _, ok := strings.Cut(low, " "); ok {
		low = head
	}
	return low + " - " + u.figure(hi)
}

// significant writes three significant digits, more where the whole part has more.
func significant(v float64) string {
	if v == 0 {
		return "0"
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	return strconv.FormatFloat(v, 'f', max(0, min(6, digits)), 64)
}

// count writes a whole number whole.
func count(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return significant(v)
}

// percentage never rounds up to 100 %: what is not whole must not look whole.
func percentage(v float64) string {
	if v >= 1 {
		return "100 %"
	}
	return strconv.FormatFloat(math.Floor(v*1e4)/100, 'f', 2, 64) + " %"
}

// binary writes a number of bytes in the largest binary unit that keeps it above one.
func binary(v float64) string {
	size, name := binaryUnit(v)
	if size == 1 {
		return count(v) + " " + name
	}
	return significant(v/size) + " " + name
}

func binaryUnit(v float64) (size float64, name string) {
	switch v = math.Abs(v); {
	case v >= 1<<30:
		return 1 << 30, "GiB"
	case v >= 1<<20:
		return 1 << 20, "MiB"
	case v >= 1<<10:
		return 1 << 10, "KiB"
	}
	return 1, "B"
}
