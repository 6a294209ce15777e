// Package compare says whether one run is better than another: the same seeds on both sides, message
// for message, so that what the two have in common - network, load, moment - cancels out.
//
// A comparison draws the pairs of messages again and again, as package stats does with a single
// run's, computes a figure for both sides of each draw and looks at the difference. The 95 % interval
// of the difference is the answer. Because many figures are looked at, an interval half as wide again
// must leave zero out before two runs are told apart; half of that width is the smallest difference
// that this pair of runs could have shown.
//
// The verdict on a figure, with d = B - A:
//   - worse or better: the wider interval leaves zero out, and d is large enough to matter: 1 % of A, 5 %
//     with fewer than five seeds, 0.1 % of coverage.
//   - same: the interval stays within 5 % of A, 0.5 % of coverage; where A is infinite, it is nothing but 0.
//   - cannot tell: neither; more seeds or messages make the interval narrower.
//
// It is pure but for [Read], which reads a run's folder.
package compare
