package stats

import "math"

// Line is a straight line fitted to points, and how well it fits.
type Line struct {
	Slope     Number `json:"slope"`
	Intercept Number `json:"intercept"`
	R2        Number `json:"r2"` // share of the variance of y that the line explains
}

// FitLine is the least-squares line through the points (x[i], y[i]). It has no figures where fewer
// than two x differ or a value is not finite. R2 is 1 where all y are the same.
func FitLine(x, y []float64) Line {
	none := Line{None(), None(), None()}
	var mx, my float64
	n := float64(len(x))
	for i := range x {
		if math.IsNaN(y[i]) || math.IsInf(y[i], 0) {
			return none
		}
		mx += x[i] / n
		my += y[i] / n
	}
	var sxx, sxy, syy float64
	for i := range x {
		dx, dy := x[i]-mx, y[i]-my
		sxx, sxy, syy = sxx+dx*dx, sxy+dx*dy, syy+dy*dy
	}
	if !(sxx > 0) {
		return none
	}
	slope := sxy / sxx
	r2 := 1.0
	if syy > 0 {
		r2 = sxy * sxy / (sxx * syy)
	}
	return Line{Slope: Number(slope), Intercept: Number(my - slope*mx), R2: Number(r2)}
}

// At is the line's value at x.
func (l Line) At(x float64) float64 { return float64(l.Intercept) + float64(l.Slope)*x }
