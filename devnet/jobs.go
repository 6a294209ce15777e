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
	began  time.Duration // since the sweep began
}

// jobs decides which cells run when: as many as there are cores, as long as their estimates fit into
// the memory, but always one. It is pure.
type jobs struct {
	cores   int
	memory  int64 // for all that run; 0 is unknown, which bounds nothing
	waiting []job // in order
	running []job
	planned time.Duration // estimates of those that ended,
	took    time.Duration // and how long they ran
}

func (j *jobs) empty() bool { return len(j.waiting)+len(j.running) == 0 }

// next moves the first job that may start to those that run, from now on.
func (j *jobs) next(now time.Duration) (job, bool) {
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
		w.began = now
		j.running = append(j.running, w)
		return w, true
	}
	return job{}, false
}

// ended takes a job off those that run.
func (j *jobs) ended(e job, now time.Duration) {
	j.running = slices.DeleteFunc(j.running, func(r job) bool { return r.cell == e.cell })
	j.planned += e.takes
	j.took += now - e.began
}

// pace is how much longer than estimated the jobs took that ended, 1 before the first, and at least
// as much as one that runs has taken already.
func (j *jobs) pace(now time.Duration) float64 {
	pace := 1.0
	if j.planned > 0 && j.took > 0 {
		pace = float64(j.took) / float64(j.planned)
	}
	for _, r := range j.running {
		pace = max(pace, float64(now-r.began)/float64(max(1, r.takes)))
	}
	return pace
}

// left estimates how long what waits and runs still takes, at the pace so far.
func (j *jobs) left(now time.Duration) time.Duration {
	var waits, longest time.Duration
	for _, w := range j.waiting {
		if w.alone {
			waits += w.takes
		} else {
			waits += w.takes / time.Duration(j.cores)
		}
	}
	pace := j.pace(now)
	for _, r := range j.running {
		longest = max(longest, time.Duration(pace*float64(r.takes))-(now-r.began))
	}
	return time.Duration(pace*float64(waits)) + longest
}

// largest is the most memory that a waiting job takes.
func (j *jobs) largest() (most int64) {
	for _, w := range j.waiting {
		most = max(most, w.memory)
	}
	return most
}
