package replay

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Known lists the toolchains the edits were read against and tried with, as runtime.Version names
// them. Add one after the step "replay" of .ci/run has passed with it.
var Known = []string{"go1.26.8"}

// Experiment is the environment variable a replay build needs beside the overlay: since Go 1.26 the
// heap begins at a random address, which keys of maps may hold.
const Experiment = "GOEXPERIMENT=norandomizedheapbase64"

// ErrToolchain is a toolchain that Write cannot patch.
var ErrToolchain = errors.New("replay: unknown toolchain")

// edit replaces text in one file of the toolchain (in GOROOT/src) or, in ours, of this module.
type edit struct {
	file     string
	ours     bool
	old, new string
}

// edits is everything a replay build changes.
var edits = []edit{
	// The start-up seed, of which hash keys come, is a constant.
	{file: "runtime/rand.go", old: "func randinit() {\n", new: "func randinit() {\n\tstartupRand = nil\n"},
	{file: "runtime/rand.go", old: "\t\tif readRandom(seed[:]) != len(seed) || allZero(seed[:]) {\n", new: `		for i := range seed {
			seed[i] = byte(i*37 + 11)
		}
		if false {
`},
	// Map seeds, map iteration and math/rand come of two counters: one for the goroutines of a
	// bubble, one for all others, whose turns depend on real time.
	{file: "runtime/rand.go", old: "func rand() uint64 {\n", new: `func rand() uint64 {
	gp := getg()
	if gp.m != nil && gp.m.curg != nil {
		gp = gp.m.curg
	}
	counter := &replayOutside
	if gp.bubble != nil {
		counter = &replayInside
	}
	z := atomic.Xadd64(counter, -0x61c8864680b583eb) // splitmix64
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

var replayInside, replayOutside uint64

//go:nosplit
func stockRand() uint64 {
`},
	{file: "runtime/rand.go", old: "\t\"internal/goarch\"\n", new: "\t\"internal/goarch\"\n\t\"internal/runtime/atomic\"\n"},
	{file: "runtime/rand.go", old: "mp.cheaprand = rand()", new: "mp.cheaprand = stockRand()"},
	// So do the order of select's cases and that of fake timers due at one instant.
	{file: "runtime/select.go", old: "j := cheaprandn(uint32(norder + 1))", new: "j := randn(uint32(norder + 1))"},
	{file: "runtime/time.go", old: "t.rand = cheaprand()", new: "t.rand = uint32(rand())"},
	// On one thread nothing is preempted and no system call gives the thread away, so that real
	// time decides nothing.
	{file: "runtime/proc.go", old: "func retake(now int64) uint32 {\n", new: `func retake(now int64) uint32 {
	if gomaxprocs == 1 {
		return 0
	}
`},
	{file: "runtime/proc.go", old: "if pp.schedtick%61 == 0 && !sched.runq.empty() {", new: "if gomaxprocs > 1 && pp.schedtick%61 == 0 && !sched.runq.empty() {"},
	// What the runtime's own goroutines do in between must not change the order of the bubble's:
	// they never push in front, and all wait in the one global queue, because the local one
	// overflows into it sooner or later depending on who else is there.
	{file: "runtime/proc.go", old: "if !haveSysmon && next {", new: "if next && (!haveSysmon || gomaxprocs == 1 && gp.bubble == nil) {"},
	{file: "runtime/proc.go", old: "\t\tgp = oldnext.ptr()\n\t}\n\nretry:\n", new: `		gp = oldnext.ptr()
	}
	if gomaxprocs == 1 {
		lock(&sched.lock)
		globrunqput(gp)
		unlock(&sched.lock)
		return
	}

retry:
`},
	// A mutex does not change its ways because somebody waited a millisecond of real time.
	{file: "internal/sync/mutex.go", old: "starvationThresholdNs = 1e6", new: "starvationThresholdNs = 1 << 62"},
	// Cryptographic random bytes come of the same counters.
	{file: "crypto/internal/sysrand/rand.go", old: "func Read(b []byte) {\n", new: `func Read(b []byte) {
	if true {
		for i := range b {
			b[i] = byte(runtimeRand() >> 32)
		}
		return
	}
`},
	{file: "crypto/internal/sysrand/rand.go", old: "var testingOnlyFailRead bool\n", new: `var testingOnlyFailRead bool

//go:linkname runtimeRand runtime.rand
func runtimeRand() uint64
`},
	// The binary knows what it is.
	{file: "node/replay.go", ours: true, old: "const Replay = false\n", new: "const Replay = true\n"},
}

// Write patches the sources below goroot, those of the toolchain named version, and ours below
// root, into dir, which it makes, and returns the path of the overlay file. Nothing outside dir
// changes. It fails with ErrToolchain for a version that is not Known or whose sources are not as
// expected.
func Write(version, goroot, root, dir string) (string, error) {
	if !slices.Contains(Known, version) {
		return "", fmt.Errorf("%w: %s: build with %s, or read its runtime and add it to Known in devnet/replay", ErrToolchain, version, strings.Join(Known, " or "))
	}
	for _, path := range []*string{&root, &dir} {
		var err error
		if *path, err = filepath.Abs(*path); err != nil {
			return "", fmt.Errorf("find folder: %w", err)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make folder of the overlay: %w", err)
	}
	replace := map[string]string{}
	patched, err := patch(goroot, root)
	if err != nil {
		return "", err
	}
	for path, text := range patched {
		copied := filepath.Join(dir, strings.ReplaceAll(strings.TrimPrefix(filepath.ToSlash(path), "/"), "/", "-"))
		if err := os.WriteFile(copied, []byte(text), 0o644); err != nil {
			return "", fmt.Errorf("write patched source: %w", err)
		}
		replace[path] = copied
	}
	overlay, err := json.MarshalIndent(map[string]any{"Replace": replace}, "", "  ")
	if err != nil {
		return "", fmt.Errorf("encode overlay: %w", err)
	}
	out := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(out, overlay, 0o644); err != nil {
		return "", fmt.Errorf("write overlay: %w", err)
	}
	return out, nil
}

// patch returns the patched files by their paths.
func patch(goroot, root string) (map[string]string, error) {
	files := map[string]string{}
	for _, e := range edits {
		path := filepath.Join(goroot, "src", e.file)
		if e.ours {
			path = filepath.Join(root, e.file)
		}
		text, ok := files[path]
		if !ok {
			raw, err := os.ReadFile(path)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrToolchain, err)
			}
			text = string(raw)
		}
		if n := strings.Count(text, e.old); n != 1 {
			return nil, fmt.Errorf("%w: %s holds %q %d times, want once", ErrToolchain, path, strings.TrimSpace(e.old), n)
		}
		files[path] = strings.Replace(text, e.old, e.new, 1)
	}
	return files, nil
}
