package devnet

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/pheme-net/pheme/devnet/load"
)

// Load sends a load to running nodes and says on w where it stands.
func Load(ctx context.Context, cfg load.Config, w io.Writer) (*load.Result, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p := newProgress(w)
	defer p.clear()
	p.say("%.0f transfers of %s to %s over %v", cfg.Rate*cfg.Duration.Seconds(), counted(len(cfg.Keys), "account"), counted(len(cfg.Targets), "node"), cfg.Duration)
	cfg.Progress = func(at load.Progress) {
		p.now("%d of %d sent, %d accepted, %d in blocks, %v left", at.Sent, at.Total, at.Accepted, at.Included, at.Left.Round(time.Second))
	}
	return load.Run(ctx, cfg)
}

// counted is a number of things in words.
func counted(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
