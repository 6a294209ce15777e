//go:build ignore

// Command results fails unless the metrics of a results.json have the wanted values:
//
//	go run .ci/results.go runs/latest/results.json block.coverage=1 run.events_lost=0
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
)

func main() {
	if len(os.Args) < 3 {
		fail("usage: results FILE METRIC=VALUE...")
	}
	raw, err := os.ReadFile(os.Args[1])
	if err != nil {
		fail("%v", err)
	}
	var results struct {
		Schema  string
		Summary map[string]struct{ Value json.RawMessage }
	}
	if err := json.Unmarshal(raw, &results); err != nil {
		fail("%s: %v", os.Args[1], err)
	}
	if results.Schema != "pheme.results/1" {
		fail("%s: schema is %q, want pheme.results/1", os.Args[1], results.Schema)
	}
	for _, arg := range os.Args[2:] {
		name, text, _ := strings.Cut(arg, "=")
		want, err := strconv.ParseFloat(text, 64)
		if err != nil {
			fail("%s: want METRIC=NUMBER", arg)
		}
		var got float64
		if err := json.Unmarshal(results.Summary[name].Value, &got); err != nil || got != want {
			fail("%s is %s, want %s", name, results.Summary[name].Value, text)
		}
		fmt.Println(name, "is", got)
	}
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "results: "+format+"\n", args...)
	os.Exit(1)
}
