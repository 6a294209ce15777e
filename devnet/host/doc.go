// Package host tells what machine this is and how busy it is: the environment that stands beside
// every figure, and whether the figures are the network's or the CPU's.
//
// It reads the files Linux keeps under /proc. Elsewhere, or where a file is missing, a value is
// unknown: "" or NaN, never a guess. The parsers are pure.
package host
