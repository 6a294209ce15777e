package experiment

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

const sec = Duration(time.Second)

func TestFaultComplaints(t *testing.T) {
	tests := []struct {
		fault Fault
		key   string
		why   string
	}{
		{Fault{}, "kind", "exactly one of"},
		{Fault{Kill: "1", Pause: "2"}, "kind", "exactly one of"},
		{Fault{At: -1, Kill: "1"}, "at", "must be 0s to"},
		{Fault{At: 31 * sec, Kill: "1"}, "at", "end of the run at 30s"},
		{Fault{At: sec, For: 30 * sec, Kill: "1"}, "for", "before the run does"},
		{Fault{For: sec, Join: "1"}, "for", "stays"},
		{Fault{Pause: "1"}, "for", "must end"},
		{Fault{Link: []Nodes{"1"}, Add: sec}, "link", "two sets"},
		{Fault{Link: []Nodes{"1", "all"}}, "link", "changes nothing"},
		{Fault{Kill: "1", Loss: .1}, "add", "belong to a link"},
		{Fault{Link: []Nodes{"1", "all"}, Add: 61 * sec}, "add", "0s to 1m0s"},
		{Fault{Link: []Nodes{"1", "all"}, Loss: 1}, "loss", "use a partition"},
		{Fault{Rates: "1", Up: "1mbit"}, "rates", "up and down"},
		{Fault{Rates: "1", Up: "1mbit", Down: "fast"}, "rates", "rate"},
		{Fault{Kill: "1", Up: "1mbit"}, "up", "belong to rates"},
		{Fault{Churn: "5%"}, "every", "how often"},
		{Fault{Kill: "1", Every: sec}, "every", "belongs to churn"},
		{Fault{Skew: "1"}, "by", "how far"},
		{Fault{Kill: "1", By: sec}, "by", "belongs to skew"},
		{Fault{Kill: "0-19"}, "kill", "no node"},
		{Fault{Churn: "100%", Every: sec}, "churn", "no node"},
		{Fault{Kill: "20"}, "kill", "the nodes are 0 to 19"},
		{Fault{Kill: "3-1"}, "kill", "the nodes are 0 to 19"},
		{Fault{Kill: "0%"}, "kill", "above 0%"},
		{Fault{Kill: "some"}, "kill", "write a number"},
		{Fault{Kill: "region:mars"}, "kill", "no such region"},
		{Fault{Partition: []Nodes{"0-9"}, For: 10 * sec}, "", ""},
		{Fault{Kill: "50%", For: 5 * sec, At: 3 * sec}, "", ""},
		{Fault{Link: []Nodes{"region:tokyo", "all"}, Add: sec / 5, Loss: .05, For: sec}, "", ""},
		{Fault{Rates: "10%", Up: "1mbit", Down: "unlimited"}, "", ""},
		{Fault{Skew: "3,5-7", By: -sec / 10}, "", ""},
	}
	s := Spec{Engine: "virtual", Net: Net{Nodes: 20}}
	s.Resolve()
	for _, tt := range tests {
		if key, why := s.faultComplaint(&tt.fault); key != tt.key || !strings.Contains(why, tt.why) {
			t.Errorf("%+v: %s: %s, want %s: %s", tt.fault, key, why, tt.key, tt.why)
		}
	}
}

// A fault that cannot be made is refused by name, never left out.
func TestFaultsThatCannotHappenAreRefused(t *testing.T) {
	s := Default()
	for _, f := range []Fault{{Partition: []Nodes{"0"}}, {Link: []Nodes{"0", "1"}, Add: sec}, {Rates: "0", Up: "1mbit", Down: "1mbit"}} {
		s.Fault = []Fault{f}
		if err := s.Validate(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "fault 1: "+f.Kind()+": links can be cut and changed only where they are shaped") {
			t.Errorf("%s of unshaped links: %v", f.Kind(), err)
		}
	}
	s = Spec{Engine: "virtual", Load: Load{Pools: PoolsCold}, Fault: []Fault{{Kill: "1"}}}
	s.Resolve()
	if err := s.Validate(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "fault 1: kill: the pools of a node that is down cannot be filled") {
		t.Errorf("a kill with cold pools: %v", err)
	}
}

func TestNodesPick(t *testing.T) {
	region := func(i int) string { return []string{"east", "west"}[i%2] }
	rng := func() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }
	for text, want := range map[Nodes][]int{
		"3": {3}, "0-2": {0, 1, 2}, "8, 1-2,1": {1, 2, 8}, "all": {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, "region:west": {1, 3, 5, 7, 9},
	} {
		if got, err := text.Pick(10, region, rng()); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q is %v, %v, want %v", text, got, err, want)
		}
	}
	half, err := Nodes("50%").Pick(10, nil, rng())
	again, _ := Nodes("50%").Pick(10, nil, rng())
	if err != nil || len(half) != 5 || !slices.Equal(half, again) {
		t.Errorf("half of ten is %v and %v, %v", half, again, err)
	}
	if one, err := Nodes("1%").Pick(10, nil, rng()); err != nil || len(one) != 1 {
		t.Errorf("1%% of ten is %v, %v, want one node", one, err)
	}
	if _, err := Nodes("10").Pick(10, nil, rng()); err == nil {
		t.Error("node 10 of ten was taken")
	}
}
