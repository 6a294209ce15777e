package host

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

// fakeProc writes files under a folder that stands for /proc.
func fakeProc(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestDescribe(t *testing.T) {
	got := Describe(fakeProc(t, map[string]string{
		"sys/kernel/ostype": "Linux\n", "sys/kernel/osrelease": "6.1.0\n", "loadavg": "0.52 0.40 0.30 1/200 4711\n",
		"cpuinfo": "processor\t: 0\nmodel name\t: Some CPU @ 2.50GHz\nprocessor\t: 1\n",
		"meminfo": "MemTotal:        8000000 kB\nMemFree:         1000000 kB\n",
	}))
	if got.Kernel != "Linux 6.1.0" || got.CPU != "Some CPU @ 2.50GHz" || got.Memory != 8_000_000<<10 || got.Load != "0.52 0.40 0.30" || got.Cores < 1 {
		t.Errorf("Describe() = %+v", got)
	}
	if none := Describe(t.TempDir()); none.Load != "" || none.Memory != 0 || none.Kernel == "" || none.CPU == "" {
		t.Errorf("Describe of nothing = %+v: want unknown values and the platform's names", none)
	}
}

func TestCPUShares(t *testing.T) {
	before := ReadCPU(fakeProc(t, map[string]string{
		"stat":               "cpu  100 0 50 1000 20 0 5 5 0 0\ncpu0 ...\n",
		"7/task/7/schedstat": "1000 500 3\n", "7/task/8/schedstat": "0 0 0\n",
	}), []int{7})
	after := ReadCPU(fakeProc(t, map[string]string{
		"stat":               "cpu  160 0 70 1090 30 0 10 15 0 0\ncpu0 ...\n",
		"7/task/7/schedstat": "3000 1000 9\n", "7/task/8/schedstat": "1000 500 9\n",
	}), []int{7, 99})
	// 60 user + 20 system + 5 softirq + 10 steal of 195 ticks; 1000 waited of 4000.
	if got, want := after.Busy(before), 95.0/195; math.Abs(got-want) > 1e-12 {
		t.Errorf("busy %v, want %v", got, want)
	}
	if got := after.Wait(before); got != 0.25 {
		t.Errorf("wait %v, want 0.25", got)
	}
	if got := after.Waited(before); got != 0.001 {
		t.Errorf("waited %v ms, want the 1000 ns of both threads", got)
	}
	none := ReadCPU(t.TempDir(), []int{7})
	if !math.IsNaN(none.Busy(none)) || !math.IsNaN(none.Wait(none)) || !math.IsNaN(none.Waited(none)) {
		t.Error("shares of nothing are known")
	}
}

// TestCPUOfRestarted: a process that was killed takes nothing off the sums, one that was started in its place counts.
func TestCPUOfRestarted(t *testing.T) {
	before := ReadCPU(fakeProc(t, map[string]string{"7/task/7/schedstat": "1000 1000 3\n", "8/task/8/schedstat": "900000 900000 3\n"}), []int{7, 8})
	after := ReadCPU(fakeProc(t, map[string]string{
		"7/task/7/schedstat": "3000 2000 9\n", "7/task/9/schedstat": "500 500 9\n", "11/task/11/schedstat": "500 1500 9\n",
	}), []int{7, 11})
	if got := after.Waited(before); got != 0.003 {
		t.Errorf("waited %v ms, want the 1000 ns of the thread that was there and the 2000 ns of those that are new", got)
	}
	if got := after.Wait(before); got != 0.5 {
		t.Errorf("wait %v, want half", got)
	}
}

func TestBound(t *testing.T) {
	nan := math.NaN()
	for _, tt := range []struct {
		name                        string
		busy, wait, waited, latency float64
		want                        bool
	}{
		{"idle", .5, .2, 2, 20, false},
		{"cores used up", .9, .2, 2, 20, true},
		{"waiting is most of the latency", .3, .8, 15, 20, true},
		{"waiting is nothing beside slow links", .3, .8, 15, 400, false},
		{"unknown", nan, nan, nan, 20, false},
	} {
		if got := Bound(tt.busy, tt.wait, tt.waited, tt.latency); got != tt.want {
			t.Errorf("%s: Bound() = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestThisMachine(t *testing.T) {
	if _, err := os.Stat("/proc/self/task"); err != nil {
		t.Skip("no /proc here")
	}
	c := ReadCPU("/proc", []int{os.Getpid()})
	if !c.known || len(c.threads) == 0 {
		t.Errorf("ReadCPU() = %+v: want the cores' ticks and this process's threads", c)
	}
}
