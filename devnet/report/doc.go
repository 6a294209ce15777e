// Package report writes what a measurement found: results.json (schema pheme.results/1),
// deliveries.csv, the table on the terminal and the self-contained report.html, and keeps the
// folder of runs with its "latest" link.
//
// It only formats and stores; every figure arrives computed.
package report
