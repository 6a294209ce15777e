package devnet

import (
	"fmt"
	"time"

	"github.com/pheme-net/pheme/devnet/experiment"
)

// fits refuses a run that would need more memory than there is: free bytes, 0 where nobody knows.
func fits(s experiment.Spec, free int64) error {
	need := s.Memory()
	if free == 0 || need <= free {
		return nil
	}
	return fmt.Errorf("%w: net.nodes = %d: the run takes about %.1f GiB of memory, and %.1f GiB are free: use fewer nodes or smaller blocks, or stop other programs",
		experiment.ErrInvalid, s.Net.Nodes, float64(need)/(1<<30), float64(free)/(1<<30))
}

// pace estimates how long a run still takes from how long its slots have taken. In virtual time the run itself has no clock that
// could tell.
type pace struct {
	began time.Time // when the first slot did; zero before
}

// left is how long the rest of total slots takes when done of them have begun; false while nobody can say.
func (p *pace) left(now time.Time, done, total int) (time.Duration, bool) {
	if p.began.IsZero() {
		p.began = now
		return 0, false
	}
	passed := done - 1
	if passed < 1 {
		return 0, false
	}
	return now.Sub(p.began) / time.Duration(passed) * time.Duration(total-passed), true
}

// slotMark is what a child says at the beginning of each slot.
const slotMark = "slot %d of %d: %q"

// told is what a person is told for a child's words: with the time left where they tell of a slot.
func (p *pace) told(now time.Time, words string) string {
	var done, total int
	var rest string
	if n, _ := fmt.Sscanf(words, slotMark, &done, &total, &rest); n != 3 {
		return words
	}
	if left, ok := p.left(now, done, total); ok {
		return fmt.Sprintf("%s, about %v left", rest, left.Round(time.Second))
	}
	return rest
}
