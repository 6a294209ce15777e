package node

import (
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/pheme-net/pheme/p2p"
)

// TestMeshAlert: the alert of a thin mesh knows each topic's bounds: a mesh that is as small as it may
// be does not raise it.
func TestMeshAlert(t *testing.T) {
	text, err := os.ReadFile("../docs/monitoring/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	d := p2p.Defaults()
	least := map[string]int{"block": d.Dlo, "tx": p2p.TxDlo(d.TxD)}
	for _, m := range regexp.MustCompile(`pheme_mesh_peers(?:{topic="(\w+)"})? < (\d+)`).FindAllStringSubmatch(string(text), -1) {
		below, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		bound, ok := least[m[1]]
		if !ok {
			t.Errorf("%s: its topic is %q or was seen before, want one condition each for block and tx", m[0], m[1])
			continue
		}
		if below < 1 || below > bound {
			t.Errorf("%s: want a number from 1 to %d, the fewest peers of that mesh", m[0], bound)
		}
		delete(least, m[1])
	}
	if len(least) > 0 {
		t.Errorf("no alert for a thin mesh of %v", least)
	}
}
