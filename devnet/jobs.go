package devnet

import (
	"slices"
	"time"
)

// job is a cell that waits or runs.
type job struct {
	cell   int
	memory int64         // estimate, bytes
	takes  time.Duration // estimate
	alone  bool          // it needs the machine for itself: its nodes are processes in real time
}

// jobs decides which cells run when: as many as there are cores, as long as their estimates fit into
// the memory, but always one. It is pure.
type jobs struct {
	cores   int
	memory  int64 // for all that run; 0 is unknown, which bounds nothing
	waiting []job // in order
	running []job
	done    time.Duration // estimates of those that ended
}

func (j *jobs) empty() bool { return len(j.waiting)+len(j.running) == 0 }

// next moves the first job that may start now to those that run.
func (j *jobs) next() (job, bool) {
	if len(j.running) >= j.cores {
		return job{}, false
	}
	var used int64
	for _, r := range j.running {
		if r.alone {
			return job{}, false
		}
		used += r.memory
	}
	for i, w := range j.waiting {
		if len(j.running) > 0 && (w.alone || j.memory > 0 && used+w.memory > j.memory) {
			continue
		}
		j.waiting = slices.Delete(j.waiting, i, i+1)
		j.running = append(j.running, w)
		return w, true
	}
	return job{}, false
}

// ended takes a job off those that run.
func (j *jobs) ended(e job) {
	j.running = slices.DeleteFunc(j.running, func(r job) bool { return r.cell == e.cell })
	j.done += e.takes
}

// left estimates how long what waits and runs still takes.
func (j *jobs) left() time.Duration {
	var shared, alone time.Duration
	for _, w := range slices.Concat(j.waiting, j.running) {
		if w.alone {
			alone += w.takes
		} else {
			shared += w.takes
		}
	}
	return alone + shared/time.Duration(j.cores)
}

// pace is how much longer than estimated the jobs that ended took together; 0 before the first.
func (j *jobs) pace(since time.Duration) float64 {
	if j.done == 0 {
		return 0
	}
	return float64(since) * float64(j.cores) / float64(j.done)
}

// largest is the most memory that a waiting job takes.
func (j *jobs) largest() (most int64) {
	for _, w := range j.waiting {
		most = max(most, w.memory)
	}
	return most
}
