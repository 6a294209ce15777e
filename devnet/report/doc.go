// Package report turns joined runs into results and writes them: results.json (schema
// pheme.results/1), deliveries.csv, the table on the terminal and the self-contained report.html;
// it keeps the folder of runs with its "latest" link. A sweep's cells become sweep.json, sweep.csv,
// a table and a page in the same way.
//
//	[]Run{recorder.Run, what the engine saw of the host} -> New -> Results [-> LayOver] -> Write
//	                                                                 |
//	                      page: sections of exhibits, each a chart with its tables below
//
// New computes every figure, and LayOver how far another run is from this one; the writers only
// format, so the four outputs cannot disagree. The page is HTML and inline SVG without a script or
// a request, drawn for a phone and for a desk, and stays below 500 KB however much was measured:
// tables and charts hold the worst or share their columns, and say so.
//
// All of it is pure apart from reading and writing folders, and starts no goroutine.
package report
