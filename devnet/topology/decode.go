package topology

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrFile is wrapped by every complaint about a file of connections.
var ErrFile = errors.New("topology")

// maxFile bounds a file of connections before it is read: a million of them.
const maxFile = 16 << 20

// Decode reads the graph of n >= 2 nodes from text: one connection a line, two numbers from 0 to
// n-1 apart by spaces or a comma; '#' begins a comment. A connection that stands there twice, both
// ways or one, is an error, and so is a graph that is not connected. name stands in errors.
func Decode(name string, text []byte, n int) (Graph, error) {
	if n < 2 || len(text) > maxFile {
		return nil, fmt.Errorf("%w: %s: %d bytes for %d nodes: at most %d bytes, at least 2 nodes", ErrFile, name, len(text), n, maxFile)
	}
	has := map[[2]int]bool{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for at := 1; lines.Scan(); at++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		ends := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' || r == '\r' })
		if len(ends) == 0 {
			continue
		}
		e, err := decodeEdge(ends, n)
		if err == nil && has[e] {
			err = fmt.Errorf("%d and %d are connected already", e[0], e[1])
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s: line %d: %w", ErrFile, name, at, err)
		}
		has[e] = true
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFile, name, err)
	}
	edges := make([][2]int, 0, len(has))
	for e := range has {
		edges = append(edges, e)
	}
	slices.SortFunc(edges, func(a, b [2]int) int { return slices.Compare(a[:], b[:]) })
	g := fromEdges(n, edges)
	if !g.Connected() {
		return nil, fmt.Errorf("%w: %s: not all of the nodes 0 to %d are connected with each other: add connections or lower the number of nodes", ErrFile, name, n-1)
	}
	return g, nil
}

func decodeEdge(ends []string, n int) (e [2]int, err error) {
	if len(ends) != 2 {
		return e, fmt.Errorf("%d numbers: want two", len(ends))
	}
	for i, text := range ends {
		v, err := strconv.Atoi(text)
		if err != nil || v < 0 || v >= n {
			return e, fmt.Errorf("%q is not a node: want 0 to %d", text, n-1)
		}
		e[i] = v
	}
	if e[0] == e[1] {
		return e, fmt.Errorf("node %d is connected with itself", e[0])
	}
	return ordered(e[0], e[1]), nil
}
