package recon

import "fmt"

// Mode is which way what is missing moves, seen from the side that begins.
type Mode uint8

// The modes.
const (
	PushPull Mode = iota // both ways
	Push                 // only what the partner lacks
	Pull                 // only what we lack
	numModes
)

var modeNames = [numModes]string{"push-pull", "push", "pull"}

// String is the mode's name in settings.
func (m Mode) String() string {
	if m >= numModes {
		return fmt.Sprintf("mode(%d)", uint8(m))
	}
	return modeNames[m]
}

// Valid tells whether m is one of the modes.
func (m Mode) Valid() bool { return m < numModes }

// Pushes tells whether the partner gets what it lacks.
func (m Mode) Pushes() bool { return m != Pull }

// Pulls tells whether we get what we lack.
func (m Mode) Pulls() bool { return m != Push }

// ParseMode reads a mode's name; the empty one is PushPull.
func ParseMode(name string) (Mode, error) {
	if name == "" {
		return PushPull, nil
	}
	for i, s := range modeNames {
		if s == name {
			return Mode(i), nil
		}
	}
	return 0, fmt.Errorf("recon: %q is no mode: use push, pull or push-pull", name)
}
