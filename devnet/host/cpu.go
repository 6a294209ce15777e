package host

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Bounds beyond which a run measures cores, not the network.
const (
	busyBound = 0.85 // of all cores, by anybody: what is left is used up in every burst
	waitBound = 0.50 // of the time the nodes wanted a core: they waited as long as they ran,
	partBound = 0.50 // and what a node waited for a block is as much of its latency
)

// CPU is one reading of the cores' counters.
type CPU struct {
	busy, total float64 // ticks of all cores since boot
	known       bool    // busy and total
	threads     map[thread]schedule
}

// thread is a thread of one of the given processes.
type thread struct{ pid, task string }

// schedule is how long a thread has run and waited for a core since it began, in nanoseconds.
type schedule struct{ ran, awaited float64 }

// ReadCPU reads the counters of the machine and of the given processes from a proc folder.
func ReadCPU(proc string, pids []int) CPU {
	var c CPU
	c.busy, c.total, c.known = ticks(read(proc, "stat"))
	c.threads = map[thread]schedule{}
	for _, pid := range pids {
		of := strconv.Itoa(pid)
		tasks, err := os.ReadDir(filepath.Join(proc, of, "task"))
		if err != nil {
			continue
		}
		for _, task := range tasks {
			ran, awaited, ok := schedstat(read(proc, filepath.Join(of, "task", task.Name(), "schedstat")))
			if ok {
				c.threads[thread{of, task.Name()}] = schedule{ran, awaited}
			}
		}
	}
	return c
}

// since is how long the threads of a reading ran and waited after an earlier one. One that began in
// between counts whole, one that has ended, with a process that was killed, does not.
func (c CPU) since(before CPU) (sum schedule, known bool) {
	for t, now := range c.threads {
		was := before.threads[t]
		if now.ran < was.ran || now.awaited < was.awaited { // its number was given again
			was = schedule{}
		}
		sum.ran += now.ran - was.ran
		sum.awaited += now.awaited - was.awaited
	}
	return sum, len(c.threads) > 0 && len(before.threads) > 0
}

// Busy is the share of all cores that was in use between an earlier reading and this one; NaN
// where unknown.
func (c CPU) Busy(since CPU) float64 {
	if !c.known || !since.known || c.total <= since.total {
		return math.NaN()
	}
	return (c.busy - since.busy) / (c.total - since.total)
}

// Wait is, of the time in which the processes' threads wanted a core, the share they waited for
// one; NaN where unknown.
func (c CPU) Wait(since CPU) float64 {
	of, known := c.since(since)
	if !known || of.ran+of.awaited <= 0 {
		return math.NaN()
	}
	return of.awaited / (of.ran + of.awaited)
}

// Waited is the milliseconds the processes' threads waited for a core between an earlier reading
// and this one, all together; NaN where unknown.
func (c CPU) Waited(since CPU) float64 {
	of, known := c.since(since)
	if !known {
		return math.NaN()
	}
	return of.awaited / 1e6
}

// Bound says whether latencies are those of the cores rather than of a network: the cores were
// busy, or the nodes waited for one most of the time they wanted it and long enough to matter.
// waited is milliseconds for each node and block, latency a block's typical one in milliseconds. A
// share that is unknown does not count.
func Bound(busy, wait, waited, latency float64) bool {
	return busy >= busyBound || wait >= waitBound && waited >= partBound*latency
}

// ticks reads the first line of /proc/stat: user nice system idle iowait irq softirq steal. What
// another machine stole was not free for us, so it is busy.
func ticks(stat string) (busy, total float64, ok bool) {
	line, _, _ := strings.Cut(stat, "\n")
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return 0, 0, false
	}
	for i, field := range f[1:9] {
		v, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return 0, 0, false
		}
		total += v
		if i != 3 && i != 4 { // idle, and idle with I/O outstanding
			busy += v
		}
	}
	return busy, total, true
}

// schedstat reads a task's time on a core and its time waiting for one, in nanoseconds.
func schedstat(text string) (ran, awaited float64, ok bool) {
	f := strings.Fields(text)
	if len(f) != 3 {
		return 0, 0, false
	}
	ran, err1 := strconv.ParseFloat(f[0], 64)
	awaited, err2 := strconv.ParseFloat(f[1], 64)
	return ran, awaited, err1 == nil && err2 == nil
}
