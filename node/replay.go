package node

import "errors"

// Replay says that this binary was built to repeat runs bit for bit: by the overlay that package
// devnet/replay writes, which also sets this constant. Its random numbers are those of a counter,
// keys included.
const Replay = false

// ErrReplay is why a replay build does nothing but virtual runs.
var ErrReplay = errors.New("node: this is a replay build, whose keys and random numbers anybody can predict: " +
	"it only runs 'pheme devnet measure --engine virtual'; use the ordinary build for this")

// RefuseReplay returns ErrReplay in a replay build. Whatever opens a socket or makes a key asks it
// first.
func RefuseReplay() error {
	if Replay {
		return ErrReplay
	}
	return nil
}
