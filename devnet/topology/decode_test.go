package topology

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	got, err := Decode("g", []byte("# a square\n0 1\n1,2\r\n 3\t2 # side\n\n0 3\n"), 4)
	if want := (Graph{{1, 3}, {0, 2}, {1, 3}, {0, 2}}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Decode() = %v, %v, want %v", got, err, want)
	}
	for text, want := range map[string]string{
		"0 1 2\n":      "g: line 1: 3 numbers",
		"0 1\n0 4\n":   `g: line 2: "4" is not a node: want 0 to 3`,
		"0 x\n":        `"x" is not a node`,
		"1 1\n":        "connected with itself",
		"0 1\n1 0\n":   "g: line 2: 0 and 1 are connected already",
		"0 1\n2 3\n":   "not all of the nodes 0 to 3 are connected",
		"":             "not all of the nodes",
		"0 1\n1 -2\n":  `"-2" is not a node`,
		"0 1\n1 2 #\n": "not all",
	} {
		if _, err := Decode("g", []byte(text), 4); !errors.Is(err, ErrFile) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := Decode("g", make([]byte, maxFile+1), 4); !errors.Is(err, ErrFile) {
		t.Errorf("a file over the limit: %v", err)
	}
}

// What decodes is a connected graph whose edges, written out, decode to it again.
func FuzzDecode(f *testing.F) {
	f.Add([]byte("0 1\n1 2\n2 0\n"), 3)
	f.Add([]byte("# x\n0,1\n"), 2)
	f.Fuzz(func(t *testing.T, text []byte, n int) {
		if n > 1000 {
			n %= 1000
		}
		g, err := Decode("f", text, n)
		if err != nil {
			if !errors.Is(err, ErrFile) {
				t.Fatalf("error %v does not wrap ErrFile", err)
			}
			return
		}
		if len(g) != n || !g.Connected() {
			t.Fatalf("%d nodes, connected %v", len(g), g.Connected())
		}
		for i, row := range g {
			for _, j := range row {
				if i == j || j < 0 || j >= n {
					t.Fatalf("%d is connected to %d", i, j)
				}
			}
		}
	})
}
