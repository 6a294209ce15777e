package host

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// Info describes the machine; "" and 0 are unknown.
type Info struct {
	Kernel string
	CPU    string
	Cores  int
	Memory int64  // bytes
	Load   string // the three load averages
}

// Describe reads the machine's description from a proc folder, which is "/proc".
func Describe(proc string) Info {
	return Info{
		Kernel: kernel(read(proc, "sys/kernel/ostype"), read(proc, "sys/kernel/osrelease")),
		CPU:    cpuModel(read(proc, "cpuinfo")),
		Cores:  runtime.NumCPU(),
		Memory: memTotal(read(proc, "meminfo")),
		Load:   loadAverages(read(proc, "loadavg")),
	}
}

// FreeMemory is how many bytes programs could still take without others being pushed out; 0 where a
// proc folder does not tell.
func FreeMemory(proc string) int64 { return memLine(read(proc, "meminfo"), "MemAvailable:") }

// read is the text of a file, "" when there is none.
func read(proc, name string) string {
	text, err := os.ReadFile(filepath.Join(proc, name))
	if err != nil {
		return ""
	}
	return string(text)
}

func kernel(name, release string) string {
	if k := strings.TrimSpace(strings.TrimSpace(name) + " " + strings.TrimSpace(release)); k != "" {
		return k
	}
	return runtime.GOOS
}

func cpuModel(cpuinfo string) string {
	for _, line := range strings.Split(cpuinfo, "\n") {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func memTotal(meminfo string) int64 { return memLine(meminfo, "MemTotal:") }

// memLine is the bytes that a line of meminfo states; 0 where there is no such line.
func memLine(meminfo, name string) int64 {
	for _, line := range strings.Split(meminfo, "\n") {
		if f := strings.Fields(line); len(f) == 3 && f[0] == name {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			if err == nil {
				return kib << 10
			}
		}
	}
	return 0
}

func loadAverages(loadavg string) string {
	if f := strings.Fields(loadavg); len(f) >= 3 {
		return strings.Join(f[:3], " ")
	}
	return ""
}
