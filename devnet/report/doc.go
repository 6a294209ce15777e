// Package report turns joined runs into results and writes them: results.json (schema
// pheme.results/1), deliveries.csv, the table on the terminal and the self-contained report.html;
// it keeps the folder of runs with its "latest" link.
//
//	[]Run{recorder.Run, what the engine saw of the host} -> New -> Results -> Write
//
// New computes every figure; the writers only format, so the four outputs cannot disagree. It is
// pure apart from Write, and starts no goroutine.
package report
