package devnet

import (
	"context"
	"errors"
	"io"
	"time"
)

// UpConfig is one call of [Up]; zero fields take their defaults.
type UpConfig struct {
	Nodes  int           // 4
	Slot   time.Duration // 1 s
	Binary string        // the program whose "node" command a child runs; "" is this one
	// Ports, when not 0, is the HTTP port of the first node; the others follow. 0 lets the kernel choose.
	Port int
	// Dir keeps the nodes' data when set; "" uses a temporary folder that is removed at the end.
	Dir string
}

// Up runs a network until ctx ends, printing URLs and funded accounts to out, then stops every
// node and removes what it made.
func Up(ctx context.Context, cfg UpConfig, out io.Writer) error {
	return errors.New("devnet up: not written yet")
}
